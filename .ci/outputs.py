"""Run the notebooks on sample data and save what readers see: `python .ci/outputs.py [--check] [NOTEBOOK ...]`.

Each notebook runs in a kernel of its own, in its own folder, with a new home, a new cache and no real data. Then the
outputs of its shown cells are saved: text, tables, figures, and the HTML that a widget offers to readers without a kernel.
Nothing is saved that another run would not repeat: no widget state, progress bar, execution count, temporary path,
duration or time stamp. What cannot be repeated is refused, with the cell and the remedy. A second run in the same
environment therefore changes no byte. The digests of all saved outputs are in nbs/outputs.json, which .ci/check.py reads.

`--check` runs the notebooks and compares: text must be equal, pictures have the same size and nearly the same pixels.
`--versions` prints the versions with which the outputs were saved, in a form that pip accepts as constraints.
`--file FILE ...` runs nothing, and lists the digests of these files, such as a picture that README.md shows.
"""

import argparse
import ast
import base64
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIGESTS = "nbs/outputs.json"
EXEMPT = ("nbs/app.ipynb",)  # an application for the user's own data

ONE, ALL = 1_000_000, 12_000_000  # bytes that a notebook may have, and all of them together
WIDTH = 1_000  # pixels that a picture may have; it must be readable at 700, to which narrow pages scale it
CELL_SECONDS = 600  # ends only a cell that hangs
TOLERANCE = 1.0  # mean absolute difference of two pictures, of 255; other builds of FreeType or libjpeg stay below
BLOCK, BLOCK_TOLERANCE = 16, 20.0  # the same in any block of 16 x 16 pixels, so that no small part of a picture differs

# Their versions change how an output looks.
LIBRARIES = ("ipython", "ipywidgets", "matplotlib", "numpy", "pandas", "pillow")

Notebook = dict[str, Any]
Cell = dict[str, Any]
Output = dict[str, Any]


# --- notebooks -----------------------------------------------------------------------------------


def read(path: Path) -> Notebook:
    """Return the notebook at `path` as JSON; raise `ValueError` if a key is repeated, since only its last value counts."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key is repeated")
        return found

    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)


def text_of(notebook: Notebook) -> str:
    """Return the text of the file, in the form that nbdev_clean leaves unchanged."""
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def notebook_paths(root: Path = ROOT) -> list[str]:
    """Return the notebooks below `root`/nbs whose outputs are saved, relative to `root`."""
    found = (path.relative_to(root) for path in (root / "nbs").rglob("*.ipynb"))
    names = (path.as_posix() for path in found if not any(part.startswith((".", "_")) for part in path.parts))
    return sorted(name for name in names if name not in EXEMPT)


def directives(cell: Cell) -> set[str]:
    """Return the nbdev directives of a code cell, such as {"hide", "eval: false"}."""
    rows = "".join(cell["source"]).splitlines()
    return {match[1].strip() for match in (re.match(r"\s*#\s*\|\s*(.*)", row) for row in rows) if match}


def statements(cell: Cell) -> list[ast.stmt]:
    """Return the statements of a code cell, none if it is not plain Python."""
    try:
        return ast.parse("".join(cell["source"])).body
    except SyntaxError:
        return []


def is_code(cell: Cell) -> bool:
    return cell["cell_type"] == "code" and bool("".join(cell["source"]).strip())


def is_shown(cell: Cell) -> bool:
    """Return whether readers see what a cell outputs: it is not hidden, and does more than import."""
    return not directives(cell) & {"hide", "hide_output"} and not all(
        isinstance(each, ast.Import | ast.ImportFrom) for each in statements(cell)
    )


def is_run(cell: Cell) -> bool:
    """Return whether the command runs a cell; a hidden slow cell is not run, because only the tests need it."""
    said = directives(cell)
    return is_code(cell) and not said & {"eval: false", "notest"} and not {"hide", "slow"} <= said


def is_example(cell: Cell) -> bool:
    """Return whether a cell must have an output: it is shown, run, and not exported, and it ends in an expression or prints.

    A semicolon at its end hides the value. A print inside a function that the cell defines does not count.
    """
    if (
        not is_run(cell)
        or not is_shown(cell)
        or any(each.startswith(("export", "default_exp")) for each in directives(cell))
    ):
        return False
    body = statements(cell)
    ends = bool(body) and isinstance(body[-1], ast.Expr) and not "".join(cell["source"]).rstrip().endswith(";")
    return ends or any(map(prints, body))


def prints(node: ast.AST) -> bool:
    """Return whether a statement calls print or display."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "display"):
        return True
    return any(map(prints, ast.iter_child_nodes(node)))


def place(name: str, number: int, cell: Cell) -> str:
    return f"{name}, cell {number} (id {cell.get('id', '?')})"


# --- outputs -------------------------------------------------------------------------------------


def joined(value: Any) -> Any:
    """Return text as one string; notebooks contain it as a string or as a list of lines."""
    return "".join(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value


def strings(value: Any) -> Iterator[str]:
    """Yield all text in a part of a notebook, keys included."""
    value = joined(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value:
            yield from strings(each)
        if isinstance(value, dict):
            yield from strings(list(value.values()) or "")


def parts(output: Output) -> dict[str, Any]:
    """Return the contents of an output by kind: those of its bundle, or {"stdout": text}."""
    if output["output_type"] == "stream":
        return {output["name"]: joined(output["text"])}
    return {kind: joined(value) for kind, value in output.get("data", {}).items()}


def digest(output: Output) -> str:
    """Return the digest of all that an output contains. Line breaks in the file and execution counts do not change it."""
    read = "text" if output["output_type"] == "stream" else "data"  # what parts() returns
    count = output.get("execution_count")
    left_out = {read, "execution_count"} if count is None or isinstance(count, int) else {read}
    facts = {**{k: v for k, v in output.items() if k not in left_out}, "parts": parts(output)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def digests(notebook: Notebook) -> list[str]:
    """Return the digests of all outputs of a notebook, in their order."""
    return [digest(output) for cell in notebook["cells"] for output in cell.get("outputs", [])]


def read_digests(root: Path = ROOT) -> dict[str, Any]:
    """Return the contents of nbs/outputs.json.

    They are {"versions": {library: version}, "outputs": {notebook: digests}, "files": {file: digest}}.
    """
    path = root / DIGESTS
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"versions": {}, "outputs": {}, "files": {}} | found


WIDGET = "application/vnd.jupyter.widget-view+json"
KINDS = ("text/", "image/png", "image/jpeg")  # an SVG is left out: matplotlib writes the date and random ids into it
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=[^<]*>)")  # nbdev_clean removes them, too
PICTURE = re.compile(r"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)")
EMBEDDED = re.compile(r"data:(image|video|audio|application)/|data:[^,\s]{0,60};base64", re.IGNORECASE)  # in prose
# In code and in other files: base64 in one line, in several lines, in a data URL, and bytes as Python writes them.
ENCODED = re.compile(
    r"[\w+/=-]{400}"
    r"|(?:[\w+/=-]{50,}+[^\w+/=-]{1,8}+){8}"
    r"|(?i:data:[^,\s]{0,60};base64,)[\w+/=%-]{40}"
    r"|(?:\\x[0-9a-fA-F]{2}[^\\]{0,8}){60}",
    re.ASCII,
)
# Pictures, videos, archives and arrays by their names; some of them are text.
PICTURE_FILE = re.compile(
    r"\.(svgz?|e?ps|pdf|p[bgnp]m|x[bp]m|a?png|jp[eg2x]|jpeg|jfif|gif|bmp|ico|tiff?|webp|avif|hei[cf]|dcm|nii"
    r"|m[4ko][av]|mp4|avi|webm|mpe?g|wmv|ogv|zip|tar|gz|tgz|bz2|xz|zst|7z|rar|np[yz]|h5|hdf5|parquet|pkl|pickle|pth?|mat)$",
    re.IGNORECASE,
)
TAG = re.compile(r"<style.*?</style>|<script.*?</script>|<[^>]*>", re.DOTALL)

# What differs between runs, as (pattern, remedy); the first group is also in the cell's source if it was not measured.
# For a duration it includes the unit: a small number is often in the source by chance.
CHANGING = {
    "a duration or a speed": (
        r"(?<![\w.])(\d[\d,.]*\s?(?:(?:s|ms|µs|us|ns|seconds?|milliseconds?|min|minutes?)(?![\w'])"  # 0.7 s, 12 ms
        r"|\S{1,12}/s\b))",  # 12 MB/s
        "show what was done instead",
    ),
    "a time stamp": (r"\b(20\d\d)(?:-\d\d-\d\d[T ]\d\d:\d\d|(?<=datetime\(\d{4}), \d+, \d+, \d+)", "leave it out"),
    "the random name of a temporary folder": (r"\b(tmp[a-z0-9_]{8})\b", "use a folder inside it that has a name"),
}


def cleaned(outputs: list[Output], scratch: str) -> list[Output]:
    """Return the outputs of one cell as they are saved; `scratch` is the temporary folder of the run."""
    kept: list[Output] = []
    for output in outputs:
        if output["output_type"] == "stream":
            text = stable(joined(output["text"]), scratch)
            if kept and kept[-1].get("name") == output["name"]:
                kept[-1]["text"] += text
            else:
                kept.append({"output_type": "stream", "name": output["name"], "text": text})
        elif output["output_type"] in ("display_data", "execute_result"):
            data = {k: v for k, v in parts(output).items() if k.startswith(KINDS)}
            bar = WIDGET in output["data"] and output["output_type"] == "display_data" and "text/html" not in data
            if not bar and data:
                data = {k: stable(v, scratch) if k.startswith("text/") else v.rstrip() for k, v in data.items()}
                if "image/png" in data:
                    themed = data.get("text/plain", "").startswith("<PlotAxes")  # legible on white and on black
                    data["image/png"] = smaller(data["image/png"]) if themed else on_paper(data["image/png"])
                if {"image/png", "image/jpeg"} <= data.keys():  # Pillow offers both
                    del data[max("image/png", "image/jpeg", key=lambda kind: len(data[kind]))]
                kept.append({"output_type": output["output_type"], "data": data, "metadata": {}})
    for output in kept:
        if output["output_type"] == "execute_result":
            output["execution_count"] = None
        for holder in (output, output.get("data", {})):
            for kind, value in holder.items():
                if kind == "text" or kind.startswith("text/"):
                    holder[kind] = value.splitlines(keepends=True)
    return kept


def on_paper(data: str) -> str:
    """Return a PNG in base64 on white paper, which is readable in a dark page, too; without an alpha channel it is smaller."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    if picture.mode == "RGBA":
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture).convert("RGB")
    picture.save(buffer := io.BytesIO(), "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def smaller(data: str) -> str:
    """Return a PNG in base64 with its transparency: with a palette, if no pixel is then visibly different, else as it is."""
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
    few = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    apart = np.abs(np.asarray(few.convert("RGBA"), int) - np.asarray(picture, int)).mean()
    (few if apart < 1 else picture).save(buffer := io.BytesIO(), "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def stable(text: str, scratch: str) -> str:
    """Return `text` without what differs from run to run: addresses of objects, and where the temporary folders are."""
    # one folder below the scratch folder has a random name, or is the cache
    text = re.sub(re.escape(scratch) + r"(/[^/\s'\"<>]*)?", "...", ADDRESS.sub("", text))
    return re.sub(r"\.\.\.\S*/tmp[a-z0-9_]{8}(?=/)", "...", text)  # a summary shortens a long path at its start


def written(text: str, source: str) -> bool:
    """Return whether a number, perhaps with its unit, or a name is in the source of a cell."""
    return re.search(rf"(?<![\d.]){re.escape(text)}(?!\w|\.\d)", source) is not None


def refused(outputs: list[Output], base: str, source: str) -> Iterator[str]:
    """Yield why the outputs of a cell cannot be saved, with the remedy.

    `base` is a name that no output may contain. A number that is in the cell's `source` was not measured.
    """
    for output in outputs:
        for kind, value in parts(output).items():
            if not kind.startswith(("text/", "std")):
                continue
            text = TAG.sub(" ", PICTURE.sub("", value))
            if kind == "stderr":
                yield f"writes to standard error, which JupyterLab shows in red: avoid or capture {text.strip()[:200]!r}"
            elif base in value or str(ROOT) in value:
                yield "shows a path of this machine: show a name, or a path relative to the notebook's own folder"
            else:
                for what, (pattern, remedy) in CHANGING.items():
                    found = [each[0] for each in re.finditer(pattern, text) if not written(each[1], source)]
                    if found:
                        yield f"shows {what}, {found[0]!r}, which differs between runs: {remedy}"


# --- running -------------------------------------------------------------------------------------


def environment(base: Path, scratch: Path) -> dict[str, str]:
    """Return the environment of a kernel: that of this process without personal settings and without real data."""
    personal = ("NSW_", "JUPYTER", "IPYTHON", "PYTHON", "MPL", "XDG_", "LC_", "COLUMNS", "LINES")
    env = {name: value for name, value in os.environ.items() if not name.startswith(personal)}
    return env | {
        "HOME": str(base / "home"),
        "TMPDIR": str(scratch),
        "NSW_CACHE_DIR": str(scratch / "cache"),
        "PYTHONPATH": str(ROOT),  # this checkout, whatever is installed
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }


def execute(name: str, base: Path, scratch: Path) -> tuple[Notebook, list[str]]:
    """Run a notebook, and return it with the outputs to save and the reasons why they cannot be saved."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    scratch.mkdir()
    os.environ |= {key: str(base / "jupyter") for key in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    notebook = read(ROOT / name)
    chosen = [i for i, cell in enumerate(notebook["cells"]) if is_run(cell)]
    sources = ["".join(notebook["cells"][i]["source"]) for i in chosen]
    ran = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = NotebookClient(
        ran,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str((ROOT / name).parent)}},
    )
    findings = []
    if chosen:
        try:
            # a kernel may write errors of its own sockets when it ends
            client.execute(env=environment(base, scratch), stderr=subprocess.DEVNULL)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
            number = next((i for i, cell in zip(chosen, ran.cells, strict=True) if failed(cell)), chosen[0])
            findings.append(f"{place(name, number + 1, notebook['cells'][number])} fails: {lines[-1]}")
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            if i not in chosen:
                continue
            outputs = cleaned(ran.cells[chosen.index(i)].outputs, str(scratch))
            seen = [output for output in outputs if is_shown(cell) or output.get("name") == "stderr"]
            findings += [
                f"{place(name, i + 1, cell)} {why}" for why in refused(seen, base.name, "".join(cell["source"]))
            ]
            cell["outputs"] = outputs if is_shown(cell) else []
    notebook["metadata"].pop("widgets", None)
    if (size := len(text_of(notebook).encode())) >= ONE:
        findings.append(f"{name} would have {size:,} bytes, and {ONE:,} are too many: draw smaller or fewer figures")
    return notebook, findings


def failed(cell: Cell) -> bool:
    return any(output["output_type"] == "error" for output in cell.outputs)


def execute_all(names: list[str], processes: int) -> Iterator[tuple[str, Notebook, list[str]]]:
    """Run notebooks, each in a kernel of its own, `processes` at the same time; yield them in the order of `names`."""
    # short, because it will contain sockets; of fixed length, so that lines always break at the same place
    with tempfile.TemporaryDirectory(prefix="nsw-", ignore_cleanup_errors=True) as folder:
        base = Path(folder).resolve()
        (base / "home").mkdir()
        first = environment(base, base)  # matplotlib lists the fonts once per home, and prints a message
        subprocess.run(
            [sys.executable, "-c", "import matplotlib.font_manager"], env=first, check=True, capture_output=True
        )
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            jobs = [pool.submit(execute, name, base, base / f"{i:03}") for i, name in enumerate(names)]
            for name, job in zip(names, jobs, strict=True):
                yield name, *job.result()


# --- comparing -----------------------------------------------------------------------------------


def difference(one: str, other: str) -> str:
    """Return how two pictures in base64 differ; '' if they do not, or hardly."""
    import numpy as np
    from PIL import Image

    if one == other:
        return ""
    first, second = (Image.open(io.BytesIO(base64.b64decode(on_paper(data)))).convert("RGB") for data in (one, other))
    if first.size != second.size:
        return f"a picture has {first.width} x {first.height} pixels, saved are {second.width} x {second.height}"
    differs = np.abs(np.asarray(first, float) - np.asarray(second, float)).mean(axis=2)
    if (mean := differs.mean()) > TOLERANCE:
        return f"the pixels of a picture differ by {mean:.1f} on average"
    height, width = differs.shape
    differs = np.pad(differs, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="symmetric")
    blocks = differs.reshape(differs.shape[0] // BLOCK, BLOCK, -1, BLOCK).mean(axis=(1, 3))
    return f"a part of a picture differs by {blocks.max():.1f} on average" if blocks.max() > BLOCK_TOLERANCE else ""


def compared(outputs: list[Output], saved: list[Output]) -> str:
    """Return the first difference between the outputs of a cell and the saved ones, or ''."""
    if [sorted(parts(output)) for output in outputs] != [sorted(parts(output)) for output in saved]:
        return f"has {len(outputs)} outputs of other kinds than the {len(saved)} saved"
    for output, old in zip(outputs, saved, strict=True):
        for kind, value in parts(output).items():
            before = parts(old)[kind]
            pictures = [value], [before]
            if not kind.startswith("image/"):
                pictures = PICTURE.findall(value), PICTURE.findall(before)
                if PICTURE.sub("picture", value) != PICTURE.sub("picture", before):
                    return f"shows other {'text' if kind.startswith('std') else kind}"
            for pair in zip(*pictures, strict=True):
                if said := difference(*pair):
                    return said
    return ""


def changes(name: str, notebook: Notebook, saved: Notebook) -> list[str]:
    """Return a finding for each cell whose outputs are not those that are saved."""
    pairs = enumerate(zip(notebook["cells"], saved["cells"], strict=True), 1)
    return [
        f"{place(name, i, cell)} {said}: run python .ci/outputs.py {name}"
        for i, (cell, old) in pairs
        if (said := compared(cell.get("outputs", []), old.get("outputs", [])))
    ]


# --- what .ci/check.py asks ----------------------------------------------------------------------


def tracked(root: Path) -> set[str]:
    """Return the files that git tracks below `root`, none outside of git; raise `RuntimeError` if git fails."""
    if not (root / ".git").exists():
        return set()
    # in a container, the checkout may belong to another user
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "-z"]
    try:
        done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise RuntimeError(f"git: {error.strerror}") from None
    if done.returncode:
        raise RuntimeError(f"git ls-files failed: {done.stderr.decode(errors='replace').strip()}")
    return set(filter(None, os.fsdecode(done.stdout).split("\0")))


def file_digest(path: Path) -> str:
    """Return the digest of a file that is not a notebook."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def unknown(root: Path = ROOT) -> list[str]:
    """Return a finding for each output, picture or file in which a real frame could be, and which no command has saved.

    Looks at all files that git tracks, and at the notebooks below nbs, tracked or not.
    """
    noted = read_digests(root)
    try:
        names = tracked(root)
    except RuntimeError as error:
        return [str(error)]
    saved = notebook_paths(root)
    notebooks = {name for name in {*names, *saved, *EXEMPT} if name.lower().endswith(".ipynb")}
    findings = []
    for name in sorted(names | notebooks):
        path = root / name
        if path.is_symlink() or not path.is_file():  # git keeps only the target's name, or another repository's commit
            continue
        if name not in notebooks:
            findings += unknown_file(name, path, noted["files"])
            continue
        try:
            remedy = f"run python .ci/outputs.py {name}" if name in saved else "clear the outputs"
            findings += unknown_parts(name, read(path), noted["outputs"].get(name, []), remedy)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            findings.append(f"{name} cannot be read ({error!r}): repair its JSON, or convert it to format 4")
    findings += [
        f"{DIGESTS} lists {name}, which git does not track: delete its entry"
        for name in noted["files"]
        if names and name not in names
    ]
    return findings


def unknown_file(name: str, path: Path, noted: dict[str, str]) -> Iterator[str]:
    """Yield a finding for a file that shows or contains pictures and is not in nbs/outputs.json."""
    if noted.get(name) == file_digest(path):
        return
    remedy = f"remove it, or run python .ci/outputs.py --file {name} if it shows no real frame"
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or PICTURE_FILE.search(name):
        yield f"{name} is a picture, an archive or another file that is not text, and is not in {DIGESTS}: {remedy}"
    elif ENCODED.search(text):
        yield f"{name} contains encoded data, which could be a picture: {remedy}"


def unknown_parts(name: str, notebook: Notebook, noted: list[str], remedy: str) -> Iterator[str]:
    """Yield a finding for each part of a notebook that could show a real frame."""
    if any("widgets" in holder.get("metadata", {}) for holder in (notebook, *notebook["cells"])):
        yield f"{name} contains saved widget state: delete metadata.widgets (nbdev_clean keeps it)"
    elif any(ENCODED.search(text) for text in strings({k: v for k, v in notebook.items() if k != "cells"})):
        yield f"{name} contains encoded data in its metadata: run nbdev_clean"
    for i, cell in enumerate(notebook["cells"], 1):
        here = place(name, i, cell)
        if cell.get("attachments"):
            yield f"{here} contains an attachment: remove it, and draw the picture in a code cell"
        prose = cell["cell_type"] != "code" and EMBEDDED.search("".join(cell["source"]))
        rest = {key: value for key, value in cell.items() if key not in ("outputs", "attachments")}
        if prose or any(map(ENCODED.search, strings(rest))):
            yield f"{here} contains a picture in its text: remove it, and draw the picture in a code cell"
        if any(WIDGET in parts(output) for output in cell.get("outputs", [])):
            yield f"{here} contains a saved widget: {remedy}"
        elif any(digest(output) not in noted for output in cell.get("outputs", [])):
            yield f"{here} contains an output that is not in {DIGESTS}: {remedy}"


def png_width(data: str) -> int:
    """Return the width of a PNG in base64, 0 if it is not one."""
    try:
        head = base64.b64decode("".join(data.split())[:32])
    except ValueError:
        return 0
    return int.from_bytes(head[16:20], "big") if head.startswith(b"\x89PNG") else 0


def unshown(root: Path = ROOT) -> list[str]:
    """Return findings for examples without an output, digests without an output, and pictures and notebooks that are too large."""
    noted, findings, total = read_digests(root)["outputs"], [], 0
    names = notebook_paths(root)
    for name, notebook in _readable(root):
        size = len((root / name).read_bytes())
        total += size
        if size >= ONE:
            findings.append(f"{name} has {size:,} bytes, and {ONE:,} are too many: draw smaller or fewer figures")
        findings += [
            f"{place(name, i, cell)} shows no result: run python .ci/outputs.py {name}"
            for i, cell in enumerate(notebook["cells"], 1)
            if name in names and is_example(cell) and not cell.get("outputs")
        ]
        findings += [
            f"{place(name, i, cell)} shows a picture {width:,} pixels wide, and {WIDTH:,} are the most: draw it smaller"
            for i, cell in enumerate(notebook["cells"], 1)
            for output in cell.get("outputs", [])
            if (width := png_width(parts(output).get("image/png", ""))) > WIDTH
        ]
        if set(noted.get(name, [])) - set(digests(notebook)):
            findings.append(f"{DIGESTS} lists outputs that {name} does not have: run python .ci/outputs.py {name}")
    findings += [
        f"{DIGESTS} lists {name}, which does not exist: delete its entry" for name in noted if name not in names
    ]
    if total >= ALL:
        findings.append(f"all notebooks have {total:,} bytes, and {ALL:,} are too many: draw smaller or fewer figures")
    return findings


def _readable(root: Path) -> Iterator[tuple[str, Notebook]]:
    """Yield the notebooks that can be read; the check `clean` reports the others."""
    for name in (*notebook_paths(root), *EXEMPT):
        try:
            notebook = read(root / name)
            if all(isinstance(cell["source"], list | str) and cell["cell_type"] for cell in notebook["cells"]):
                yield name, notebook
        except (OSError, ValueError, KeyError, TypeError):
            continue


# --- the command ---------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that change how an output looks."""
    return {"python": ".".join(platform.python_version_tuple()[:2])} | {name: version(name) for name in LIBRARIES}


def save(name: str, notebook: Notebook, noted: dict[str, Any]) -> None:
    """Write a notebook and note its digests, if they have changed."""
    text = text_of(notebook)
    if text != (ROOT / name).read_text(encoding="utf-8"):
        (ROOT / name).write_text(text, encoding="utf-8", newline="\n")
    noted["outputs"].pop(name, None)
    if found := digests(notebook):
        noted["outputs"][name] = found
    write_digests(noted)


def write_digests(noted: dict[str, Any]) -> None:
    """Write nbs/outputs.json."""
    (ROOT / DIGESTS).write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks on sample data and save what readers see.")
    parser.add_argument("notebook", nargs="*", help="only these notebooks; by default all below nbs")
    parser.add_argument(
        "--check", action="store_true", help="save nothing; status 1 if an output differs from the saved one"
    )
    parser.add_argument("--versions", action="store_true", help="print the versions that saved the outputs, for pip -c")
    parser.add_argument(
        "--file", nargs="+", metavar="FILE", help="list these files, such as pictures, as without real frames"
    )
    parser.add_argument("--processes", type=int, default=2, help="notebooks that run at the same time (2)")
    given = parser.parse_args(argv)
    noted = read_digests()
    if given.versions:
        print(*(f"{name}=={number}" for name, number in noted["versions"].items() if name != "python"), sep="\n")
        return 0
    if given.file:
        paths = [Path(each).resolve() for each in given.file]
        if strangers := [str(path) for path in paths if not path.is_file() or not path.is_relative_to(ROOT)]:
            parser.error(f"not a file in this repository: {', '.join(strangers)}")
        noted["files"] |= {path.relative_to(ROOT).as_posix(): file_digest(path) for path in paths}
        write_digests(noted)
        return 0
    known = notebook_paths()
    names = [os.path.relpath(Path(each).resolve(), ROOT) for each in given.notebook] or known
    if strangers := [name for name in names if name not in known]:
        parser.error(f"not a notebook below nbs whose outputs are saved: {', '.join(strangers)}")
    if noted["versions"] and versions() != noted["versions"]:
        then = "compared" if given.check else "to be saved"
        print(f"note: saved with {noted['versions']}, {then} with {versions()}", flush=True)
        if not given.check and set(names) != set(known):
            parser.error(
                "the other notebooks keep outputs of other versions: install the versions that --versions prints, or save all notebooks"
            )
    if not given.check and set(names) == set(known):
        noted |= {"versions": versions(), "outputs": {k: v for k, v in noted["outputs"].items() if k in known}}
    all_findings = []
    for name, notebook, findings in execute_all(names, given.processes):
        if given.check:
            findings += changes(name, notebook, read(ROOT / name))
        elif not findings:
            save(name, notebook, {**noted, "versions": noted["versions"] or versions()})
        for finding in findings:
            print(finding)
        print(f"{name}: {len(digests(notebook))} outputs, {len(text_of(notebook)) / 1000:.0f} kB", flush=True)
        all_findings += findings
    print(f"{len(all_findings)} finding(s)" if all_findings else "No findings" if given.check else "Saved")
    return 1 if all_findings else 0


if __name__ == "__main__":
    sys.exit(main())
