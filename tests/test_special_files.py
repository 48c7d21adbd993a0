"""Test data sets and batches that contain files that are not regular: every command reports them at once, in one line or a finding.

The fast lane tests a named pipe in every place; the other kinds are slow.
"""

import io
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from special_files import Ended, Server

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.synthetic import write_batch
from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, GRADES, TIMES

VIDEO, PHASE = "SAM1-2", "t2"


class Data:
    """A small data set and a synthetic batch of the same phase; `spoil` makes a copy with one file replaced."""

    def __init__(self, folder: Path):
        make_archives(folder / "archives", videos=9, frames=8, size=64)
        extract_dataset(folder / "archives", folder / "extracted")
        shutil.rmtree(folder / "archives")
        for plane in "_F-45", "_F-30", "_F-15", "_F30", "_F45":
            shutil.rmtree(folder / "extracted" / f"embryo_dataset{plane}")
        self.whole = folder
        video = EmbryoDataset(folder / "extracted")[VIDEO]
        phase, first, last = next(video.phases.itertuples(index=False, name=None))
        self.phase, self.run = phase, int(next(run for run in video.runs("F0") if first <= run <= last))
        grey = np.random.default_rng(0).integers(0, 255, (4, 64, 64)).astype(np.uint8)
        (folder / "batches").mkdir()
        write_batch(folder / "batches" / "batch", grey, "a prompt", phase, "F0")
        write_batch(folder / "batches" / "other", grey[::-1], "a prompt", phase, "F0")

    def place(self, role: str, top: Path) -> Path:
        """Return where the file with that role is."""
        if role == "frame":
            return next((top / "extracted" / "embryo_dataset" / VIDEO).glob(f"*_RUN{self.run}.jpeg"))
        return {
            "annotation": top / "extracted" / ANNOTATIONS / f"{VIDEO}_phases.csv",
            "times": top / "extracted" / TIMES / f"{VIDEO}_timeElapsed.csv",
            "grades": top / "extracted" / GRADES,
            "metadata": top / "batches" / "batch" / "metadata.json",
            "image": top / "batches" / "batch" / "img1.jpg",
        }[role]

    def spoil(self, role: str, kind: str, top: Path) -> Path:
        """Return a copy, by hard links, in which one file is of another kind."""
        shutil.copytree(self.whole, top, copy_function=os.link, symlinks=True)
        place = self.place(role, top)
        place.unlink()
        KINDS[kind](place)
        return top


def socket_at(place: Path) -> None:
    """Make a socket; its name may be longer than the system accepts, so it is created under a short name."""
    before = os.getcwd()
    os.chdir(place.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
        os.rename("s", place.name)
    finally:
        os.chdir(before)


def sparse_at(place: Path) -> None:
    """Make a file of a terabyte that uses no space."""
    with open(place, "wb") as file:
        try:
            file.truncate(1 << 40)
        except OSError:
            pytest.skip("this file system has no files of a terabyte")


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": socket_at,
    "zeros": lambda place: place.symlink_to("/dev/zero"),
    "sparse": sparse_at,
    "loop": lambda place: place.symlink_to(place.name),
    "directory": Path.mkdir,
}

#: Command and options, of which D is the data set, B the batches, O the output.
COMMANDS: dict[str, list[str]] = {
    "dataset": ["dataset", "D"],
    "table": ["dataset", "D", "--table", "O.csv"],
    "validate": ["validate", "D", "--csv", "O.csv"],
    "pixels": ["validate", "D", "--pixels", "--workers", "1", "--csv", "O.csv"],
    "image_folder": ["image_folder", "D", "O", "--planes", "F0"],
    "link": ["image_folder", "D", "O", "--planes", "F0", "--link", "--tolerant"],
    "resize": ["image_folder", "D", "O", "--planes", "F0", "--size", "32", "--tolerant"],
    "mixed": ["image_folder", "D", "O", "--planes", "F0", "--synthetic", "B"],
    "extract_part": ["extract_part", "D", "O", "--planes", "F0"],
    "split": ["split", "D", "--out", "O.json"],
    "play_video": ["play_video", "D", VIDEO, "--no-open", "--out", "O.html"],
    "synthetic": ["synthetic", "B"],
    "compare": ["compare", "D", "B", "--out", "O.html"],
    "experiment_1": ["experiment_1", "D", "--out", "O"],
}
TEXTS, BATCH = ("annotation", "times", "grades"), ("metadata", "image")
ROLES = dict.fromkeys(COMMANDS, ("frame", *TEXTS)) | {
    "mixed": BATCH,
    "synthetic": BATCH,
    "compare": ("frame", "annotation", *BATCH),
    "experiment_1": ("frame", "annotation"),
}

#: The roles that make a command fail; in others the file is named, left out, or not needed. A folder in the place of a text
#: is as if there were none; one in the place of a frame is a folder in a video.
FAILING = {
    "dataset": set(TEXTS),
    "table": {"annotation", "times"},
    "validate": {"frame", *TEXTS},
    "pixels": {"frame", *TEXTS},
    "image_folder": {"frame", "annotation", "times"},
    "link": {"frame", "annotation", "times"},
    "resize": {"frame", "annotation", "times"},
    "mixed": set(),
    "extract_part": {"frame", *TEXTS},
    "split": {"annotation", "times"},
    "play_video": set(),
    "synthetic": set(BATCH),
    "compare": {"annotation"},
    "experiment_1": set(),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("special") / "whole")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    with Server(tmp_path_factory.mktemp("cache")) as server:
        yield server


def run(command: Callable[..., Ended], name: str, top: Path, out: Path, seconds: float = 60) -> Ended:
    places = {"D": str(top / "extracted"), "B": str(top / "batches")}
    kind, *args = COMMANDS[name]
    filled = [places.get(arg, f"{out}{arg[1:]}" if arg == "O" or arg.startswith("O.") else arg) for arg in args]
    return command(kind, filled, seconds)


@pytest.fixture(scope="module")
def usual(
    data: Data, command: Callable[..., Ended], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], float]:
    """Return how long a command takes with ordinary files, which it understands."""
    known: dict[str, float] = {}

    def seconds(name: str) -> float:
        if name not in known:
            ended = run(command, name, data.whole, tmp_path_factory.mktemp("usual") / "out")
            assert ended.status == 0, ended
            known[name] = ended.seconds
        return known[name]

    return seconds


def cases() -> Iterator[object]:
    for name in COMMANDS:
        for role in ROLES[name]:
            for kind in KINDS:
                fast = kind == "pipe" and name != "experiment_1"
                yield pytest.param(name, role, kind, marks=[] if fast else pytest.mark.slow)


@pytest.mark.parametrize(("name", "role", "kind"), [*cases()])
def test_no_command_waits_or_fills_the_memory(
    name: str,
    role: str,
    kind: str,
    data: Data,
    command: Callable[..., Ended],
    usual: Callable[[str], float],
    tmp_path: Path,
) -> None:
    allowed = usual(name) + 5
    top, out = data.spoil(role, kind, tmp_path / "copy"), tmp_path / "out"
    ended = run(command, name, top, out, allowed)
    assert ended.status is not None, f"not at an end after {allowed:.1f} s"
    assert ended.megabytes < 500
    assert "Traceback" not in ended.out + ended.err
    lines = ended.err.splitlines()
    assert all(line.startswith(("error: ", "note: ", "warning: ")) for line in lines), ended.err
    assert sum(line.startswith("error: ") for line in lines) <= 1
    absent = kind == "directory" and role in ("frame", "annotation", "times")
    if not absent or name in ("validate", "pixels"):
        assert ended.status == (role in FAILING[name]), ended
    said = {"pipe": "named pipe", "socket": "socket", "zeros": "device", "loop": "links", "sparse": "bytes"}.get(
        kind, ""
    )
    if name in ("validate", "pixels"):
        table = Path(f"{out}.csv").read_text()
        assert said in table
        assert VIDEO in table or role == "grades"
    elif name == "play_video" and role != "grades":
        assert said in Path(f"{out}.html").read_text()
    elif ended.status:
        assert said in ended.out + ended.err
        assert not os.path.lexists(out)
    assert [path.name for path in tmp_path.iterdir() if ".nsw-" in path.name] == []


def jpeg_of_many_scans(place: Path) -> None:
    """Return 241 kB that take 20 s to decode."""
    picture = encoded(progressive=True)
    place.write_bytes(picture[:-2] + picture[picture.rindex(b"\xff\xda") : -2] * 20_000 + b"\xff\xd9")


def jpeg_of_many_pixels(place: Path) -> None:
    """Return a small file that claims 100 megapixels, about which Pillow warns."""
    picture = encoded()
    at = picture.index(b"\xff\xc0") + 5
    place.write_bytes(picture[:at] + (10_000).to_bytes(2, "big") * 2 + picture[at + 4 :])


def jpeg_of_bad_settings(place: Path) -> None:
    """Return an ordinary picture with damaged camera settings, about which Pillow warns too."""
    picture = encoded()
    place.write_bytes(picture[:2] + b"\xff\xe1\x00\x12Exif\0\0II*\0\xff\xff\xff\xff" + picture[2:])


def encoded(**options: bool) -> bytes:
    grey = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(grey).save(buffer := io.BytesIO(), "JPEG", **options)
    return buffer.getvalue()


BOMBS = {"scans": jpeg_of_many_scans, "pixels": jpeg_of_many_pixels, "settings": jpeg_of_bad_settings}
KINDS |= BOMBS


@pytest.mark.parametrize(
    "bomb", ["scans", *(pytest.param(bomb, marks=pytest.mark.slow) for bomb in ("pixels", "settings"))]
)
@pytest.mark.parametrize(
    ("name", "role", "failing"),
    [
        ("pixels", "frame", True),
        ("resize", "frame", True),
        ("image_folder", "frame", True),  # which copies the bytes
        ("play_video", "frame", False),  # which leaves it to the browser
        ("synthetic", "image", True),
        ("mixed", "image", False),
        ("compare", "frame", False),
        ("compare", "image", False),
    ],
)
def test_no_picture_is_decoded_for_long_or_printed_about(
    name: str,
    role: str,
    failing: bool,
    bomb: str,
    data: Data,
    command: Callable[..., Ended],
    usual: Callable[[str], float],
    tmp_path: Path,
) -> None:
    """The commands run with `python -W error`, so a raw warning would be a traceback."""
    allowed = usual(name) + 5
    ended = run(command, name, data.spoil(role, bomb, tmp_path / "copy"), tmp_path / "out", allowed)
    assert ended.status == (failing and bomb != "settings") or (name, bomb) == ("pixels", "settings"), ended
    assert ended.megabytes < 500
    assert all(line.startswith(("error: ", "note: ")) for line in ended.err.splitlines()), ended.err
    told = ended.out + ended.err + (Path(f"{tmp_path}/out.csv").read_text() if name == "pixels" else "")
    if bomb == "settings":
        assert "cannot be decoded" not in told
    elif failing:
        assert {"scans": "scans; at most 100", "pixels": "10,000 x 10,000 pixels"}[bomb] in told


LISTS = {
    "excluded table": ["dataset", "D", "--table", "O.csv", "--exclude", "F"],
    "excluded images": ["image_folder", "D", "O", "--exclude", "F"],
    "excluded split": ["split", "D", "--out", "O.json", "--exclude", "F"],
    "excluded comparison": ["compare", "D", "B", "--out", "O.html", "--exclude", "F"],
    "split": ["image_folder", "D", "O", "--split", "F"],
    "checked split": ["split", "D", "--check", "F"],
}


SAID = {"pipe": "named pipe", "zeros": "device", "sparse": "bytes", "loop": "links"}


@pytest.mark.parametrize("kind", ["pipe", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(SAID)[1:])])
@pytest.mark.parametrize("args", LISTS.values(), ids=LISTS)
def test_lists_that_are_no_ordinary_files(
    args: list[str], kind: str, data: Data, command: Callable[..., Ended], tmp_path: Path
) -> None:
    KINDS[kind](place := tmp_path / "list.csv")
    places = {"D": data.whole / "extracted", "B": data.whole / "batches", "F": place}
    filled = [
        places.get(arg, f"{tmp_path}/out{arg[1:]}" if arg == "O" or arg.startswith("O.") else arg) for arg in args
    ]
    ended = command(filled[0], filled[1:], 30)
    assert ended.status == 1, ended
    assert ended.megabytes < 500
    [line] = ended.err.splitlines()
    assert line.startswith("error: ")
    assert SAID[kind] in line
    assert os.listdir(tmp_path) == ["list.csv"]
