"""Record what the library does, and compare two recordings. Use it to check that a change of the code changes nothing else.

    python tests/guard.py make FOLDER                  # once: sample data, archives, partial copies, batches, lists
    python tests/guard.py record FOLDER OUT.json       # once per version: every command and every public method
    python tests/guard.py compare OLD.json NEW.json    # print the differences; status 1 if one is not reviewed

You need two checkouts, each with its own environment and the development requirements, and one folder of inputs for both:

    git worktree add /somewhere/old v1 && python -m venv /somewhere/venv-old      # and the same for the new version
    PYTHONPATH=/somewhere/old /somewhere/venv-old/bin/python tests/guard.py make /somewhere/inputs
    PYTHONPATH=/somewhere/old /somewhere/venv-old/bin/python tests/guard.py record /somewhere/inputs old.json
    PYTHONPATH=/somewhere/new /somewhere/venv-new/bin/python tests/guard.py record /somewhere/inputs new.json
    python tests/guard.py compare old.json new.json --reviewed tests/guard_wording.tsv

Record both versions with the same copy of this script, and do not move the inputs. The script records the package that it
can import: `record` prints its folder, and takes the scripts at the root from the folder above. Record one version twice and
compare, to see that no result depends on chance. `record --only REGEX` records some cases; `--list` prints their names.

`compare` distinguishes three kinds of differences.

- *Sentences* are lines of output, messages, help and visible text of pages. The pair (old, new) must be in the reviewed
  file. Names, numbers, paths and quoted text that both sentences contain become <1>, <2>, ..., so one pair covers all
  instances; a number that only the new sentence contains stays visible.
- *Names* are public names with their signatures. Those that are removed, added or changed must be in the reviewed file.
- Everything else must be *exactly* the same: exit status, files, CSV, JSON, tables, findings, pixels, messages of the widget.

`--write-reviewed` appends the differences that are not reviewed: read them, and delete those that are mistakes. If a name was
replaced, join its two rows, `name <tab> old <tab>` and `name <tab> <tab> new`, to `name <tab> old <tab> new`; keys and columns
of that name then count as renamed too. If a case needs a new name or a new module, extend COMMANDS and RENAMED below. A case
of a removed function is accepted if the removal is reviewed.
"""

import argparse
import base64
import contextlib
import dataclasses
import difflib
import hashlib
import importlib
import inspect
import io
import itertools
import json
import math
import os
import pickle
import pkgutil
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "nsw_da_medical_image"
REVIEWED = Path(__file__).with_name("guard_wording.tsv")

#: The module of each command (the first that exists is used), or its script at the root.
COMMANDS: dict[str, tuple[str, ...]] = {
    "sample": ("dataset_util.sample",),
    "extract_dataset": ("dataset_util.extract_dataset",),
    "dataset": ("dataset_util.dataset",),
    "extract_part": ("dataset_util.extract_part",),
    "split": ("dataset_util.split",),
    "synthetic": ("dataset_util.synthetic",),
    "image_folder": ("dataset_util.image_folder",),
    "validate": ("validation.validate",),
    "compare": ("viewer.realism", "viewer.compare"),
    "play_video": ("play_video.py",),
    "experiment_1": ("experiment_1.py",),
}
#: Later names of public functions, classes and members, by the name that the cases below use: {"sound": ("valid",)}.
#: A later name may be private; the cases then still call the function.
RENAMED: dict[str, tuple[str, ...]] = {
    "Form": ("ImageForm", "FolderForm"),
    "unless_all": ("none_if_all",),
    "summary_text": ("dataset_text", "report_text"),
    "Excluding": ("_HasExclusions",),
    "Searched": ("_HasListings",),
    "check": ("check_split",),
    "SyntheticRun": ("SyntheticBatch",),
    "SyntheticRuns": ("SyntheticBatches",),
    "sound": ("valid",),
    "sound_frames": ("valid_frames",),
    "write_run": ("write_batch",),
    "tell": ("show",),
    "complain": ("report_error",),
    "say_once": ("_warn_once",),
    "Changed": ("ArchiveChanged",),
    "facts_of": ("file_state",),
    "contact_sheet": ("still_sheet",),  # that of the player
    "frame_label": ("_frame_label",),
    "list_images": ("_list_images",),
    "decode_image": ("_decode_image",),
    "split_json": ("_split_json",),
}


def first_name(name: str) -> str:
    """Return the name by which the cases below know a name that was changed later."""
    return next((first for first, later in RENAMED.items() if name in later), name)


#: Keys and columns that hold sentences.
SAYS = {"message", "remedy", "faults", "fault", "rule", "said", "note", "notes", "meaning", "help", "reason"}
#: Keys whose values are measured, or depend on the machine.
MEASURED = {"seconds", "processes", "workers"}
SECONDS = 120  # seconds after which a case is killed


# --- values as JSON ------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    """Return the first half of the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


class Place:
    """Replace what differs from one recording to the next: paths, random names, times."""

    def __init__(self, **places: str | os.PathLike):
        both = {(form(path), name) for name, path in places.items() for form in (os.path.abspath, os.path.realpath)}
        self.paths = sorted(both, key=lambda pair: -len(pair[0]))

    def plain(self, text: str) -> str:
        """Return a text without the parts that are different each time."""
        for path, name in self.paths:
            text = text.replace(path, name)
        text = re.sub(r"\bembryo-[a-z0-9_]{8}\b", "embryo-RANDOM", text)
        text = re.sub(r"(\.[\w.]*?[-.])[a-z0-9_]{8}(?=$|[\s/:'\",;)])", r"\1RANDOM", text)
        text = re.sub(r"\b0x[0-9a-f]{6,}\b", "0xADDRESS", text)
        text = re.sub(r"\b[0-9.]+ s in [0-9]+ process(es)?", "S s in N processes", text)
        text = re.sub(r"\b(20\d\d-\d\d-\d\d)([T ]\d\d:\d\d:\d\d(\.\d+)?)?", self._moment, text)
        return text.encode("utf-8", "backslashreplace").decode()

    @staticmethod
    def _moment(match: re.Match[str]) -> str:
        near = {str(date.today() + timedelta(days=days)) for days in (-1, 0, 1)}
        return "NOW" if match[1] in near else match[0]


PLACE = Place()  # each case has its own


def words(text: Any) -> dict[str, list[str]]:
    """Mark a text as sentences, line by line, without empty lines."""
    lines = text if isinstance(text, list) else str(text).splitlines()
    return {"words": [PLACE.plain(line.rstrip()) for line in lines if line.strip()]}


class Ready(dict):
    """JSON that `told` does not change."""


def told(value: Any, name: str = "") -> Any:
    """Turn any value that the library returns into JSON; `name` is its key, if it has one."""
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    if isinstance(value, Ready):
        return value
    if name in MEASURED and isinstance(value, int | float):
        return "MEASURED"
    if name in SAYS and isinstance(value, str):
        return words(value)
    if name in SAYS and isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return words([line for each in value for line in each.splitlines()])
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return PLACE.plain(str(value))
    if isinstance(value, os.PathLike):
        return PLACE.plain(os.fspath(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value), "sha256": digest(bytes(value))}
    if isinstance(value, np.generic):
        return told(value.item(), name)
    if isinstance(value, np.ndarray):
        if value.size <= 64 and value.dtype.kind in "biuf":
            return {"array": str(value.dtype), "values": told(value.tolist())}
        data = np.ascontiguousarray(value).tobytes() if value.dtype != object else repr(value.tolist()).encode()
        return {"array": str(value.dtype), "shape": list(value.shape), "sha256": digest(data)}
    if isinstance(value, pd.DataFrame):
        return told_table(value)
    if isinstance(value, pd.Series):
        return told_table(value.to_frame(value.name if value.name is not None else "values").reset_index())
    if isinstance(value, pd.Index):
        return {"index": str(value.dtype), "values": told(value.tolist())}
    if isinstance(value, Image.Image):
        return {"image": value.mode, "size": list(value.size), "sha256": digest(value.tobytes())}
    if isinstance(value, Axes):
        return told_figure(value.figure)
    if isinstance(value, Figure):
        return told_figure(value)
    if isinstance(value, BaseException):
        return {"raised": type(value).__name__, "says": words(value.args[0] if len(value.args) == 1 else str(value))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if type(value).__name__ == "Finding" and hasattr(value, "batch"):
        value = as_row(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        value = dict(zip(value._fields, value, strict=True))
        if isinstance(value.get("runs"), tuple):  # ranges; before, their text
            value["runs"] = ranges(value["runs"])
    if isinstance(value, dict):
        return {PLACE.plain(str(key)): told(each, str(key)) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return {"set": sorted((told(each) for each in value), key=lambda each: json.dumps(each))}
    if isinstance(value, list | tuple | Iterator) or type(value).__name__ in ("dict_keys", "dict_values", "range"):
        return [told(each) for each in itertools.islice(value, 5000)]
    if isinstance(value, type):
        return {"class": value.__name__}
    return {"object": type(value).__name__}


def ranges(runs: tuple[tuple[int, int], ...]) -> str:
    """Return ranges of runs as text."""
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def as_row(finding: Any) -> dict[str, Any]:
    """Turn a finding into what it was before it had its own type: a row of text, or the fault of a batch."""
    row = {**finding._asdict(), "runs": ranges(finding.runs)}
    del row["batch"]
    if finding.check.startswith("synthetic-"):
        return {name: row[name] for name in ("check", "severity", "message")} | {"numbers": row["runs"]}
    return row


def told_table(table: Any) -> dict[str, Any]:
    """Turn a table into its columns, its rows as CSV text and, separately, the columns that hold sentences."""
    import pandas as pd

    columns = []
    for name in table.columns:
        kind: Any = table[name].dtype
        text = str(kind)
        if isinstance(kind, pd.CategoricalDtype):
            text = f"category of {len(kind.categories)}, {'ordered' if kind.ordered else 'not ordered'}"
        columns.append([str(name), text])
    says = {str(name): words(table[name].tolist()) for name in table.columns if name in SAYS}
    text = PLACE.plain(table[[name for name in table.columns if name not in SAYS]].to_csv(index=False))
    rows: Any = text.splitlines()[1:]
    if len(rows) > 120:
        rows = {"rows": len(rows), "first": rows[:3], "last": rows[-3:], "sha256": digest("\n".join(rows).encode())}
    return {"columns": columns, "rows": rows, **({"says": says} if says else {})}


def told_figure(figure: Any) -> dict[str, Any]:
    """Turn a figure into its texts, the pixels without them, and the pixels, which count only if the texts are the same."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    def pixels() -> str:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return digest(np.asarray(canvas.buffer_rgba()).tobytes())

    whole = pixels()
    texts = [each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip()]
    lines = [each.get_text() for each in texts]
    for each in texts:
        each.set_alpha(0)
    size = [float(f"{inches:.6g}") for inches in figure.get_size_inches()]
    return {"size": size, "without text": pixels(), "text": {**words(lines), "if the same": whole}}


class _Page(HTMLParser):
    """Collect the visible text of a page, its pictures, its data and its drawings."""

    INLINE = ("b", "i", "em", "strong", "span", "a", "code", "button", "small", "img", "label")
    DRAWN = ("svg", "rect", "polyline", "polygon", "line", "path", "circle", "text")

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = [""]
        self.pictures: list[str] = []
        self.data: list[Any] = []
        self.drawn: list[str] = []
        self.links: list[str] = []
        self.policy = ""
        self.inside: list[str] = []  # of elements whose text is not visible

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in self.INLINE:
            self.lines.append("")
        if tag in ("script", "style"):
            self.inside.append(given.get("type", tag))
        if tag in self.DRAWN:
            self.drawn.append(f"{tag} {sorted((k, v) for k, v in given.items() if not k.startswith('aria'))}")
        if given.get("http-equiv", "").casefold() == "content-security-policy":
            self.policy = re.sub(r"'sha\d+-[^']*'", "'HASH'", given["content"])
        for name in ("alt", "title", "aria-label", "placeholder"):
            if given.get(name):
                self.lines += [given[name], ""]
        for name in ("src", "href", "data-frame"):
            if given.get(name, "").startswith("data:"):
                self.pictures.append(told(base64.b64decode(given[name].partition(",")[2]))["sha256"])
            elif name in given:
                self.links.append(PLACE.plain(given[name]))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self.inside:
            self.inside.pop()
        if tag not in self.INLINE:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.lines[-1] += " ".join(data.split()) + " " if data.strip() else " "
        elif self.inside[-1] == "application/json":
            rows = json.loads(data)
            self.data += [[*row[:3], words(row[3]), digest(base64.b64decode(row[4]))] for row in rows]
        elif state := re.search(r'standalone\(document\.getElementById\("\w+"\), (\{.*\}), document', data):
            self.data.append(told(json.loads(state[1])))


def html(text: str) -> dict[str, Any]:
    """Turn HTML into its visible text, its pictures, its data, its drawings and its policy; scripts and styles are left out."""
    page = _Page()
    page.feed(text)
    page.close()
    lines = [" ".join(line.split()) for line in page.lines]
    drawn = {"count": len(page.drawn), "sha256": digest("\n".join(page.drawn).encode())}
    parts = {"pictures": page.pictures, "data": page.data, "links": page.links, "policy": page.policy}
    return {"text": words(lines), **{name: part for name, part in parts.items() if part}, "drawn": drawn}


# --- files and outputs ---------------------------------------------------------------------------


def told_file(path: Path) -> Any:
    """Turn a file into its content if that can be compared in parts, else into a digest."""
    data = path.read_bytes()
    with contextlib.suppress(ValueError):
        if path.suffix == ".html":
            return html(data.decode())
        if path.suffix == ".json":
            return told(json.loads(data))
        if path.suffix == ".jsonl":
            return [told(json.loads(line)) for line in data.decode().splitlines()]
        if path.suffix == ".csv":
            return told_csv(data.decode())
    return digest(data)


def told_csv(text: str) -> Any:
    """Turn a CSV file into rows, with the columns of sentences apart."""
    import csv

    rows = list(csv.reader(io.StringIO(PLACE.plain(text), newline="")))
    if not rows or not SAYS & set(rows[0]):
        return PLACE.plain(text).splitlines()
    said = [place for place, name in enumerate(rows[0]) if name in SAYS]
    exact = [[cell for place, cell in enumerate(row) if place not in said] for row in rows]
    return {"columns": rows[0], "rows": exact[1:], "says": words([row[place] for row in rows[1:] for place in said])}


def told_files(folder: Path) -> dict[str, Any]:
    """Turn everything below a folder into {name: kind, mode, content}."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = PLACE.plain(str(path.relative_to(folder)))
        mode = f"{path.lstat().st_mode & 0o7777:o}"
        if path.is_symlink():
            found[name] = f"link to {PLACE.plain(os.readlink(path))}"
        elif path.is_dir():
            found[f"{name}/"] = mode
        elif path.is_file() and name.startswith(".") and path.suffix == ".json":
            found[name] = "a note of an unfinished extraction"  # of use to the same version only
        elif path.is_file():
            linked = ", linked" if path.stat().st_nlink > 1 else ""
            found[name] = [mode + linked, told_file(path)]
        else:
            found[name] = "special"
    return found


def told_output(text: str) -> Any:
    """Turn what was printed into its JSON, or into sentences; a traceback into its last line."""
    with contextlib.suppress(ValueError):
        if text.lstrip().startswith(("{", "[")):
            return told(json.loads(text))
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
            lines.append("TRACEBACK")
        elif not inside or not line.startswith((" ", "\t")):
            inside = False
            lines.append(line)
    return words(lines)


# --- finding the library -------------------------------------------------------------------------


class Absent(AttributeError):
    """Raised for a public name that no module has; a comparison accepts it if that is reviewed."""


class Library:
    """The public names of the package that can be imported, in whatever module they are now."""

    def __init__(self) -> None:
        self.package = importlib.import_module(PACKAGE)
        self.tree = Path(str(self.package.__file__)).parent.parent
        self.modules = {PACKAGE: self.package}
        for found in pkgutil.walk_packages(self.package.__path__, f"{PACKAGE}."):
            self.modules[found.name] = importlib.import_module(found.name)
        self.places: dict[str, dict[str, Any]] = {}
        for module in self.modules.values():
            for name in getattr(module, "__all__", ()):
                self.places.setdefault(name, {})[module.__name__] = getattr(module, name)

    def __getattr__(self, name: str) -> Any:
        """Return the object of a public name: `library.decode`, or `library.player__contact_sheet` if there are two."""
        hint, _, plain = name.rpartition("__")
        for each in (plain, *RENAMED.get(plain, ())):
            for module, found in self.places.get(each, {}).items():
                if hint in module:
                    return found
        for each in (plain, *RENAMED.get(plain, ())):
            for found in self.places.get(each, {}).values():
                return found
        for each in RENAMED.get(plain, ()):  # a name that is private now
            for module in self.modules.values():
                if each.startswith("_") and each in vars(module):
                    return vars(module)[each]
        raise Absent(plain)

    def command(self, name: str) -> Callable[[list[str]], Any]:
        """Return the function that runs a command with arguments."""
        for place in COMMANDS[name]:
            if place.endswith(".py"):
                return lambda args, place=place: run_script(self.tree / place, args)
            if module := self.modules.get(f"{PACKAGE}.{place}"):
                return module.main
        raise AttributeError(f"no module has the command {name}")


def run_script(path: Path, args: list[str]) -> Any:
    """Run a script at the root as `python script.py` does; returns its exit status."""
    if not path.exists():
        return "there is no such script"
    sys.argv = [str(path), *args]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        return ended.code or 0
    return 0


USED: set[str] = set()  # members that a case has looked at
TOOK: dict[str, float] = {}  # seconds that each case took


def tried(read: Callable[[], Any]) -> Any:
    """Return what a call returns, or what it raises, with the warnings that it gives."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            value = told(read())
        except (Exception, SystemExit) as fault:
            value = told(fault)
    own = [each for each in given if not issubclass(each.category, DeprecationWarning | ResourceWarning)]
    if own:
        kinds = [each.category.__name__ for each in own]
        return {"value": value, "warned": kinds, "says": words([str(each.message) for each in own])}
    return value


def member(thing: Any, name: str) -> Any:
    """Return a member by its present name, perhaps from the contents of a data set, to which some members have moved."""
    for holder in (thing, getattr(thing, "contents", None)):
        for each in (name, *RENAMED.get(name, ())):
            if hasattr(type(holder), each) or each in getattr(holder, "__dict__", ()):
                return getattr(holder, each)
    raise Absent(f"{type(thing).__name__}.{name}")


def ask(thing: Any, name: str, *args: Any, **options: Any) -> Any:
    """Read a public attribute, or call a public method, and note that it was looked at."""
    USED.update(f"{type(thing).__name__}.{each}" for each in (name, *RENAMED.get(name, ())))

    def read() -> Any:
        found = member(thing, name)
        return found(*args, **options) if callable(found) else found

    return tried(read)


# --- cases: a name and a function -------------------------------------------------------------


class Case(NamedTuple):
    """Something to observe in a process and a folder of its own."""

    name: str
    run: Callable[[], Any]


def observe(case: Case, folder: Path, place: Path) -> Any:
    """Run a case in this process, which is its own, in `place`/cwd; returns what was observed."""
    global PLACE
    for name in ("cwd", "tmp", "cache", "home"):
        (place / name).mkdir(parents=True)
    places = {
        "IN": folder,
        "CWD": place / "cwd",
        "TMP": place / "tmp",
        "CACHE": place / "cache",
        "HOME": place / "home",
    }
    tree = Path(str(sys.modules[PACKAGE].__file__)).parent.parent
    PLACE = Place(**places, PYTHON=sys.executable, TREE=tree)
    os.environ |= {"NSW_CACHE_DIR": str(place / "cache"), "TMPDIR": str(place / "tmp"), "HOME": str(place / "home")}
    os.environ |= {"COLUMNS": "10000", "PYTHONPATH": str(tree), "BROWSER": "true", "MPLBACKEND": "agg"}
    tempfile.tempdir = None
    os.chdir(place / "cwd")
    os.umask(0o022)
    for number, name in ((1, "stdout"), (2, "stderr")):
        sent = os.open(place / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(sent, number)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the rest of this process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"
    USED.clear()
    try:
        outcome = told(case.run())
    except (Exception, SystemExit) as fault:
        outcome = told(fault)
    sys.stdout.flush()
    sys.stderr.flush()
    said = (place / "stderr").read_text(errors="replace")
    found = {
        "outcome": outcome,
        "stdout": told_output((place / "stdout").read_text(errors="replace")),
        "stderr": {"lines": said.count("\n"), "says": told_output(said)},
        "files": told_files(place / "cwd"),
        "temporary": sorted(PLACE.plain(str(path.relative_to(place / "tmp"))) for path in (place / "tmp").rglob("*")),
    }
    nothing: tuple[Any, ...] = ([], {}, {"words": []}, {"lines": 0, "says": {"words": []}})
    return {name: part for name, part in found.items() if name == "outcome" or part not in nothing}


def start(case: Case, folder: Path, place: Path) -> int:
    """Start a process that observes a case and writes what it observes to `place`/result.json; returns its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of a fork while other threads are alive
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(SECONDS) + 10)  # if the guard itself is killed
        found = observe(case, folder, place)
        (place / "result.json").write_text(json.dumps([found, sorted(USED)]))
        status = 0
    except BaseException:
        (place / "broken").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def finish(case: Case, place: Path, pid: int, status: int) -> tuple[Any, list[str]]:
    """Read what a process observed, or how it ended, end what it started, and remove its folder."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    try:
        if (place / "result.json").exists():
            return tuple(json.loads((place / "result.json").read_text()))  # type: ignore[return-value]
        if (place / "broken").exists():
            raise RuntimeError(f"the guard itself fails at {case.name}:\n{(place / 'broken').read_text()}")
        return {"outcome": f"the process ended with {os.waitstatus_to_exitcode(status)}"}, []
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run_all(cases: list[Case], folder: Path, jobs: int = 2) -> tuple[dict[str, Any], set[str]]:
    """Observe all cases, `jobs` at a time; returns {case: what was observed}, and which members were looked at."""
    import gc

    gc.collect()
    gc.freeze()
    found: dict[str, Any] = {}
    used: set[str] = set()
    running: dict[int, tuple[Case, Path, float]] = {}
    waiting = list(reversed(cases))
    with tempfile.TemporaryDirectory(prefix="guard-", dir=folder.parent) as name:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    case = waiting.pop()
                    place = Path(name).resolve() / str(len(waiting))
                    place.mkdir()
                    running[start(case, folder, place)] = case, place, time.monotonic()
                for pid, (case, place, began) in list(running.items()):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if not ended and time.monotonic() - began > SECONDS:
                        with contextlib.suppress(ProcessLookupError):
                            os.killpg(pid, signal.SIGKILL)
                        _, status = os.waitpid(pid, 0)
                        ended = pid
                    if ended:
                        TOOK[case.name] = time.monotonic() - began
                        del running[pid]
                        found[case.name], looked = finish(case, place, pid, status)
                        used.update(looked)
                time.sleep(0.002)
        finally:
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            gc.unfreeze()
    return {case.name: found[case.name] for case in cases}, used


# --- the inputs ----------------------------------------------------------------------------------


def slug(text: str) -> str:
    """Return a text as the name of a folder."""
    return re.sub(r"\W+", "-", text.replace("./", "dot")).strip("-")


def noise(seed: int, side: int = 64) -> bytes:
    """Return the bytes of a grey JPEG that depends on the seed only."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def make_sample(library: Library, folder: Path, **options: Any) -> None:
    """Write archives and their extracted copy."""
    library.make_archives(folder / "archives", **options)
    library.extract_dataset(folder / "archives", folder / "extracted")


def make_quirks(library: Library, folder: Path) -> None:
    """Write archives and their extracted copy for each quirk, with as few frames as it needs."""
    for quirk in (*library.QUIRKS, "pax", "dot-prefix", "apple-double"):
        for frames in (16, 20, 24, 32, 48, 64):
            with contextlib.suppress(ValueError):
                make_sample(library, folder / quirk, videos=2, frames=frames, size=64, quirks=[quirk])
                break
        else:
            raise RuntimeError(f"the quirk {quirk} finds no place")


def make_hostile(library: Library, folder: Path) -> None:
    """Write the hostile and the harmless archives of `test_extract.py`."""
    from test_extract import HARMLESS, HOSTILE, VICTIM

    library.make_archives(folder / "base", videos=2, frames=4, size=64)
    good = (folder / "base" / VICTIM).read_bytes()
    for kind, builders in {"hostile": HOSTILE, "harmless": HARMLESS}.items():
        for name, build in builders.items():
            shutil.copytree(folder / "base", folder / kind / slug(name))
            (folder / kind / slug(name) / VICTIM).write_bytes(build(good))


def make_partial(library: Library, folder: Path) -> None:
    """Write incomplete copies, and folders that are not a data set."""
    whole = folder / "sample" / "extracted"
    plane, notes, times = "embryo_dataset", "embryo_dataset_annotations", "embryo_dataset_time_elapsed"
    to = folder / "partial"
    for name, kept in {
        "only F0": [plane],
        "only annotations": [notes],
        "only grades": ["embryo_dataset_grades.csv"],
        "no annotations": [each.name for each in whole.iterdir() if each.name != notes],
        "no times": [each.name for each in whole.iterdir() if each.name != times],
        "two planes": [plane, "embryo_dataset_F15", notes, times],
    }.items():
        for each in kept:
            copy = shutil.copytree if (whole / each).is_dir() else shutil.copyfile
            (to / slug(name)).mkdir(parents=True, exist_ok=True)
            copy(whole / each, to / slug(name) / each)
    shutil.copytree(whole / plane, to / "too-deep" / plane / plane)
    make_sample(library, to / "sixty", videos=1, frames=60, size=64)
    shutil.copytree(to / "sixty" / "extracted", to / "ten-frames")
    for path in (to / "ten-frames").rglob("*.jpeg"):
        if int(path.stem.rpartition("RUN")[2]) % 6 != 3:
            path.unlink()
    shutil.rmtree(to / "sixty")
    odd = shutil.copytree(whole, to / "odd-entries")
    first, second, third = sorted(path.name for path in (odd / plane).iterdir())
    shutil.rmtree(odd / "embryo_dataset_F15" / second)
    (odd / notes / f"{first}_phases.csv").unlink()
    (odd / notes / f"{first}_phases.csv").mkdir()
    (odd / times / f"{second}_timeElapsed.csv").write_bytes(b"\xff\xfe not text\n")
    (odd / notes / f"{third}_phases.csv").write_text("t2,5\nt4,9,3\ntXX,1,2\n\nt5,12,one\n")
    (odd / plane / third / "notes.txt").write_text("mine")
    (odd / plane / "empty-folder").mkdir()
    (odd / "README").write_text("mine")
    frame = next(path for path in sorted((odd / plane / first).iterdir()))
    frame.with_name("link.jpeg").symlink_to(frame.name)
    (odd / plane / first / frame.name.replace("RUN1.", "RUN999.")).symlink_to("not there")
    make_special(folder, to)
    (to / "empty").mkdir()
    (to / "not a data set").mkdir()
    (to / "not a data set" / "page.html").write_text("<html>404</html>")
    (to / "a file").write_text("a file")
    two = to / "two-archives"
    two.mkdir()
    for name in ("embryo_dataset.tar.gz", "embryo_dataset_annotations.tar.gz"):
        shutil.copyfile(folder / "sample" / "archives" / name, two / name)
    misnamed = shutil.copytree(folder / "sample" / "archives", to / "misnamed")
    (misnamed / "embryo_dataset_F15.tar.gz").rename(misnamed / "embryo_dataset_F15.tar.gz?download=1")
    more = shutil.copytree(folder / "sample" / "archives", to / "one-too-many")
    (more / "notes.txt").write_text("mine")
    page = shutil.copytree(folder / "sample" / "archives", to / "a-page-for-grades")
    (page / "embryo_dataset_grades.csv").write_text("<html>404</html>")


def make_special(folder: Path, to: Path) -> None:
    """Write copies with special files, and with misleading names."""
    whole = folder / "sample" / "extracted"
    entries = ("embryo_dataset", "embryo_dataset_F15", "embryo_dataset_annotations", "embryo_dataset_time_elapsed")
    for name in ("special-files", "special-grades", "odd-names"):
        for entry in entries:
            shutil.copytree(whole / entry, to / name / entry)
    files = to / "special-files"
    first, second, third = sorted(path.name for path in (files / entries[0]).iterdir())
    frames = sorted((files / entries[0] / first).iterdir())
    for frame in frames[:4]:
        frame.unlink()
    os.mkfifo(frames[0])
    frames[1].symlink_to("/dev/zero")
    frames[2].symlink_to(folder / "frame.jpeg")
    with open(frames[3], "wb") as large:
        large.truncate(10**12)
    for entry, name, put in (
        (entries[2], f"{first}_phases.csv", os.mkfifo),
        (entries[2], f"{second}_phases.csv", lambda path: os.symlink("/dev/zero", path)),
        (entries[3], f"{first}_timeElapsed.csv", os.mkdir),
        (entries[3], f"{third}_timeElapsed.csv", lambda path: os.symlink("../../../sample", path)),
    ):
        (files / entry / name).unlink()
        put(files / entry / name)
    os.mkfifo(to / "special-grades" / "embryo_dataset_grades.csv")
    names = to / "odd-names"
    for name in ("$x_1$-1", "=cmd|' C calc'!A1-1", "\x1b[31mred-1", "\udcff-1", "+1-2", "Patient_0"):
        shutil.copytree(names / entries[0] / first, names / entries[0] / name)
        shutil.copyfile(names / entries[2] / f"{first}_phases.csv", names / entries[2] / f"{name}_phases.csv")


def make_batches(library: Library, folder: Path) -> None:
    """Write good batches of generated images, and one folder for each way in which a batch can be wrong."""

    def good(path: Path, phase: str = "t2", plane: str = "F0", count: int = 3, prompt: str = "an embryo") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [noise(number + 10 * len(phase)) for number in range(count)]
        made = datetime(2025, 1, 2, 3, 4, 5)
        library.write_run(path, images, prompt, phase, plane, made=made, more={"seed": 7})
        return path

    top = folder / "synthetic"
    good(top / "good" / "run-1", count=12)
    good(top / "good" / "run-2", "t4", "F-15", 2, "an embryo at phase t4")
    good(top / "good" / "run-10", "tB", "F0", 12, "<b>bold</b> & more")
    for name, text in {
        "no-json": "phase: t7",
        "a-comma": '{"phase": "t7", "focal-plane": "F+00",}',
        "a-list": "[]",
        "no-phase": '{"focal-plane": "F+00"}',
        "nothing-known": "{}",
        "phase-is-null": '{"phase": null, "focal-plane": "F+00"}',
        "wrong-phase": '{"phase": "t77", "focal-plane": "F+00"}',
        "wrong-plane": '{"phase": "t7", "focal-plane": "F+99"}',
        "capitals": '{"phase": "TPNA", "focal-plane": "F-15"}',
        "other-prompt": '{"phase": "t7", "focal-plane": "F+00", "prompt": "phase t2, of course"}',
        "prompt-is-a-list": '{"phase": "t7", "focal-plane": "F+00", "prompt": ["t7"]}',
        "not-a-date": '{"phase": "t7", "focal-plane": "F+00", "datetime": "yesterday"}',
        "older-form": '{"phase": "t7", "focal-plane": "", "generate-datetime": "2024-05-06T07:08:09"}',
        "not-utf8": "\udcff\udcfe",
        "deep": "[" * 100_000,
    }.items():
        path = good(top / name / "run")
        (path / "metadata.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (good(top / "no-metadata" / "run") / "metadata.json").unlink()
    path = good(top / "images" / "repeated-number")
    (path / "img01.jpg").write_bytes(noise(99))
    (good(top / "images" / "a-gap", count=6) / "img2.jpg").unlink()
    (good(top / "images" / "not-from-0") / "img0.jpg").unlink()
    (good(top / "images" / "stray") / "preview.png").write_bytes(b"png")
    (good(top / "images" / "truncated") / "img1.jpg").write_bytes(noise(3)[:300])
    (good(top / "images" / "empty") / "img1.jpg").write_bytes(b"")
    (good(top / "images" / "no-jpeg") / "img1.jpg").write_bytes(b"text\xff\xd9")
    path = good(top / "images" / "repeated-bytes")
    shutil.copyfile(path / "img0.jpg", path / "img2.jpg")
    import numpy as np
    from PIL import Image

    Image.fromarray(np.full((64, 64), 128, np.uint8)).save(good(top / "images" / "flat") / "img1.jpg", quality=95)
    path = good(top / "images" / "a-folder")
    (path / "img1.jpg").unlink()
    (path / "img1.jpg").mkdir()
    for each in good(top / "images" / "no-image").glob("img*"):
        each.unlink()
    (top / "images" / "nothing").mkdir()
    (top / "images" / ".hidden").mkdir()
    (top / "images" / "notes.txt").write_text("mine")
    (top / "images" / "loop").symlink_to("loop")
    (top / "images" / "\udcff").mkdir()
    (top / "empty").mkdir()
    (path := folder / "adopt" / "pictures").mkdir(parents=True)
    for number, ending in enumerate(("png", "jpg", "JPEG", "bmp", "tif", "webp")):
        with Image.open(io.BytesIO(noise(50 + number))) as image:
            image.convert("RGB" if number % 2 else "L").save(path / f"embryo{number}.{ending}")
    shutil.copytree(path, folder / "adopt" / "damaged")
    (folder / "adopt" / "damaged" / "embryo9.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "adopt" / "damaged" / "notes.txt").write_text("mine")


EXCLUSIONS = {
    "videos": "video\nSAM1-2\n",
    "runs": 'video,plane,runs\nSAM1-2,,"2-4, 7"\nSAM1-7,F15,\nSAM1-7,F0,3\n',
    "nothing": "video,plane,runs\n",
    "absent": "video,plane,runs\nXX1-1,,\nAA83-7,,\n",
    "beyond": "video,plane,runs\nSAM1-2,,900-999\n",
    "misspelt": "video,plan,runs\nSAM1-2,F0,\n",
    "no-video": "name,plane\nSAM1-2,F0\n",
    "unknown-plane": "video,plane,runs\nSAM1-2,F10,\n",
    "wrong-runs": "video,plane,runs\nSAM1-2,,9-3\n",
    "no-runs": "video,plane,runs\nSAM1-2,,all of them\n",
    "a-number": "video,plane,runs\nSAM1-2,,45292\n",
    "extra": "video,plane,runs\nSAM1-2,F0,1-2,3-4\n",
    "semicolons": "video;plane;runs\nSAM1-2;F0;\n",
    "bom": "\ufeffvideo,plane,runs\r\nSAM1-2,F0,1-3\r\n",
    "findings": "check,severity,video,plane,runs,message,remedy\nrun-gap,info,SAM1-2,,,,\n",
    "empty": "",
}
SPLITS = {
    "good": {"train": ["SAM1-2", "SAM1-7"], "val": [], "test": ["SAM2-4"]},
    "leaks": {"train": ["SAM1-2"], "val": ["SAM1-7"], "test": ["SAM2-4"]},
    "repeated": {"train": ["SAM1-2", "SAM1-7", "SAM1-2"], "test": ["SAM2-4", "SAM1-7"]},
    "unknown": {"train": ["SAM1-2", "SAM1-7", "NO-SUCH\x1b[31m"], "test": ["SAM2-4"]},
    "missing": {"train": ["SAM1-2"], "test": ["SAM2-4"]},
    "released": {"train": ["AA83-7", "AB028-6"], "test": ["RM126-1", "RM126-2"]},
    "other-keys": {"videos": {"SAM1-2": "train"}, "fold": 0, "train": ["SAM1-2"], "made": {"seed": 3}},
    "no-list": {"train": {"SAM1-2": 1}},
    "no-part": {"seed": 0},
    "a-list": ["SAM1-2"],
}


def make_lists(folder: Path) -> None:
    """Write exclusion lists and splits."""
    for kind in ("exclude", "splits"):
        (folder / kind).mkdir()
    for name, text in EXCLUSIONS.items():
        (folder / "exclude" / f"{name}.csv").write_text(text, newline="")
    (folder / "exclude" / "not-text.csv").write_bytes(b"\xff\xfe\x00video")
    for name, split in SPLITS.items():
        (folder / "splits" / f"{name}.json").write_text(json.dumps(split))
    (folder / "splits" / "not-json.json").write_text("train: SAM1-2")
    (folder / "splits" / "deep.json").write_text("[" * 100_000)
    (folder / "splits" / "table.csv").write_text("SAM1-2,train\nSAM2-4,test\n")


def make_cache(library: Library, folder: Path) -> None:
    """Write the caches of this version, for a later version to use or to rebuild."""
    before = os.environ.get("NSW_CACHE_DIR")
    os.environ["NSW_CACHE_DIR"] = str(folder / "cache")
    try:
        for kind in ("archives", "extracted"):
            dataset = library.EmbryoDataset(folder / "sample" / kind)
            dataset.table()
            library.measure_video(dataset, dataset.videos[0])
    finally:
        del os.environ["NSW_CACHE_DIR"]
        if before is not None:
            os.environ["NSW_CACHE_DIR"] = before


def make(folder: Path) -> None:
    """Write all inputs into a new folder; all files are dated back to a day long ago."""
    library = Library()
    folder.mkdir(parents=True)
    print(f"made with {library.tree}", file=sys.stderr)
    make_sample(library, folder / "sample", videos=3, frames=16, size=64)
    make_sample(library, folder / "nine", videos=9, frames=8, size=64)
    make_quirks(library, folder / "quirks")
    make_hostile(library, folder)
    make_partial(library, folder)
    make_batches(library, folder)
    make_lists(folder)
    (folder / "frame.jpeg").write_bytes(noise(1))
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, (1_700_000_000 + 7 * number,) * 2, follow_symlinks=False)
    make_cache(library, folder)
    size = sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
    print(f"{folder}: {size / 1e6:.0f} MB", file=sys.stderr)


def state(folder: Path) -> str:
    """Return a digest of the names, sizes and times of all inputs."""
    found = []
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        found.append((os.fsencode(path), facts.st_mode, facts.st_size if path.is_file() else 0, facts.st_mtime_ns))
    return digest(repr(found).encode())


# --- cases: commands -----------------------------------------------------------------------------


def command(library: Library, name: str, *args: str | Path, before: Callable[[], Any] | None = None) -> Case:
    """Make the case of a command with arguments; paths of the inputs are given whole, those of outputs are relative."""

    def run() -> Any:
        if before is not None:
            before()
        try:
            return {"status": library.command(name)([*map(str, args)])}
        except SystemExit as ended:
            return {"status": ended.code}

    given = [arg.name if isinstance(arg, Path) and not arg.parent.name else str(arg) for arg in args]
    return Case(" ".join([name, *given]), run)


def module_help(library: Library, name: str) -> Case:
    """Make the case of `python -m module --help`, or of a script, in a new interpreter."""

    def run() -> Any:
        for place in COMMANDS[name]:
            if place.endswith(".py"):
                whole = [str(library.tree / place)] if (library.tree / place).exists() else []
            else:
                whole = ["-m", f"{PACKAGE}.{place}"] if f"{PACKAGE}.{place}" in library.modules else []
            if whole:
                return {"status": subprocess.run([sys.executable, *whole, "--help"], check=False).returncode}
        return "there is no such command"

    return Case(f"{name} --help", run)


def after(library: Library, name: str, *args: str | Path) -> Callable[[], Any]:
    """Return a function that runs a command first, so that a case records its second execution."""
    return lambda: library.command(name)([*map(str, args)])


def data_commands(library: Library, path: Path) -> Iterator[Case]:
    """Yield the cases of all commands that read one data set."""
    good = path.parents[1] / "synthetic" / "good" if path.parents[1].name != "quirks" else None
    good = good or path.parents[2] / "synthetic" / "good"
    yield command(library, "dataset", path)
    yield command(library, "dataset", path, "--json")
    yield command(library, "dataset", path, "--table", "table.csv", "--planes", "F0,F15")
    reports = ("--json-file", "report.json", "--csv", "report.csv", "--html", "report.html")
    yield command(library, "validate", path, *reports)
    if "quirks" not in path.parts:  # for these, `look_at_report` measures the pixels
        yield command(library, "validate", path, "--pixels", "--workers", "1", *reports)
    yield command(library, "image_folder", path, "out", "--planes", "F0", "--pick", "median", "--tolerant")
    yield command(library, "play_video", path, "SAM1-2", "--out", "page.html", "--no-open")
    yield command(library, "compare", path, good, "--out", "page.html", "--most", "40")
    yield command(library, "split", path, "--out", "split.json", "--weights", "a=1,b=1")


def sample_commands(library: Library, folder: Path) -> Iterator[Case]:
    """Yield the cases of all options on whole data, and of the commands that need no data."""
    small = ("--videos", "1", "--frames", "4", "--size", "64")
    yield command(library, "sample", "new", *small)
    yield command(library, "sample", "new/deeper", *small, "--json", "--seed", "3")
    yield command(library, "sample", "new", *small[:2], "--frames", "20", "--quirk", "run-gap@SAM1-2", "--quirk", "pax")
    yield command(library, "sample", "new", *small, before=lambda: Path("new").mkdir())
    yield command(library, "sample", "full", *small, before=lambda: Path("full/x").mkdir(parents=True))
    for wrong in (
        ["--videos", "0"],
        ["--size", "8"],
        ["--quirk", "run-gasp"],
        ["--quirk", "run-gap@SAM9-9"],
        ["--quirk", "pax@SAM1-2"],
        ["--quirk", "run-gap"],
        ["--frames", "many"],
        ["--seed", "-1"],
        ["--nonsense"],
    ):
        yield command(library, "sample", "new", *small, *wrong)
    whole = folder / "sample"
    yield command(library, "extract_dataset", whole / "archives", "out")
    yield command(library, "extract_dataset", whole / "archives", "out", "--json", "--workers", "1")
    yield command(library, "extract_dataset", whole / "archives", "deep/er", "--drop-duplicate-f0")
    yield command(library, "extract_dataset", whole / "archives", "there", before=lambda: Path("there").mkdir())
    again = ("extract_dataset", whole / "archives", "out")
    yield command(library, *again, before=after(library, *again))._replace(name="extract_dataset, a second time")
    yield command(library, "extract_dataset", whole / "extracted", "out")
    yield command(library, "extract_dataset", folder / "synthetic", "out")
    yield command(library, "extract_dataset", "nowhere", "out")
    yield command(library, "extract_dataset", folder / "frame.jpeg", "out")
    yield command(library, "extract_dataset", whole / "archives", whole / "archives" / "out")
    yield command(library, "extract_dataset", whole / "archives", ".")
    yield command(library, "extract_dataset", whole / "archives", "file", before=lambda: Path("file").write_text("x"))
    yield command(library, "extract_dataset", whole / "archives", "out", "--workers", "0")
    for kind in ("extracted", "archives"):
        path = whole / kind
        yield from data_commands(library, path)
        yield command(library, "extract_part", path, "out", "--videos", "SAM1-2", "SAM2-4", "--planes", "F0", "F15")
        yield command(library, "extract_part", path, "out")
        yield command(library, "extract_part", path, "out", "--videos", "SAM1-3")
        yield command(library, "extract_part", path, "out", "--planes", "F10")
        yield command(library, "extract_part", path, "out", before=lambda: Path("out/x").mkdir(parents=True))
        yield command(library, "extract_part", path, path / "out")
        yield command(library, "image_folder", path, "out", "--form", "huggingface", "--pick", "onset", "--json")
        yield command(library, "image_folder", path, "out", "--planes", "F0", "--pick", "2", "--link")
        yield command(library, "play_video", path, "SAM1-2", "SAM1-7", "--plane", "F15", "--out", "p.html", "--no-open")
        yield command(library, "play_video", path, "SAM1-2", "--fps", "10", "--no-open")


def option_commands(library: Library, folder: Path) -> Iterator[Case]:
    """Yield the cases of options, lists and wrong usage on the extracted sample."""
    path, good = folder / "sample" / "extracted", folder / "synthetic" / "good"
    table = ("dataset", path, "--table", "table.csv")
    yield command(library, *table, "--json", "--videos", "SAM1-2", "--phases", "t2,t4,t9+")
    yield command(library, *table, "--form", "original", "--planes", "F0", "--phases", "all")
    yield command(library, *table, "--videos", "SAM1-2", "SAM2-4", "--planes", "F0", "F-15,F15", "--phases", "t2 t4")
    yield command(library, "dataset", path, "--form", "original")
    yield command(library, *table, "--videos", "SAM1-3")
    yield command(library, *table, "--planes", "F10")
    yield command(library, *table, "--phases", "t10")
    yield command(library, *table, "--phases", "tHB", "--videos", "SAM1-7")
    yield command(library, *table, before=lambda: Path("table.csv").write_text("mine"))
    yield command(library, "dataset", path, "--table", "table.parquet", "--planes", "F0")
    yield command(library, "dataset", path, "--table", "table.xlsx")
    yield command(library, "dataset", path, "--table", path / "table.csv")
    for each in sorted((folder / "exclude").iterdir()):
        yield command(library, *table, "--planes", "F0", "--exclude", each)
        yield command(library, "split", path, "--out", "split.json", "--weights", "a=1,b=1", "--exclude", each)
        yield command(library, "image_folder", path, "out", "--planes", "F0", "--pick", "1", "--exclude", each)
        yield command(library, "compare", path, good, "--out", "page.html", "--exclude", each, "--most", "30")
    for each in sorted((folder / "splits").iterdir()):
        yield command(library, "split", path, "--check", each)
        yield command(library, "split", path, "--check", each, "--json")
        yield command(library, "image_folder", path, "out", "--planes", "F0", "--pick", "1", "--split", each)
    split = folder / "splits" / "good.json"
    yield command(library, "image_folder", path, "out", "--split", split, "--part", "test", "--pick", "1")
    yield command(library, "image_folder", path, "out", "--split", split, "--part", "nowhere")
    yield command(library, "image_folder", path, "out", "--split", split, "--videos", "SAM1-7", "--planes", "F0")
    nine = folder / "nine" / "extracted"
    yield command(library, "split", nine, "--out", "split.json")
    yield command(library, "split", nine, "--out", "split.json", "--seed", "4", "--json")
    yield command(library, "split", nine, "--out", "split.json", "--weights", "3,1,1")
    yield command(library, "validate", nine, "--pixels", "--workers", "2", "--json-file", "report.json")
    yield command(library, "validate", nine)
    yield command(library, "experiment_1", nine, "--out", "out", "--seed", "2", "--frames", "2")
    yield command(library, "experiment_1", nine, "--out", "out", "--pixels", "--frames", "1")
    yield command(library, "experiment_1", nine, "--out", "out", before=lambda: Path("out").mkdir())
    yield command(library, "experiment_1", path, "--out", "out")
    yield command(library, "experiment_1", folder / "partial" / "empty", "--out", "out")
    yield command(library, "experiment_1")
    yield command(library, "experiment_1", path, "--out", path / "out")
    for wrong in ("--check", "a.json", "--out", "b.json"), ("--weights", "1,1", "--out", "b"), ("--out", ""), ():
        yield command(library, "split", path, *wrong)
    for weights in ("1,1", "0,0,0", "a=1,a=2", "made=1,b=1", "-1,1,1", "nan,1,1", "x=0.5,y=0.5,z=0", "1,,1"):
        yield command(library, "split", path, "--out", "split.json", "--weights", weights)
    yield command(library, "split", path, "--out", "split.json", before=lambda: Path("split.json").write_text("mine"))
    yield command(library, "split", path, "--out", path / "split.json")
    for wrong in (
        ["--planes", "F10"],
        ["--phases", "t10"],
        ["--videos", "SAM1-3"],
        ["--pick", "median,onset"],
        ["--pick", "0"],
        ["--form", "modern"],
        ["--size", "4"],
        ["--size", "64", "--link"],
        ["--part", "test"],
        ["--synthetic", "nowhere"],
        ["--exclude", "nowhere.csv"],
        ["--split", "nowhere.json"],
        ["--videos", "SAM1-7", "--phases", "tHB"],
        ["--nonsense"],
    ):
        yield command(library, "image_folder", path, "out", *wrong)
    more = ("--planes", "F0", "F-15", "--pick", "1", "--synthetic")
    yield command(library, "image_folder", path, "out", *more, good)
    yield command(library, "image_folder", path, "out", *more, good, "--form", "huggingface", "--size", "32")
    yield command(library, "image_folder", path, "out", *more, folder / "synthetic" / "images")
    yield command(library, "image_folder", path, path / "out")
    yield command(library, "image_folder", path, "out", before=lambda: Path("out").mkdir())
    checks = ("--checks", "run-gap,siblings"), ("--checks", "run-gasp"), ("--checks", "empty-well"), ("--checks", "")
    for wrong in (
        *checks,
        ("--workers", "0"),
        ("--json-file", ""),
        ("--json-file", "a", "--csv", "a"),
        ("--pixels", "--checks"),
    ):
        yield command(library, "validate", path, *wrong)
    yield command(library, "validate", path, "--html", "r.html", before=lambda: Path("r.html").write_text("mine"))
    yield command(library, "validate", path, "--csv", "nowhere/r.csv")
    yield command(library, "validate", path, "--pixels", "--checks", "empty-well,blank-video")
    out = ("--out", "page.html")
    for wrong in (
        [good],
        [good, *out, "--most", "0"],
        [good, *out, "--names", "run-3"],
        [good, *out, "--names", "run-1", "--videos", "SAM1-2"],
        [good, *out, "--videos", "SAM1-3"],
        [folder / "synthetic" / "no-json", *out],
        [folder / "synthetic" / "images", *out],
        [folder / "synthetic" / "empty", *out],
        ["nowhere", *out],
        [good, "--out", ""],
    ):
        yield command(library, "compare", path, *wrong)
    yield command(library, "compare", path, good, *out, before=lambda: Path("page.html").write_text("mine"))
    yield command(library, "compare", "nowhere", good, *out)
    for wrong in (["SAM1-3"], ["SAM1-2", "--plane", "F10"], ["SAM1-2", "--fps", "0"], [], ["SAM1-2"] * 17):
        yield command(library, "play_video", path, *wrong, "--no-open", "--out", "page.html")
    mine = {"before": lambda: Path("page.html").write_text("mine")}
    yield command(library, "play_video", path, "SAM1-2", "--no-open", "--out", "page.html", **mine)
    for name in COMMANDS:
        yield module_help(library, name)
        yield command(library, name)
        if name not in ("sample", "experiment_1"):
            yield command(library, name, "nowhere", *{"split": ["--check", "x"], "dataset": []}.get(name, ["y", "z"]))
            yield command(library, name, "", "")
            yield command(library, name, "--nonsense")


def batch_commands(library: Library, folder: Path) -> Iterator[Case]:
    """Yield the cases of the command for generated images."""
    for path in sorted((folder / "synthetic").iterdir()):
        yield command(library, "synthetic", path)
        yield command(library, "synthetic", path, "--json")
    adopt = ("--phase", "t4", "--adopt")
    for name in ("pictures", "damaged"):
        yield command(library, "synthetic", "data/new", *adopt, folder / "adopt" / name, "--plane", "F-15")
        more = ("--skip-unreadable", "--name", "batch", "--prompt", "a prompt", "--json")
        yield command(library, "synthetic", "new", *adopt, folder / "adopt" / name, *more)
    yield command(library, "synthetic", "new", "--adopt", folder / "adopt" / "pictures")
    yield command(library, "synthetic", "new", "--adopt", "nowhere", "--phase", "t4")
    yield command(library, "synthetic", "new", "--phase", "t4")
    yield command(library, "synthetic", folder / "synthetic")
    yield command(library, "synthetic", folder / "synthetic" / "good" / "run-1")
    yield command(library, "synthetic", folder / "frame.jpeg")


def archive_commands(library: Library, path: Path) -> Iterator[Case]:
    """Yield the cases of the commands that read archives, of which one may be hostile."""
    yield command(library, "extract_dataset", path, "out", "--workers", "1")  # else chance decides what is finished
    yield command(library, "dataset", path)
    yield command(library, "validate", path, "--json-file", "report.json")
    yield command(library, "extract_part", path, "out", "--planes", "F15", "--videos", "SAM1-2")
    yield command(library, "extract_part", path, "out", "--planes", "F15", "--tolerant")


def partial_commands(library: Library, folder: Path) -> Iterator[Case]:
    """Yield the cases of all commands on copies that lack something."""
    for path in sorted((folder / "partial").iterdir()):
        yield from (case for case in data_commands(library, path))
        yield command(library, "extract_part", path, "out")
        yield command(library, "extract_dataset", path, "out")


# --- cases: the library from Python --------------------------------------------------------------


def look_at_frames(frames: Any) -> dict[str, Any]:
    """Look at a sequence of frames through all its public members."""
    import numpy as np

    found = {
        "repr": words(repr(frames)),
        "len": len(frames),
        "table": ask(frames, "table"),
        "beyond": tried(lambda: frames[len(frames)]),
    }
    for place in (0, len(frames) // 2, -1) if len(frames) else ():
        found[f"{place}"] = tried(lambda place=place: frames[place])
        found[f"record {place}"] = ask(frames, "record", place)
        found[f"label {place}"] = ask(frames, "label", place)
        found[f"jpeg {place}"] = ask(frames, "jpeg", place)
    parts = {"slice": slice(1, 6, 2), "list": [0, 1], "mask": np.arange(len(frames)) % 5 == 0, "wrong": "x"}
    for name, key in parts.items():
        found[name] = tried(lambda key=key: [frames[key].table.run.tolist(), len(frames[key])])
    found["sum"] = tried(lambda: (frames[:2] + frames[3:4]).table)
    found["sum with a number"] = tried(lambda: frames + 1)
    found["pickle"] = tried(lambda: pickle.loads(pickle.dumps(frames[:3])).table)
    return found


def look_at_video(video: Any, full: bool) -> dict[str, Any]:
    """Look at a video through all its public members; of its frames at a few, or at all."""
    import numpy as np

    found: dict[str, Any] = {"repr": words(repr(video)), "html": tried(lambda: html_of(video))}
    for name in ("name", "code", "planes", "phases", "hours", "grade"):
        found[name] = ask(video, name)
    planes = list(video.planes) if not isinstance(tried(lambda: video.planes), dict) else []
    for plane in planes:
        runs = ask(video, "runs", plane)
        found[f"runs {plane}"] = runs
        numbers = tried(lambda plane=plane: video.runs(plane).tolist())
        numbers = numbers if isinstance(numbers, list) else []
        shown = numbers if full and str(plane) in ("F0", "F-45") else numbers[:1] + numbers[len(numbers) // 2 :][:1]
        for run in shown:
            found[f"path {run} {plane}"] = ask(video, "path", run, plane)
            found[f"jpeg {run} {plane}"] = ask(video, "jpeg", run, plane)
            found[f"frame {run} {plane}"] = ask(video, "frame", run, plane)
            found[f"tolerant {run} {plane}"] = ask(video, "frame", run, plane, tolerant=True)
        found[f"stack {plane}"] = ask(video, "stack", plane, size=32)
        found[f"tolerant stack {plane}"] = ask(video, "stack", plane, tolerant=True)
    found["phase of each run"] = tried(lambda: [video.phase_at(run) for run in range(70)])
    found["phase"] = ask(video, "phase_at", 3)
    if full:
        found["some runs"] = ask(video, "stack", "F0", [3, 1, 2], 16)
        found["no runs"] = ask(video, "stack", "F0", [])
        found["NumPy numbers"] = ask(video, "frame", np.int32(2), -15)
        for name, args in {
            "no such run": ("frame", 999),
            "no such plane": ("runs", "F10"),
            "no number": ("frame", "x"),
            "half a number": ("phase_at", 1.5),
            "size 0": ("frame", 1, "F0"),
        }.items():
            found[name] = ask(video, *args, **({"size": 0} if name == "size 0" else {}))
    copy = pickle.loads(pickle.dumps(video))
    found["pickle"] = [copy == video, hash(copy) == hash(video), copy.name, video == 1]
    found["dataset"] = video.dataset.root == copy.dataset.root
    return found


def html_of(thing: Any) -> dict[str, Any]:
    """Return the HTML that a notebook shows of an object."""
    return {"html": html(thing._repr_html_())}


def look_at_dataset(library: Library, path: Path, full: bool) -> dict[str, Any]:
    """Look at a data set through all its public members."""
    dataset = library.EmbryoDataset(path)
    found: dict[str, Any] = {"repr": tried(lambda: words(repr(dataset)))}
    for name in ("path", "root", "planes", "missing", "middle", "videos", "annotated", "timed", "grades", "tolerant"):
        found[name] = ask(dataset, name)
    found |= {
        "entries": ask(dataset, "entries"),
        "tolerated": ask(dataset, "tolerated"),
        "summary": ask(dataset, "summary"),
    }
    for plane in ("F0", "F45"):
        found[f"folders {plane}"] = ask(dataset, "folders", plane)
    found["plane"] = [ask(dataset, "plane", plane) for plane in ("F0", -15, "F+15", "F10", None, 0)]
    found["table"] = ask(dataset, "table")
    found["table of a few"] = ask(dataset, "table", planes=["F0", 15], phases=["t2", "t4", "t9+"])
    found["unknown"] = [
        ask(dataset, "table", "SAM1-3"),
        ask(dataset, "table", None, "F10"),
        ask(dataset, "table", phases="t"),
    ]
    found["no such video"] = tried(lambda: dataset["SAM1-3"])
    found["mapping"] = tried(lambda: [len(dataset), list(dataset), "SAM1-2" in dataset, "x" in dataset, 3 in dataset])
    found["listings"] = {}
    for name in list(dataset.videos) if isinstance(found["videos"], list) else []:
        found[f"video {name}"] = tried(lambda name=name: look_at_video(dataset[name], full))
        for method in ("phase_rows", "time_rows"):
            found[f"{method} {name}"] = ask(dataset, method, name)
        found["listings"][name] = ask(dataset, "listing", name, member(dataset, "middle") or "F0")
    found["html"] = tried(lambda: html_of(dataset))
    found["tolerated afterwards"] = told(
        {f"{video} {plane}": sorted(runs) for (video, plane), runs in dataset.tolerated.items()}
    )
    for pick in ("all", "median", "onset", 2):
        found[f"frames {pick}"] = tried(lambda pick=pick: look_at_frames(dataset.frames(planes="F0", pick=pick)))
    USED.add("EmbryoDataset.frames")
    found["pickle"] = tried(lambda: pickled(dataset))
    if full:
        found["exclude"] = {}
        for what in ("SAM1-2", ["SAM1-2", "SAM2-4"], "AA83-7", "SAM1-3", "list.csv", 3):
            found["exclude"][str(what)] = ask(dataset, "table", planes="F0", exclude=what)
        found["a part"] = tried(lambda: told_part(dataset))
        for options in (
            {"as_": "numpy"},
            {"transform": lambda image: image.size},
            {"as_": "x"},
            {"pick": "x"},
            {"pick": 0},
        ):
            name = f"frames {sorted(options)}"
            found[f"{name} {options.get('as_', options.get('pick', ''))}"] = tried(
                lambda options=options: dataset.frames(planes="F0", **options)[1]
            )
        one = library.EmbryoDataset(path, planes=["F15", 0], tolerant=True)
        found["two planes"] = [
            told(one.planes),
            tried(lambda: words(repr(one))),
            one == dataset,
            hash(one) == hash(dataset),
        ]
    return found


def told_part(dataset: Any) -> Any:
    """Extract a part, and return its content."""
    part = dataset.extract(["SAM1-2"], ["F0", "F15"], to="part")
    USED.add("EmbryoDataset.extract")
    return [told(part.videos), told(part.planes), told(part.table())]


def pickled(thing: Any) -> Any:
    """Return whether a pickled copy is the same, and its hash."""
    copy = pickle.loads(pickle.dumps(thing))
    return [copy == thing, hash(copy) == hash(thing), repr(copy) == repr(thing), first_name(type(copy).__name__)]


def look_at_report(library: Library, path: Path) -> dict[str, Any]:
    """Validate a data set and look at the report through all its public members."""
    report = library.validate(path, pixels=True)
    found: dict[str, Any] = {"repr": words(repr(report))}
    for name in ("findings", "frames", "checks", "videos", "path", "counts", "videos_by_severity", "sound", "groups"):
        found[name] = ask(report, name)
    found["summary"] = tried(lambda: words(report.summary()))
    found["exclude"] = [ask(report, "exclude"), ask(report, "exclude", "warning"), ask(report, "exclude", "grave")]
    found["json"] = tried(lambda: json.loads(report.to_json()))
    found["csv"] = tried(lambda: {"csv": told_csv(report.to_csv())})
    found["html"] = tried(lambda: html(report.to_html()))
    found["html without pictures"] = tried(lambda: html(report.to_html(pictures=0))["text"])
    found["in a notebook"] = tried(lambda: html_of(report))
    for kind in ("json", "csv", "html"):
        found[f"file {kind}"] = tried(lambda kind=kind: getattr(report, f"to_{kind}")(f"report.{kind}"))
    found["view"] = tried(lambda: look_at_view(report))
    copy = pickle.loads(pickle.dumps(report))
    found["pickle"] = tried(
        lambda: [copy.findings.equals(report.findings), copy.checks == report.checks, copy.path == report.path]
    )
    found["exclude in a table"] = tried(lambda: library.EmbryoDataset(path).table(planes="F0", exclude=report))
    if report.frames is not None and len(report.frames):
        name = report.frames["video"].iloc[0]
        own = report.frames[report.frames["video"] == name]
        found["plot"] = tried(lambda: library.plot_measurements(own, report.findings))
        found["states"] = tried(lambda: library.frame_states(own))
    found["heat map"] = tried(lambda: library.heat_map(report.findings))
    found["worst"] = tried(lambda: library.worst_frames(report.findings, report.dataset, 5))
    USED.update(f"Report.{name}" for name in ("summary", "to_json", "to_csv", "to_html", "view", "dataset"))
    return found


def look_at_view(report: Any) -> dict[str, Any]:
    """Open frames in the widget of a report, as a click does."""
    view = report.view()
    buttons = re.findall(
        r'data-frame="([^"]*)"', view.panel.html.replace("&#x27;", "'")
    )  # an apostrophe, escaped or not
    found = {"buttons": buttons, "said": words(view.panel.said)}
    bundle = view._repr_mimebundle_()
    found["bundle"] = sorted(bundle)
    found["plain"] = words(bundle["text/plain"])
    for opened in (["SAM1-2", "F0", 3], ["SAM1-2", "F0", 999], ["SAM9-9", "F0", 1], []):
        view.panel.opened = opened
        players = [[child.value, child.plane] for child in view.children[1:]]
        found[f"open {opened}"] = [players, words(view.panel.said)]
    return found


def look_at_batches(library: Library, path: Path) -> dict[str, Any]:
    """Look at a folder of batches through all public members."""
    runs = library.SyntheticRuns(path)
    found: dict[str, Any] = {"repr": words(repr(runs)), "html": tried(lambda: html_of(runs))}
    for name in ("path", "root", "left_out", "findings"):
        found[name] = ask(runs, name)
    found["without pixels"] = ask(runs, "findings", pixels=False)
    found["table"] = ask(runs, "table")
    found["tables"] = [ask(runs, "table", phases="t2"), ask(runs, "table", planes=-15), ask(runs, "table", "no such")]
    found["without faults"] = tried(lambda: runs.table(exclude=runs.findings()))
    found["wrong exclude"] = tried(lambda: runs.table(exclude=runs.table()))
    found["frames"] = tried(lambda: look_at_frames(runs.frames(exclude=runs.findings())))
    found["sound"] = tried(lambda: len(library.sound_frames(runs)[0]))
    found["note"] = tried(lambda: library.sound_frames(runs)[1])
    rows = tried(lambda: runs.table())
    for method in ("jpeg", "pixels") if isinstance(rows, dict) and rows.get("rows") else ():
        found[f"row {method}"] = ask(runs, method, runs.table().iloc[0].to_dict())
    found["mapping"] = tried(lambda: [len(runs), list(runs), "run" in runs])
    found["no such run"] = tried(lambda: runs["rum"])
    for name, run in runs.items():
        own: dict[str, Any] = {"repr": words(repr(run)), "pickle": tried(lambda run=run: pickled(run))}
        for attribute in ("name", "path", "files", "metadata", "described", "phase", "plane", "prompt", "numbers"):
            own[attribute] = ask(run, attribute)
        own["faults"] = tried(lambda run=run: list(map(told_fault, run.faults())))
        own["faults of names"] = tried(lambda run=run: list(map(told_fault, run.faults(pixels=False))))
        for number in (*run.files.names, 99) if isinstance(own["numbers"], list) else ():
            own[f"file {number}"] = ask(run, "file", number)
            own[f"jpeg {number}"] = ask(run, "jpeg", number)
            own[f"frame {number}"] = ask(run, "frame", number, size=16)
        found[f"run {name}"] = own
    USED.update(("SyntheticRuns.frames", "SyntheticRun.faults", "SyntheticBatches.frames", "SyntheticBatch.faults"))
    copy = pickle.loads(pickle.dumps(runs))
    found["pickle"] = [list(copy) == list(runs), copy.root == runs.root]
    return found


def told_fault(fault: Any) -> Any:
    """Turn a fault of a batch into its check, severity and numbers, and its sentence."""
    numbers = fault.numbers if hasattr(fault, "numbers") else ranges(fault.runs)
    return [fault.check, str(fault.severity), numbers, words(fault.message)]


def python_cases(library: Library, folder: Path) -> Iterator[Case]:
    """Yield the cases that look at objects from Python."""
    for kind in ("extracted", "archives"):
        path = folder / "sample" / kind
        yield Case(f"EmbryoDataset {path}", lambda path=path: look_at_dataset(library, path, True))
        yield Case(f"an old cache of {path}", lambda path=path: look_with_old_cache(library, folder, path))
    for path in sorted((folder / "quirks").iterdir()):
        for kind in ("extracted", "archives"):
            place = path / kind
            yield Case(f"EmbryoDataset {place}", lambda place=place: look_at_dataset(library, place, False))
        yield Case(f"validate {path} from Python", lambda path=path: look_at_report(library, path / "extracted"))
    for path in sorted((folder / "partial").iterdir()):
        yield Case(f"EmbryoDataset {path}", lambda path=path: look_at_dataset(library, path, False))
        yield Case(f"validate {path} from Python", lambda path=path: look_at_report(library, path))
    for path in sorted((folder / "sample").iterdir()):
        yield Case(f"validate {path} from Python", lambda path=path: look_at_report(library, path))
    for kind in ("hostile", "harmless"):
        for path in sorted((folder / kind).iterdir()):
            yield Case(f"EmbryoDataset {path}", lambda path=path: look_at_hostile(library, path))
    for path in sorted((folder / "synthetic").iterdir()):
        yield Case(f"SyntheticRuns {path}", lambda path=path: look_at_batches(library, path))
    yield Case("EmbryoDataset nowhere", lambda: library.EmbryoDataset("nowhere"))
    yield Case("make_split", lambda: look_at_split(library, folder))


def look_with_old_cache(library: Library, folder: Path, path: Path) -> Any:
    """Read a data set with the caches of the tree that made the inputs."""
    cache = Path(os.environ["NSW_CACHE_DIR"])
    shutil.copytree(folder / "cache", cache, dirs_exist_ok=True)
    dataset = library.EmbryoDataset(path)
    return [tried(lambda: dataset.table()), tried(lambda: library.measure_video(dataset, dataset.videos[0]))]


def look_at_hostile(library: Library, path: Path) -> Any:
    """Read archives of which one may be hostile, strictly and tolerantly."""
    found: dict[str, Any] = {}
    for tolerant in (False, True):
        dataset = library.EmbryoDataset(path, tolerant=tolerant)
        found[f"tolerant={tolerant}"] = {
            "videos": tried(lambda dataset=dataset: dataset.videos),
            "table": tried(lambda dataset=dataset: dataset.table()),
            "F15": tried(lambda dataset=dataset: dataset.table(planes="F15")),
            "stack": tried(lambda dataset=dataset: dataset["SAM1-2"].stack("F15", size=32)),
            "frame": tried(lambda dataset=dataset: dataset["SAM1-2"].frame(2, "F15")),
            "summary": tried(lambda dataset=dataset: dataset.summary()),
            "html": tried(lambda dataset=dataset: html_of(dataset)),
        }
    found["report"] = tried(lambda: library.validate(path).findings)
    return found


def look_at_split(library: Library, folder: Path) -> Any:
    """Make splits, and look at them and at those of others through all public functions."""
    dataset = library.EmbryoDataset(folder / "nine" / "extracted")
    counts = library.phase_counts(dataset)
    found: dict[str, Any] = {
        "counts": told(counts),
        "without": tried(lambda: library.phase_counts(dataset, ["SAM1-2"])),
    }
    for weights in ((0.8, 0.1, 0.1), "1,1,1", {"a": 3, "b": 1}, "a=1,b=1", [1, 1], "x", {"a": -1}, (0, 0, 1), 5):
        for seed in (0, 1):
            split = tried(lambda weights=weights, seed=seed: library.make_split(dataset, weights, seed))
            found[f"{weights} {seed}"] = split
        found[f"parsed {weights}"] = tried(
            lambda weights=weights: {k: str(v) for k, v in library.parse_weights(weights).items()}
        )
    split = library.make_split(dataset)
    found |= {
        "repr": words(repr(split)),
        "made": told(split.made),
        "text": tried(lambda: words(library.split_text(split))),
    }
    found["json"] = tried(lambda: json.loads(library.split_json(split)))
    found["shares"] = tried(lambda: library.phase_shares(split, counts))
    found["worst"] = tried(lambda: library.worst_deviation(split, counts, (0.8, 0.1, 0.1)))
    found["other parts"] = tried(lambda: library.worst_deviation(split, counts, "a=1,b=1"))
    found["counts alone"] = tried(lambda: library.split_counts(counts, "a=1,b=1", 3))
    found["written"] = tried(lambda: library.write_split(split, "split.json"))
    found["again"] = tried(lambda: library.write_split(split, "split.json"))
    found["read"] = tried(
        lambda: [library.read_split("split.json") == split, library.read_split("split.json").made == split.made]
    )
    found["pickle"] = tried(
        lambda: [pickle.loads(pickle.dumps(split)) == split, pickle.loads(pickle.dumps(split)).made == split.made]
    )
    for path in sorted((folder / "splits").iterdir()):
        found[f"read {path.name}"] = tried(lambda path=path: library.read_split(path))
        check = tried(lambda path=path: library.split__check(library.read_split(path), dataset))
        found[f"check {path.name}"] = check
        found[f"lines {path.name}"] = tried(
            lambda path=path: words(library.split__check(library.read_split(path)).lines())
        )
        found[f"leaks {path.name}"] = tried(
            lambda path=path: words(list(map(str, library.leaks(library.read_split(path)))))
        )
    USED.update(("Split.made", "SplitCheck.lines"))
    return found


# --- cases: functions ----------------------------------------------------------------------------


def calls_of_names(library: Library) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls of functions about names, vocabulary and text."""
    p = library
    yield "planes", lambda: [[str(x), x.folder, x.label, x.micrometres, x.rank] for x in p.FocalPlane]
    yield "phases", lambda: [[str(x), x.rank, {"meaning": x.meaning}] for x in p.Phase]
    yield "grades", lambda: [str(x) for x in p.Grade]
    yield "archives", lambda: p.ARCHIVES
    for kind in ("FocalPlane", "Phase", "Grade"):
        for value in (
            "F0",
            "F-15",
            -15,
            "F+15",
            "f15",
            15.0,
            "F10",
            "t2",
            "T2",
            "t9+",
            "tpna",
            "",
            None,
            "A",
            "NA",
            "D",
            True,
        ):
            yield f"{kind}.parse {value!r}", lambda kind=kind, value=value: str(getattr(p, kind).parse(value))
    for name in (
        "D2013.01.28_S0717_I132_WELL7_RUN12.jpeg",
        "x_RUN3.jpeg",
        "RUN3.jpeg",
        "x_RUN03.jpeg",
        "x.png",
        "",
        "x_RUN0.jpeg",
    ):
        yield f"FrameName {name}", lambda name=name: p.FrameName.parse(name)
        yield f"run_of {name}", lambda name=name: p.run_of(name)
    for name in (
        "AA83-7",
        "CAV074-9",
        "RC545-2-8",
        "GS490-_6",
        "RG434-_10",
        "MRA165-7T",
        "RV146N2-6",
        "FE14-020",
        "x",
        "",
        "a-b-c-d",
    ):
        yield f"VideoId {name}", lambda name=name: p.VideoId.parse(name)
        yield f"code_of {name}", lambda name=name: p.code_of(name)
        yield f"natural_key {name}", lambda name=name: p.natural_key(name)
    yield "released", lambda: [len(p.released_videos()), digest(repr(p.released_videos()).encode())]
    yield (
        "nearest",
        lambda: words([p.nearest("t2x", ["t2", "t3"]), p.nearest("", []), p.nearest(3, ["3"]), p.nearest("zz", ["a"])]),
    )
    for runs in ([], [1], [1, 2, 3, 7], [3, 1, 2, 2], range(5)):
        yield f"runs_text {runs}", lambda runs=runs: p.runs_text(runs)
    for text in ("", "1", "1-3, 7", "1-3,7", " 4 - 5", "3-1", "x", "1--2", "1;2", "0", "12-Mar"):
        yield f"runs_ranges {text}", lambda text=text: p.runs_ranges(text)
        yield f"filled {text}", lambda text=text: p.filled(text)
    for text in ("=1+2", "+1", "-1", "-x", "@SUM(A1)", "'=1", "\tx"):
        yield f"spreadsheet_safe {text!r}", lambda text=text: [p.spreadsheet_safe(text), p.from_spreadsheet(text)]
    for text in ("plain", "two\nlines", "\x1b[31mred", "\udcff", "tab\there", "é", ""):
        yield f"printable {text!r}", lambda text=text: p.printable(text)
        yield f"one_line {text!r}", lambda text=text: p.one_line(text)
        yield f"one_line of an error {text!r}", lambda text=text: p.one_line(OSError(2, text, "file"))
    yield "tell", lambda: p.tell("a line")
    yield "warn", lambda: p.text__warn("a line")


def calls_of_files(library: Library, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls of functions about the text files, the images and new files."""
    p = library
    texts = {
        "good": b"t2,1,3\nt3,4,9\n",
        "crlf and blank": b"t2,1,3\r\n\r\nt9+,4,9\r\n",
        "bom": b"\xef\xbb\xbft2,1,3\n",
        "wrong": b"t2,3\nt2,9,1\nxx,1,2\nt2,one,2\nt2,-1,2\nt2,1234567,1234568\n",
        "not text": b"\xff\xfe",
        "empty": b"",
        "nul": b"t2,\x00,3\n",
        "times": b"frame_index,time\n0,1.0\n1,1.2\n2,1.2\n3,nan\n4,x\n5\n\n",
        "other times": b"TIME,Frame_Index,more\n1.5,3,x\n",
        "grades": b"video_name,TE,ICM\nA-1,A,NA\nA-2,D,B\nA-1,B,B\nA-3,,A\n",
    }
    for name, data in texts.items():
        for function in ("parse_phases", "parse_times", "parse_grades"):
            yield f"{function} {name}", lambda f=function, data=data: getattr(p, f)(data)
    grey, long = noise(5), noise(6, 200)
    pictures = {
        "good": grey,
        "large": long,
        "cut": long[: len(long) // 2],
        "no end": grey[:-2],
        "text": b"text",
        "empty": b"",
        "end only": b"\xff\xd9",
    }
    for name, data in pictures.items():
        for options in ({}, {"size": 16}, {"tolerant": True}, {"size": 0}):
            yield f"decode {name} {options}", lambda data=data, options=options: p.decode(data, **options)
        yield f"decode_image {name}", lambda data=data: p.decode_image(data)
    names = ["a_RUN1.jpeg", "a_RUN10.jpeg", "a_RUN2.jpeg", "b_RUN3.jpeg", "x.txt"]
    yield (
        "list_frames",
        lambda: [
            p.list_frames(names),
            p.list_frames([]),
            p.list_frames(names).name(3),
            p.list_frames(names[:3]).name(2),
        ],
    )
    yield "list_frames twice", lambda: p.list_frames(["a_RUN1.jpeg", "b_RUN1.jpeg"], "folder")
    images = ["img0.jpg", "img1.JPEG", "img01.jpg", "img10.jpg", "x.png", "metadata.json", "img-1.jpg"]
    yield "list_images", lambda: p.list_images(images)
    for text in (
        b'{"phase":"t2","focal-plane":"F+00"}',
        b"[]",
        b"{",
        b"\xff",
        b'{"phase":"t2"}',
        b'{"phase":2,"focal-plane":1}',
    ):
        yield (
            f"parse_metadata {text!r}",
            lambda text=text: [p.parse_metadata(text)[0], [*map(told_fault, p.parse_metadata(text)[1])]],
        )
    for name in ("pictures", "damaged"):
        for skip in (False, True):
            yield (
                f"adopt_batch {name} {skip}",
                lambda name=name, skip=skip: look_at_adopted(library, folder, name, skip),
            )
    yield (
        "write_run",
        lambda: [
            told(p.write_run("run", [grey, long], "x", "t2", made=datetime(2025, 1, 1))),
            p.write_run("run", [grey], "", "t2"),
        ],
    )
    for name, args in {
        "no image": ([], "", "t2"),
        "no phase": ([grey], "", "t22"),
        "no plane": ([grey], "", "t2", "F9"),
        "no picture": (["x"], "", "t2"),
        "cut": ([grey[:-2]], "", "t2"),
        "prompt": ([grey], None, "t2"),
    }.items():
        yield f"write_run {name}", lambda args=args: p.write_run("other", *args)
    yield "describe", lambda: [p.describe("t2"), p.describe("t9+", "F-15")]
    for path in (*sorted((folder / "exclude").iterdir()), None, "SAM1-2", ["AA83-7"], folder / "nowhere.csv", 3, b"x"):
        yield f"exclusion_list {path}", lambda path=path: p.exclusion_list(path)
        yield f"whole {path}", lambda path=path: [p.whole_videos(path), p.whole_planes(path)]
    table = p.EmbryoDataset(folder / "sample" / "extracted").table(planes=["F0", "F15"])
    for path in sorted((folder / "exclude").iterdir()):
        yield (
            f"excluded {path}",
            lambda path=path: [int(p.excluded(table, path).sum()), digest(p.excluded(table, path).tobytes())],
        )
    yield "ground_truth", lambda: p.ground_truth(table)
    yield "picked", lambda: [p.picked(table, pick) for pick in ("median", "onset", 3)]
    yield "frame_label", lambda: p.frame_label(table.iloc[0].to_dict())
    for name in ("new.txt", "no/folder/new.txt", ".", str(folder)):
        yield f"new_file {name}", lambda name=name: write_new(p.new_file, name)
        yield f"new_folder {name}", lambda name=name: write_new(p.new_folder, name)
        yield f"refuse_existing {name}", lambda name=name: p.refuse_existing(name)
        yield f"refuse_inside {name}", lambda name=name: p.refuse_inside(name, folder)
        yield f"read_file {name}", lambda name=name: p.read_file(name)
    yield (
        "open_source",
        lambda: {
            str(path.name): tried(lambda path=path: sorted(p.open_source(path).entries()))
            for path in sorted((folder / "partial").iterdir())
        },
    )


def look_at_adopted(library: Library, folder: Path, name: str, skip: bool) -> Any:
    """Adopt a folder of images, and look at the batch."""
    to = f"adopted/{name}-{skip}"
    run = library.adopt_batch(folder / "adopt" / name, "t4", -15, "a prompt", to=to, skip_unreadable=skip)
    return [
        run.numbers,
        run.metadata,
        list(map(told_fault, run.faults())),
        [run.frame(number) for number in run.numbers],
    ]


def write_new(new: Callable[[str], Any], name: str) -> str:
    """Make a new file or folder with something in it."""
    with new(name) as hidden:
        (hidden / "x" if hidden.is_dir() else hidden).write_text("new")
    return "done"


def calls_of_checks(library: Library, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls of functions about checks, pixels and the comparison, and of the plots."""
    p = library
    yield (
        "CHECKS",
        lambda: {name: [check.scope, {"rule": check.rule, "remedy": check.remedy}] for name, check in p.CHECKS.items()},
    )
    yield "QUIRK_HELP", lambda: {name: {"help": text} for name, text in p.QUIRK_HELP.items()}
    yield "REMEDIES", lambda: {name: {"remedy": text} for name, text in p.REMEDIES.items()}
    yield "known_issues", lambda: {name: list(map(str, known)) for name, known in p.known_issues().items()}
    for checks in (None, ["run-gap"], ["run-gasp"], "siblings", ["empty-well"], []):
        for pixels in (False, True):
            yield f"chosen_checks {checks} {pixels}", lambda c=checks, px=pixels: p.chosen_checks(c, px)
    path = folder / "sample" / "extracted"
    yield (
        "validate options",
        lambda: [
            tried(lambda options=options: p.validate(path, **options).findings)
            for options in (
                {"checks": ["siblings"]},
                {"planes": ["F0"], "pixels": True},
                {"planes": ["F9"]},
                {"workers": 2},
                {"checks": ["x"]},
            )
        ],
    )
    yield "validate nowhere", lambda: p.validate("nowhere")
    dataset, made = p.EmbryoDataset(path), p.SyntheticRuns(folder / "synthetic" / "good")
    video = dataset["SAM1-2"]
    yield "measure_video", lambda: p.measure_video(dataset, "SAM1-2", ["F0"])
    yield (
        "real and synthetic",
        lambda: p.compare__compare(dataset.frames(planes="F0", phases=["t2", "tB"]), made.frames(planes="F0")),
    )
    yield "features", lambda: p.features(video.frame(3))
    yield (
        "distance",
        lambda: p.frechet_distance(
            *(p.measure(dataset.frames(videos=name, planes="F0")).features for name in list(dataset)[:2])
        ),
    )
    yield "compare_sheet", lambda: p.compare_sheet(dataset.frames(planes="F0"), made.frames(), 2, 64)
    yield (
        "comparison_page",
        lambda: p.comparison_page(dataset.frames(planes="F0"), made.frames(planes="F0"), "page.html").distance,
    )
    yield "comparison of nothing", lambda: p.comparison_page(dataset.frames(videos=[]), made.frames(), "other.html")
    yield "contact_sheet", lambda: p.plots__contact_sheet(video)
    yield "contact_sheet of runs", lambda: p.plots__contact_sheet(video, "F15", [1, 2, 9], 2, 100)
    yield "contact_sheet beyond", lambda: p.plots__contact_sheet(video, "F15", [999])
    yield "focal_stack", lambda: [p.focal_stack(video, 5), p.focal_stack(video, 5, ["F0", 15], 100)]
    yield "focal_stack beyond", lambda: p.focal_stack(video, 999)
    yield "phase_raster", lambda: [p.phase_raster(dataset), p.phase_raster(dataset, "SAM1-2", "hours", "F15")]
    yield "phase_raster wrong", lambda: p.phase_raster(dataset, by="x")
    for quirk in ("truncated-jpeg", "missing-annotation", "missing-time", "run-gap", "undecodable-jpeg"):
        own = p.EmbryoDataset(folder / "quirks" / quirk / "extracted")
        for name in ("SAM1-2", "SAM1-7"):
            yield f"contact_sheet {quirk} {name}", lambda own=own, name=name: p.plots__contact_sheet(own[name])
        yield f"phase_raster {quirk}", lambda own=own: [p.phase_raster(own), p.phase_raster(own, by="hours")]


def calls_of_player(library: Library, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls of the functions below the player."""
    p = library
    dataset = p.EmbryoDataset(folder / "quirks" / "run-gap" / "extracted")
    videos = [dataset[name] for name in dataset]
    yield "pack_runs", lambda: [p.pack_runs([]), p.pack_runs([1, 2, 4, 9, 10])]
    yield "pack_hours", lambda: [p.pack_hours(videos[0].hours), p.pack_hours(videos[0].hours * 1.037)]
    yield "describe_video", lambda: [p.describe_video(video) for video in videos]
    yield "describe_series", lambda: p.describe_series(videos)
    yield "coarse_to_fine", lambda: [list(p.coarse_to_fine(range(9), 4)), list(p.coarse_to_fine(range(70)))]
    yield (
        "needed",
        lambda: [
            list(p.needed(videos, "F15", 3)),
            list(p.spare(videos, "F15")),
            [*map(str, p.planes_from(videos, -15))],
        ],
    )
    yield (
        "read_frame",
        lambda: [
            [p.read_frame(videos[0], "F0", run)[0], {"fault": p.read_frame(videos[0], "F0", run)[1]}]
            for run in (1, 2, 999)
        ],
    )
    yield "message", lambda: [p.message([((0, "F0", 3), b"abc", "x")], base64) for base64 in (True, False)]
    yield "sheet_frames", lambda: [p.sheet_frames(video, p.FocalPlane.F0) for video in videos]
    yield "sheet", lambda: {"html": html(p.player__contact_sheet(videos, "F0"))}


def grouped(name: str, calls: Callable[[], Iterator[tuple[str, Callable[[], Any]]]]) -> Case:
    """Make one case of many calls."""
    return Case(name, lambda: {PLACE.plain(each): tried(call) for each, call in calls()})


# --- cases: the player with a front end ----------------------------------------------------------


class FrontEnd:
    """Replace the browser: keep all that a widget sends, and send messages to it."""

    def __init__(self) -> None:
        import comm

        self.sent: list[tuple[str, Any]] = []
        front = self

        class Wire(comm.DummyComm):
            def publish_msg(
                self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
            ) -> None:
                front.sent.append((f"{msg_type} {(data or {}).get('method', '')}".strip(), [data, list(buffers or ())]))

        comm.create_comm = lambda **options: Wire(**options)

    def send(self, widget: Any, data: dict[str, Any]) -> None:
        """Send a message to a widget, as a browser does."""
        widget.comm.handle_msg({"content": {"data": {**data, "buffer_paths": []}}, "buffers": []})

    def say(self, widget: Any, **content: Any) -> None:
        """Send a message of the player's own protocol."""
        self.send(widget, {"method": "custom", "content": content})

    def wait(self, count: int = 1, seconds: float = 20) -> None:
        """Wait until so many plans were delivered."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kinds = [data["content"].get("kind") for kind, (data, _) in list(self.sent) if kind == "comm_msg custom"]
            if kinds.count("done") >= count:
                return
            time.sleep(0.005)
        self.sent.append(("nothing came", [None, []]))

    def take(self) -> dict[str, Any]:
        """Return what was sent since the last time: states, and the messages of the protocol in their order."""
        taken, self.sent[:] = list(self.sent), []
        found: dict[str, Any] = {}
        for kind, (data, buffers) in taken:
            data = {name: each for name, each in (data or {}).items() if name != "buffer_paths"}
            state = {
                k: v
                for k, v in data.get("state", {}).items()
                if k not in ("_esm", "_css", "_anywidget_id", "layout", "tooltip")
            }
            data = {**data, "state": state} if "state" in data else data
            if isinstance(content := data.get("content"), dict):
                more = {"data": digest(content["data"].encode())} if "data" in content else {}
                rows = [[*row[:-1], words(row[-1])] if row[-1] else row for row in content.get("frames", ())]
                data["content"] = {**content, **more, **({"frames": rows} if rows else {})}
            found.setdefault(kind, []).append([told(data), told([bytes(each) for each in buffers])])
        return found


def play(library: Library, path: Path) -> dict[str, Any]:
    """Play a video with a `FrontEnd`, using the whole protocol."""
    front = FrontEnd()
    dataset = library.EmbryoDataset(path)
    videos = [dataset[name] for name in dataset]
    player = library.EmbryoPlayer(videos[-1], fps=50)
    found: dict[str, Any] = {"repr": words(repr(player)), "opened": front.take()}
    bundle, _ = player._repr_mimebundle_()
    front.wait()
    found["shown"] = [sorted(bundle), words(bundle["text/plain"]), {"html": html(bundle["text/html"])}, front.take()]
    front.say(player, kind="hello", base64=False)
    front.wait()
    found["hello"] = front.take()
    front.say(player, kind="want", items=[[0, "F0", 3], [0, "F15", 4], [0, "F0", 999]])
    front.wait()
    found["want"] = front.take()
    front.say(player, kind="ack", seq=3)
    front.say(player, kind="hello", base64=True)
    front.wait()
    found["hello again, as text"] = front.take()
    for name, value in {"value": 5, "plane": "F-15", "fps": 12, "speed": -2.0, "loop": True, "bounds": [2, 6]}.items():
        front.send(player, {"method": "update", "state": {name: value}})
        found[f"browser {name}"] = [told(getattr(player, name)), front.take()]
    for value in range(1, 18):
        front.send(player, {"method": "update", "state": {"value": value}})
        found[f"browser value {value}"] = player.value
    front.take()
    for name, value in (
        ("value", 7), ("value", 99), ("plane", -15), ("plane", "F10"), ("fps", 0), ("speed", 99), ("speed", 0),
        ("bounds", [3]), ("bounds", [5, 2]), ("bounds", []), ("playing", True), ("every_frame", True), ("all_planes", True),
        ("value", "x"), ("plane", None),
    ):  # fmt: skip
        found[f"kernel {name}={value}"] = [
            tried(lambda n=name, v=value: setattr(player, n, v)),
            told(getattr(player, name)),
            front.take(),
        ]
    found["page"] = tried(lambda: html(player.to_html()))
    found["page of two planes"] = tried(lambda: html(player.to_html(planes=["F0", 15])))
    found["file"] = tried(lambda: player.to_html("page.html"))
    found["file again"] = tried(lambda: player.to_html("page.html"))
    found["runs and videos"] = [told(player.runs), [video.name for video in player.videos]]
    player.close()
    found["closed"] = front.take()
    for name, args, options in (
        ("two", (videos,), {"plane": "F15", "value": 2}), ("nothing", ([],), {}), ("17", (videos[:1] * 17,), {}),
        ("no plane", (videos,), {"plane": "F10"}), ("no run", (videos,), {"value": 999}), ("no rate", (videos,), {"fps": 0}),
        ("a name", ("SAM1-2",), {}), ("a keyword", (videos,), {"plan": "F0"}),
    ):  # fmt: skip
        found[f"new {name}"] = tried(
            lambda args=args, options=options: words(repr(library.EmbryoPlayer(*args, **options)))
        )
    USED.update(f"EmbryoPlayer.{name}" for name in (*player.class_traits(), "to_html", "close", "runs", "videos"))
    return found


def traits(library: Library) -> dict[str, Any]:
    """Return the traits of all widgets of the package: kind, default, whether the browser has it."""
    from ipywidgets import Widget

    found: dict[str, Any] = {}
    for name, places in library.places.items():
        for kind in places.values():
            if not (isinstance(kind, type) and issubclass(kind, Widget)):
                continue
            for trait, what in sorted(kind.class_traits(sync=True).items()):
                if (
                    what.this_class is not None
                    and what.this_class.__module__.startswith(PACKAGE)
                    and trait not in ("_esm", "_css")
                ):
                    found[f"{name}.{trait}"] = [
                        type(what).__name__,
                        told(
                            what.default_value
                            if isinstance(what.default_value, bool | int | float | str)
                            else str(what.default())
                        ),
                    ]
    return found


# --- cases: names and signatures -----------------------------------------------------------------


def plain_signature(text: str) -> str:
    """Return a signature without the modules of the package and without addresses."""
    text = re.sub(rf"\b{PACKAGE}(\.\w+)*\.(?=\w)", "", text)
    return re.sub(r" at 0x[0-9a-f]+", "", text).replace("pathlib._local.", "pathlib.")


def signature(thing: Any) -> str:
    """Return the signature of anything that can be called, else its kind or its plain value."""
    if isinstance(thing, property) or type(thing).__name__ == "cached_property":
        function = getattr(thing, "fget", None) or getattr(thing, "func", None)
        returned = inspect.signature(function).return_annotation if function else inspect.Signature.empty
        return plain_signature(f"property -> {inspect.formatannotation(returned)}")
    if hasattr(thing, "default_value") and hasattr(thing, "metadata"):
        return f"trait {type(thing).__name__}"
    if isinstance(thing, classmethod | staticmethod):
        return f"{type(thing).__name__} {signature(thing.__func__)}"
    if isinstance(thing, type):
        bases = [
            base.__name__ for base in thing.__mro__[1:] if not base.__name__.startswith("_") and base is not object
        ]
        return plain_signature(f"class{call_text(thing)} of {', '.join(bases[:3])}")
    if callable(thing):
        return plain_signature(call_text(thing))
    if isinstance(thing, bool | int | float | str | tuple | frozenset | None) and len(repr(thing)) <= 200:
        return f"= {sorted(thing) if isinstance(thing, set | frozenset) else thing!r}"
    return f"a {type(thing).__name__}"


def call_text(thing: Any) -> str:
    """Return the text of a signature, '(...)' if there is none."""
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "(...)"


def signatures(library: Library) -> Ready:
    """Return the signatures of all public names and of the public members of classes, by name and not by module."""
    found: dict[str, set[str]] = {}
    for name, places in library.places.items():
        for thing in places.values():
            found.setdefault(name, set()).add(signature(thing))
            if not isinstance(thing, type):
                continue
            for each in dir(thing):
                owner = next((base for base in thing.__mro__ if each in vars(base)), None)
                if each.startswith("_") or owner is None or not owner.__module__.startswith(PACKAGE):
                    continue
                if type(vars(owner)[each]).__name__ in ("_tuplegetter", "member_descriptor", "nonmember"):
                    continue
                text = "a member" if type(vars(owner)[each]) is thing else signature(vars(owner)[each])
                found.setdefault(f"{name}.{each}", set()).add(text)
    return Ready(names={name: " | ".join(sorted(texts)) for name, texts in sorted(found.items())})


# --- record --------------------------------------------------------------------------------------

CLASSES = ("EmbryoDataset", "Video", "Frames", "Report", "Split", "SyntheticRuns", "SyntheticRun", "EmbryoPlayer")
CLASSES += ("SyntheticBatches", "SyntheticBatch")


def all_cases(library: Library, folder: Path) -> list[Case]:
    """Return all cases for the inputs in a folder; their names are unique and contain no path of this machine."""
    cases = [
        *sample_commands(library, folder),
        *option_commands(library, folder),
        *batch_commands(library, folder),
        *partial_commands(library, folder),
        *python_cases(library, folder),
    ]
    for path in sorted((folder / "quirks").iterdir()):
        cases += data_commands(library, path / "extracted")
        cases += archive_commands(library, path / "archives")
    for kind in ("hostile", "harmless"):
        for path in sorted((folder / kind).iterdir()):
            cases += archive_commands(library, path)
    cases += [
        grouped("functions: names", lambda: calls_of_names(library)),
        grouped("functions: files", lambda: calls_of_files(library, folder)),
        grouped("functions: checks and pictures", lambda: calls_of_checks(library, folder)),
        grouped("functions: player", lambda: calls_of_player(library, folder)),
        Case("traits", lambda: traits(library)),
        Case("the player, whole", lambda: play(library, folder / "sample" / "extracted")),
        Case("the player, archives", lambda: play(library, folder / "sample" / "archives")),
        Case("the player, a gap", lambda: play(library, folder / "quirks" / "run-gap" / "extracted")),
        Case("the player, damaged", lambda: play(library, folder / "quirks" / "truncated-jpeg" / "extracted")),
    ]
    seen: Counter[str] = Counter()
    named = []
    for case in cases:
        name = case.name.replace(str(folder), "IN")
        seen[name] += 1
        named.append(case._replace(name=f"{name} ({seen[name]})" if seen[name] > 1 else name))
    return named


def record(folder: Path, only: str = "", jobs: int = 2, names: bool = True) -> dict[str, Any]:
    """Observe all cases whose name matches `only`, and the public names, of the tree that can be imported."""
    library = Library()
    folder = Path(os.path.realpath(folder))
    before = state(folder)
    cases = [case for case in all_cases(library, folder) if re.search(only, case.name)]
    if names:
        cases.append(Case("NAMES", lambda: signatures(library)))
    found, used = run_all(cases, folder, jobs)
    public = found.pop("NAMES", {"outcome": {"names": {}}})["outcome"]["names"]
    missed = [
        name
        for name in public
        if name.partition(".")[0] in CLASSES and "." in name and name not in used and "= " not in public[name]
    ]
    return {
        "about": {"tree": str(library.tree), "python": sys.version.split()[0], "not looked at": missed},
        "names": public,
        "cases": {**found, "the inputs": {"outcome": "unchanged" if state(folder) == before else "CHANGED"}},
    }


# --- compare -------------------------------------------------------------------------------------

_WORD = (
    r"(?:'[^']*'|\"[^\"]*\"|[\w./+~-]*\d(?:[\w.,/%+:-]*[\w%+])?|(?:IN|CWD|TMP|CACHE|HOME|TREE)(?:/[\w./-]*[\w-])?"
    r"|embryo_dataset\w*(?:\.\w+)*|\bt(?:M|B|SB|EB|HB)\b)"
)
_VALUE = re.compile(rf"{_WORD}(?:, {_WORD})*")


def as_pair(old: str, new: str) -> tuple[str, str]:
    """Return two sentences with <1>, <2>, ... for what both of them contain: names, numbers, paths, quoted text."""
    values: dict[str, str] = {}
    old, new = " ".join(old.split()), " ".join(new.split())
    there = set(_VALUE.findall(new))

    def first(match: re.Match[str]) -> str:
        if match[0] not in there:
            return match[0]
        return values.setdefault(match[0], f"<{len(values) + 1}>")

    old = _VALUE.sub(first, old)
    return old, _VALUE.sub(lambda match: values.get(match[0], match[0]), new)


def sentence_pairs(old: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the sentences that differ, side by side; '' for a missing one."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        if b - a == d - c:
            yield from zip(old[a:b], new[c:d], strict=True)
        else:
            yield " / ".join(old[a:b]), " / ".join(new[c:d])


class Reviewed:
    """The reviewed differences: pairs of sentences, and names with their signatures."""

    def __init__(self, rows: Iterable[tuple[str, str, str]] = ()):
        self.rows = set(rows)
        self.renames = {old: new for kind, old, new in self.rows if kind == "name" and old and new}

    @classmethod
    def read(cls, path: Path) -> "Reviewed":
        """Read a file of reviewed differences: tab-separated, with a header."""
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        cells = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
        if wrong := [row for row in cells if len(row) != 3]:
            raise SystemExit(f"{path}: a row has {len(wrong[0])} cells instead of kind, old, new: {wrong[0]}")
        return cls((kind, cls.unescaped(old), cls.unescaped(new)) for kind, old, new in cells)

    @staticmethod
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")

    @staticmethod
    def unescaped(text: str) -> str:
        return re.sub(r"\\(.)", lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]), text)

    def renamed(self, name: str) -> str:
        """Return the reviewed new name of a name, or of a member whose class was renamed."""
        whole, _, last = name.rpartition(".")
        if name in self.renames:
            return self.renames[name]
        if whole in self.renames:
            return f"{self.renames[whole]}.{last}"
        return name

    def renamed_in(self, text: str) -> str:
        """Return a signature with the reviewed new names."""
        return re.sub(r"\w+", lambda match: self.renames.get(match[0], match[0]), text)


class Comparison:
    """What differs between two recordings."""

    def __init__(self, old: dict[str, Any], new: dict[str, Any], reviewed: Reviewed):
        self.reviewed = reviewed
        self.exact: list[tuple[str, str, str]] = []  # where, old, new
        self.sentences: dict[tuple[str, str], list[str]] = {}  # (old, new): where
        self.names: list[tuple[str, str, str]] = []  # kind, old, new
        self.compare_names(old["names"], new["names"])
        for name in {**old["cases"], **new["cases"]}:
            self.compare(name, old["cases"].get(name, "no such case"), new["cases"].get(name, "no such case"))

    @property
    def unreviewed(self) -> list[tuple[str, str, str]]:
        """Return the sentences and names that are not reviewed."""
        told = [("sentence", *pair) for pair in self.sentences] + self.names
        return sorted(set(told) - self.reviewed.rows)

    @property
    def fails(self) -> bool:
        return bool(self.exact or self.unreviewed)

    def compare_names(self, old: dict[str, str], new: dict[str, str]) -> None:
        """Compare the public names and their signatures."""
        expected = {self.reviewed.renamed(name): (name, text) for name, text in old.items()}
        for name, (before, text) in expected.items():
            if name not in new:
                self.names.append(("name", before, ""))
            elif self.reviewed.renamed_in(text) != new[name]:
                self.names.append(("signature", f"{before}: {text}", f"{name}: {new[name]}"))
        self.names += [("name", "", name) for name in new if name not in expected]

    def compare(self, where: str, old: Any, new: Any) -> None:
        """Compare two observations, part by part."""
        if old == new or self.is_reviewed_absence(old, new):
            return
        if isinstance(old, dict) and isinstance(new, dict) and "words" in old and "words" in new:
            pairs = list(sentence_pairs(old["words"], new["words"]))
            for pair in pairs:
                self.sentences.setdefault(as_pair(*pair), []).append(where)
            if not pairs:
                self.compare(f"{where} > if the same", old.get("if the same"), new.get("if the same"))
        elif isinstance(old, dict) and isinstance(new, dict):
            keys = {key: key if key in new else self.reviewed.renamed(key) for key in old}
            for key, there in keys.items():
                self.compare(f"{where} > {key}", old[key], new.get(there, "(absent)"))
            for key in new.keys() - set(keys.values()):
                self.compare(f"{where} > {key}", "(absent)", new[key])
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                self.add(f"{where} > number", len(old), len(new))
                at = next((n for n, both in enumerate(zip(old, new, strict=False)) if both[0] != both[1]), None)
                at = min(len(old), len(new)) if at is None else at
                self.add(f"{where} > {at}", old[at : at + 1], new[at : at + 1])
                return
            for place, both in enumerate(zip(old, new, strict=True)):
                self.compare(f"{where} > {place}", *both)
        elif not ("columns" in where and isinstance(old, str) and self.reviewed.renamed(old) == new):
            self.add(where, old, new)

    def is_reviewed_absence(self, old: Any, new: Any) -> bool:
        """Return whether a call was not possible in one of the trees, since it lacks a name, and this is reviewed."""
        names = [
            each["says"]["words"][0] if isinstance(each, dict) and each.get("raised") == Absent.__name__ else ""
            for each in (old, new)
        ]
        return bool({("name", "", names[0]), ("name", names[1], "")} & self.reviewed.rows)

    def add(self, where: str, old: Any, new: Any) -> None:
        """Add a difference that no review accepts."""
        self.exact.append((where, json.dumps(old)[:300], json.dumps(new)[:300]))

    def lines(self, most: int = 200) -> Iterator[str]:
        """Yield the report."""
        for where, old, new in self.exact[:most]:
            yield f"EXACT     {where}\n     old  {old}\n     new  {new}"
        if self.exact[most:]:
            yield f"EXACT     and {len(self.exact) - most} more"
        unreviewed = set(self.unreviewed)
        for kind, old, new in sorted(set(self.names) & unreviewed):
            yield f"{kind.upper():<9} old  {old or '-'}\n     new  {new or '-'}"
        for pair, places in self.sentences.items():
            if ("sentence", *pair) in unreviewed:
                yield f"SENTENCE  {len(places)} times, first in {places[0]}\n     old  {pair[0]}\n     new  {pair[1]}"
        known = len(self.sentences) + len(set(self.names)) - len(unreviewed)
        yield f"{len(self.exact)} exact differences, {len(unreviewed)} not reviewed, {known} reviewed"


def append_reviewed(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Append rows to the reviewed file."""
    if not path.exists():
        path.write_text("kind\told\tnew\n", encoding="utf-8")
    with open(path, "a", encoding="utf-8") as file:
        for kind, old, new in rows:
            file.write(f"{kind}\t{Reviewed.escaped(old)}\t{Reviewed.escaped(new)}\n")


# --- the command ---------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/guard.py", description="Record what the library does, and compare two recordings."
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("make", help="make the inputs")
    task.add_argument("folder", type=Path, help="the folder to make; it must not exist")
    task = tasks.add_parser("record", help="record the version that can be imported")
    task.add_argument("folder", type=Path, help="the inputs")
    task.add_argument("out", type=Path, nargs="?", help="the recording to write")
    task.add_argument("--only", default="", metavar="REGEX", help="record only the cases whose names match")
    task.add_argument("--jobs", type=int, default=2, help="number of cases at a time (default: 2)")
    task.add_argument("--list", action="store_true", help="print the names of the cases, and record nothing")
    task = tasks.add_parser("compare", help="print the differences between two recordings")
    task.add_argument("old", type=Path)
    task.add_argument("new", type=Path)
    task.add_argument(
        "--reviewed", type=Path, default=REVIEWED, help="the file of reviewed differences (default: %(default)s)"
    )
    task.add_argument(
        "--write-reviewed", action="store_true", help="append the differences that are not reviewed, to be read"
    )
    task.add_argument(
        "--most", type=int, default=200, help="print at most N exact differences (default: 200)", metavar="N"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return 1 if a difference is not reviewed."""
    args = parser().parse_args(argv)
    if args.task == "make":
        make(Path(os.path.realpath(args.folder)))
    elif args.task == "record":
        folder = Path(os.path.realpath(args.folder))
        if args.list:
            print(*(c.name for c in all_cases(Library(), folder) if re.search(args.only, c.name)), sep="\n")
            return 0
        began = time.monotonic()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the cases, and removes their folders
        found = record(folder, args.only, args.jobs, names=not args.only)
        text = json.dumps(found, indent=1, ensure_ascii=True, sort_keys=True)
        if args.out:
            args.out.write_text(text + "\n")
        else:
            print(text)
        about = found["about"]
        took = time.monotonic() - began
        print(f"{about['tree']}: {len(found['cases'])} cases, {took:.0f} s, {len(text) / 1e6:.1f} MB", file=sys.stderr)
        slowest = sorted(TOOK, key=lambda name: -TOOK[name])[:5]
        print("slowest:", *(f"{TOOK[name]:.1f} s {name};" for name in slowest), file=sys.stderr)
        if about["not looked at"]:
            print(f"public members that no case looks at: {', '.join(about['not looked at'])}", file=sys.stderr)
    else:
        reviewed = Reviewed.read(args.reviewed) if args.reviewed.exists() else Reviewed()
        both = [json.loads(path.read_text()) for path in (args.old, args.new)]
        found = Comparison(*both, reviewed)
        print(*found.lines(args.most), sep="\n")
        if args.write_reviewed:
            append_reviewed(args.reviewed, found.unreviewed)
        return int(found.fails)
    return 0


if __name__ == "__main__":
    sys.exit(main())
