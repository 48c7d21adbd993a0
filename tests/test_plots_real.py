"""Test the figures with real frames, from archives on; skipped without NSW_REAL_DATA."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image
from real_archives import frames_of, make_real_archives, videos_in

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.util import FocalPlane, Grade, Phase
from nsw_da_medical_image.viewer.plots import (
    PHASE_COLOURS,
    contact_sheet,
    focal_stack,
    onset_table,
    phase_raster,
    reaching_curves,
    staircase,
    transitions,
)


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbryoDataset:
    """Return the real frames, packed into ten archives and extracted again."""
    folder = tmp_path_factory.mktemp("real")
    names = make_real_archives(real_data, folder / "archives")
    result = extract_dataset(folder / "archives", folder / "extracted")
    assert result.videos == len(names)
    assert result.frames == 7 * sum(len(frames_of(real_data, name)) for name in names)
    return EmbryoDataset(folder / "extracted")


def pixels(axes: Axes) -> np.ndarray:
    """Return the figure of axes on white, as uint8 (height, width, 3)."""
    axes.figure.savefig(buffer := io.BytesIO(), format="png", facecolor="white")
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def test_every_file_comes_out_as_it_went_in(real: EmbryoDataset, real_data: Path) -> None:
    root = Path(real.path)
    assert list(real.videos) == videos_in(real_data)
    assert real.missing == ()
    for name in real:
        for path in frames_of(real_data, name):
            for plane in FocalPlane:
                assert (root / plane.folder / name / path.name).read_bytes() == path.read_bytes()
        annotation = f"embryo_dataset_annotations/{name}_phases.csv"
        assert (root / annotation).read_bytes() == (real_data / annotation).read_bytes()


def test_two_cells_are_seen_from_run_98_on(real: EmbryoDataset) -> None:
    video = real["AA83-7"]
    t2 = video.phases.set_index("phase").loc["t2"]
    assert (t2["first"], t2["last"]) == (98, 171)
    assert video.phase_at(98) is Phase.t2
    assert video.phase_at(171) is Phase.t2
    assert video.phase_at(97) is Phase.tPNf
    assert video.runs().tolist() == list(range(1, 286))
    assert video.hours[98] == pytest.approx(4 + 98 * 0.25, abs=0.06)
    assert video.grade == (Grade.A, Grade.B)


def test_frames_are_grey_pictures_of_500_pixels(real: EmbryoDataset) -> None:
    for name in real:
        stack = real[name].stack(runs=real[name].runs()[::10])
        assert stack.shape[1:] == (500, 500)
        assert stack.dtype == np.uint8
        assert stack.std(axis=(1, 2)).min() > 5


def test_an_empty_well_is_read_as_any_frame(real: EmbryoDataset) -> None:
    video = real["CF946-6"]
    assert len(video.runs()) == 10
    assert video.frame(331).shape == (500, 500)
    assert video.phase_at(331) is None
    with pytest.raises(KeyError, match=r"no RUN 332 in plane F0.*nearest: 331"):
        video.frame(332)


def test_contact_sheet_shows_the_frame_of_each_caption(real: EmbryoDataset) -> None:
    video = real["AA83-7"]
    shown = pixels(contact_sheet(video, runs=[97, 98], size=200))
    assert np.array_equal(shown[74:274, 12:212, 0], video.frame(97, size=200))
    assert np.array_equal(shown[74:274, 220:420, 0], video.frame(98, size=200))
    for name in real:
        assert pixels(contact_sheet(real[name])).std() > 20


def test_focal_stack_shows_seven_planes(real: EmbryoDataset) -> None:
    shown = pixels(focal_stack(real["AA83-7"], 150, size=100))
    frame = real["AA83-7"].frame(150, size=100)
    for place in range(7):
        assert np.array_equal(shown[74:174, 12 + 108 * place : 112 + 108 * place, 0], frame)


@pytest.mark.parametrize("by", ["run", "hours"])
def test_phase_raster_holds_the_colours_of_the_annotated_phases(real: EmbryoDataset, by: str) -> None:
    shown = pixels(phase_raster(real, by=by))[80:]  # below the legend
    colours = {"#" + bytes(colour).hex() for colour in np.unique(shown.reshape(-1, 3), axis=0)}
    complete = ["AA83-7", "AB028-6"]
    annotated = {Phase(phase) for name in complete for phase in real[name].phases.phase}
    assert {PHASE_COLOURS[phase] for phase in annotated} <= colours
    assert PHASE_COLOURS[Phase.tHB] not in colours


def test_figures_of_onsets_show_the_recorded_hours(real: EmbryoDataset) -> None:
    video, table = real["AA83-7"], onset_table(real)
    first = video.phases.set_index("phase")["first"]
    assert table.loc["AA83-7", "t2"] == video.hours[98]
    assert table.loc["AA83-7", "cc2"] == video.hours[first["t3"]] - video.hours[98]
    stairs = next(line for line in staircase(video).lines if line.get_label() == "AA83-7")
    assert stairs.get_xdata()[:-1].tolist() == [video.hours[run] for run in first]
    assert transitions(real, "AA83-7").to_numpy().sum() == len(first) - 1
    curve = next(line for line in reaching_curves(real, ["t2"]).lines if line.get_label() == "t2")
    assert video.hours[98] in curve.get_xdata()
