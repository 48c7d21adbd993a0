"""Run the recipes of the page `nbs/tutorials/recipes.ipynb`, those whose libraries are installed."""

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Shared

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.split import make_split
from nsw_da_medical_image.dataset_util.util import Phase

PAGE = Path(__file__).parent.parent / "nbs" / "tutorials" / "recipes.ipynb"


def recipes() -> dict[str, str]:
    """Return the code of each recipe by its title."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return {
        text.splitlines()[0].removeprefix("## "): found[1]
        for text in texts
        if (found := re.search(r"```python\n(.*?)```", text, re.DOTALL))
    }


RECIPES = recipes()


def test_every_recipe_states_what_it_needs() -> None:
    assert len(RECIPES) == 10
    assert all(re.match(r"# (needs [A-Za-z ]+|not run: .+)\n", code) for code in RECIPES.values())


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title, code in RECIPES.items() if code.startswith("# needs")])
def test_a_recipe_runs(shared: Callable[..., Shared], tmp_path: Path, title: str) -> None:
    code = RECIPES[title]
    needs = code.splitlines()[0].removeprefix("# needs ").split()
    if missing := [name for name in needs if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    ds = EmbryoDataset(shared(videos=6, size=48, quirks=()).extracted)
    names = {"ds": ds, "folder": tmp_path, "split": make_split(ds, weights=(0.6, 0.2, 0.2), seed=1)}
    exec(
        compile(code, title, "exec"),
        names | {"make_image_folder": make_image_folder, "Phase": Phase, "__name__": "recipe"},
    )
