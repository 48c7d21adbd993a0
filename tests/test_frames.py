"""Test frames in other processes: workers, torch if it is installed, memory, hostile commands."""

import multiprocessing
import pickle
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st

from nsw_da_medical_image.common.text import DataError, runs_text
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.dataset import main as dataset_command
from nsw_da_medical_image.dataset_util.exclusion import excluded, exclusion_list
from nsw_da_medical_image.dataset_util.frames import PHASE_TYPE, FrameRecord, Frames, picked
from nsw_da_medical_image.dataset_util.ground_truth import ground_truth, write_ground_truth
from nsw_da_medical_image.dataset_util.util import FocalPlane, Phase, released_videos
from nsw_da_medical_image.validation.pixels import measure_video

QUIRKS = ("run-gap@SAM1-7", "missing-time@SAM2-4", "missing-annotation@SAM3-6")


@pytest.fixture(scope="module")
def ds(shared: Callable[..., Shared]) -> EmbryoDataset:
    return EmbryoDataset(shared(videos=6, size=48, quirks=QUIRKS).extracted)


def told(record: FrameRecord) -> tuple:
    """Return the fields of a record, with the sum of its pixels instead of the image, and None for NaN, which does not equal itself."""
    return (int(np.sum(record.image)), *record[1:5], None if np.isnan(record.hours) else record.hours, record.rank)


def truth(ds: EmbryoDataset, table: pd.DataFrame) -> list[tuple]:
    """Return the same, read from the videos one by one."""
    rows = []
    for row in table.itertuples():
        video = ds[row.video]
        phase, hours = video.phase_at(row.run), video.hours.get(row.run)
        pixels = int(video.frame(row.run, row.plane).sum())
        rank = -1 if phase is None else phase.rank
        rows.append((pixels, row.video, str(row.plane), row.run, str(phase or ""), hours, rank))
    return rows


_worker_frames: Frames


def _begin(pickled: bytes) -> None:
    global _worker_frames
    _worker_frames = pickle.loads(pickled)


def _read(index: int) -> tuple:
    return told(_worker_frames[index])


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
@pytest.mark.slow
def test_workers_read_each_frame_once_with_its_own_label(ds: EmbryoDataset, method: str) -> None:
    frames = ds.frames(as_="numpy")[:1000]
    order = np.random.default_rng(0).permutation(len(frames)).tolist()
    context = multiprocessing.get_context(method)
    with context.Pool(4, _begin, (pickle.dumps(frames),)) as pool:
        found = pool.map_async(_read, order, chunksize=20).get(timeout=120)
    assert len(found) == 1000
    assert Counter(found) == Counter(truth(ds, frames.table))
    assert [row[1:4] for row in found] == [
        (frames.table.video[i], frames.table.plane[i], frames.table.run[i]) for i in order
    ]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_torch_loads_each_frame_once_with_its_own_label(ds: EmbryoDataset, method: str) -> None:
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed; the test above stands in for it")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    frames = ds.frames(as_="numpy")[:1000]
    assert {"", "t2"} < set(frames.table.phase.astype(object).fillna(""))
    assert frames.table.hours.isna().any()
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # read-only arrays, for one, are a warning
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = data.DataLoader(frames, 32, shuffle=True, num_workers=4, multiprocessing_context=method, timeout=120)
        for batch in loader:
            assert isinstance(batch, FrameRecord)
            assert batch.image.shape[1:] == (48, 48)
            columns = [
                batch.video,
                batch.plane,
                batch.run.tolist(),
                batch.phase,
                batch.hours.tolist(),
                batch.rank.tolist(),
            ]
            found += [told(FrameRecord(*row)) for row in zip(batch.image.numpy(), *columns, strict=True)]
    assert len(found) == 1000
    assert Counter(found) == Counter(truth(ds, frames.table))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"planes": "stack"}, (7, 48, 48)),
        ({"planes": "F0", "clips": 8}, (8, 48, 48)),
        ({"planes": "stack", "clips": (4, 1)}, (4, 7, 48, 48)),
    ],
)
def test_torch_loads_stacks_and_clips(ds: EmbryoDataset, options: dict, shape: tuple[int, ...]) -> None:
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    frames = ds.frames(["SAM1-2", "SAM1-7"], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = list(data.DataLoader(frames, 5, num_workers=0))
    assert tuple(batches[0].image.shape) == (5, *shape)
    if "clips" in options:
        assert batches[0].rank.shape == batches[0].hours.shape == (5, shape[0])
        runs = np.concatenate([batch.run.numpy() for batch in batches])
        assert (np.diff(runs) == 1).all()  # SAM1-7 has a gap, which no clip crosses
    assert sum(len(batch.image) for batch in batches) == len(frames)


def test_torch_loads_real_and_synthetic_together(ds: EmbryoDataset) -> None:
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    synthetic = pd.DataFrame(
        {"origin": "a run", "video": None, "plane": "F0", "run": range(9), "phase": "t2", "hours": np.nan}
    )
    mixed = ds.frames("SAM1-2", "F0", as_="numpy") + Frames(synthetic, Grey(), as_="numpy")
    videos = Counter(video for batch in data.DataLoader(mixed, 5, shuffle=True) for video in batch.video)
    assert videos == {"SAM1-2": 24, "": 9}


class Grey:
    def pixels(self, row):
        return np.full((48, 48), row["run"], np.uint8)

    def jpeg(self, row):
        raise NotImplementedError


def test_neither_torch_nor_a_widget_is_imported() -> None:
    code = (
        "import sys, nsw_da_medical_image.dataset_util.frames, nsw_da_medical_image.dataset_util.split\n"
        "print(*sorted({'torch', 'ipywidgets', 'anywidget', 'matplotlib', 'sklearn', 'pyarrow.parquet'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_whole_release_pickles_small() -> None:
    rng = np.random.default_rng(0)
    videos, n = released_videos(), 700_000
    table = pd.DataFrame(
        {
            "video": pd.Categorical.from_codes(np.sort(rng.integers(0, len(videos), n)), videos),
            "plane": pd.Categorical.from_codes(rng.integers(0, 7, n), list(FocalPlane)),
            "run": rng.integers(1, 600, n).astype(np.int32),
            "phase": pd.Categorical.from_codes(rng.integers(-1, 16, n), dtype=PHASE_TYPE),
            "hours": rng.random(n),
        }
    )
    frames = Frames(table, Grey())
    assert frames[n - 1].image.size == (48, 48)  # the columns that reading needs are made, and not sent along
    assert len(pickle.dumps(frames)) < 20 * n
    assert excluded(table, videos[:352]).sum() == (table.video.cat.codes < 352).sum()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_picked_is_what_a_plain_loop_picks(data: st.DataObject) -> None:
    labels = st.sampled_from([None, "t2", "t3", "t9+"])
    rows = []
    for video in data.draw(st.lists(st.sampled_from(["A-1", "A-2", "B-1"]), unique=True)):
        for plane in data.draw(st.lists(st.sampled_from(["F-15", "F0"]), unique=True)):
            runs = sorted(data.draw(st.sets(st.integers(1, 40), max_size=25)))
            rows += [(video, plane, run, data.draw(labels), np.nan) for run in runs]
    table = pd.DataFrame(rows, columns=["video", "plane", "run", "phase", "hours"])
    table = table.astype({"video": "category", "plane": "category", "phase": PHASE_TYPE, "run": np.int32})
    pick = data.draw(st.one_of(st.sampled_from(["all", "median", "onset"]), st.integers(1, 30)))
    groups: dict[tuple, list[int]] = {}
    for video, plane, run, phase, _ in rows:
        groups.setdefault((video, plane, phase), []).append(run)
    n = 1 if pick == "median" else pick
    expected = set()
    for key, runs in groups.items():
        if pick == "all":
            expected |= {(*key[:2], run) for run in runs}
        elif key[2] and pick == "onset":
            expected.add((*key[:2], runs[0]))
        elif key[2]:
            size = len(runs)
            expected |= {(*key[:2], runs[((2 * i + 1) * size - 1) // (2 * n)]) for i in range(n)}
    found = list(picked(table, pick)[["video", "plane", "run"]].itertuples(index=False, name=None))
    assert len(found) == len(expected)
    assert set(found) == expected
    assert found == [row[:3] for row in rows if row[:3] in expected]  # in the table's order


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_selecting_and_adding_are_those_of_a_list(ds: EmbryoDataset, data: st.DataObject) -> None:
    whole = ds.frames("SAM1-2", ["F0", "F15"], as_="numpy")
    frames, names = whole, [whole.label(i) for i in range(len(whole))]
    for _ in range(data.draw(st.integers(0, 4))):
        how = data.draw(st.sampled_from(["slice", "list", "mask", "add"]))
        if how == "slice":
            part = data.draw(st.slices(len(names)))
            frames, names = frames[part], names[part]
        elif how == "list" and names:
            places = data.draw(st.lists(st.integers(-len(names), len(names) - 1), max_size=30))
            frames, names = frames[places], [names[place] for place in places]
        elif how == "mask":
            mask = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
            frames, names = frames[np.array(mask, bool)], [name for name, keep in zip(names, mask, strict=True) if keep]
        elif how == "add":
            frames, names = frames + whole[5:8], names + [whole.label(i) for i in (5, 6, 7)]
    assert [frames.label(i) for i in range(len(frames))] == names
    assert len(frames.table) == len(names)
    if names:
        place = data.draw(st.integers(-len(names), len(names) - 1))
        record = frames[place]
        assert f"{FocalPlane(record.plane).label}_{record.video}_{record.run}" == names[place]
        assert np.array_equal(record.image, ds[record.video].frame(record.run, record.plane))


def test_what_is_left_out_of_a_table_is_left_out_of_all(ds: EmbryoDataset) -> None:
    class Report:
        def exclude(self) -> pd.DataFrame:
            return pd.DataFrame(
                {"video": ["SAM1-2", "GE218-3", "SAM2-4"], "plane": ["F0", "", ""], "runs": ["1-9", "", ""]}
            )

    table = ds.table(exclude=Report())
    gone = ds.table().merge(table, how="left", indicator=True).query("_merge == 'left_only'")
    stretches = gone.groupby(["video", "plane"], observed=True).run.agg(runs_text)
    assert stretches.to_dict() == {("SAM1-2", "F0"): "1-9", **{("SAM2-4", plane): "1-24" for plane in FocalPlane}}
    assert ds.frames(exclude=Report()).table.equals(table)
    median = ds.frames(exclude=Report(), pick="median").table
    assert len(median.merge(table)) == len(median) > 0


def test_a_video_that_is_left_out_is_not_read(ds: EmbryoDataset, tmp_path: Path) -> None:
    shutil.copytree(ds.root, tmp_path / "hurt")
    (tmp_path / "hurt" / "embryo_dataset_annotations" / "SAM1-2_phases.csv").write_text("t99,1,2\n")
    hurt = EmbryoDataset(tmp_path / "hurt")
    with pytest.raises(Exception, match="line 1: 't99' is not a phase"):
        hurt.table()
    assert hurt.table(exclude="SAM1-2").equals(ds.table(exclude="SAM1-2"))


def test_the_ground_truth_names_frames_as_frames_do(ds: EmbryoDataset, tmp_path: Path) -> None:
    frames = ds.frames(phases=list(Phase))
    known = ground_truth(frames.table)
    assert known.identifier.tolist() == [frames.label(i) for i in range(len(frames))]
    assert known.identifier.is_unique
    assert known.phase_index.tolist() == [frames[i].rank for i in range(len(frames))]
    assert write_ground_truth(ds, tmp_path / "all.csv") == len(frames)


def test_parquet_holds_what_csv_holds(ds: EmbryoDataset, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert write_ground_truth(ds, tmp_path / "t.csv") == write_ground_truth(ds, tmp_path / "t.parquet")
    as_text, columns = pd.read_csv(tmp_path / "t.csv"), pd.read_parquet(tmp_path / "t.parquet")
    assert isinstance(columns.phase.dtype, pd.CategoricalDtype)
    assert columns.phase_index.dtype == np.int8
    pd.testing.assert_frame_equal(columns.astype({"phase": str, "code": str}), as_text, check_dtype=False)
    (tmp_path / "t.parquet").rename(tmp_path / "whole.parquet")
    with pytest.raises(DataError, match="no labelled frame"):
        write_ground_truth(ds, tmp_path / "t.parquet", exclude=ds.videos)
    assert not (tmp_path / "t.parquet").exists()


def test_the_path_of_an_exclusion_list_may_be_text(ds: EmbryoDataset, tmp_path: Path) -> None:
    (file := tmp_path / "exclude.csv").write_text("video,plane,runs\nSAM1-2,,\n")
    assert ds.table(exclude=str(file)).equals(ds.table(exclude=file))
    assert "SAM1-2" not in set(ds.table(exclude=str(file)).video)
    with pytest.raises(FileNotFoundError):
        ds.table(exclude="nowhere.csv")


def test_parquet_without_pyarrow_says_what_to_install(ds: EmbryoDataset, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.ground_truth.find_spec", lambda name: None)
    assert dataset_command([ds.path, "--table", str(tmp_path / "t.parquet")]) == 1
    assert "pip install pyarrow" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--table", "there.csv"], 1, "exists already"),
        (["--table", "new.xlsx"], 2, "must end in .csv or .parquet"),
        (["--table", "no/such/folder/new.csv"], 1, "the folder to write into does not exist"),
        (["--table", "new.csv", "--phases", "t2,<b>t99</b>"], 2, "'<b>t99</b>' is not a phase"),
        (["--table", "new.csv", "--videos", "SAM1-3"], 1, "has no video 'SAM1-3'; nearest: SAM1-"),
        (["--table", "new.csv", "--planes", "F16"], 2, "choose from F-45"),
        (["--table", "new.csv", "--exclude", "list.csv"], 1, "row 1 of the exclusion list"),
        (["--table", "new.csv", "--exclude", "nowhere.csv"], 1, "nowhere.csv"),
        (["--table", "new.csv", "--videos", "SAM3-6"], 1, "no labelled frame"),
    ],
)
def test_the_command_says_no_in_one_line_and_writes_nothing(
    ds: EmbryoDataset, tmp_path: Path, monkeypatch, capsys, arguments: list[str], status: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    Path("list.csv").write_text("video,plane,runs\nSAM1-2,F0,from 3 to 9\n")
    assert dataset_command([ds.path, *arguments]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.csv", "there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_real_frames(real_data: Path) -> None:
    real = EmbryoDataset(real_data)
    frames = real.frames(videos="AA83-7", planes="F0", pick="median")
    phases = real["AA83-7"].phases.set_index("phase")
    assert frames.table.phase.tolist() == phases.index.tolist()
    assert frames[0].image.size == (500, 500)
    for row in frames.table.itertuples():
        runs = real["AA83-7"].runs()
        runs = runs[(runs >= phases["first"][row.phase]) & (runs <= phases["last"][row.phase])]
        assert row.run == runs[(len(runs) - 1) // 2]
    onset = real.frames(videos="AA83-7", planes="F0", phases="t2", pick="onset")
    assert onset.label(0) == "F+00_AA83-7_98"
    assert onset[0].phase == "t2"


def test_the_crop_of_real_videos_is_the_well_that_the_pixel_pass_measures(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSW_CACHE_DIR", str(tmp_path))
    real = EmbryoDataset(real_data)
    for name, jumps in {"AA83-7": 0, "AB028-6": 1}.items():  # the dish of AB028-6 jumps at RUN281
        frames = real.frames(name, "F0", crop="well")
        table = frames.table
        assert table["crop_side"].nunique() == 1
        assert (table[["crop_left", "crop_top"]].diff().iloc[1:].abs().sum(axis=1) > 0).sum() == jumps
        measured = measure_video(real, name, "F0").set_index("run").loc[table["run"]]
        for axis, edge in (("well_x", "crop_left"), ("well_y", "crop_top")):
            middle = table[edge].to_numpy() + table["crop_side"].to_numpy() / 2
            assert np.nanmax(np.abs(measured[axis].to_numpy() - middle)) < 9  # of 500 pixels
    without = real.frames("CF946-6", "F0", crop="well")
    assert without.left_out["runs"].tolist() == ["300"]  # out of focus
    assert len(without) == 9


def test_a_text_that_ends_in_csv_is_the_path_of_a_list(tmp_path):
    """Unless a video has this name."""
    (place := tmp_path / "list.CSV").write_text("video\nA-1\n")
    assert exclusion_list(str(place), ["B-1"]).video.tolist() == ["A-1"]
    assert exclusion_list("B-1.csv", ["B-1.csv"]).video.tolist() == ["B-1.csv"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        exclusion_list(str(tmp_path / "nowhere.csv"))
