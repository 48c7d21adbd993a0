"""Test `~` in every path: a shell replaces it only in some places, a notebook never."""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nsw_da_medical_image.common import cache
from nsw_da_medical_image.dataset_util import (
    dataset,
    extract_dataset,
    extract_part,
    image_folder,
    sample,
    split,
    synthetic,
)
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.exclusion import exclusion_list
from nsw_da_medical_image.dataset_util.ground_truth import write_ground_truth
from nsw_da_medical_image.dataset_util.source import open_source
from nsw_da_medical_image.validation import validate
from nsw_da_medical_image.viewer import realism
from nsw_da_medical_image.viewer.player import EmbryoPlayer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home folder with archives, a data set, a synthetic batch, a list and a split; the working directory is another folder."""
    folder, elsewhere = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.setenv("NSW_CACHE_DIR", "~/cache")
        patch.chdir(elsewhere)
        sample.make_archives("~/archives", videos=3, frames=16, size=64)
        extract_dataset.extract_dataset("~/archives", "~/data")
        picture = np.full((64, 64), 90, np.uint8)
        synthetic.write_batch("~/runs/first", [picture, picture + 9], phase="t4", plane="F0", prompt="x")
        (folder / "exclude.csv").write_text("video,plane,runs\nSAM1-2,F0,1-3\n")
        (folder / "pictures").mkdir()
        Image.fromarray(picture).save(folder / "pictures" / "saved.png")
        split.write_split(split.make_split(EmbryoDataset("~/data"), {"train": 0.5, "test": 0.5}), "~/split.json")
        yield folder
        assert not list(elsewhere.iterdir()), "a folder ~ was made"


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "open_source": (lambda: open_source("~/data").entries(), ""),
    "EmbryoDataset": (lambda: EmbryoDataset(Path("~/data"))["SAM1-2"].jpeg(1), ""),
    "archives": (lambda: EmbryoDataset("~/archives").table(), "cache/archives"),
    "extract": (lambda: EmbryoDataset("~/data").extract(videos="SAM1-2", planes=0, to="~/part"), "part/embryo_dataset"),
    "exclude": (lambda: exclusion_list(Path("~/exclude.csv"), EmbryoDataset("~/data")), ""),
    "table": (lambda: EmbryoDataset("~/data").table(exclude=Path("~/exclude.csv")), ""),
    "ground truth": (lambda: write_ground_truth(EmbryoDataset("~/data"), "~/truth.csv"), "truth.csv"),
    "image folder": (
        lambda: image_folder.make_image_folder(EmbryoDataset("~/data").frames(pick="median"), "~/images"),
        "images",
    ),
    "read_split": (lambda: split.read_split("~/split.json"), ""),
    "runs": (lambda: synthetic.SyntheticBatches("~/runs")["first"].frame(0), ""),
    "one run": (lambda: synthetic.SyntheticBatch("~/runs/first").metadata, ""),
    "player": (lambda: EmbryoPlayer(EmbryoDataset("~/data")["SAM1-2"]).to_html("~/player.html").stat(), "player.html"),
    "report": (lambda: validate.validate("~/data").to_csv("~/report.csv").stat(), "report.csv"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_function_takes_a_path_in_the_home_folder(home, call):
    ask, made = CALLS[call]
    ask()
    assert (home / made).exists()


def script(name: str) -> Callable[[list[str]], int]:
    """Return the `main` of a script at the top of the repository."""
    found = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert found
    assert found.loader
    found.loader.exec_module(module := importlib.util.module_from_spec(found))
    return module.main


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str, str]] = {
    "dataset": (dataset.main, "~/data", ""),
    "dataset --table": (dataset.main, "~/data --table ~/2/table.csv --exclude ~/exclude.csv", "2/table.csv"),
    "extract_dataset": (extract_dataset.main, "~/archives ~/2/data", "2/data/embryo_dataset"),
    "extract_part": (extract_part.main, "~/data ~/2/part --planes F0", "2/part/embryo_dataset"),
    "sample": (sample.main, "~/2/archives --videos 1 --frames 16 --size 64", "2/archives/embryo_dataset.tar.gz"),
    "split": (split.main, "~/data --weights train=0.5,test=0.5 --out ~/2/split.json", "2/split.json"),
    "split --check": (split.main, "~/data --check ~/split.json", ""),
    "synthetic": (synthetic.main, "~/runs", ""),
    "synthetic --adopt": (synthetic.main, "~/runs --adopt ~/pictures --phase t4 --name adopted", "runs/adopted"),
    "image_folder": (
        image_folder.main,
        "~/data ~/2/images --synthetic ~/runs --exclude ~/exclude.csv --split ~/split.json",
        "2/images",
    ),
    "validate": (
        validate.main,
        "~/data --csv ~/2/v.csv --json-file ~/2/v.json --html ~/2/v.html",
        "2/v.html",
    ),
    "compare": (realism.main, "~/data ~/runs --out ~/2/page.html --exclude ~/exclude.csv", "2/page.html"),
    "play_video": (script("play_video"), "~/data SAM1-2 --out ~/2/play.html --no-open", "2/play.html"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_paths_in_the_home_folder(home, command, capsys):
    main, arguments, made = COMMANDS[command]
    (home / "2").mkdir(exist_ok=True)
    status = main(arguments.split())
    assert status in (0, 1 if command in ("validate", "split --check") else 0), capsys.readouterr().err
    assert (home / made).exists()
    if command == "validate":
        assert json.loads((home / "2" / "v.json").read_text())


def test_an_unknown_user_is_a_missing_folder_and_no_traceback(home, capsys):
    assert dataset.main(["~no-such-user/data"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert dataset.main(["~/data", "--table", "~no-such-user/x.csv"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_cache_is_in_the_home_folder(home):
    assert cache.cache_folder("archives") == home / "cache" / "archives"
    assert os.listdir(home / "cache" / "archives")
