"""Measure how often the clock of labels is judged rightly on drawn embryos: a table of planted clocks and shifts.

Sample embryos are drawn in plane F0 with a picture every 0.25 hours, and their activity is measured as in any other data set. Each onset is then moved a little, as observers differ
(standard deviations of 1 run for the first division, and of 2.5 runs for the others), and the labels are rewritten as clock x RUN + shift, for which no picture changes.
All numbers of `validation.clock` were fixed on other seeds before the table was made.

    python benchmarks/clock.py [--embryos 200] [--each 50] [--seed 1] [--json FILE]
"""

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

CLOCKS, SHIFTS = (1.0, 1.1, 1.25, 0.8), (-20, -12, -6, 0, 6, 12, 20)
RUNS, SIZE = 496, 125
APART = 12  # runs: the bound of the check first-division-elsewhere, 3 hours


def draw(index: int, folder: Path, seed: int) -> tuple[pd.Series, pd.DataFrame]:
    """Return the activity of the drawn embryo `index` by RUN, and its phases."""
    os.environ["NSW_CACHE_DIR"] = str(folder / "cache")
    from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
    from nsw_da_medical_image.dataset_util.sample_embryo import invent_video
    from nsw_da_medical_image.dataset_util.util import FocalPlane
    from nsw_da_medical_image.validation.activity import activity

    video, plane = invent_video(index, RUNS, seed=seed), FocalPlane.F0
    video.files = {plane: video.files[plane]}
    video.prepare(video.seed, SIZE)
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        images = Path(copy) / plane.folder / video.name
        images.mkdir(parents=True)
        for name in video.files[plane]:
            (images / name).write_bytes(video.draw(name, SIZE)[plane])
        series = activity(EmbryoDataset(copy)[video.name])
    return series, pd.DataFrame(video.phases, columns=["phase", "first", "last"]).astype({"first": int, "last": int})


def unannotated(series: pd.Series, phases: pd.DataFrame) -> list[bool]:
    """Return for each burst whether it is more than 7 runs, the most in the two real videos, from every annotated division."""
    from nsw_da_medical_image.validation.activity import find_bursts
    from nsw_da_medical_image.validation.clock import onsets_of

    apart = np.abs(np.subtract.outer(find_bursts(series)["run"].to_numpy(), onsets_of(phases)))
    return (np.fmin.reduce(apart, axis=1) > 7).tolist()


def observed(phases: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return `phases` as another observer would annotate them: the onsets of divisions moved by some runs, in the same order."""
    first = phases["first"].to_numpy(float)
    names = phases["phase"]
    first += rng.normal(0, np.where(names == "t2", 1, 2.5)) * names.str.fullmatch(r"t\d\+?")
    first = np.maximum.accumulate(np.maximum(1, np.rint(first))).astype(int)
    rows = phases.assign(first=first, last=np.append(first[1:] - 1, phases["last"].iloc[-1]))
    return rows[rows["first"] <= rows["last"]].reset_index(drop=True)


def judge(drawn: list, clock: float, shift: int, each: int, sibling: bool) -> dict[str, float]:
    """Return the percentages of labels reported for their rank and by either check, with a proposal, and with one within 2 runs of the truth."""
    from nsw_da_medical_image.validation.clock import ELSEWHERE, RELEASED, ClockMap, judge_clock

    rng = np.random.default_rng([round(100 * clock), shift + 100])
    rows = []
    for place in rng.permutation(len(drawn))[:each]:
        series, phases = drawn[place]
        truth, planted = observed(phases, rng), ClockMap("", clock, shift)
        labels = truth.assign(**{name: np.rint(planted.runs(truth[name])).astype(int) for name in ("first", "last")})
        # at the right clock, the files suggest a wrong one: that of the 33 files on a grid of 0.2 h
        maps = [RELEASED, ClockMap("file step / camera step", 0.8 if clock == 1 else 1 / clock)]
        if sibling:  # whose hours show the shift too
            maps.append(ClockMap("hours of a sibling", 1 / clock, -shift / clock, timed=True))
        maps.append(ClockMap("last row / last run", (len(series) + 1) / labels["last"].max()))
        maps = [one for one in maps if one == RELEASED or abs(one.scale - 1) > 0.02 or abs(one.offset) > 3]
        proposal = judge_clock("SAM1-2", series, labels, maps)
        both = proposal.phases.merge(truth, on="phase", suffixes=("", "_true"))
        right = proposal.proposed is not None and (both["first"] - both["first_true"]).abs().max() <= 2
        seen, annotated = proposal.first_division
        elsewhere = proposal.rank > ELSEWHERE
        either = elsewhere or seen is None or abs(seen - annotated) > APART
        rows.append((elsewhere, either, proposal.proposed is not None, right))
    names = "reported", "either", "proposed", "right"
    return dict(zip(names, (100 * np.mean(rows, axis=0)).round(1).tolist(), strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--embryos", type=int, default=200)
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the drawn embryos")
    parser.add_argument("--json", help="write the activities' statistics and the table to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        drawn = list(pool.map(partial(draw, folder=Path(folder), seed=args.seed), range(args.embryos)))
    apart = [share for one in drawn for share in unannotated(*one)]
    print(
        f"{100 * np.mean(apart):.0f} of 100 of {len(apart)} bursts are more than 7 runs from every annotated division"
    )
    table = []
    for clock in CLOCKS:
        for shift in SHIFTS:
            number = args.embryos if clock == 1 and shift == 0 else args.each
            for sibling in False, True:
                table.append({"clock": clock, "shift": shift, "embryos": number, "sibling": sibling})
                table[-1] |= judge(drawn, clock, shift, number, sibling)
    frame = pd.DataFrame(table)
    print(f"| clock | shift | {' | '.join(map(str, SHIFTS))} |\n|---|---|{'---|' * len(SHIFTS)}")
    for clock, rows in frame.groupby("clock", sort=False):
        alone, siblings = rows[~rows["sibling"]], rows[rows["sibling"]]
        cells = (f"{a:.0f}, {b:.0f}" for a, b in zip(alone.reported, alone.either, strict=True))
        print(f"| {clock} | rank above 0.2, either check | {' | '.join(cells)} |")
        for name, some in ("proposed, right", alone), ("the same with a sibling's hours", siblings):
            cells = (f"{a:.0f}, {b:.0f}" for a, b in zip(some.proposed, some.right, strict=True))
            print(f"| | {name} | {' | '.join(cells)} |")
    print(frame[(frame.clock == 1) & (frame["shift"] == 0)].to_string(index=False))
    if args.json:
        Path(args.json).write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
