"""Test the activity of embryos: gaps, jumps, threads, the report, and real frames."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.sample_embryo import invent_video
from nsw_da_medical_image.dataset_util.util import FocalPlane
from nsw_da_medical_image.validation.activity import activity, activity_of, find_bursts, plot_activity
from nsw_da_medical_image.validation.pixels import measure_plane, measure_video
from nsw_da_medical_image.validation.validate import validate


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSW_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def dataset(shared, tmp_path: Path) -> EmbryoDataset:
    return EmbryoDataset(shared(videos=2, frames=40, size=96).copy(tmp_path / "copy"))


def test_there_is_no_activity_across_a_gap_or_beside_a_broken_frame(dataset: EmbryoDataset) -> None:
    whole = activity(dataset["SAM1-2"])
    folder = Path(dataset.root)
    (folder / dataset["SAM1-2"].path(13)).unlink()  # at the border between two parts of the pass
    (folder / dataset["SAM1-2"].path(20)).write_bytes(b"rubbish")
    broken = activity(EmbryoDataset(folder)["SAM1-2"])
    assert broken.index.tolist() == [run for run in range(1, 41) if run != 13]
    assert broken.index[broken.isna()].tolist() == [1, 14, 20, 21]
    pd.testing.assert_series_equal(broken.dropna(), whole[broken.dropna().index])


@pytest.mark.parametrize("workers", [1, 3])
def test_the_parts_of_the_pass_fit_together(dataset: EmbryoDataset, workers: int) -> None:
    rows = measure_plane(dataset, "SAM1-2", FocalPlane.F0, workers)
    assert np.isnan(rows["activity"]).tolist() == [True] + 39 * [False]
    np.testing.assert_allclose(rows["activity"], activity(dataset["SAM1-2"]), rtol=1e-3, atol=1e-6)


def test_a_report_contains_the_activity_of_one_plane(dataset: EmbryoDataset) -> None:
    report = validate(dataset, pixels=True, planes=["F-15", "F0", "F15"])
    measured = report.frames[report.frames.activity.notna()]
    assert set(measured.plane) == {"F0"}
    assert measured.video.value_counts().tolist() == [39, 39]
    own = activity_of(report.frames[report.frames.video == "SAM1-7"])
    pd.testing.assert_series_equal(own, activity(dataset["SAM1-7"]))


def test_another_plane_is_measured_if_it_is_asked_for(dataset: EmbryoDataset) -> None:
    before = measure_video(dataset, "SAM1-2")
    assert activity(dataset["SAM1-2"], "F45").attrs["plane"] == "F45"
    assert activity(dataset["SAM1-2"], "F45").notna().any()
    pd.testing.assert_frame_equal(measure_video(dataset, "SAM1-2"), before)  # whatever was measured in between


def test_a_video_without_frames_has_no_activity(dataset: EmbryoDataset) -> None:
    folder = Path(dataset.root) / "embryo_dataset" / "SAM1-2"
    for file in folder.iterdir():
        file.unlink()
    video = EmbryoDataset(dataset.root)["SAM1-2"]
    assert activity(video).empty
    assert len(plot_activity(video).child_axes) == 2


def test_drawn_embryos_move_as_measured_on_real_ones(tmp_path: Path) -> None:
    """Compare with AA83-7 and AB028-6: their zygotes have a median of 0.0013 and 0.0015, and all strong bursts are divisions.

    The pictures of the sample changed for this: before, nothing moved at rest, and divisions after the fourth were weak bursts.
    """
    rest, strong, divisions = [], [], []
    for index in (0, 2):
        video, plane = invent_video(index, 496), FocalPlane.F0  # a picture every 0.25 hours
        names = [*video.files[plane]][:250]  # up to t8
        (images := tmp_path / str(index) / plane.folder / video.name).mkdir(parents=True)
        for name in names:
            (images / name).write_bytes(video.draw(name, 125)[plane])
        series, onsets = (
            activity(EmbryoDataset(tmp_path / str(index))[video.name]),
            {p: int(r) for p, r, _ in video.phases},
        )
        rest.append(series[onsets["tPNa"] : onsets["tPNf"] - 8].median())
        divided = np.array([onsets[phase] for phase in ("t2", "t3", "t4", "t5", "t6", "t7", "t8") if phase in onsets])
        bursts = find_bursts(series)
        strong += [abs(divided - run).min() <= 6 for run in bursts.run[bursts.strong & (bursts.run <= divided[-1])]]
        divisions += [bursts.run.sub(run).abs().min() <= 6 for run in divided]
        assert abs(bursts.run[bursts.strong].iloc[0] - onsets["t2"]) <= 1
    assert 0.001 < min(rest) <= max(rest) < 0.01  # with the noise of small pictures
    assert np.mean(strong) > 0.6
    assert np.mean(divisions) > 0.7


# Real frames ---------------------------------------------------------------------------------------------------------


def test_real_first_divisions_are_strong_bursts(real_data: Path) -> None:
    dataset = EmbryoDataset(real_data)
    for name, missing in ("AA83-7", [1]), ("AB028-6", [1, 281]):  # the dish has jumped in RUN 281
        series = activity(dataset[name])
        assert series.index[series.isna()].tolist() == missing
        onsets = dataset[name].phases.set_index("phase")["first"]
        bursts = find_bursts(series)
        assert abs(bursts.run[bursts.strong].iloc[0] - onsets["t2"]) <= 2
        assert series[onsets["tPNa"] : onsets["tPNf"] - 8].median() < 0.002
    assert activity(dataset["CF946-6"]).isna().all()  # ten single frames


def test_activity_costs_little(real_data: Path) -> None:
    dataset = EmbryoDataset(real_data)
    seconds = {True: [], False: []}
    for _ in range(3):
        for measured, taken in seconds.items():
            began = time.process_time()
            measure_plane(dataset, "AA83-7", FocalPlane.F0, 1, measured)
            taken.append(time.process_time() - began)
    assert (min(seconds[True]) - min(seconds[False])) / 285 < 0.0005
