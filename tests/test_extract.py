"""Test what a notebook cannot: hostile archives, other users, kill -9, Ctrl-C, a power cut, a full disk, memory."""

import errno
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_cut import after_power_cuts, assert_survives, recorded_calls

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import extract_dataset as module
from nsw_da_medical_image.dataset_util.extract_dataset import extract_archive, extract_dataset
from nsw_da_medical_image.dataset_util.seek import build
from nsw_da_medical_image.dataset_util.util import ARCHIVES, GRADES, FocalPlane

VICTIM = "embryo_dataset_F15.tar.gz"
TOP = ARCHIVES[VICTIM]
COMMAND = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.extract_dataset"]


@pytest.fixture(scope="module")
def archives(shared):
    return shared().archives


def enlarged(archives, folder, more):
    """Return a copy of the archives with `more` frames in each plane."""
    noise = random.Random(0)
    shutil.copytree(archives, folder)
    for path in folder.glob("*.tar.gz"):
        if ARCHIVES[path.name] in (plane.folder for plane in FocalPlane):
            frames = (
                member(f"{ARCHIVES[path.name]}/MORE-1/D1_S1_I1_WELL1_RUN{i}.jpeg", noise.randbytes(600))
                for i in range(1, more + 1)
            )
            path.write_bytes(with_members(*frames)(path.read_bytes()))
    return folder


@pytest.fixture(scope="module")
def larger(archives, tmp_path_factory):
    """Return archives whose extraction lasts long enough to be interrupted."""
    return enlarged(archives, tmp_path_factory.mktemp("larger") / "archives", 1500)


def command(*args, **options):
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=120, **options)


def digest(folder):
    """Return names, kinds and bytes of everything below `folder`."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        state.update(f"{path.relative_to(folder)} {path.is_symlink()} {path.is_dir()}\n".encode())
        if path.is_file():
            state.update(path.read_bytes())
    return state.hexdigest()


def contents(archives):
    """Return what the archives contain, read by `tarfile`: {path: bytes}."""
    found = {"embryo_dataset_grades.csv": (archives / "embryo_dataset_grades.csv").read_bytes()}
    for path in archives.glob("*.tar.gz"):
        with tarfile.open(path) as tar:
            found |= {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    return found


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- hostile archives: a whole one with a member put in, or its bytes changed ---------------------------------------


def member(name, data=b"", kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def with_members(*extra, form=tarfile.PAX_FORMAT, pax=None):
    """Return a builder: the victim's own members, then `extra`."""

    def build(good):
        buffer = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(good)) as old,
            tarfile.open(fileobj=buffer, mode="w:gz", format=form, pax_headers=pax or {}) as new,
        ):
            for info in old:
                new.addfile(info, old.extractfile(info) if info.isfile() else None)
            for info, data in extra:
                new.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    return build


def flipped(position):
    def build(good):
        data = bytearray(good)
        data[position if position < 0 else len(data) * position // 100] ^= 0x10
        return bytes(data)

    return build


def raw(change):
    """Return a builder that changes the bytes of the tar file inside."""
    return lambda good: gzip.compress(change(gzip.decompress(good)))


def without_end(tar):
    return tar.rstrip(b"\0") + bytes(-len(tar.rstrip(b"\0")) % 512)


def undecodable(tar):
    info, _ = member(f"{TOP}/A/xx")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[len(f"{TOP}/A/") : len(f"{TOP}/A/") + 2] = b"\xff\xfe"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
    return without_end(tar) + bytes(header) + bytes(1024)


def with_size(field):
    """Return a builder: the victim's own members, then one of 8 bytes whose header has the size `field`."""

    def change(tar):
        info, _ = member(f"{TOP}/A/x", b"12345678")
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = field
        header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
        return without_end(tar) + bytes(header) + b"12345678".ljust(512, b"\0") + bytes(1024)

    return raw(change)


def sparse(**pax):
    return with_members(member(f"{TOP}/A/x", b"1", pax_headers={key.replace("_", "."): "1" for key in pax}))


def gnu_sparse(size, real=b"00004000000\0", data=b"x" * 512):
    """Return a builder: the victim's own members, then one of GNU's sparse type, which `tarfile` treats as a plain file."""

    def change(tar):
        header = bytearray(member(f"{TOP}/A/x")[0].tobuf(tarfile.GNU_FORMAT))
        header[124:136], header[156:157] = size, tarfile.GNUTYPE_SPARSE
        header[386:410] = b"00000000000\x0000000001000\0"  # one piece: its place and its length
        header[483:495] = real
        header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
        return without_end(tar) + bytes(header) + data + bytes(1024)

    return raw(change)


SPARSE = {
    "GNU type": gnu_sparse(b"00000001000\0"),
    "GNU type, size 0": gnu_sparse(b"00000000000\0", data=b""),
    "GNU type, the whole size": gnu_sparse(b"00000001000\0", b"00000001000\0"),
    "GNU type, a size that is no number": gnu_sparse(b"not a number", data=b""),
    "GNU type, a negative size": gnu_sparse(b"\xff" * 12, data=b""),
    "GNU type, a real size that is no number": gnu_sparse(b"00000001000\0", b"not a number"),
    "PAX 0.0": sparse(GNU_sparse_size=1, GNU_sparse_numblocks=1, GNU_sparse_offset=1),
    "PAX 0.1": sparse(GNU_sparse_map=1, GNU_sparse_size=1),
    "PAX 1.0": sparse(GNU_sparse_major=1, GNU_sparse_minor=1, GNU_sparse_realsize=1),
    "star": sparse(SCHILY_realsize=1),
    "Solaris": sparse(SUN_holesdata=1),
    "PAX, global": with_members(member(f"{TOP}/A/x", b"1"), pax={"GNU.sparse.major": "1"}),
}


FRAME = f"{TOP}/A/D1_S1_I1_WELL1_RUN1.jpeg"
HOSTILE = {
    "parent": with_members(member(f"{TOP}/../../escaped", b"x")),
    "parent at the start": with_members(member("../escaped", b"x")),
    "absolute": with_members(member("/escaped", b"x")),
    "symlink, then through it": with_members(
        member(f"{TOP}/A", kind=tarfile.SYMTYPE, linkname="../.."), member(f"{TOP}/A/escaped", b"x")
    ),
    "hard link": with_members(member(FRAME, kind=tarfile.LNKTYPE, linkname="/etc/passwd")),
    "character device": with_members(member(FRAME, kind=tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "block device": with_members(member(FRAME, kind=tarfile.BLKTYPE)),
    "named pipe": with_members(member(FRAME, kind=tarfile.FIFOTYPE)),
    "duplicate": with_members(member(FRAME, b"1"), member(FRAME, b"2")),
    "duplicate in other words": with_members(member(FRAME, b"1"), member(f"./{TOP}//A/./{Path(FRAME).name}", b"2")),
    "duplicate folder": with_members(
        member(f"{TOP}/A", kind=tarfile.DIRTYPE), member(f"{TOP}/A", kind=tarfile.DIRTYPE)
    ),
    "file, then folder": with_members(member(f"{TOP}/A/F0", b"x"), member(f"{TOP}/A/F0/x", b"x")),
    "folder, then file": with_members(member(f"{TOP}/A/F0/x", b"x"), member(f"{TOP}/A/F0", b"x")),
    "too deep": with_members(member(f"{TOP}/A/B/C/x", b"x")),
    "too high": with_members(member(f"{TOP}/x", b"x")),
    "wrong top folder": with_members(member("other/A/x", b"x")),
    "another archive's folder": with_members(member("embryo_dataset/A/x", b"x")),
    "300 characters": with_members(member(f"{TOP}/A/{'x' * 300}", b"x")),
    "300 characters, GNU": with_members(member(f"{TOP}/A/{'x' * 300}", b"x"), form=tarfile.GNU_FORMAT),
    "parent by a PAX path": with_members(member(f"{TOP}/A/x", b"x", pax_headers={"path": f"{TOP}/../../escaped"})),
    "global PAX path": with_members(member(f"{TOP}/A/x", b"x"), pax={"path": f"{TOP}/A/y"}),
    "control characters": with_members(member(f"{TOP}/A/x\x1b[31m\nerror: fake", b"x")),
    "undecodable name": raw(undecodable),
    "sparse": sparse(GNU_sparse_major=1),
    "sparse, of GNU's type": gnu_sparse(b"00000001000\0"),
    "a gzip bomb": lambda good: gzip.compress(gzip.decompress(good)) + gzip.compress(bytes(100 << 20)),
    "a gzip bomb of many files": with_members(*(member(f"{TOP}/A/{i}", bytes(1 << 20)) for i in range(100))),
    "a file that no reader takes": with_members(member(f"{TOP}/A/x", bytes((32 << 20) + 1))),
    "a size that is not octal": with_size(b"00000000009\0"),
    "a negative size": with_size(b"\xff" * 11 + b"\xf8"),
    "a PAX size of 5,000 digits": with_members(member(f"{TOP}/A/x", b"x", pax_headers={"size": "9" * 5000})),
    "a negative PAX size": with_members(member(f"{TOP}/A/x", b"x", pax_headers={"size": "-7"})),
    "a file for the top folder": lambda good: with_members(member(TOP, b"x"))(gzip.compress(bytes(1024))),
    "a few bytes behind the end": raw(lambda tar: tar + b"x"),
    "no end blocks": raw(without_end),
    "one end block": raw(lambda tar: without_end(tar) + bytes(512)),
    "a second tar behind the first": raw(lambda tar: tar + tar),
    "cut in a member": raw(lambda tar: tar[: len(tar) // 2]),
    "truncated gzip": lambda good: good[: len(good) // 2],
    "truncated by one byte": lambda good: good[:-1],
    "flipped bit in the middle": flipped(50),
    "flipped bit at the start": flipped(5),
    "flipped CRC": flipped(-6),
    "cut in the length": lambda data: data[:-2],
    "half a header behind": lambda data: data + data[:5],
    "flipped length": flipped(-2),
    "trailing garbage": lambda good: good + b"garbage",
    "empty file": lambda good: b"",
    "empty gzip": lambda good: gzip.compress(b""),
    "empty tar": lambda good: gzip.compress(bytes(10240)),
    "a web page": lambda good: b"<html>404</html>",
    "not compressed": gzip.decompress,
}


@pytest.mark.parametrize("fault", HOSTILE)
@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
@pytest.mark.slow
def test_hostile_archive(archives, tmp_path, fault, there):
    source = tmp_path / "data" / "archives"
    shutil.copytree(archives, source)
    (source / VICTIM).write_bytes(HOSTILE[fault]((source / VICTIM).read_bytes()))
    target = tmp_path / "data" / "extracted"
    if there:
        target.mkdir()
    before, root = digest(source), set(os.listdir("/"))
    done = command(source, target, "--workers", 2)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert VICTIM in done.stderr
    assert target.exists() == there
    assert not there or not os.listdir(target)
    assert digest(source) == before
    assert {p.name for p in tmp_path.iterdir()} == {"data"}
    hidden = target.with_name(".extracted.extracting")
    assert {p.name for p in target.parent.iterdir()} <= {"archives", "extracted", hidden.name}
    assert set(os.listdir("/")) == root
    left = {p.name for p in (hidden / "tree").iterdir()} if hidden.exists() else set()
    assert TOP not in left
    (source / VICTIM).write_bytes((archives / VICTIM).read_bytes())
    assert command(source, target).returncode == 0
    assert files(target) == contents(archives)


def raw_members(good):
    tar = gzip.decompress(good)
    return b"".join(gzip.compress(tar[i : i + 300]) for i in range(0, len(tar), 300))


HARMLESS = {
    "a size of twelve digits": with_size(b"000000000010"),
    "an empty gzip member in front": lambda good: gzip.compress(b"") + good,
    "many small gzip members": raw_members,
    "a large PAX header": with_members(member(f"{TOP}/A/x", b"x", pax_headers={"comment": "é" * 100_000})),
    "unknown PAX keywords": with_members(member(f"{TOP}/A/x", b"x", pax_headers={"LIBARCHIVE.creationtime": "1"})),
    "global PAX keywords": with_members(member(f"{TOP}/A/x", b"x"), pax={"comment": "made by hand"}),
    "./ before the names": with_members(member(f"./{TOP}/A/x", b"x")),
    "long names, GNU": with_members(member(f"{TOP}/{'A' * 120}/x", b"x"), form=tarfile.GNU_FORMAT),
    "macOS metadata": with_members(
        member(f"./._{TOP}", b"m"), member(f"{TOP}/._A", b"m" * 700), member(f"{TOP}/A/.DS_Store")
    ),
    "several gzip members": lambda good: (
        good[:0] + gzip.compress((tar := gzip.decompress(good))[:1000]) + gzip.compress(tar[1000:])
    ),
    "set-uid and no read permission": with_members(member(f"{TOP}/A/x", b"x", mode=0o4000, uid=12345)),
}


@pytest.mark.parametrize("quirk", HARMLESS)
@pytest.mark.slow
def test_harmless_quirks(archives, tmp_path, quirk):
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    (source / VICTIM).write_bytes(HARMLESS[quirk]((source / VICTIM).read_bytes()))
    extract_dataset(source, tmp_path / "extracted")
    wanted = {name.removeprefix("./"): data for name, data in contents(source).items()}
    wanted = {name: data for name, data in wanted.items() if not Path(name).name.startswith(("._", ".DS"))}
    assert files(tmp_path / "extracted") == wanted
    modes = {path.stat().st_mode & 0o7777 for path in (tmp_path / "extracted").rglob("*") if path.is_file()}
    assert len(modes) == 1
    assert modes <= {0o644, 0o664, 0o600, 0o660, 0o666}


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
@pytest.mark.slow
def test_mutated_archive(archives, tmp_path, data):
    """Whatever bytes of an archive change, the result is exactly its content or an error, and nothing is written beside its folder."""
    good = (archives / VICTIM).read_bytes()
    inside = data.draw(st.booleans(), label="change the tar inside")
    old = gzip.decompress(good) if inside else good
    new = bytearray(old)
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        at = data.draw(st.integers(0, len(new) - 1), label="at")
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "remove"]), label="kind")
        if kind == "set":
            new[at] = data.draw(st.integers(0, 255), label="byte")
        elif kind == "cut":
            del new[max(1, at) :]
        elif kind == "insert":
            new[at:at] = data.draw(st.binary(min_size=1, max_size=600), label="bytes")
        else:
            del new[at : at + data.draw(st.integers(1, 600), label="length")]
        if not new:
            new = bytearray(b"x")
    place = tmp_path / hashlib.sha1(new + bytes([inside])).hexdigest()
    (place / "tree").mkdir(parents=True, exist_ok=True)
    (place / VICTIM).write_bytes(gzip.compress(new) if inside else new)
    fault = None
    try:
        tally = extract_archive(place / VICTIM, place / "tree")
    except DataError as raised:
        fault = raised
    assert fault is None or VICTIM in str(fault)
    if not fault:
        got = files(place / "tree")
        assert tally.files == len(got)
        if not inside:  # gzip's own checksum covers the content
            with tarfile.open(archives / VICTIM) as tar:
                assert got == {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    assert {p.name for p in place.iterdir()} == {"tree", VICTIM}
    assert {p.name for p in (place / "tree").iterdir()} <= {TOP}
    shutil.rmtree(place)


@pytest.mark.parametrize("encoding", SPARSE)
def test_sparse_members_are_refused_with_one_sentence(archives, tmp_path, encoding):
    (tmp_path / VICTIM).write_bytes(SPARSE[encoding]((archives / VICTIM).read_bytes()))
    (tmp_path / "tree").mkdir()
    with pytest.raises(DataError) as extracting:
        extract_archive(tmp_path / VICTIM, tmp_path / "tree")
    sentence = "is a sparse file; only plain files and folders are extracted; download"
    assert sentence in str(extracting.value)
    fault = build(tmp_path / VICTIM).note()
    assert fault["refused"]
    assert fault["fault"] == str(extracting.value)


@pytest.mark.parametrize("bomb", ["a gzip bomb", "a gzip bomb of many files", "a file that no reader takes"])
@pytest.mark.slow
def test_bombs_are_refused_in_place_too(archives, tmp_path, bomb):
    (tmp_path / VICTIM).write_bytes(HOSTILE[bomb]((archives / VICTIM).read_bytes()))
    (tmp_path / "tree").mkdir()
    note = build(tmp_path / VICTIM).note()
    assert note["refused"]
    assert "32,505,856" in note["fault"] or "33,554,432" in note["fault"] or "gzip bomb" in note["fault"]


def test_a_bomb_is_refused_before_it_fills_the_disk(archives, tmp_path):
    """Of 256 MB of zeros in plain files, hardly more than the allowed 64 MiB are written."""
    one = member(f"{TOP}/A/x")[0]
    one.size = 1 << 20
    with gzip.open(tmp_path / VICTIM, "wb", 1) as f:
        for i in range(256):
            one.name = f"{TOP}/A/{i}"
            f.write(one.tobuf() + bytes(1 << 20))
        f.write(bytes(1024))
    (tmp_path / "tree").mkdir()
    with pytest.raises(DataError, match="inflates to more than 10 times its size, as a gzip bomb does"):
        extract_archive(tmp_path / VICTIM, tmp_path / "tree")
    assert sum(path.stat().st_size for path in (tmp_path / "tree").rglob("*") if path.is_file()) < 90 << 20


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kill_9_at_random_moments(archives, tmp_path_factory, tmp_path, record_property):
    """A moment is a number of files already written, so the speed of the machine does not matter."""
    larger = enlarged(archives, tmp_path_factory.mktemp("some") / "archives", 400)
    target, hidden = tmp_path / "extracted", tmp_path / ".extracted.extracting"
    extract_dataset(larger, tmp_path / "undisturbed", workers=2)
    whole, count = digest(tmp_path / "undisturbed"), len(files(tmp_path / "undisturbed"))
    dice = random.Random(7)
    moments = [dice.uniform(0, 1.1) * count for _ in range(20)]
    record_property("tried", len(moments))
    continued = interrupted = 0
    for moment in moments:
        with subprocess.Popen([*COMMAND, larger, target, "--workers", "2"], stdout=subprocess.PIPE) as process:
            wait_for(lambda: written(hidden) >= moment or process.poll() is not None or target.exists(), 120)  # noqa: B023
            process.kill()
        interrupted += process.returncode == -signal.SIGKILL
        assert not target.exists() or digest(target) == whole
        if not target.exists():
            again = command(larger, target, "--workers", 2, "--json")
            assert again.returncode == 0, again.stderr
            continued += len(json.loads(again.stdout)["continued"])
        assert digest(target) == whole
        assert {p.name for p in tmp_path.iterdir()} - {hidden.name} == {"extracted", "undisturbed"}
        shutil.rmtree(target)
        shutil.rmtree(hidden, ignore_errors=True)
    print(f"{interrupted} of {len(moments)} runs were killed in time, {continued} archives were taken over")
    assert interrupted >= sum(moment < count / 2 for moment in moments)


def written(folder):
    """Return the number of files below `folder`, which may be changing."""
    return sum(len(names) for _, _, names in os.walk(folder))


def wait_for(condition, seconds=60):
    """Return when the condition is met; the timeout only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the awaited moment did not come"
        time.sleep(0.002)


def running_workers(process):
    """Return the workers. From Python 3.14 on, one more process starts them, and another one tracks their resources."""
    children = [child for child in psutil.Process(process.pid).children(recursive=True) if child.status() != "zombie"]
    return [child for child in children if not child.children() and "resource_tracker" not in " ".join(child.cmdline())]


def under_way(process, hidden, workers):
    """Return the workers once all of them run and the first files are written."""

    def met():
        assert process.poll() is None, "it ended before it was interrupted"
        return written(hidden / "tree") and len(running_workers(process)) == workers

    wait_for(met)
    return running_workers(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_workers(larger, tmp_path, number):
    with subprocess.Popen(
        [*COMMAND, larger, tmp_path / "extracted", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        workers = under_way(process, tmp_path / ".extracted.extracting", 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    wait_for(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    assert not (tmp_path / "extracted").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert errors == "stopped; the destination is untouched; run the same command to continue\n"


def test_a_killed_worker_is_an_error(larger, tmp_path):
    with subprocess.Popen(
        [*COMMAND, larger, tmp_path / "extracted", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        under_way(process, tmp_path / ".extracted.extracting", 2)[0].kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended with status -9, perhaps because memory is short; use fewer workers" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "extracted").exists()


@pytest.mark.slow
def test_only_one_at_a_time(archives, larger, tmp_path):
    with subprocess.Popen(
        [*COMMAND, larger, tmp_path / "extracted", "--workers", "1"], stdout=subprocess.PIPE
    ) as process:
        under_way(process, tmp_path / ".extracted.extracting", 1)
        process.send_signal(signal.SIGSTOP)  # under way for as long as the test wants
        second = command(larger, tmp_path / "extracted")
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
    assert second.returncode == 1
    assert "another extraction is running in" in second.stderr
    assert process.returncode == 0
    assert files(tmp_path / "extracted") == contents(larger)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EBADF])
def test_a_lock_that_fails_keeps_the_extraction_out(archives, tmp_path, monkeypatch, code):
    def fail(fd, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        extract_dataset(archives, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_systems_without_locks_leave_it_to_the_user(archives, tmp_path, monkeypatch, code):
    def fail(fd, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fail)
    assert extract_dataset(archives, tmp_path / "new").files > 0


def test_other_archives_are_not_continued(archives, larger, tmp_path):
    """The remains of an interrupted extraction of other archives are not used."""
    hidden = tmp_path / ".extracted.extracting"
    with subprocess.Popen(
        [*COMMAND, larger, tmp_path / "extracted", "--workers", "1"], stdout=subprocess.PIPE
    ) as process:
        wait_for(lambda: len(list(hidden.glob("done/*.json"))) >= 2)
        process.kill()
    result = extract_dataset(archives, tmp_path / "extracted")
    assert result.continued == []
    assert files(tmp_path / "extracted") == contents(archives)


def interrupted(archives, target, finished=2):
    """Kill an extraction after some archives are finished; return the hidden folder that it leaves."""
    hidden = target.with_name(f".{target.name}.extracting")
    with subprocess.Popen([*COMMAND, archives, target, "--workers", "1"], stdout=subprocess.PIPE) as process:
        wait_for(lambda: len(list(hidden.glob("done/*.json"))) >= finished)
        process.kill()
    assert not target.exists()
    return hidden


@pytest.mark.slow
def test_the_content_of_an_older_archive_is_not_taken_over(larger, tmp_path):
    """The archive has the same size, times, head and tail as before, but other bytes."""
    source = tmp_path / "archives"
    shutil.copytree(larger, source)
    for path in source.glob("*.tar.gz"):  # uncompressed, so that a change keeps the length; in several gzip members
        tar = gzip.decompress(path.read_bytes())
        path.write_bytes(b"".join(gzip.compress(tar[i : i + 300_000], 0, mtime=0) for i in range(0, len(tar), 300_000)))
    hidden = interrupted(source, tmp_path / "extracted")
    name = sorted(path.name for path in hidden.glob("done/*.json"))[0].removesuffix(".json")
    facts, old = (source / name).stat(), (source / name).read_bytes()
    tar = bytearray(gzip.decompress(old))
    with tarfile.open(fileobj=io.BytesIO(bytes(tar))) as opened:
        middle = [m for m in opened if m.isfile()][700]
        tar[middle.offset_data] ^= 0xFF
    new = b"".join(gzip.compress(bytes(tar[i : i + 300_000]), 0, mtime=0) for i in range(0, len(tar), 300_000))
    assert (len(new), new[:65536], new[-65536:]) == (len(old), old[:65536], old[-65536:])
    assert new != old
    (source / name).write_bytes(new)
    os.utime(source / name, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    done = command(source, tmp_path / "extracted", "--json")
    assert done.returncode == 0, done.stderr
    assert name not in json.loads(done.stdout)["continued"]
    assert len(json.loads(done.stdout)["continued"]) >= 1
    assert files(tmp_path / "extracted") == contents(source)


@pytest.mark.parametrize("change", ["changed", "missing", "extra", "a link", "a second name", "an empty folder"])
@pytest.mark.slow
def test_what_is_taken_over_is_verified_by_its_content(larger, tmp_path, change):
    """In some of these cases, the number and the total size of the files are the same."""
    hidden = interrupted(larger, tmp_path / "extracted")
    names = {path.name.removesuffix(".json") for path in hidden.glob("done/*.json")}
    name = min(names)
    frame = sorted((hidden / "tree" / ARCHIVES[name]).glob("MORE-1/*.jpeg"))[3]
    data = frame.read_bytes()
    if change == "changed":
        frame.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif change == "missing":
        frame.unlink()
    elif change == "extra":
        frame.with_name("RUN0.jpeg").write_bytes(b"")
    elif change == "a link":
        frame.rename(tmp_path / "elsewhere")
        frame.symlink_to(tmp_path / "elsewhere")
    elif change == "a second name":
        os.link(frame, tmp_path / "elsewhere")
    else:
        frame.with_name("empty").mkdir()
    done = command(larger, tmp_path / "extracted", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["continued"]) >= names - {name}
    assert name not in json.loads(done.stdout)["continued"]
    assert files(tmp_path / "extracted") == contents(larger)
    assert not any(path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("how", ["by rename", "in place"])
@pytest.mark.slow
def test_an_archive_that_changes_during_the_run_is_noticed(larger, archives, tmp_path, how, monkeypatch):
    """It changes in place, with the same size and time; the extraction stops, and the next one has the new content."""
    source = tmp_path / "archives"
    shutil.copytree(larger, source)
    (tmp_path / VICTIM).write_bytes((archives / VICTIM).read_bytes())
    publish = module._Staging.publish

    def changing(staging, check):
        facts = (source / VICTIM).stat()
        if how == "by rename":
            (tmp_path / VICTIM).rename(source / VICTIM)
        else:
            data = bytearray((source / VICTIM).read_bytes())
            data[len(data) // 2] ^= 1
            (source / VICTIM).write_bytes(data)
            os.utime(source / VICTIM, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        publish(staging, check)

    monkeypatch.setattr(module._Staging, "publish", changing)
    with pytest.raises(DataError, match=f"{VICTIM} changed while it was read; run the same command again"):
        extract_dataset(source, tmp_path / "extracted", workers=2)
    assert not (tmp_path / "extracted").exists()
    monkeypatch.undo()
    if how == "in place":
        with pytest.raises(DataError, match=f"{VICTIM} is damaged|{VICTIM} is cut off"):
            extract_dataset(source, tmp_path / "extracted", workers=2)
        shutil.copy(larger / VICTIM, source / VICTIM)
    result = extract_dataset(source, tmp_path / "extracted", workers=2)
    assert VICTIM not in result.continued
    assert files(tmp_path / "extracted") == contents(source)


def test_a_download_that_goes_on_is_no_damage(archives, tmp_path, monkeypatch):
    """Bytes arrive while the archive is read: the error says that it changed, not that it is cut off."""
    good = (archives / VICTIM).read_bytes()
    (tmp_path / VICTIM).write_bytes(good[: len(good) // 2])
    (tmp_path / "tree").mkdir()
    read = module.ArchiveFile.readinto

    def growing(self, buffer):
        if not self.position:
            with open(tmp_path / VICTIM, "ab") as file:
                file.write(good[len(good) // 2 : len(good) // 2 + 1])
        return read(self, buffer)

    monkeypatch.setattr(module.ArchiveFile, "readinto", growing)
    with pytest.raises(DataError, match="changed while it was read"):
        extract_archive(tmp_path / VICTIM, tmp_path / "tree")


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit(143)], ids=["Ctrl-C", "SystemExit"])
@pytest.mark.parametrize("moment", ["_Job.check_space", "_extract_all", "_await", "flush_tree", "_Job.check_unchanged"])
@pytest.mark.slow
def test_an_exception_at_any_moment_leaves_nothing_half(archives, tmp_path, monkeypatch, raised, moment):
    """No worker, descriptor or destination remains, and the next extraction is complete."""

    def raising(*_, **__):
        raise raised

    extract_dataset(archives, tmp_path / "before", workers=2)
    others = running_workers(psutil.Process())  # such as those of `multiprocessing`, which other tests leave
    descriptors = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    monkeypatch.setattr(f"{module.__name__}.{moment}", raising)
    with pytest.raises(type(raised) if isinstance(raised, BaseException) else raised):
        extract_dataset(archives, tmp_path / "extracted", workers=2)
    monkeypatch.undo()
    assert running_workers(psutil.Process()) == others
    assert not descriptors or set(os.listdir("/proc/self/fd")) == descriptors
    assert not (tmp_path / "extracted").exists()
    extract_dataset(archives, tmp_path / "extracted", workers=2)
    assert files(tmp_path / "extracted") == contents(archives)
    assert {path.name for path in tmp_path.iterdir()} == {"before", "extracted"}


# --- other users: the hidden folder is the caller's own, or it is not touched -------------------------------------------

OTHER, CALLER = 12345, 12346  # two users that need not exist


@pytest.fixture
def public(archives):
    """Return a folder to which all users can write, with archives that all can read, and the home of the caller."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can act as two users")
    top = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        top.chmod(0o777)
        shutil.copytree(archives, top / "archives")
        (top / "home" / "precious").mkdir(parents=True)
        (top / "home" / "precious" / "thesis.txt").write_text("years of work")
        for path in (top / "home", *(top / "home").rglob("*")):
            os.chown(path, CALLER, CALLER)
        yield top
    finally:
        shutil.rmtree(top)


# The interpreter may be in a folder that only root can read, so all is imported before, and no worker is started.
AS_CALLER = f"""
import encodings.ascii, json, os, sys
from nsw_da_medical_image.dataset_util import extract_dataset as module

def here(job, staging, noted, done):
    for task in job.tasks(staging.fd, noted):
        answer = module._do_task(task)
        if "fault" in answer:
            raise module.DataError(answer["fault"])
        done(os.path.basename(task["path"]), module.Tally(**answer["tally"]), "taken_over" in answer)

module._extract_all = here
module.check_archives(sys.argv[1])  # loads the codecs
os.setgroups([])
os.setgid({CALLER})
os.setuid({CALLER})
os.umask(0o022)
sys.exit(module.main(sys.argv[1:]))
"""


def as_caller(top):
    """Run the command as the caller; return its exit status and standard error."""
    code = [sys.executable, "-c", AS_CALLER, str(top / "archives"), str(top / "extracted"), "--json"]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def owned(path, user):
    for each in (path, *path.rglob("*")):
        os.lchown(each, user, user)


def left_by_caller(top):
    """Return the hidden folder of an interrupted extraction of the caller, with one finished archive."""
    hidden, name = top / ".extracted.extracting", VICTIM
    with module._Staging(top / "extracted") as staging:
        tree = module._open_folder("tree", staging.fd)
        staging.note(name, False, extract_archive(top / "archives" / name, tree))
        os.close(tree)
    owned(hidden, CALLER)
    assert hidden.exists()
    return hidden


VIDEO = "tree/embryo_dataset_F15/VIDEO"
ENTRIES = ["", "lock", "nsw-extraction-v2", "tree", "done", f"done/{VICTIM}.json", "tree/embryo_dataset_F15", VIDEO]


@pytest.mark.parametrize("what", ["a link", "a dangling link", "a FIFO", "another owner", "a device"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_that_another_user_prepared_is_trusted(public, entry, what):
    hidden = left_by_caller(public)
    if entry == VIDEO:
        entry = str(min((hidden / "tree/embryo_dataset_F15").iterdir()).relative_to(hidden))
    place, home = hidden / entry, public / "home" / "precious"
    if what == "another owner":
        os.chown(place, OTHER, OTHER)
        hidden.chmod(0o755)
    else:
        place.rename(public / "moved")
        if what == "a FIFO":
            os.mkfifo(place)
        elif what == "a device":
            os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        elif (public / "moved").is_dir():
            place.symlink_to(home if what == "a link" else public / "nowhere")
        else:
            place.symlink_to(home / "thesis.txt" if what == "a link" else public / "nowhere")
        os.lchown(place, CALLER, CALLER)
    before = digest(public / "home"), digest(hidden) if what == "another owner" else None
    status, errors = as_caller(public)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert f"error: {place} is in the way: it " in errors
    assert "or give another destination" in errors
    assert before == (digest(public / "home"), digest(hidden) if what == "another owner" else None)
    assert not (public / "extracted").exists()
    assert os.path.lexists(place)


def test_the_home_of_a_caller_is_not_emptied(public):
    """Another user has prepared the hidden folder, with a tree that leads to the caller's home."""
    hidden = public / ".extracted.extracting"
    hidden.mkdir()
    (hidden / "lock").touch()
    (hidden / "nsw-extraction-v2").touch()
    (hidden / "tree").symlink_to(public / "home" / "precious")
    (hidden / "done").symlink_to(public / "home")
    owned(hidden, OTHER)
    hidden.chmod(0o777)
    before = digest(public / "home")
    status, errors = as_caller(public)
    assert (status, errors.count("\n")) == (1, 1), errors
    assert "belongs to another user (user id 12345); move it elsewhere, or give another destination" in errors
    assert digest(public / "home") == before
    assert sorted(os.listdir(hidden)) == ["done", "lock", "nsw-extraction-v2", "tree"]


def test_a_forged_note_of_another_user_is_not_taken_over(public):
    hidden = left_by_caller(public)
    frame = min(hidden.glob("tree/*/*/*.jpeg"))
    frame.write_bytes(b"forged")
    owned(hidden, OTHER)
    hidden.chmod(0o755)
    status, errors = as_caller(public)
    assert status == 1
    assert "belongs to another user" in errors
    assert not (public / "extracted").exists()
    shutil.rmtree(hidden)
    assert as_caller(public)[0] == 0
    assert files(public / "extracted") == contents(public / "archives")
    assert {path.stat().st_uid for path in (public / "extracted").rglob("*")} == {CALLER}


def test_what_others_could_write_to_is_extracted_again(public):
    """Others could write to the hidden folder for a while: nothing in it is used."""
    hidden = left_by_caller(public)
    min(hidden.glob("tree/*/*/*.jpeg")).write_bytes(b"forged")
    hidden.chmod(0o777)
    assert as_caller(public) == (0, "")
    assert files(public / "extracted") == contents(public / "archives")
    assert (public / "extracted").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("holds", [["lock"], ["lock", "tree"], ["lock", "tree", "done", "letters"], ["letters"]])
def test_an_unrelated_folder_of_that_name_is_left_alone(archives, tmp_path, holds):
    hidden = tmp_path / ".extracted.extracting"
    hidden.mkdir()
    for name in holds:
        (hidden / name).write_text("mine") if name in ("lock", "letters") else (hidden / name).mkdir()
    before = digest(hidden)
    done = command(archives, tmp_path / "extracted")
    assert done.returncode == 1
    assert (
        f"{hidden} is in the way: it was not made by this version of the extraction; move it elsewhere" in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert digest(hidden) == before


@pytest.mark.slow
def test_the_hidden_folder_is_the_callers_alone(larger, tmp_path):
    hidden = interrupted(larger, tmp_path / "extracted", 1)
    assert hidden.stat().st_mode & 0o777 == 0o700
    (tmp_path / "extracted").mkdir(mode=0o711)
    assert command(larger, tmp_path / "extracted").returncode == 0
    assert (tmp_path / "extracted").stat().st_mode & 0o777 == 0o711
    assert not hidden.exists()


# --- a power cut ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_destination_is_absent_or_complete_after_a_power_cut(archives, record_property):
    def extracted(top):
        extract_dataset(archives, top / "new" / "extracted", workers=2)
        return top / "new" / "extracted"

    def continued(top):
        interrupted(archives, top / "extracted", 1)
        extract_dataset(archives, top / "extracted", workers=2)
        return top / "extracted"

    both = after_power_cuts([extracted, continued])
    record_property("tried", sum(len(cuts) for _, cuts in both))
    for made, cuts in both:
        assert made == contents(archives)
        assert_survives(made, cuts)


def test_the_content_reaches_the_disk_before_its_name(archives, tmp_path):
    with pytest.MonkeyPatch.context() as patch, recorded_calls(patch) as calls:
        extract_dataset(archives, tmp_path / "extracted")
    last = [call for call in calls if not call[1].endswith(".json")]
    assert last == [("flush", ".extracted.extracting"), ("name", "extracted"), ("fsync folder", tmp_path.name)]


@pytest.mark.parametrize("call", ["flush_tree", "flush_name"])
def test_nothing_is_published_that_the_disk_did_not_take(archives, tmp_path, monkeypatch, call):
    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, call, failing)
    with pytest.raises(DataError, match=r"extracted could not be written to disk .*\(Input/output error\)"):
        extract_dataset(archives, tmp_path / "extracted")
    assert not (tmp_path / "extracted").exists()
    monkeypatch.undo()
    result = extract_dataset(archives, tmp_path / "extracted")
    assert call == "flush_name" or result.continued == []  # what the disk refused is not trusted
    assert files(tmp_path / "extracted") == contents(archives)


# --- the machine's limits --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a file system of 12 MB; skip the test if it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,nr_inodes=10k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root on Linux)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def swollen(good):
    """Return archives of 24 MB that compress to almost nothing, so the check of the space cannot foresee them."""
    return with_members(*(member(f"{TOP}/A/{i}", bytes(400_000)) for i in range(60)))(good)


def test_full_disk(archives, tmp_path, small_disk):
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    (source / VICTIM).write_bytes(swollen((source / VICTIM).read_bytes()))
    target = small_disk / "extracted"
    target.mkdir()
    done = command(source, target, "--workers", 1)
    assert done.returncode == 1
    assert f"no space is left for {VICTIM}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(target) == []
    assert not (small_disk / ".extracted.extracting" / "tree" / TOP).exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = command(source, target, "--workers", 1)
    assert again.returncode == 0, again.stderr
    assert files(target) == contents(source)


def test_too_little_space_is_known_before(archives, tmp_path, small_disk):
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    noise = random.Random(1)
    with gzip.open(source / VICTIM, "wb", 0) as f, gzip.open(archives / VICTIM) as old:
        f.write(without_end(old.read()))
        for i in range(100):
            info, data = member(f"{TOP}/A/{i}", noise.randbytes(200_000))
            f.write(info.tobuf() + data + bytes(-len(data) % 512))
        f.write(bytes(1024))
    done = command(source, small_disk / "extracted")
    assert done.returncode == 1
    assert "MB free, but about 22" in done.stderr
    assert os.listdir(small_disk) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_archive(archives, tmp_path):
    """A worker stays below 150 MB for 13 members of 30 MB each and 20,000 small ones."""
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    chunk = random.Random(4).randbytes(1 << 20)
    with gzip.open(source / VICTIM, "wb", 1) as f:
        for i in range(20_000):
            f.write(
                member(f"{TOP}/A/D2013.01.28_S0717_I132_WELL7_RUN{i}.jpeg", b"12345")[0].tobuf()
                + b"12345".ljust(512, b"\0")
            )
        for i in range(13):
            big, _ = member(f"{TOP}/A/big{i}")
            big.size = 30 << 20
            f.write(big.tobuf())
            for _ in range(30):
                f.write(chunk)
        f.write(bytes(1024))
    code = f"""
import resource
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
extract_dataset({str(source)!r}, {str(tmp_path / "extracted")!r}, workers=2)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"largest worker: {int(done.stdout) * unit / 1e6:.0f} MB")
    assert int(done.stdout) * unit < 150e6
    shutil.rmtree(tmp_path / "extracted")


# --- the folders -----------------------------------------------------------------------------------------------------


def test_wrong_folders_are_named(archives, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for arguments, why in {
        (tmp_path / "nowhere", tmp_path / "x"): "does not exist",
        (archives, tmp_path / "full"): "is not empty",
        (archives, tmp_path / "file"): "is not a folder",
        (archives, tmp_path / "file" / "x"): "no folder can be created",
        (archives, archives / "x"): "overlap; extract to a separate folder",
        (archives, archives): "overlap; extract to a separate folder",
        (tmp_path / "full", tmp_path / "x"): "missing: embryo_dataset_F-45.tar.gz",
    }.items():
        done = command(*arguments)
        assert done.returncode == 1
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "full" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"full", "file"}
    assert command(archives).returncode == command(archives, tmp_path / "x", "--workers", "none").returncode == 2


def test_an_extracted_data_set_is_recognised(archives, tmp_path):
    extract_dataset(archives, tmp_path / "extracted")
    done = command(tmp_path / "extracted", tmp_path / "again")
    assert done.returncode == 1
    assert "is an extracted data set" in done.stderr


@pytest.mark.slow
def test_unusual_paths(archives, tmp_path):
    (tmp_path / "here").mkdir()
    done = command(archives, ".", cwd=tmp_path / "here")
    assert done.returncode == 1
    assert "is the current folder" in done.stderr
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    for arguments in (
        (archives, tmp_path / "loop"),
        (tmp_path / "loop", tmp_path / "x"),
        (archives, tmp_path / "loop" / "x"),
    ):
        done = command(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    for name in "with space", "zwei\nZeilen", "é", "trailing/":
        done = command(archives, f"{tmp_path}/{name}", "--json")
        assert done.returncode == 0, done.stderr
        assert files(tmp_path / name) == contents(archives)


def test_a_hidden_folder_that_is_not_ours_is_left_alone(archives, tmp_path):
    (tmp_path / "precious" / "tree").mkdir(parents=True)
    (tmp_path / "precious" / "tree" / "keep").write_text("keep")
    (tmp_path / ".extracted.extracting").symlink_to(tmp_path / "precious")
    done = command(archives, tmp_path / "extracted")
    assert done.returncode == 1
    assert "is in the way" in done.stderr
    assert (tmp_path / "precious" / "tree" / "keep").read_text() == "keep"


@pytest.mark.slow
def test_nobody_reads_the_summary(archives, tmp_path):
    """Finished work remains if its summary cannot be written."""
    for i, redirect in enumerate(("| true", ">&-", "2>&-")):
        line = f"{sys.executable} -u -m {COMMAND[2]} '{archives}' '{tmp_path / str(i)}' {redirect}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert files(tmp_path / str(i)) == contents(archives)


def test_the_callers_path_reaches_the_workers(archives, tmp_path):
    """Modules in the current folder do not interfere, and neither do entries of sys.path that are not strings."""
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')")
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "script.py"
    script.write_text(
        "import sys, pathlib\n"
        "sys.path.append(pathlib.Path('x'))\n"
        "from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset\n"
        f"extract_dataset({str(archives)!r}, {str(tmp_path / 'extracted')!r})\n"
    )
    subprocess.run([sys.executable, script], check=True, timeout=60, cwd=tmp_path)
    assert files(tmp_path / "extracted") == contents(archives)


def test_destination_behind_a_link(archives, tmp_path):
    """A link to an empty folder, perhaps on another disk, is followed and remains a link."""
    (tmp_path / "elsewhere" / "room").mkdir(parents=True)
    (tmp_path / "extracted").symlink_to(tmp_path / "elsewhere" / "room")
    extract_dataset(archives, tmp_path / "extracted")
    assert (tmp_path / "extracted").is_symlink()
    assert files(tmp_path / "elsewhere" / "room") == contents(archives)


def test_works_from_an_unguarded_script(archives, tmp_path):
    """No `if __name__ == "__main__"` is needed in the caller's script."""
    script = tmp_path / "script.py"
    script.write_text(
        "from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset\n"
        f"print(extract_dataset({str(archives)!r}, {str(tmp_path / 'extracted')!r}).files)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == len(contents(archives))


# --- what people really have in the folder ---------------------------------------------------------------------------------


def renamed(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def added(name, data=b"x"):
    return lambda folder: (folder / name).write_bytes(data)


def unpacked(name):
    return lambda folder: (folder / name).write_bytes(gzip.decompress((folder / name).read_bytes()))


FOUND = {
    "wget's second copy": (added(f"{VICTIM}.1"), f"'{VICTIM}.1' (a download of {VICTIM}? rename or remove it)"),
    "a browser's second copy": (added(f"{TOP} (1).tar.gz"), f"(a download of {VICTIM}? rename or remove it)"),
    "wget's name": (renamed(VICTIM, f"{VICTIM}?download=1"), f"(a download of {VICTIM}? rename or remove it)"),
    "tgz": (renamed(VICTIM, f"{TOP}.tgz"), f"'{TOP}.tgz' (a download of {VICTIM}? rename or remove it)"),
    "capitals": (renamed(VICTIM, "Embryo_Dataset_F15.TAR.GZ"), f"(a download of {VICTIM}? rename or remove it)"),
    "unpacked by the browser": (renamed(VICTIM, f"{TOP}.tar"), f"(unpacked during the download? run: gzip {TOP}.tar)"),
    "a plain tar": (
        unpacked(VICTIM),
        f"{VICTIM} is not a gzip file but a plain tar file (unpacked during the download? ",
    ),
    "a web page": (added(VICTIM, b"\n<!DOCTYPE html>"), f"{VICTIM} is not a gzip file but a web page"),
    "Zenodo's zip": (
        added("7912264.zip"),
        "'7912264.zip' (Zenodo's download of all ten; unzip it first, then remove it)",
    ),
    "checksums": (added("md5sums.txt"), "'md5sums.txt' (checksums; move it elsewhere)"),
    "Windows": (added("Thumbs.db"), "'Thumbs.db' (left by the operating system; remove it)"),
    "Windows, again": (added("desktop.ini"), "'desktop.ini' (left by the operating system; remove it)"),
    "unpacked beside": (lambda folder: (folder / TOP).mkdir(), f"'{TOP}' (an unpacked archive; move it elsewhere)"),
    "a page for the grades": (
        added(GRADES, b"<html>404</html>"),
        f"{GRADES} has no header with the columns video_name, TE",
    ),
    "JSON for the grades": (
        added(GRADES, b'{"status": 404}'),
        f"{GRADES} has no header with the columns video_name, TE",
    ),
    "some missing": (lambda folder: (folder / VICTIM).unlink(), "extract_part "),
}


@pytest.mark.parametrize("case", FOUND)
@pytest.mark.slow
def test_what_people_have_gets_its_remedy(archives, tmp_path, case):
    """The remedy is given in one line, before anything is written."""
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    change, remedy = FOUND[case]
    change(source)
    done = command(source, tmp_path / "extracted")
    assert done.returncode == 1
    assert remedy in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"archives"}


@pytest.mark.parametrize("name", ["#snapshot", "~snapshot", "#recycle", "@tmp", "Network Trash Folder", ".zfs"])
def test_what_may_be_somebodys_is_not_to_be_removed(archives, tmp_path, name):
    (shutil.copytree(archives, tmp_path / "there") / name).mkdir()
    with pytest.raises(DataError, match=f"{name}' .move it elsewhere"):
        extract_dataset(tmp_path / "there", tmp_path / "new")


@pytest.mark.parametrize("name", ["@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db"])
def test_what_a_system_left_is_to_be_removed(archives, tmp_path, name):
    (shutil.copytree(archives, tmp_path / "there") / name).mkdir()
    with pytest.raises(DataError, match="left by the operating system; remove it"):
        extract_dataset(tmp_path / "there", tmp_path / "new")


def test_a_folder_above_the_archives_is_recognised(archives, tmp_path):
    shutil.copytree(archives, tmp_path / "download" / "7912264")
    done = command(tmp_path / "download", tmp_path / "extracted")
    assert done.returncode == 1
    assert f"{tmp_path / 'download' / '7912264'} contains archives; give that folder" in done.stderr


def test_two_archives_of_ten_can_be_extracted_as_the_message_says(archives, tmp_path):
    source = tmp_path / "archives"
    source.mkdir()
    for name in VICTIM, "embryo_dataset_annotations.tar.gz":
        shutil.copy(archives / name, source)
    done = command(source, tmp_path / "extracted")
    assert done.returncode == 1
    advice = done.stderr.partition("run: python ")[2].replace("NEW_FOLDER", str(tmp_path / "part")).split()
    part = subprocess.run([sys.executable, *advice], capture_output=True, text=True, timeout=60)
    assert part.returncode == 0, part.stderr
    assert {path.name for path in (tmp_path / "part").iterdir()} == {TOP, "embryo_dataset_annotations"}


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "1 TB", "loop", "folder"])
@pytest.mark.parametrize("name", [VICTIM, GRADES])
def test_only_regular_files_are_read(archives, tmp_path, kind, name, monkeypatch):
    """None of these blocks the command or fills the memory."""
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    (source / name).unlink()
    if kind == "FIFO":
        os.mkfifo(source / name)
    elif kind == "socket":
        monkeypatch.chdir(source)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)  # a path may have 107 bytes
    elif kind == "device":
        (source / name).symlink_to("/dev/zero")
    elif kind == "1 TB":
        with open(source / name, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "loop":
        (source / name).symlink_to(source / name)
    else:
        (source / name).mkdir()
    done = command(source, tmp_path / "extracted")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"archives"}


@pytest.mark.slow
def test_names_do_not_depend_on_the_locale(archives, tmp_path):
    """A member whose name is not ASCII is written under the same bytes in any locale."""
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    named = f"{TOP}/Ä-1/été.jpeg"
    path = source / VICTIM
    path.write_bytes(with_members(member(named, b"x"), member(f"{TOP}/Ä-1/F0/é", b"y"))(path.read_bytes()))
    found = {}
    for name, locale in {
        "utf8": {"LC_ALL": "C.UTF-8"},
        "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "mixed": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"},
    }.items():
        done = command(source, tmp_path / name, "--json", env=os.environ | locale)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout)
        assert os.path.isfile(os.fsencode(tmp_path / name) + f"/{named}".encode())
        assert digest(tmp_path / name) == digest(tmp_path / "utf8")
    videos = {name.split("/")[1] for name in contents(source) if name.startswith(f"{TOP}/")}
    assert {result["videos"] for result in found.values()} == {len(videos)}
