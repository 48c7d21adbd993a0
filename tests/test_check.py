"""Test that each check of .ci/check.py finds its problem, in a small project made for the purpose."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytestmark = pytest.mark.slow

REPO = Path(__file__).parent.parent
PACKAGE = "nsw_da_medical_image"
GREET = '#| export\ndef greet(name: str) -> str:\n    """A greeting."""\n    return f"hello {name}"'
INDEX = [
    new_markdown_cell("# A project\n\n> For tests\n\n![A picture](images/a.png), [more](../CONTRIBUTING.md)"),
    new_code_cell("#| hide\nsecret = 1"),
    new_code_cell("#| eval: false\nprint(1)", outputs=[new_output("stream", text="  1\n 10\n")]),
]


def tool(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nbdev(name: str, cwd: Path) -> None:
    tool(str(Path(sys.executable).with_name(name)), cwd=cwd)


def write(path: Path, cells: list[nbformat.NotebookNode]) -> None:
    """Write a notebook in the form that nbdev_clean leaves behind."""
    nb = new_notebook(cells=[nbformat.from_dict(c | {"id": f"{i:08x}"}) for i, c in enumerate(cells)])
    text = json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def library(*cells: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the cells of a notebook that exports the module greeting, then `cells`."""
    first = [new_markdown_cell("# greeting\n\n> Greets"), new_code_cell("#| default_exp tools.greeting")]
    return [*first, new_code_cell(GREET), *cells]


@pytest.fixture(scope="module")
def correct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with this repository's settings and checks, and one small module."""
    root = tmp_path_factory.mktemp("correct")
    for name in ("settings.ini", "pyproject.toml", ".gitignore", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(REPO / name, root)
    (root / ".ci").mkdir()
    for name in ("check.py", "docs.py", "outputs.py", "readme.py", "version.py"):
        shutil.copy(REPO / ".ci" / name, root / ".ci")
    write(root / "nbs/index.ipynb", INDEX)
    write(root / "nbs/tools/00_greeting.ipynb", library(new_code_cell('assert greet("you") == "hello you"')))
    (root / "nbs/sidebar.yml").write_text("contents: [index.ipynb, tools/00_greeting.ipynb]\n")
    tool(sys.executable, "-m", "ruff", "format", "--quiet", ".ci", cwd=root)  # the format of .ci is not tested here
    nbdev("nbdev_export", root)
    note_outputs(root, "nbs/index.ipynb")
    tool(sys.executable, ".ci/readme.py", cwd=root)
    tool("git", "init", "-q", cwd=root)
    tool("git", "add", "-A", cwd=root)
    return root


@pytest.fixture
def project(correct: Path, tmp_path: Path) -> Path:
    return shutil.copytree(correct, tmp_path / "project")


def check(project: Path, *names: str) -> list[str]:
    """Return the findings of the named checks, and assert that the project's files stay unchanged."""
    before = state(project)
    done = subprocess.run(
        [sys.executable, ".ci/check.py", *names], cwd=project, text=True, capture_output=True, check=False
    )
    assert done.stderr == ""
    assert state(project) == before
    *findings, last = done.stdout.splitlines()
    assert done.returncode == (1 if findings else 0)
    plural = "s" * (len(findings) != 1)
    assert last.startswith(f"{len(findings)} finding{plural} in" if findings else "No findings")
    return findings


def state(project: Path) -> dict[Path, bytes]:
    hidden = (".git", ".mypy_cache", ".ruff_cache", "__pycache__")
    files = (path for path in project.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if not set(hidden) & set(path.parts)}


def plant_saved(path: str, **output_data: str) -> Callable[[Path], None]:
    cell = new_code_cell("1", outputs=[new_output("display_data", data=output_data)])
    return lambda project: write(project / path, [new_markdown_cell("# A notebook"), cell])


def note_outputs(project: Path, *names: str) -> None:
    """Note the outputs of these notebooks, as the command does that saves them."""
    code = (
        "import json, sys, outputs\n"
        "noted = {name: outputs.digests(outputs.read(outputs.ROOT / name)) for name in sys.argv[1:]}\n"
        "(outputs.ROOT / outputs.DIGESTS).write_text(json.dumps({'versions': {}, 'outputs': noted}))"
    )
    tool(sys.executable, "-c", code, *names, cwd=project / ".ci")


def plant_noted(path: str, *cells: nbformat.NotebookNode) -> Callable[[Path], None]:
    """Plant a notebook whose outputs the command has saved."""

    def plant(project: Path) -> None:
        write(project / path, [new_markdown_cell("# A notebook"), *cells])
        note_outputs(project, "nbs/index.ipynb", path)

    return plant


def plant_stale(project: Path) -> None:
    plant_noted("nbs/a.ipynb", new_code_cell("1", outputs=[stream("1\n"), stream("2\n")]))(project)
    write(project / "nbs/a.ipynb", [new_code_cell("1", outputs=[stream("1\n")])])


def plant_gone(project: Path) -> None:
    plant_noted("nbs/a.ipynb", new_code_cell("1", outputs=[stream("1\n")]))(project)
    (project / "nbs/a.ipynb").unlink()


def plant_large(project: Path) -> None:
    for i in range(13):
        write(project / f"nbs/{i}.ipynb", [new_markdown_cell("x" * 950_000)])


def stream(text: str) -> nbformat.NotebookNode:
    return new_output("stream", text=text)


def plant_module_edit(project: Path) -> None:
    path = project / PACKAGE / "tools/greeting.py"
    path.write_text(path.read_text().replace("hello", "goodbye"))


def plant_version(project: Path) -> None:
    path = project / "settings.ini"
    path.write_text(path.read_text().replace("version = 0.1.0", "version = 0.2.0"))


def plant_widgets(project: Path) -> None:
    path = project / "nbs/tutorials/a.ipynb"
    write(path, [new_markdown_cell("# A tutorial")])
    nb = json.loads(path.read_text())
    nb["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    path.write_text(json.dumps(nb))


def plant_unclean(project: Path) -> None:
    path = project / "nbs/tools/00_greeting.ipynb"
    nb = json.loads(path.read_text())
    nb["cells"][2]["execution_count"] = 7
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n")


def plant_attachment(project: Path) -> None:
    cell = new_markdown_cell("![](attachment:a.png)", attachments={"a.png": {"image/png": "iVBORw0="}})
    write(project / "nbs/a.ipynb", [cell])


def plant_added(path: str, content: bytes | list[nbformat.NotebookNode]) -> Callable[[Path], None]:
    """Plant a file or a notebook, and let git track it."""

    def plant(project: Path) -> None:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (project / path).write_bytes(content)
        else:
            write(project / path, content)
        tool("git", "add", "--force", path, cwd=project)

    return plant


def plant_changed_picture(project: Path) -> None:
    plant_added("nbs/images/a.png", b"\x89PNG an invented frame")(project)
    tool(sys.executable, ".ci/outputs.py", "--file", "nbs/images/a.png", cwd=project)
    assert check(project, "private") == []
    (project / "nbs/images/a.png").write_bytes(b"\x89PNG a real frame")


def plant_lost_picture(project: Path) -> None:
    plant_changed_picture(project)
    tool("git", "rm", "--quiet", "--force", "nbs/images/a.png", cwd=project)


def plant_more(key: str, value: object) -> Callable[[Path], None]:
    """Plant an output that was saved, and that was then given another key."""

    def plant(project: Path) -> None:
        for output in stream("1\n"), new_output("display_data", data={"text/plain": "1"}):
            if key in output:
                continue
            plant_noted("nbs/a.ipynb", new_code_cell("1", outputs=[output]))(project)
            nb = json.loads((project / "nbs/a.ipynb").read_text())
            nb["cells"][1]["outputs"][0][key] = value
            (project / "nbs/a.ipynb").write_text(json.dumps(nb))

    return plant


def plant_repeated_key(project: Path) -> None:
    write(project / "nbs/a.ipynb", [new_markdown_cell("# A notebook")])
    text = (project / "nbs/a.ipynb").read_text()
    (project / "nbs/a.ipynb").write_text(text.replace('{\n "cells"', '{\n "cells": [],\n "cells"', 1))


def plant_text(path: str, text: str) -> Callable[[Path], None]:
    return lambda project: (project / path).write_text(text) and None


def plant_cells(*sources: str) -> Callable[[Path], None]:
    cells = library(*map(new_code_cell, sources))
    return lambda project: write(project / "nbs/tools/00_greeting.ipynb", cells)


def plant_id_twice(project: Path) -> None:
    write(path := project / "nbs/a.ipynb", [new_code_cell("1"), new_code_cell("2")])
    path.write_text(path.read_text(encoding="utf-8").replace("00000001", "00000000"), encoding="utf-8")


DATE = re.search(r"^## \S+ - (\S+)$", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
UNTYPED = 'def wrong() -> int:\n    return "one"\n'
PICTURE = "image/png"
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDE = "iVBORw0KGgoAAAANSUhEUgAAA+kAAAAB"  # the head of a PNG of 1001 x 1 pixels
EMBEDDED = "data:image/png;base64,iVBORw0="
BASE64 = "iVBORw0KGgo" * 40  # as long as that of a very small frame
LINES = "\n".join(f"    '{'/9j/4AAQ' * 9}'" for _ in range(8))
EMBRYO = [new_code_cell("1", outputs=[new_output("display_data", data={PICTURE: "iVBORw0="})])]
IN_TEXT = "contains a picture in its text"
FILE = "is a picture, an archive or another file that is not text, and is not in nbs/outputs.json"
UNKNOWN = "cell 2 (id 00000001) contains an output that is not in nbs/outputs.json"

PROBLEMS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "edited module": ("sync", plant_module_edit, "greeting.py differs from what its notebook exports"),
    "edited notebook": (
        "sync",
        plant_cells("1", "#| export\nx = 1"),
        "greeting.py differs from what its notebook exports",
    ),
    "version": ("sync", plant_version, "__init__.py differs from what its notebook exports"),
    "other version": (
        "version",
        plant_text("CITATION.cff", f"version: 9.9.9\ndate-released: {DATE}\n"),
        "CITATION.cff has 9.9.9",
    ),
    "other date": (
        "version",
        plant_text("CITATION.cff", "version: 0.1.0\ndate-released: 1999-01-01\n"),
        "the dates in CITATION.cff and CHANGELOG.md differ",
    ),
    "missing module": (
        "sync",
        lambda p: (p / PACKAGE / "tools/greeting.py").unlink(),
        "does not exist yet",
    ),
    "missing index": (
        "sync",
        lambda p: (p / PACKAGE / "_modidx.py").unlink(),
        "_modidx.py does not exist yet",
    ),
    "orphan": ("sync", plant_text(f"{PACKAGE}/tools/old.py", "x = 1\n"), "old.py is not exported by any notebook"),
    "unadded": ("unadded", plant_text(f"{PACKAGE}/tools/new.py", "x = 1\n"), "run git add"),
    "unadded notebook": ("unadded", lambda p: write(p / "nbs/new.ipynb", []), "run git add nbs/new.ipynb"),
    "not in the sidebar": ("sidebar", lambda p: write(p / "nbs/new.ipynb", []), "nbs/sidebar.yml lacks new.ipynb"),
    "app": (
        "app",
        lambda p: write(p / "nbs/app.ipynb", [new_code_cell("1")]),
        "run cp nbs/app.ipynb",
    ),
    "unclean": ("clean", plant_unclean, "run nbdev_clean --fname nbs/tools/00_greeting.ipynb"),
    "no notebook": ("clean", plant_text("nbs/a.ipynb", '{"cells": ['), "a.ipynb cannot be read"),
    "an id twice": (
        "clean",
        plant_id_twice,
        "nbs/a.ipynb contains two cells with the id 00000000",
    ),
    "widget state": ("private", plant_widgets, "nbs/tutorials/a.ipynb contains saved widget state"),
    "picture": ("private", plant_saved("nbs/a.ipynb", **{PICTURE: "iVBORw0="}), UNKNOWN),
    "picture in a tutorial": ("private", plant_saved("nbs/tutorials/a.ipynb", **{PICTURE: "iVBORw0="}), UNKNOWN),
    "svg": ("private", plant_saved("nbs/a.ipynb", **{"image/svg+xml": "<svg/>"}), UNKNOWN),
    "html": ("private", plant_saved("nbs/a.ipynb", **{"text/html": f"<img src='{EMBEDDED}'>"}), UNKNOWN),
    "text": ("private", plant_saved("nbs/a.ipynb", **{"text/plain": "a value"}), UNKNOWN),
    "widget": (
        "private",
        plant_noted("nbs/a.ipynb", new_code_cell("1", outputs=[new_output("display_data", data={WIDGET: {}})])),
        "nbs/a.ipynb, cell 2 (id 00000001) contains a saved widget",
    ),
    "attachment": ("private", plant_attachment, "cell 1 (id 00000000) contains an attachment"),
    "noted attachment": (
        "private",
        plant_noted("nbs/a.ipynb", new_markdown_cell("", attachments={"a.png": {PICTURE: "iVBORw0="}})),
        "cell 2 (id 00000001) contains an attachment",
    ),
    "picture in prose": (
        "private",
        lambda p: write(p / "nbs/a.ipynb", [new_markdown_cell(f"![]({EMBEDDED})")]),
        "cell 1 (id 00000000) contains a picture in its text",
    ),
    "data URL in capitals": (
        "private",
        lambda p: write(p / "nbs/a.ipynb", [new_markdown_cell("![](DATA:image/png;base64,iVBORw0=)")]),
        IN_TEXT,
    ),
    "data URL without a type": (
        "private",
        lambda p: write(p / "nbs/a.ipynb", [new_markdown_cell("![](data:;base64,/9j/4AAQ)")]),
        IN_TEXT,
    ),
    "data URL of a page": (
        "private",
        lambda p: write(p / "nbs/a.ipynb", [new_markdown_cell("![](data:text/html;base64,PGltZz4=)")]),
        IN_TEXT,
    ),
    "base64 in code": ("private", plant_cells(f'#| eval: false\nImage(data=b64decode("{BASE64}"))'), IN_TEXT),
    "base64 in lines of code": ("private", plant_cells(f"#| eval: false\nframe = (\n{LINES}\n)"), IN_TEXT),
    "bytes in code": ("private", plant_cells("#| eval: false\nframe = b'" + r"\xff\xd8A" * 60 + "'"), IN_TEXT),
    "data URL in code": ("private", plant_cells(f"#| eval: false\nHTML('data:;base64,{BASE64[:60]}')"), IN_TEXT),
    "more in a stream": ("private", plant_more("data", {PICTURE: "iVBORw0="}), UNKNOWN),
    "more in a display": ("private", plant_more("text", "iVBORw0="), UNKNOWN),
    "more in a count": ("private", plant_more("execution_count", "iVBORw0="), UNKNOWN),
    "a key twice": ("private", plant_repeated_key, "nbs/a.ipynb cannot be read (ValueError('a key is repeated'))"),
    "format 3": ("private", plant_text("nbs/a.ipynb", '{"worksheets": []}'), "nbs/a.ipynb cannot be read"),
    "notebook of another name": ("private", plant_added("nbs/_a.ipynb", EMBRYO), "clear the outputs"),
    "notebook in a hidden folder": ("private", plant_added("nbs/_b/.c/a.ipynb", EMBRYO), "clear the outputs"),
    "notebook elsewhere": ("private", plant_added("Untitled.IPYNB", EMBRYO), "Untitled.IPYNB, cell 1 (id 00000000)"),
    "picture file": ("private", plant_added("nbs/images/frame.jpeg", b"\xff\xd8\xff"), f"nbs/images/frame.jpeg {FILE}"),
    "picture that is text": ("private", plant_added("a.PGM", b"P2 1 1 255 7"), f"a.PGM {FILE}"),
    "file that is not text": ("private", plant_added("tests/frame", b"\x89PNG"), f"tests/frame {FILE}"),
    "ignored archive": ("private", plant_added("data/embryo_dataset.tar.gz", b""), FILE),
    "changed picture": ("private", plant_changed_picture, f"nbs/images/a.png {FILE}"),
    "picture that is gone": ("private", plant_lost_picture, "lists nbs/images/a.png, which git does not track"),
    "page with a picture": (
        "private",
        plant_added("page.html", f"<img src='data:image/png;base64,{BASE64}'>".encode()),
        "page.html contains encoded data",
    ),
    "wide picture": (
        "shown",
        plant_saved("nbs/a.ipynb", **{PICTURE: WIDE}),
        "nbs/a.ipynb, cell 2 (id 00000001) shows a picture 1,001 pixels wide, and 1,000 are the most",
    ),
    "value without result": ("shown", plant_cells("x = 2", "x"), "cell 5 (id 00000004) shows no result"),
    "print without result": (
        "shown",
        plant_cells("for x in 1, 2:\n    print(x)\nassert x"),
        "cell 4 (id 00000003) shows no result",
    ),
    "large notebook": (
        "shown",
        lambda p: write(p / "nbs/a.ipynb", [new_markdown_cell("x" * 1_000_000)]),
        "1,000,000 are too many",
    ),
    "many large notebooks": ("shown", plant_large, "12,000,000 are too many"),
    "output that is gone": ("shown", plant_stale, "lists outputs that nbs/a.ipynb does not have"),
    "notebook that is gone": ("shown", plant_gone, "lists nbs/a.ipynb, which does not exist"),
    "readme": ("readme", plant_text("README.md", "# Another\n"), "README.md is not up to date with nbs/index.ipynb"),
    "no index": ("readme", lambda p: (p / "nbs/index.ipynb").unlink(), "nbs/index.ipynb is missing"),
    "lint": ("ruff", plant_text("a.py", "import os\n"), "F401"),
    "notebook lint": ("ruff", plant_cells("1", "import os"), "F401"),
    "format": ("ruff", plant_text("a.py", "x  =  1\n"), "run ruff format"),
    "types": ("types", plant_text(f"{PACKAGE}/tools/wrong.py", UNTYPED), "[return-value]"),
}


def test_correct_project_passes_all_checks(project: Path) -> None:
    assert check(project) == []


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problem_is_found(project: Path, problem: str) -> None:
    name, plant, message = PROBLEMS[problem]
    plant(project)
    findings = check(project, name)
    assert len(findings) == 1, findings
    assert findings[0].startswith(f"{name}: ")
    assert message in findings[0]


def test_all_findings_are_listed(project: Path) -> None:
    plant_module_edit(project)
    for name in ("old", "older"):
        (project / PACKAGE / f"tools/{name}.py").write_text("x = 1\n")
    (project / "README.md").write_text("# Another\n")
    assert [line.split(":")[0] for line in check(project, "readme", "sync", "unadded")] == [
        *(["readme"] + ["sync"] * 3 + ["unadded"] * 2)
    ]


@pytest.mark.parametrize(
    "cell",
    [
        new_code_cell("1", outputs=[new_output("display_data", data={PICTURE: "iVBORw0="})]),
        new_code_cell("1", outputs=[new_output("execute_result", data={"text/html": f"<img src='{EMBEDDED}'>"})]),
        new_code_cell("print(1)", outputs=[stream("1\n")]),
        new_code_cell("#| hide\n1"),
        new_code_cell("#| eval: false\n1"),
        new_code_cell("#| notest\n1"),
        new_code_cell("x = 1\nx += 1;"),
        new_code_cell("1;"),
        new_code_cell("import os"),
        new_code_cell("def show(x):\n    print(x)"),
    ],
)
def test_what_may_be_saved(project: Path, cell: nbformat.NotebookNode) -> None:
    plant_noted("nbs/tools/a.ipynb", cell)(project)
    assert check(project, "private", "shown") == []


def test_the_application_needs_no_outputs(project: Path) -> None:
    write(project / "nbs/app.ipynb", [new_code_cell("1")])
    assert check(project, "private", "shown") == []
    plant_saved("nbs/app.ipynb", **{PICTURE: "iVBORw0="})(project)
    assert len(check(project, "private", "shown")) == 1


def test_a_project_outside_of_git_has_nothing_unadded(project: Path) -> None:
    shutil.rmtree(project / ".git")
    (project / PACKAGE / "tools/new.py").write_text("x = 1\n")
    assert check(project, "unadded") == []


def test_readme_is_made_for_readers(project: Path) -> None:
    text = (project / "README.md").read_text()
    assert "![A picture](nbs/images/a.png), [more](CONTRIBUTING.md)" in text
    assert "secret" not in text
    assert "#|" not in text
    assert "```python\nprint(1)\n```\n\n```text\n  1\n 10\n```" in text
    (project / "README.md").unlink()
    assert "README.md written" in tool(sys.executable, ".ci/readme.py", cwd=project)
    assert (project / "README.md").read_text() == text
    tool(sys.executable, ".ci/readme.py", "--check", cwd=project)
