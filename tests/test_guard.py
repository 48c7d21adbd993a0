"""Test that the guard can fail: it reports planted changes, and accepts a new sentence only if it was reviewed."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import guard
import pytest


@pytest.fixture(scope="module")
def library() -> guard.Library:
    return guard.Library()


@pytest.fixture(scope="module")
def folder(shared: Callable[..., Any]) -> Path:
    """Return the folder of the shared sample data."""
    return shared().extracted.parent.resolve()


def cases(library: guard.Library, folder: Path) -> list[guard.Case]:
    """Return a status and a file, tables and findings, a sentence about a wrong number, and all signatures."""
    return [
        guard.command(library, "dataset", folder / "extracted", "--table", "table.csv", "--planes", "F0"),
        guard.Case("findings", lambda: library.validate(folder / "extracted").findings),
        guard.Case("wrong", lambda: library.EmbryoDataset(folder / "extracted")["SAM1-2"].frame(999)),
        guard.Case("NAMES", lambda: guard.signatures(library)),
    ]


@pytest.fixture
def observe(library: guard.Library, folder: Path) -> Callable[[], dict[str, Any]]:
    """Return `observe()`, which records the few cases as `record` records all."""

    def run() -> dict[str, Any]:
        found, _ = guard.run_all(cases(library, folder), folder)
        return {"names": found.pop("NAMES")["outcome"]["names"], "cases": found}

    return run


@pytest.fixture(scope="module")
def recording(library: guard.Library, folder: Path) -> dict[str, Any]:
    found, _ = guard.run_all(cases(library, folder), folder)
    return {"names": found.pop("NAMES")["outcome"]["names"], "cases": found}


@pytest.fixture
def plant(library: guard.Library, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Return `plant(name, other)`, which replaces a public object in all modules."""

    def replace(name: str, other: Any) -> None:
        own = getattr(library, name)
        for module in library.modules.values():
            if getattr(module, name, None) is own:
                monkeypatch.setattr(module, name, other)
        monkeypatch.setitem(library.places, name, dict.fromkeys(library.places[name], other))

    return replace


def differences(old: dict[str, Any], new: dict[str, Any], *rows: tuple[str, str, str]) -> guard.Comparison:
    return guard.Comparison(old, new, guard.Reviewed(rows))


def changed(recording: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the recording with another text in it."""
    text = json.dumps(recording)
    assert old in text
    return json.loads(text.replace(old, new))


def test_what_is_the_same_is_the_same(recording: dict[str, Any], observe: Callable[[], dict[str, Any]]) -> None:
    found = differences(recording, observe())
    assert list(found.lines()) == ["0 exact differences, 0 not reviewed, 0 reviewed"]
    assert not found.fails
    (table,) = (case for name, case in recording["cases"].items() if name.startswith("dataset"))
    assert table["outcome"] == {"status": 0}
    assert table["files"]["table.csv"][1][0] == "identifier,phase,phase_index,hours,code"
    assert recording["cases"]["findings"]["outcome"]["says"]["remedy"]["words"]
    assert recording["names"]["EmbryoDataset.table"].startswith("(self, videos")


def test_another_status(
    library: guard.Library,
    recording: dict[str, Any],
    observe: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = next(module for name, module in library.modules.items() if name.endswith(guard.COMMANDS["dataset"][0]))
    main = module.main
    monkeypatch.setattr(module, "main", lambda args: main(args) + 1)
    found = differences(recording, observe())
    (where, *both), *rest = found.exact
    assert where.endswith("> outcome > status")
    assert both == ["0", "1"]
    assert rest == found.unreviewed == []


def test_another_file(
    library: guard.Library,
    recording: dict[str, Any],
    observe: Callable[[], dict[str, Any]],
    plant: Callable[[str, Any], None],
) -> None:
    truth = library.ground_truth
    plant("ground_truth", lambda table: truth(table).assign(phase_index=7))
    found = differences(recording, observe())
    assert found.fails
    assert {where.partition(" > files > ")[2].partition(" ")[0] for where, *_ in found.exact} == {"table.csv"}


def test_another_finding(
    library: guard.Library,
    recording: dict[str, Any],
    observe: Callable[[], dict[str, Any]],
    plant: Callable[[str, Any], None],
) -> None:
    validate = library.validate

    def other(path: Path) -> Any:
        report = validate(path)
        report.findings.loc[0, "severity"] = "error"
        return report

    plant("validate", other)
    found = differences(recording, observe())
    ((where, old, new),) = found.exact
    assert where == "findings > outcome > rows > 0"
    assert (",info," in old, ",error," in new) == (True, True)


def test_another_signature(
    recording: dict[str, Any], observe: Callable[[], dict[str, Any]], plant: Callable[[str, Any], None]
) -> None:
    plant("runs_text", lambda numbers: "")
    found = differences(recording, observe())
    ((kind, old, new),) = found.unreviewed
    assert (kind, old.partition(":")[0], new) == ("signature", "runs_text", "runs_text: (numbers)")
    assert not differences(recording, observe(), (kind, old, new)).fails


def test_names_that_come_and_go(recording: dict[str, Any]) -> None:
    new = changed(recording, "whole_planes", "entire_planes")
    rows = [("name", "", "entire_planes"), ("name", "whole_planes", "")]
    assert differences(recording, new).unreviewed == rows
    assert not differences(recording, new, *rows).fails
    assert not differences(recording, new, ("name", "whole_planes", "entire_planes")).fails


def test_a_function_that_is_gone(library: guard.Library) -> None:
    def called(name: str) -> dict[str, Any]:
        return {"names": {name: "()"}, "cases": {"x": {"outcome": guard.tried(lambda: getattr(library, name)("t2"))}}}

    old, new = called("describe"), called("no_such_name")
    rows = [("name", "", "no_such_name"), ("name", "describe", "")]
    assert differences(old, new, *rows).exact
    gone = ("name", "no_such_name", "")
    assert not differences(old, new, *rows, gone).fails


def test_a_renamed_column(recording: dict[str, Any]) -> None:
    new = changed(recording, '["severity", ', '["gravity", ')
    assert differences(recording, new).exact
    assert not differences(recording, new, ("name", "severity", "gravity")).exact


def test_another_sentence_must_be_reviewed(recording: dict[str, Any]) -> None:
    new = changed(recording, "there is no RUN 999 in plane F0 of SAM1-2", "plane F0 of SAM1-2 lacks RUN 999")
    found = differences(recording, new)
    ((kind, *pair),) = found.unreviewed
    assert kind == "sentence"
    assert pair[0].startswith("there is no RUN <1> in plane <2> of <3>; nearest")
    assert pair[1].startswith("plane <2> of <3> lacks RUN <1>; nearest")
    assert found.exact == []
    assert found.fails
    assert not differences(recording, new, (kind, *pair)).fails
    assert differences(recording, new, (kind, pair[0], "another one")).fails


def test_another_number_in_a_sentence_remains_visible(recording: dict[str, Any]) -> None:
    good = changed(recording, "there is no RUN 999 in", "RUN 999 is not in")
    (row,) = differences(recording, good).unreviewed
    wrong = changed(recording, "there is no RUN 999 in", "RUN 998 is not in")
    assert not differences(recording, good, row).fails
    assert differences(recording, wrong, row).fails


def test_more_lines_are_a_difference() -> None:
    def said(*lines: str) -> dict[str, Any]:
        return {
            "names": {},
            "cases": {"x": {"outcome": 0, "stderr": {"lines": len(lines), "says": guard.words([*lines])}}},
        }

    found = differences(said("error: a"), said("error: a", "error: b"))
    assert [where for where, *_ in found.exact] == ["x > stderr > lines"]
    assert found.unreviewed == [("sentence", "", "error: b")]


def test_a_picture_with_another_text_need_not_have_the_same_pixels() -> None:
    def figure(text: str, pixels: str, bare: str = "b") -> dict[str, Any]:
        shown = {"without text": bare, "text": {"words": [text], "if the same": pixels}}
        return {"names": {}, "cases": {"x": {"outcome": shown}}}

    assert differences(figure("a", "1"), figure("a", "2")).exact
    assert not differences(figure("a", "1"), figure("b", "2")).exact
    assert differences(figure("a", "1"), figure("b", "2", "c")).exact


def test_what_hangs_is_ended_and_what_dies_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.3)
    found, _ = guard.run_all(
        [
            guard.Case("hangs", lambda: time.sleep(60)),
            guard.Case("dies", lambda: guard.os.kill(guard.os.getpid(), 15)),
            guard.Case("ends", lambda: sys.exit(3)),
        ],
        folder,
    )
    assert found["hangs"]["outcome"] == "the process ended with -9"
    assert found["dies"]["outcome"] == "the process ended with -15"
    assert found["ends"]["outcome"]["raised"] == "SystemExit"


def test_what_is_printed_and_left_behind_is_observed(folder: Path) -> None:
    def leave() -> None:
        print(f"wrote {Path.cwd()}/x.txt")
        Path("x.txt").write_text("x")
        Path(".part-abcdefgh").mkdir()
        raise ValueError(f"no {folder}")

    found = guard.run_all([guard.Case("leaves", leave)], folder)[0]["leaves"]
    assert found["stdout"] == {"words": ["wrote CWD/x.txt"]}
    assert set(found["files"]) == {"x.txt", ".part-RANDOM/"}
    assert found["outcome"] == {"raised": "ValueError", "says": {"words": ["no IN"]}}


def test_the_command(tmp_path: Path, recording: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    for name, each in {"old": recording, "new": changed(recording, "nearest: ", "the nearest is ")}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(each))
    reviewed = tmp_path / "reviewed.tsv"
    args = ["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--reviewed", str(reviewed)]
    assert guard.main(args) == 1
    assert "1 not reviewed, 0 reviewed" in capsys.readouterr().out
    assert guard.main([*args, "--write-reviewed"]) == 1
    assert reviewed.read_text().startswith("kind\told\tnew\nsentence\t")
    assert guard.main(args) == 0
    assert "0 not reviewed, 1 reviewed" in capsys.readouterr().out
    guard.append_reviewed(reviewed, [("sentence", "a\tb\\n", "c\nd")])
    assert ("sentence", "a\tb\\n", "c\nd") in guard.Reviewed.read(reviewed).rows


def test_the_reviewed_differences_can_be_read() -> None:
    assert all(kind in ("sentence", "name", "signature") for kind, _, _ in guard.Reviewed.read(guard.REVIEWED).rows)
