"""Prepare the data of one augmentation experiment, from a data set to a balanced set of real and synthetic frames.

    python experiment_1.py --out data/experiment_1                  # makes sample data first
    python experiment_1.py data/extracted --out data/experiment_1

It validates, excludes data with errors, splits by patient code, writes the training frames as an image folder, lets a generator add
frames of rare phases, and mixes both. The generator is only an example: it turns, mirrors and brightens training frames of the middle
plane and its neighbours. Return your own from `make_generator`; it needs the methods `fit(frames)` and `sample(phase, plane, n)`. Everything
appears in the folder after --out when it is complete; its `index.html` describes the result.
"""

from nsw_da_medical_image.validation import experiment
from nsw_da_medical_image.validation.experiment import Augmentation, Generator, Well, augmented  # noqa: F401 - for your own


def make_generator(seed: int) -> Generator:
    """Return the generator, which is fitted to the training frames."""
    return Augmentation(seed, name=__name__)


def main(argv: list[str] | None = None) -> int:
    return experiment.main(argv, make_generator, prog="python experiment_1.py")


if __name__ == "__main__":
    raise SystemExit(main())
