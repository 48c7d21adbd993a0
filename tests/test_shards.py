"""Test shards: the real `datasets` and `webdataset`, a killed export, memory."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Shared

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import image_folder
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.shards import LABELS, croissant, shard_names
from nsw_da_medical_image.dataset_util.util import Phase

ROOT = Path(__file__).parent.parent
SPLIT = {"train": ["SAM1-2", "SAM1-7"], "val": [], "test": ["SAM2-4"]}


@pytest.fixture(scope="module")
def ds(shared: Callable[..., Shared]) -> EmbryoDataset:
    return EmbryoDataset(shared(videos=3, size=48, quirks=("missing-time@SAM1-2",)).extracted)


def python(code: str, *args: object, **more: str) -> str:
    """Run code in another process, offline, and return what it prints."""
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, **offline, **more}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


LOAD = """
import hashlib, json, sys
from datasets import Image, load_dataset
parts = load_dataset(sys.argv[1], data_dir=sys.argv[2])
found = {}
for name, part in parts.items():
    images = part[:][sys.argv[3]]
    mode, size = images[0].mode, images[0].size
    raw = part.cast_column(sys.argv[3], Image(decode=False))
    rows = [{**row, sys.argv[3]: hashlib.sha256(row[sys.argv[3]]["bytes"]).hexdigest()} for row in raw]
    found[name] = [mode, size, rows]
print(json.dumps(found))
"""


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
@pytest.mark.slow
def test_datasets_loads_all_parts_with_the_bytes_of_the_source(ds: EmbryoDataset, tmp_path: Path, form: str) -> None:
    pytest.importorskip("datasets")
    frames = ds.frames(planes=["F0", "F15"], phases=list(Phase))
    make_image_folder(frames, tmp_path / "out", form=form, split=SPLIT)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "croissant.json",
        "test",
        "train",
    ]
    column = "image" if form == "parquet" else "jpg"
    found = json.loads(python(LOAD, form, tmp_path / "out", column, HF_HOME=str(tmp_path / "hf")))
    assert set(found) == {"train", "test"}
    expected = {}
    for number in range(len(frames)):
        row = frames.table.iloc[number]
        part = "test" if row.video == "SAM2-4" else "train"
        hours = None if np.isnan(row.hours) else row.hours
        digest = hashlib.sha256(frames.jpeg(number)).hexdigest()
        expected.setdefault(part, []).append(
            [digest, row.video, row.code, str(row.plane), row.run, str(row.phase), hours]
        )
    names = ("video", "code", "plane", "run", "phase", "hours")
    for part, (mode, size, rows) in found.items():
        assert (mode, size) == ("L", [48, 48])
        labels = rows if form == "parquet" else [row["json"] for row in rows]
        made = [[row[column], *(each[name] for name in names)] for row, each in zip(rows, labels, strict=True)]
        assert made == expected[part]
        assert labels[0]["text"].startswith("a microscopic image of a human embryo at phase ")
    assert any(row[-1] is None for row in expected["train"])


def test_webdataset_reads_the_tarballs(ds: EmbryoDataset, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    frames = ds.frames("SAM1-2", "F0", list(Phase))
    make_image_folder(frames, tmp_path / "out", form="webdataset")
    samples = list(webdataset.WebDataset(str(tmp_path / "out" / "data" / "data-000000.tar"), shardshuffle=False))
    assert [sample["jpg"] for sample in samples] == [frames.jpeg(number) for number in range(len(frames))]
    assert json.loads(samples[3]["json"])["run"] == frames.table.run[3]


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
@pytest.mark.slow
def test_a_killed_export_resumes_with_the_same_bytes(
    ds: EmbryoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The process is killed after its first shards are complete; the next call leaves these alone."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    code = """
import os, sys, signal
from nsw_da_medical_image.dataset_util import shards
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.util import Phase
shards.PER_SHARD = 8
real, made = shards._write_shard, []
def write(*args):
    made.append(args[0].name)
    if len(made) > int(sys.argv[4]):
        file = args[0].with_name(".half.nsw-")
        file.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
shards._write_shard = write
make_image_folder(EmbryoDataset(sys.argv[1]).frames("SAM1-2", "F0", list(Phase)), sys.argv[2], form=sys.argv[3])
"""
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, ds.path, out, form]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([*map(str, command), "2"], env=environment, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.unfinished" / "data").glob("data-*")}
    assert len(kept) == 2
    done = subprocess.run([*map(str, command), "99"], env=environment, check=False, timeout=120)
    assert done.returncode == 0
    assert not (tmp_path / "out.unfinished").exists()
    assert {path: (out / "data" / path.name).stat().st_mtime_ns for path in kept} == kept
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.shards.PER_SHARD", 8)
    frames = ds.frames("SAM1-2", "F0", list(Phase))
    make_image_folder(frames, tmp_path / "at once", form=form)
    for name in shard_names(form, "data", len(frames)):
        assert (out / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()
    described = json.loads((out / "croissant.json").read_text())
    files = [file for file in described["distribution"] if file["@type"] == "cr:FileObject"]
    assert len(files) == len(shard_names(form, "data", len(frames)))
    for file in files:
        assert hashlib.sha256((out / file["contentUrl"]).read_bytes()).hexdigest() == file["sha256"]


def test_the_licence_is_named_for_frames_of_the_release_only(ds: EmbryoDataset, tmp_path: Path) -> None:
    make_image_folder(ds.frames("SAM1-2", "F0", "t2"), tmp_path / "sample", form="webdataset")
    assert "license: unknown" in (tmp_path / "sample" / "README.md").read_text()


def test_real_frames_keep_their_bytes(real_data: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    frames = EmbryoDataset(real_data).frames("CF946-6", "F0", list(Phase))
    make_image_folder(frames, tmp_path / "out", form="parquet")
    rows = parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [frames.jpeg(number) for number in range(len(frames))]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc-by-nc-sa-4.0" in text
    assert "10.5281/zenodo.7912264" in text


MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
import shards_memory
from nsw_da_medical_image.dataset_util import shards
form = sys.argv[2]
if form == "table":  # nothing is written
    form = "webdataset"
    shards._write_shard = lambda file, form, own, sample, bar: (sample(own[0]), shards.Shard(len(own), 1, 0, 1, "0" * 64))[1]
else:
    shards.PER_SHARD = 256
print(shards_memory.export(form, int(sys.argv[3]), split=True)[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the highest point of the memory is read from /proc")
@pytest.mark.parametrize(("what", "rows"), [("table", 2_400_000), ("parquet", 24_000), ("webdataset", 24_000)])
@pytest.mark.slow
def test_an_export_adds_the_same_memory_for_any_number_of_rows(what: str, rows: int) -> None:
    """2.4 million rows take 43 MB in the table; 94 shards hold 7 MB of images, and labels of 20 MB."""
    if what == "parquet":
        pytest.importorskip("pyarrow")
    assert float(python(MEMORY, ROOT / "benchmarks", what, rows)) < 12  # MB


@pytest.mark.parametrize(("form", "released"), [("parquet", False), ("parquet", True), ("webdataset", True)])
def test_croissant_is_valid(
    ds: EmbryoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, released: bool
) -> None:
    """The library finds no error and nothing to recommend, and reads the records of the parts, several files each."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.shards.PER_SHARD", 8)
    if released:
        monkeypatch.setattr("nsw_da_medical_image.dataset_util.image_folder.released_videos", lambda: tuple(ds))
    frames = ds.frames(["SAM1-2", "SAM2-4"], "F0", list(Phase))
    make_image_folder(frames, tmp_path / "out", form=form, split=SPLIT)
    assert ("creativecommons" in (tmp_path / "out" / "croissant.json").read_text()) == released
    described = mlcroissant.Dataset(tmp_path / "out" / "croissant.json")
    assert described.metadata.ctx.issues.errors == described.metadata.ctx.issues.warnings == set()
    if form == "webdataset":
        assert described.metadata.record_sets == []
        return
    for part, videos in SPLIT.items():
        if not (numbers := [i for i, video in enumerate(frames.table.video) if video in videos]):
            continue
        records = list(described.records(part))
        assert set(records[0]) == {f"{part}/{name}" for name in ("image", *LABELS)}
        assert [record[f"{part}/label"].decode() for record in records] == [frames.label(i) for i in numbers]
        assert [record[f"{part}/run"] for record in records] == frames.table.run[numbers].tolist()
        assert np.array_equal(np.asarray(records[3][f"{part}/image"]), np.asarray(frames[numbers[3]].image))


def test_croissant_describes_any_folder_without_the_library(ds: EmbryoDataset, tmp_path: Path) -> None:
    assert "".join(croissant("x", "parquet", {}, True)).endswith("}\n")
    make_image_folder(ds.frames("SAM1-2", "F0", "t2"), tmp_path / "out", form="webdataset")
    described = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert (described["license"], described["citeAs"], "url" in described) == ("unknown", "unknown", False)


def test_the_parts_of_a_split_are_found_in_pieces(ds: EmbryoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the pieces, a part has the rows of its videos, and any slice of it is the same."""
    frames = ds.frames(planes=["F0", "F15"], phases=list(Phase))
    frames = frames[np.random.default_rng(0).permutation(len(frames))]
    videos = frames.table.video.to_numpy(object)
    for rows in 1, 7, 64, 65536:
        monkeypatch.setattr("nsw_da_medical_image.dataset_util.image_folder._ROWS", rows)
        parts = image_folder._parts(frames, SPLIT)
        assert list(parts) == ["train", "test"]
        for part, own in parts.items():
            expected = np.flatnonzero(np.isin(videos, SPLIT[part]))
            assert len(own) == len(expected)
            for start in 0, 1, 5, 63, len(expected) - 1, len(expected), 999:
                assert np.array_equal(own[start : start + 20], expected[start : start + 20])
        assert sum(image_folder._counts(frames.table.phase).values()) == len(frames)
    with pytest.raises(DataError, match=r"no part of the split: SAM1-7, SAM2-4; select"):
        image_folder._parts(frames, {"train": ["SAM1-2"]})
