"""Test the whole validation: every check finds only its own defect, nothing raises, any executor works."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import Shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from nsw_da_medical_image.common.text import DataError, runs_text
from nsw_da_medical_image.dataset_util.contents import FrameSeries, find_repeats, list_frames, same_embryos
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.dataset_util.sample_defects import Planted
from nsw_da_medical_image.dataset_util.source import FolderSource
from nsw_da_medical_image.dataset_util.split import make_split
from nsw_da_medical_image.dataset_util.textfiles import TimeRow, parse_phases
from nsw_da_medical_image.dataset_util.util import (
    ANNOTATIONS,
    ARCHIVES,
    GRADES,
    TIMES,
    FocalPlane,
    VideoId,
    code_of,
    released_videos,
)
from nsw_da_medical_image.validation.checks import (
    CHECKS,
    DatasetFacts,
    PlaneFacts,
    TextFacts,
    VideoFacts,
    known_issues,
    read_video,
)
from nsw_da_medical_image.validation.report import Report
from nsw_da_medical_image.validation.validate import main, validate

FRAMES = 24

Row = tuple[str, str, str, str]  # severity, video, plane, runs


class Case(NamedTuple):
    """A defect of sample data and what its check must report: the planted plane and runs, or the whole video."""

    quirk: str
    severity: str
    whole: bool = False  # the finding is about all runs, whichever were touched
    video: bool = True  # False: the finding names no video
    also: tuple[str, ...] = ()  # other checks that have something grave to say of the same defect
    both: bool = False  # the first video, which is repeated, has the finding too


#: The checks whose defect `make_archives` plants.
PLANTED = {
    "sibling-clock": Case(
        "sibling-clock", "warning", both=True
    ),  # the first of the PLANTED: the sibling of the first video
    "plane-mismatch": Case("missing-frame", "warning"),
    "run-gap": Case("run-gap", "warning"),
    "first-run": Case("late-start", "info"),
    "frame-name": Case("frame-name", "warning"),
    "mixed-prefix": Case("mixed-prefix", "warning"),
    "wrong-well": Case("wrong-well", "error", whole=True),
    "shared-well": Case("shared-well", "error", whole=True, also=("wrong-well",), both=True),
    "duplicate-f0": Case("different-f0", "warning"),
    "repeated-video": Case("repeated-video", "error", whole=True, both=True),
    "repeated-plane": Case("repeated-plane", "error", whole=True),
    "stray-file": Case("stray-file", "info"),
    "empty-file": Case("empty-file", "error"),
    "doubled-frames": Case("doubled-frames", "info", whole=True),  # in a video without a sibling
    "truncated-jpeg": Case("truncated-jpeg", "error", whole=True),
    "missing-annotation": Case("missing-annotation", "warning"),
    "unknown-phase": Case("unknown-phase", "warning", also=("unreadable",)),
    "malformed-row": Case("malformed-row", "warning", also=("unreadable",)),
    "phase-order": Case("phase-order", "error"),
    "phase-overlap": Case("phase-overlap", "warning"),
    "phase-gap": Case("phase-gap", "warning"),
    "annotation-past-images": Case("annotation-past-images", "error", whole=True),
    "images-past-annotation": Case("images-past-annotation", "info"),
    "annotation-past-time": Case("annotation-past-time", "warning"),
    "missing-time": Case("missing-time", "warning"),
    "time-decreasing": Case("time-decreasing", "warning"),
    "uniform-clock": Case("uniform-clock", "error", whole=True),
    "images-without-time": Case("images-without-time", "info"),
    "time-step": Case("time-step", "warning"),
    "missing-grade": Case("missing-grade", "info"),
    "unknown-grade": Case("unknown-grade", "warning"),
    "duplicate-grade": Case("duplicate-grade", "warning"),
}

#: The same for those that look at pixels, which need larger pictures.
PIXELS = {
    "flat-rows": Case("flat-rows", "error"),
    "well-jump": Case("well-jump", "info"),
    "undecodable-jpeg": Case("undecodable-jpeg", "error", also=("truncated-jpeg",)),
    "frame-size": Case("frame-size", "warning"),
    "frame-mode": Case("frame-mode", "warning"),
    "duplicate-frame": Case("duplicate-frame", "warning"),
    "frozen-frames": Case("frozen-frames", "warning"),
    "blank-video": Case("blank-video", "error"),
    "dark-frames": Case("dark-frames", "warning"),
    "defocused-frames": Case("defocused-frames", "warning"),
    "empty-well": Case("empty-well", "error"),
}


class Tree(NamedTuple):
    """Sample data with each quirk in its own video, and what is found in it."""

    root: Path
    planted: dict[str, Planted]
    report: Report


@pytest.fixture(scope="module", autouse=True)
def cache() -> Iterator[Path]:
    """Use the test's own cache folder, which all users may enter."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        os.chmod(name, 0o755)
        patch.setenv("NSW_CACHE_DIR", name)
        yield Path(name)


def plant(folder: Path, cases: dict[str, Case], size: int, pixels: bool) -> Tree:
    """Make a sample with one video per case, after a valid one."""
    quirks = {case.quirk: place for place, case in enumerate(cases.values(), 1)}
    sample = make_archives(folder / "archives", len(quirks) + 1, FRAMES, size=size, quirks=quirks)
    extract_dataset(folder / "archives", folder / "extracted")
    for plane in "_F-45", "_F-30", "_F-15", "_F45":  # nothing is planted in these alone
        shutil.rmtree(folder / "extracted" / f"embryo_dataset{plane}")
    root = folder / "extracted"
    return Tree(root, {each.quirk: each for each in sample.planted}, validate(root, pixels=pixels))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return plant(tmp_path_factory.mktemp("planted"), PLANTED, 32, False)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return plant(tmp_path_factory.mktemp("pictured"), PIXELS, 250, True)


@pytest.fixture(scope="module")
def clean(shared: Callable[..., Shared]) -> Path:
    """Return sample data without defects: SAM1-2, SAM1-7 and SAM2-4; SAM1-2 and SAM1-7 are siblings."""
    return shared().extracted


@pytest.fixture
def tree(clean: Path, tmp_path: Path) -> Path:
    """Return a copy to damage."""
    return Path(shutil.copytree(clean, tmp_path / "tree"))


def rows(report: Report, check: str, video: str | None = None) -> list[Row]:
    """Return what a check found: severity, video, plane, runs."""
    found = report.findings[report.findings["check"] == check]
    if video is not None:
        found = found[found["video"] == video]
    return list(found[["severity", "video", "plane", "runs"]].itertuples(index=False, name=None))


def grave(report: Report) -> set[tuple[str, str]]:
    """Return check and video of all findings above info."""
    found = report.findings[report.findings["severity"] != "info"]
    return set(found[["check", "video"]].itertuples(index=False, name=None))


# --- planted defects -----------------------------------------------------------------------------


def wanted(case: Case, planted: Planted) -> Row:
    """Return the finding that a case expects."""
    runs = "" if case.whole else runs_text(planted.runs)
    return case.severity, planted.video, planted.plane or "", runs


def assert_switched_off(check: str, report: Report, without: Report) -> None:
    """Assert that a report `without` the check equals the `whole` report, except for the findings of the check."""
    theirs = report.findings["check"] == check
    assert theirs.any()
    pd.testing.assert_frame_equal(without.findings, report.findings[~theirs].reset_index(drop=True))


@pytest.mark.parametrize("check", PLANTED)
def test_planted_defect_is_found(check: str, planted: Tree) -> None:
    """Exactly the video, the plane and the runs are found; without the check, everything else is found."""
    case = PLANTED[check]
    defect = planted.planted[case.quirk]
    found = rows(planted.report, check, defect.video)
    if check == "repeated-plane":  # the other plane has the same finding
        assert found == [wanted(case, defect._replace(plane=FocalPlane.F0)), wanted(case, defect)]
    else:
        assert found == [wanted(case, defect)]
    assert_switched_off(check, planted.report, validate(planted.root, set(CHECKS) - {check}))


@pytest.mark.parametrize("check", PIXELS)
@pytest.mark.slow
def test_defect_planted_in_pixels_is_found(check: str, pictured: Tree) -> None:
    case = PIXELS[check]
    defect = pictured.planted[case.quirk]
    notes = [("info", defect.video, "", "")] if check == "frame-size" else []  # the release's pictures are larger
    assert rows(pictured.report, check, defect.video) == [wanted(case, defect), *notes]
    assert_switched_off(check, pictured.report, validate(pictured.root, set(CHECKS) - {check}, pixels=True))


def grave_of(cases: dict[str, Case], tree: Tree) -> set[tuple[str, str]]:
    """Return the findings above info that cases expect."""
    first = {(check, tree.report.videos[0]) for check, case in cases.items() if case.both}
    return first | {
        (name, tree.planted[case.quirk].video)
        for check, case in cases.items()
        for name in (check, *case.also)
        if case.severity != "info" or name != check
    }


def test_nothing_grave_beyond_what_was_planted(planted: Tree) -> None:
    unread = {("unreadable-entry", "")}  # the grades, which are not understood
    assert grave(planted.report) == grave_of(PLANTED, planted) | unread


@pytest.mark.slow
def test_nothing_grave_in_pixels_beyond_what_was_planted(pictured: Tree) -> None:
    assert grave(pictured.report) == grave_of(PIXELS, pictured)


def test_remedy_is_a_sentence_about_this_severity(planted: Tree) -> None:
    texts = planted.report.findings[["check", "severity", "remedy"]].drop_duplicates()
    assert all(text[0].isupper() and text.endswith(".") and "info:" not in text for text in texts["remedy"])
    past = texts.query("check == 'annotation-past-images'").set_index("severity")["remedy"]
    assert past["info"] == "Ignore this."
    assert past["error"] == "Exclude the video, because its labels do not fit its images."


def test_clean_sample_has_nothing_above_info(clean: Path) -> None:
    report = validate(clean)
    assert not grave(report)
    assert set(report.findings["check"]) == {"annotation-past-images", "siblings", "unknown-video"}


def test_real_frames_have_nothing_above_info_but_for_the_known(real_data: Path) -> None:
    """CF946-6 is ten single frames; RUN331 shows an empty well, and RUN300 is out of focus."""
    report = validate(real_data, pixels=True)
    found = grave(report)
    assert {check for check, video in found if video == "CF946-6"} == {"empty-well", "defocused-frames"}
    assert rows(report, "sampled-video") == [("info", "CF946-6", "", "")]
    assert rows(report, "well-jump") == [("info", "AB028-6", "", "281")]
    assert {video for _, video in found} == {"CF946-6"}
    assert [row[3] for row in rows(report, "empty-well") + rows(report, "defocused-frames")] == ["331", "300"]
    [told] = report.findings.query("check == 'defocused-frames'")[
        "message"
    ]  # not its sharpness, which is that of the others
    assert told == "1 frame out of focus: the rim of the well is not visible, 0.15 (a well has 0.25 or more)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "change", "found"),
    [
        ("frozen-frames", None, "141-149"),
        ("defocused-frames", lambda image: image.filter(ImageFilter.GaussianBlur(4)), "140-149"),
        ("defocused-frames", lambda image: image.filter(ImageFilter.GaussianBlur(2)), ""),
        ("dark-frames", lambda image: image.point(lambda grey: round(grey * 0.22)), "140-149"),
        ("dark-frames", lambda image: image.point(lambda grey: round(grey * 0.27)), ""),
    ],
)
def test_limits_on_real_frames_are_as_stated(
    real_data: Path, tmp_path: Path, check: str, change: Callable[[Image.Image], Image.Image] | None, found: str
) -> None:
    """Ten frames in the middle are altered, or replaced by the first of them, saved again."""
    folder = tmp_path / "copy" / "embryo_dataset"
    shutil.copytree(real_data / "embryo_dataset" / "AB028-6", folder / "AB028-6")
    paths = [next(folder.glob(f"AB028-6/*_RUN{run}.jpeg")) for run in range(140, 150)]
    first = Image.open(paths[0]).convert("L")
    for number, path in enumerate(paths):
        image = first if change is None else change(Image.open(path).convert("L"))
        image.save(path, quality=90 - 2 * (number % 2))
    report = validate(folder.parent, [check, "duplicate-frame"], pixels=True)
    assert [row[3] for row in rows(report, check)] == [found] * bool(found)


# --- defects planted by hand ---------------------------------------------------------------------

VIDEO = "SAM2-4"


def frames(tree: Path, plane: str = "", video: str = VIDEO) -> Path:
    return tree / f"embryo_dataset{plane}" / video


def frame(tree: Path, run: int, plane: str = "", video: str = VIDEO) -> Path:
    return next(frames(tree, plane, video).glob(f"*_RUN{run}.jpeg"))


def rename_video(tree: Path, old: str, new: str) -> None:
    """Rename the video everywhere; if the embryo keeps its number, so does the well."""
    for path in tree.glob(f"*/{old}*"):
        path.rename(path.with_name(path.name.replace(old, new)))
    grades = tree / GRADES
    grades.write_text(grades.read_text().replace(old, new))


def without_folder(tree: Path) -> list[Row]:
    shutil.rmtree(tree / "embryo_dataset_F15")
    return [("info", "", "F15", "")]


def file_for_folder(tree: Path) -> list[Row]:
    shutil.rmtree(tree / TIMES)
    (tree / TIMES).touch()
    return [("error", "", "", "")]


def notes_beside(tree: Path) -> list[Row]:
    (tree / "notes.txt").touch()
    return [("info", "", "", "")]


def misspelt_video(tree: Path) -> list[Row]:
    rename_video(tree, "SAM2-4", "FV709-4")
    rename_video(tree, "SAM1-7", "AA83-7")
    rename_video(tree, "SAM1-2", "FC048-2")
    return [("warning", name, "", "") for name in ("FC048-2", "FV709-4") if name not in released_videos()]


def nearly_all_videos(tree: Path) -> list[Row]:
    for plane in tree.glob("embryo_dataset_F*"):
        shutil.rmtree(plane)
    for name in released_videos()[2:]:
        (tree / "embryo_dataset" / name).mkdir()
        os.link(frame(tree, 1), tree / "embryo_dataset" / name / frame(tree, 1).name)
    return [("warning", name, "", "") for name in released_videos()[:2]]


def twice_a_run(tree: Path) -> list[Row]:
    path = frame(tree, 5)
    shutil.copy(path, path.with_name(path.name.replace("RUN5", "RUN05")))
    return [("error", VIDEO, "F0", "")]


def broken_link(tree: Path) -> list[Row]:
    path = frame(tree, 5, "_F30")
    path.unlink()
    path.symlink_to(path)
    return [("error", VIDEO, "F30", "5")]


def moved_out(path: Path) -> None:
    """Move a file or folder out of the data set, and leave a link to it."""
    away = path.parents[path.parts[::-1].index("tree")] / f"{path.parent.name} {path.name}"
    path.rename(away)
    path.symlink_to(away)


def linked_entries(tree: Path) -> list[Row]:
    moved_out(tree / "embryo_dataset_F15")
    moved_out(tree / ANNOTATIONS)
    moved_out(tree / GRADES)
    return [("warning", "", "", ""), ("info", "", "F15", ""), ("info", "", "", "")]


def linked_files(tree: Path) -> list[Row]:
    for run in 3, 4, 9:
        moved_out(frame(tree, run, "_F30"))
    return [("warning", VIDEO, "F30", "3-4, 9")]


def linked_everywhere(tree: Path) -> list[Row]:
    """Replace every file of a video by a link, as DVC does."""
    for path in [*tree.glob(f"*/{VIDEO}/*"), *tree.glob(f"*/{VIDEO}_*.csv")]:
        moved_out(path)
    return [("warning", VIDEO, "", ""), ("warning", VIDEO, "", "")]


def linked_video(tree: Path) -> list[Row]:
    moved_out(frames(tree, "_F-30"))
    return [("warning", VIDEO, "F-30", "")]


def linked_within(tree: Path) -> list[Row]:
    """Make links that stay inside, which are not reported: DataLad keeps the files of a data set in a hidden folder of it."""
    (tree / ".annex").mkdir()
    for path in tree.glob(f"embryo_dataset/{VIDEO}/*"):
        path.rename(tree / ".annex" / path.name)
        path.symlink_to(f"../../.annex/{path.name}")
    moved_out(frame(tree, 1, "_F45"))
    return [("warning", VIDEO, "F45", "1")]


def without_plane(tree: Path) -> list[Row]:
    shutil.rmtree(frames(tree, "_F-45"))
    for path in frames(tree, "_F45").iterdir():
        path.unlink()
    return [("warning", VIDEO, "F-45", ""), ("warning", VIDEO, "F45", "")]


def three_siblings(tree: Path) -> list[Row]:
    return [("info", "", "", "")]


def some_frames(tree: Path) -> list[Row]:
    for path in tree.glob(f"embryo_dataset*/{VIDEO}/*.jpeg"):
        if int(path.stem.rpartition("RUN")[2]) not in (3, 9, 10, 20):
            path.unlink()
    return [("info", VIDEO, "", "")]


def first_frames(tree: Path) -> list[Row]:
    """Keep RUN1 to RUN10 of 24; the labels are still those of the whole video."""
    for path in tree.glob(f"embryo_dataset*/{VIDEO}/*.jpeg"):
        if int(path.stem.rpartition("RUN")[2]) > 10:
            path.unlink()
    return [("info", VIDEO, "", "")]


def published(tree: Path) -> list[Row]:
    rename_video(tree, "SAM2-4", "LP284-3")  # tier B, embryo removed at 71.2 hpi
    times = [float(row.split(",")[1]) for row in (tree / TIMES / "LP284-3_timeElapsed.csv").read_text().split()[1:]]
    after = [run for run, hours in enumerate(times) if hours > 71.2]
    assert 0 < len(after) < FRAMES
    return [("warning", "LP284-3", "", runs_text(after))]


#: The checks whose defect is planted by hand: what plants it, and returns all that the check must say.
def folders_of_systems(tree: Path) -> list[Row]:
    for name in "@eaDir", "AA83-7":
        (tree / "embryo_dataset" / name).mkdir()
    (tree / "embryo_dataset" / "@eaDir" / VIDEO).mkdir()
    return [("warning", "AA83-7", "", ""), ("info", "@eaDir", "", "")]


def other_names(tree: Path) -> list[Row]:
    for path in list(tree.glob("embryo_dataset*/*/*.jpeg")):
        path.rename(path.with_name(f"{path.parent.name}_Image_{path.stem.rpartition('RUN')[2]}.jpeg"))
    return [("error", "", "", "")]


def counted_from_zero(tree: Path) -> list[Row]:
    path = tree / ANNOTATIONS / f"{VIDEO}_phases.csv"
    path.write_text("tPB2,0,2\ntPNa,3,40\n")
    return [("warning", VIDEO, "", "")]


BY_HAND: dict[str, list[Callable[[Path], list[Row]]]] = {
    "no-video": [folders_of_systems],
    "no-frame": [other_names],
    "from-zero": [counted_from_zero],
    "missing-folder": [without_folder],
    "unreadable-entry": [file_for_folder],
    "unexpected-entry": [notes_beside],
    "unknown-video": [misspelt_video],
    "missing-video": [nearly_all_videos],
    "unreadable": [twice_a_run, broken_link],
    "sampled-video": [some_frames, first_frames],
    "linked-entry": [linked_entries],
    "linked-file": [linked_files, linked_everywhere, linked_video, linked_within],
    "missing-plane": [without_plane],
    "siblings": [three_siblings],
    "known-issue": [published],
}


@pytest.mark.parametrize(("check", "plant"), [(name, plant) for name, plants in BY_HAND.items() for plant in plants])
def test_defect_planted_by_hand_is_found(check: str, plant: Callable[[Path], list[Row]], tree: Path) -> None:
    want = plant(tree)
    assert want
    report = validate(tree)
    assert rows(report, check) == want
    if check == "sampled-video":
        assert {name for name, video in grave(report) if video == VIDEO} == set()
    assert_switched_off(check, report, validate(tree, set(CHECKS) - {check}))


def test_every_check_has_a_planted_defect() -> None:
    moved = {"labels-elsewhere", "first-division-elsewhere"}  # planted in test_clock.py
    planes = {"plane-scene", "plane-order", "sharpest-plane"}  # planted in test_pixels.py
    assert set(PLANTED) | set(BY_HAND) | set(PIXELS) | moved | planes == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_names_its_rule_its_source_and_a_remedy(check: str) -> None:
    assert CHECKS[check].scope == "pixels" or " Source: " in CHECKS[check].rule
    assert CHECKS[check].rule
    assert CHECKS[check].remedy[0].isupper()
    assert CHECKS[check].remedy.endswith(".")
    assert check == CHECKS[check].name


# --- where a rule begins to hold -----------------------------------------------------------------


def video_of(images: int, hours: Iterable[float] = (), labelled: int = 0) -> VideoFacts:
    """Return the facts of a video with RUN1 to RUN`images`, hours for its first runs, and labels up to a run."""
    names = [f"D2013.08.06_S0675_I141_WELL1_RUN{run}.jpeg" for run in range(1, images + 1)]
    times = tuple(TimeRow(run, hour) for run, hour in enumerate(hours, 1))
    phases = parse_phases(f"tPNa,1,{labelled}\n".encode()).rows if labelled else []
    return VideoFacts(
        "A1-1",
        {"F0": PlaneFacts(list_frames(names), {}, (), (), {})},
        annotation=TextFacts("", True, True, tuple(phases)),
        times=TextFacts("", True, True, times),
    )


def by_steps(*steps: float) -> VideoFacts:
    """Return a video whose times have these steps."""
    return video_of(len(steps) + 1, accumulate(steps, initial=20.0))


@pytest.mark.parametrize(
    ("check", "facts", "severities"),
    [
        ("uniform-clock", by_steps(*[0.2] * 95, *[0.3] * 5), []),  # 95 % of the steps
        ("uniform-clock", by_steps(*[0.2] * 96, *[0.3] * 4), ["error"]),
        ("uniform-clock", by_steps(*[0.2] * 9), []),  # too few to judge
        ("uniform-clock", by_steps(*[0.2] * 10), ["error"]),
        ("annotation-past-images", video_of(20, labelled=20), []),
        ("annotation-past-images", video_of(20, labelled=21), ["info"]),
        ("annotation-past-images", video_of(20, labelled=23), ["info"]),
        ("annotation-past-images", video_of(20, labelled=24), ["error"]),
        ("doubled-frames", video_of(150, range(100)), []),
        ("doubled-frames", video_of(151, [20 + 1.5 * row for row in range(100)]), ["info"]),  # ends at 245 hpi
        ("doubled-frames", video_of(151, [20 + 2.2 * row for row in range(100)]), ["warning"]),  # would end at 350 hpi
        ("doubled-frames", video_of(1140, [round(0.6 + 0.2515 * row, 1) for row in range(578)]), ["info"]),  # GE218-3
        ("doubled-frames", video_of(756, [round(0.6 + 0.2515 * row, 1) for row in range(500)]), ["info"]),  # BS777-8
        ("doubled-frames", video_of(151, [20 + 0.25 * row for row in range(100)]), ["info"]),  # at 57.5 hpi
        ("time-step", by_steps(*[1.0] * 9, 4.0), []),  # over by 3 h, yet not over 4 times
        ("time-step", by_steps(*[1.0] * 9, 4.25), ["warning"]),
        ("time-step", by_steps(*[0.25] * 9, 2.25), []),  # 9 times, yet not over by more than 2 h
        ("time-step", by_steps(*[0.25] * 9, 2.5), ["warning"]),
        ("time-step", by_steps(0.0, 0.0), []),  # a clock that stands still for four rows does stand still
        ("time-step", by_steps(0.0, 0.0, 0.0), ["warning"]),
    ],
)
def test_rule_holds_from_its_bound_on(check: str, facts: VideoFacts, severities: list[str]) -> None:
    assert [found.severity for found in CHECKS[check].find(facts)] == severities


def test_copy_with_half_of_the_release_is_a_subset() -> None:
    """With one video more, it is treated as a complete copy, and each missing video is reported."""
    released = released_videos()
    none = DatasetFacts(frozenset(), (), {}, {ANNOTATIONS: frozenset()}, {}, (), TextFacts("", False), ())
    half = [*CHECKS["missing-video"].find(none._replace(videos=released[:352]))]
    more = [*CHECKS["missing-video"].find(none._replace(videos=released[:353]))]
    assert [(found.severity, found.video) for found in half] == [("info", "")]
    assert [(found.severity, found.video) for found in more] == [("warning", name) for name in released[353:]]


def test_copies_of_frames_are_told_as_such(tree: Path) -> None:
    inner = frames(tree) / "F0"
    inner.mkdir()
    for path in frames(tree).glob("*.jpeg"):
        shutil.copy(path, inner)
    assert rows(validate(tree), "duplicate-f0") == [("info", VIDEO, "F0", "")]


def test_published_findings_say_whether_this_copy_confirms_them(tree: Path) -> None:
    """The published names are used for sample data without defects."""
    rename_video(tree, "SAM2-4", "LM184-4")
    for pixels, plane, verdict in (
        (False, "F0", "not checked"),
        (True, "F45", "not checked"),
        (True, "F0", "not seen in this copy"),
    ):
        [told] = validate(tree, pixels=pixels, planes=[plane]).findings.query("check == 'known-issue'")["message"]
        assert f"embryo removed ({verdict})" in told
        assert "after 120.0 hpi" in told


@pytest.mark.parametrize(
    ("checks", "read", "listed", "ends"),
    [
        (["missing-grade", "siblings"], set(), False, False),
        (["phase-order", "time-step"], {ANNOTATIONS, TIMES}, False, False),
        (["run-gap"], {ANNOTATIONS, TIMES}, True, False),
        (["truncated-jpeg"], {ANNOTATIONS, TIMES}, True, True),
        (["shared-well"], {ANNOTATIONS, TIMES}, True, False),
        (["repeated-plane"], {ANNOTATIONS, TIMES}, True, True),
    ],
)
def test_only_what_the_checks_need_is_read(
    clean: Path, monkeypatch: pytest.MonkeyPatch, checks: list[str], read: set[str], listed: bool, ends: bool
) -> None:
    dataset, calls = EmbryoDataset(clean), dict[str, set[str]]()
    assert list(dataset.videos)  # what lists the videos is not counted
    for name in "read", "tails", "files", "look":
        real = getattr(FolderSource, name)

        def call(source: FolderSource, path: str, *more: object, name: str = name, real: Callable = real) -> object:
            calls.setdefault(name, set()).add(path)
            return real(source, path, *more)

        monkeypatch.setattr(FolderSource, name, call)
    report = validate(dataset, checks)
    assert report.not_run.empty
    assert {path.partition("/")[0] for path in calls["read"]} == read | {GRADES}
    assert any(path.count("/") for name in ("files", "look", "tails") for path in calls.get(name, ())) == listed
    assert ("tails" in calls) == ends
    everything = validate(dataset)
    same = everything.findings[everything.findings["check"].isin(checks)].reset_index(drop=True)
    pd.testing.assert_frame_equal(report.findings, same)


@pytest.mark.slow
def test_a_validation_needs_no_matplotlib() -> None:
    """A training node may have none; figures import it when they are drawn."""
    code = "import sys, nsw_da_medical_image.validation.validate; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ordinary_copy_confirms_nothing(tree: Path) -> None:
    """The annotation ends one run past the images, as in most videos, and one frame is truncated."""
    rename_video(tree, "SAM2-4", "AL884-2")
    cut = next(name for name, known in known_issues().items() if known.defects == ("truncated_jpeg",))
    rename_video(tree, "SAM1-7", cut)
    path = frame(tree, 5, video=cut)
    path.write_bytes(path.read_bytes()[:-2])
    found = validate(tree)
    assert rows(found, "annotation-past-images", "AL884-2") == [("info", "AL884-2", "", "25")]
    assert rows(found, "truncated-jpeg", cut) == [("error", cut, "F0", "5")]
    told = found.findings.query("check == 'known-issue'").set_index("video")["message"]
    assert told["AL884-2"] == "published by the CLEAVE audit (tier A): timeline mismatch (not seen in this copy)"
    assert told[cut] == "published by the CLEAVE audit: truncated jpeg (not seen in this copy)"
    (tree / TIMES / "AL884-2_timeElapsed.csv").unlink()
    [told] = validate(tree).findings.query("check == 'known-issue' and video == 'AL884-2'")["message"]
    assert told == "published by the CLEAVE audit (tier A): timeline mismatch (not checked)"


@pytest.mark.slow
def test_empty_well_throughout_confirms_that_a_video_is_blank(tree: Path) -> None:
    """Published for EJ393-3: a bright well without an embryo from the first frame to the last."""
    rename_video(tree, VIDEO, "EJ393-3")
    y, x = np.mgrid[:250, :250]
    rng = np.random.default_rng(0)
    well = np.where(np.hypot(x - 125, y - 125) < 105, 130.0, 60.0)
    for path in tree.glob("embryo_dataset/EJ393-3/*.jpeg"):
        pixels = np.clip(well + rng.normal(0, 1, well.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
    report = validate(tree, pixels=True, planes="F0")
    [told] = report.findings.query("check == 'known-issue'")["message"]
    assert "blank throughout (confirmed by empty-well)" in told


def test_published_finding_is_confirmed_by_this_copy(planted: Tree, tmp_path: Path) -> None:
    """A video with another clock gets the name of one that was published with this defect."""
    root = Path(shutil.copytree(planted.root, tmp_path / "tree"))
    video = planted.planted["uniform-clock"].video
    name = next(name for name, known in known_issues().items() if known.defects == ("timeline_mismatch",))
    rename_video(root, video, name)
    [told] = validate(root).findings.query(f"check == 'known-issue' and video == '{name}'").itertuples()
    assert told.severity == "error"
    assert "timeline mismatch (confirmed by uniform-clock)" in told.message


def test_exclusions_leave_only_what_the_reader_takes(planted: Tree) -> None:
    """EmbryoDataset refuses some files, so the table of all frames cannot be made; with the report as `exclude`, it can."""
    ds = EmbryoDataset(planted.root)
    with pytest.raises(DataError):
        ds.table()
    out = set(planted.report.exclude().query("plane == '' and runs == ''")["video"])
    for quirk in "unknown-phase", "malformed-row", "uniform-clock", "annotation-past-images", "wrong-well":
        assert planted.planted[quirk].video in out
    for severity in "error", "warning", "info":
        table = ds.table(exclude=planted.report.exclude(severity))
        assert len(table)
        assert not set(table["video"]) & out


@pytest.mark.parametrize("plane", [FocalPlane.F0, FocalPlane.F15])
def test_exclusions_make_a_copy_readable_whose_plane_is_a_file(plane: FocalPlane, tree: Path) -> None:
    """Every video lacks the plane, whichever videos and planes are chosen; without the list, the problem is reported."""
    shutil.rmtree(tree / plane.folder)
    (tree / plane.folder).touch()
    ds, report = EmbryoDataset(tree), validate(tree)
    with pytest.raises(DataError, match="cannot be listed"):
        ds.table()
    assert report.exclude().values.tolist() == [[video, plane, ""] for video in report.videos] != []
    table = ds.table(exclude=report)
    assert table.groupby("video", observed=True)["plane"].nunique().tolist() == [6] * len(report.videos)
    assert set(ds.table(VIDEO, [plane, "F30"], exclude=report)["plane"]) == {"F30"}
    assert not len(ds.table(planes=plane, exclude=report))
    assert ds.frames(exclude=report, as_="numpy")[-1][0].shape == ds[VIDEO].frame(1, "F30").shape
    with pytest.raises(DataError, match="cannot be listed"):  # one video is not named
        ds.table(exclude=report.exclude().iloc[1:])


def test_exclusions_may_name_released_videos_that_are_missing(tree: Path) -> None:
    """The sample's videos are not in the release, so all are excluded; but nothing is refused."""
    nearly_all_videos(tree)
    out = validate(tree).exclude("warning")
    assert released_videos()[0] in set(out["video"])
    assert not len(EmbryoDataset(tree).table(exclude=out))


# --- what could not be checked -------------------------------------------------------------------


def not_run(report: Report) -> dict[str, set[str]]:
    """Return the checks that did not run, or not in all videos, by the reason."""
    return {why: set(found["check"]) for why, found in report.not_run.groupby("why")}


CLOCK = {
    "missing-time",
    "time-decreasing",
    "uniform-clock",
    "time-step",
    "images-without-time",
    "annotation-past-time",
    "sibling-clock",
}
OF_GRADES = {"missing-grade", "unknown-grade", "duplicate-grade"}


def test_full_copy_of_the_sample_lacks_only_released_names(clean: Path) -> None:
    assert not_run(validate(clean)) == {
        "no name of the release in this copy": {"missing-video", "known-issue"},
        f"no sibling with times to compare in 1 of 3 videos ({VIDEO})": {"sibling-clock"},
    }


def test_checks_that_could_not_look_do_not_count_as_clean(tree: Path) -> None:
    """A copy with plane F0 and annotations only, without the annotation of one video, and with four frames of another."""
    for path in tree.iterdir():
        if path.name not in ("embryo_dataset", ANNOTATIONS):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    some_frames(tree)
    (tree / ANNOTATIONS / "SAM1-2_phases.csv").unlink()
    report = validate(tree)
    found = not_run(report)
    assert found["no time files in this copy"] == CLOCK | {"doubled-frames"}
    assert found["no grades in this copy"] == OF_GRADES
    assert found["no second plane in this copy"] == {"plane-mismatch", "repeated-plane"}
    assert found[f"only a sample of the runs in 1 of 3 videos ({VIDEO})"] == {
        *("run-gap", "first-run", "annotation-past-images"),
    }
    assert "phase-order" in found["no labels in 1 of 3 videos (SAM1-2)"]
    assert grave(report) == {("missing-annotation", "SAM1-2")}
    [told] = report.findings.query("check == 'sampled-video'")["message"]
    assert told == "a sample of 4 of 24 runs (counted by the labels)"
    silent = report.to_html(pictures=0).partition("Checks that found nothing")[2]
    assert "<code>frame-name</code>, <code>" in silent  # one paragraph, compact also without styles
    assert not [check for check in report.not_run["check"] if f"<code>{check}</code>" in silent]
    assert "no grades in this copy</th><td>missing-grade" in report._repr_html_()
    assert "no grades in this copy" in report.view().panel.html
    assert json.loads(report.to_json())["not_run"] == report.not_run.to_dict("records")
    assert "not run  no grades in this copy: missing-grade, unknown-grade, duplicate-grade" in report.summary()


def test_checks_of_pixels_do_not_run_without_a_measured_frame(tree: Path) -> None:
    shutil.rmtree(frames(tree, "_F15"))
    report = validate(tree, ["dark-frames", "run-gap"], pixels=True, planes="F15")
    assert report.not_run.values.tolist() == [["dark-frames", f"no measured frame in 1 of 3 videos ({VIDEO})"]]


# --- one embryo under two names -------------------------------------------------------------------

TOGETHER = ("shared-well", "repeated-video", "repeated-plane")


def copy_video(tree: Path, video: str, name: str, start: str = "", shift: int = 0, every: int = 1) -> None:
    """Copy a video's frames under another name: all or some of them, with their names or others, and with other RUNs."""
    for folder in tree.glob(f"embryo_dataset*/{video}"):
        (folder.parent / name).mkdir()
        for path in folder.glob("*.jpeg"):
            prefix, _, run = path.stem.rpartition("_RUN")
            if int(run) % every == 0:
                shutil.copy(path, folder.parent / name / f"{start or prefix}_RUN{int(run) + shift}.jpeg")


def told(report: Report) -> list[tuple[str, str, str, str, str]]:
    """Return what the three checks found: check, video, plane, runs, message; all are errors."""
    found = report.findings[report.findings["check"].isin(TOGETHER)]
    assert set(found["severity"]) <= {"error"}
    return list(found[["check", "video", "plane", "runs", "message"]].itertuples(index=False, name=None))


OTHER = "D2015.05.05_S0999_I132_WELL3"


@pytest.mark.parametrize(
    ("how", "runs", "theirs", "here"),
    [
        ({}, "", "", ""),
        ({"start": OTHER}, "", "", ""),
        ({"start": OTHER, "shift": 20}, "", "", " (RUN21-44)"),
        ({"start": OTHER, "every": 8}, "8, 16, 24", "", ""),
        ({"start": OTHER, "every": 12, "shift": -11}, "12, 24", "", " (RUN1, 13)"),
    ],
)
def test_copied_video_is_found_however_it_was_copied(tree: Path, how: dict, runs: str, theirs: str, here: str) -> None:
    copy_video(tree, VIDEO, "OTHER1-3", **how)
    kept = len(list((tree / "embryo_dataset" / "OTHER1-3").iterdir()))
    back = f" (RUN{runs or '1-24'})" if here else ""
    report = validate(tree, TOGETHER)
    repeats = [row for row in told(report) if row[0] == "repeated-video"]
    assert repeats == [
        ("repeated-video", "OTHER1-3", "", theirs, f"{kept} frames are bit for bit those of {VIDEO}{back}"),
        ("repeated-video", VIDEO, "", runs, f"{kept} frames are bit for bit those of OTHER1-3{here}"),
    ]
    wells = [row[:4] for row in told(report) if row[0] != "repeated-video"]
    assert wells == [] if "start" in how else [("shared-well", name, "", "") for name in ("OTHER1-3", VIDEO)]
    assert report.exclude()[["video", "runs"]].values.tolist() == [["OTHER1-3", theirs], [VIDEO, runs]]


def test_renamed_video_is_no_copy_and_a_copy_that_was_saved_again_is_found_by_its_well(tree: Path) -> None:
    rename_video(tree, VIDEO, "OTHER1-4")
    assert told(validate(tree)) == []
    copy_video(tree, "OTHER1-4", VIDEO)
    for path in tree.glob(f"embryo_dataset*/{VIDEO}/*.jpeg"):
        Image.open(path).save(path, quality=80)
    start = frame(tree, 1).name.partition("_RUN")[0]
    with_start = f"24 frame names with {start}, as those of"
    assert told(validate(tree)) == [
        ("shared-well", "OTHER1-4", "", "", f"{with_start} {VIDEO}"),
        ("shared-well", VIDEO, "", "", f"{with_start} OTHER1-4"),
    ]


def test_video_cut_in_two_shares_its_well(tree: Path) -> None:
    copy_video(tree, VIDEO, "OTHER1-9")
    for path in tree.glob("embryo_dataset*/*/*.jpeg"):
        run = int(path.stem.rpartition("RUN")[2])
        if (path.parent.name, run > 12) in ((VIDEO, True), ("OTHER1-9", False)):
            path.unlink()
    found = told(validate(tree))
    assert [row[:4] for row in found] == [("shared-well", name, "", "") for name in ("OTHER1-9", VIDEO)]
    assert all(row[4].endswith(f"; only the name {VIDEO} has this number") for row in found)


def test_names_without_slides_are_not_judged(tmp_path: Path) -> None:
    """Someone made the dates and slides of nine videos anonymous."""
    write_release(tmp_path / "copy", SOME, copies=0)
    for path in (tmp_path / "copy").glob("embryo_dataset/*/*.jpeg"):
        path.rename(path.with_name(f"D0000.00.00_S0000_I0_WELL{path.name.partition('WELL')[2]}"))
    report = validate(tmp_path / "copy", ["shared-well"])
    assert told(report) == []
    assert report.not_run.values.tolist() == [["shared-well", "no slide of its own in the frames' names in this copy"]]
    assert same_embryos(EmbryoDataset(tmp_path / "copy")) == []


def test_frames_of_another_video_are_named_by_plane_and_run(tree: Path) -> None:
    """Three frames are copied over those of another video, in one plane; another plane receives one of them."""
    for run in 5, 6, 9:
        shutil.copy(frame(tree, run, video="SAM1-2"), frame(tree, run))
    shutil.copy(frame(tree, 9, video="SAM1-2"), frame(tree, 20, "_F30"))
    is_that = "1 frame is bit for bit that of"
    assert told(validate(tree)) == [
        ("repeated-video", "SAM1-2", "F0", "5-6, 9", f"3 frames are bit for bit those of {VIDEO}"),
        ("repeated-video", VIDEO, "F0", "5-6, 9", "3 frames are bit for bit those of SAM1-2"),
        ("repeated-video", VIDEO, "F30", "20", f"{is_that} SAM1-2 in plane F0 (RUN9)"),
        ("repeated-plane", VIDEO, "F0", "9", f"{is_that} plane F30 (RUN20)"),
        ("repeated-plane", VIDEO, "F30", "20", f"{is_that} plane F0 (RUN9)"),
    ]


def test_archives_are_compared_as_folders_are(shared: Callable[..., Shared]) -> None:
    """Quirks of the sample: a copied video, a shared well, and a repeated plane."""
    sample = shared(videos=4, quirks=("repeated-video@SAM3-6", "shared-well@SAM2-4", "repeated-plane@SAM1-7"))
    packed, extracted = validate(sample.archives, TOGETHER), validate(sample.extracted, TOGETHER)
    assert told(packed) == told(extracted)
    assert [row[:4] for row in told(packed)] == [
        *(("shared-well", name, "", "") for name in ("SAM1-2", "SAM2-4")),
        *(("repeated-video", name, "", "") for name in ("SAM1-2", "SAM3-6")),
        *(("repeated-plane", "SAM1-7", plane, "") for plane in ("F0", "F15")),
    ]
    assert packed.not_run.empty
    assert extracted.not_run.empty


def test_blank_frozen_and_inner_frames_are_no_repeats(tree: Path) -> None:
    blank = io.BytesIO()
    Image.new("L", (500, 500), 3).save(blank, "JPEG", quality=90)
    for video, runs in (("SAM1-2", (3, 4, 5)), ("SAM1-7", (3, 9)), (VIDEO, (20,))):
        for plane in "", "_F15", "_F45":
            for run in runs:
                frame(tree, run, plane, video).write_bytes(blank.getvalue())
    for run in range(11, 15):
        shutil.copy(frame(tree, 10), frame(tree, run))
    inner = frames(tree) / "F0"
    inner.mkdir()
    for path in frames(tree).glob("*.jpeg"):
        shutil.copy(path, inner)
    report = validate(tree)
    assert told(report) == []
    assert not set(report.not_run["check"]) & set(TOGETHER)


def test_what_cannot_be_compared_is_listed(tree: Path) -> None:
    copy_video(tree, VIDEO, "OTHER1-3", OTHER, every=11)
    some_frames(tree)  # the same embryo, but other runs
    data = frame(tree, 1, video="SAM1-2").read_bytes()
    for path in tree.glob("embryo_dataset*/SAM1-2/*.jpeg"):
        path.write_bytes(data)
    shutil.copy(tree / ANNOTATIONS / f"{VIDEO}_phases.csv", tree / ANNOTATIONS / "OTHER1-3_phases.csv")
    found = validate(tree, TOGETHER).not_run.values.tolist()
    assert sorted(found) == [
        ["repeated-plane", "no frame that can identify the video in 1 of 4 videos (SAM1-2)"],
        ["repeated-video", "no frame that can identify the video in 1 of 4 videos (SAM1-2)"],
        ["repeated-video", f"only a sample of the runs in 2 of 4 videos (OTHER1-3, {VIDEO})"],
    ]
    for name in "SAM1-2", "SAM1-7", "OTHER1-3":
        for path in tree.glob(f"embryo_dataset*/{name}"):
            shutil.rmtree(path)
    assert dict(validate(tree, TOGETHER).not_run.values.tolist()) == {
        "shared-well": "no second video in this copy",
        "repeated-video": "no second video in this copy",
    }


def test_one_real_embryo_under_three_names_and_a_copied_plane_are_found(real_data: Path, tmp_path: Path) -> None:
    """The real frames themselves have none of these findings."""
    assert told(validate(real_data)) == []
    tree = tmp_path / "tree"
    for plane, videos in (("", ("AA83-7", "AB028-6", "CF946-6")), ("_F15", ("AB028-6",))):
        for video in videos:
            shutil.copytree(real_data / "embryo_dataset" / video, tree / f"embryo_dataset{plane}" / video)
    copy_video(tree, "AA83-7", "BB12-3", "D2014.02.02_S0801_I132_WELL3")
    copy_video(tree, "AA83-7", "CC9-5", "D2015.03.03_S0902_I141_WELL5", shift=10)
    for run in range(200, 292):
        frame(tree, run, "_F15", "AB028-6").unlink()
    those = "285 frames are bit for bit those of"
    assert told(validate(tree)) == [
        ("repeated-video", "AA83-7", "", "", f"{those} BB12-3, CC9-5 (RUN11-295)"),
        ("repeated-video", "BB12-3", "", "", f"{those} AA83-7, CC9-5 (RUN11-295)"),
        ("repeated-video", "CC9-5", "", "", f"{those} AA83-7 (RUN1-285), BB12-3 (RUN1-285)"),
        ("repeated-plane", "AB028-6", "F0", "1-199", "199 frames are bit for bit those of plane F15"),
        ("repeated-plane", "AB028-6", "F15", "", "199 frames are bit for bit those of plane F0"),
    ]
    with pytest.warns(UserWarning, match="AA83-7 = BB12-3 = CC9-5"):
        split = make_split(EmbryoDataset(tree), {"train": 2, "test": 1})
    assert sorted(map(sorted, split.values())) == [["AA83-7", "BB12-3", "CC9-5"], ["AB028-6", "CF946-6"]]


class NoSource(FolderSource):
    """A source from which no frame is read."""

    def read(self, path: str, limit: int = 0) -> bytes:
        raise AssertionError(path)


def test_frames_of_a_whole_release_look_different(tmp_path: Path) -> None:
    """704 videos with as many frames as in the release, of the sizes of real frames: no frame is read to compare it."""
    rng = np.random.default_rng(0)
    series = []
    for name, released in table_of_release().items():
        listing = list_frames(f"D1_S1_I1_WELL1_RUN{run}.jpeg" for run in range(1, released.images + 1))
        sizes = rng.normal(25_800, 2_000, released.images).astype(np.int64)
        marks = sizes << 32 | rng.integers(0, 1 << 32, released.images)
        series.append(FrameSeries(name, FocalPlane.F0, listing, marks))
    assert find_repeats(NoSource(tmp_path), series) == []


# --- the table of the whole release ---------------------------------------------------------------

OTHER_CLOCK = ("MM445-2-2", "RC545-2-5")  # times of the camera's clock, labels on a grid of 0.2 h
OTHER_LABELS = ("EJ393-3", "EH315-3", "EH315-8")  # times of the camera's clock, labels that end after the images
#: The videos whose times are on an exact grid of 0.2 h.
UNIFORM = {
    *(name for name, known in known_issues().items() if "timeline_mismatch" in known.defects),
    *("FE14-020", "DHDPI042-7", "DHDPI042-8"),
} - {*OTHER_CLOCK}
LACKS = {"AAL839-6": 95, "CAV074-9": 464, "RM126-5": 283, "RM126-8": 283, "RC545-2-8": 78, "PMDPI029-1-8": 1}
TRUNCATED = {name for name, known in known_issues().items() if "truncated_jpeg" in known.defects}


class Released(NamedTuple):
    """A row of the table of the release: images, rows of times and last annotated run, hours per row."""

    images: int
    rows: int
    labelled: int
    step: float


def steps_of_release() -> dict[str, float]:
    """Return the hours between two runs of each released video: one clock per slide, 1/3 h in a fifth of them."""
    dice, slides = random.Random(1), slides_of_release()
    steps = {
        slide: 1 / 3 if n % 5 == 0 else dice.uniform(0.25, 0.2525)
        for n, slide in enumerate(dict.fromkeys(slides.values()))
    }
    known = dict.fromkeys([*OTHER_CLOCK, *OTHER_LABELS, "AA83-7"], 0.25) | {"GE218-3": 0.2515, "BS777-8": 0.2515}
    steps |= {slides[name]: step for name, step in known.items()}
    return {name: steps[slide] for name, slide in slides.items()}


def table_of_release() -> dict[str, Released]:
    """Return a table like that of the release: drawn at random, except for the videos whose numbers are known."""
    dice, table, steps = random.Random(5), dict[str, Released](), steps_of_release()
    for number, name in enumerate(released_videos()):
        images = max(466, dice.randint(310, 820)) if name in LACKS else dice.randint(310, 820)
        rows = images - (dice.randint(1, 120) if number % 2 else 0)
        table[name] = Released(images, rows, rows + 1, steps[name])
    for name in UNIFORM:
        table[name] = Released(400, 500, 500, 0.2)
    for name in OTHER_CLOCK:
        table[name] = Released(400, 400, 500, steps[name])
    for name in OTHER_LABELS:
        table[name] = Released(400, 400, 410, steps[name])
    table["AA83-7"] = Released(136, 136, 137, steps["AA83-7"])  # as many as the shortest video
    table["GE218-3"] = Released(1140, 578, 579, steps["GE218-3"])
    table["BS777-8"] = Released(756, 500, 501, steps["BS777-8"])
    return table


def slides_of_release() -> dict[str, str]:
    """Return the date, slide and instrument of each released video: one slide per code and cycle, as in the release."""
    treatments = [(code_of(name), VideoId.parse(name).cycle) for name in released_videos()]
    numbers = {each: number for number, each in enumerate(dict.fromkeys(treatments))}
    return {
        name: f"D2013.01.{numbers[each] % 28 + 1:02d}_S{numbers[each]:04d}_I132"
        for name, each in zip(released_videos(), treatments, strict=True)
    }


def write_release(root: Path, names: Iterable[str], copies: int) -> None:
    """Write the folders of some videos in plane F0 without pictures; the first `copies` contain a second copy in F0/."""
    table, slides = table_of_release(), slides_of_release()
    begin = dict.fromkeys(slides.values(), 18) | {slides["GE218-3"]: 0}
    for folder in "embryo_dataset", ANNOTATIONS, TIMES:
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        told, folder = table[name], root / "embryo_dataset" / name
        well = {"LV683-2-8": 2, "FE14-020": 1}.get(name) or int(name.replace("T", "").rpartition("-")[2].strip("_"))
        file = root / "file"
        file.write_bytes(b"\xff\xd8" if name in TRUNCATED else b"\xff\xd8\xff\xd9")
        for inner in (folder, folder / "F0")[: 1 + (number < copies)]:
            inner.mkdir()
            for run in range(1, told.images + 1):
                if run != LACKS.get(name):
                    os.link(file, inner / f"{slides[name]}_WELL{well}_RUN{run}.jpeg")
        file.unlink()
        phases = f"tPNa,11,90\nt2,91,150\nt4,151,{told.labelled}\n" if told.labelled > 150 else "tPNa,11,137\n"
        (root / ANNOTATIONS / f"{name}_phases.csv").write_text(phases)
        hours = "".join(f"{row},{begin[slides[name]] + told.step * row:.1f}\n" for row in range(told.rows + 1))
        (root / TIMES / f"{name}_timeElapsed.csv").write_text(f"frame_index,time\n{hours}\n")


def assert_release_is_judged(report: Report, names: Iterable[str]) -> None:
    """Assert which findings a copy of these videos has: exactly the known ones, and no error for labels that fit by RUN."""
    here = frozenset(names)

    def found(check: str, severity: str) -> set[str]:
        return {video for rank, video, *_ in rows(report, check) if rank == severity}

    assert found("uniform-clock", "error") == UNIFORM & here
    assert found("annotation-past-images", "error") == {*UNIFORM, *OTHER_CLOCK, *OTHER_LABELS} & here
    assert found("truncated-jpeg", "error") == TRUNCATED & here
    assert found("wrong-well", "error") == {"LV683-2-8"} & here
    assert found("wrong-well", "info") == {"FE14-020"} & here
    gaps = {("warning", name, "", str(run)) for name, run in LACKS.items() if run > 1 and name in here}
    assert {*rows(report, "run-gap")} == gaps
    assert rows(report, "first-run") == [("info", "PMDPI029-1-8", "", "1")] * ("PMDPI029-1-8" in here)
    assert not {check for check, _ in grave(report)} & {*TOGETHER, "sibling-clock"}
    published = {name for name, known in known_issues().items() if known.tier == "A"}
    assert found("known-issue", "error") == published & here
    errors = {
        check for check, severity in report.findings[["check", "severity"]].values.tolist() if severity == "error"
    }
    assert errors <= {"uniform-clock", "annotation-past-images", "truncated-jpeg", "wrong-well", "known-issue"}
    assert {"GE218-3", "BS777-8"} & here <= found("doubled-frames", "info")
    assert not found("doubled-frames", "error") | found("doubled-frames", "warning") | found("time-step", "warning")


def test_table_of_release_is_that_of_the_data_set() -> None:
    table = table_of_release()
    images = sorted(told.images for told in table.values())
    assert (len(table), images[0], images[-1]) == (704, 136, 1140)
    assert abs(images[352] - 547) < 15
    assert (len(UNIFORM), len({*UNIFORM, *OTHER_CLOCK, *OTHER_LABELS}), len(TRUNCATED)) == (33, 38, 52)


SOME = ("AA83-7", "BS777-8", "FE14-020", "GE218-3", "LV683-2-8", "MM445-2-2", "PMDPI029-1-8", "RM126-5", "RM126-8")


def test_labels_that_fit_by_run_are_no_errors(tmp_path: Path) -> None:
    names = (*SOME, "EJ393-3", "GC340-1", "ALR493-10", "RC545-2-8")
    write_release(tmp_path / "copy", names, copies=2)
    report = validate(tmp_path / "copy")
    assert_release_is_judged(report, names)
    told = report.findings.query("check == 'doubled-frames'").set_index("video")["message"]
    assert "1,140 images for 578 rows of the times (1.97 per row)" in told["GE218-3"]
    assert told["GE218-3"].partition("; ")[2] == "at the step of the rows, 0.251 h, the last image is at 286.7 hpi"
    assert rows(report, "duplicate-f0") == [("info", name, "F0", "") for name in ("AA83-7", "BS777-8")]


def test_the_clock_that_differs_from_two_siblings_is_named(tmp_path: Path) -> None:
    """Times with repeats and another first and last row differ by less than a step; those of a clock that is 2 % too fast do not."""
    names = [name for name in released_videos() if code_of(name) == "RM126"][:4]
    write_release(tmp_path / "copy", names, copies=0)
    assert rows(validate(tmp_path / "copy"), "sibling-clock") == []
    paths = [tmp_path / "copy" / TIMES / f"{name}_timeElapsed.csv" for name in names]
    tables = [[line.split(",") for line in path.read_text().split()[1:]] for path in paths]
    step = steps_of_release()[names[0]]
    tables[1] = [
        [row, tables[1][max(0, n - 1)][1] if n in (5, 6, 200) else hour] for n, (row, hour) in enumerate(tables[1])
    ]
    tables[2] = tables[2][7:300]
    tables[3] = [[row, f"{18 + step * 1.02 * int(row):.1f}"] for row, _ in tables[3]]
    for path, table in zip(paths, tables, strict=True):
        path.write_text("frame_index,time\n" + "".join(f"{row},{hour}\n" for row, hour in table))
    report = validate(tmp_path / "copy")
    [(severity, video, plane, runs)] = rows(report, "sibling-clock")
    last = min(int(tables[3][-1][0]), max(int(tables[0][-1][0]), int(tables[1][-1][0])))
    assert (severity, video, plane) == ("warning", names[3], "")
    assert runs.endswith(f"-{last}")
    assert (
        abs(int(runs.replace(",", "-").partition("-")[0]) - (step + 0.1) / (0.02 * step)) < 22
    )  # rounding is worth 20 runs
    assert report.not_run.query("check == 'sibling-clock'").empty


@pytest.mark.slow
def test_whole_release_has_exactly_the_findings_that_it_should(tmp_path: Path) -> None:
    write_release(tmp_path / "copy", released_videos(), copies=211)
    report = validate(tmp_path / "copy")
    assert_release_is_judged(report, released_videos())
    assert len(rows(report, "duplicate-f0")) == 211


# --- whatever is done to a valid tree ------------------------------------------------------------

CSVS = (f"{ANNOTATIONS}/*.csv", f"{TIMES}/*.csv", GRADES)


class Dice:
    """Choose a mutation, by a seed that hypothesis draws and can shrink."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def of(self, tree: Path, *patterns: str) -> Path:
        """Return one of the paths that match one of the patterns."""
        found = sorted(path for path in tree.glob(self.random.choice(patterns)) if not path.is_symlink())
        return self.random.choice(found) if found else tree / "nothing"

    def file(self, tree: Path) -> Path:
        return self.of(tree, "embryo_dataset*/*/*.jpeg", *CSVS)


def _write(path: Path, data: bytes) -> None:
    """Write new contents, if the file still exists."""
    if path.is_file():
        path.unlink()  # the copy may be made of links
        path.write_bytes(data)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def remove_file(tree: Path, dice: Dice) -> None:
    path = dice.file(tree)
    if path.is_file():
        path.unlink()


def flip_bytes(tree: Path, dice: Dice) -> None:
    path = dice.file(tree)
    data = bytearray(_read(path))
    for _ in range(min(len(data), 8)):
        data[dice.random.randrange(len(data))] ^= 1 << dice.random.randrange(8)
    _write(path, bytes(data))


def cut_file(tree: Path, dice: Dice) -> None:
    path = dice.file(tree)
    data = _read(path)
    _write(path, data[: dice.random.randrange(len(data))] if data else b"")


def empty_file(tree: Path, dice: Dice) -> None:
    _write(dice.file(tree), b"")


def noise(tree: Path, dice: Dice) -> None:
    _write(dice.file(tree), dice.random.randbytes(dice.random.randrange(3000)))


def shuffle_rows(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    lines = _read(path).splitlines(keepends=True)
    dice.random.shuffle(lines)
    _write(path, b"".join(lines))


def rename_columns(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, f"{TIMES}/*.csv", GRADES)
    _write(path, b"a;b;c\n" + b"".join(_read(path).splitlines(keepends=True)[1:]))


def swap_cells(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    rows = [line.split(b",") for line in _read(path).splitlines()]
    for row in rows:
        dice.random.shuffle(row)
    _write(path, b"\n".join(map(b",".join, rows)))


def other_encoding(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    text = _read(path).decode("utf-8", "replace")
    _write(path, text.encode(dice.random.choice(["utf-16", "utf-32-le", "utf-8-sig", "cp037"]), "replace"))


def byte_order_mark(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    _write(path, b"\xef\xbb\xbf" * dice.random.randint(1, 2) + _read(path))


def huge_table(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    _write(path, (_read(path) or b"\n") + dice.random.choice([b"t2,1,2\n", b"x", b"\n", b"\0", b'"']) * 10_000_000)


def odd_rows(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, *CSVS)
    odd = [
        "t2,0,999999",
        "t2,-1,4",
        "t4,9,3",
        "x,1e400",
        "5,nan",
        "5,1e308",
        "6,-1e308",
        ",,",
        '"',
        "\0",
        "t2,１,２",
        "SAM,A,\ud7ff",
    ]
    _write(path, _read(path) + "\n".join(dice.random.choices(odd, k=4)).encode())


def folder_for_file(tree: Path, dice: Dice) -> None:
    path = dice.file(tree)
    if path.is_file():
        path.unlink()
        path.mkdir()


def file_in_place_of_folder(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset*/*/", "embryo_dataset_F*/", f"{TIMES}/")
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"not a folder")


def link_loop(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset*/*", "embryo_dataset/*/*.jpeg", *CSVS)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def link_to_parent(tree: Path, dice: Dice) -> None:
    folder = dice.of(tree, "embryo_dataset*/*/")
    if folder.is_dir() and not (folder / "again").is_symlink():
        (folder / "again").symlink_to("..")


def odd_name(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset/*", "embryo_dataset/*/*.jpeg", *CSVS)
    names = [b"new\nline", b"sur\xff\xferogate", b" ", b"-", "été-٣".encode(), b"a" * 250, b"=1+1", b"<b>x<!-- &amp;"]
    if path.exists():
        os.rename(os.fsencode(path), os.fsencode(path.parent) + b"/" + dice.random.choice(names))


def odd_frame_name(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset*/*/*.jpeg")
    start = os.fsencode(path).rpartition(b"_RUN")[0]
    names = [
        b"_RUN0.jpeg",
        b"_RUN007.JPG",
        b"_RUN999999.jpeg",
        b"_RUN1234567.jpeg",
        b"_RUN\xd9\xa3.jpeg",
        b"_RUN1.jpeg.tmp",
    ]
    if path.is_file():
        os.rename(path, start + dice.random.choice(names))


def named_pipe(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset*/*/*.jpeg")
    if path.is_file():
        path.unlink()
        os.mkfifo(path)


def no_permission(tree: Path, dice: Dice) -> None:
    path = dice.of(tree, "embryo_dataset*/*/", "embryo_dataset*/*/*.jpeg", *CSVS, "embryo_dataset_F*/", f"{TIMES}/")
    if path.exists():
        if path.is_file():  # it is a link to the tree of all tests, which must stay readable
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        path.chmod(dice.random.choice([0o000, 0o400, 0o100]) if path.is_dir() else 0)


#: The mutations, and whether each of them must leave a trace in the findings.
MUTATIONS: dict[Callable[[Path, Dice], None], bool] = {
    remove_file: True,
    cut_file: True,
    empty_file: True,
    rename_columns: True,
    huge_table: True,
    folder_for_file: True,
    file_in_place_of_folder: True,
    link_loop: True,
    named_pipe: True,
    no_permission: True,
    odd_frame_name: True,
    odd_name: True,
    link_to_parent: True,
    flip_bytes: False,
    noise: False,
    shuffle_rows: False,
    swap_cells: False,
    other_encoding: False,
    byte_order_mark: False,
    odd_rows: False,
}


@contextmanager
def nobody() -> Iterator[None]:
    """Run as a user for whom permissions apply; the superuser can read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="module")
def small(clean: Path, cache: Path) -> Iterator[Path]:
    """Return two planes of two clean videos that all users may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for entry in ("embryo_dataset", "embryo_dataset_F15", ANNOTATIONS, TIMES):
        for path in sorted((clean / entry).rglob("*")):
            if path.is_file() and "SAM1-2" not in str(path):
                target = folder / "tree" / path.relative_to(clean)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    shutil.copy(clean / GRADES, folder / "tree" / GRADES)
    all_forms(validate(folder / "tree", pixels=True))  # what is imported late is imported now, while it may be read
    for kept in cache.rglob("*"):
        kept.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def spoilt(small: Path, mutations: list[Callable[[Path, Dice], None]], seed: int) -> Iterator[Path]:
    """Yield a copy of the small tree after some mutations; remove it afterwards."""
    tree = small / "spoilt"
    shutil.copytree(small / "tree", tree, copy_function=os.link)
    try:
        dice = Dice(seed)
        for mutate in mutations:
            mutate(tree, dice)
        yield tree
    finally:
        subprocess.run(["rm", "-rf", tree], check=True)  # rmtree stumbles over what was done to it


def all_forms(report: Report) -> None:
    """Assert that a report can be written in every form."""
    assert len(report.summary().splitlines()) <= 40
    assert report.to_json()
    assert report.to_csv()
    assert report.to_html()
    report.exclude("info")


many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@many
@given(st.lists(st.sampled_from(list(MUTATIONS)), min_size=1, max_size=5), st.integers(0, 2**32))
@pytest.mark.slow
def test_no_mutation_makes_it_raise(small: Path, mutations: list[Callable[[Path, Dice], None]], seed: int) -> None:
    with spoilt(small, mutations, seed) as tree, nobody():
        all_forms(validate(tree, pixels=True, workers=1))


@pytest.mark.parametrize(
    "mutate", [mutate for mutate, seen in MUTATIONS.items() if seen], ids=lambda mutate: mutate.__name__
)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_damage_becomes_a_finding(small: Path, mutate: Callable[[Path, Dice], None], seed: int) -> None:
    before = validate(small / "tree").findings
    with spoilt(small, [mutate], seed) as tree, nobody():
        after = validate(tree, workers=1).findings
    new = after.merge(before.drop_duplicates(), how="left", indicator=True).query("_merge == 'left_only'")
    assert len(new)


def test_exclusions_make_a_copy_readable_that_denies_access(small: Path) -> None:
    """A plane that cannot be listed, and the folder of one video in the other."""
    with spoilt(small, [], 0) as tree:
        (tree / "embryo_dataset_F15").chmod(0o311)
        frames(tree).chmod(0o311)
        with nobody():
            ds = EmbryoDataset(tree)
            report = validate(ds)
            assert set(ds.table(exclude=report)["video"]) == set(report.videos) - {VIDEO} != set()


def test_where_access_is_denied_nothing_else_is_told(small: Path) -> None:
    """What cannot be read is reported as unreadable, not as missing, empty or malformed."""
    with spoilt(small, [], 0) as tree:
        (tree / "embryo_dataset_F15").chmod(0o311)
        frames(tree).chmod(0o311)
        hours, labels = tree / TIMES / f"{VIDEO}_timeElapsed.csv", tree / ANNOTATIONS / f"{VIDEO}_phases.csv"
        for path, data in (hours, hours.read_bytes()), (labels, labels.read_text().encode("utf-16")):
            path.unlink()  # it is a link to the tree of all tests
            path.write_bytes(data)
        hours.chmod(0)
        with nobody():
            report = validate(tree)
    told = Counter(report.findings.query("severity != 'info'")["check"])
    assert told == {"unreadable-entry": 2, "unreadable": 3}, report.findings.to_string()


# --- who does the work ---------------------------------------------------------------------------


def same(one: Report, other: Report) -> bool:
    """Return whether two reports are the same, byte by byte."""
    pd.testing.assert_frame_equal(one.findings, other.findings)
    if one.frames is not None:
        pd.testing.assert_frame_equal(one.frames, other.frames)
    return one.to_json() == other.to_json() and one.to_csv() == other.to_csv()


@contextmanager
def dask() -> Iterator[Executor]:
    """Return a Dask cluster of two worker processes on this machine, which other machines cannot reach."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_report(planted: Tree, pictured: Tree) -> None:
    with dask() as executor:
        assert same(planted.report, validate(planted.root, executor=executor))
        assert same(pictured.report, validate(pictured.root, pixels=True, executor=executor))


class Backwards(Executor):
    """An executor that does the last task first, each in its own thread."""

    def map(self, fn, *iterables, timeout=None, chunksize=1):  # type: ignore[no-untyped-def, override]
        tasks = list(zip(*iterables, strict=True))
        with ThreadPoolExecutor(len(tasks)) as pool:
            futures = [pool.submit(fn, *task) for task in reversed(tasks)]
        return [future.result() for future in reversed(futures)]


def test_the_order_of_the_work_does_not_show(planted: Tree) -> None:
    assert same(planted.report, validate(planted.root, executor=Backwards()))
    assert same(planted.report, validate(planted.root, workers=1))
    assert same(planted.report, validate(planted.root, workers=7))


def test_stopped_by_hand_it_keeps_what_was_measured(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All videos before the one in work are kept; the cache belongs to this test alone."""
    monkeypatch.setenv("NSW_CACHE_DIR", str(tmp_path / "cache"))
    real, seen = read_video, []

    def stop(dataset: EmbryoDataset, video: str, *more: Any) -> VideoFacts:
        seen.append(video)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(dataset, video, *more)

    monkeypatch.setattr("nsw_da_medical_image.validation.validate.read_video", stop)
    with pytest.raises(KeyboardInterrupt):
        validate(tree, pixels=True)
    assert len(list((tmp_path / "cache" / "measures").glob("*"))) == 2 * len(FocalPlane)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_reports_and_tells_by_its_status(tree: Path, planted: Tree, tmp_path: Path) -> None:
    """Call it as a user does, with a file for each form."""
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "csv", "html")}
    options = [text for kind, path in files.items() for text in (f"--{kind}".replace("json", "json-file"), str(path))]
    command = [sys.executable, "-m", "nsw_da_medical_image.validation.validate"]
    done = subprocess.run(
        [*command, str(planted.root), *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert 24 <= len(done.stdout.splitlines()) <= 40
    assert all(path.stat().st_size for path in files.values())
    done = subprocess.run([*command, str(tree)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_refuses_before_it_works(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_text("mine")
    assert main([str(tree), "--json-file", str(tmp_path / "old.json"), "--csv", str(tmp_path / "new.csv")]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "old.json" in err
    assert (tmp_path / "old.json").read_text() == "mine"
    assert not (tmp_path / "new.csv").exists()


def test_command_stopped_by_hand_leaves_no_file(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr("nsw_da_medical_image.validation.validate.check_video", stop)
    before = set(tmp_path.iterdir())
    assert main([str(tree), "--json-file", str(tmp_path / "new.json")]) == 130
    assert "no report was written" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--checks", "run-gapp"], "nearest: run-gap"),
        (["--workers", "0"], "--workers is 0"),
        (["--json-file", "a", "--html", "a"], "one file"),
        (["--json-file", ""], "--json-file has an empty file name"),
        (["--json", "a"], "unrecognized arguments: a"),
        (["--checks", "dark-frames"], "pixels"),
        (["--checks", "run-gap,dark-frames"], "--pixels"),
    ],
)
def test_command_tells_wrong_usage(
    tree: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tree), *options])
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_json_is_printed_and_read_again(planted: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report that is read again is the same; it is refused where it is applied to other data."""
    file = tmp_path / "report.json"
    assert main([str(planted.root), "--json", "--json-file", str(file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (file.read_text(), "")
    report = Report.read(file)
    pd.testing.assert_frame_equal(report.findings, planted.report.findings)
    pd.testing.assert_frame_equal(report.not_run, planted.report.not_run)
    assert report.made == planted.report.made
    assert report.made["version"]
    assert report.made["options"] == {"pixels": False, "planes": []}
    assert report.to_json() == out
    assert report.summary() == planted.report.summary()
    ds = EmbryoDataset(planted.root)
    assert len(ds.table(exclude=report)) == len(ds.table(exclude=planted.report))
    assert Report.read(file, ds).dataset is ds


def test_report_of_other_data_is_refused(clean: Path, tree: Path, tmp_path: Path) -> None:
    path = frame(tree, 5)
    path.write_bytes(b"")
    report = Report.read(validate(tree).to_json(tmp_path / "report.json"))
    assert len(EmbryoDataset(clean).table(exclude=report))  # the same videos
    for each in tree.glob(f"embryo_dataset*/{VIDEO}/*.jpeg"):  # another slide
        each.rename(each.with_name(each.name.replace("_S", "_S9")))
    with pytest.raises(DataError, match=f"about other data: the frames of {VIDEO} are "):
        EmbryoDataset(tree).table(exclude=report)
    rename_video(tree, VIDEO, "AA83-4")
    with pytest.raises(DataError, match="about other data, without AA83-4; validate this data set"):
        EmbryoDataset(tree).table(exclude=report)
    with pytest.raises(DataError, match="about other data"):
        make_split(EmbryoDataset(tree), exclude=report)
    for text in "{}", "[1]", "not json", '{"findings": 3}', "[" * 100_000:
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(DataError, match=r"other.json is not a report of validate"):
            Report.read(tmp_path / "other.json")


def test_command_says_in_one_line_that_there_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_summary_of_a_release_full_of_defects_fits_a_screen(tmp_path: Path) -> None:
    """704 videos, each without everything that it should have."""
    for entry in ARCHIVES.values():
        if entry != GRADES:
            (tmp_path / entry).mkdir()
    (tmp_path / GRADES).write_text("video_name,TE,ICM\n" + "AA83-7,D,D\n" * 3)
    for name in released_videos():
        folder = tmp_path / "embryo_dataset" / name
        folder.mkdir()
        for file in "D1_S1_I1_WELL99_RUN3.jpeg", "D1_S2_I1_WELL99_RUN7.jpeg", "x.jpeg", "Thumbs.db":
            (folder / file).touch()
    lines = validate(tmp_path).summary().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
