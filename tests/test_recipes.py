"""Run the recipes of the page `nbs/tutorials/recipes.ipynb`, those whose libraries are installed."""

import json
import os
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
    assert len(RECIPES) == 11
    assert all(re.match(r"# needs [A-Za-z ]+\n", code) for code in RECIPES.values())


def without_a_window(patch: pytest.MonkeyPatch) -> None:
    """Let napari add its layers to the model of a viewer: Qt ends the process if there is no screen."""
    model: Any = import_module("napari.components").ViewerModel()

    def imshow(*args: Any, **options: Any) -> None:
        layer = model.add_image(*args, **options)
        assert model.dims.nsteps == layer.data.shape
        assert layer.data.ndim == 4

    patch.setattr("napari.imshow", imshow)


def in_memory_database(patch: pytest.MonkeyPatch) -> None:
    """Let FiftyOne keep its data sets in a database of mongomock, which needs no server."""
    module, engine, config = map(import_module, ("fiftyone.core.odm.database", "mongoengine", "fiftyone"))
    client: Any = type("Client", (import_module("mongomock").MongoClient,), {"_closed": False})()
    connect, address = engine.connect, "mongodb://localhost"
    patch.setattr(module.pymongo, "MongoClient", lambda *args, **options: client)
    patch.setattr(
        engine,
        "connect",
        lambda name, **options: connect(name, host=address, mongo_client_class=lambda *args, **more: client),
    )
    patch.setattr(config.config, "database_uri", address)
    patch.setattr(config.config, "database_validation", False)


def without_a_database(code: str) -> str:
    """Return the part of FiftyOne's recipe that needs no database."""
    before, database = code.split("data = fiftyone.Dataset")
    assert len(database.splitlines()) == 2
    return f"{before}assert samples and samples[0].phase.label in ('t2', 't4')\nassert Path(samples[0].filepath).is_file()\n"


@pytest.mark.slow
@pytest.mark.parametrize("title", list(RECIPES))
def test_a_recipe_runs(
    shared: Callable[..., Shared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    code = RECIPES[title]
    needs = code.splitlines()[0].removeprefix("# needs ").split()
    if missing := [name for name in needs if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    if "napari" in needs:
        without_a_window(monkeypatch)
    if "fiftyone" in needs and "FIFTYONE_DATABASE_URI" not in os.environ:
        if find_spec("mongomock"):
            in_memory_database(monkeypatch)
            code += "assert sum(data.count_values('phase.label').values()) == len(table)\n"
        else:
            code = without_a_database(code)
    ds = EmbryoDataset(shared(videos=6, size=48, quirks=()).extracted)
    names = {"ds": ds, "folder": tmp_path, "split": make_split(ds, weights=(0.6, 0.2, 0.2), seed=1)}
    exec(
        compile(code, title, "exec"),
        names | {"make_image_folder": make_image_folder, "Path": Path, "Phase": Phase, "__name__": "recipe"},
    )
