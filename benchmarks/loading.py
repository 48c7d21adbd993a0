"""Compare loading frames in workers with a bare Pillow dataset over a list of paths, in interleaved rounds.

    python benchmarks/loading.py [--data FOLDER] [--frames 1000] [--workers 4] [--batch 32] [--rounds 5]

Both use torch's DataLoader with its default batches, in the same shuffled order. If torch is not installed, a pool of the
same number of processes replaces it, which sends batches through pipes instead of shared memory; the first line of the
output shows which of the two was used. Before the timing, each frame must have arrived exactly once, with the pixels,
phase and hours that the data set has for it.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.frames import FrameRecord
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.util import cores

try:
    import torch
    from torch.utils.data import DataLoader
except ImportError:
    torch = None


class Bare:
    """Do what a first script does: keep paths and class numbers in lists, open files with Pillow, check nothing."""

    def __init__(self, paths, ranks):
        self.paths, self.ranks = paths, ranks

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return np.array(Image.open(self.paths[index])), self.ranks[index]


def batches_of(dataset, order, args):
    """Return batches in the given order, made in workers."""
    if torch:
        return DataLoader(dataset, args.batch, sampler=order, num_workers=args.workers)
    return pooled(dataset, order, args)


def pooled(dataset, order, args):
    """Yield batches like a DataLoader, from a pool: each worker gets the dataset once, then lists of indices."""
    chunks = [order[i : i + args.batch] for i in range(0, len(order), args.batch)]
    with multiprocessing.Pool(args.workers, begin, (dataset,)) as pool:
        yield from pool.imap(collate, chunks)


def begin(dataset):
    global worker_dataset
    worker_dataset = dataset


def collate(indices):
    records = [worker_dataset[index] for index in indices]
    columns = zip(*records, strict=True)
    kind = getattr(type(records[0]), "_make", tuple)
    return kind(column if isinstance(column[0], str) else np.array(column) for column in columns)


def consume(batches):
    return sum(len(batch[0]) for batch in batches)


def each_once(ds, frames, order, args):
    """Fail unless every frame arrives exactly once, with its own pixels, phase and hours."""
    found = Counter()
    for batch in batches_of(frames, order, args):
        columns = [column if isinstance(column, (list, tuple)) else np.asarray(column) for column in batch]
        for record in map(FrameRecord._make, zip(*columns, strict=True)):
            video, run = ds[record.video], int(record.run)
            phase, hours = video.phase_at(run), video.hours.get(run, np.nan)
            assert np.array_equal(record.image, video.frame(run, record.plane)), record[1:]
            assert (record.phase, record.rank) == ((phase, phase.rank) if phase else ("", -1)), record[1:]
            assert np.array_equal(record.hours, hours, equal_nan=True), record[1:]
            found[record.plane, record.video, run] += 1
    wanted = zip(frames.table.plane, frames.table.video, frames.table.run, strict=True)
    assert found == Counter(wanted), "not every frame arrived exactly once"


def measure(rivals, rounds):
    times = {name: [] for name in rivals}
    for number in range(rounds):
        for name in sorted(rivals, reverse=number % 2 == 1):  # they take turns to be first
            began = time.perf_counter()
            rivals[name]()
            times[name].append(time.perf_counter() - began)
    return times


def sample(folder, args):
    """Return sample data with at least `--frames` frames of 500x500, in two videos and seven planes."""
    make_archives(folder / "archives", videos=2, frames=-(-args.frames // 14))
    extract_dataset(folder / "archives", folder / "extracted")
    return EmbryoDataset(folder / "extracted")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an extracted data set (default: make sample data)")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    loader = (
        f"DataLoader of torch {torch.__version__}"
        if torch
        else "torch is not installed, so a pool replaces its DataLoader"
    )
    print(
        f"{loader}; {args.workers} workers, {cores()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    warnings.filterwarnings("ignore", "This DataLoader will create")
    with tempfile.TemporaryDirectory(prefix="loading-benchmark-") as name:
        ds = EmbryoDataset(args.data) if args.data else sample(Path(name), args)
        whole = ds.frames(as_="numpy")
        frames = whole[np.random.default_rng(0).permutation(len(whole))[: args.frames]]
        order = np.random.default_rng(1).permutation(len(frames)).tolist()
        table = frames.table
        paths = [os.path.join(ds.root, ds[row.video].path(row.run, row.plane)) for row in table.itertuples()]
        bare = Bare(paths, table.phase.cat.codes.tolist())
        each_once(ds, frames, order, args)
        print(f"{len(frames):,} frames: each arrived exactly once, with its own pixels, phase and hours\n")

        rivals = {
            "ds.frames(as_='numpy')": lambda: consume(batches_of(frames, order, args)),
            "bare Pillow over paths": lambda: consume(batches_of(bare, order, args)),
        }
        times = measure(rivals, args.rounds)
        print(
            "| in a DataLoader | frames per second | times the bare one's time (median, range of rounds) |\n|---|---|---|"
        )
        for name, seconds in times.items():
            ratios = [own / other for own, other in zip(seconds, times["bare Pillow over paths"], strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {name} | {len(frames) / statistics.median(seconds):,.0f} | {spread} |")


if __name__ == "__main__":
    main()
