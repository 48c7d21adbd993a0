"""What a notebook cell cannot try: hostile archives through the command, kill -9, Ctrl-C, a full disk, memory."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util.extract_dataset import extract_archive, extract_dataset
from nsw_da_medical_image.dataset_util.util import ARCHIVES, FocalPlane

VICTIM = "embryo_dataset_F15.tar.gz"
TOP = ARCHIVES[VICTIM]
COMMAND = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.extract_dataset"]


@pytest.fixture(scope="module")
def archives(shared):
    return shared().archives


def enlarged(archives, folder, more):
    """A copy of the archives with `more` frames in each plane."""
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
    """Archives whose extraction lasts long enough to be interrupted."""
    return enlarged(archives, tmp_path_factory.mktemp("larger") / "archives", 1500)


def command(*args, **options):
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=120, **options)


def digest(folder):
    """Names, kinds and bytes of all that lies below `folder`."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        state.update(f"{path.relative_to(folder)} {path.is_symlink()} {path.is_dir()}\n".encode())
        if path.is_file():
            state.update(path.read_bytes())
    return state.hexdigest()


def contents(archives):
    """What the archives hold, read by `tarfile`: {path: bytes}."""
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
    """A builder: the victim's own members, then `extra`."""

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
    """A builder that changes the bytes of the tar inside."""
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
    """A builder: the victim's own members, then one of 8 bytes whose header has `field` for its size."""

    def change(tar):
        info, _ = member(f"{TOP}/A/x", b"12345678")
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = field
        header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 256)
        return without_end(tar) + bytes(header) + b"12345678".ljust(512, b"\0") + bytes(1024)

    return raw(change)


def sparse(good):
    return with_members(member(f"{TOP}/A/x", b"1", pax_headers={"GNU.sparse.major": "1"}))(good)


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
    "sparse": sparse,
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
def test_mutated_archive(archives, tmp_path, data):
    """Whatever happens to an archive's bytes, it gives exactly its content or an error, and nothing beside its folder."""
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


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_kill_9_at_random_moments(archives, tmp_path_factory, tmp_path):
    """Each moment is a number of files that are written by then, so no machine is too fast or too slow for it."""
    larger = enlarged(archives, tmp_path_factory.mktemp("some") / "archives", 400)
    target, hidden = tmp_path / "extracted", tmp_path / ".extracted.extracting"
    extract_dataset(larger, tmp_path / "undisturbed", workers=2)
    whole, count = digest(tmp_path / "undisturbed"), len(files(tmp_path / "undisturbed"))
    dice = random.Random(7)
    moments = [dice.uniform(0, 1.1) * count for _ in range(20)]
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
    """The number of files below `folder`, which may be changing."""
    return sum(len(names) for _, _, names in os.walk(folder))


def wait_for(condition, seconds=60):
    """Return when it holds; the bound only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the awaited moment did not come"
        time.sleep(0.002)


def running_workers(process):
    return [child for child in psutil.Process(process.pid).children(recursive=True) if child.status() != "zombie"]


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
        assert errors == "stopped; the destination is untouched, and the same command goes on from here\n"


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
    assert "ended with status -9; was memory short?" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "extracted").exists()


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
    assert "another extraction works in" in second.stderr
    assert process.returncode == 0
    assert files(tmp_path / "extracted") == contents(larger)


def test_other_archives_are_not_continued(archives, larger, tmp_path):
    """What an interrupted run left of other archives is not taken over."""
    hidden = tmp_path / ".extracted.extracting"
    with subprocess.Popen(
        [*COMMAND, larger, tmp_path / "extracted", "--workers", "1"], stdout=subprocess.PIPE
    ) as process:
        wait_for(lambda: len(list(hidden.glob("done/*.json"))) >= 2)
        process.kill()
    result = extract_dataset(archives, tmp_path / "extracted")
    assert result.continued == []
    assert files(tmp_path / "extracted") == contents(archives)


# --- the machine's limits --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 12 MB; where none can be mounted the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,nr_inodes=10k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root on Linux)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def swollen(good):
    """24 MB that compress to next to nothing, so that the check for space cannot foresee them."""
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
    assert "MB free and about 22" in done.stderr
    assert os.listdir(small_disk) == []


def test_memory_does_not_grow_with_the_archive(archives, tmp_path):
    """A worker stays below 150 MB over one member of 400 MB and 20,000 small ones."""
    source = tmp_path / "archives"
    shutil.copytree(archives, source)
    with gzip.open(source / VICTIM, "wb", 1) as f:
        for i in range(20_000):
            f.write(
                member(f"{TOP}/A/D2013.01.28_S0717_I132_WELL7_RUN{i}.jpeg", b"12345")[0].tobuf()
                + b"12345".ljust(512, b"\0")
            )
        big, _ = member(f"{TOP}/A/big")
        big.size = 400 << 20
        f.write(big.tobuf())
        for _ in range(400):
            f.write(bytes(1 << 20))
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
        (tmp_path / "nowhere", tmp_path / "x"): "is not there",
        (archives, tmp_path / "full"): "is not empty",
        (archives, tmp_path / "file"): "is not a folder",
        (archives, tmp_path / "file" / "x"): "no folder can be made",
        (archives, archives / "x"): "lie inside each other",
        (archives, archives): "lie inside each other",
        (tmp_path / "full", tmp_path / "x"): "missing embryo_dataset_F-45.tar.gz",
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


def test_nobody_reads_the_summary(archives, tmp_path):
    """Work that is done stays done where its summary cannot be written."""
    for i, redirect in enumerate(("| true", ">&-", "2>&-")):
        line = f"{sys.executable} -u -m {COMMAND[2]} '{archives}' '{tmp_path / str(i)}' {redirect}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert files(tmp_path / str(i)) == contents(archives)


def test_the_callers_path_reaches_the_workers(archives, tmp_path):
    """Modules in the current folder do not get in the way, nor do folders in sys.path that are no strings."""
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
    """A link to an empty folder, perhaps on another disk, is followed and stays a link."""
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
