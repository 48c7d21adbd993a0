"""The command that runs notebooks and saves their outputs, on small notebooks made for the purpose."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.slow

REPO = Path(__file__).parent.parent
NAME = "nbs/tools/00_small.ipynb"

PICTURE = """
import base64
import io
from IPython.display import HTML
from PIL import Image

Image.new("L", (20, 10), 90).save(buffer := io.BytesIO(), format="PNG")
HTML(f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"> <b>a card</b>')
"""
FIGURE = """
from matplotlib.figure import Figure

figure = Figure(figsize=(2, 1), dpi=50)
figure.add_axes((0, 0, 1, 1)).plot([1, 2, 3])
figure.savefig(buffer := io.BytesIO())
Image.open(buffer)
"""
PLAYER = """
class Player(ipywidgets.IntSlider):
    def _repr_mimebundle_(self, **kwargs):
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": "<Player>", "text/html": "<b>a sheet</b>"}


Player()
"""
PHOTO = """
import numpy as np

Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
"""
DRAWING = """
class Drawing:
    def _repr_svg_(self):
        return "<svg xmlns='http://www.w3.org/2000/svg'><!-- 2026-11-28T14:30 --></svg>"

    def __repr__(self):
        return "a drawing"


Drawing()
"""
BAR = "from tqdm.auto import tqdm\n\nfor _ in tqdm(range(3)):\n    print('frame')\nprint('end')"
SHOWN = [
    ("#| hide\nprint('a test')", []),
    ("import os\nimport tempfile\nfrom pathlib import Path\n\nimport ipywidgets", []),
    ("work = Path(tempfile.mkdtemp())\nwork / 'extracted'", [{"text/plain": "PosixPath('.../extracted')"}]),
    ("print(work)", [{"stdout": "...\n"}]),
    ("[name for name in os.environ if name.startswith('NSW_')]", [{"text/plain": "['NSW_CACHE_DIR']"}]),
    ("object()", [{"text/plain": "<object>"}]),
    (PICTURE, [{"text/html": "...", "text/plain": "<IPython.core.display.HTML object>"}]),
    (FIGURE, [{"image/png": "...", "text/plain": "<PIL.PngImagePlugin.PngImageFile image mode=RGBA size=100x50>"}]),
    (PHOTO, [{"image/jpeg": "...", "text/plain": "<PIL.Image.Image image mode=L size=40x40>"}]),
    (DRAWING, [{"text/plain": "a drawing"}]),
    (PLAYER, [{"text/html": "<b>a sheet</b>", "text/plain": "<Player>"}]),
    (BAR, [{"stdout": "frame\nframe\nframe\nend\n"}]),
    ("#| slow\n1 + 1", [{"text/plain": "2"}]),
    ("#| hide\n#| slow\nslow = 1", []),
    ("#| eval: false\nraise SystemExit", []),
    ("'slow' in globals()", [{"text/plain": "False"}]),
]


def write(path: Path, *sources: str) -> Path:
    """Write a notebook in the form that nbdev_clean leaves behind."""
    cells = [new_markdown_cell("# small"), *map(new_code_cell, sources)]
    nb = new_notebook(cells=[nbformat.from_dict(cell | {"id": f"{i:08x}"}) for i, cell in enumerate(cells)])
    for cell in nb.cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the command, and no notebook yet."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPO / ".ci/outputs.py", tmp_path / ".ci")
    shutil.copy(REPO / "settings.ini", tmp_path)
    return tmp_path


def command(project: Path, *arguments: str, status: int = 0) -> list[str]:
    """Run the command where real data is at hand, and return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, ".ci/outputs.py", *arguments],
        cwd=project,
        env={**os.environ, "NSW_REAL_DATA": str(project)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()


def saved(path: Path) -> list[list[dict[str, Any]]]:
    """Return what each code cell of a notebook shows; bytes of pictures are left out."""
    found = []
    for cell in json.loads(path.read_text())["cells"][1:]:
        assert cell["execution_count"] is None
        shown = []
        for output in cell["outputs"]:
            data = output.get("data") or {output["name"]: output["text"]}
            texts = {kind: "".join(value) for kind, value in data.items()}
            shown.append(
                {kind: "..." if "base64" in text or "image/" in kind else text for kind, text in texts.items()}
            )
        found.append(shown)
    return found


def test_outputs_are_saved_once_and_for_all(project: Path) -> None:
    path = write(project / NAME, *(source for source, _ in SHOWN))
    command(project)
    assert saved(path) == [shown for _, shown in SHOWN]
    assert "widget" not in path.read_text().replace("ipywidgets", "")
    once = path.read_bytes(), (project / "nbs/outputs.json").read_bytes()
    subprocess.run([Path(sys.executable).with_name("nbdev_clean")], cwd=project, check=True)
    assert path.read_bytes() == once[0]
    command(project, NAME)
    assert (path.read_bytes(), (project / "nbs/outputs.json").read_bytes()) == once
    assert command(project, "--check")[-1] == "No findings"
    assert f"numpy=={np.__version__}" in command(project, "--versions")


def test_what_cannot_be_repeated_is_refused(project: Path) -> None:
    path = write(
        project / NAME,
        "import sys\nimport os\nimport tempfile",
        "#| hide\nprint('a warning', file=sys.stderr)",
        "print(f'24 frames in {0.3 + 0.4:.1f} s')",
        "f'{25 / 2} MB/s'",
        "print(f'written at {2000 + 26}-01-31 12:30')",
        "os.getcwd()",
        "tempfile.gettempdir()[5:]",
        "print('24 hours, 2 steps, 0.5 s')\nprint(f'{1 / 4} s')  # a user sets 0.25 s.",
        "from datetime import datetime\n\ndatetime(2000 + 26, 1, 2, 3, 4)",
        "datetime(2023, 1, 2, 3, 4), '2023-01-02 03:04', [2000 + 26, 1, 2, 3]",
        "os.path.basename(tempfile.mkdtemp())",
        "'x' * 1_000_001",
        "for n in 2, 3:\n    pass\nprint(f'{1 + 1:.0f} s')",
        "print(undefined)",
    )
    before = path.read_bytes()
    *findings, _, last = command(project, status=1)
    assert last == f"{len(findings)} finding(s)"
    assert path.read_bytes() == before
    assert not (project / "nbs/outputs.json").exists()
    for number, text in {
        3: "writes to standard error, which JupyterLab shows in red: avoid or capture 'a warning'",
        4: "shows a duration or a speed, '0.7 s'",
        5: "shows a duration or a speed, '12.5 MB/s'",
        6: "shows a time stamp, '2026-01-31 12:30'",
        7: "shows a path of this machine",
        8: "shows a path of this machine",
        10: "shows a time stamp",
        12: "shows the random name of a temporary folder, 'tmp",
        14: "shows a duration or a speed, '2 s'",
        15: "fails: NameError: name 'undefined' is not defined",
    }.items():
        assert sum(f"cell {number} " in line and text in line for line in findings) == 1, (number, findings)
    assert sum("1,000,000 are too many" in line for line in findings) == 1
    assert len(findings) == 11


def test_a_difference_is_found(project: Path) -> None:
    path = write(project / NAME, PICTURE.replace("<b>", "<i>"), FIGURE, "print('one')", "2")
    command(project)
    nb = json.loads(path.read_text())
    html, figure, text, value = nb["cells"][1:]
    data = figure["outputs"][0]["data"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"])))).astype(int)

    def compare(change: int | np.ndarray, size: int = 50) -> list[str]:
        picture = Image.fromarray(np.clip(pixels[:size] + change, 0, 255).astype(np.uint8))
        picture.save(buffer := io.BytesIO(), format="PNG")
        data["image/png"] = base64.b64encode(buffer.getvalue()).decode()
        path.write_text(json.dumps(nb))
        return [line for line in command(project, "--check", status=1) if "cell" in line]

    text["outputs"][0]["text"] = ["two\n"]
    assert compare(-1) == [f"{NAME}, cell 4 (id 00000003) shows other text: run python .ci/outputs.py {NAME}"]
    text["outputs"][0]["text"] = ["one\n"]
    value["outputs"] = []
    html["outputs"][0]["data"]["text/html"] = ["".join(html["outputs"][0]["data"]["text/html"]).replace("card", "cart")]
    first, second, third = compare(-30)
    assert "cell 2 (id 00000001) shows other text/html" in first
    assert "cell 3 (id 00000002) the pixels of a picture differ by" in second
    assert "cell 5 (id 00000004) has 1 outputs of other kinds than the 0 saved" in third
    assert "a picture has 100 x 50 pixels, saved are 100 x 20" in compare(0, 20)[1]
    corner = np.zeros((50, 100, 1), int)
    corner[-12:, -12:] = -30
    assert np.abs(corner).mean() < 1
    assert "cell 3 (id 00000002) a part of a picture differs by" in compare(corner)[1]


def test_one_notebook_is_not_saved_with_other_versions(project: Path) -> None:
    path = write(project / NAME, "1")
    write(project / "nbs/01_other.ipynb", "2")
    command(project)
    noted = project / "nbs/outputs.json"
    facts = json.loads(noted.read_text())
    facts["versions"]["numpy"] = "1.0"
    noted.write_text(json.dumps(facts | {"files": {"a.png": "0"}}))
    before = noted.read_bytes()
    write(path, "3")
    (line,) = command(project, NAME, status=2)
    assert line.startswith("note: saved with {")
    assert "to be saved with" in line
    assert noted.read_bytes() == before
    assert command(project)[-1] == "Saved"
    after = json.loads(noted.read_text())
    assert after["versions"]["numpy"] == np.__version__
    assert after["files"] == {"a.png": "0"}


QUICK = ["nbs/common/04_html.ipynb", "nbs/common/05_findings.ipynb", "nbs/dataset_util/10_images.ipynb"]


def test_quick_notebooks_still_show_what_is_saved() -> None:
    """The workflow compares all notebooks, with the versions that saved them."""
    code = "import outputs; print(outputs.versions() == outputs.read_digests()['versions'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO / ".ci", text=True, capture_output=True, check=True)
    if done.stdout.strip() != "True":
        pytest.skip("text is compared exactly, and the outputs were saved with other versions of the libraries")
    assert command(REPO, "--check", *QUICK)[-1] == "No findings"


def test_every_command_is_quiet_in_a_notebook() -> None:
    """In JupyterLab `__name__` is "__main__" too: a cell that calls `main` there ends in a red SystemExit."""
    guards = {
        f"{path.name}: {line.strip()}"
        for path in (Path(__file__).parent.parent / "nbs").rglob("*.ipynb")
        if "checkpoints" not in str(path)
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("if __name__ ==")
    }
    assert len(guards) >= 12
    assert [guard for guard in sorted(guards) if '"__file__" in globals()' not in guard] == []
