"""Run all benchmarks, side by side with what users would choose otherwise, and write the page about speed.

    python benchmarks/page.py               # about an hour; writes nbs/benchmarks.ipynb. Use a machine that is otherwise idle
    python benchmarks/page.py --quick       # small sizes, to see whether all of it runs; prints, and writes nothing
    python benchmarks/page.py --only reading validate --quick

Each part runs one script of this folder in its own process, puts its tables on the page, and compares them with the limits
that are stated here, before anything is measured. A limit that is not kept is on the page too.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pages import ROOT, machine, table, write_page

HERE = ROOT / "benchmarks"
PAGE = ROOT / "nbs" / "benchmarks.ipynb"
SHARED = {"pages", "page", "robustness", "costs", "trees"}  # they need more, or write a page of their own
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Limit:
    """What a row of a table must keep: the first number of its last cell, or of the column `column`."""

    row: str  # how the row begins
    least: float | None = None
    most: float | None = None
    meaning: str = ""
    column: str = ""


@dataclass(frozen=True)
class Part:
    """One benchmark: the question that it answers, its arguments, its limits, and what falls short."""

    title: str
    question: str
    script: str
    full: str = ""
    quick: str = ""
    limits: tuple[Limit, ...] = ()
    short: str = ""


PARTS = {
    "extract": Part(
        "Extraction to a disk",
        "Compared with GNU tar, one process per core, and with `tarfile.extractall`. Ours checks every name, keeps the destination complete or untouched, and has flushed everything to the disk when it ends; so the fair rival is GNU tar followed by `sync`.",
        "extract",
        "--frames 21000 --rounds 3 --folder {disk}",
        "--frames 700 --rounds 1 --folder {disk}",
        (
            Limit(
                "GNU tar, parallel, then sync",
                least=1.0,
                meaning="at least as fast as GNU tar in parallel, followed by sync",
            ),
            Limit("pool of extractall", least=1.0, meaning="at least as fast as a pool of extractall"),
        ),
        "The disk decides. On a slow disk, all rows are alike. The archives had just been written and were read from memory; reading 62 GB may take longer than writing.",
    ),
    "extract-memory": Part(
        "Extraction to a RAM disk",
        "The same without a disk, which shows the work of the processor. The two limits are decompressing alone and writing alone.",
        "extract",
        "--frames 42000 --rounds 4 --folder {memory}",
        "--frames 700 --rounds 1 --folder {memory}",
        (
            Limit("GNU tar, parallel", least=1.0, meaning="at least as fast as GNU tar in parallel"),
            Limit("pool of extractall", least=1.0, meaning="at least as fast as a pool of extractall"),
        ),
        "With few frames, mostly the start of the processes is measured, in which GNU tar is faster.",
    ),
    "sources": Part(
        "Reading archives without extracting them",
        "Compared with extracting everything first, and with ratarmountcore, which also reads archives in place.",
        "sources",
        "--frames 42000 --rounds 3 --folder {disk}",
        "--frames 2100 --rounds 1 --folder {disk}",
        (
            Limit(
                "ratarmountcore, plane F0", least=1.0, meaning="one plane is indexed at least as fast as ratarmountcore"
            ),
        ),
        "The first time, an archive must be read to its end before all of its frames are known. A random frame costs more than from a file, since decompression begins at the nearest seek point. Bytes alone take three to four times as long as from files in the page cache, because decompressing a frame is that much more work than reading a file that is in memory; two cores cannot hide it. From the disk they take less time than files, and decoded frames take the same time.",
    ),
    "sources-full": Part(
        "2.4 million files in archives",
        "Opening, the table of all frames and memory with as many files as the release has. The files are tiny, because their size does not matter here.",
        "sources",
        "--full --folder {disk}",
        "",
        (),
        "The first opening takes the time of decompressing all archives; the release has more than these 720 MB.",
    ),
    "reading": Part(
        "Opening and decoding",
        "Compared with listing the same folders, with a bare pool of Pillow threads over bytes in memory, and with what a first script does: glob, sort, open one after the other.",
        "reading",
        "--rounds 7",
        "--rounds 1 --frames 40",
        (
            Limit(
                "bare Pillow thread pool",
                least=0.8,
                meaning="a stack takes at most 1.25 times the time of a bare pool of Pillow",
            ),
            Limit("glob, sort, open in turn", least=1.0, meaning="at least as fast as a first script"),
        ),
        "A stack of full size is bound by libjpeg: on one core there is nothing to gain.",
    ),
    "loading": Part(
        "Loading in a DataLoader",
        "Compared with a dataset that does the least: paths and class numbers in lists, opened with Pillow, nothing checked.",
        "loading",
        "--rounds 5",
        "--rounds 1 --frames 100 --workers 2",
        (Limit("ds.frames(as_='numpy')", most=1.25, meaning="at most 1.25 times the time of the bare dataset"),),
        "If torch is not installed, a pool of processes replaces its DataLoader; the first line says which of them was used.",
    ),
    "validate": Part(
        "Validation",
        "Compared with the least work that it needs: without pixels, a bare walk that reads the last two bytes of each file; with pixels, a bare pool of Pillow threads.",
        "validate",
        "--rounds 5",
        "--videos 3 --frames 60 --pictures 280 --rounds 1",
        (
            Limit("validate", most=2.0, meaning="everything but pixels takes at most twice the time of a bare walk"),
            Limit("validate, pixels", most=1.25, meaning="pixels take at most 1.25 times the time of bare decoding"),
        ),
        "Files that are not in the system's cache take as long as the disk needs.",
    ),
    "clock": Part(
        "Do the labels fit the images?",
        "How often the clock of labels is judged rightly on drawn embryos, in percent, by planted clock (rows) and shift in runs (columns: -20, -12, -6, 0, 6, 12, 20). *rank above 0.2, either check*: labels that are reported for their rank, and by one check or the other; *proposed, right*: with a proposal, and with one within two runs.",
        "clock",
        "",
        "--embryos 4 --each 2",
        (
            Limit(
                "1.0 0 200 False",
                most=2.0,
                column="either",
                meaning="at most 2 % of labels that fit are reported, by one check or the other",
            ),
        ),
        "Drawn embryos divide more regularly than real ones. A small shift (six runs or fewer) is often not noticed, on purpose: a false alarm costs more.",
    ),
    "shards": Part(
        "Memory of an export to shards",
        "The memory of a process before it exports 240,000 and 2.4 million simulated frames, with the table of all frames, and how much the export adds at its highest point.",
        "shards_memory",
        "",
        "2400",
        tuple(
            Limit(f"{form}, 2,400,000 rows", most=8.0, column="added (MB)", meaning=f"at most 8 MB are added ({form})")
            for form in ("parquet", "webdataset")
        ),
        "The table of all frames takes 18 bytes per row before the export begins.",
    ),
    "playback": Part(
        "Playing in JupyterLab",
        "The same frames in one JupyterLab and one browser, with what else plays in a notebook. *first* is the time from running the cell to the first picture, *late* the share of intervals more than 1.5 times as long as requested.",
        "playback",
        "--notebook",
        "--frames 60 --fps 30 --seconds 1 --table {scratch}/playback.md --figure {scratch}/playback.png",
        (
            Limit("EmbryoPlayer", least=54.0, column="shown (1/s)", meaning="at least 90 % of 60 frames per second"),
            Limit("EmbryoPlayer", most=1000, column="first (ms)", meaning="the first picture within a second"),
        ),
        "The browser has no graphics card here, so large panes are slower than on a desk. A player whose package is not installed is left out. A film (mediapy) is as smooth once it is encoded, but is not lossless and shows one plane.",
    ),
}


def parts() -> dict[str, Part]:
    """Return all parts, and one for each script of this folder that PARTS lacks."""
    known = {part.script for part in PARTS.values()} | SHARED
    more = {}
    for path in sorted(HERE.glob("*.py")):
        if path.stem not in known:
            first = path.read_text(encoding="utf-8").split('"""')[1].partition("\n")[0]
            more[path.stem] = Part(path.stem.replace("_", " ").capitalize(), first, path.stem)
    return PARTS | more


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text: str) -> list[tuple[list[str], list[list[str]]]]:
    """Return heads and rows of each Markdown table in a text, and of each table of pandas as it is printed."""
    found, lines = [], text.splitlines()
    for place, line in enumerate(lines):
        if place and line.startswith("|--"):
            rows = []
            for row in lines[place + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells_of(row))
            found.append((cells_of(lines[place - 1]), rows))
        elif re.match(r" *clock +shift ", line):
            found.append((line.split(), [[" ".join(row.split()[:4]), *row.split()[1:]] for row in lines[place + 1 :]]))
    return found


def measured(limit: Limit, text: str) -> float | None:
    """Return the number that a limit is about, or None if the output does not contain it."""
    for heads, rows in tables(text):
        for row in rows:
            if row[0] == limit.row and (not limit.column or limit.column in heads):
                cell = row[heads.index(limit.column)] if limit.column else row[-1]
                if number := re.match(r"-?\d+(\.\d+)?", cell):
                    return float(number[0])
    return None


def verdict(limit: Limit, text: str, quick: bool = False) -> tuple[str, str, str]:
    """Return the meaning of a limit, the measured number and the limit, and whether it was kept; a quick run is not judged."""
    number = measured(limit, text)
    bound = f"at least {limit.least:g}" if limit.least is not None else f"at most {limit.most:g}"
    if number is None:
        return limit.meaning, f"not measured; limit: {bound}", "not measured"
    if quick:
        return limit.meaning, f"{number:g}; limit: {bound}", "not judged"
    kept = (limit.least is None or number >= limit.least) and (limit.most is None or number <= limit.most)
    return limit.meaning, f"{number:g}; limit: {bound}", "kept" if kept else "**not kept**"


def run(part: Part, arguments: str, folder: Path, disk: Path) -> tuple[str, str, float]:
    """Run a script; return what it printed, the notes that it printed beside it, and the minutes that it took."""
    memory = MEMORY if MEMORY.is_dir() else disk
    words = [word.format(disk=disk, memory=memory, scratch=folder) for word in arguments.split()]
    env = {name: value for name, value in os.environ.items() if name != "NSW_REAL_DATA"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
    began = time.monotonic()
    command = [sys.executable, HERE / f"{part.script}.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\n{part.script}.py ended with status {done.returncode}")
    notes = [line for line in done.stderr.splitlines() if ": left out, " in line]
    return done.stdout.strip(), "\n".join(notes), (time.monotonic() - began) / 60


def readable(text: str, *folders: Path) -> str:
    """Return what a script printed as Markdown: tables as they are, other lines as paragraphs, no paths of this machine."""
    for folder in folders:
        text = re.sub(rf"{re.escape(str(folder))}(/[\w.-]+)*", "DISK", text)
    text = text.replace(str(MEMORY), "a RAM disk").replace(tempfile.gettempdir(), "DISK")
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        start = next((place for place, line in enumerate(lines) if line.startswith("|")), len(lines))
        if start:
            printed = re.search(r"^ *clock +shift", block, re.M)
            before = [
                line
                for line in lines[:start]
                if not line.startswith(("EmbryoPlayer {", "Play + ", "mediapy {", "to_jshtml {", "stackview {"))
            ]
            if before:
                blocks.append("```text\n" + "\n".join(before) + "\n```" if printed else "  \n".join(before))
        rows = lines[start:]
        if rows and (len(rows) < 2 or not rows[1].startswith("|--")):  # rows without a head, as of the clock
            width = len(cells_of(rows[0]))
            rows = [f"|{'  |' * width}", f"|{'---|' * width}", *rows]
        after = next((place for place, row in enumerate(rows) if not row.startswith("|")), len(rows))
        if rows:
            blocks.append("\n".join(rows[:after]))
        if rows[after:]:
            printed = any(re.match(r" *clock +shift", row) for row in rows[after:])
            blocks.append("```text\n" + "\n".join(rows[after:]) + "\n```" if printed else "  \n".join(rows[after:]))
    return "\n\n".join(blocks)


def section(
    part: Part, arguments: str, said: str, notes: str, minutes: float, *folders: Path, quick: bool = False
) -> str:
    """Return the part of the page about one benchmark."""
    shown = re.sub(r"\{(\w+)\}", lambda found: {"disk": "DISK", "memory": "/dev/shm"}.get(found[1], "DIR"), arguments)
    command = f"`python benchmarks/{part.script}.py{' ' * bool(shown)}{shown}`; {minutes:.0f} minutes"
    lines = [f"## {part.title}", part.question, readable(said, *folders), command]
    if notes:
        lines.append(f"Not compared here: {'; '.join(notes.splitlines())}.")
    if part.limits:
        rows = [verdict(limit, said, quick) for limit in part.limits]
        lines.append(table(("Limit", "Measured", ""), rows))
    if part.short:
        lines.append(f"**What falls short.** {part.short}")
    return "\n\n".join(lines)


def page(done: dict[str, tuple[Part, str, str]], quick: bool) -> list[str]:
    """Return the cells of the page: the limits of all parts first."""
    rows = [(part.title, *verdict(limit, said, quick)) for part, said, _ in done.values() for limit in part.limits]
    extra = " This was a quick run with small sizes, so nothing is judged; the numbers mean nothing." if quick else ""
    missed = sum(row[-1] != "kept" for row in rows)
    return [
        "# Benchmarks\n\n> How fast it is, beside what you would choose otherwise, and where it falls short",
        "One command measures all of it and writes this page: `python benchmarks/page.py`. Each part runs one script of `benchmarks/`, which can also be run alone. "
        "Rivals take turns on the same files, so that a change of the machine's load meets all of them; ratios are computed round by round. All frames are invented, of 500 x 500 pixels and about 25 kB, as the real ones are.",
        f"{table(('Part', 'Limit', 'Measured', ''), rows)}\n\n"
        f"{'' if quick else f'{len(rows) - missed} of {len(rows)} limits were kept. '}On {machine()}.{extra} Your machine, your disk and your data differ: "
        "run the scripts that matter to you. [Costs](costs.ipynb) shows how each operation grows with the data set.",
        *(text for _, _, text in done.values()),
    ]


def main(argv: list[str] | None = None) -> int:
    everything = parts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; print, and write nothing")
    parser.add_argument("--write", action="store_true", help="write the page even so; it says that the run was quick")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=everything,
        metavar="PART",
        help=f"one or more of {', '.join(everything)}; write nothing",
    )
    parser.add_argument(
        "--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on the disk to measure"
    )
    args = parser.parse_args(argv)
    done: dict[str, tuple[Part, str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        for key, part in everything.items():
            if (args.only and key not in args.only) or (args.quick and not part.quick):
                continue
            arguments = part.quick if args.quick else part.full
            print(f"{key}: benchmarks/{part.script}.py {arguments}", file=sys.stderr, flush=True)
            said, notes, minutes = run(part, arguments, Path(name), args.disk)
            if part.script == "playback":  # its own lines are on standard output; the table is below them
                said = said[said.index("\n|") :].strip()
            done[key] = (
                part,
                said,
                section(part, arguments, said, notes, minutes, Path(name), args.disk, quick=args.quick),
            )
    cells = page(done, args.quick)
    if (args.quick or args.only) and not args.write:
        print("\n\n".join(cells))
    else:
        write_page(PAGE, cells)
        print(f"{cells[2]}\n\nwritten to {PAGE.relative_to(ROOT)}; playback has drawn a figure anew, so run")
        print("python .ci/outputs.py --file nbs/images/playback.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
