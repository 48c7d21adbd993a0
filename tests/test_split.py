"""Test splits: any counts, weights and seeds, the same everywhere, any file as a split, hostile commands."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.frames import PHASE_TYPE
from nsw_da_medical_image.dataset_util.split import (
    UNLABELLED,
    Split,
    TooFewCodes,
    check_split,
    leaks,
    main,
    make_split,
    read_split,
    split_counts,
    worst_deviation,
    write_split,
)
from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, code_of, natural_key, released_videos

COLUMNS = [*PHASE_TYPE.categories, UNLABELLED]


def counts_of(rows: dict[str, list[int]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)


def drawn_counts() -> pd.DataFrame:
    """Return counts for the released ids that are the same everywhere; they claim nothing else about them."""
    digests = {video: hashlib.sha512(video.encode()).digest() for video in released_videos()}
    return counts_of({video: [byte if byte % 3 else 0 for byte in digests[video][:17]] for video in digests})


@pytest.fixture(scope="module")
def ds(shared: Callable[..., Shared]) -> EmbryoDataset:
    return EmbryoDataset(shared(videos=9, frames=None).extracted)  # the default sample, but for its size


videos = st.builds(lambda code, embryo: f"{code}-{embryo}", st.sampled_from("ABCDEFGH"), st.integers(1, 20))
frames = st.lists(st.integers(0, 1200) | st.just(0), min_size=17, max_size=17)
weights = st.dictionaries(st.sampled_from(["train", "val", "test", "x", "y"]), st.floats(0, 1e9) | st.integers(0, 9))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(videos, frames, max_size=30), weights, st.integers())
@pytest.mark.slow
def test_any_split_keeps_siblings_together_and_loses_nobody(rows: dict, weights: dict, seed: int) -> None:
    counts = counts_of(rows)
    codes = {code_of(video) for video in rows}
    wanted = [name for name, weight in weights.items() if weight]
    if not wanted:
        with pytest.raises(ValueError, match="weights are 0"):
            split_counts(counts, weights, seed)
        return
    if len(codes) < len(wanted):
        with pytest.raises(DataError, match="patient codes"):
            split_counts(counts, weights, seed)
        return
    split = split_counts(counts, weights, seed)
    assert list(split) == list(weights)
    assert Counter(chain.from_iterable(split.values())) == Counter(list(rows))
    assert sum(len({code_of(video) for video in part}) for part in split.values()) == len(codes)
    assert {name for name, part in split.items() if part} == set(wanted)
    assert all(part == sorted(part, key=natural_key) for part in split.values())
    assert split_counts(counts.sample(frac=1, random_state=0), weights, seed) == split  # whatever the order of the rows
    assert split.made["worst"]["deviation"] == round(worst_deviation(split, counts, weights)[0], 6) <= 1
    assert json.loads(json.dumps(split.made)) == split.made


@pytest.mark.slow
def test_no_single_move_or_exchange_of_codes_would_help() -> None:
    counts = drawn_counts().iloc[:60]
    split = split_counts(counts, (0.6, 0.2, 0.2), 1)
    part_of = {code_of(video): name for name, part in split.items() for video in part}

    def squares(part_of: dict[str, str]) -> float:
        sums = counts.assign(videos=1).groupby([part_of[code_of(video)] for video in counts.index]).sum()
        share = sums / sums.sum()
        return float(((share.T - pd.Series(split.made["weights"])) ** 2).to_numpy().sum())

    best = squares(part_of)
    codes = sorted(part_of)
    for place, one in enumerate(codes):
        for other in codes[place + 1 :]:
            if part_of[one] != part_of[other]:
                assert squares({**part_of, one: part_of[other], other: part_of[one]}) > best - 1e-4
        for part in split:
            assert squares({**part_of, one: part}) > best - 1e-4


def test_the_split_of_the_release_is_the_same_on_every_machine() -> None:
    split = split_counts(drawn_counts(), (0.8, 0.1, 0.1), 7)
    digest = hashlib.sha256(json.dumps(split).encode()).hexdigest()
    assert digest == "0712684855912e95cbaa086ba77878932ab4ffa0a234825004e97664fa9f7d25"


@pytest.mark.slow
def test_the_file_is_the_same_whatever_the_hash_seed(ds: EmbryoDataset, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nsw_da_medical_image.dataset_util.split", ds.path, "--seed", "5", "--out"]
    texts = set()
    for seed in "1", "2":
        out = tmp_path / f"{seed}.json"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([*command, str(out)], check=True, capture_output=True, timeout=120, env=environment)
        texts.add(out.read_bytes())
    assert len(texts) == 1
    assert read_split(out) == make_split(ds, seed=5)


def test_another_seed_gives_another_split() -> None:
    counts = drawn_counts()
    assert len({json.dumps(split_counts(counts, seed=seed)) for seed in range(5)}) == 5


def test_balance_beats_dealing_out_codes_at_random() -> None:
    counts = drawn_counts()
    codes = sorted({code_of(video) for video in counts.index}, key=natural_key)
    by_code = counts.groupby([code_of(video) for video in counts.index]).sum().loc[codes]
    at_random = []
    for seed in range(20):
        shuffled = by_code.sample(frac=1, random_state=seed)
        ends = [0, round(0.8 * len(codes)), round(0.9 * len(codes)), len(codes)]
        sums = pd.DataFrame({i: shuffled.iloc[ends[i] : ends[i + 1], :16].sum() for i in range(3)})
        share = sums.div(sums.sum(axis=1), axis=0)
        at_random.append(float((share - [0.8, 0.1, 0.1]).abs().to_numpy().max()))
    for seed in range(3):
        assert split_counts(counts, seed=seed).made["worst"]["deviation"] < min(at_random) / 5


names = st.sampled_from(["train", "val", "test", "made", "fold", ""])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(anything | st.dictionaries(names, anything | st.lists(st.text(max_size=5))) | st.binary(max_size=20))
def test_whatever_the_file_it_is_a_split_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, held: Any) -> None:
    file = tmp_path_factory.mktemp("any") / "split.json"
    file.write_bytes(held if isinstance(held, bytes) else json.dumps(held).encode())
    try:
        split = read_split(file)
    except DataError as error:
        fault = str(error)
    else:
        fault = ""
    assert fault == "" or fault.startswith(f"{file} is not ")
    if fault:
        return
    assert split
    assert all(isinstance(video, str) for part in split.values() for video in part)
    check_split(split).lines()
    write_split(Split(split, split.made), again := file.with_name("again.json"))
    assert read_split(again) == split


def test_a_split_by_videos_leaks_and_is_told_so() -> None:
    shuffled = sorted(released_videos(), key=lambda video: hashlib.sha256(video.encode()).digest())
    split = {"train": shuffled[:563], "val": shuffled[563:634], "test": shuffled[634:]}
    found = {(leak.part, leak.other): leak for leak in leaks(split)}
    for (part, other), leak in found.items():
        siblings = {code_of(video) for video in split[other]}
        assert leak.videos == tuple(video for video in split[part] if code_of(video) in siblings)
        assert leak.of == len(split[part])
    assert len(found["test", "train"].videos) > 10
    assert "of 70 videos in test have a sibling in train" in str(found["test", "train"])
    assert check_split(split)[1:4] == ([], [], [])


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--out", "there.json"], 1, "exists already"),
        (["--out", "no/such/new.json"], 1, "the folder to write into does not exist"),
        (["--out", "new.json", "--exclude", "nowhere.csv"], 1, "nowhere.csv"),
        (["--out", "new.json", "--exclude", "all.csv"], 1, "no frame is left to split"),
        (
            ["--out", "new.json", "--weights", ",".join(f"p{i}=1" for i in range(50))],
            1,
            "50 parts need at least 50 patient codes",
        ),
        (["--check", "there.json"], 1, "is neither JSON"),
        (["--check", "nowhere.json"], 1, "nowhere.json"),
        (["--out", "new.json", "--weights", "0.8,<b>,0.1"], 2, "the weight of val is '<b>'"),
        (["--out", "new.json", "--weights", ""], 2, "give three"),
        (["--out", "new.json", "--exclude", ""], 2, "argument --exclude: it is empty"),
        (["--out", ""], 2, "argument --out: it is empty"),
        (["--check", ""], 2, "argument --check: it is empty"),
        (["--out", "new.json", "--seed", "1.5"], 2, "invalid int"),
    ],
)
@pytest.mark.slow
def test_the_command_says_no_in_one_line_and_writes_nothing(
    ds: EmbryoDataset, tmp_path: Path, monkeypatch, capsys, arguments: list[str], status: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("mine")
    Path("all.csv").write_text("\n".join(["video", *ds.videos]))
    if status == 2:
        with pytest.raises(SystemExit, match="2"):
            main([ds.path, *arguments])
    else:
        assert main([ds.path, *arguments]) == 1
    said = capsys.readouterr()
    assert says in said.err.splitlines()[-1]
    assert said.out == ""
    assert status == 2 or said.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "there.json"]
    assert Path("there.json").read_text() == "mine"


def test_nothing_is_written_into_the_data_set(ds: EmbryoDataset, capsys) -> None:
    inside = Path(ds.path) / "embryo_dataset" / "split.json"
    assert main([ds.path, "--out", str(inside)]) == 1
    assert "is inside the data set" in capsys.readouterr().err
    assert not inside.exists()


def test_names_in_a_file_do_not_reach_the_terminal_as_they_are(ds: EmbryoDataset, tmp_path: Path, capsys) -> None:
    (file := tmp_path / "split.json").write_text(json.dumps({"tr\x1bain": ["A\n-1"], "test": ["A\n-2", "B\x1b[31m-1"]}))
    assert main([ds.path, "--check", str(file)]) == 1
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert len(said.splitlines()) == 4  # the form, and one line for each kind of problem


def test_splits_of_the_field_are_checked(ds: EmbryoDataset, tmp_path: Path, capsys) -> None:
    """The authors' CSV, one file per fold; the audit's JSON; the original project's parts, whose third is eval in its README."""
    split = make_split(ds, seed=1)
    leaking = {part: list(videos) for part, videos in split.items()}
    moved = next(video for video in split["train"] if sum(code_of(video) == code_of(v) for v in split["train"]) > 1)
    leaking["train"].remove(moved)
    leaking["test"].append(moved)
    for parts, status in (split, 0), (leaking, 1):
        rows = [(video, part) for part, videos in parts.items() for video in videos]
        files = {
            "fold_0.csv": "".join(f"{video},{part}\n" for video, part in rows),
            "headed.csv": "video,partition\r\n" + "".join(f"{video},{part}\r\n" for video, part in reversed(rows)),
            "audit.json": json.dumps({"seed": 42, "patients": {"train": ["SAM1"]}, "videos": parts}),
            "named.json": json.dumps({"notes": ["x"], "videos": dict(rows)}),
            "original.json": json.dumps({"train": parts["train"], "eval": parts["val"], "test": parts["test"]}),
        }
        for name, text in files.items():
            (file := tmp_path / name).write_text(text)
            assert main([ds.path, "--check", str(file)]) == status, name
            said = capsys.readouterr()
            assert (" a sibling in" in said.out) == bool(status), name
            form = dict.fromkeys(["fold_0.csv", "headed.csv"], "the authors' CSV")
            form |= dict.fromkeys(["audit.json", "named.json"], "CLEAVE's JSON")
            assert said.out.startswith(form.get(name, "the original project's split.json")), name
            number = len({video for leak in leaks(read_split(file)) for video in leak.videos})
            assert f": {number} video{' leaks' if number == 1 else 's leak'} through a sibling" in said.out, name
            found = read_split(file)
            assert {"val" if part == "eval" else part: videos for part, videos in found.items()} == Split(parts), name


@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_a_split_is_a_regular_file_of_some_size(ds: EmbryoDataset, tmp_path: Path, capsys, kind: str) -> None:
    file = tmp_path / "split.json"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with open(file, "wb") as opened:
            opened.truncate(1 << 40)
    assert main([ds.path, "--check", str(file)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_too_few_patients_are_told_what_can_be_done(ds: EmbryoDataset, tmp_path: Path, capsys) -> None:
    (exclude := tmp_path / "exclude.csv").write_text(
        "\n".join(["video", *(v for v in ds if code_of(v) not in ("SAM1", "SAM3"))])
    )
    arguments = [ds.path, "--out", str(tmp_path / "split.json"), "--exclude", str(exclude)]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "there are 2 (SAM1, SAM3), and siblings stay together: give weights for at most 2 parts, such as train=4,test=1"
        in said
    )
    assert main([*arguments, "--weights", "train=4,test=1"]) == 0
    assert {part: {code_of(video) for video in videos} for part, videos in read_split(arguments[2]).items()} in (
        {"train": {"SAM1"}, "test": {"SAM3"}},
        {"train": {"SAM3"}, "test": {"SAM1"}},
    )
    error = TooFewCodes(3, [f"C{i}" for i in range(500)])
    assert "there are 500 (C0, C1, C2, C3, C4, C5 and 494 more)" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.fixture
def copied(ds: EmbryoDataset, tmp_path: Path) -> Path:
    """Return a copy in which SAM3-6 is a second time, as SAM99-1, with other names and RUNs, and SAM2-4 as SAM2-9."""
    folder = Path(shutil.copytree(Path(ds.path) / "embryo_dataset", tmp_path / "copied" / "embryo_dataset"))
    shutil.copytree(Path(ds.path) / ANNOTATIONS, folder.parent / ANNOTATIONS)
    for video, name in ("SAM3-6", "SAM99-1"), ("SAM2-4", "SAM2-9"):
        (folder / name).mkdir()
        for path in (folder / video).iterdir():
            run = int(path.stem.rpartition("RUN")[2]) + 7
            shutil.copy(path, folder / name / f"D2020.01.01_S0001_I1_WELL{name[-1]}_RUN{run}.jpeg")
    return folder.parent


def test_one_embryo_under_two_codes_stays_together(copied: Path) -> None:
    data = EmbryoDataset(copied)
    for seed in range(4):
        with pytest.warns(UserWarning, match=r"show one embryo .*: SAM2-4 = SAM2-9, SAM3-6 = SAM99-1"):
            split = make_split(data, seed=seed)
        part = next(videos for videos in split.values() if "SAM99-1" in videos)
        assert {"SAM3-6", "SAM3-11"} < set(part)
        assert check_split(split, data).valid
        assert split.made["same_embryo"] == [["SAM2-4", "SAM2-9"], ["SAM3-6", "SAM99-1"]]
        assert sum(split.made["codes"].values()) == len({code_of(video) for video in data.videos} - {"SAM99"})
    without = make_split(data, exclude=["SAM99-1", "SAM2-9"])
    assert "same_embryo" not in without.made


def test_split_is_refused_if_all_codes_are_one_embryo(copied: Path) -> None:
    out = [video for video in EmbryoDataset(copied).videos if video not in ("SAM3-6", "SAM99-1")]
    with pytest.warns(UserWarning, match="show one embryo"), pytest.raises(DataError, match="at least 2 patient codes"):
        make_split(EmbryoDataset(copied), {"train": 1, "test": 1}, exclude=out)


def test_one_embryo_in_two_parts_is_a_leak(copied: Path, capsys) -> None:
    videos = EmbryoDataset(copied).videos
    test = ["SAM99-1", "SAM2-4", "SAM2-9"]
    parts = {"train": [video for video in videos if video not in test], "test": test}
    (file := copied / "split.json").write_text(json.dumps(parts))
    told = "1 of 3 videos in test shows an embryo of train under another name: SAM99-1 = SAM3-6"
    assert list(map(str, check_split(parts, EmbryoDataset(copied)).leaks)) == [told]
    assert check_split(parts, videos).valid  # names alone do not show it
    assert main([str(copied), "--check", str(file)]) == 1
    form = "the original project's split.json: 0 videos leak through a sibling, 1 video under another name"
    assert capsys.readouterr().out == f"{form}\n{told}\n"
    assert main([str(copied), "--check", str(file), "--json"]) == 1
    [leak] = json.loads(capsys.readouterr().out)["leaks"]
    assert (leak["videos"], leak["originals"]) == (["SAM99-1"], ["SAM3-6"])


def test_no_data_set_is_said_in_one_line(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "new.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())
