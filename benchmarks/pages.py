"""What the commands share that write a page of the documentation: the machine in words, tables, and the notebook."""

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def machine() -> str:
    """Return cores, memory, system and Python in words, without names of hosts and folders."""
    try:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    except (ValueError, OSError, AttributeError):
        memory = "unknown memory"
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.system()
    cores = os.cpu_count() or 1
    return f"{cores} core{'s' * (cores != 1)} ({platform.machine()}), {memory}, {system}, Python {platform.python_version()}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns after the first that contain numbers only are aligned to the right."""
    texts = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    numeric = [
        place > 0 and all(re.fullmatch(r"[-\d,.]*%?", row[place]) for row in texts) for place in range(len(heads))
    ]
    lines = [heads, ["---:" if each else "---" for each in numeric], *texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(path: Path, cells: Iterable[str]) -> None:
    """Write a notebook of Markdown cells, in the form that nbdev_clean leaves unchanged."""
    made = [
        {"cell_type": "markdown", "id": f"part-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for number, text in enumerate(cells)
    ]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    notebook = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def text_of(path: Path) -> str:
    """Return the text of a page that `write_page` has written."""
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
