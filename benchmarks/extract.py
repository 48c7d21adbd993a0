"""Compare the extraction with what a user would choose otherwise, in interleaved rounds on the same archives.

    python benchmarks/extract.py [--frames 42000] [--rounds 5] [--workers 2] [--folder /dev/shm]
    python benchmarks/extract.py --folder DISK    # what flushing costs

The archives are made first, in the real layout: frames of about 25 kB, drawn from the sample data and distributed over
seven planes. Each round times, one after the other, each into an empty folder:

- ours, which has flushed everything to disk when it ends; and the same without the flush
- ours, continued: everything is verified and taken from an extraction that was killed just before it renamed the folder
- GNU tar, as many at a time as there are workers, alone and followed by a sync of the file system
- a pool of `tarfile.extractall(filter="data")`
- the two limits, decompressing alone and writing alone, in a pool of the same size

Use a machine that is otherwise idle. With few frames, mostly the start of the processes is measured.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from isal import igzip

from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.util import ARCHIVES, FocalPlane


def make(folder: Path, frames: int) -> int:
    """Make archives with `frames` frames in total, compressed by the system's gzip; return the bytes of the frames."""
    make_archives(folder / "sample", videos=1, frames=60)
    subprocess.run(["tar", "xzf", folder / "sample" / "embryo_dataset.tar.gz", "-C", folder], check=True)
    jpegs = [path.read_bytes() for path in sorted((folder / "embryo_dataset").rglob("*.jpeg"))]
    shutil.rmtree(folder / "embryo_dataset")
    archives, total = folder / "archives", 0
    archives.mkdir()
    for offset, plane in enumerate(FocalPlane):
        for i in range(frames // len(FocalPlane)):
            video, run = divmod(i, 500)
            path = folder / plane.folder / f"BEN{video}-1" / f"D2013.01.28_S0717_I132_WELL1_RUN{run + 1}.jpeg"
            if run == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(data := jpegs[(i * 7 + offset) % len(jpegs)])
            total += len(data)
        subprocess.run(["tar", "czf", archives / f"{plane.folder}.tar.gz", "-C", folder, plane.folder], check=True)
        shutil.rmtree(folder / plane.folder)
    for name in ARCHIVES.keys() - {path.name for path in archives.iterdir()}:
        shutil.copy(folder / "sample" / name, archives)
    return total


MODULE = "nsw_da_medical_image.dataset_util.extract_dataset"
UNFLUSHED = f"from {MODULE[: MODULE.rindex('.')]} import extract_dataset as m; m.flush_tree = m.flush_name = lambda *_: None; m.main()"
KILLED = f"import os; from {MODULE[: MODULE.rindex('.')]} import extract_dataset as m; m._Staging.publish = lambda *_: os._exit(9); m.main()"


def ours(archives: Path, out: Path, workers: int, how: tuple[str, str] = ("-m", MODULE)) -> None:
    command = [sys.executable, *how, archives, out, "--workers", str(workers)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    assert done.returncode == (9 if how[1] == KILLED else 0)


def gnu_tar(archives: Path, out: Path, workers: int) -> None:
    out.mkdir()
    command = f"ls *.tar.gz | xargs -P{workers} -I{{}} tar xzf {{}} -C '{out}'"
    subprocess.run(command, shell=True, check=True, cwd=archives)


def gnu_tar_then_sync(archives: Path, out: Path, workers: int) -> None:
    gnu_tar(archives, out, workers)
    subprocess.run(["sync", "-f", out], check=True)


def extractall(out: Path, path: Path) -> None:
    with tarfile.open(path) as tar:
        tar.extractall(out, filter="data")


def inflate(path: Path) -> int:
    size, buffer = 0, bytearray(1 << 20)
    with igzip.open(path) as f:
        while got := f.readinto(buffer):
            size += got
    return size


def write(out: Path, frames: int, plane: str) -> None:
    data = os.urandom(25_000)
    for i in range(frames):
        if i % 500 == 0:
            folder = out / plane / str(i)
            folder.mkdir(parents=True)
        fd = os.open(folder / f"{i}.jpeg", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, data)
        os.close(fd)


def pooled(job, items, workers: int) -> None:
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(job, items))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=42_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None, help="default: a RAM disk"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="extract-benchmark-") as name:
        folder = Path(name)
        total = make(folder, args.frames)
        archives, out = folder / "archives", folder / "out"
        tarballs = sorted(archives.glob("*.tar.gz"), key=lambda path: -path.stat().st_size)
        each = args.frames // len(FocalPlane)
        rivals = {
            "ours": lambda: ours(archives, out, args.workers),
            "ours, not flushed": lambda: ours(archives, out, args.workers, ("-c", UNFLUSHED)),
            "ours, continued": lambda: ours(archives, out, args.workers),
            "GNU tar, parallel": lambda: gnu_tar(archives, out, args.workers),
            "GNU tar, parallel, then sync": lambda: gnu_tar_then_sync(archives, out, args.workers),
            "pool of extractall": lambda: (
                out.mkdir(),
                pooled(partial(extractall, out), tarballs, args.workers),
            ),
            "decompressing alone": lambda: pooled(inflate, tarballs, args.workers),
            "writing alone": lambda: pooled(partial(write, out, each), [str(p) for p in FocalPlane], args.workers),
        }
        times: dict[str, list[float]] = {rival: [] for rival in rivals}
        for _ in range(args.rounds):
            for rival, run in rivals.items():
                shutil.rmtree(out, ignore_errors=True)
                if rival == "ours, continued":
                    ours(archives, out, args.workers, ("-c", KILLED))
                os.sync()
                began = time.perf_counter()
                run()
                times[rival].append(time.perf_counter() - began)
    print(
        f"{args.frames:,} frames, {total / 1e9:.2f} GB, in {args.folder or tempfile.gettempdir()}; {args.workers} workers, "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, median of {args.rounds} rounds\n"
    )
    print("| | seconds | times ours (median, range of rounds) |\n|---|---|---|")
    for rival, seconds in times.items():
        ratios = [mine and theirs / mine for theirs, mine in zip(seconds, times["ours"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {rival} | {statistics.median(seconds):.2f} | {spread} |")


if __name__ == "__main__":
    main()
