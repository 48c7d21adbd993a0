"""Test image folders: the command from outside, the real `datasets`, a killed process."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Shared

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.image_folder import main, make_image_folder
from nsw_da_medical_image.dataset_util.util import Phase

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.image_folder"]


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> Path:
    return shared(frames=60, size=96, quirks=("truncated-jpeg@SAM2-4",)).extracted


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def command(*args: object) -> subprocess.CompletedProcess[str]:
    full = [*COMMAND, *map(str, args)]
    return subprocess.run(full, capture_output=True, text=True, env=environment(), check=False, timeout=120)


def tree(folder: Path) -> dict[str, str]:
    """Return a hash of every file below `folder`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_the_classic_form_byte_by_byte(data: Path, tmp_path: Path) -> None:
    """Compare with a handwritten expectation and with the source's own files."""
    before = tree(data)
    out = tmp_path / "training"
    options = ["--videos", "SAM1-7", "SAM1-2", "--planes", "F0", "F-15", "--phases", "t2", "--pick", "onset"]
    done = command(data, out, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: 4 images of 2 videos, planes F-15, F0, ")

    with open(data / "embryo_dataset_annotations" / "SAM1-2_phases.csv", newline="") as f:
        two = next(int(first) for phase, first, _ in csv.reader(f) if phase == "t2")
    with open(data / "embryo_dataset_annotations" / "SAM1-7_phases.csv", newline="") as f:
        seven = next(int(first) for phase, first, _ in csv.reader(f) if phase == "t2")
    middle = "a microscopic image of a human embryo at phase t2 recorded at focal plane F+00\n"
    lower = "a microscopic image of a human embryo at phase t2 recorded at focal plane F-15\n"
    rows = [
        ("SAM1-7", seven, "F+00", "embryo_dataset", middle),
        ("SAM1-7", seven, "F-15", "embryo_dataset_F-15", lower),
        ("SAM1-2", two, "F+00", "embryo_dataset", middle),
        ("SAM1-2", two, "F-15", "embryo_dataset_F-15", lower),
    ]
    expected = {"metadata.csv": b"filename,label,phase\n"}
    for number, (video, run, plane, folder, text) in enumerate(rows):
        [source] = (data / folder / video).glob(f"*_RUN{run}.jpeg")
        expected["metadata.csv"] += f"{number}.jpeg,{plane}_{video}_{run},t2\n".encode()
        expected[f"images/{number}.jpeg"] = source.read_bytes()
        expected[f"descriptions/{number}.txt"] = text.encode()
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == expected
    assert tree(data) == before


@pytest.mark.slow
def test_hugging_face_loads_it(data: Path, tmp_path: Path) -> None:
    """Use the real library, offline, in a separate process."""
    pytest.importorskip("datasets")
    out = tmp_path / "training"
    assert command(data, out, "--form", "huggingface", "--planes", "F0", "--videos", "SAM1-2").returncode == 0
    code = """
import json, sys
from datasets import load_dataset
images = load_dataset("imagefolder", data_dir=sys.argv[1], split="train")
first = images[0]
facts = [len(images), images.column_names, first["text"], first["label"], first["phase"], first["image"].mode, first["image"].size]
origin = [first[name] for name in ("video", "code", "plane", "run", "hours")]
print(json.dumps([*facts, sorted(set(images["text"])), origin]))
"""
    caches = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, out],
        capture_output=True,
        text=True,
        env=environment(**caches),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count, columns, text, label, phase, mode, size, texts, origin = json.loads(done.stdout)
    frames = EmbryoDataset(data).frames("SAM1-2", "F0")
    frames = frames[frames.table.phase.notna()]
    assert count == len(frames)
    assert set(columns) == {"image", "text", "label", "phase", "video", "code", "plane", "run", "hours"}
    assert origin == ["SAM1-2", "SAM1", "F0", int(frames.table.run[0]), frames.table.hours[0]]
    assert (text, label, phase) == (
        f"a microscopic image of a human embryo at phase {frames.table.phase[0]}",
        frames.label(0),
        frames.table.phase[0],
    )
    assert (mode, size) == ("L", [96, 96])
    assert texts == sorted({f"a microscopic image of a human embryo at phase {p}" for p in frames.table.phase})


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (["--phases", "t99"], 2, "error: 't99' is not a phase; choose from tPB2"),
        (["--planes", "F7"], 2, "error: 'F7' is not a focal plane; choose from F-45"),
        (["--videos", "SAM1-3"], 1, "has no video 'SAM1-3'; nearest: SAM1-"),
        (
            ["--videos", "SAM1-7", "--phases", "tHB"],
            1,
            "has no labelled frame of these videos, planes and phases that is not excluded; nothing is written",
        ),
        (["--pick", "0"], 2, "error: pick is 0"),
        (["--videos", "SAM2-4", "--planes", "F0"], 1, "is truncated; leave it out with exclude"),
        (["--synthetic", "nowhere"], 1, "error: nowhere does not exist"),
        (["--exclude", "nowhere.csv"], 1, "error: No such file or directory: nowhere.csv"),
        (["--exclude", "s3://bucket/x.csv"], 1, "error: s3://bucket/x.csv is a URL"),
        (["--size", "64", "--link"], 2, "error: link and size cannot be combined"),
        (["--size", "7"], 2, "error: size is 7; it must be 8 to 16,384 pixels"),
        (["--size", str(10**9)], 2, "error: size is 1000000000; it must be 8 to 16,384 pixels"),
        (["--size", str(10**20)], 2, "error: size is 100000000000000000000; it must be 8 to 16,384 pixels"),
    ],
)
@pytest.mark.slow
def test_wrong_input_gives_one_line_and_leaves_nothing(
    data: Path, tmp_path: Path, options: list[str], status: int, why: str
) -> None:
    done = command(data, tmp_path / "out", *options)
    assert done.returncode == status
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_part_needs_its_split(data: Path, tmp_path: Path) -> None:
    """Otherwise the whole data set would be written instead of the training part."""
    done = command(data, tmp_path / "out", "--videos", "SAM1-2", "--part", "train")
    assert done.returncode == 2
    assert done.stderr.endswith("error: --part train needs --split, the file with this part\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_split_that_leaks_or_names_other_videos_is_told_of(data: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["SAM1-2", "AA83-7", "SAM1-99"], "val": ["SAM1-7", "SAM2-4"]}))
    options = ["--planes", "F0", "--phases", "t2", "--pick", "median", "--split", split]
    done = command(data, tmp_path / "out", *options)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "note: the split has siblings in different parts: 1 of 2 videos in val has a sibling in train: SAM1-7",
        "note: 2 of 3 videos in train are not in this data set and are skipped: AA83-7, SAM1-99",
    ]
    with open(tmp_path / "out" / "metadata.csv", newline="") as f:
        assert {row["label"].split("_")[1] for row in csv.DictReader(f)} == {"SAM1-2"}

    split.write_text(json.dumps({"train": ["SAM1-2", "SAM1-7"], "val": ["SAM2-4"]}))
    done = command(data, tmp_path / "sound", *options)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_written_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = command(data, tmp_path / "out", "--videos", "SAM1-2")
    assert done.returncode == 1
    assert done.stderr == f"error: exists already; give another name, or remove it: {tmp_path / 'out'}\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_links_share_the_bytes(data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(data, tmp_path / "data")  # a link changes its file's times
    done = command(data, tmp_path / "out", "--videos", "SAM1-2", "--planes", "F0", "--link", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["linked"] is True
    assert all(path.stat().st_nlink > 1 for path in (tmp_path / "out" / "images").iterdir())


def test_links_need_one_file_system(data: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == data.stat().st_dev:
        pytest.skip("there is no second file system to try")
    target = other / f"nsw-{os.getpid()}"
    done = command(data, target, "--videos", "SAM1-2", "--link")
    assert done.returncode == 1
    assert "leave --link out, and it is copied" in done.stderr
    assert not [path for path in other.iterdir() if target.name in path.name]


def test_a_link_to_a_symbolic_link_is_one_to_its_file(data: Path, tmp_path: Path) -> None:
    """In a data set made of links, a relative link would not work from the new folder."""
    data = shutil.copytree(data, tmp_path / "data")
    dataset = EmbryoDataset(data)
    run = int(dataset.frames("SAM1-2", "F0", "t2").table.run[0])
    source = data / dataset["SAM1-2"].path(run, "F0")
    moved = source.with_name("moved")
    source.rename(moved)
    try:
        source.symlink_to("moved")
        frames = EmbryoDataset(data).frames("SAM1-2", "F0", "t2")
        assert frames.table.run[0] == run
        make_image_folder(frames, tmp_path / "out", link=True)
        image = tmp_path / "out" / "images" / "0.jpeg"
        assert not image.is_symlink()
        assert image.samefile(moved)
        assert image.read_bytes() == frames.jpeg(0)
    finally:
        moved.replace(source)


@pytest.mark.slow
def test_from_the_archives(data: Path, tmp_path: Path) -> None:
    """The result equals that from the extracted data set, but files cannot be linked."""
    options = ["--videos", "SAM1-2", "--planes", "F0", "--pick", "median"]
    assert command(data, tmp_path / "one", *options).returncode == 0
    assert command(data.parent / "archives", tmp_path / "two", *options).returncode == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    done = command(data.parent / "archives", tmp_path / "three", *options, "--link")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there are no files to link to, as in archives; leave --link out")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.slow
def test_a_stopped_process_leaves_no_folder_under_the_name(data: Path, tmp_path: Path, blow: signal.Signals) -> None:
    """The process is stopped while it fills the hidden folder."""
    full = [*COMMAND, str(data), str(tmp_path / "out"), "--tolerant", "--size", "700"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(full, env=environment(), stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.nsw-*/images/*.jpeg")):
            assert process.poll() is None, "it ended before it was stopped"
            assert time.monotonic() < deadline, "it wrote no image in time"
            time.sleep(0.005)
        os.kill(process.pid, blow)
        status = process.wait(timeout=60)
    finally:
        process.kill()
    assert not (tmp_path / "out").exists()
    if blow == signal.SIGINT:
        assert status == 130
        assert list(tmp_path.iterdir()) == []
    assert command(data, tmp_path / "out", "--videos", "SAM1-2", "--planes", "F0").returncode == 0


def test_real_frames_keep_their_bytes(real_data: Path, tmp_path: Path) -> None:
    dataset = EmbryoDataset(real_data)
    frames = dataset.frames(["AA83-7"], phases=["t2", "t4"], pick=5)
    made = make_image_folder(frames, tmp_path / "real")
    assert made.images == 10
    for number in range(10):
        assert (tmp_path / "real" / "images" / f"{number}.jpeg").read_bytes() == frames.jpeg(number)


@pytest.mark.parametrize(
    ("entries", "options", "why"),
    [
        (["embryo_dataset"], [], "has no annotations, and without them no frame has a phase; nothing is written"),
        (["embryo_dataset_annotations"], [], "has no frames; nothing is written"),
        (
            ["embryo_dataset", "embryo_dataset_annotations"],
            ["--phases", "tHB", "--videos", "SAM1-2", "--pick", "onset", "--exclude", "{all}"],
            "has no labelled frame of these videos, planes and phases that is not excluded; nothing is written",
        ),
    ],
)
@pytest.mark.slow
def test_no_frame_is_said_with_its_reason(
    data: Path, tmp_path: Path, entries: list[str], options: list[str], why: str
) -> None:
    (part := tmp_path / "part").mkdir()
    for entry in entries:
        (part / entry).symlink_to(data / entry)
    (tmp_path / "all.csv").write_text("video\nSAM1-2\n")
    done = command(part, tmp_path / "out", *(option.format(all=tmp_path / "all.csv") for option in options))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert why in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_means_all_and_a_folder_without_batches_is_named(data: Path, tmp_path: Path) -> None:
    choice = ["--planes", "F0", "--videos", "SAM1-2", "--pick", "median"]
    (batches := tmp_path / "all-synthetic-runs").mkdir()
    everything = command(data, tmp_path / "a", *choice, "--phases", "all", "--synthetic", batches)
    assert everything.returncode == 0
    assert everything.stderr == f"note: no synthetic image in {batches} shows these planes and phases\n"
    assert command(data, tmp_path / "b", *choice).returncode == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    done = command(data, tmp_path / "c", "--phases", "all", "t2")
    assert (done.returncode, "'all' includes all others; give it alone" in done.stderr) == (2, True)


@pytest.mark.parametrize("truncated", [False, True])
def test_a_frame_that_would_not_be_decoded_is_not_copied(data: Path, tmp_path: Path, truncated: bool) -> None:
    """Its header claims 12,000 x 10,000 pixels."""
    shutil.copytree(data, tmp_path / "data")
    video = EmbryoDataset(tmp_path / "data")["SAM1-2"]
    run = int(EmbryoDataset(data).table("SAM1-2", "F0", list(Phase)).run[0])
    place, picture = tmp_path / "data" / video.path(run), bytearray(video.jpeg(run))
    at = picture.index(b"\xff\xc0") + 5
    picture[at : at + 4] = (12_000).to_bytes(2, "big") + (10_000).to_bytes(2, "big")
    place.write_bytes(picture[:-9] if truncated else picture)
    frames = EmbryoDataset(tmp_path / "data").frames("SAM1-2", "F0")
    why = rf"frame F\+00_SAM1-2_{run} cannot be decoded: it has 10,000 x 12,000 pixels; .* leave it out with exclude \(--exclude\)$"
    for link in False, True:
        with pytest.raises(DataError, match=why):
            make_image_folder(frames[frames.table.phase.notna()], tmp_path / "out", link=link, tolerant=truncated)
    assert os.listdir(tmp_path) == ["data"]


def test_the_address_of_a_bucket_keeps_its_slashes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for args in (["s3://bucket/x"], ["out", "--exclude", "s3://bucket/x"]):
        assert main([str(data), *args]) == 1
        assert capsys.readouterr().err.startswith("error: s3://bucket/x is a URL; ")
    assert os.listdir() == []
