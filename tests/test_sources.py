"""Test the archives as a data set: the same results as from the extracted folder, hostile archives, processes, the cache."""

import gzip
import hashlib
import io
import multiprocessing
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import igzip
from test_extract import HARMLESS, HOSTILE, TOP, VICTIM, digest, files, member

from nsw_da_medical_image.common.cache import CacheWarning
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util.archives import Archive
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset, dataset_text, main
from nsw_da_medical_image.dataset_util.extract_dataset import extract_archive, extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.sample_defects import QUIRK_HELP
from nsw_da_medical_image.dataset_util.seek import build, indices
from nsw_da_medical_image.dataset_util.source import ArchivesSource, open_source
from nsw_da_medical_image.dataset_util.util import ARCHIVES, GRADES, FocalPlane
from nsw_da_medical_image.validation.validate import validate
from nsw_da_medical_image.viewer.player import EmbryoPlayer

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NSW_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def archives(shared):
    return shared(frames=20, size=160).archives


@pytest.fixture(scope="module")
def extracted(shared):
    return shared(frames=20, size=160).extracted


# --- the same answers ------------------------------------------------------------------------------------------------


def answer(ask: Any, folder: str = "/nowhere") -> Any:
    """Return what a call returns, or the kind and the text of its error without folder names."""
    try:
        return ask()
    except (DataError, KeyError, ValueError, OSError) as fault:
        text = str(fault) if isinstance(fault, DataError | KeyError | ValueError) else ""
        return type(fault), text.replace(folder, "*")


def equal_marks(ds: EmbryoDataset, plane: FocalPlane, name: str) -> list[set[str]]:
    """Return the files with one mark, which are those with equal bytes, whatever the mark of each source is."""
    source, folder = ds.contents.source, f"{plane.folder}/{name}"
    marks, contents = dict[int, set[str]](), dict[int, set[bytes]]()
    for file, tail in source.tails(folder).items():
        marks.setdefault(tail.mark, set()).add(file)
        contents.setdefault(tail.mark, set()).add(source.read(f"{folder}/{file}"))
    assert all(len(different) == 1 for different in contents.values())
    return sorted(marks.values(), key=sorted)


def same(a: Any, b: Any) -> bool:
    if hasattr(a, "equals"):
        return type(a) is type(b) and a.equals(b) and getattr(a, "dtype", None) == getattr(b, "dtype", None)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def questions(name: str, plane: FocalPlane, run: int) -> dict[str, Any]:
    """Return every public question about a data set, and about a video in a plane."""
    return {
        "videos": lambda ds: ds.videos,
        "planes": lambda ds: (
            ds.planes,
            ds.missing,
            ds.contents.entries,
            ds.contents.middle,
            len(ds),
            ds.contents.annotated,
            ds.contents.timed,
        ),
        "grades": lambda ds: ds.grades,
        "table": lambda ds: ds.table(),
        "part": lambda ds: ds.table(videos=name, planes=plane, phases=["t2", "t4"]),
        "summary": lambda ds: {**ds.summary(), "path": ""},
        "text": lambda ds: dataset_text({**ds.summary(), "path": ""}),
        "repr": lambda ds: repr(ds[name]).replace(ds.path, "*"),
        "html": lambda ds: ds[name]._repr_html_().replace(ds.path, "*"),
        "html of all": lambda ds: ds._repr_html_().replace(ds.path, "*"),
        "video": lambda ds: (ds[name].planes, ds[name].code, ds[name].grade),
        "phases": lambda ds: ds[name].phases,
        "hours": lambda ds: ds[name].hours,
        "phase at": lambda ds: ds[name].phase_at(run),
        "runs": lambda ds: ds[name].runs(plane),
        "path": lambda ds: ds[name].path(run, plane),
        "jpeg": lambda ds: ds[name].jpeg(run, plane),
        "frame": lambda ds: ds[name].frame(run, plane),
        "tolerant frame": lambda ds: ds[name].frame(run, plane, size=24, tolerant=True),
        "stack": lambda ds: ds[name].stack(plane),
        "small stack": lambda ds: ds[name].stack(plane, runs=[run, run], size=16, tolerant=True),
        "tails": lambda ds: {
            file: tail._replace(mark=0) for file, tail in ds.contents.source.tails(f"{plane.folder}/{name}").items()
        },
        "equal marks": lambda ds: equal_marks(ds, plane, name),
        "strays": lambda ds: sorted(
            ds.contents.source.files(f"{plane.folder}/{name}") + ds.contents.source.folders(f"{plane.folder}/{name}")
        ),
        "no video": lambda ds: ds[name + "x"],
        "no run": lambda ds: ds[name].jpeg(9999, plane),
    }


@settings(max_examples=int(os.environ.get("NSW_EXAMPLES", "12")), deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.slow
def test_archives_answer_as_the_extracted_folder_does(data):
    """For random sample sets, every public result is equal, byte for byte."""
    quirks = data.draw(st.lists(st.sampled_from(sorted(QUIRK_HELP)), max_size=5, unique=True), label="quirks")
    # an archive without a single file is refused: of one video alone neither annotation nor times may be missing
    fewest = 2 if {"missing-annotation", "missing-time"} & set(quirks) else 1
    videos = data.draw(st.integers(fewest, 3), label="videos")
    frames = data.draw(st.integers(16, 22) if quirks else st.integers(1, 20), label="frames")
    seed = data.draw(st.integers(0, 999), label="seed")
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_archives(Path(folder) / "archives", videos, frames, seed, size=48, quirks=quirks)
        except ValueError:
            return  # these quirks find no place together
        extract_dataset(Path(folder) / "archives", Path(folder) / "extracted")
        left, right = EmbryoDataset(Path(folder) / "archives"), EmbryoDataset(Path(folder) / "extracted")
        assert isinstance(left.contents.source, ArchivesSource)
        for name in right.videos:
            for plane in data.draw(st.sets(st.sampled_from(list(FocalPlane)), min_size=1, max_size=3), label="planes"):
                run = data.draw(st.integers(0, frames + 1), label="run")
                for question, ask in questions(name, plane, run).items():
                    one, other = (answer(lambda ask=ask, ds=ds: ask(ds), ds.path) for ds in (left, right))
                    assert same(one, other), (question, one, other)
        assert left.tolerated == right.tolerated
        again = EmbryoDataset(Path(folder) / "archives")  # from the cache
        assert again.videos == right.videos
        assert same(answer(again.table, again.path), answer(right.table, right.path))


def test_a_whole_copy_is_what_the_extraction_writes(archives, extracted, tmp_path):
    EmbryoDataset(archives).extract(to=tmp_path / "copy")
    assert files(tmp_path / "copy") == files(extracted)


# --- hostile archives: what an extraction refuses or passes over, is refused or passed over ----------------------------


def changed(archives: Path, folder: Path, change: Any) -> Path:
    shutil.copytree(archives, folder)
    (folder / VICTIM).write_bytes(change((folder / VICTIM).read_bytes()))
    return folder


def without_place(text: str) -> str:
    """Return a sentence without the member near the damage: it depends on how much was read at a time."""
    return re.sub(" near member '[^']*'", "", text)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("fault", HOSTILE)
@pytest.mark.slow
def test_hostile_archive(archives, extracted, tmp_path, fault):
    folder = changed(archives, tmp_path / "archives", HOSTILE[fault])
    before = digest(folder)
    (tmp_path / "tree").mkdir()
    with pytest.raises(DataError) as refused:
        extract_archive(folder / VICTIM, tmp_path / "tree")
    good = files(extracted)
    source = answer(lambda: open_source(folder))
    if isinstance(source, tuple):  # it is no archive at all
        assert source[0] is DataError
        assert VICTIM in source[1]
        return
    source.prepare([TOP, "embryo_dataset"])
    assert without_place(source.faults()[TOP]) == without_place(str(refused.value))
    videos = answer(lambda: source.folders(TOP))
    if isinstance(videos, tuple):
        assert videos == (DataError, source.faults()[TOP])
        videos = []
    for video in videos:
        for name, tail in source.tails(f"{TOP}/{video}").items():
            path = f"{TOP}/{video}/{name}"
            if tail.fault:
                with pytest.raises(DataError, match=rf"{VICTIM}: member '{path}'"):
                    source.read(path)
            elif path in good:
                assert source.read(path) == good[path]
    assert source.folders("embryo_dataset")  # the others are not concerned
    assert digest(folder) == before


@pytest.mark.parametrize("quirk", HARMLESS)
def test_harmless_quirks(archives, tmp_path, quirk):
    folder = changed(archives, tmp_path / "archives", HARMLESS[quirk])
    (tmp_path / "tree").mkdir()
    extract_archive(folder / VICTIM, tmp_path / "tree")
    source = open_source(folder)
    found = {
        f"{place}/{name}": source.read(f"{place}/{name}")
        for video in source.folders(TOP)
        for place in (f"{TOP}/{video}", *(f"{TOP}/{video}/{below}" for below in source.folders(f"{TOP}/{video}")))
        for name in source.files(place)
    }
    assert found == files(tmp_path / "tree")
    assert source.faults() == {}


def everything(archive: Archive) -> dict[str, Any]:
    """Return all that can be read of an archive: bytes, or the error."""
    names = [f"{folder}/{name}" for folder in archive._folders for name in archive.files(folder)]
    return {name: answer(lambda name=name: archive.read(name)) for name in names}


@settings(
    max_examples=int(os.environ.get("NSW_EXAMPLES", "12")) * 10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
@pytest.mark.slow
def test_mutated_archive(archives, tmp_path, data):
    """Whatever bytes change, the archive gives what an extraction gives, and what it refuses has a problem."""
    good = (archives / VICTIM).read_bytes()
    inside = data.draw(st.booleans(), label="change the tar inside")
    new = bytearray(gzip.decompress(good) if inside else good)
    # one damage to the gzip file: behind a second one nothing vouches for what lies before the first
    for _ in range(data.draw(st.integers(1, 3), label="changes") if inside else 1):
        at = data.draw(st.integers(0, len(new) - 1), label="at")
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "remove"]), label="kind")
        if kind == "set":
            new[at] = data.draw(st.integers(0, 255), label="byte")
        elif kind == "cut":
            del new[max(1, at) :]
        else:
            new[at : at + (kind == "remove") * 600] = data.draw(st.binary(max_size=600), label="bytes")
        new = new or bytearray(b"x")
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        path, tree = Path(name) / VICTIM, Path(name) / "tree"
        tree.mkdir()
        path.write_bytes(gzip.compress(new, 1) if inside else new)
        extraction = answer(lambda: extract_archive(path, tree))
        archive = Archive(path, build(path))
        found = everything(archive)
        if isinstance(extraction, tuple):
            told = archive.note["fault"]
            assert without_place(told) == without_place(extraction[1]) or not archive.note["refused"], (
                told,
                extraction,
            )
            whole = files(tree) if inside else contents_of(good)
            assert all(whole.get(name) == data for name, data in found.items() if isinstance(data, bytes))
        else:
            assert "fault" not in archive.note
            assert found == files(tree)


def contents_of(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_byte_corrupted_in_the_middle(archives, extracted, tmp_path, record_property):
    """No wrong byte is returned; what is before a located damage is read; archive and member are named."""
    good, whole = files(extracted), (archives / VICTIM).read_bytes()
    path, rng, kinds = tmp_path / VICTIM, random.Random(5), set()
    record_property("tried", 40)
    for _ in range(40):
        hurt = bytearray(whole)
        hurt[rng.randrange(len(whole) // 4, 3 * len(whole) // 4)] ^= rng.randrange(1, 256)
        path.write_bytes(hurt)
        index = build(path)
        strict, tolerant = Archive(path, index), Archive(path, index, tolerant=True)
        assert VICTIM in strict.note["fault"]
        outcomes = []
        for name in (f"{folder}/{name}" for folder in strict._folders for name in strict.files(folder)):
            data = answer(lambda name=name, strict=strict: strict.read(name))
            if isinstance(data, tuple):
                assert f"{VICTIM}: member '{name}' may be damaged, because the archive is damaged" in data[1]
                assert tolerant.read(name) is not None
            outcomes.append(None if isinstance(data, tuple) else data == good[name])
        assert False not in outcomes
        kinds.add("located" if True in outcomes else "anywhere")
    assert kinds == {"located", "anywhere"}


def zipped(path: Path) -> bytes:
    """Return an archive as gzip packs it, with a header of ten bytes."""
    return gzip.compress(gzip.decompress(path.read_bytes()), 6)


def harmed(packed: bytes) -> bytes:
    """Change a byte in the middle of what `zipped` made, so that only the content of a file changes.

    Which byte that is depends on the versions of the libraries that drew and packed the frames.
    """
    whole = gzip.decompress(packed)
    names = list(contents_of(packed))
    for at in range(len(packed) // 2, len(packed) - 8):
        hurt = bytearray(packed)
        hurt[at] ^= 0x55
        with suppress(zlib.error, tarfile.TarError, UnicodeError):
            found = zlib.decompressobj(-15).decompress(hurt[10:])
            if len(found) == len(whole) and list(contents_of(gzip.compress(found, 1))) == names:
                return bytes(hurt)
    raise AssertionError("each byte holds more than content")


@pytest.mark.parametrize("reopened", [False, True])
def test_a_byte_corrupted_later(archives, extracted, tmp_path, reopened):
    """An index has the checksum of every file, so all others are read, even after the damage."""
    good, path = files(extracted), tmp_path / VICTIM
    path.write_bytes(zipped(archives / VICTIM))
    archive = Archive(path, indices([path])[0])
    path.write_bytes(harmed(path.read_bytes()))
    names = [f"{folder}/{name}" for folder in archive._folders for name in archive.files(folder)]
    if reopened:
        with pytest.warns(UserWarning, match="has changed since the last indexing"):
            archive = Archive(path, indices([path])[0])
        assert "is damaged" in archive.note["fault"]
    wrong = [name for name in names if isinstance(answer(lambda name=name: archive.read(name)), tuple)]
    assert 1 <= len(wrong) <= 3
    assert all(archive.read(name) == good[name] for name in names if name not in wrong)


@pytest.mark.parametrize("kept", [0, 1, 0.2, 0.5])
def test_an_archive_that_is_cut_off_while_it_is_open(archives, extracted, tmp_path, kept):
    good, path = files(extracted), tmp_path / VICTIM
    shutil.copy(archives / VICTIM, path)
    archive = Archive(path, index := build(path))
    os.truncate(path, int(kept * path.stat().st_size) if kept < 1 else index.bits[-1] // 8 + 1)
    found = everything(archive)
    lost = {name: data for name, data in found.items() if isinstance(data, tuple)}
    assert all(data[0] is DataError and f"{VICTIM}: member '{name}' " in data[1] for name, data in lost.items())
    assert lost
    assert all(good[name] == data for name, data in found.items() if name not in lost)
    assert len(lost) == len(found) or kept


def test_what_lies_well_before_a_later_damage_is_read(tmp_path):
    """A span is a megabyte: all of it that comes before the damage is read."""
    rng = random.Random(6)
    frames = [rng.randbytes(5000) + bytes(100 * rng.randrange(50)) for _ in range(300)]
    path = tmp_path / VICTIM
    path.write_bytes(gzip.compress(packed_frames(frames), 6))
    archive = Archive(path, build(path))
    at = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 5000)
    read = [name for name, data in everything(archive).items() if isinstance(data, bytes)]
    before = [name for name in read if int(re.search(r"RUN(\d+)", name)[1]) < 145]
    assert len(before) >= 140
    assert len(read) < 300


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.999])
def test_a_download_that_broke_off(archives, extracted, tmp_path, kept):
    good = files(extracted)
    (tmp_path / "cut").mkdir()
    whole = (archives / "embryo_dataset.tar.gz").read_bytes()
    (tmp_path / "cut" / "embryo_dataset.tar.gz").write_bytes(whole[: int(kept * len(whole))])
    ds = EmbryoDataset(tmp_path / "cut")
    found = {ds[name].path(run): ds[name].jpeg(run) for name in ds for run in ds[name].runs()}
    assert 0 < len(found) < 60 or kept == 0.999
    assert all(good[path] == data for path, data in found.items())
    assert abs(len(found) - 60 * kept) < 8
    with pytest.raises(
        KeyError, match=r"there is no RUN 999 in plane F0 .*embryo_dataset.tar.gz is cut off near member"
    ):
        ds[ds.videos[-1]].jpeg(999)
    with pytest.raises(KeyError, match=r"has no video 'SAM9-9'.*; embryo_dataset.tar.gz is cut off near member"):
        ds["SAM9-9"]
    assert "is cut off near member" in ds.summary()["faults"][0]
    assert main([str(tmp_path / "cut")]) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_texts_behind_a_fault_are_not_taken_for_absent(archives, tmp_path):
    shutil.copytree(archives, tmp_path / "cut")
    for name in "embryo_dataset_annotations.tar.gz", "embryo_dataset_time_elapsed.tar.gz":
        tar = gzip.decompress((archives / name).read_bytes())
        (tmp_path / "cut" / name).write_bytes(gzip.compress(tar[:2048])[:-8])
    ds, tolerant = EmbryoDataset(tmp_path / "cut"), EmbryoDataset(tmp_path / "cut", tolerant=True)
    [lost, *_] = [name for name in ds if name not in ds.contents.annotated | ds.contents.timed]
    for ask in (
        lambda: ds[lost].phases,
        lambda: ds[lost].phase_at(1),
        lambda: ds.frames(phases=["t2"]),
        lambda: ds.table(),
    ):
        with pytest.raises(DataError, match=r"embryo_dataset_annotations\.tar\.gz is cut off"):
            ask()
    with pytest.raises(DataError, match=r"embryo_dataset_time_elapsed\.tar\.gz is cut off"):
        ds[lost].hours  # noqa: B018
    assert "is cut off" in ds[lost]._repr_html_()
    assert len(tolerant[lost].phases) == len(tolerant[lost].hours) == 0
    assert len(tolerant.table()) > 0


@pytest.mark.filterwarnings("ignore:embryo_dataset_F30.tar.gz is cut off:UserWarning")
def test_validation_finds_the_same_and_reports_a_damaged_archive(archives, extracted, tmp_path):
    assert validate(archives).findings.equals(validate(extracted).findings)
    shutil.copytree(archives, tmp_path / "archives")
    (tmp_path / "archives" / VICTIM).write_bytes(harmed(zipped(archives / VICTIM)))
    cut = tmp_path / "archives" / "embryo_dataset_F30.tar.gz"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.warns(UserWarning, match=rf"{VICTIM} is damaged"):
        findings = validate(tmp_path / "archives").findings
    told = findings[findings.check == "unreadable-entry"]
    assert [(row.severity, row.plane) for row in told.itertuples()] == [("error", "F15"), ("error", "F30")]
    assert f"{VICTIM} is damaged somewhere in it (" in told.message.iloc[0]
    assert "embryo_dataset_F30.tar.gz is cut off near member 'embryo_dataset_F30/" in told.message.iloc[1]


# --- processes and threads -------------------------------------------------------------------------------------------


def first_bytes(work: tuple[Any, str, int, str]) -> str:
    dataset, name, run, plane = work
    return hashlib.sha256(dataset[name].jpeg(run, plane)).hexdigest()


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.slow
def test_workers_read_what_the_parent_reads(archives, start):
    ds = EmbryoDataset(archives)
    jobs = [(ds, name, run, plane) for name in ds for plane in ("F0", "F15") for run in (1, 9, 20)]
    here = list(map(first_bytes, jobs))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
        assert list(pool.map(first_bytes, jobs)) == here
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first_bytes, jobs * 5)) == here * 5
    assert len(pickle.dumps(ds)) < 500


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def test_a_fork_while_another_thread_indexes(archives):
    ds = EmbryoDataset(archives)
    with ds.contents.source._lock:  # as a thread holds it that indexes
        process = multiprocessing.get_context("fork").Process(target=first_bytes, args=((ds, "SAM1-2", 1, "F0"),))
        process.start()
        process.join(60)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0


def test_the_interpreter_ends_quietly(archives):
    code = f"""
import os
import threading
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
ds = EmbryoDataset({str(archives)!r})
ds.videos, ds[ds.videos[0]].jpeg(1)
assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
if not os.fork():
    os._exit(0 if ds[ds.videos[0]].jpeg(2)[:2] == b"\\xff\\xd8" else 1)
assert os.wait()[1] == 0
print("done")
"""
    # pyarrow, which pandas imports if it is there, has a thread of its own; with it, Python warns of every fork
    done = run_python(code, JE_ARROW_MALLOC_CONF="background_thread:false")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.slow
def test_two_processes_open_at_once(archives, cache, tmp_path):
    shutil.copytree(archives, tmp_path / "archives")
    code = f"""
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
ds = EmbryoDataset({str(tmp_path / "archives")!r})
print(len(ds.table()), len(ds[ds.videos[0]].jpeg(1)))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    assert len({process.communicate(timeout=120)[0] for process in both}) == 1
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len(list((cache / "archives").iterdir())) == 9
    assert not [path for path in cache.rglob("*") if path.name.startswith(".")]


def test_without_rapidgzip_the_remedy_is_said(archives):
    code = f"""
import sys
sys.modules["rapidgzip"] = None
from nsw_da_medical_image.dataset_util.dataset import main
sys.exit(main([{str(archives)!r}]))
"""
    done = run_python(code)
    assert done.returncode == 1
    assert done.stderr.endswith("pip install 'nsw_da_medical_image[archives]'\n")
    assert done.stderr.count("\n") == 1


# --- the cache -------------------------------------------------------------------------------------------------------


def test_nothing_is_written_beside_the_archives_and_only_what_is_asked_for_is_indexed(archives, cache):
    before = digest(archives)
    ds = EmbryoDataset(archives, planes="F15")
    assert not (cache / "archives").exists()
    assert ds.videos
    assert [path.name.partition(".")[0] for path in (cache / "archives").iterdir()] == ["embryo_dataset_F15"]
    whole = EmbryoDataset(archives)
    assert whole[ds.videos[0]].jpeg(1)
    whole.contents.source.prepare(list(whole.contents.source._opened))  # the walk may continue behind this frame
    indexed = {path.name.partition(".")[0] for path in (cache / "archives").iterdir()}
    assert indexed == {"embryo_dataset_F15", "embryo_dataset"}
    assert digest(archives) == before


@pytest.mark.parametrize("spoil", ["cut", "rubbish", "flipped", "empty"])
def test_a_damaged_index_is_rebuilt_with_a_word(archives, cache, spoil):
    assert EmbryoDataset(archives, planes=0).videos
    [place] = (cache / "archives").iterdir()
    good = place.read_bytes()
    bad = {"cut": good[: len(good) // 2], "rubbish": b"rubbish", "empty": b""}.get(spoil, bytearray(good))
    if spoil == "flipped":
        bad[len(bad) // 2] ^= 1
    place.write_bytes(bad)
    with pytest.warns(CacheWarning, match=r"a file in the cache .* is damaged; its content is computed again"):
        assert EmbryoDataset(archives, planes=0).videos
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert EmbryoDataset(archives, planes=0).videos


@pytest.mark.parametrize("unusable", ["a file", "below what is no folder"])
def test_a_cache_that_cannot_be_is_said_and_nothing_else(archives, extracted, tmp_path, monkeypatch, unusable):
    (tmp_path / "file").touch()
    # a name of its own: what was said once in this process is not said again
    place = {"a file": tmp_path / "file", "below what is no folder": Path("/proc/none", tmp_path.name)}[unusable]
    monkeypatch.setenv("NSW_CACHE_DIR", str(place))
    with pytest.warns(CacheWarning, match=r"nothing is cached \(.*\); the work continues; set NSW_CACHE_DIR to"):
        read = EmbryoDataset(archives)["SAM1-2"].jpeg(1, "F15")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a folder needs no cache
        assert len(EmbryoDataset(extracted, planes="F15").table()) == 60
        assert len(EmbryoDataset(archives).table()) == 7 * 60  # it was said already, and is not said for each of them
    assert EmbryoDataset(extracted)["SAM1-2"].jpeg(1, "F15") == read


def test_a_changed_archive_is_indexed_anew(archives, tmp_path):
    shutil.copytree(archives, tmp_path / "archives")
    few = EmbryoDataset(tmp_path / "archives", planes=0).videos
    make_archives(tmp_path / "more", videos=5, frames=3, size=48)
    shutil.copy(tmp_path / "more" / "embryo_dataset.tar.gz", tmp_path / "archives")
    with pytest.warns(
        UserWarning, match=r"embryo_dataset\.tar\.gz has changed since the last indexing; indexing again"
    ):
        assert len(EmbryoDataset(tmp_path / "archives", planes=0).videos) == 5 > len(few)


def test_frames_that_arrive_later_are_seen_whatever_the_times_say(extracted, cache, tmp_path):
    """On mounts of an object store, the times of folders never change."""
    shutil.copytree(extracted, tmp_path / "extracted")
    folder = tmp_path / "extracted" / "embryo_dataset" / "SAM1-2"

    def constant_times() -> None:
        for place in (folder, folder.parent, tmp_path / "extracted"):
            os.utime(place, (0, 0))

    constant_times()
    before = EmbryoDataset(tmp_path / "extracted").table()
    late = next(folder.glob("*_RUN7.jpeg"))
    late.rename(tmp_path / late.name)
    constant_times()
    assert 7 not in EmbryoDataset(tmp_path / "extracted")["SAM1-2"].runs()
    assert len(EmbryoDataset(tmp_path / "extracted").table()) == len(before) - 1
    (tmp_path / late.name).rename(late)
    constant_times()
    assert EmbryoDataset(tmp_path / "extracted").table().equals(before)
    assert not list(cache.iterdir())


# --- some archives only, and who stands above -------------------------------------------------------------------------


def test_some_archives_will_do(archives, extracted, tmp_path):
    for name in "embryo_dataset_F15.tar.gz", "embryo_dataset_annotations.tar.gz":
        (tmp_path / "some").mkdir(exist_ok=True)
        shutil.copy(archives / name, tmp_path / "some")
    some, whole = EmbryoDataset(tmp_path / "some"), EmbryoDataset(extracted)
    assert some.planes == ("F15",)
    assert set(some.missing) == set(ARCHIVES.values()) - {"embryo_dataset_F15", "embryo_dataset_annotations"}
    assert some.videos == whole.videos
    name = some.videos[0]
    assert some[name].jpeg(3, "F15") == whole[name].jpeg(3, "F15")
    assert some[name].phases.equals(whole[name].phases)
    assert len(some[name].hours) == 0
    assert some[name].grade is None


def test_the_player_plays_from_the_archives(archives, extracted, tmp_path):
    pages = []
    for place in archives, extracted:
        ds = EmbryoDataset(place)
        player = EmbryoPlayer([ds[name] for name in ds.videos[:2]], plane="F15")
        player.to_html(out := tmp_path / f"{place.name}.html")
        pages.append(out.read_bytes())
        player.close()
    assert pages[0] == pages[1]


def test_the_commands_take_the_archives(archives, tmp_path):
    assert main([str(archives)]) == 0
    done = subprocess.run(
        [sys.executable, ROOT / "play_video.py", archives, "SAM1-2", "--out", tmp_path / "page.html", "--no-open"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_play_video_indexes_one_plane(archives, tmp_path, cache):
    options = ["--plane", "F15", "--out", tmp_path / "page.html", "--no-open"]
    command = [sys.executable, ROOT / "play_video.py", archives, "SAM1-2", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == 0
    indexed = {path.name.partition(".")[0] for path in (cache / "archives").iterdir()}
    assert {name for name in indexed if "annot" not in name and "time" not in name} == {"embryo_dataset_F15"}


@pytest.mark.slow
def test_a_video_that_spans_several_seek_points(tmp_path):
    """Read frames of real size: one, one after the other, and beyond the first seek points."""
    make_archives(tmp_path / "archives", videos=2, frames=60)
    extract_dataset(tmp_path / "archives", tmp_path / "extracted")
    left, right = EmbryoDataset(tmp_path / "archives"), EmbryoDataset(tmp_path / "extracted")
    left.contents.source.prepare(["embryo_dataset"])
    assert len(left.contents.source._archive("embryo_dataset")._index.bits) > 2
    for name in right.videos[::-1]:
        for run in (60, 1, *right[name].runs().tolist()):
            assert left[name].jpeg(run) == right[name].jpeg(run)
        assert np.array_equal(left[name].stack("F15"), right[name].stack("F15"))
    frames = [
        EmbryoDataset(place).frames(planes="F0", pick="median")
        for place in (tmp_path / "archives", tmp_path / "extracted")
    ]
    assert len(frames[0]) == len(frames[1])
    assert all(a[1:] == b[1:] and np.array_equal(a[0], b[0]) for a, b in zip(*frames, strict=True))


def in_members(tar: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(tar[i : i + size], 6) for i in range(0, len(tar), size))


COMPRESSORS = {
    "stored": lambda tar: gzip.compress(tar, 0),
    "fast": lambda tar: gzip.compress(tar, 1),
    "usual": lambda tar: gzip.compress(tar, 6),
    "best": lambda tar: gzip.compress(tar, 9),
    "isal 0": lambda tar: igzip.compress(tar, 0),
    "isal 3": lambda tar: igzip.compress(tar, 3),
    "members of a megabyte": lambda tar: in_members(tar, 1 << 20),
    "members of 65,280 bytes": lambda tar: in_members(tar, 65_280),
}


def packed_frames(frames: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for run, data in enumerate(frames, 1):
            info, content = member(f"{TOP}/A-1/D1_S1_I1_WELL1_RUN{run}.jpeg", data)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def check_compressor(frames: list[bytes], path: Path, compress: Any) -> None:
    path.write_bytes(compress(packed_frames(frames)))
    archive = Archive(path, build(path))
    assert "fault" not in archive.note
    order = list(range(len(frames)))
    random.Random(2).shuffle(order)
    for place in order:
        assert archive.read(f"{TOP}/A-1/D1_S1_I1_WELL1_RUN{place + 1}.jpeg") == frames[place]
    spans = [archive._inflated[i] for i in range(len(archive._index.bits))]
    tar, inflated = packed_frames(frames), b"".join(spans)
    assert tar.startswith(inflated)
    assert len(inflated) > len(tar) - 10_240  # what fills the last record may be left out


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_any_compressor_will_do(tmp_path, compressor):
    """Incompressible data is stored in blocks that begin on byte boundaries; repeated data needs the window."""
    rng = random.Random(4)
    text = " ".join(str(rng.randrange(10**6)) for _ in range(4000)).encode()
    kinds = [lambda: rng.randbytes(25_000), lambda: text[rng.randrange(999) :], lambda: rng.randbytes(9000) * 3]
    frames = [rng.choice(kinds)() for _ in range(260)]
    check_compressor(frames, tmp_path / VICTIM, COMPRESSORS[compressor])


@pytest.mark.parametrize("compressor", ["fast", "usual", "isal 3"])
def test_real_frames(real_data, tmp_path, compressor):
    paths = sorted((real_data / "embryo_dataset" / "AA83-7").glob("*.jpeg")) or sorted(real_data.rglob("*.jpeg"))[:290]
    assert len(paths) > 200
    check_compressor([path.read_bytes() for path in paths], tmp_path / VICTIM, COMPRESSORS[compressor])


def test_the_order_of_the_members_does_not_matter(archives, extracted, tmp_path):
    with tarfile.open(tmp_path / VICTIM, "w:gz") as tar:
        paths = [path for path in (extracted / TOP).rglob("*") if path.is_file()]
        random.Random(1).shuffle(paths)
        for path in paths:
            tar.add(path, str(path.relative_to(extracted)))
    archive = Archive(tmp_path / VICTIM, indices([tmp_path / VICTIM])[0])
    for path in paths:
        assert archive.read(str(path.relative_to(extracted))) == path.read_bytes()


@pytest.mark.parametrize("packed", [True, False], ids=["archives", "extracted"])
@pytest.mark.parametrize(("content", "why"), [(b"<html>", "it is a web page"), (b"", "is empty")])
def test_an_error_page_is_not_copied_as_the_grades(archives, extracted, tmp_path, packed, content, why):
    """The rule is that of the extraction."""
    shutil.copytree(archives if packed else extracted, tmp_path / "data")
    (tmp_path / "data" / GRADES).write_bytes(content)
    with pytest.raises(DataError, match=f"data: {GRADES} (has .*: )?{why}; download it again, or remove it$"):
        EmbryoDataset(tmp_path / "data").extract("SAM1-2", "F0", to=tmp_path / "part")
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("packed", [True, False], ids=["archives", "extracted"])
def test_a_part_reads_no_more_of_a_text_than_the_data_set_does(archives, extracted, tmp_path, packed):
    """A text of more than `TEXT_LIMIT` bytes, in an archive or on disk."""
    path = "embryo_dataset_annotations/SAM1-2_phases.csv"
    shutil.copytree(archives if packed else extracted, tmp_path / "data")
    if packed:
        with tarfile.open(tmp_path / "data" / "embryo_dataset_annotations.tar.gz", "w:gz") as tar:
            (info := tarfile.TarInfo(path)).size = 1_000_001
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    else:
        os.truncate(tmp_path / "data" / path, 1_000_001)
    ds = EmbryoDataset(tmp_path / "data")
    for ask in lambda: ds.contents.phase_rows("SAM1-2"), lambda: ds.extract("SAM1-2", "F0", to=tmp_path / "part"):
        with pytest.raises(DataError, match=f"^{path} has 1,000,001 bytes; at most 1,000,000 are read$"):
            ask()
    assert os.listdir(tmp_path) == ["data"]


def test_an_archive_that_is_refused_is_said_once(archives, tmp_path, capsys):
    """The error is enough: the warning would have the same text."""
    folder = changed(archives, tmp_path / "archives", HOSTILE["sparse"])
    assert main([str(folder)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert VICTIM in line
