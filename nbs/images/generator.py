"""Run the tutorial about a generator and take its pictures: `python nbs/images/generator.py`. It needs torch and diffusers.

Runs the cells of nbs/tutorials/generator.ipynb, with those that are not run when the page is built, and prints what they show and the time that each
takes. Writes generator.png, real and synthetic frames, and generator-copies.png, the images that resemble a training frame most. Both show invented
embryos only. It takes minutes on one core of a CPU.
"""

import ast
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from nsw_da_medical_image.viewer.copies import copies_sheet, find_copies
from nsw_da_medical_image.viewer.realism import compare_sheet

HERE = Path(__file__).parent


def run(notebook: Path) -> dict[str, Any]:
    """Run the cells of a notebook, except the last, which removes the files; return the variables."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for source in ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"][:-1]:
        *statements, last = ast.parse(source).body
        start, processor = time.perf_counter(), time.process_time()
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(statements, []), "cell", "exec"), names)
            print(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
        else:
            exec(compile(source, "cell", "exec"), names)
        took = time.perf_counter() - start, time.process_time() - processor
        print(f"  {source.splitlines()[-1][:70]}: {took[0]:.1f} s, {took[1]:.1f} s of the processor", flush=True)
    return names


def save(figure: Any, name: str) -> None:
    """Write a figure to a picture, without the version of the library in it."""
    assert isinstance(figure, Figure)
    figure.savefig(HERE / name, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = run(HERE.parent / "tutorials" / "generator.ipynb")
    train, synthetic = names["train"], names["synthetic"]
    found = find_copies(train, synthetic)
    print(found, "against unseen real frames:", find_copies(train, names["test"]))
    save(compare_sheet(train, synthetic, columns=4, size=100).figure, "generator.png")
    save(copies_sheet(found, rows=3, size=110).figure, "generator-copies.png")
    shutil.rmtree(names["work"])
