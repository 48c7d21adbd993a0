"""Reading archives while a thread indexes them: what the walk has passed is usable at once, and equal to what is read later."""

import gc
import gzip
import hashlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import seek
from nsw_da_medical_image.dataset_util.archives import _KEPT, Archive, GrowingArchive, _Queue, _Spans, _stop_walks
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.seek import build
from nsw_da_medical_image.dataset_util.util import released_videos

ROOT = Path(__file__).parent.parent
PLANE = "embryo_dataset"
PIECE = 4096  # bytes at a time, so that a walk can be stopped anywhere

pytest.importorskip("rapidgzip")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NSW_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    _stop_walks()  # a walk of this test shall not write into the cache of the next


@pytest.fixture(scope="module")
def archives(shared: Any) -> Path:
    return shared(frames=20, size=160).archives


@pytest.fixture(scope="module")
def extracted(shared: Any) -> Path:
    return shared(frames=20, size=160).extracted


class Gate:
    """Let a walk go no further than byte `limit` of the inflated stream, and wait `pause` seconds before each piece."""

    def __init__(self) -> None:
        self.limit, self.pause = float("inf"), 0.0
        self.limits: dict[str, float] = {}  # of single archives
        self.read: list[str] = []  # the archives from which was read, in this order
        self.moved = threading.Condition()

    def passes(self, name: str, position: int) -> bool:
        return position < self.limits.get(name.removesuffix(".tar.gz"), self.limit)

    def move(self, limit: float) -> None:
        with self.moved:
            self.limit, self.limits = limit, {}
            self.moved.notify_all()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, read = Gate(), seek._Watched.readinto

    def readinto(self: Any, buffer: memoryview) -> int:
        time.sleep(gate.pause)
        with gate.moved:
            path, closed = self._passed.path, lambda: self._passed.closed
            gate.moved.wait_for(lambda: gate.passes(path.name, self._position) or closed(), timeout=60)
        gate.read.append(self._passed.path.name)
        return read(self, buffer[:PIECE])

    monkeypatch.setattr(seek._Watched, "readinto", readinto)
    yield gate
    gate.move(float("inf"))


def growing(ds: EmbryoDataset, entry: str = PLANE) -> GrowingArchive | Archive:
    return ds.contents.source._opened[entry]  # type: ignore[attr-defined]


def order_of(path: Path) -> list[tuple[str, int, int]]:
    """Return the folders of an archive in its order, and where the content of each begins and ends in the inflated stream."""
    index = build(path)
    found = []
    for i, folder in enumerate(filter(None, index.folders.tobytes().decode().split("\n"))):
        rows = slice(int(index.firsts[i]), int(index.firsts[i + 1]))
        if len(index.offsets[rows]):
            end = int((index.offsets[rows] + index.sizes[rows]).max())
            found.append((folder.rpartition("/")[2], int(index.offsets[rows].min()), end))
    return sorted(found, key=lambda each: each[1])


def test_a_video_is_ready_when_the_walk_has_passed_it(archives: Path, extracted: Path, gate: Gate) -> None:
    (first, _, _), (_, second, _), *_, (last, _, _) = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    ds, reference = EmbryoDataset(archives), EmbryoDataset(extracted)
    for run in ds[first].runs("F0"):
        assert ds[first].jpeg(run) == reference[first].jpeg(run)
    assert isinstance(growing(ds), GrowingArchive)
    assert growing(ds).finished(wait=False) is None
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(ds[last].jpeg(1)), daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()  # the last video is not there yet
    gate.move(float("inf"))
    thread.join(60)
    assert found == [reference[last].jpeg(1)]
    assert ds.videos == reference.videos
    assert isinstance(growing(ds), Archive)


def test_seek_points_are_found_on_the_way(archives: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With points that are close together, every file is read through each of them, also by several threads."""
    monkeypatch.setattr(seek, "_APART", 100_000)
    monkeypatch.setattr(seek, "_SPACING", 30_000)
    path = archives / f"{PLANE}.tar.gz"
    passed = seek.Passed(path)
    index = build(path, passed=passed)
    assert len(passed.points) > 1  # as many as there are blocks
    rows = list(range(len(index.offsets)))
    random.Random(0).shuffle(rows)
    data: dict[int, bytes | None] = {}
    threads = [
        threading.Thread(target=lambda part=part: data.update((row, passed.read(row)) for row in part))
        for part in (rows[::2], rows[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(data) == sorted(rows)
    assert None not in data.values()


def damage(kind: str, data: bytes) -> bytes:
    if kind == "cut off":
        return data[: len(data) // 2]
    if kind == "a changed byte":
        return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16]) + data[len(data) // 2 + 1 :]
    if kind == "a wrong checksum":
        return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    if kind == "a hostile member":
        tar = io.BytesIO(gzip.decompress(data))
        with tarfile.open(fileobj=tar, mode="a") as file:
            link = tarfile.TarInfo(f"{PLANE}/A-1/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
        return gzip.compress(tar.getvalue())
    return data


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["whole", "cut off", "a changed byte", "a wrong checksum", "a hostile member"])
def test_answers_during_the_walk(
    archives: Path, extracted: Path, tmp_path: Path, gate: Gate, kind: str, seed: int
) -> None:
    """What is read during the walk is what the archive contains; a problem further on is reported when the walk reaches it."""
    path = tmp_path / f"{PLANE}.tar.gz"
    path.write_bytes(damage(kind, (archives / path.name).read_bytes()))
    later = Archive(path, build(path))
    refusal = (DataError, later.note["fault"]) if later.note.get("refused") else None
    draw = random.Random(seed)
    gate.pause = 0.001
    archive = GrowingArchive(path)
    names = [str(each.relative_to(extracted)) for each in sorted((extracted / PLANE).rglob("*.jpeg"))]
    for name in draw.sample(names, 60):
        if draw.random() < 0.3:
            time.sleep(draw.random() * 0.01)
        folder = name.rpartition("/")[0]
        early = archive.finished(wait=False) is None
        for ask in draw.sample(["read", "files", "has"], 2):
            what = name if ask == "read" else folder
            outcome = attempt(partial(getattr(archive, ask), what))
            if outcome != (at_end := refusal or attempt(partial(getattr(later, ask), what))):
                assert early, at_end  # at the end, the answers are the same
                assert kind != "whole"
                true = {"read": (extracted / name).read_bytes(), "has": True}
                files = sorted(each.name for each in (extracted / folder).iterdir())
                assert (sorted(outcome) if ask == "files" else outcome) == true.get(ask, files)
    whole = archive.finished()
    assert whole is not None
    assert whole.note == later.note
    for name in names:
        assert attempt(partial(archive.read, name)) == (refusal or attempt(partial(later.read, name)))


def attempt(ask: Any) -> Any:
    """Return an answer, or the error instead of it."""
    try:
        return ask()
    except (DataError, OSError) as error:
        return type(error), str(error)


def test_files_that_come_later_renew_the_listing(archives: Path, tmp_path: Path, gate: Gate) -> None:
    shutil.copytree(archives, tmp_path / "archives")
    path = tmp_path / "archives" / f"{PLANE}.tar.gz"
    tar = io.BytesIO(gzip.decompress(path.read_bytes()))
    (first, _, _), (_, second, _), *_ = order_of(path)
    with tarfile.open(fileobj=tar) as file:
        member = next(each for each in file.getmembers() if each.isfile() and f"/{first}/" in each.name)
        data = file.extractfile(member).read()  # type: ignore[union-attr]
    tar.seek(0)
    with tarfile.open(fileobj=tar, mode="a") as file:
        late = tarfile.TarInfo(f"{member.name.rpartition('_RUN')[0]}_RUN77.jpeg")
        late.size = len(data)
        file.addfile(late, io.BytesIO(data))
    path.write_bytes(gzip.compress(tar.getvalue()))
    gate.move(second + PIECE)
    ds = EmbryoDataset(tmp_path / "archives", planes="F0")
    assert 77 not in ds[first].runs()
    gate.move(float("inf"))
    with pytest.warns(UserWarning, match=f"more files of embryo_dataset/{first} came later in the archive"):
        assert list(ds)
    assert 77 in ds[first].runs()
    assert ds[first].jpeg(77) == data


def repacked(archives: Path, folder: Path, change: Any) -> Path:
    """Copy archives, with the members of one in the order, and with the additions, that `change` makes of them."""
    shutil.copytree(archives, folder)
    path = folder / f"{PLANE}.tar.gz"
    with tarfile.open(path) as tar:
        members = [(each, tar.extractfile(each).read() if each.isfile() else b"") for each in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w:gz") as tar:
        for each, data in change(members):
            tar.addfile(each, io.BytesIO(data))
    return folder


def test_folders_that_come_before_all_files_are_not_empty(
    archives: Path, extracted: Path, tmp_path: Path, gate: Gate
) -> None:
    folder = repacked(
        archives, tmp_path / "archives", lambda members: sorted(members, key=lambda each: each[0].isfile())
    )
    gate.pause = 0.002
    last = order_of(folder / f"{PLANE}.tar.gz")[-1][0]
    ds = EmbryoDataset(folder, planes="F0")
    assert list(ds[last].runs()) == list(EmbryoDataset(extracted)[last].runs())


@pytest.mark.parametrize("ask", ["has", "files", "read", "folders"])
def test_who_waits_for_a_refused_archive_gets_its_error(archives: Path, tmp_path: Path, gate: Gate, ask: str) -> None:
    def change(members: Any) -> Any:
        link = tarfile.TarInfo(f"{PLANE}/A-1/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        return [*members, (link, b"")]

    gate.pause = 0.002
    source = EmbryoDataset(repacked(archives, tmp_path / "archives", change)).contents.source
    for _ in range(2):
        with pytest.raises(DataError, match="link"):
            getattr(source, ask)(f"{PLANE}/absent" + "/x.jpeg" * (ask == "read"))


def test_the_names_of_the_release_are_known_at_once(
    archives: Path, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The annotations archive is small; if it names the videos of the release, nobody waits for the images."""
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.source._MOMENT", 0)
    shutil.copytree(archives, tmp_path / "archives")
    path = tmp_path / "archives" / "embryo_dataset_annotations.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in released_videos():
            text = b"tPB2,1,3\n"
            member = tarfile.TarInfo(f"embryo_dataset_annotations/{name}_phases.csv")
            member.size = len(text)
            file.addfile(member, io.BytesIO(text))
    ds = EmbryoDataset(tmp_path / "archives")
    assert set(ds.videos) == set(released_videos())
    assert PLANE not in ds.contents.source._opened  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="are not those of the release"):
        assert not set(released_videos()) & set(ds)
    assert ds.videos == tuple(ds)


# --- several archives -------------------------------------------------------------------------------------------------

F15, F45 = "embryo_dataset_F15", "embryo_dataset_F45"


def turns(names: list[str]) -> list[str]:
    """Return the names without repetitions one after the other."""
    return [name for name, _ in itertools.groupby(name.removesuffix(".tar.gz") for name in names)]


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.archives.cores", lambda: 1)
    monkeypatch.setattr(seek, "_REPORT", 2)


def test_walks_take_turns_in_the_order_in_which_they_began(archives: Path, gate: Gate, one_core: None) -> None:
    source = EmbryoDataset(archives).contents.source
    source.prepare([PLANE, F15, F45])
    assert turns(gate.read) == [PLANE, F15, F45]


def test_a_core_is_left_to_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.archives.cores", lambda: 2)
    queue = _Queue()
    first, second, third = walks = [SimpleNamespace(waiting=0, asked=0) for _ in range(3)]
    queue.walks = walks  # type: ignore[assignment]
    assert queue._first() == [first, second]
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.archives._QUIET", 300)
    queue.leave_a_core()
    assert queue._first() == [first]
    third.waiting = 1
    assert queue._first() == [third, first]
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.archives.cores", lambda: 1)
    third.waiting = 0
    assert queue._first() == [first]


def test_the_archive_that_is_waited_for_goes_first(archives: Path, extracted: Path, gate: Gate, one_core: None) -> None:
    (first, _, _), (_, second, _), *_ = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    ds = EmbryoDataset(archives, planes=["F0", "F15", "F45"])
    source = ds.contents.source
    source.begin([PLANE, F15, F45])
    assert ds[first].jpeg(1) == EmbryoDataset(extracted)[first].jpeg(1)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(ds[first].jpeg(1, "F45")), daemon=True)
    thread.start()
    while not growing(ds, F45)._walk.waiting:  # type: ignore[union-attr]
        time.sleep(0.01)
    gate.move(float("inf"))
    thread.join(60)
    assert found == [EmbryoDataset(extracted)[first].jpeg(1, "F45")]
    source.prepare([PLANE, F15, F45])
    assert turns(gate.read)[:2] == [PLANE, F45]  # the walk over F0 paused
    assert ds.videos == EmbryoDataset(extracted, planes=["F0", "F15", "F45"]).videos


def test_others_read_while_everything_is_prepared(archives: Path, extracted: Path, gate: Gate) -> None:
    (first, _, _), (_, second, _), *_ = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    ds = EmbryoDataset(archives, planes="F0")
    thread = threading.Thread(target=lambda: ds.table(), daemon=True)
    thread.start()
    assert ds[first].jpeg(1) == EmbryoDataset(extracted)[first].jpeg(1)
    assert thread.is_alive()
    assert 0 <= ds.contents.source.positions([PLANE])[PLANE] < 1
    gate.move(float("inf"))
    thread.join(60)
    assert not thread.is_alive()
    assert ds.contents.source.positions([PLANE]) == {}


def test_a_player_shows_what_is_there_and_adds_the_other_planes(
    archives: Path, extracted: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    player_module = pytest.importorskip("nsw_da_medical_image.viewer.player")
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.source._MOMENT", 0)
    (first, _, _), (_, second, _), *_ = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    gate.limits[F15] = 0
    ds = EmbryoDataset(archives, planes=["F0", "F15"])
    player = player_module.EmbryoPlayer(ds[first])
    assert (player._series["planes"], player._waiting) == (["F0"], "reading F15: 0 %")
    assert player_module.still_sheet(player.videos, "F0")
    assert list(player_module.needed(player._listed(), "F0", 1))
    problem = player._read((0, "F0", 1))
    assert problem == (EmbryoDataset(extracted)[first].jpeg(1), "")
    gate.move(float("inf"))
    player._follower.join(60)
    assert (player._series["planes"], player._waiting) == (["F0", "F15"], "")
    whole = player_module.EmbryoPlayer(EmbryoDataset(extracted, planes=["F0", "F15"])[first])
    assert player._series == whole._series
    player.close()
    whole.close()


def test_a_player_that_is_closed_waits_for_nothing(archives: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    player_module = pytest.importorskip("nsw_da_medical_image.viewer.player")
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.source._MOMENT", 0)
    (first, _, _), (_, second, _), *_ = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    gate.limits[F15] = 0
    player = player_module.EmbryoPlayer(EmbryoDataset(archives, planes=["F0", "F15"])[first])
    player.close()
    player._follower.join(60)
    assert not player._follower.is_alive()
    assert player._series["planes"] == ["F0"]


@pytest.mark.parametrize("indexed", [False, True])
def test_archives_without_times_are_displayed(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    player_module = pytest.importorskip("nsw_da_medical_image.viewer.player")
    from nsw_da_medical_image.viewer.explorer import explore

    folder = Path(shutil.copytree(archives, tmp_path / "archives"))
    (folder / "embryo_dataset_time_elapsed.tar.gz").unlink()
    monkeypatch.setattr("nsw_da_medical_image.dataset_util.source._MOMENT", 0)
    if indexed:
        assert EmbryoDataset(folder)["SAM1-2"].hours.empty
        list(EmbryoDataset(folder))
    ds = EmbryoDataset(folder)
    player = player_module.EmbryoPlayer(ds["SAM1-2"])
    assert "RUN 1" in str(player._repr_mimebundle_())
    if player._follower.is_alive():
        player._follower.join(60)
    (video,) = player._series["videos"]
    assert len(player._series["planes"]) == 7
    assert not video["hours"]["runs"]
    assert not video["faults"]
    explorer = explore(ds)
    row = explorer._describe("SAM1-2")
    assert (row["hours"], row["times"], row["problems"], row["runs"]) == (None, {}, [], [1, 20, 20])
    assert "SAM1-2" in explorer._repr_mimebundle_()["text/html"]
    explorer.value = "SAM1-2"
    assert explorer.player is not None
    explorer.close()
    player.close()


# --- ends -------------------------------------------------------------------------------------------------------------

GATED = f"""
import os, sys, time
from nsw_da_medical_image.dataset_util import seek
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
first, last, limit, read = sys.argv[2], sys.argv[3], int(sys.argv[4]), seek._Watched.readinto
def readinto(self, buffer):
    while self._position >= limit and not self._passed.closed:
        time.sleep(0.01)
    return read(self, buffer[:{PIECE}])
seek._Watched.readinto = readinto
ds = EmbryoDataset(sys.argv[1], planes="F0")
assert ds[first].jpeg(1)[:2] == b"\\xff\\xd8"
assert ds.contents.source._opened["embryo_dataset"].finished(wait=False) is None
"""


def start(code: str, archives: Path) -> subprocess.Popen[str]:
    """Start a process that has read a frame of the first video, and whose walk goes on when `limit` is raised."""
    (first, _, _), (_, second, _), *_, (last, _, _) = order_of(archives / f"{PLANE}.tar.gz")
    command = [sys.executable, "-c", GATED + code, str(archives), first, last, str(second + PIECE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def kept(cache: Path) -> list[str]:
    return [path.name for path in (cache / "archives").glob(f"{PLANE}.tar*")]


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "del ds"])
def test_the_interpreter_ends_in_the_middle_of_a_walk(archives: Path, cache: Path, end: str) -> None:
    process = start(end, archives)
    out, told = process.communicate(timeout=120)
    assert (process.returncode, out, told) == (0, "", "")
    assert kept(cache) == []
    assert len(EmbryoDataset(archives, planes="F0")[order_of(archives / f"{PLANE}.tar.gz")[0][0]].runs()) == 20


def test_a_kill_leaves_no_partial_index(archives: Path, extracted: Path, cache: Path) -> None:
    process = start("print('there', flush=True); time.sleep(60)", archives)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert kept(cache) == []
    ds, reference = EmbryoDataset(archives), EmbryoDataset(extracted)
    assert ds.videos == reference.videos
    assert all(ds[name].jpeg(2) == reference[name].jpeg(2) for name in ds.videos)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_fork_in_the_middle_of_a_walk(archives: Path) -> None:
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of a fork beside a thread
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        seek._build_all = None  # it waits for the walk of its parent
        os._exit(0 if ds[last].jpeg(1)[:2] == b"\\xff\\xd8" else 1)
limit = 1 << 60
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
assert ds[last].jpeg(1)[:2] == b"\\xff\\xd8"
"""
    process = start(code, archives)
    out, told = process.communicate(timeout=120)
    assert (process.returncode, out, told) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), 9)", "ds = None; gc.collect(); os.waitpid(child, 0)", "sys.exit()"]
)
def test_a_forked_process_goes_on_without_the_walk_of_its_parent(archives: Path, end: str) -> None:
    code = f"""
import gc, warnings
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if not child:
    limit = 1 << 60
    print(ds[last].jpeg(1)[:2] == b"\\xff\\xd8", flush=True)
    os._exit(0)
{end}
"""
    process = start(code, archives)
    assert process.communicate(timeout=120) == ("True\n", "")


def test_a_walk_ends_with_its_data_set(archives: Path, gate: Gate, cache: Path) -> None:
    (first, _, _), (_, second, _), *_ = order_of(archives / f"{PLANE}.tar.gz")
    gate.move(second + PIECE)
    ds = EmbryoDataset(archives, planes="F0")
    assert ds[first].jpeg(1)
    [thread] = [each for each in threading.enumerate() if each.name == f"index {PLANE}.tar.gz"]
    del ds
    gc.collect()
    gate.move(float("inf"))
    thread.join(60)
    assert not thread.is_alive()
    assert kept(cache) == []


def test_threads_share_the_spans_that_they_inflate() -> None:
    begun, go, calls = threading.Event(), threading.Event(), []

    def inflate(i: int) -> bytes:
        calls.append(i)
        begun.set()
        assert go.wait(60)
        if i == 9:
            raise OSError("no")
        return bytes([i])

    spans, found = _Spans(inflate), []

    def ask(i: int) -> None:
        found.append(attempt(lambda: spans[i]))

    for i, outcome in {3: b"\3", 9: (OSError, "no")}.items():
        begun.clear()
        go.clear()
        threads = [threading.Thread(target=ask, args=(i,), daemon=True) for _ in range(4)]
        for thread in threads[:1]:
            thread.start()
        assert begun.wait(60)
        for thread in threads[1:]:
            thread.start()
        while sum(thread.is_alive() for thread in threads) < 4:
            time.sleep(0.01)
        time.sleep(0.05)
        go.set()
        for thread in threads:
            thread.join(60)
        assert found == [outcome] * 4
        found.clear()
    assert calls[0] == 3
    assert calls.count(3) == 1
    go.set()
    assert [spans[i] for i in range(3)] == [bytes([i]) for i in range(3)]
    assert len(spans._kept) == 4
    for i in range(10, 10 + 2 * _KEPT):
        spans[i]
    assert len(spans._kept) == _KEPT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_spans_of_its_parent() -> None:
    go = threading.Event()
    spans = _Spans(lambda i: b"child" if os.getpid() != parent else (go.wait(60), b"parent")[1])
    parent = os.getpid()
    thread = threading.Thread(target=lambda: spans[1], daemon=True)
    thread.start()
    while 1 not in spans._begun:
        time.sleep(0.01)
    child = os.fork()
    if not child:
        os._exit(0 if spans[1] == b"child" else 1)
    assert os.waitpid(child, 0)[1] == 0
    go.set()
    thread.join(60)
    assert spans[1] == b"parent"


RANDOM = f"""
import hashlib, os, random, sys, threading, time, warnings
warnings.simplefilter("ignore")  # of a fork beside threads, and of the damage
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import seek
from nsw_da_medical_image.dataset_util.archives import GrowingArchive
limit, names, read, reached = int(sys.argv[2]), sys.argv[3:], seek._Watched.readinto, threading.Event()
def readinto(self, buffer):
    while self._position >= limit and not self._passed.closed:
        reached.set()
        time.sleep(0.005)
    return read(self, buffer[:{PIECE}])
seek._Watched.readinto = readinto
def attempt(archive, name):
    try:
        return archive.read(name)
    except (DataError, OSError) as error:
        return f"{{type(error).__name__}} {{error}}".encode()
def digest(archive):
    return hashlib.sha256(b"".join(attempt(archive, name) for name in names)).hexdigest()
archive = GrowingArchive(sys.argv[1])
for seed in range(2):
    some = random.Random(seed).choices(names, k=9999)
    threading.Thread(target=lambda: [attempt(archive, name) for name in some], daemon=True).start()
while not reached.wait(0.01) and not archive._walk.ended.is_set():
    pass
print("there", flush=True)
"""
ENDS = {
    "kill": "time.sleep(60)",
    "exit": "sys.exit()",
    "fork": """
child = os.fork()
limit = 1 << 60
os.write(1, f"{digest(archive)}\\n".encode())  # one write, so that the two lines cannot mix
os._exit(0) if not child else os.waitpid(child, 0)
""",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("seed", range(6))
def test_any_end_at_any_moment(archives: Path, extracted: Path, tmp_path: Path, cache: Path, seed: int) -> None:
    """However a process ends in the middle of a walk, the next one reads what the archive contains, or the same errors."""
    draw = random.Random(seed)
    kind = draw.choice(["whole", "cut off", "a changed byte", "a wrong checksum", "a hostile member"])
    end = list(ENDS)[seed % 3]
    path = tmp_path / f"{PLANE}.tar.gz"
    path.write_bytes(damage(kind, (archives / path.name).read_bytes()))
    names = [str(each.relative_to(extracted)) for each in sorted((extracted / PLANE).rglob("*.jpeg"))]
    limit = draw.randrange(int(order_of(archives / path.name)[-1][2]))
    command = [sys.executable, "-c", RANDOM + ENDS[end], str(path), str(limit), *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    if end == "kill":
        process.kill()
    out, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (-signal.SIGKILL if end == "kill" else 0, "")
    assert not list((cache / "archives").glob(".*"))
    whole, later = GrowingArchive(path), Archive(path, build(path))
    refused = DataError(later.note["fault"]) if later.note.get("refused") else None
    found = hashlib.sha256()
    for name in names:
        answer = attempt(partial(later.read, name)) if refused is None else (DataError, str(refused))
        assert attempt(partial(whole.read, name)) in (answer, (extracted / name).read_bytes())
        found.update(answer if isinstance(answer, bytes) else f"{answer[0].__name__} {answer[1]}".encode())
    assert whole.finished().note == later.note  # type: ignore[union-attr]
    if end == "fork":
        child, parent = out.split()
        assert found.hexdigest() in (child, parent)
        assert kind != "whole" or child == parent
