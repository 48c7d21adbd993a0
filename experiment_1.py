"""The data side of one augmentation experiment, from a data set to a balanced set of real and synthetic frames.

    python experiment_1.py --out data/experiment_1                  # makes sample data first
    python experiment_1.py data/extracted --out data/experiment_1

Validates, leaves out what is wrong, splits by embryo code, writes the training frames as an image folder, lets a generator add
to the phases that have few, and mixes both. The generator is a stand-in: it turns, mirrors and brightens training frames of the
middle plane and its neighbours. Put your own in the place of `generate`; it has to write runs with `write_run`, and no more.
Everything appears in the folder after --out, at once, and `index.html` in it tells what was done.
"""

import argparse
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from nsw_da_medical_image.common.command import Parser, Several, filled, run_command
from nsw_da_medical_image.common.files import expanded, new_folder, refuse_inside
from nsw_da_medical_image.common.html import escape, page
from nsw_da_medical_image.common.text import DataError, spreadsheet_safe, tell
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.frames import Frames
from nsw_da_medical_image.dataset_util.image_folder import describe, make_image_folder
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.split import Split, TooFewCodes, make_split, parse_weights, write_split
from nsw_da_medical_image.dataset_util.synthetic import SyntheticRuns, write_run
from nsw_da_medical_image.dataset_util.util import FocalPlane, Phase, progress
from nsw_da_medical_image.validation.pixels import measure_video
from nsw_da_medical_image.validation.report import Report
from nsw_da_medical_image.validation.validate import validate
from nsw_da_medical_image.viewer.realism import compare_sheet, comparison_page


def parser() -> Parser:
    parser = Parser(
        prog="python experiment_1.py",
        description="Validate, split, augment and mix: the data side of one augmentation experiment.",
        epilog="Exit status: 0 done, 1 the data cannot be used or the output exists, 2 wrong usage.",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=filled,
        help="the folder of an extracted data set, or of the archives (sample data is made)",
    )
    parser.add_argument("--out", type=filled, required=True, help="the folder to make, which must not exist")
    weights = "shares of train, val and test, or of parts of your own, one of them train: train=4,test=1 (0.8,0.1,0.1)"
    parser.add_argument("--weights", action=Several, type=str, default=["0.8,0.1,0.1"], metavar="SHARE", help=weights)
    parser.add_argument("--seed", type=int, default=0, help="for the split and the generator (0)")
    parser.add_argument("--frames", type=int, default=5, metavar="N", help="of each phase in each video (5)")
    parser.add_argument("--pixels", action="store_true", help="validate the pixels too; hours on the whole data set")
    return parser


def open_data(folder: str | None, out: Path) -> EmbryoDataset:
    """The data set, or an invented one with two videos that ought to be left out."""
    if folder is not None:
        return EmbryoDataset(folder)
    quirks = ["truncated-jpeg", "blank-video"]
    make_archives(out / "sample" / "archives", videos=9, frames=80, size=160, quirks=quirks)
    extract_dataset(out / "sample" / "archives", out / "sample" / "extracted")
    tell("no data was given: sample data of 9 videos was made")
    return EmbryoDataset(out / "sample" / "extracted")


def check_data(dataset: EmbryoDataset, weights: str, seed: int) -> None:
    """Raise `DataError` if there cannot be a result, before hours are spent on measuring."""
    if not dataset.planes:
        raise DataError(f"{dataset.path} holds no frames")
    if not dataset.annotated:
        raise DataError(f"{dataset.path} has no annotations, and without them there is no phase to balance")
    try:
        make_split(dataset, weights, seed)
    except TooFewCodes:
        raise
    except DataError:
        pass  # something is damaged; the validation leaves it out


def near(dataset: EmbryoDataset) -> list[FocalPlane]:
    """The plane nearest to the middle that there is, and its neighbours."""
    if dataset.middle is None:
        raise DataError(f"{dataset.path} holds no frames")
    return [plane for plane in dataset.planes if abs(plane.micrometres - dataset.middle.micrometres) <= 15]


# --- the stand-in for a generator --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Well:
    """Where the well lies in a picture, in pixels."""

    x: float
    y: float
    radius: float


def find_wells(dataset: EmbryoDataset, frames: Frames) -> dict[tuple[str, int], Well]:
    """The well in each frame, by video and run, as the middle plane shows it; frames without a visible rim have none."""
    wells = {}
    for name, own in progress(frames.table.groupby("video", observed=True), desc="finding wells", unit="video"):
        measured = measure_video(dataset, name, [dataset.middle]).set_index("run")
        known = measured.loc[measured.index.intersection(own["run"]), ["well_x", "well_y", "well_radius"]].dropna()
        wells |= {(name, int(run)): Well(*map(float, place)) for run, *place in known.itertuples()}
    return wells


def augmented(image: Image.Image, well: Well | None, rng: np.random.Generator) -> Image.Image:
    """A frame mirrored or not, its well turned about the centre by any angle, and brighter or darker by up to 15 %."""
    mirrored, angle, light = rng.random() < 0.5, rng.uniform(0, 360), rng.uniform(0.85, 1.15)
    if well is not None:  # the dish outside stays, so that no black corner turns into the picture
        within = Image.new("L", image.size)
        box = [(well.x - 0.96 * well.radius, well.y - 0.96 * well.radius)]
        box += [(well.x + 0.96 * well.radius, well.y + 0.96 * well.radius)]
        ImageDraw.Draw(within).ellipse(box, fill=255)
        turned = image.rotate(angle, Image.Resampling.BICUBIC, center=(well.x, well.y))
        image = Image.composite(turned, image, within.filter(ImageFilter.GaussianBlur(image.width / 200)))
    image = image.point(lambda value: min(255, round(value * light)))
    return ImageOps.mirror(image) if mirrored else image


def missing(real: Frames) -> dict[str, int]:
    """How many frames each phase lacks to be as frequent as the most frequent one; phases without a frame are left out."""
    counts = real.table["phase"].value_counts(sort=False)
    return {str(phase): int(counts.max() - count) for phase, count in counts.items() if 0 < count < counts.max()}


def generate(dataset: EmbryoDataset, frames: Frames, wanted: dict[str, int], runs: Path, seed: int) -> None:
    """Write runs with as many images of each phase as `wanted` says, made of `frames`, in turn of their planes."""
    wells = find_wells(dataset, frames)
    for phase, count in progress(wanted.items(), desc="generating", unit="phase"):
        own = frames[frames.table["phase"] == phase]
        planes = list(own.table["plane"].unique())
        for place, plane in enumerate(planes):
            rng = np.random.default_rng([seed, Phase(phase).rank, FocalPlane(plane).rank])
            sources = own[own.table["plane"] == plane]
            chosen = rng.integers(0, len(sources), len(range(place, count, len(planes)))).tolist()
            if chosen:
                write_run(
                    runs / f"{phase}_{FocalPlane(plane).label}",
                    images(sources, chosen, wells, rng),
                    describe(phase, plane),
                    phase,
                    plane,
                    more={"generator": __name__, "seed": seed, "sources": [sources.label(i) for i in chosen]},
                )


def images(frames: Frames, chosen: list[int], wells: dict[tuple[str, int], Well], rng: np.random.Generator) -> Iterator:
    """The augmented frames, one at a time."""
    for index in chosen:
        record = frames[index]
        yield augmented(record.image, wells.get((record.video, record.run)), rng)


# --- the experiment ----------------------------------------------------------------------------------------------------


def leave_out(dataset: EmbryoDataset, out: Path, pixels: bool) -> pd.DataFrame:
    """Validate, keep the report as a page and a table, and return what is to be left out."""
    report: Report = validate(dataset, pixels=pixels)
    report.to_html(out / "validation.html")
    report.to_csv(out / "findings.csv")
    exclude = report.exclude()
    exclude.map(spreadsheet_safe).to_csv(out / "exclude.csv", index=False)
    tell(f"validated: {len(report.findings):,} findings, {len(exclude):,} rows of what to leave out")
    return exclude


def experiment(dataset: EmbryoDataset, out: Path, weights: str, seed: int, pick: int, pixels: bool) -> None:
    """All steps, into the folder `out`."""
    check_data(dataset, weights, seed)
    exclude = leave_out(dataset, out, pixels)
    split = make_split(dataset, weights, seed, exclude)
    write_split(split, out / "split.json")
    tell(f"split: {', '.join(f'{part} {len(videos):,}' for part, videos in split.items())} videos")

    frames = dataset.frames(split["train"], near(dataset), list(Phase), pick, exclude)
    real = frames[frames.table["plane"] == dataset.middle]
    if not len(real):
        raise DataError(f"{dataset.path} has no labelled frame left for training; see what the validation leaves out")
    (out / "image-folders").mkdir()
    made = make_image_folder(real, out / "image-folders" / "train")
    tell(f"training frames: {made.images:,} of {made.videos:,} videos")

    (out / "all-synthetic-runs").mkdir()
    if wanted := missing(real):
        generate(dataset, frames, wanted, out / "all-synthetic-runs", seed)
        batches = SyntheticRuns(out / "all-synthetic-runs")
        findings = batches.findings()
        synthetic = batches.frames(exclude=findings)
        if wrong := int((findings["severity"] == "error").sum()):
            findings.to_csv(out / "synthetic-findings.csv", index=False)
            tell(f"left out of what was generated, for {wrong:,} errors: see synthetic-findings.csv")
    else:
        tell("all phases of the training frames are equally frequent: nothing is generated, and nothing to compare")
        synthetic = real[:0]
    mixed = real + synthetic
    made = make_image_folder(mixed, out / "image-folders" / "mixed", form="huggingface")
    tell(f"mixed: {made.images:,} images, of which {len(synthetic):,} are synthetic")

    if len(synthetic):
        alike = np.flatnonzero(synthetic.table["plane"] == str(dataset.middle))
        found = comparison_page(real, synthetic[alike] if len(alike) else synthetic, out / "comparison.html")
        tell(f"real and synthetic are {found.distance:.2f} apart, two halves of the real frames {found.yardstick:.2f}")
    write_page(out / "index.html", split, exclude, real, synthetic)


# --- the page ----------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#222, #e6e6e6); --faint: light-dark(#626262, #a0a0a0);
  --paper: light-dark(#fff, #17191c); --real: light-dark(#1b5862, #6fc3cf); --synthetic: light-dark(#e0a07c, #8a4a2a); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
td, th { padding: .1rem .8rem .1rem 0; text-align: right; font-variant-numeric: tabular-nums; font-weight: inherit; }
th { color: var(--faint); } td:first-child, td:last-child, th:last-child { text-align: left; } td:last-child { width: 26rem; }
.bar { display: inline-block; height: .8rem; } .real { background: var(--real); } .synthetic { background: var(--synthetic); }
img { max-width: 100%; }
"""


def balance_rows(before: pd.Series, after: pd.Series) -> Iterator[str]:
    """A row a phase: real frames, synthetic ones, and both as a bar."""
    for phase in Phase:
        real, added = int(before.get(phase, 0)), int(after.get(phase, 0) - before.get(phase, 0))
        bars = "".join(
            f"<span class='bar {name}' style='width:{100 * count / max(1, after.max()):.2f}%'></span>"
            for name, count in (("real", real), ("synthetic", added))
        )
        yield f"<tr><td>{phase}</td><td>{real:,}</td><td>{added:,}</td><td>{real + added:,}</td><td>{bars}</td></tr>"


def imbalance(counts: pd.Series) -> str:
    """The most frequent phase against the rarest that occurs."""
    some = counts[counts > 0]
    names = f" ({some.idxmax()} against {some.idxmin()})" if some.max() > some.min() else ""
    return f"{some.max() / some.min():.1f}{names}"


def facts(split: Split, exclude: pd.DataFrame, before: pd.Series, after: pd.Series) -> Iterator[str]:
    """What was done, in a few sentences."""
    yield f"videos that are left out wholly or in part, for errors that the validation found: {exclude['video'].nunique():,}"
    yield f"split by embryo code: {', '.join(f'{part} {len(videos):,}' for part, videos in split.items())} videos"
    some = before[before > 0]
    if after.sum() > before.sum():
        yield f"every synthetic frame is made of a frame of the {len(split['train']):,} training videos"
    elif some.max() == some.min():
        yield "no synthetic frame: all phases of the training frames are equally frequent"
    else:
        yield "no synthetic frame: the generator wrote none that can be used"
    yield f"most against least frequent phase: {imbalance(before)} before, {imbalance(after)} after"
    absent = [str(phase) for phase in Phase if not before.get(phase, 0)]
    if absent:
        yield f"without any training frame, and therefore without a synthetic one: {', '.join(absent)}"


def write_page(path: Path, split: Split, exclude: pd.DataFrame, real: Frames, synthetic: Frames) -> None:
    """The page that tells what was done."""
    before = real.table["phase"].value_counts(sort=False)
    after = before.add(synthetic.table["phase"].value_counts(sort=False), fill_value=0)
    sheet = b64encode(compare_sheet(real, synthetic)._repr_png_()).decode()
    told = "".join(f"<li>{escape(fact)}</li>" for fact in facts(split, exclude, before, after))
    head = "<tr><th></th><th>real</th><th>synthetic</th><th>together</th><th>real, then synthetic</th></tr>"
    body = f"<h1>Experiment 1: real and synthetic frames together</h1><ul>{told}</ul>"
    body += f"<h2>Training frames by phase, before and after</h2><table>{head}{''.join(balance_rows(before, after))}</table>"
    body += f"<h2>What they look like</h2><img alt='Real and synthetic frames side by side' src='data:image/png;base64,{sheet}'>"
    path.write_text(page("Experiment 1", body, style=STYLE), encoding="utf-8", newline="\n")


def work(args: argparse.Namespace) -> None:
    if args.folder is not None:
        refuse_inside(args.out, args.folder)
    with new_folder(args.out) as out:
        dataset = open_data(args.folder, out)
        experiment(dataset, out, ",".join(args.weights), args.seed, args.frames, args.pixels or args.folder is None)
    tell(f"done: open {expanded(args.out) / 'index.html'}")


def main(argv: list[str] | None = None) -> int:
    given = parser()
    args = given.parse_args(argv)
    if args.seed < 0 or args.frames < 1:
        given.error("--seed must be 0 or more, and --frames 1 or more")
    try:
        if not parse_weights(",".join(args.weights)).get("train"):
            given.error("--weights: the frames are those of the part train, which has no weight")
    except ValueError as fault:
        given.error(str(fault))
    return run_command(lambda: work(args), wrong=2)


if __name__ == "__main__":
    raise SystemExit(main())
