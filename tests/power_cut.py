"""Simulate power cuts for tests: look at the disk of a small ext4 file system as it is at a given moment.

`after_power_cuts` needs root and loop devices; without them it skips the test with the reason. `recorded_calls` needs
nothing: it records the order of the calls on which the promise depends.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from nsw_da_medical_image.common import files

Tree = dict[str, bytes]  # the files below a folder by their relative paths


def read_tree(place: Path) -> Tree | None:
    """Return the content of every file below `place`, or of the file `place` itself; None if it is absent."""
    if not os.path.lexists(place):
        return None
    if place.is_file():
        return {".": place.read_bytes()}
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@contextmanager
def _mounted(image: Path) -> Iterator[Path]:
    """Mount a disk image on a folder of its own."""
    top = Path(tempfile.mkdtemp(prefix="power-cut-"))
    try:
        done = subprocess.run(["mount", "-o", "loop", image, top], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device can be mounted: {done.stderr.strip()}")
        try:
            yield top
        finally:
            subprocess.run(["umount", "-l", top], check=True)
    finally:
        with suppress(OSError):
            top.rmdir()


def _cut(image: Path, place: str) -> Tree | None:
    """Return what is at `place` on the disk `image` if the power fails now: what the file system has not yet written is lost."""
    with tempfile.TemporaryDirectory(dir=image.parent) as folder:
        copy = Path(folder, "copy.img")
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        with _mounted(copy) as top:  # the journal is replayed, as after a real cut
            return read_tree(top / place)


def after_power_cuts(
    works: Sequence[Callable[[Path], Path]], moments: Sequence[float] = (0, 6, 12, 25), megabytes: int = 64
) -> list[tuple[Tree | None, dict[float, Tree | None]]]:
    """Run each of `works` on a disk of its own and cut the power at each of the `moments`, in seconds after its end.

    A work gets a folder on the disk and returns the file or folder that it made there. Returned for each work: what it made,
    and what is there after the cut at each moment, None if there is nothing.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a disk image")
    if not shutil.which("mkfs.ext4"):
        pytest.skip("there is no mkfs.ext4")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        ended, made, found = [], [], []
        for number, work in enumerate(works):
            image = folder / f"{number}.img"
            with open(image, "wb") as file:
                file.truncate(megabytes << 20)
            subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
            top = stack.enter_context(_mounted(image))
            place = work(top)
            ended.append(time.monotonic())
            made.append((image, str(place.relative_to(top)), place))
            found.append({})
            if moments[0] == 0:
                found[-1][0] = _cut(image, made[-1][1])
        for moment in moments:
            for (image, place, _), end, cuts in zip(made, ended, found, strict=True):
                if moment:
                    time.sleep(max(0.0, end + moment - time.monotonic()))
                    cuts[moment] = _cut(image, place)
        return [(read_tree(place), cuts) for (_, _, place), cuts in zip(made, found, strict=True)]


def assert_survives(made: Tree | None, cuts: dict[float, Tree | None]) -> None:
    """Assert that what a work made is complete after every cut, or absent."""
    assert made
    for moment, there in cuts.items():
        assert there is None or there == made, f"{moment} s after the end, {_difference(made, there)}"


def _difference(made: Tree, there: Tree) -> str:
    empty = sum(not data for name, data in there.items() if made.get(name))
    return f"{len(there)} of {len(made)} files are there, {empty} of them empty"


@contextmanager
def recorded_calls(patch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Record (call, base name of its file) for flushes of the content ("flush"), names that are given ("name"), and
    flushes of a folder's names ("fsync folder"), in their order, as far as this process makes them."""
    calls: list[tuple[str, str]] = []

    def base(fd: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) if os.path.isdir("/proc/self/fd") else ""

    def record(holder: object, name: str, kind: Callable[..., tuple[str, str]]) -> None:
        call = getattr(holder, name)

        def recording(*args: object, **more: object) -> object:
            calls.append(kind(*args))
            return call(*args, **more)

        patch.setattr(holder, name, recording)

    def synced(fd: int) -> tuple[str, str]:
        return ("fsync folder" if os.path.isdir(fd) else "flush", base(fd))

    record(files, "_syncfs", lambda fd: ("flush", base(fd)))
    record(os, "fsync", synced)
    for name in "rename", "replace":
        record(os, name, lambda old, new, *_: ("name", os.path.basename(os.fspath(new))))
    record(files, "_name_new", lambda old, new: ("name", new.name))
    yield calls
