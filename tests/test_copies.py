"""Test the search for copies on real frames."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.frames import Frames
from nsw_da_medical_image.dataset_util.synthetic import SyntheticBatches, write_batch
from nsw_da_medical_image.viewer.copies import COPY, EMBRYO, find_copies


def disguise(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Return an image as a JPEG, mirrored or not, turned by any angle, up to 30 % brighter or darker, of quality 50 to 95."""
    image = ImageOps.mirror(image) if rng.random() < 0.5 else image
    light = rng.uniform(0.7, 1.3)
    image = image.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    image.point(lambda value: min(255, round(value * light))).save(
        buffer := io.BytesIO(), "JPEG", quality=int(rng.integers(50, 96))
    )
    return buffer.getvalue()


def batch(images: list[bytes], folder: Path) -> Frames:
    write_batch(folder / "t2", images, "", "t2")
    return SyntheticBatches(folder).frames()


#: The figures of the documentation are those of 1,000 copies, which take two minutes: NSW_COPIES=1000.
COPIES = int(os.environ.get("NSW_COPIES", "200"))


@pytest.mark.slow
def test_disguised_copies_of_real_frames_are_found(real_data: Path, tmp_path: Path) -> None:
    train = EmbryoDataset(real_data).frames(["AA83-7", "AB028-6"], "F0")
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(train), COPIES)
    found = find_copies(train, batch([disguise(train[int(i)].image, rng) for i in chosen], tmp_path)).table
    assert (found["match"] == "copy").mean() >= 0.99
    videos = [label.split("_")[1] for label in found["nearest"]]
    assert np.mean(train.table["video"].iloc[chosen].astype(str).to_numpy() == videos) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [("AA83-7", "AB028-6"), ("AB028-6", "AA83-7")])
def test_another_embryo_is_no_copy(real_data: Path, one: str, other: str) -> None:
    """The two embryos whose videos are available, n = 2."""
    ds = EmbryoDataset(real_data)
    found = find_copies(ds.frames(other, "F0"), ds.frames(one, "F0")).table
    assert (found["match"] != "").mean() <= 0.01
    assert found["similarity"].max() < EMBRYO < COPY


def test_another_run_of_the_same_embryo_is_not_listed_as_a_copy(real_data: Path) -> None:
    frames = EmbryoDataset(real_data).frames("AA83-7", "F0")
    found = find_copies(frames[::10], frames[[5, 55, 105, 155, 160]]).table
    assert found["match"].tolist()[-1] == "copy"  # the frame itself is in the set
    assert (found["match"].iloc[:-1] != "copy").all()
    assert "same embryo" in set(found["match"])


@pytest.mark.slow
def test_a_neighbouring_run_is_told_from_a_copy_by_its_video_only(real_data: Path, tmp_path: Path) -> None:
    """While an embryo rests, its runs look the same; disguised and without their video, most are listed as copies."""
    frames = EmbryoDataset(real_data).frames(["AA83-7", "AB028-6"], "F0")
    place = frames.table["run"].to_numpy() % 10
    train, beside = frames[np.flatnonzero(place == 0)], frames[np.flatnonzero((place == 1) | (place == 9))]
    found = find_copies(train, beside).table["match"]
    assert (len(found), (found == "copy").sum()) == (116, 0)
    assert (found == "same embryo").mean() > 0.85
    rng = np.random.default_rng(1)
    unnamed = find_copies(train, batch([disguise(record.image, rng) for record in beside], tmp_path)).table["match"]
    assert 0.7 < (unnamed == "copy").mean() < 0.9  # the figure of the documentation is 0.80
