"""Test the cache on shared machines and bad disks: whatever it contains, the results are those of an empty cache."""

import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from nsw_da_medical_image.common import cache
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import seek
from nsw_da_medical_image.dataset_util.archives import Archive
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.validation.pixels import measure_video

ROOT = Path(__file__).parent.parent
PLANE = "embryo_dataset"

profile = settings(
    max_examples=int(os.environ.get("NSW_EXAMPLES", "12")) * 5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
pytestmark = pytest.mark.filterwarnings("ignore::nsw_da_medical_image.common.cache.CacheWarning")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archives of plane F0 and of the text files, with an extracted copy."""
    top = tmp_path_factory.mktemp("sample")
    make_archives(top / "all", videos=2, frames=20, size=120)
    extract_dataset(top / "all", top / "extracted")
    (top / "archives").mkdir()
    for name in (PLANE, "embryo_dataset_annotations", "embryo_dataset_time_elapsed"):
        shutil.copy(top / "all" / f"{name}.tar.gz", top / "archives")
    return top / "archives"


@contextmanager
def cache_at(folder: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NSW_CACHE_DIR", str(folder))
        cache._said.clear()
        yield folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path) -> Iterator[Path]:
    with cache_at(tmp_path / "cache") as folder:
        yield folder


def answer_of_archives(archives: Path) -> list[Any]:
    """Return what a user gets from the archives: names, table, every byte of every frame."""
    ds = EmbryoDataset(archives)
    frames = {ds[name].path(run): ds[name].jpeg(run) for name in ds for run in ds[name].runs()}
    return [ds.videos, ds.table().to_csv(), frames, ds.contents.source.tails(f"{PLANE}/{ds.videos[0]}")]


def answer_of_measures(archives: Path) -> list[Any]:
    """Return what a user gets if pixels are measured, from the cache or not."""
    ds = EmbryoDataset(archives.parent / "extracted")
    return [measure_video(ds, name, "F0").to_csv() for name in ds.videos]


ANSWERS: dict[str, Callable[[Path], list[Any]]] = {"archives": answer_of_archives, "measures": answer_of_measures}
CACHES = pytest.mark.parametrize("kind", ANSWERS)


@pytest.fixture(scope="module")
def fresh(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Any], Path]]:
    """Return, for each kind of cache, the result and a full cache to copy."""
    found = {}
    for kind, answer in ANSWERS.items():
        with cache_at(tmp_path_factory.mktemp("fresh") / "cache") as folder:
            found[kind] = answer(archives), folder
            assert list((folder / kind).iterdir())
    return found


def files_in(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / kind).iterdir())


def one_file(folder: Path, kind: str) -> Path:
    """Return the cache file of plane F0, or of the first video."""
    return next(path for path in files_in(folder, kind) if path.name.startswith((f"{PLANE}.tar", "SAM1")))


# --- bytes that changed, files that are cut --------------------------------------------------------------------------


@pytest.mark.slow
@CACHES
@profile
@given(data=st.data())
@pytest.mark.slow
def test_whatever_changes_in_a_file_the_answer_is_correct(kind, archives, fresh, tmp_path, data):
    expected, full = fresh[kind]
    with tempfile.TemporaryDirectory(dir=tmp_path) as top, cache_at(Path(top) / "cache") as folder:
        shutil.copytree(full, folder)
        path = data.draw(st.sampled_from([path.name for path in files_in(folder, kind)]), label="file")
        place = folder / kind / path
        content = bytearray(place.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1), label="at")
        change = data.draw(st.sampled_from(["set", "cut", "insert", "remove"]), label="change")
        if change == "set":
            content[at] ^= data.draw(st.integers(1, 255), label="bits")
        elif change == "cut":
            del content[at:]
        else:
            content[at : at + (change == "remove") * 40] = data.draw(st.binary(max_size=40), label="bytes")
        place.write_bytes(content)
        damaged = bytes(content)
        assert ANSWERS[kind](archives) == expected
        assert place.read_bytes() != damaged or damaged == (full / kind / path).read_bytes()  # it was rebuilt
        assert place.read_bytes() == (full / kind / path).read_bytes()


# --- content that is forged: the checksum is right, what it says is not ------------------------------------------------


def forged(place: Path, kind: str, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Change the arrays in a file, and give the file the right checksum."""
    data = place.read_bytes()
    body = memoryview(data)[48:]
    header = json.loads(bytes(body[16 : 16 + int.from_bytes(body[:16], "little")]))
    arrays = cache._unpacked(data, kind, header["key"], header["version"])
    assert arrays
    arrays = {**arrays, **change(dict(arrays))}
    place.write_bytes(b"".join(cache._packed(kind, header["key"], header["version"], arrays)))


def renamed(to: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Give the first file of the index another name."""

    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ends, packed = arrays["name_ends"].tolist(), arrays["names"].tobytes()
        pieces = [packed[start:end] for start, end in pairwise(ends)]
        place = next(i for i, count in enumerate(np.diff(arrays["firsts"])) if count)
        names = isal_zlib.decompress(pieces[place]).decode().split("/")
        pieces[place] = isal_zlib.compress("/".join([to, *names[1:]]).encode())
        return {
            "names": np.frombuffer(b"".join(pieces), np.uint8),
            "name_ends": np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        }

    return change


def with_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., dict[str, np.ndarray]]:
    return lambda arrays: {name: change(arrays[name])}


def octets(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


def noted(**changes: object) -> Callable[..., dict[str, np.ndarray]]:
    return with_array("notes", lambda notes: octets(json.dumps(json.loads(notes.tobytes()) | changes).encode()))


FORGERIES: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "a name that leads out": renamed("../../../secret"),
    "a name above": renamed(".."),
    "a name with an escape": renamed("D1_S1_I1_WELL1_RUN1.jpeg\x1b[31m"),
    "an empty name": renamed(""),
    "a folder that leads out": with_array("folders", lambda a: octets(a.tobytes().replace(b"SAM1", b"../.", 1))),
    "another archive's folder": with_array("folders", lambda a: octets(a.tobytes().replace(PLANE.encode(), b"etc"))),
    "folders that are not text": with_array("folders", lambda a: octets(b"\xff" * len(a))),
    "one folder twice": with_array(
        "folders", lambda a: octets(b"\n".join(a.tobytes().split(b"\n")[:-1] * 2)[: len(a)])
    ),
    "rows out of bounds": with_array("firsts", lambda a: a * 1000),
    "rows that go back": with_array("firsts", lambda a: a[::-1].copy()),
    "offsets out of bounds": with_array("offsets", lambda a: a + (1 << 40)),
    "negative offsets": with_array("offsets", lambda a: -a - 1),
    "huge sizes": with_array("sizes", lambda a: a + (1 << 62)),
    "sizes of another type": with_array("sizes", lambda a: a.astype(np.float64)),
    "sizes of another shape": with_array("sizes", lambda a: a.reshape(-1, 2)),
    "too few checksums": with_array("crcs", lambda a: a[:-1]),
    "no points": with_array("bits", lambda a: a[:0]),
    "points beyond the file": with_array("bits", lambda a: a + (1 << 50)),
    "points that go back": with_array("starts", lambda a: a[::-1].copy()),
    "an endless stream": with_array("starts", lambda a: np.append(a[:-1], 1 << 60)),
    "windows out of bounds": with_array("ends", lambda a: a + 10_000),
    "tails of another shape": with_array("tails", lambda a: a.reshape(-1)),
    "names that inflate for ever": with_array("names", lambda a: np.resize(a, len(a))[::-1].copy()),
    "notes that are a list": with_array("notes", lambda _: octets(b"[]")),
    "notes that are too deep": with_array("notes", lambda _: octets(b"[" * 100_000)),
    "notes that are not text": with_array("notes", lambda _: octets(b"\xff\xfe")),
    "an identity that is a number": noted(identity=7),
    "a fault that is a list": noted(fault=["x"]),
    "a doubt that is text": noted(doubtful="x"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_index_is_rebuilt(forgery, archives, fresh, own_cache):
    expected, full = fresh["archives"]
    shutil.copytree(full, own_cache)
    place = one_file(own_cache, "archives")
    forged(place, "archives", FORGERIES[forgery])
    assert place.read_bytes() != (full / "archives" / place.name).read_bytes()
    assert answer_of_archives(archives) == expected
    assert place.read_bytes() == (full / "archives" / place.name).read_bytes()


def test_a_bomb_of_names_inflates_to_what_files_can_be_called(archives, fresh, own_cache):
    shutil.copytree(fresh["archives"][1], own_cache)
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = first + first[2:] * 180  # 3 GB in 3 MB

    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ends = arrays["name_ends"].copy()
        ends[1:] = len(bomb)
        return {"names": octets(bomb), "name_ends": ends}

    place = one_file(own_cache, "archives")
    forged(place, "archives", change)
    tracemalloc.start()
    assert seek.load_indices([archives / f"{PLANE}.tar.gz"]) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert answer_of_archives(archives) == fresh["archives"][0]


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "runs out of order": ("run", lambda a: a[::-1].copy()),
        "runs that are not there": ("run", lambda a: a + 1),
        "too few": ("mean", lambda a: a[1:]),
        "another type": ("mean", lambda a: a.astype(np.float64)),
        "another shape": ("mean", lambda a: a.reshape(-1, 2)),
        "texts that are not there": ("fault", lambda a: a + 100),
        "texts before the first": ("mode", lambda a: a - 1),
        "texts that are numbers": ("mode texts", lambda _: octets(b"[1]")),
        "texts that are no JSON": ("fault texts", lambda _: octets(b"\xff")),
        "texts that are too deep": ("fault texts", lambda _: octets(b"[" * 100_000)),
    }.values(),
)
def test_forged_measures_are_measured_again(name, change, archives, fresh, own_cache):
    expected, full = fresh["measures"]
    shutil.copytree(full, own_cache)
    place = one_file(own_cache, "measures")
    forged(place, "measures", with_array(name, change))
    assert answer_of_measures(archives) == expected
    assert place.read_bytes() == (full / "measures" / place.name).read_bytes()


@profile
@given(data=st.data())
def test_any_arrays_make_an_index_that_fits_or_one_that_does_not(archives, fresh, data):
    """Whatever the arrays contain, an index is accepted or not; from an accepted one, bytes can be read, or an error in words is raised."""
    path = archives / f"{PLANE}.tar.gz"
    with cache_at(fresh["archives"][1]):
        index = seek.load_indices([path]).get(path)
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        field = data.draw(st.sampled_from(seek.Index._fields), label="field")
        array = getattr(index, field).copy()
        if array.size and data.draw(st.booleans(), label="one value"):
            value = data.draw(st.integers(-3, 2**40) | st.integers(-(2**63), 2**63 - 1), label="value")
            array.flat[data.draw(st.integers(0, array.size - 1), label="at")] = np.array([value]).astype(array.dtype)[0]
        else:
            array = array[
                data.draw(st.integers(0, 3), label="from") : len(array) - data.draw(st.integers(0, 3), label="to")
            ]
        index = index._replace(**{field: array})
    with tempfile.TemporaryDirectory() as top, cache_at(Path(top)):
        seek._save_index(path, index)
        kept = seek._kept(path)
        if kept is None:
            return
        archive = Archive(path, kept)
        for folder in list(archive._folders):
            assert folder.split("/")[0] == PLANE
            for name in archive.files(folder):
                assert "/" not in name
                assert name not in ("", ".", "..")
                with suppress(DataError):
                    archive.read(f"{folder}/{name}")
            archive.tails(folder)


# --- other owners, other kinds of files --------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


def spoil_nothing(folder: Path, kind: str) -> None:
    pass


def give_folder_away(folder: Path, kind: str) -> None:
    os.chown(folder / kind, 12_345, -1)


def give_file_away(folder: Path, kind: str) -> None:
    os.chown(one_file(folder, kind), 12_345, -1)


def open_folder(folder: Path, kind: str) -> None:
    (folder / kind).chmod(0o770)


def open_file(folder: Path, kind: str) -> None:
    one_file(folder, kind).chmod(0o606)


def link_folder(folder: Path, kind: str) -> None:
    (folder / kind).rename(folder / "elsewhere")
    (folder / kind).symlink_to(folder / "elsewhere")


def link_file(folder: Path, kind: str) -> None:
    place = one_file(folder, kind)
    place.rename(folder / "elsewhere")
    place.symlink_to(folder / "elsewhere")


def pipe(folder: Path, kind: str) -> None:
    (place := one_file(folder, kind)).unlink()
    os.mkfifo(place)


def sparse(folder: Path, kind: str) -> None:
    os.truncate(one_file(folder, kind), 1 << 40)


def folder_for_file(folder: Path, kind: str) -> None:
    (place := one_file(folder, kind)).unlink()
    place.mkdir()


def file_for_folder(folder: Path, kind: str) -> None:
    shutil.rmtree(folder / kind)
    (folder / kind).touch()


WHOLE = [give_folder_away, open_folder, link_folder, file_for_folder]  # there is no cache
PARTS = [give_file_away, open_file, link_file, pipe, sparse]  # a file is rebuilt


def swapped(folder: Path, kind: str) -> None:
    """Exchange the content of all frames in the cache, which only the checks of owner and kind can detect."""
    if kind == "archives":
        change = {name: lambda a: np.roll(a, 1, 0) for name in ("offsets", "sizes", "crcs", "tails")}
    else:
        change = {"mean": lambda a: a + 1}
    forged(one_file(folder, kind), kind, lambda arrays: {name: change[name](arrays[name]) for name in change})


def modes(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_uid, path.lstat().st_mode) for path in sorted(folder.rglob("*"))}


@CACHES
@pytest.mark.parametrize("spoil", [*WHOLE, *PARTS, folder_for_file], ids=lambda spoil: spoil.__name__)
def test_what_is_not_the_users_own_is_not_used(kind, spoil, archives, fresh, own_cache):
    """The frames in the cache are exchanged too, so a result that comes from the cache is wrong."""
    if "away" in spoil.__name__ and os.geteuid():
        pytest.skip("only root can give a folder to another user")
    expected, full = fresh[kind]
    shutil.copytree(full, own_cache)
    swapped(own_cache, kind)
    spoil(own_cache, kind)
    before = modes(own_cache)
    with pytest.warns(cache.CacheWarning) as told:  # noqa: PT031
        assert ANSWERS[kind](archives) == expected
        assert ANSWERS[kind](archives) == expected
    assert len(told) == (2 if spoil is folder_for_file else 1)
    assert all("\n" not in str(each.message) for each in told)
    if spoil in PARTS:
        assert one_file(own_cache, kind).read_bytes() == (full / kind / one_file(full, kind).name).read_bytes()
        assert stat.S_IMODE(one_file(own_cache, kind).lstat().st_mode) == 0o600
    elif spoil is not folder_for_file:
        assert modes(own_cache) == before  # nothing of it was touched


def test_frames_that_the_owner_exchanged_are_his_affair(archives, fresh, own_cache):
    """Show that the forgery of the test above works: it is used if the owner is right."""
    shutil.copytree(fresh["archives"][1], own_cache)
    swapped(own_cache, "archives")
    assert answer_of_archives(archives) != fresh["archives"][0]


@as_root
def test_a_link_of_another_user_is_not_followed(archives, fresh, tmp_path):
    """Another user has put a link to a folder of the victim in the place of the cache."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "victim")
    os.chown(tmp_path / "linked", 12_345, -1, follow_symlinks=False)
    with (
        cache_at(tmp_path / "linked"),
        pytest.warns(cache.CacheWarning, match="is a link that belongs to another user"),
    ):
        assert answer_of_archives(archives) == fresh["archives"][0]
    assert not list((tmp_path / "victim").iterdir())


def test_a_link_of_the_user_is_followed(archives, fresh, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "scratch")
    with cache_at(tmp_path / "linked"):
        assert answer_of_archives(archives) == fresh["archives"][0]
    assert len(files_in(tmp_path / "scratch", "archives")) == 3


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_the_cache_is_for_its_owner_alone_whatever_the_umask(umask, archives, fresh, own_cache):
    before = os.umask(umask)
    try:
        assert answer_of_archives(archives) == fresh["archives"][0]
    finally:
        os.umask(before)
    assert stat.S_IMODE((own_cache / "archives").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files_in(own_cache, "archives")} == {0o600}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer_of_archives(archives) == fresh["archives"][0]


def test_a_npz_file_of_the_older_form_is_not_read(archives, fresh, own_cache):
    """3 GB of zeros in 3 MB, under the name that the library gave its files before, and under the one that it gives now."""
    (own_cache / "archives").mkdir(mode=0o700, parents=True)
    (own_cache / "index").mkdir(mode=0o700)
    (name,) = (path.name for path in files_in(fresh["archives"][1], "archives") if path.name.startswith(f"{PLANE}.tar"))
    bomb = own_cache / "archives" / name
    with open(bomb, "wb") as file:
        np.savez_compressed(file, notes=np.zeros(3 << 24, np.uint8))
    shutil.copy(bomb, own_cache / "index" / f"{PLANE}-{'0' * 16}.npz")
    assert answer_of_archives(archives) == fresh["archives"][0]
    assert bomb.read_bytes() == (fresh["archives"][1] / "archives" / name).read_bytes()


# --- machines on which no cache is possible ---------------------------------------------------------------------------

OPEN = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.validation.pixels import measure_video

def look(path):
    ds = EmbryoDataset(path)
    return len(ds.table()), len(ds[ds.videos[0]].jpeg(3)), len(measure_video(ds, ds.videos[0], "F0"))

if __name__ == "__main__":
    found = [look(path) for path in sys.argv[1:]]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(look, sys.argv[1:])) == found
    print(*[rows for rows, _, _ in found])
"""


def run(code: str, *args: object, limit: float | None = None, **environment: str | None) -> Any:
    """Run code in a process of its own; a variable that is None is unset, `limit` is in GB of addresses."""

    def limited() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (int(limit * 1e9),) * 2)

    whole = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with tempfile.TemporaryDirectory() as folder:
        (script := Path(folder, "script.py")).write_text(code)
        return subprocess.run(
            [sys.executable, script, *map(str, args)],
            capture_output=True,
            text=True,
            env={name: value for name, value in whole.items() if value is not None},
            timeout=300,
            preexec_fn=limited,
            cwd=folder,
        )


@pytest.mark.slow
@pytest.mark.slow
def test_without_a_home_it_works_without_a_cache(archives, tmp_path):
    """Without HOME and without an entry in the list of users, as in some containers: one line, also with workers."""
    nobody = """
import os, pwd
def no_entry(_): raise KeyError("getpwuid(): uid not found: 12345")
pwd.getpwuid = pwd.getpwnam = no_entry
"""
    nowhere: dict[str, str | None] = dict.fromkeys(("HOME", "NSW_CACHE_DIR", "XDG_CACHE_HOME"))
    done = run(nobody + OPEN, archives, archives.parent / "extracted", **nowhere)
    assert (done.returncode, done.stdout) == (0, "40 280\n"), done.stderr
    told = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(told) == 1
    assert re.search(r"nothing is cached \(the home folder of ~\S* does not exist\); the work continues", told[0])


@pytest.mark.slow
@as_root
def test_with_a_number_that_is_no_user_it_works(archives, tmp_path):
    """Run with a real user id that has no entry."""
    shared = tmp_path / "shared"
    shutil.copytree(archives, shared / "archives")
    for place in (*shared.parents, shared):
        if place.is_relative_to(tempfile.gettempdir()) and place != Path(tempfile.gettempdir()):
            place.chmod(0o755)
    code = """
import os, sys
import platformdirs.unix, rapidgzip, tqdm.auto  # all that is imported late, since the interpreter may be in root's own folder
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
len(EmbryoDataset(sys.argv[1]).table())
os.environ.pop("NSW_CACHE_DIR")
os.setgroups([]), os.setgid(54321), os.setuid(54321)
print(len(EmbryoDataset(sys.argv[1]).table()))
"""
    home: dict[str, str | None] = dict.fromkeys(("HOME", "XDG_CACHE_HOME"))
    done = run(code, shared / "archives", **home)
    assert (done.returncode, done.stdout) == (0, "40\n"), done.stderr
    assert done.stderr.count("nothing is cached") == 1


def test_a_full_or_read_only_disk_costs_one_line(archives, own_cache, fresh, monkeypatch):
    def full(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device", "/x")

    monkeypatch.setattr(cache, "new_file", full)
    with pytest.warns(cache.CacheWarning, match="No space left on device") as told:
        assert answer_of_archives(archives) == fresh["archives"][0]
    assert len(told) == 1


def test_what_is_too_large_to_be_loaded_is_not_saved(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 10_000)
    with pytest.warns(cache.CacheWarning, match="are not cached: they have more than 10,000 bytes"):
        cache.save("large", "x", "1", {"a": np.zeros(10_000, np.uint8)})
    assert cache.load("large", "x", "1") is None
    assert not own_cache.exists() or not list((own_cache / "large").iterdir())


def test_nine_archives_that_have_changed_are_one_line(archives, own_cache, tmp_path):
    shutil.copytree(archives.parent / "all", tmp_path / "all")
    assert EmbryoDataset(tmp_path / "all").videos
    for path in (tmp_path / "all").iterdir():
        os.utime(path, (1e9, 1e9))
    with pytest.warns(cache.CacheWarning, match="7 archives in .* have changed since the last indexing") as told:
        assert EmbryoDataset(tmp_path / "all").videos
    assert len(told) == 1


# --- little memory ----------------------------------------------------------------------------------------------------

LIMITED = """
import sys
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import seek
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
seek._SMALL = float(sys.argv[2])
try:
    ds = EmbryoDataset(sys.argv[1])
    print(len(ds.table()), len(ds[ds.videos[0]].jpeg(3)) > 1000)
except DataError as error:
    print("error:", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce this limit")
@pytest.mark.parametrize("limit", [1, 1.5, 2, 3, 4])
@pytest.mark.parametrize("small", [1e9, 0])
@pytest.mark.slow
def test_under_a_limit_of_addresses_nothing_crashes(archives, tmp_path, limit, small):
    """Grid engines set such a limit, under which rapidgzip crashes; small archives are read without it."""
    # each further arena of the C library reserves 64 MB of addresses, and how many there are depends on the machine's load
    few = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = run(LIMITED, archives, small, limit=limit, NSW_CACHE_DIR=str(tmp_path / "c"), **few)
    assert done.returncode == 0, done.stderr
    refused = "finding its frames needs 1.6 GB of free address space, which a limit of this process forbids"
    assert done.stdout == "40 True\n" or (not small and limit < 4 and refused in done.stdout), done.stdout
    assert done.stdout.count("\n") == 1
