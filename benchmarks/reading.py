"""Compare opening and decoding with the simplest way to do the same, in interleaved rounds on the same files.

    python benchmarks/reading.py [--frames 300] [--rounds 7]

Opening is timed on a tree of 704 videos in seven planes, and compared with listing the same folders with `os.scandir`.
Reading a stack is compared with a bare pool of Pillow threads over the same frames in memory, and with what a first
script does: glob, sort, and open one file after the other.
"""

import argparse
import io
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, FocalPlane, cores, released_videos


def wide_tree(folder: Path) -> Path:
    """Make the folders of the whole release, with one file in each."""
    for plane in FocalPlane:
        for video in released_videos():
            (folder / plane.folder / video).mkdir(parents=True)
            (folder / plane.folder / video / "D1_S1_I1_WELL1_RUN1.jpeg").touch()
    (folder / ANNOTATIONS).mkdir()
    return folder


def measure(rivals, rounds):
    times = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def show(title, times):
    first = next(iter(times.values()))
    print(f"\n| {title} | milliseconds | times the first (median, range of rounds) |\n|---|---|---|")
    for name, seconds in times.items():
        ratios = [other / mine for other, mine in zip(seconds, first, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {1000 * statistics.median(seconds):.1f} | {spread} |")


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def bare_pool(jpegs):
    with ThreadPoolExecutor(cores()) as pool:
        return np.stack(list(pool.map(decode, jpegs)))


def first_script(folder):
    paths = sorted(Path(folder).glob("*.jpeg"), key=lambda path: int(path.stem.rpartition("RUN")[2]))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    print(f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {args.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="reading-benchmark-") as name:
        folder = Path(name)
        wide = wide_tree(folder / "wide")
        opening = {
            "EmbryoDataset(path)": lambda: EmbryoDataset(wide),
            "and its 704 videos": lambda: EmbryoDataset(wide).videos,
            "os.scandir of the seven planes": lambda: [list(os.scandir(wide / plane.folder)) for plane in FocalPlane],
        }
        show("opening, 704 videos", measure(opening, args.rounds))

        make_archives(folder / "archives", videos=1, frames=args.frames)
        extract_dataset(folder / "archives", folder / "extracted")
        video = next(EmbryoDataset(folder / "extracted")[name] for name in EmbryoDataset(folder / "extracted"))
        jpegs = [video.jpeg(run) for run in video.runs()]
        assert np.array_equal(video.stack(), bare_pool(jpegs))
        plane = folder / "extracted" / FocalPlane.F0.folder / video.name
        stacks = {
            "video.stack()": video.stack,
            "bare Pillow thread pool": lambda: bare_pool(jpegs),
            "glob, sort, open in turn": lambda: first_script(plane),
            "video.stack(size=125)": lambda: video.stack(size=125),
        }
        show(f"{args.frames} frames of 500x500", measure(stacks, args.rounds))


if __name__ == "__main__":
    main()
