"""Prepare the data of one augmentation experiment, from a data set to a balanced set of real and synthetic frames.

    python experiment_1.py --out data/experiment_1                  # makes sample data first
    python experiment_1.py data/extracted --out data/experiment_1

It validates, excludes data with errors, splits by patient code, writes the training frames as an image folder, lets a generator add
frames of rare phases, and mixes both. The generator is only an example: it turns, mirrors and brightens training frames of the middle
plane and its neighbours. Replace `generate` by your own; it only has to write batches with `write_batch`. Everything appears in
the folder after --out when it is complete; its `index.html` describes the result.
"""

from pathlib import Path

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.frames import Frames
from nsw_da_medical_image.dataset_util.synthetic import write_batch  # noqa: F401 - for your own generator
from nsw_da_medical_image.validation import experiment
from nsw_da_medical_image.validation.experiment import Well, augmented  # noqa: F401 - likewise


def generate(dataset: EmbryoDataset, frames: Frames, wanted: dict[str, int], batches: Path, seed: int) -> None:
    """Write batches with `wanted` images of each phase, made of `frames`, to the folder `batches`."""
    experiment.augment(dataset, frames, wanted, batches, seed, generator=__name__)


def main(argv: list[str] | None = None) -> int:
    return experiment.main(argv, generate, prog="python experiment_1.py")


if __name__ == "__main__":
    raise SystemExit(main())
