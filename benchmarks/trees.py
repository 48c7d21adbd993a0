"""Compare this checkout with another one, operation by operation, so that a change shows what became slower.

    git worktree add /tmp/before COMMIT
    python benchmarks/trees.py /tmp/before [--frames 300] [--rounds 5] [--folder FOLDER] [--only table stack]

Both trees do the same work on the same files, by the public API, in turns: each operation runs in a new process, in which
everything is imported before it is timed. The ratio is this tree's time divided by the other's, round by round; the time of
the processors changes less than that of the clock if the machine does other work. An operation that one of the trees
cannot do is listed with its error. The playback in a browser is compared by running `playback.py` in each tree.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PREPARE = """
import json, resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import nsw_da_medical_image
assert Path(nsw_da_medical_image.__file__).is_relative_to(sys.argv[2]), "the package of another tree was imported"
folder = Path(sys.argv[1])
archives, extracted, small = folder / "archives", folder / "extracted", folder / "many"
def work():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
"""
OPEN = "from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset\n"
VALIDATE = "from nsw_da_medical_image.validation.validate import validate\n"
# What is imported and prepared, and what is timed. "(no cache)" runs with an empty cache.
OPERATIONS = {
    "import": ("", "from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset"),
    "extract": (
        "from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset",
        "extract_dataset(archives, folder / 'result')",
    ),
    "open": (OPEN, "EmbryoDataset(extracted).videos"),
    "table": (OPEN, "EmbryoDataset(small).table()"),
    "stack": (OPEN + "ds = EmbryoDataset(extracted)", "for name in ds: ds[name].stack()"),
    "bytes from the folder": (
        OPEN + "ds = EmbryoDataset(extracted)",
        "for name in ds:\n    for run in ds[name].runs().tolist(): ds[name].jpeg(run)",
    ),
    "index all archives (no cache)": (OPEN, "EmbryoDataset(archives).table()"),
    "open archives with an index": (OPEN, "EmbryoDataset(archives).table()"),
    "bytes from the archives": (
        OPEN + "ds = EmbryoDataset(archives); ds.table()",
        "for name in ds:\n    for run in ds[name].runs().tolist(): ds[name].jpeg(run)",
    ),
    "frames in turn": (
        OPEN + "frames = EmbryoDataset(extracted).frames(planes=['F0'])",
        "for place in range(len(frames)): frames[place]",
    ),
    "split": (
        OPEN + "from nsw_da_medical_image.dataset_util.split import make_split\nds = EmbryoDataset(small)",
        "make_split(ds)",
    ),
    "validate": (VALIDATE, "validate(small)"),
    "validate with pixels (no cache)": (VALIDATE, "validate(extracted, pixels=True)"),
    "image folder": (
        "from nsw_da_medical_image.dataset_util.image_folder import main",
        "main([str(extracted), str(folder / 'result'), '--planes', 'F0'])",
    ),
    "player": (
        OPEN + "from nsw_da_medical_image.viewer.player import EmbryoPlayer\nds = EmbryoDataset(extracted)",
        "for name in ds: EmbryoPlayer(ds[name])",
    ),
    "explorer": (
        OPEN + "from nsw_da_medical_image.viewer.explorer import explore\nds = EmbryoDataset(small)",
        "explore(ds)",
    ),
}


def make(folder: Path, frames: int) -> None:
    """Write archives and an extracted folder with pictures, and a folder of many small files."""
    from validate import small_tree

    from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
    from nsw_da_medical_image.dataset_util.sample import make_archives

    make_archives(folder / "archives", videos=2, frames=frames)
    extract_dataset(folder / "archives", folder / "extracted")
    small_tree(folder / "many", 40, frames)


def run(tree: Path, name: str, folder: Path) -> list[float] | str:
    """Run one operation in one tree; return the seconds of the processors and of the clock, or the error."""
    before, timed = OPERATIONS[name]
    cache = folder / f"cache of {tree.name}"
    if "no cache" in name:
        shutil.rmtree(cache, ignore_errors=True)
    code = f"{PREPARE}{before}\nworked, began = work(), time.perf_counter()\n{timed}\n"
    code += "print(json.dumps([work() - worked, time.perf_counter() - began]))\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder), str(tree)],
        env={**os.environ, "PYTHONPATH": str(tree), "NSW_CACHE_DIR": str(cache), "IN_TEST": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(folder / "result", ignore_errors=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:100]
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, ours: list[list[float]], theirs: list[list[float]]) -> str:
    """Return the row of one operation: medians, and the ratio of each kind of time round by round."""
    cells = [f"{statistics.median(clock for _, clock in each):.3f}" for each in (theirs, ours)]
    for kind in 0, 1:
        ratios = [mine[kind] / max(other[kind], 0.001) for mine, other in zip(ours, theirs, strict=True)]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the root of another checkout of this repository")
    parser.add_argument("--frames", type=int, default=300, help="runs per video and plane")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files are written (default: the temporary folder)")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="only operations whose name contains one of these words"
    )
    args = parser.parse_args()
    if not (args.other / "nsw_da_medical_image").is_dir():
        parser.error(f"{args.other} has no folder nsw_da_medical_image; pass the root of a checkout")
    names = [name for name in OPERATIONS if not args.only or any(word in name for word in args.only)]
    if not names:
        parser.error(f"no operation contains {' or '.join(args.only)}; there are {', '.join(OPERATIONS)}")
    trees = {"this": ROOT, "other": args.other.resolve()}
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {args.rounds} rounds, {args.frames} runs per video"
    )
    print(
        "\n| operation | other (s) | this (s) | processors: this / other | clock: this / other |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="trees-benchmark-", dir=args.folder) as folder:
        make(Path(folder), args.frames)
        for name in names:
            for tree in trees.values():  # the first run fills the caches, and shows whether the tree can do it
                if isinstance(problem := run(tree, name, Path(folder)), str):
                    print(f"| {name} | {tree.name}: {problem} | | | |")
                    break
            else:
                found = {who: [] for who in trees}
                for turn in range(args.rounds):
                    for who in list(trees) if turn % 2 else list(trees)[::-1]:
                        found[who].append(run(trees[who], name, Path(folder)))
                print(row(name, found["this"], found["other"]), flush=True)


if __name__ == "__main__":
    main()
