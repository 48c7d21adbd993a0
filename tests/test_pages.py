"""Test the commands that write the pages about robustness and speed: what they count, compare and leave out."""

import ast
import base64
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import page as speed  # noqa: E402
import pages  # noqa: E402
import robustness  # noqa: E402


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {f"{path.name}::{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_counts_exists_once() -> None:
    named = [test for kind in robustness.KINDS.values() for test in kind.tests]
    assert len(named) == len(set(named))
    have = set().union(*map(names_in, ROOT.glob("tests/test_*.py")))
    assert [test for test in named if test not in have] == []


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("robustness", [kind.title for kind in robustness.KINDS.values()]),
        ("benchmarks", [part.title for part in speed.PARTS.values()]),
    ],
)
def test_the_saved_page_has_each_kind_and_names_the_machine_but_no_folder(name: str, titles: list[str]) -> None:
    text = pages.text_of(ROOT / "nbs" / f"{name}.ipynb")
    quick = "quick run" in text
    assert [title for title in titles if f"## {title}\n" not in text and not quick] == []
    assert re.search(r"On \d+ cores? \(\w+\), \d+ GiB of memory, [^,]+, Python 3", text)
    assert not re.search(r"/(tmp|home|root|work|Users)\b", text)


REPORT = """<testsuites><testsuite><properties><property name="hypothesis-statistics-tests/test_a.py::test_any" value="{examples}"/></properties>
<testcase classname="tests.test_a" name="test_one[x]"/><testcase classname="tests.test_a" name="test_one[y]"><failure/></testcase>
<testcase classname="tests.test_a" name="test_one[z]"><skipped message="Skipped: no root"/></testcase><testcase classname="tests.test_a" name="test_any"/>
<testcase classname="tests.test_a" name="test_many"><properties><property name="tried" value="20"/></properties></testcase>
<testcase classname="tests.test_a" name="test_failed"><properties><property name="tried" value="6"/></properties><failure/></testcase>
</testsuite></testsuites>"""


def test_cases_are_counted(tmp_path: Path) -> None:
    said = "- during generate phase\n - 148 passing, 0 failing, and 7 invalid test cases\n- during reuse\n - 2 passing, 0 failing"
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(examples=base64.b64encode(said.encode()).decode()))
    found = robustness.counts(report)
    one = found["test_a.py::test_one"]
    assert (one.tried, one.held, one.failed, one.skipped) == (2, 1, ["test_one[y]"], {"no root": 1})
    assert (found["test_a.py::test_any"].tried, found["test_a.py::test_any"].held) == (150, 150)
    assert (found["test_a.py::test_many"].tried, found["test_a.py::test_many"].held) == (20, 20)
    assert (found["test_a.py::test_failed"].tried, found["test_a.py::test_failed"].held) == (6, 0)
    kind = robustness.Kind(
        "Things", "It holds.", {"test_a.py::test_one": "one", "test_a.py::test_gone": "two"}, "Much."
    )
    text = "\n\n".join(robustness.page(found, {"things": kind}, 1, quick=False))
    assert "| Things | 2 | 1 | 1 | 1 |" in text
    assert "**Did not hold**: `test_a.py::test_one`, test_one[y]." in text
    assert "**Not tried here**: `test_a.py::test_one`, 1 case: no root." in text
    assert "| two | test_a | 0 | 0 |" in text
    assert "**What falls short.** Much." in text


OUTPUT = """700 frames, in /tmp/x/disk; 2 workers

| | seconds | times ours (median, range of rounds) |
|---|---|---|
| ours | 1.00 | 1.00 (1.00 to 1.00) |
| GNU tar | 0.50 | 0.50 (0.40 to 0.60) |

| 60 frames | first (ms) | shown (1/s) |
|---|---:|---:|
| EmbryoPlayer | 146 | 59.3 |

 clock  shift  embryos  sibling  reported
   1.0      0      200    False       1.5
   1.0      0      200     True       2.0
"""


@pytest.mark.parametrize(
    ("limit", "number", "kept"),
    [
        (speed.Limit("GNU tar", least=1.0, meaning="m"), 0.5, "**not kept**"),
        (speed.Limit("GNU tar", most=1.0, meaning="m"), 0.5, "kept"),
        (speed.Limit("EmbryoPlayer", least=54, meaning="m", column="shown (1/s)"), 59.3, "kept"),
        (speed.Limit("1.0 0 200 False", most=5, meaning="m", column="reported"), 1.5, "kept"),
        (speed.Limit("nothing", most=5, meaning="m"), None, "not measured"),
    ],
)
def test_limits_are_compared(limit: speed.Limit, number: float | None, kept: str) -> None:
    assert speed.measured(limit, OUTPUT) == number
    assert speed.verdict(limit, OUTPUT)[2] == kept


def test_what_is_printed_becomes_markdown_without_folders() -> None:
    text = speed.readable(OUTPUT, Path("/tmp/x/disk"))
    assert text.startswith("700 frames, in DISK; 2 workers\n\n| | seconds |")
    assert "```text\n clock  shift" in text
    limit = speed.Limit("GNU tar", least=1.0, meaning="as fast")
    part = speed.Part("Things", "How fast?", "extract", "--folder {disk}", limits=(limit,), short="The disk.")
    said = speed.section(part, part.full, OUTPUT, "x: left out, because y", 2, Path("/tmp/x/disk"))
    assert "| as fast | 0.5; limit: at least 1 | **not kept** |" in said
    assert "`python benchmarks/extract.py --folder DISK`; 2 minutes" in said
    cells = speed.page({"things": (part, OUTPUT, said)}, quick=False)
    assert "0 of 1 limits were kept." in cells[2]


def test_every_benchmark_is_on_the_page() -> None:
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - speed.SHARED
    assert {part.script for part in speed.parts().values()} == scripts


def test_a_page_is_a_notebook_of_text(tmp_path: Path) -> None:
    pages.write_page(tmp_path / "a.ipynb", ["# A\n\n> b", pages.table(("x", "n"), [("a|b", 1), ("c", "2,000")])])
    assert pages.text_of(tmp_path / "a.ipynb") == (
        "# A\n\n> b\n\n| x | n |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 2,000 |"
    )
