"""Test the script `python experiment_1.py [data/extracted] --out data/experiment_1`."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Shared
from PIL import Image

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.synthetic import SyntheticBatches, write_batch
from nsw_da_medical_image.dataset_util.util import code_of
from nsw_da_medical_image.validation.experiment import run_experiment

ROOT = Path(__file__).parent.parent


def script(cache: Path, *args: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NSW_CACHE_DIR": str(cache)}
    command = [sys.executable, ROOT / "experiment_1.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the experiment on its own sample data."""
    folder = tmp_path_factory.mktemp("experiment")
    done = script(folder / "cache", "--out", folder / "one", "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"done: open {folder / 'one' / 'index.html'}" in done.stdout
    return folder / "one"


def sources(made: Path) -> dict[str, list[str]]:
    """Return the names of the frames from which each batch was made."""
    runs = SyntheticBatches(made / "all-synthetic-runs")
    assert runs.findings().query("severity == 'error'").empty
    return {name: run.metadata.more["sources"] for name, run in runs.items()}


@pytest.mark.slow
def test_nothing_leaks(made: Path) -> None:
    """No synthetic frame is made from an embryo, or a sibling of one, of the validation or test part."""
    split = json.loads((made / "split.json").read_text())
    used = {label.split("_", 1)[1].rsplit("_", 1)[0] for labels in sources(made).values() for label in labels}
    assert used
    assert used <= set(split["train"])
    assert not {code_of(video) for video in used} & {code_of(video) for video in [*split["val"], *split["test"]]}
    labels = pd.read_csv(made / "image-folders" / "train" / "metadata.csv").label
    assert set(labels.str.split("_", n=1).str[1].str.rsplit("_", n=1).str[0]) <= set(split["train"])


@pytest.mark.slow
def test_what_was_found_wrong_is_nowhere(made: Path) -> None:
    excluded = pd.read_csv(made / "exclude.csv", dtype=str, keep_default_na=False)
    whole = set(excluded.video[(excluded.plane == "") & (excluded.runs == "")])
    split = json.loads((made / "split.json").read_text())
    assert whole
    assert not whole & {video for part in ("train", "val", "test") for video in split[part]}


@pytest.mark.slow
def test_the_phases_are_balanced(made: Path) -> None:
    train = pd.read_csv(made / "image-folders" / "train" / "metadata.csv").phase.value_counts()
    mixed = pd.read_json(made / "image-folders" / "mixed" / "metadata.jsonl", lines=True)
    assert train.max() > 2 * train.min()
    assert set(mixed.phase.value_counts()) == {train.max()}
    assert len(list((made / "image-folders" / "mixed" / "images").iterdir())) == len(mixed)
    for name, labels in sources(made).items():
        plane = {label.split("_")[0] for label in labels}
        assert plane == {name.rsplit("_", 1)[1]}


@pytest.mark.slow
def test_the_page_holds_everything(made: Path) -> None:
    page = (made / "index.html").read_text()
    assert page.startswith("<!doctype html>")
    assert not re.findall(r"(?:src|href)=['\"](?!data:)", page)
    assert "<script" not in page
    assert page.count("class='bar synthetic'") == 16
    assert str(made.parent) not in page


@pytest.mark.slow
def test_the_same_seed_gives_the_same_images(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert (
        script(tmp_path / "cache", made / "sample" / "extracted", "--out", again, "--seed", "3", "--pixels").returncode
        == 0
    )

    def hashes(folder: Path) -> dict[str, str]:
        files = sorted((folder / "all-synthetic-runs").rglob("*.jpg"))
        return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def mixed(folder: Path) -> pd.DataFrame:
        return pd.read_json(folder / "image-folders" / "mixed" / "metadata.jsonl", lines=True)

    assert hashes(again) == hashes(made)
    assert sources(again) == sources(made)
    assert mixed(again).equals(mixed(made))
    assert not (again / "sample").exists()
    one, two = (json.loads((folder / "split.json").read_text()) for folder in (made, again))
    assert [one[part] for part in ("train", "val", "test")] == [two[part] for part in ("train", "val", "test")]


@pytest.mark.slow
def test_errors_are_one_line_and_nothing_is_left(shared: Callable[..., Shared], tmp_path: Path) -> None:
    shutil.copytree(shared().archives, tmp_path / "archives")
    shared(videos=2).copy(tmp_path / "siblings")  # one code
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[list[Any], int, str]] = [
        (["--out", tmp_path / "taken"], 1, "exists already"),
        ([tmp_path / "nowhere", "--out", tmp_path / "out"], 1, "nowhere does not exist"),
        ([tmp_path / "archives", "--out", tmp_path / "no" / "out"], 1, "the folder to write into does not exist"),
        ([tmp_path / "archives", "--out", tmp_path / "archives" / "out"], 1, "is inside the data set"),
        ([tmp_path / "siblings", "--out", tmp_path / "out"], 1, "code"),
    ]
    for args, status, why in cases:
        done = script(tmp_path / "siblings" / "cache", *args)
        assert done.returncode == status, done.stderr
        assert why in done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before
    for wrong in (["--seed", "-1"], [""], ["--out", ""]):
        assert script(tmp_path, "--out", tmp_path / "out", *wrong).returncode == 2


@pytest.mark.slow
def test_the_default_sample_is_enough(shared: Callable[..., Shared], tmp_path: Path) -> None:
    """The sample data of the README can be split in three, and the experiment finishes."""
    sample = shared(videos=9, frames=None)
    done = script(tmp_path / "cache", sample.extracted, "--out", tmp_path / "out", "--frames", "1")
    assert (done.returncode, done.stderr) == (0, "")
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert len(split["train"]) > 3
    assert all(split[part] for part in ("train", "val", "test"))


@pytest.mark.slow
def test_phases_that_are_balanced_already_need_no_generator(shared: Callable[..., Shared], tmp_path: Path) -> None:
    shared(videos=9, frames=None).copy(tmp_path / "extracted")
    for file in (tmp_path / "extracted" / "embryo_dataset_annotations").iterdir():
        file.write_text("t2,1,10\nt3,11,20\n")
    done = script(tmp_path / "cache", tmp_path / "extracted", "--out", tmp_path / "out", "--frames", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "equally frequent" in done.stdout
    mixed = pd.read_json(tmp_path / "out" / "image-folders" / "mixed" / "metadata.jsonl", lines=True)
    assert len(set(mixed.phase.value_counts())) == 1
    assert "no synthetic frame" in (tmp_path / "out" / "index.html").read_text()
    assert not (tmp_path / "out" / "comparison.html").exists()


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("experiment_1", ROOT / "experiment_1.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["experiment_1"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


def test_the_well_turns_and_the_dish_stays(experiment: ModuleType) -> None:
    """A dot in the well moves, at the same distance from the centre; the outside does not change."""
    y, x = np.mgrid[:200, :200]
    picture = np.where(np.hypot(x - 110, y - 95) < 80, 100, 40).astype(np.uint8)
    picture[93:98, 148:153] = 250  # 40 to the right of the centre
    for seed in range(8):
        rng = np.random.default_rng(seed)
        turned = np.asarray(experiment.augmented(Image.fromarray(picture), experiment.Well(110, 95, 80), rng)).astype(
            int
        )
        draw = np.random.default_rng(seed)
        mirrored, _, light = draw.random() < 0.5, draw.uniform(0, 360), draw.uniform(0.85, 1.15)
        turned = turned[:, ::-1] if mirrored else turned
        dots = np.argwhere(turned > 180 * light)
        cy, cx = dots.mean(0)
        assert abs(np.hypot(cx - 110, cy - 95) - 40) < 1.5
        outside = np.hypot(x - 110, y - 95) > 82
        assert abs(turned[outside] - picture[outside] * light).max() <= 1
    same = experiment.augmented(Image.fromarray(picture), None, np.random.default_rng(0))
    assert same.size == (200, 200)


# --- data that somebody really has: few patients, parts of a copy ------------------------------------------------------


@pytest.fixture(scope="module")
def extracted(shared: Callable[..., Shared]) -> Path:
    """Return four videos of three codes."""
    return shared(videos=4).extracted


def part_of(extracted: Path, folder: Path, *entries: str) -> Path:
    """Copy some entries of a data set; a plane followed by a colon keeps only the frames of `SAM1` and `SAM2`."""
    for entry in entries:
        name, _, few = entry.partition(":")
        shutil.copytree(extracted / name, folder / name)
        for video in (folder / name).iterdir():
            if few and not video.name.startswith(tuple(few.split("+"))):
                shutil.rmtree(video)
    return folder


@pytest.mark.slow
def test_two_parts_do_for_two_patients(extracted: Path, tmp_path: Path) -> None:
    few = part_of(extracted, tmp_path / "few", "embryo_dataset:SAM1+SAM2", "embryo_dataset_annotations")
    done = script(tmp_path / "cache", few, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == ""  # nothing was validated in vain
    assert done.stderr.count("\n") == 1
    assert (
        "there are 2 (SAM1, SAM2), and siblings stay together: give weights for at most 2 parts, such as train=4,test=1"
        in (done.stderr)
    )
    assert not (tmp_path / "out").exists()
    done = script(tmp_path / "cache", few, "--out", tmp_path / "out", "--weights", "train=2,test=1")
    assert (done.returncode, done.stderr) == (0, "")
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert [{code_of(video) for video in split[part]} for part in ("train", "test")] == [{"SAM1"}, {"SAM2"}]
    assert (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (("embryo_dataset", "embryo_dataset_annotations"), ""),
        (("embryo_dataset_F-45", "embryo_dataset_annotations", "embryo_dataset_time_elapsed"), ""),
        (("embryo_dataset", "embryo_dataset_F15"), "has no annotations, so there are no phases to balance"),
        (("embryo_dataset_annotations",), "contains no frames"),
    ],
)
@pytest.mark.slow
def test_a_part_of_the_data_set_will_do(extracted: Path, tmp_path: Path, entries: tuple[str, ...], why: str) -> None:
    some = part_of(extracted, tmp_path / "some", *entries)
    done = script(tmp_path / "cache", some, "--out", tmp_path / "out", "--frames", "2")
    if why:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert why in done.stderr
        assert not (tmp_path / "out").exists()
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert SyntheticBatches(tmp_path / "out" / "all-synthetic-runs").findings().query("severity == 'error'").empty


@pytest.mark.parametrize("weights", ["1,1", "1,x,1", "", "val=1,test=1", "train=0,test=1"])
def test_weights_that_cannot_be_are_a_wrong_usage(
    experiment: ModuleType, extracted: Path, tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        experiment.main([str(extracted), "--out", str(tmp_path / "out"), "--weights", weights])
    assert "error: " in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_the_function_takes_a_path_as_text_and_needs_a_weight_for_train(
    extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Report:
        def to_html(self, path: Path) -> None:
            raise FileNotFoundError(path)

    monkeypatch.setattr("nsw_da_medical_image.validation.experiment.validate", lambda *_, **__: Report())
    with pytest.raises(ValueError, match="the part train has no weight"):
        run_experiment(EmbryoDataset(extracted), tmp_path, "a=1,b=1")
    with pytest.raises(FileNotFoundError, match=r"validation\.html"):
        run_experiment(EmbryoDataset(extracted), str(tmp_path), "train=1,test=1")


@pytest.mark.slow
def test_a_generator_that_writes_nothing_or_rubbish(
    experiment: ModuleType, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSW_CACHE_DIR", str(tmp_path / "cache"))

    class Nothing:
        images: tuple[bytes, ...] = ()

        def fit(self, frames: Any) -> None:
            assert set(frames.table["phase"])

        def sample(self, phase: str, plane: str, n: int) -> tuple[bytes, ...]:
            return self.images

    monkeypatch.setattr(experiment, "make_generator", lambda seed: Nothing())
    assert experiment.main([str(extracted), "--out", str(tmp_path / "none")]) == 0
    assert "the generator wrote no usable image" in (tmp_path / "none" / "index.html").read_text()
    assert not (tmp_path / "none" / "comparison.html").exists()

    Nothing.images = (b"\xff\xd8\xff and no more",)
    assert experiment.main([str(extracted), "--out", str(tmp_path / "broken")]) != 0
    assert not (tmp_path / "broken").exists()

    def rubbish(generator: Any, frames: Any, wanted: Any, runs: Path) -> None:
        write_batch(runs / "good", (np.full((64, 64), value, np.uint8) for value in (1, 99)), "", "t2")
        (runs / "good" / "img1.jpg").write_bytes(b"\xff\xd8")
        (runs / "bad").mkdir()

    monkeypatch.setattr("nsw_da_medical_image.validation.experiment.generate", rubbish)
    assert experiment.main([str(extracted), "--out", str(tmp_path / "some")]) == 0
    findings = pd.read_csv(tmp_path / "some" / "synthetic-findings.csv", keep_default_na=False)
    assert set(findings[findings.severity == "error"].origin) == {"good", "bad"}
    mixed = pd.read_json(tmp_path / "some" / "image-folders" / "mixed" / "metadata.jsonl", lines=True)
    assert mixed.label.str.contains("_good_").sum() == 1


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(extracted: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NSW_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-u", ROOT / "experiment_1.py", extracted, "--out", tmp_path / "out"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # a run in the background inherits an ignored SIGINT
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    with subprocess.Popen(command, env=environment, preexec_fn=restore, **pipes) as process:
        try:
            assert process.stdout.readline().startswith("validated: ")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, "stopped; nothing was written\n")
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
