"""Compare reading the archives directly with extracting them first, and with ratarmountcore, which also reads archives.

    python benchmarks/sources.py [--frames 42000] [--rounds 3] [--folder FOLDER] [--full]

The archives are made first, in the real layout, as in extract.py: frames of about 25 kB in seven planes, in the order of
the file system. The time of an extraction depends on the disk, and is shortest on a RAM disk (--folder /dev/shm). All
times include the first call. Openings are timed in new processes, which have imported everything before. The time to a
video in an archive without an index is measured with two archives of plane F0, one with ten times as many frames. Bytes are
read from the page cache, and from the disk after the system was asked to drop them. More cores than there are, for one
archive, are simulated. `--full` makes 2.4 million tiny files instead, in seven planes of the 704 released videos, and shows
opening, the table of all frames and memory. It takes some minutes and 400 MB.
"""

import argparse
import json
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from extract import make
from isal import igzip

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_archive, extract_dataset
from nsw_da_medical_image.dataset_util.images import decode
from nsw_da_medical_image.dataset_util.seek import build
from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, GRADES, TIMES, FocalPlane, Phase, cores, released_videos

PLANE, FRAME = FocalPlane.F0.folder, "D2013.01.28_S0717_I132_WELL1_RUN{}.jpeg"


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


#: For smaller archives ratarmountcore needs `indexed_gzip`, another package, and fails without it.
RIVAL_NEEDS = 100_000_000  # bytes


def rivalled(archive: Path) -> bool:
    return archive.stat().st_size > RIVAL_NEEDS


# --- the work of a new process ----------------------------------------------------------------------------------------


def first_frame(path: str, planes: str | None) -> dict[str, float]:
    """Open, and decode one frame of the middle plane."""
    dataset = EmbryoDataset(path, planes=planes)
    dataset["BEN0-1"].frame(7)
    return {}


def first_frame_of(path: str, video: str) -> dict[str, float]:
    """Open, and decode a frame of plane F0; the archive is indexed meanwhile."""
    EmbryoDataset(path, planes="F0")[video].frame(7)
    return {"MB": peak()}


def extract_frame_of(archive: str, to: str, video: str) -> dict[str, float]:
    """Extract the archive of plane F0 alone, as an extraction does, and decode a frame."""
    Path(to).mkdir()
    extract_archive(Path(archive), to)
    EmbryoDataset(to)[video].frame(7)
    return {}


def tar_frame_of(archive: str, video: str) -> dict[str, float]:
    """Decode a frame that GNU tar finds; it ends as soon as it has found it."""
    member = f"{PLANE}/{video}/{FRAME.format(7)}"
    command = ["tar", "--occurrence=1", "-xzOf", archive, member]
    decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {}


def ratarmount_frame_of(archive: str, index: str, video: str) -> dict[str, float]:
    from ratarmountcore.mountsource.factory import open_mount_source

    with open_mount_source(archive, indexFilePath=index, writeIndex=True, parallelization=cores()) as source:
        decode(source.open(source.lookup(f"/{PLANE}/{video}/{FRAME.format(7)}")).read())
    return {"MB": peak()}


def extract_first(archives: str, to: str) -> dict[str, float]:
    extract_dataset(archives, to)
    EmbryoDataset(to)["BEN0-1"].frame(7)
    return {}


def open_all(path: str) -> dict[str, float]:
    """Open, list the videos of all planes, and make the table of all frames twice."""
    dataset = EmbryoDataset(path)
    facts = {"opening": timed(lambda: dataset.videos), "opened MB": peak()}
    facts |= {"table": timed(dataset.table), "table again": timed(dataset.table), "MB": peak()}
    return facts | {"rows": len(dataset.table())}


def index_with(archive: str, threads: int) -> dict[str, float]:
    """Index an archive with several threads of rapidgzip; nothing is kept."""
    began = time.perf_counter(), time.process_time(), time.thread_time()
    build(Path(archive), threads=threads)
    ended = time.perf_counter(), time.process_time(), time.thread_time()
    return dict(zip(("wall", "all", "walk"), (b - a for a, b in zip(began, ended, strict=True)), strict=True))


def ratarmount(path: str, index: str) -> dict[str, float]:
    from ratarmountcore.mountsource.factory import open_mount_source

    with open_mount_source(path, indexFilePath=index, writeIndex=True, parallelization=cores()) as source:
        return {"members": len(source.list("/embryo_dataset/BEN0-1") or ())}


def ratarmount_random(path: str, index: str) -> dict[str, float]:
    from ratarmountcore.mountsource.factory import open_mount_source

    random.seed(1)
    with open_mount_source(path, indexFilePath=index, parallelization=1) as source:
        videos = source.list("/embryo_dataset") or {}
        paths = [
            f"/embryo_dataset/{video}/{name}"
            for video in videos
            for name in source.list(f"/embryo_dataset/{video}") or {}
        ]
        times = sorted(
            timed(lambda path=path: source.open(source.lookup(path)).read()) for path in random.sample(paths, 200)
        )
    return {"median": times[100], "95 %": times[190], "MB": peak()}


def random_frames(path: str) -> dict[str, float]:
    dataset = EmbryoDataset(path, planes="F0")
    random.seed(1)
    asked = random.sample([(name, int(run)) for name in dataset.videos for run in dataset[name].runs()], 200)
    times = sorted(timed(lambda name=name, run=run: dataset[name].jpeg(run)) for name, run in asked)
    return {"median": times[100], "95 %": times[190], "MB": peak()}


def peak() -> float:
    """Return the peak memory of this process in MB; `ru_maxrss` would include that of its parent."""
    with suppress(OSError):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


JOBS = {
    job.__name__: job
    for job in (
        *(first_frame, extract_first, open_all, index_with, ratarmount, ratarmount_random, random_frames),
        *(first_frame_of, extract_frame_of, tar_frame_of, ratarmount_frame_of),
    )
}


def fresh(job: str, *args: object, cache: Path) -> dict[str, float]:
    """Return the facts and the time of a job in a new process, which imports everything before the clock starts."""
    command = [sys.executable, __file__, "--job", job, *(json.dumps(arg, default=str) for arg in args)]
    environment = {**os.environ, "NSW_CACHE_DIR": str(cache), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{job} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def obey(job: str, args: list[str]) -> None:
    began = time.perf_counter()
    facts = JOBS[job](*map(json.loads, args))
    print(json.dumps({"seconds": time.perf_counter() - began, **facts}))


# --- the parts ----------------------------------------------------------------------------------------------------------


def show(title: str, unit: str, times: dict[str, list[float]], factor: float) -> None:
    """Print one row per competitor; ratios to the first row are computed round by round."""
    first = next(iter(times.values()))
    print(f"\n| {title} | {unit} | times the first (median, range of rounds) |\n|---|---|---|")
    for rival, seconds in times.items():
        ratios = [other / mine for other, mine in zip(seconds, first, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {rival} | {factor * statistics.median(seconds):.2f} | {spread} |")


def opening(archives: Path, folder: Path, rounds: int) -> None:
    """Time the way from the archives to the first frame."""
    cache, out, index = folder / "cache", folder / "out", folder / "ratarmount.sqlite"
    names = ["indexing plane F0", "indexing all planes", "opening again", "extracting all"]
    times: dict[str, list[float]] = {name: [] for name in names}
    archive = archives / "embryo_dataset.tar.gz"
    if rivalled(archive):
        times["ratarmountcore, plane F0"] = []
    for _ in range(rounds):
        for place in cache, out:
            shutil.rmtree(place, ignore_errors=True)
        index.unlink(missing_ok=True)
        os.sync()
        times["indexing plane F0"].append(fresh("first_frame", archives, "F0", cache=cache)["seconds"])
        shutil.rmtree(cache)
        times["indexing all planes"].append(fresh("open_all", archives, cache=cache)["seconds"])
        times["opening again"].append(fresh("first_frame", archives, None, cache=cache)["seconds"])
        times["extracting all"].append(fresh("extract_first", archives, out, cache=cache)["seconds"])
        if rivalled(archive):
            rival = fresh("ratarmount", archive, index, cache=cache)
            times["ratarmountcore, plane F0"].append(rival["seconds"])
    show("until the first frame is decoded", "seconds", times, 1)
    print(f"\nindex: {megabytes(cache / 'archives'):.2f} MB for {megabytes(archives):,.0f} MB of archives", end="")
    print(f"; ratarmountcore: {index.stat().st_size / 1e6:.2f} MB for plane F0" if rivalled(archive) else "")


def plane_of(folder: Path, frames: Path, videos: int, each: int) -> Path:
    """Make an archive of plane F0 with some videos of at most `each` of the `frames`, compressed by the system's gzip."""
    sources = sorted(frames.iterdir())
    for i in range(videos):
        (place := folder / str(videos) / PLANE / f"BEN{i}-1").mkdir(parents=True)
        for run in range(1, each + 1):
            with suppress(FileNotFoundError):  # the last video may be shorter
                os.link(sources[i % len(sources)] / FRAME.format(run), place / FRAME.format(run))
    target = folder / f"{videos} videos" / f"{PLANE}.tar.gz"
    target.parent.mkdir()
    # without the option, links to one file would be stored as links
    subprocess.run(["tar", "--hard-dereference", "-czf", target, "-C", folder / str(videos), PLANE], check=True)
    shutil.rmtree(folder / str(videos))
    return target


def several_threads(archive: Path, folder: Path, rounds: int) -> None:
    """Time the indexing of one archive with several threads. More cores than there are can only be simulated: the work of all threads shared equally, or that of the walk, if it is longer."""
    facts: dict[int, list[dict[str, float]]] = {1: [], 2: [], 4: [], 8: []}
    for _ in range(rounds):
        for threads, found in facts.items():
            found.append(fresh("index_with", archive, threads, cache=folder / "cache"))
    print(
        f"\n| indexing {archive.stat().st_size / 1e6:,.0f} MB | seconds | of processors | of those, the walk | one core per thread |"
    )
    print("|---|---|---|---|---|")
    for threads, found in facts.items():
        wall, work, walk = (statistics.median(each[key] for each in found) for key in ("wall", "all", "walk"))
        simulated = f"simulated: {max(walk, work / threads):.2f}" if threads > cores() else "measured"
        print(f"| {threads} thread{'s' * (threads > 1)} | {wall:.2f} | {work:.2f} | {walk:.2f} | {simulated} |")


def order_of(archive: Path) -> list[str]:
    """Return the videos in the order of an archive."""
    names = subprocess.run(["tar", "tzf", archive], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return list(dict.fromkeys(name.split("/")[1] for name in names if name.endswith(".jpeg")))


def waiting(folder: Path, archive: Path, few: int, each: int, rounds: int) -> None:
    """Time the way from an archive of plane F0, without an index, to a frame of the first, a middle and the last video; with `few` videos of `each` frames, and ten times as many."""
    cache, out, index = folder / "cache", folder / "out", folder / "ratarmount.sqlite"
    subprocess.run(["tar", "xzf", archive, "-C", folder], check=True)
    medians: dict[tuple[str, str], list[float]] = {}
    for path in [plane_of(folder, folder / PLANE, videos, each) for videos in (few, 10 * few)]:
        videos = order_of(path)
        places = {"first": videos[0], "middle": videos[len(videos) // 2], "last": videos[-1]}
        title = f"the {{}} of {len(videos)} videos, {path.stat().st_size / 1e6:,.0f} MB"
        for place, video in places.items():
            jobs = {
                "ours, while it is indexed": ("first_frame_of", path.parent, video),
                "tar -xO of one member": ("tar_frame_of", path, video),
                "extracting the plane": ("extract_frame_of", path, out, video),
            }
            if rivalled(path):
                jobs["ratarmountcore"] = ("ratarmount_frame_of", path, index, video)
            times: dict[str, list[float]] = {name: [] for name in jobs}
            for _ in range(rounds):
                for name, (job, *args) in jobs.items():
                    shutil.rmtree(cache, ignore_errors=True)
                    shutil.rmtree(out, ignore_errors=True)
                    index.unlink(missing_ok=True)
                    times[name].append(fresh(job, *args, cache=cache)["seconds"])
            show(f"to a frame of {title.format(place)}", "seconds", times, 1)
            for name, seconds in times.items():
                medians.setdefault((place, name), []).append(statistics.median(seconds))
    print("\n| ten times as many frames | seconds | times as long |\n|---|---|---|")
    for (place, name), seconds in medians.items():
        if len(seconds) == 2:
            print(f"| {place} video, {name} | {seconds[0]:.3f}, {seconds[1]:.3f} | {seconds[1] / seconds[0]:.2f} |")


def forget(paths: Iterable[Path]) -> None:
    """Ask the system to drop files from the page cache; what was written must be on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def reading(archives: Path, extracted: Path, rounds: int) -> None:
    """Time one plane of a video, from the archive and from files, in the page cache and from the disk."""
    names = EmbryoDataset(extracted).videos
    stacks: dict[str, list[float]] = {"files": [], "archive": []}
    bytes_: dict[str, list[float]] = {"files": [], "archive": [], "archive, once more": []}
    cold: dict[str, list[float]] = {"files": [], "archive": []}
    os.sync()
    for turn in range(rounds):
        name = names[turn % len(names)]
        for rival, path in {"files": extracted, "archive": archives}.items():
            video = EmbryoDataset(path, planes="F0")[name]
            runs = video.runs().tolist()
            [video.jpeg(run) for run in runs] if rival == "files" else None  # into the page cache
            stacks[rival].append(timed(video.stack))
            video = EmbryoDataset(path, planes="F0")[name]
            video.runs()
            bytes_[rival].append(timed(lambda video=video, runs=runs: [video.jpeg(run) for run in runs]))
            if rival == "archive":
                again = timed(lambda video=video, runs=runs: [video.jpeg(run) for run in runs])
                bytes_["archive, once more"].append(again)
            video = EmbryoDataset(path, planes="F0")[name]
            video.runs()
            folder = extracted / "embryo_dataset" / name
            forget(folder.iterdir() if rival == "files" else [archives / "embryo_dataset.tar.gz"])
            cold[rival].append(timed(lambda video=video, runs=runs: [video.jpeg(run) for run in runs]))
    show(f"a plane of a video, {len(runs)} frames, decoded: video.stack()", "ms", stacks, 1000)
    show("its bytes alone, one jpeg(run) after the other", "ms", bytes_, 1000)
    show("the same, read from the disk", "ms", cold, 1000)


def at_random(archives: Path, folder: Path) -> None:
    cache = folder / "cache"
    measured = {"ours": fresh("random_frames", archives, cache=cache)}
    archive, index = archives / "embryo_dataset.tar.gz", folder / "ratarmount.sqlite"
    if rivalled(archive):
        measured["ratarmountcore"] = fresh("ratarmount_random", archive, index, cache=cache)
    print("\n| a random frame of plane F0, 200 times | median ms | 95 % ms | process, MB |\n|---|---|---|---|")
    for name, facts in measured.items():
        print(f"| {name} | {1000 * facts['median']:.2f} | {1000 * facts['95 %']:.2f} | {facts['MB']:.0f} |")


# --- the full size -------------------------------------------------------------------------------------------------------


def header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def tarball(path: Path, members: Any) -> None:
    with igzip.open(path, "wb", compresslevel=1) as file:
        for name, data in members:
            file.write(header(name, len(data)) + data.ljust(-(-len(data) // 512) * 512, b"\0"))
        file.write(bytes(1024))


def full_size(folder: Path, frames: int = 2_400_000) -> Path:
    """Make archives with all released videos and 2.4 million files of 300 bytes that do not compress."""
    (archives := folder / "full").mkdir()
    videos, each = released_videos(), frames // (len(FocalPlane) * len(released_videos()))
    for plane in FocalPlane:
        frame = "D2013.01.28_S0717_I132_WELL7_RUN{}.jpeg"
        names = (f"{plane.folder}/{video}/{frame.format(run)}" for video in videos for run in range(1, each + 1))
        tarball(archives / f"{plane.folder}.tar.gz", ((name, os.urandom(298) + b"\xff\xd9") for name in names))
    edges = [1 + each * i // len(Phase) for i in range(len(Phase) + 1)]
    phases = "".join(f"{phase},{edges[i]},{edges[i + 1] - 1}\n" for i, phase in enumerate(Phase)).encode()
    times = ("frame_index,time\n" + "".join(f"{run},{4 + run / 4:.1f}\n" for run in range(each + 1))).encode()
    tarball(archives / f"{ANNOTATIONS}.tar.gz", ((f"{ANNOTATIONS}/{video}_phases.csv", phases) for video in videos))
    tarball(archives / f"{TIMES}.tar.gz", ((f"{TIMES}/{video}_timeElapsed.csv", times) for video in videos))
    (archives / GRADES).write_text("video_name,TE,ICM\n" + "".join(f"{video},NA,NA\n" for video in videos))
    return archives


def full(folder: Path, with_folder: bool) -> None:
    archives, cache = full_size(folder), folder / "full cache"
    sources = {"archives": archives}
    if with_folder:
        extract_dataset(archives, folder / "full extracted")
        sources["extracted"] = folder / "full extracted"
    print(
        "\n| 2.4 million frames | opening s | table s | table again s | peak MB after opening | peak MB |\n|---|---|---|---|---|---|"
    )
    for name, path in sources.items():
        for turn in "first", "again":
            facts = fresh("open_all", path, cache=cache)
            cells = [f"{facts[key]:.2f}" for key in ("opening", "table", "table again")]
            cells += [f"{facts[key]:.0f}" for key in ("opened MB", "MB")]
            print(f"| {name}, {turn} | {' | '.join(cells)} |")
    print(f"\n{facts['rows']:,.0f} rows; index {megabytes(cache / 'archives'):.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=42_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="folder for archives and extracted files (default: the temporary folder)")
    parser.add_argument("--full", action="store_true", help="use 2.4 million tiny files, read from the archives")
    parser.add_argument("--full-extracted", action="store_true", help="the same, also read from the extracted folder")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        obey(args.job[0], args.job[1:])
        return
    print(f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {args.rounds} rounds")
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="sources-benchmark-") as name:
        folder = Path(name)
        os.environ["NSW_CACHE_DIR"] = str(folder / "cache")
        if args.full or args.full_extracted:
            full(folder, args.full_extracted)
            return
        total = make(folder, args.frames)
        print(f"{args.frames:,} frames, {total / 1e9:.2f} GB, in {args.folder or tempfile.gettempdir()}")
        opening(folder / "archives", folder, args.rounds)
        reading(folder / "archives", folder / "out", args.rounds)
        at_random(folder / "archives", folder)
        several_threads(folder / "archives" / f"{PLANE}.tar.gz", folder, args.rounds)
        each = min(250, max(10, args.frames // 42))
        waiting(folder, folder / "archives" / f"{PLANE}.tar.gz", max(3, args.frames // 10_000), each, args.rounds)


if __name__ == "__main__":
    main()
