"""Test layouts and calls of real users: folders that are not videos, misplaced or renamed folders, filters without a match."""

import json
import os
import pickle
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ipywidgets import interactive

sys.path.insert(0, str(Path(__file__).parent.parent))
import play_video
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import dataset as dataset_command
from nsw_da_medical_image.dataset_util import extract_part as part_command
from nsw_da_medical_image.dataset_util import image_folder as folder_command
from nsw_da_medical_image.dataset_util import split as split_command
from nsw_da_medical_image.dataset_util.contents import patients
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.extract_part import extract_part
from nsw_da_medical_image.dataset_util.ground_truth import write_ground_truth
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.split import Split, check_split, leaks, make_split, read_split, write_split
from nsw_da_medical_image.dataset_util.util import FocalPlane, Phase, code_of, released_videos
from nsw_da_medical_image.validation import validate as validate_command
from nsw_da_medical_image.validation.pixels import measure_video
from nsw_da_medical_image.validation.validate import validate
from nsw_da_medical_image.viewer import realism
from nsw_da_medical_image.viewer.player import EmbryoPlayer
from nsw_da_medical_image.viewer.plots import contact_sheet, focal_stack, phase_raster
from nsw_da_medical_image.viewer.realism import compare, compare_sheet

SYSTEM = (
    "@eaDir",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "#recycle",
    ".zfs",
    ".snapshot",
    "__MACOSX",
)
BROKEN = ("AA83-7", "SAM9-1", "anything")
ANNOTATIONS, TIMES = "embryo_dataset_annotations", "embryo_dataset_time_elapsed"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts") / "archives"
    make_archives(folder, videos=9, frames=16, size=48)
    return folder


@pytest.fixture(scope="module")
def extracted(archives: Path) -> Path:
    extract_dataset(archives, archives.with_name("extracted"))
    return archives.with_name("extracted")


@pytest.fixture
def tree(extracted: Path, tmp_path: Path) -> Path:
    """Copy a tree with its own folders; the files are shared, so replace them rather than writing to them."""
    return Path(shutil.copytree(extracted, tmp_path / "data", copy_function=os.link))


def planes_of(tree: Path) -> list[Path]:
    return [tree / plane.folder for plane in FocalPlane if (tree / plane.folder).is_dir()]


def deepen(tree: Path, *entries: str) -> Path:
    for entry in entries:
        (tree / entry).rename(tree / "moved")
        (tree / entry).mkdir()
        (tree / "moved").rename(tree / entry / entry)
    return tree


def rename(tree: Path, names: Callable[[int, str], str]) -> Path:
    """Rename the videos: the folders, the annotations and the times."""
    for number, old in enumerate(sorted(path.name for path in (tree / "embryo_dataset").iterdir())):
        for path in [*(plane / old for plane in planes_of(tree)), *tree.glob(f"embryo_dataset_*/{old}_*.csv")]:
            if path.exists():
                path.rename(path.with_name(path.name.replace(old, names(number, old))))
    return tree


Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the `main` of a command, and return its status, output and error lines."""

    def main(command: Any, *args: Any) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = command.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return main


def commands(tree: Path, to: Path) -> list[tuple[Any, ...]]:
    """Return every command that reads a data set, with its arguments."""
    return [
        (dataset_command, tree),
        (dataset_command, tree, "--table", to / "table.csv"),
        (validate_command, tree),
        (split_command, tree, "--out", to / "split.json"),
        (folder_command, tree, to / "images", "--planes", "F0"),
        (part_command, tree, to / "part"),
        (play_video, tree, "SAM1-2", "--no-open", "--out", to / "page.html"),
    ]


# --- folders without a frame -----------------------------------------------------------------------


def with_empty_folders(tree: Path) -> Path:
    for plane in planes_of(tree):
        for name in (*SYSTEM, *BROKEN):
            (plane / name).mkdir()
        (plane / "@eaDir" / "SAM1-2").mkdir()
        (plane / "$RECYCLE.BIN" / "desktop.ini").touch()
        (plane / "SAM9-1" / "Thumbs.db").touch()
    return tree


@pytest.mark.parametrize("annotated", [True, False])
def test_a_folder_without_a_frame_is_no_video(tree: Path, extracted: Path, annotated: bool) -> None:
    ds, sound = EmbryoDataset(with_empty_folders(tree)), EmbryoDataset(extracted)
    if not annotated:
        shutil.rmtree(tree / ANNOTATIONS)
        ds = EmbryoDataset(tree)
    assert ds.videos == sound.videos
    assert len(ds) == len(sound) == len(list(ds))
    assert ds.contents.frameless == BROKEN[:2] + BROKEN[2:]
    assert not any(name in ds for name in (*SYSTEM, *BROKEN))
    assert "SAM1-2" in ds
    with pytest.raises(KeyError, match="has no video 'AA83-7'; its folder has no frame"):
        ds["AA83-7"]
    assert set(ds.table().video.unique()) == set(sound.videos)
    assert ds.summary()["videos"] == 9
    assert ds.summary()["frameless"] == list(ds.contents.frameless)


def test_no_part_of_a_split_is_without_frames(tree: Path, tmp_path: Path, run: Run) -> None:
    status, out, err = run(split_command, with_empty_folders(tree), "--out", tmp_path / "split.json")
    assert status == 0
    assert not err
    assert "AA83-7" not in out
    split = read_split(tmp_path / "split.json")
    assert sorted(video for part in split.values() for video in part) == sorted(EmbryoDataset(tree).videos)
    # videos that have an annotation and no frame left: the third code has nothing else
    for plane in planes_of(tree):
        for folder in plane.glob("SAM[3-9]*"):
            shutil.rmtree(folder)
            folder.mkdir()
    with pytest.raises(DataError, match=r"3 parts need at least 3 patient codes, but there are 2 \(SAM1, SAM2\)"):
        make_split(EmbryoDataset(tree))
    with pytest.warns(UserWarning, match="6 videos have no frame and are in no part of the split: SAM3-6"):
        split = make_split(EmbryoDataset(tree), {"train": 2, "test": 1})
    assert sorted(map(sorted, split.values())) == [["SAM1-2", "SAM1-7"], ["SAM2-4"]]
    assert len(split.made["without_frames"]) == 6


def test_a_video_that_only_another_plane_has_is_split(tree: Path) -> None:
    shutil.rmtree(tree / "embryo_dataset" / "SAM2-4")
    (tree / "embryo_dataset" / "SAM2-4").mkdir()
    for plane in planes_of(tree)[1:]:
        shutil.rmtree(plane / "SAM6-12")
    ds = EmbryoDataset(tree)
    split = make_split(ds)
    assert sorted(video for part in split.values() for video in part) == sorted(ds.videos)
    assert all(sum(map(sum, [counted.values()])) for counted in split.made["frames"].values())
    # it stays a video, and the validation reports the empty folder
    found = validate(ds).findings
    empty = found[(found.check == "missing-plane") & (found.video == "SAM2-4")]
    assert empty.plane.tolist() == ["F0"]
    assert "contains no frame" in empty.message.iloc[0]


def test_the_exclusion_list_of_a_report_names_these_folders(tree: Path) -> None:
    report = validate(with_empty_folders(tree))
    found = report.findings[report.findings.check == "no-video"]
    assert set(found.video) == {*SYSTEM, *BROKEN}
    assert set(report.videos) == set(EmbryoDataset(tree).videos)
    assert set(found[found.severity == "warning"].video) == set(BROKEN)
    listed = report.exclude()
    assert set(listed.video) >= {*SYSTEM, *BROKEN}
    assert set(listed[listed.video.isin(SYSTEM)].runs) == {""}
    assert "to exclude because of errors: nothing" in report.summary()
    assert "3 folders" in report.summary()
    with warnings.catch_warnings():  # rows that name these folders match what they should
        warnings.simplefilter("error")
        assert len(EmbryoDataset(tree).table(exclude=report)) == len(EmbryoDataset(tree).table())


def test_an_unlistable_folder_of_the_administrator_is_no_video(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "embryo_dataset" / "lost+found").mkdir()
    (tree / "embryo_dataset" / "SAM7-7").mkdir()
    scandir = os.scandir

    def refused(path: Any = ".") -> Any:
        if str(path).endswith(("lost+found", "SAM7-7")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    ds = EmbryoDataset(tree)
    assert "lost+found" not in ds.videos
    assert "SAM7-7" in ds.videos
    assert "SAM7-7" in set(validate(tree).findings.query("severity == 'error'").video)


def test_a_video_by_name_looks_only_into_its_own_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": looked.append(str(path)) or scandir(path))
    assert EmbryoDataset(tree)["SAM1-2"].name == "SAM1-2"
    inside = [path for path in looked if Path(path).parent.parent == tree]
    assert inside == [str(tree / "embryo_dataset" / "SAM1-2")]
    looked.clear()
    assert len(EmbryoDataset(tree).videos) == 9  # all are annotated, so none needs a look
    assert not [path for path in looked if Path(path).parent.parent == tree]


# --- one folder too deep ---------------------------------------------------------------------------


ALL = (*(plane.folder for plane in FocalPlane), ANNOTATIONS, TIMES)


@pytest.mark.parametrize(
    "entries", [ALL, (ANNOTATIONS,), (TIMES,), ("embryo_dataset",)], ids=lambda e: f"{len(e)} {e[0]}"
)
def test_folders_that_are_too_deep_are_refused_by_every_command(
    tree: Path, tmp_path: Path, run: Run, entries: tuple[str, ...]
) -> None:
    deepen(tree, *entries)
    for command, *args in commands(tree, tmp_path):
        status, out, err = run(command, *args)
        assert (status, out, len(err)) == (1, "", 1), (command, out, err)
        used = "embryo_dataset" if command is play_video and len(entries) > 1 else entries[0]
        assert f"data: the folders are one level too deep: move {used}/{used}/* one folder up" in err[0]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_is_not_used_may_be_too_deep(tree: Path) -> None:
    deepen(tree, "embryo_dataset_F45")
    assert len(EmbryoDataset(tree, planes="F0")["SAM1-2"].runs()) == 16
    (tree / "embryo_dataset" / "embryo_dataset").mkdir()  # an empty folder, or one beside the videos, is none of these
    assert "embryo_dataset" not in EmbryoDataset(tree, planes="F0").videos


def test_a_data_set_two_folders_below_is_named(extracted: Path, tmp_path: Path) -> None:
    shutil.copytree(extracted, tmp_path / "extracted" / "extracted", copy_function=os.link)
    with pytest.raises(DataError, match=r"is not a data set; .*/extracted/extracted is one$"):
        EmbryoDataset(tmp_path)


def test_archives_that_are_too_deep_are_refused(tree: Path, tmp_path: Path, run: Run) -> None:
    import tarfile

    (tmp_path / "archives").mkdir()
    with tarfile.open(tmp_path / "archives" / "embryo_dataset.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(tree / "embryo_dataset", "embryo_dataset/embryo_dataset")
    ds = EmbryoDataset(tmp_path / "archives")
    for ask in (lambda: ds.videos, lambda: ds["SAM1-2"], lambda: ds.table()):
        with pytest.raises(
            DataError, match="one level too deep: extract the archive, and move embryo_dataset/embryo_dataset/"
        ):
            ask()
    for command, *args in commands(tmp_path / "archives", tmp_path):
        assert run(command, *args)[0] == 1, command


# --- no frame at all -------------------------------------------------------------------------------


def as_images(tree: Path) -> Path:
    """Make the layout Patient_0/Patient_0_Image_1.jpeg."""
    rename(tree, lambda number, _: f"Patient_{number}")
    for frame in [frame for plane in planes_of(tree) for frame in plane.glob("*/*.jpeg")]:
        frame.rename(frame.with_name(f"{frame.parent.name}_Image_{frame.stem.rpartition('RUN')[2]}.jpeg"))
    return tree


def test_zero_frames_are_never_a_success(tree: Path, tmp_path: Path, run: Run) -> None:
    as_images(tree)
    reason = "Patient_0 has 16 images such as Patient_0_Image_1.jpeg; a frame's name has the form D<date>_S<slide>_I"
    for command, *args in commands(tree, tmp_path):
        args = ["Patient_0" if arg == "SAM1-2" else arg for arg in args]
        status, out, err = run(command, *args)
        told = pd.DataFrame(validate(tree).findings).message.str.cat() if command is validate_command else "".join(err)
        assert status == 1, (command, out, err)
        assert reason in told or args[1:2] == ["--table"], (command, err)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with pytest.warns(UserWarning, match=reason):
        assert len(EmbryoDataset(tree).table()) == 0
    shutil.rmtree(tree / ANNOTATIONS)
    with pytest.raises(KeyError, match=reason):
        EmbryoDataset(tree)["Patient_0"]


@pytest.mark.parametrize("kind", ["empty", "flat"])
def test_the_reason_is_given(tree: Path, run: Run, kind: str) -> None:
    for plane in planes_of(tree):
        for folder in list(plane.iterdir()):
            if kind == "flat":
                for frame in folder.iterdir():
                    frame.rename(plane / f"{folder.name}_{frame.name}")
            shutil.rmtree(folder)
            if kind == "empty":
                folder.mkdir()
    status, _, err = run(dataset_command, tree)
    why = {"empty": "the folders are empty", "flat": "embryo_dataset has images beside the folders of the videos"}[kind]
    assert status == 1
    assert len(err) == 1
    assert why in err[0]
    assert json.loads(run(dataset_command, tree, "--json")[1])["no_frame"]


def test_annotations_alone_are_a_part(tree: Path, run: Run) -> None:
    for plane in planes_of(tree):
        shutil.rmtree(plane)
    status, out, err = run(dataset_command, tree)
    assert status == 0
    assert not err
    assert "9 videos of 6 patients, no focal plane, so no frames" in out
    assert EmbryoDataset(tree)["SAM1-2"].phases.shape[0]
    assert sum(map(len, make_split(EmbryoDataset(tree)).values())) == 9


# --- renamed folders -------------------------------------------------------------------------------


def test_renamed_folders_are_grouped_by_date_and_slide(tree: Path, extracted: Path, tmp_path: Path, run: Run) -> None:
    before = {f"Patient_{n}": name for n, name in enumerate(sorted(EmbryoDataset(extracted).videos))}
    ds = EmbryoDataset(rename(tree, lambda number, _: f"Patient_{number}"))
    known = patients(ds)
    for one in known:
        for other in known:
            assert (known[one] == known[other]) == (code_of(before[one]) == code_of(before[other]))
    status, out, err = run(split_command, tree, "--out", tmp_path / "split.json")
    assert status == 0
    assert any("these names do not identify patients" in line for line in err)
    split = read_split(tmp_path / "split.json")
    assert not leaks({part: [before[video] for video in videos] for part, videos in split.items()})
    assert "date and slide" in split.made["rule"]
    assert sum(split.made["codes"].values()) == 6
    # what is said of a split
    status, out, err = run(split_command, tree, "--check", tmp_path / "split.json")
    assert status == 0
    assert "by the date and slide of the frames (these names do not identify patients)" in out
    siblings = [video for video in known if known[video] == known["Patient_0"]]
    assert len(siblings) == 2
    torn = Split({"train": siblings[:1], "test": siblings[1:]})
    write_split(torn, tmp_path / "torn.json")
    status, out, err = run(split_command, tree, "--check", tmp_path / "torn.json")
    assert status == 1
    assert "1 of 1 video in test has a sibling in train" in out
    assert "no siblings are in different parts" not in out
    options = ("--split", tmp_path / "torn.json", "--planes", "F0")
    status, out, err = run(folder_command, tree, tmp_path / "images", *options)
    assert status == 0
    assert any("the split has siblings in different parts: 1 of 1 video in test" in line for line in err)


def test_renamed_folders_are_reported(tree: Path, run: Run) -> None:
    rename(tree, lambda number, _: f"Patient_{number}")
    status, out, _ = run(dataset_command, tree)
    assert status == 0
    assert "9 videos, " in out
    assert "videos of" not in out
    assert "these names do not identify patients: Patient_0, " in out
    assert "give 6 patients" in out
    found = validate(tree).findings.query("check == 'siblings'")
    assert "these names do not identify patients: Patient_0" in found.message.iloc[0]
    assert found.severity.iloc[0] == "warning"
    assert sum("slide D" in message and " has 2 videos" in message for message in found.message) == 3
    assert set(EmbryoDataset(tree).table().code) == {f"Patient_{n}" for n in range(9)}


def test_names_of_both_kinds_are_one_group_if_they_share_a_slide(tree: Path) -> None:
    ds = EmbryoDataset(rename(tree, lambda _, old: "left over" if old == "SAM1-7" else old))
    assert patients(ds)["left over"] == "SAM1" == patients(ds)["SAM1-2"]
    assert patients(ds, ["left over"]) == {"left over": "SAM1"}


def test_nothing_is_claimed_if_patients_cannot_be_known(tree: Path, tmp_path: Path, run: Run) -> None:
    rename(tree, lambda number, _: f"Patient_{number}")
    with pytest.warns(UserWarning, match="these names do not identify patients, so the date and slide"):
        split = make_split(EmbryoDataset(tree))
    write_split(split, tmp_path / "split.json")
    for plane in planes_of(tree):
        shutil.rmtree(plane)
    status, out, err = run(split_command, tree, "--out", tmp_path / "other.json")
    assert status == 1
    assert "these names do not identify patients" in err[-1]
    assert not (tmp_path / "other.json").exists()
    status, out, err = run(split_command, tree, "--check", tmp_path / "split.json")
    assert status == 1
    assert "do not identify patients" in out
    assert "no siblings are in different parts" not in out
    names = check_split(Split({"train": ["Patient_1"], "test": ["Patient_2"]}), ["Patient_1", "Patient_2"])
    assert not names.valid
    assert "no siblings are in different parts" not in " ".join(names.lines())
    assert all("do not identify patients" in m for m in validate(tree).findings.query("check == 'siblings'").message)


# --- annotations that count from 0 ------------------------------------------------------------------


def test_annotations_that_count_from_zero_are_reported(tree: Path, run: Run) -> None:
    for file in (tree / ANNOTATIONS).iterdir():
        rows = [line.split(",") for line in file.read_text().split()]
        text = "".join(f"{phase},{int(a) - int(rows[0][1])},{int(b) - int(rows[0][1])}\n" for phase, a, b in rows)
        file.unlink()
        file.write_text(text)
    ds = EmbryoDataset(tree)
    with pytest.warns(UserWarning, match="counts from 0, but there is no RUN0: the labels are one run early") as caught:
        assert len(ds.table()) == len(ds.table())
    assert len(caught) == 1
    assert ds.contents.from_zero == set(ds.videos)
    found = validate(tree).findings.query("check == 'from-zero'")
    assert len(found) == 9
    assert "there is no RUN0; the labels are one run early" in found.message.iloc[0]
    status, out, err = run(dataset_command, tree)
    assert status == 0
    assert "labels   one run early, since annotations count from 0" in out
    assert len([line for line in err if "counts from 0" in line]) == 1


def test_warnings_show_names_with_escapes_in_one_line(tree: Path, tmp_path: Path) -> None:
    rename(tree, lambda number, _: f"Patient\x1b[31m\n{number}")
    first, second = (f"Patient\x1b[31m\n{number}" for number in range(2))
    (tree / ANNOTATIONS / f"{first}_phases.csv").unlink()
    (tree / ANNOTATIONS / f"{first}_phases.csv").write_text("t2,0,5\n")
    for plane in planes_of(tree):
        for frame in (plane / second).iterdir():
            frame.unlink()
    here = Path(shutil.move(tree, tmp_path / "data\x1b[2J\n"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EmbryoDataset(here).table(exclude=pd.DataFrame({"video": ["x\x1b[31m\n", first], "runs": ["", "900"]}))
        make_split(EmbryoDataset(here))
        for plane in planes_of(here):
            shutil.rmtree(plane)
            (plane / first).mkdir(parents=True)
            (plane / first / "x\x1b[31m\n.jpeg").write_bytes(b"")
        EmbryoDataset(here).table()
    told = [str(each.message) for each in caught]
    for part in (
        "counts from 0",
        "match no frame here",
        "in no part of the split",
        "do not identify patients",
        "the form D",
    ):
        assert any(part in text for text in told), (part, told)
    assert all(text.isprintable() for text in told), told


# --- exclusion lists that match nothing -------------------------------------------------------------

WRONG = "video,plane,runs\nSAM1-22,,\nSAM1-2,,900-1000\nSAM1-7,F0,1240\n"
SENTENCE = (
    "exclusion list: 3 of 3 rows match no frame here: SAM1-22 (no such video; nearest: SAM1-2), "
    "SAM1-2 runs 900-1000 (it has RUN1 to 16), SAM1-7 runs 1240 (it has RUN1 to 16)"
)


def test_a_list_that_matches_nothing_is_reported_once_per_call(
    extracted: Path, archives: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "wrong.csv").write_text(WRONG)

    def truth(ds: EmbryoDataset, listed: Any) -> None:
        (tmp_path / "truth.csv").unlink(missing_ok=True)
        write_ground_truth(ds, tmp_path / "truth.csv", exclude=listed)

    for ds in EmbryoDataset(extracted), EmbryoDataset(archives):
        for call in (
            lambda ds, listed: ds.table(exclude=listed),
            lambda ds, listed: ds.table("SAM2-4", "F15", exclude=listed),
            lambda ds, listed: ds.frames(exclude=listed),
            lambda ds, listed: make_split(ds, exclude=listed),
            truth,
        ):
            for listed in pd.read_csv(tmp_path / "wrong.csv"), tmp_path / "wrong.csv":
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    call(ds, listed)
                assert [str(each.message) for each in caught] == [SENTENCE]
                assert caught[0].category is UserWarning
    exclude = ("--exclude", tmp_path / "wrong.csv")
    for command, *args in (
        (dataset_command, extracted, "--table", tmp_path / "t.csv", *exclude),
        (split_command, extracted, "--out", tmp_path / "s.json", *exclude),
        (folder_command, extracted, tmp_path / "images", "--planes", "F0", *exclude),
    ):
        status, out, err = run(command, *args)
        assert status == 0
        assert err == [f"warning: {SENTENCE}"]
        assert out
    assert len(pd.read_csv(tmp_path / "t.csv"))


def test_a_list_as_it_should_be_is_not_reported(tree: Path) -> None:
    for plane in planes_of(tree):
        next((plane / "SAM1-2").glob("*_RUN7.jpeg")).unlink()
    shutil.rmtree(tree / "embryo_dataset_F45")
    shutil.rmtree(tree / "embryo_dataset_F30" / "SAM2-4")
    ds = EmbryoDataset(tree)
    rows = [
        ("SAM1-2", "", "7"),
        ("SAM1-7", "F45", ""),
        ("SAM2-4", "F30", "1-5"),
        ("SAM3-6", "", "10-900"),
        ("AA83-7", "", ""),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in rows[:-1]:
            ds.table(exclude=pd.DataFrame([row, rows[-1]], columns=["video", "plane", "runs"]))
        for severity in "error", "warning", "info":
            ds.table(exclude=validate(ds).exclude(severity))
        ds.table(exclude=ds.videos)
        ds.table(exclude=None)
    with pytest.warns(UserWarning, match=r"2 of 2 rows match no frame here: AA83-7 \(this video is not in your copy\)"):
        ds.table(exclude=[*released_videos()[:1], "AA83-7"][::-1])


def test_a_range_that_became_a_date_is_refused(extracted: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "dated.csv").write_text("video,plane,runs\nSAM1-2,,Dec-40\n")
    status, _, err = run(dataset_command, extracted, "--table", tmp_path / "t.csv", "--exclude", tmp_path / "dated.csv")
    assert status == 1
    assert "a spreadsheet has turned a range into a date: format the column as text" in err[0]
    assert not (tmp_path / "t.csv").exists()


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["s3://bucket/x", "gs://bucket/x", "https://zenodo.org/x", Path("s3://bucket/x")], ids=str
)
def test_an_address_is_no_path(
    url: Any, tmp_path: Path, run: Run, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"is a URL; download or mount it first"):
        EmbryoDataset(url)
    with pytest.raises(DataError, match=r"is a URL; download or mount it first"):
        EmbryoDataset(extracted).table(exclude=Path(url))
    into = f"{url}/out.json"
    for command, *args in (
        *commands(url, tmp_path),
        (split_command, extracted, "--out", into),
        (split_command, extracted, "--check", into),
        (folder_command, extracted, into),
        (part_command, extracted, into),
        (dataset_command, extracted, "--table", f"{url}/out.csv"),
        (play_video, extracted, "SAM1-2", "--no-open", "--out", into),
    ):
        status, out, err = run(command, *args)
        assert (status, out, len(err)) == (1, "", 1), (command, out, err)
        assert "is a URL; download or mount it first" in err[0]
    for command, *args in (
        (dataset_command, extracted, "--table", tmp_path / "t.csv", "--exclude", into),
        (split_command, extracted, "--out", tmp_path / "split.json", "--exclude", into),
        (realism, extracted, tmp_path, "--out", into),
        *((validate_command, extracted, f"--{kind}", into) for kind in ("html", "csv", "json-file")),
    ):
        status, out, err = run(command, *args)
        assert (status, out, len(err)) == (1, "", 1), (command, out, err)
        assert f"{into} is a URL" in err[0]  # with both of its slashes
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_into_the_data_set(tree: Path, tmp_path: Path, run: Run) -> None:
    before = sorted(tree.rglob("*"))
    (tmp_path / "link").symlink_to(tree)
    for place in tree, tree / "embryo_dataset", tmp_path / "link":
        for command, *args in (
            *((validate_command, tree, f"--{kind}", place / "new") for kind in ("html", "csv", "json-file")),
            (play_video, tree, "SAM1-2", "--no-open", "--out", place / "new"),
            (realism, tree, tmp_path, "--out", place / "new"),
        ):
            status, out, err = run(command, *args)
            assert (status, out, len(err)) == (1, "", 1), (command, out, err)
            assert "is inside the data set" in err[0]
    assert sorted(tree.rglob("*")) == before


def test_a_local_folder_may_have_any_name(extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(extracted, "s3:", copy_function=os.link)
    assert len(EmbryoDataset("s3:/")) == 9
    assert len(EmbryoDataset("s3:")) == 9
    monkeypatch.setenv("HOME", str(extracted.parent))
    assert EmbryoDataset("~/extracted").root == str(extracted)
    with pytest.raises(DataError, match=f"is a URL; give its path, {extracted}"):
        EmbryoDataset(f"file://{extracted}")


# --- calls that users try first ----------------------------------------------------------------------


def test_names_are_a_menu_in_interact(extracted: Path) -> None:
    ds = EmbryoDataset(extracted)
    for names in ds.videos, ds.videos[:2], ds.videos[:3], ds.planes, ds["SAM1-2"].planes:
        assert tuple(interactive(lambda name: None, name=names).children[0].options) == tuple(names)
    assert ds.videos == tuple(ds.videos)
    assert hash(ds.videos) == hash(tuple(ds.videos))
    assert ds.videos != list(ds.videos)
    assert pickle.loads(pickle.dumps(ds.videos)) == ds.videos
    assert repr(ds.videos) == repr(tuple(ds.videos))
    one_more = ("x",)
    assert ds.videos + one_more == (*ds.videos, "x") == (*ds.videos, *one_more)
    assert one_more + ds.videos == ("x", *ds.videos)
    assert ds.videos.index("SAM1-7") == 1


CALLS = (
    *(
        EmbryoDataset,
        EmbryoPlayer,
        check_split,
        compare,
        compare_sheet,
        contact_sheet,
        extract_part,
        focal_stack,
        leaks,
    ),
    *(make_image_folder, make_split, measure_video, phase_raster, read_split, validate, write_ground_truth),
)
NAMES = {each.__name__: each for each in CALLS}

KINDS: dict[str, str] = {
    "EmbryoDataset(None)": 'such as "data/extracted", not None',
    "EmbryoDataset(ds)": 'such as "data/extracted", not <EmbryoDataset',
    "EmbryoDataset(ds.path, planes=15.0)": 'a focal plane is "F-15", -15',
    "ds[0]": r'as in ds\["SAM1-2"\].frame',
    "ds['SAM1-2', 'F0']": r'as in ds\["SAM1-2"\].frame\(12, "F15"\)',
    "ds.get(None)": r'as in ds\["SAM1-2"\].frame',
    "v.frame('12')": r'as in video.frame\(12, "F15"\); not \'12\'',
    "v.frame(12.0)": "a RUN number is an integer",
    "v.frame('F0', 12)": "a RUN number is an integer",
    "v.frame([1, 2])": "a RUN number is an integer",
    "v.frame(12, None)": 'a focal plane is "F-15", -15',
    "v.frame(12, size='64')": "size is a number of pixels",
    "v.frame(12, size=(64, 64))": "size is a number of pixels",
    "v.jpeg('3')": "a RUN number is an integer",
    "v.phase_at(3.0)": r"as in video.phase_at\(12\)",
    "v.runs(['F0'])": 'a focal plane is "F-15", -15',
    "v.stack([3, 4])": 'a focal plane is "F-15", -15',
    "v.stack(runs='5')": r"as in video.stack\(",
    "ds.table(phases=2)": r"as in ds.table\(phases=",
    "ds.table(planes=1.0)": 'a focal plane is "F-15", -15',
    "ds.table(videos=0)": r'as in ds\["SAM1-2"\]',
    "ds.table(exclude=5)": "exclude= takes a report",
    "ds.frames(transform=5)": "transform is a function of an image",
    "ds.frames()['SAM1-2']": r"as in frames\[0\]",
    "EmbryoPlayer('SAM1-2')": r'as in EmbryoPlayer\(ds\["SAM1-2"\], plane="F0"\); not \'SAM1-2\'',
    "EmbryoPlayer(ds)": r'as in EmbryoPlayer\(ds\["SAM1-2"\], plane="F0"\); not (<|this )EmbryoDataset',
    "EmbryoPlayer(['SAM1-7'])": r'as in EmbryoPlayer\(ds\["SAM1-7"\]',
    "EmbryoPlayer(v.stack())": "not this ndarray",
    "EmbryoPlayer(v, plan='F0')": r"no argument 'plan'; nearest: plane; as in EmbryoPlayer\(ds\[",
    "EmbryoPlayer(v, plane=1.5)": 'a focal plane is "F-15", -15',
    "EmbryoPlayer(v, value='12')": r"as in EmbryoPlayer\(video, value=12\)",
    "EmbryoPlayer(v).to_html(planes=1.5)": 'a focal plane is "F-15", -15',
    "contact_sheet('SAM1-2')": r'as in contact_sheet\(ds\["SAM1-2"\]',
    "contact_sheet(ds)": r'as in contact_sheet\(ds\["SAM1-2"\]',
    "contact_sheet(v, runs='5')": r"as in contact_sheet\(video, runs=\[12, 13\]\)",
    "focal_stack('SAM1-2', 3)": r'as in focal_stack\(ds\["SAM1-2"\], 12\)',
    "focal_stack(v, '3')": r"as in focal_stack\(video, 12\)",
    "phase_raster(v)": r"as in phase_raster\(ds, videos=",
    "make_split(ds.path)": r"as in make_split\(EmbryoDataset\(",
    "make_split(ds, seed='x')": r"as in make_split\(ds, seed=1\)",
    "check_split('split.json', ds)": r"as in check_split\(read_split\(",
    "leaks('split.json')": r"as in leaks\(read_split\(",
    "read_split(None)": "a path must be a string",
    "extract_part(ds.path, 'x')": r"as in extract_part\(EmbryoDataset\(",
    "write_ground_truth(ds.path, 'x.csv')": r"as in write_ground_truth\(EmbryoDataset\(",
    "make_image_folder(ds, 'x')": r"as in make_image_folder\(ds.frames\(",
    "compare(ds, ds)": r"as in compare\(ds.frames\(",
    "compare_sheet(ds, ds)": r"as in compare_sheet\(ds.frames\(",
    "validate(v)": r"as in validate\(ds\) or validate\(",
    "measure_video(ds.path, 'SAM1-2')": r"as in measure_video\(ds, ",
}


@pytest.mark.parametrize("call", KINDS)
def test_a_wrong_kind_shows_the_right_call(call: str, extracted: Path) -> None:
    ds = EmbryoDataset(extracted)
    with pytest.raises(TypeError, match=KINDS[call]) as caught:
        eval(call, NAMES | {"ds": ds, "v": ds["SAM1-2"]})
    assert "\n" not in str(caught.value)


VALUES: dict[str, str] = {
    "ds['SAM1-3']": "nearest: SAM",
    "v.frame(99)": "nearest: 16",
    "v.frame(12, 'F1')": "nearest: F15",
    "ds.table(phases='t99')": r"nearest: t9\+",
    "ds.frames(pick='mean')": "nearest: median",
    "EmbryoPlayer(v, value=99)": "nearest: 16",
    "EmbryoPlayer(v).to_html(planes='F1')": "nearest: F15",
    "focal_stack(v, 99)": "nearest: 16",
}


@pytest.mark.parametrize("call", VALUES)
def test_a_wrong_value_names_the_nearest(call: str, extracted: Path) -> None:
    ds = EmbryoDataset(extracted)
    with pytest.raises((ValueError, KeyError), match=VALUES[call]):
        eval(call, NAMES | {"ds": ds, "v": ds["SAM1-2"]})


@pytest.mark.slow
def test_one_or_several_planes_videos_phases_and_runs(extracted: Path) -> None:
    ds = EmbryoDataset(extracted)
    v, names = ds["SAM1-2"], ["SAM1-2"]
    for one in (FocalPlane.F_15, "F-15", "-15", -15, np.int64(-15)):
        for planes in one, [one], (one, "F-15"), np.array([-15]):
            assert set(ds.table(planes=planes).plane) == {"F-15"}
            assert EmbryoDataset(extracted, planes=planes).planes == ("F-15",)
        assert EmbryoPlayer(v).to_html(planes=one) == EmbryoPlayer(v).to_html(planes=[one])
        assert focal_stack(v, 3, one).images
        assert contact_sheet(v, one)
        assert phase_raster(ds, plane=one)
        assert set(measure_video(ds, v, one).plane) == {"F-15"}
        assert validate(ds, ["frame-size"], pixels=True, planes=one).frames.plane.unique().tolist() == ["F-15"]
    for videos in "SAM1-2", v, names, [v], pd.Series(names), ds.videos[:1]:
        assert ds.table(videos).video.unique().tolist() == names
        assert phase_raster(ds, videos)
    for phases in "t2", Phase.t2, ["t2"], {Phase.t2}:
        assert set(ds.table(phases=phases).phase) == {"t2"} == set(ds.frames(phases=phases).table.phase)
    assert v.stack(runs=5).shape == (1, 48, 48)
    assert contact_sheet(v, runs=5)
    assert contact_sheet(v, runs=[5, 6])
    assert ds[v] == v
    assert v in ds
    assert validate(ds, "siblings").checks == ("siblings",)
    page = EmbryoPlayer(v, plane="F0").to_html(planes="F0")
    assert page == EmbryoPlayer(v, plane="F0").to_html()


def test_other_annotations_that_name_no_video_are_reported(
    shared: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published labels would be used without a word, although others were asked for."""
    extracted = shared().extracted
    name = EmbryoDataset(extracted).videos[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "XX1-1_phases.csv").write_text("t2,1,9\n")
    for folder in tmp_path / "other", shared().archives:
        with pytest.warns(UserWarning, match="names a video of this data set, so the published labels are used"):
            assert len(EmbryoDataset(extracted, annotations=folder)[name].phases) > 1
    assert dataset_command.main([str(extracted), "--annotations", str(tmp_path / "other")]) == 0
    assert "the published labels are used" in capsys.readouterr().err
    (tmp_path / "other" / f"{name}_phases.csv").write_text("t2,1,9\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert EmbryoDataset(extracted, annotations=tmp_path / "other")[name].phases["phase"].tolist() == ["t2"]
