"""Compare the validation with the least work that it needs, in interleaved rounds on the same files.

    python benchmarks/validate.py [--videos 40] [--frames 300] [--pictures 2100] [--rounds 5] [--folder FOLDER]

Without pixels: compared with `os.scandir` and a read of the last two bytes of each file; the aim is at most twice that
time. The row with threads shows why files in the system's cache are read without threads. The tree has the shape of the
release: seven planes, and in three of ten videos a folder F0 that repeats every frame, which validation reads completely.
The files are small, because their size matters only for these repeats.

With pixels: compared with a bare pool of threads in which Pillow decodes the same files; the aim is 80 % of its speed,
which is 1.25 times its time. Plane F0 alone is compared with a pool that decodes F0 alone, without a limit: the movement is measured in
this plane only, and the work per video is the same. The data is one video in seven planes, with about half as many runs as a released one, so
the work per video counts more. The cache of measures is empty in each round, and full for the last row. Then all and half
of the pictures are measured, each in a separate process, to show how the memory depends on their number.

FOLDER is where the trees are made; its disk is measured, with the files in the system's cache.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.util import (
    ANNOTATIONS,
    GRADES,
    TIMES,
    FocalPlane,
    code_of,
    cores,
    released_videos,
)
from nsw_da_medical_image.validation.checks import CHECKS
from nsw_da_medical_image.validation.validate import validate

MEMORY = """
import resource, sys
from nsw_da_medical_image.validation.validate import validate
validate(sys.argv[1], pixels=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def small_tree(folder, videos, frames):
    """Make a small release: `videos` valid videos of `frames` runs in seven planes, with files of 600 bytes."""
    for entry in ANNOTATIONS, TIMES:
        (folder / entry).mkdir(parents=True)
    data = b"\xff\xd8" + bytes(596) + b"\xff\xd9"
    grades = ["video_name,TE,ICM"]
    for place, video in enumerate(released_videos()[:videos]):
        well = video.rpartition("-")[2].strip("_T")
        slide = sum(code_of(each) != code_of(video) for each in released_videos()[:place])  # one per code
        names = [f"D2013.01.28_S{slide:04d}_I132_WELL{well}_RUN{run}.jpeg" for run in range(1, frames + 1)]
        inner = [f"F0/{name}" for name in names] if place % 10 < 3 else []
        for plane in FocalPlane:
            here = folder / plane.folder / video
            (here / "F0" if inner and plane == FocalPlane.F0 else here).mkdir(parents=True)
            for name in [*names, *(inner if plane == FocalPlane.F0 else [])]:
                (here / name).write_bytes(data)
        third = frames // 3
        rows = f"tPNa,5,{third}\nt2,{third + 1},{2 * third}\nt4,{2 * third + 1},{frames + 1}\n"
        (folder / ANNOTATIONS / f"{video}_phases.csv").write_text(rows)
        times = "".join(f"{run},{0.25 * run:.1f}\n" for run in range(frames + 1))
        (folder / TIMES / f"{video}_timeElapsed.csv").write_text(f"frame_index,time\n{times}\n")
        grades.append(f"{video},A,NA")
    (folder / GRADES).write_text("\n".join(grades) + "\n")
    return folder


def tails(folder):
    """Read the last two bytes of each file in a folder, and return its sub-folders."""
    below = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            below.append(entry.path)
        else:
            file = os.open(entry.path, os.O_RDONLY)
            os.pread(file, 2, max(0, os.fstat(file).st_size - 2))
            os.close(file)
    return below


def bare_walk(root):
    todo = [root]
    while todo:
        todo += tails(todo.pop())


def decode(path):
    with Image.open(path) as image:
        return np.asarray(image)


def bare_decoding(paths):
    """Decode files with Pillow in a pool of threads, without keeping the pictures."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(decode, paths):
            pass


def measure(rivals, rounds, before=lambda: None):
    times = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            before()
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def show(title, number, times, limit=None):
    """Print one row per competitor; the others are compared with the first."""
    print(
        f"\n| {title}: {number:,} files | seconds | microseconds per file | times the first (median, range of rounds) |"
    )
    print("|---|---|---|---|")
    first, *others = times
    for name in (first, *others):
        ratios = [mine / bare for mine, bare in zip(times[name], times[first], strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        ratio += f", limit {limit}" if limit else ""
        middle = statistics.median(times[name])
        print(f"| {name} | {middle:.2f} | {1e6 * middle / number:.1f} | {ratio if name != first else ''} |")


def peak(root, cache):
    """Return the peak memory, in MB, of a process that validates with pixels."""
    env = {**os.environ, "NSW_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", MEMORY, root], env=env, check=True, capture_output=True, text=True)
    return int(done.stdout) / (1024 * 1024 if sys.platform == "darwin" else 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--pictures", type=int, default=2100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    print(f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {args.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="validate-benchmark-", dir=args.folder) as name:
        folder = Path(name)
        cache = folder / "cache"
        os.environ["NSW_CACHE_DIR"] = str(cache)
        tree = small_tree(folder / "tree", args.videos, args.frames)
        number = sum(len(files) for _, _, files in os.walk(tree))
        report = validate(tree)
        assert set(report.findings.query("severity != 'info'")["check"]) <= {"known-issue"}, report.summary()
        rivals = {
            "bare scandir and tails": lambda: bare_walk(tree),
            "validate": lambda: validate(tree),
            f"validate, {cores()} threads": lambda: validate(tree, workers=cores()),
        }
        show("everything but pixels", number, measure(rivals, args.rounds), 2)

        make_archives(folder / "archives", videos=1, frames=args.pictures // 7)
        extract_dataset(folder / "archives", folder / "pictures")
        root = folder / "pictures"
        paths = [str(path) for path in root.glob("embryo_dataset*/*/*.jpeg")]

        def empty():
            shutil.rmtree(cache, ignore_errors=True)

        rivals = {
            "bare Pillow thread pool": lambda: bare_decoding(paths),
            "validate, pixels": lambda: validate(root, pixels=True),
        }
        times = measure(rivals, args.rounds, empty)
        times |= measure({"validate, pixels, again": lambda: validate(root, pixels=True)}, args.rounds)
        show("pixels", len(paths), times, 1.25)
        middle = [path for path in paths if f"/{FocalPlane.F0.folder}/" in path]
        rivals = {
            "bare Pillow thread pool": lambda: bare_decoding(middle),
            "validate, pixels": lambda: validate(root, pixels=True, planes="F0"),
        }
        show("pixels of plane F0 alone", len(middle), measure(rivals, args.rounds, empty))

        empty()
        whole = peak(root, cache)
        for path in paths[::2]:
            os.unlink(path)
        empty()
        print(f"\npeak memory, {len(paths):,} pictures: {whole:.0f} MB; half as many: {peak(root, cache):.0f} MB")
        print(f"checks: {len(CHECKS)}, of which {sum(c.scope == 'pixels' for c in CHECKS.values())} look at pixels")


if __name__ == "__main__":
    main()
