"""The check of the documentation finds what it should, in small sites, and nothing in ours."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ci"))

import docs  # noqa: E402

GOOD = "<html><title>a</title><nav></nav><body><h1 id='top'>A title</h1><a href='other.html#here'>x</a></body></html>"
OTHER = "<html><title>b</title><nav></nav><body><h1>B</h1><p id='here'></p><img src='a.png'></body></html>"


def problems(folder: Path, page: str) -> list[str]:
    (folder / "page.html").write_text(page)
    (folder / "other.html").write_text(OTHER)
    (folder / "a.png").touch()
    return list(docs.page_problems(folder, {"alias.html": "other.html"}))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("", "", None),
        ("other.html#here", "https://example.org/x#y", None),
        ("other.html#here", "#top", None),
        ("other.html#here", "alias.html#here", None),
        ("other.html#here", "other.html#there", "no such anchor"),
        ("other.html#here", "#bottom", "no such anchor"),
        ("other.html#here", "gone.html", "does not exist"),
        ("<a href", "<img src='b.png'><a href", "does not exist"),
        ("<title>a", "<title> ", "has no title"),
        ("A title", " ", "empty heading"),
        ("<nav></nav>", "", "no navigation"),
        ("</body>", "<p>::: {.callout}</p></body>", "shows the markup"),
        ("</body>", "<p>#| export</p></body>", "shows the markup"),
        ("</body>", "<pre>#| export</pre></body>", None),
    ],
)
def test_problems_of_a_page(old: str, new: str, found: str | None, tmp_path: Path) -> None:
    said = problems(tmp_path, GOOD.replace(old, new, 1))
    assert len(said) == (found is not None), said
    assert all(found in line for line in said if found)


def test_an_empty_site_is_a_problem(tmp_path: Path) -> None:
    assert len(list(docs.page_problems(tmp_path))) == 1


def notebook(title: str, *outputs: dict[str, object]) -> str:
    front = f"---\noutput-file: a.html\ntitle: {title}\n---\n"
    cells = [{"cell_type": "raw", "source": front}, {"cell_type": "code", "source": "1 + 1", "outputs": list(outputs)}]
    return json.dumps({"cells": cells})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (notebook("a", {"output_type": "execute_result"}), None),
        (notebook("'# a'", {"output_type": "execute_result"}), "has the title"),
        (notebook("", {"output_type": "execute_result"}), "has the title"),
        (notebook("a"), "no output"),
        (notebook("a", {"output_type": "error", "ename": "KeyError", "evalue": "'x'"}), "KeyError: 'x'"),
    ],
)
def test_problems_of_a_notebook(text: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "00_a.ipynb").write_text(text)
    said = list(docs.notebook_problems(tmp_path))
    assert len(said) == (found is not None), said
    assert all(found in line for line in said if found)
    assert docs.quarto_names(tmp_path) == {"a.html": "00_a.html"}


def test_a_public_name_without_a_description_is_a_problem(tmp_path: Path) -> None:
    problems(tmp_path, GOOD)
    names = {
        "m.here": ("alias.html#here", ""),
        "m.here.method": ("alias.html#gone", ""),
        "m._private": ("x.html#y", ""),
    }
    aliases = {"alias.html": "other.html"}
    assert list(docs.api_problems(tmp_path, aliases, {"m": names})) == []
    names |= {"m.gone": ("alias.html#gone", ""), "m.lost": ("lost.html#lost", "")}
    assert [line.split(",")[0] for line in docs.api_problems(tmp_path, aliases, {"m": names})] == [
        "m has gone",
        "m has lost",
    ]


def test_navigation_lists_each_notebook_once(tmp_path: Path) -> None:
    assert list(docs.navigation_problems(ROOT / "nbs")) == []
    for name in "a.ipynb", "b.ipynb":
        (tmp_path / name).touch()
    (tmp_path / "sidebar.yml").write_text("contents: [a.ipynb, a.ipynb, c.ipynb]")
    assert [line.split(":")[0] for line in docs.navigation_problems(tmp_path)] == [
        "nbs/sidebar.yml lacks b.ipynb",
        "nbs/sidebar.yml lists c.ipynb, which does not exist",
        "nbs/sidebar.yml lists a.ipynb more than once",
    ]


def test_an_example_without_a_result_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sidebar.yml").touch()
    monkeypatch.setattr(docs, "build", lambda work: tmp_path)
    monkeypatch.setattr(docs, "render", lambda project: project)
    monkeypatch.setattr(docs, "public_names", lambda root: {})
    problems(tmp_path, GOOD)
    assert docs.main([]) == 0
    cell = {"cell_type": "code", "source": "print(1)", "outputs": []}
    (tmp_path / "nbs").mkdir()
    (tmp_path / "nbs/00_a.ipynb").write_text(json.dumps({"cells": [cell]}))
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "notebook_problems", lambda project: [])
    monkeypatch.setattr(docs, "navigation_problems", lambda project: [])
    capsys.readouterr()
    assert docs.main([]) == 1
    assert capsys.readouterr().out.startswith("nbs/00_a.ipynb, cell 1 (id ?) shows no result")


@pytest.mark.slow
def test_the_documentation_builds_without_a_problem() -> None:
    if not shutil.which("smalldocs", path=sysconfig.get_path("scripts")):
        pytest.skip("smalldocs is not installed: pip install -e '.[dev]'")
    done = subprocess.run([sys.executable, ROOT / ".ci/docs.py"], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
