"""Measure what each operation costs as a data set grows, and write the tables of the documentation.

    python benchmarks/costs.py [--frames 10000 100000 1000000 2400000] [--folder FOLDER] [--page nbs/costs.ipynb]

The data set grows to seven planes of the 704 released videos. Its frames are empty files, so that only the costs are
measured that grow with the number of frames, not those of their pixels, which are measured per frame and multiplied. The archives have
frames of 300 bytes that do not compress, and are built one size at a time. Each operation runs in a new process that has
imported everything before. The exponent is the slope between the two largest sizes: 1 if twice as many frames take twice
as long. With the default sizes, this needs 2.4 million inodes, 6 GB and half an hour.
"""

import argparse
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sources import peak, tarball, timed

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.split import make_split
from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, GRADES, TIMES, FocalPlane, Phase, cores, released_videos
from nsw_da_medical_image.validation.validate import validate

EACH = 487  # frames of a video in a plane: 2.4 million in all
VIDEOS = random.Random(0).sample(released_videos(), len(released_videos()))  # of several patients from the first on
FRAME = "D2013.01.28_S{:04}_I132_WELL7_RUN{}.jpeg"  # each on a slide of its own


def texts(folder: Path, videos: list[str]) -> None:
    """Write the annotations, times and grades of some videos."""
    edges = [1 + EACH * i // len(Phase) for i in range(len(Phase) + 1)]
    phases = "".join(f"{phase},{edges[i]},{edges[i + 1] - 1}\n" for i, phase in enumerate(Phase))
    times = "frame_index,time\n" + "".join(f"{run},{4 + run / 4:.1f}\n" for run in range(EACH + 1))
    for name, ending, text in (ANNOTATIONS, "phases", phases), (TIMES, "timeElapsed", times):
        (folder / name).mkdir(exist_ok=True)
        for video in videos:
            (folder / name / f"{video}_{ending}.csv").write_text(text)
    (folder / GRADES).write_text("video_name,TE,ICM\n" + "".join(f"{video},NA,NA\n" for video in videos))


def grow(folder: Path, before: int, videos: int) -> None:
    """Add the videos from number `before` to number `videos` to a tree of empty files."""
    names = VIDEOS[:videos]
    for plane in FocalPlane:
        for video in names[before:]:
            (place := folder / plane.folder / video).mkdir(parents=True)
            opened = os.open(place, os.O_RDONLY)
            for run in range(1, EACH + 1):
                os.close(os.open(FRAME.format(VIDEOS.index(video), run), os.O_CREAT | os.O_WRONLY, dir_fd=opened))
            os.close(opened)
    texts(folder, names)


def pack(tree: Path, archives: Path, videos: int) -> None:
    """Write the archives of a data set, with frames of 300 bytes."""
    archives.mkdir()
    for plane in FocalPlane:
        videos_and_runs = ((i, run) for i in range(videos) for run in range(1, EACH + 1))
        members = (f"{plane.folder}/{VIDEOS[i]}/{FRAME.format(i, run)}" for i, run in videos_and_runs)
        tarball(archives / f"{plane.folder}.tar.gz", ((name, os.urandom(298) + b"\xff\xd9") for name in members))
    for name in ANNOTATIONS, TIMES:
        members = ((f"{name}/{path.name}", path.read_bytes()) for path in sorted((tree / name).iterdir()))
        tarball(archives / f"{name}.tar.gz", members)
    shutil.copy(tree / GRADES, archives)


# --- the work of a new process ----------------------------------------------------------------------------------------


def first_video(ds: EmbryoDataset) -> Any:
    return ds[VIDEOS[0]].runs()


JOBS: dict[str, Callable[[EmbryoDataset], Any]] = {
    "one video: ds[name].runs()": first_video,
    "all names: list(ds)": list,
    "ds.table()": lambda ds: ds.table(),
    "ds.frames(pick='median')": lambda ds: ds.frames(pick="median"),
    "make_split(ds)": make_split,
    "validate(ds), without pixels": validate,
}
ARCHIVED = ["one video: ds[name].runs()", "all names: list(ds)", "ds.table()", "validate(ds), without pixels"]


def obey(job: str, path: str) -> None:
    """Open a data set, do a job, and print the time of the processors and of the clock, and the peak of memory."""
    before = os.times()
    seconds = timed(lambda: JOBS[job](EmbryoDataset(path)))
    print(json.dumps([sum(os.times()[:4]) - sum(before[:4]), seconds, peak()]))


def measured(job: str, path: Path, cache: Path) -> "Facts":
    environment = {**os.environ, "NSW_CACHE_DIR": str(cache), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, "--job", job, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    facts = Facts(*json.loads(done.stdout.splitlines()[-1]))
    print(f"{job}: {facts}", file=sys.stderr, flush=True)
    return facts


def pixels(folder: Path, sizes: list[int]) -> str:
    """Measure what the pixels cost per frame, on 2,800 frames of 500 x 500, and multiply."""
    make_archives(folder / "sample", videos=2, frames=200)
    extract_dataset(folder / "sample", folder / "sample extracted")
    ds, packed = EmbryoDataset(folder / "sample extracted"), EmbryoDataset(folder / "sample")
    frames = [(video, run, plane) for video in ds for plane in ds.planes for run in ds[video].runs(plane).tolist()]
    packed.table()  # so that the archives are indexed
    jobs = {
        "video.jpeg(run), from the folder": lambda: [ds[video].jpeg(run, plane) for video, run, plane in frames],
        "video.jpeg(run), from archives": lambda: [packed[video].jpeg(run, plane) for video, run, plane in frames],
        "video.stack(plane)": lambda: [ds[video].stack(plane) for video in ds for plane in ds.planes],
        "validate(ds, pixels=True)": lambda: validate(ds, pixels=True),
    }
    lines = [
        "| | ms of processors per frame | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for name, run in jobs.items():
        before = sum(os.times()[:4])
        run()
        each = (sum(os.times()[:4]) - before) / len(frames)
        cells = " | ".join(f"{each * size:,.0f} s" for size in sizes)
        lines.append(f"| {name} | {1000 * each:.2f} | {cells} |")
    return "\n".join(lines)


# --- the tables ---------------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """Hold the seconds of the processors and of the clock, and the peak of memory in MB."""

    work: float
    clock: float
    peak: float


Rows = dict[str, dict[int, Facts]]


def exponent(found: dict[int, Facts]) -> str:
    """Return the slope of the work between the two largest sizes, '' if it is too short to be measured."""
    (a, little), (b, much) = sorted(found.items())[-2:] if len(found) > 1 else [(0, Facts(0, 0, 0))] * 2
    return f"{math.log(much.work / little.work) / math.log(b / a):.2f}" if little.work >= 0.02 else ""


def table(rows: Rows, sizes: list[int]) -> str:
    """Return the rows as a table in Markdown, with the exponent and the peak of memory at the largest size."""
    lines = ["| | " + " | ".join(f"{size:,}" for size in sizes) + " | exponent | peak at the largest |"]
    lines.append("|---" * (len(sizes) + 3) + "|")
    for name, found in rows.items():
        cells = [f"{found[size].work:.2f} ({found[size].clock:.2f})" if size in found else "" for size in sizes]
        lines.append(f"| {name} | {' | '.join(cells)} | {exponent(found)} | {found[max(found)].peak:.0f} MB |")
    return "\n".join(lines)


def measure(folder: Path, sizes: list[int], largest: int) -> str:
    tree, cache, archives = folder / "extracted", folder / "cache", folder / "archives"
    rows: dict[str, Rows] = {"extracted": {}, "indexing": {}, "indexed": {}}
    before = 0
    tree.mkdir()
    real: list[int] = []
    for size in sizes:
        videos = min(len(VIDEOS), round(size / (EACH * len(FocalPlane))))
        grow(tree, before, videos)
        before = videos
        real.append(frames := videos * EACH * len(FocalPlane))
        for job in JOBS:
            rows["extracted"].setdefault(job, {})[frames] = measured(job, tree, cache)
        if size <= largest:
            pack(tree, archives, videos)
            for job in ARCHIVED[:3]:
                shutil.rmtree(cache, ignore_errors=True)
                rows["indexing"].setdefault(job, {})[frames] = measured(job, archives, cache)
            for job in ARCHIVED:
                rows["indexed"].setdefault(job, {})[frames] = measured(job, archives, cache)
            shutil.rmtree(archives)
    titles = {
        "extracted": "An extracted folder of empty files",
        "indexing": "Archives without an index, frames of 300 bytes",
        "indexed": "The same archives with their index",
    }
    text = "\n\n".join(f"### {titles[kind]}\n\n{table(rows[kind], real)}" for kind in rows if rows[kind])
    told = "Measured per frame and multiplied, since each frame is read and decoded on its own."
    return f"{text}\n\n### Pixels, simulated\n\n{told}\n\n{pixels(folder, real)}"


BEGIN, END = "<!-- costs -->", "<!-- end of costs -->"


def write(page: Path, text: str) -> None:
    """Replace the tables of a notebook: the Markdown cell that begins with the mark."""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    [cell] = [cell for cell in notebook["cells"] if "".join(cell["source"]).startswith(BEGIN)]
    cell["source"] = f"{BEGIN}\n{text}\n{END}".splitlines(keepends=True)
    page.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 2_400_000])
    parser.add_argument("--folder", help="folder for the files (default: the temporary folder)")
    parser.add_argument("--page", type=Path, help="notebook whose tables are replaced")
    parser.add_argument(
        "--archives", type=int, default=10**9, help="largest number of frames for which archives are made"
    )
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        obey(*args.job)
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="costs-benchmark-") as name:
        os.environ["NSW_CACHE_DIR"] = str(Path(name) / "cache")
        text = measure(Path(name), sorted(args.frames), args.archives)
    where = f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}"
    text = (
        f"Measured on {where}, in new processes; the files were in the page cache. Seconds of the processors, which other"
        f" programs change little, and in brackets those of the clock.\n\n{text}"
    )
    print(text)
    if args.page:
        write(args.page, text)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
