"""The data side of one augmentation experiment, from a data set to a balanced set of real and synthetic frames.

    python experiment_1.py --out data/experiment_1                  # makes sample data first
    python experiment_1.py data/extracted --out data/experiment_1

Validates, leaves out what is wrong, splits by embryo code, writes the training frames as an image folder, lets a generator add
to the phases that have few, and mixes both. The generator is a stand-in: it turns, mirrors and brightens training frames of the
middle plane and its neighbours. Put your own in the place of `generate`; it has to write runs with `write_batch`, and no more.
Everything appears in the folder after --out, at once, and `index.html` in it describes what was done.
"""

from pathlib import Path

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.frames import Frames
from nsw_da_medical_image.dataset_util.synthetic import write_batch  # noqa: F401 - for your own generator
from nsw_da_medical_image.validation import experiment
from nsw_da_medical_image.validation.experiment import Well, augmented  # noqa: F401 - likewise


def generate(dataset: EmbryoDataset, frames: Frames, wanted: dict[str, int], runs: Path, seed: int) -> None:
    """Write runs with as many images of each phase as `wanted` gives, made of `frames`, to the folder `runs`."""
    experiment.augment(dataset, frames, wanted, runs, seed, generator=__name__)


def main(argv: list[str] | None = None) -> int:
    return experiment.main(argv, generate, prog="python experiment_1.py")


if __name__ == "__main__":
    raise SystemExit(main())
