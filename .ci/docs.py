"""Build the documentation up to the step that needs Quarto, render it without Quarto, and look for what is wrong.

    python .ci/docs.py               build, render, and list the problems; exit status 1 if there is one. Examples
                                     without a result are problems, too
    python .ci/docs.py --keep DIR    the same, and keep the pages in the new folder DIR, to look at them
    python .ci/docs.py --site DIR    only list the problems of a site that Quarto has made, such as _docs

The build works on a copy of the tree. nbdev would install Quarto and run `pip install` if they were missing, so both names
lead to a command that does nothing. smalldocs renders the pages: it reads the same settings as Quarto, and looks similar.
"""

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import outputs

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nsw_da_medical_image"
NEEDED = ("nbs", PACKAGE, "settings.ini", "pyproject.toml", "setup.py", "README.md", "LICENSE")
WITHOUT_OUTPUT = {"index.ipynb", "app.ipynb"}  # the overview is text, and the app is not documentation


# --- build ---------------------------------------------------------------------------------------


def build(work: Path) -> Path:
    """Process the notebooks in a copy of the tree below `work`; return the folder that Quarto would render."""
    tree, tools = work / "tree", work / "tools"
    tools.mkdir()
    for name in "quarto", "pip":
        (tools / name).write_text("#!/bin/sh\nexit 0\n")
        (tools / name).chmod(0o755)
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tree / name)
    env = {k: v for k, v in os.environ.items() if k not in ("IN_TEST", "NSW_REAL_DATA")}
    env |= {"PATH": os.pathsep.join((str(tools), scripts(), env.get("PATH", ""))), "PYTHONPATH": str(tree)}
    run(scripts("nbdev_proc_nbs"), cwd=tree, env=env)
    return tree / "_proc"


def render(project: Path) -> Path:
    """Render `project` with smalldocs; return the folder of the pages."""
    run(scripts("smalldocs"), "render", "--quiet", ".", cwd=project, env=dict(os.environ))
    return project / "_docs"


def scripts(name: str = "") -> str:
    """Return the command beside the interpreter in use, so that PATH cannot offer another environment's."""
    return str(Path(sysconfig.get_path("scripts"), name))


def run(*command: str, cwd: Path, env: dict[str, str]) -> None:
    """Run a tool; leave with what it printed if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        sys.exit(f"{tail}\n{Path(command[0]).name} failed: the last lines above show the notebook and the cell")


# --- the notebooks that are rendered -------------------------------------------------------------


def front_matter(notebook: dict[str, Any]) -> dict[str, str]:
    """Return the `key: value` lines of the first cell, which nbdev makes of the title and the blockquote."""
    first = "".join(notebook["cells"][0]["source"]) if notebook["cells"] else ""
    return dict(re.findall(r"^([\w-]+): *(.*)$", first, re.MULTILINE))


def notebook_problems(project: Path) -> Iterator[str]:
    """List titles and outputs that are missing, and errors that were saved, in what is rendered."""
    for path in sorted(project.rglob("*.ipynb")):
        name = path.relative_to(project).as_posix()
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title = front_matter(notebook).get("title", "").strip("'\"")
        if name != "app.ipynb" and (not title or title.startswith("#")):  # people see the app without its code
            yield f"{name} has the title {title!r}: begin it with a line such as '# extract_dataset'"
        for output in (output for cell in notebook["cells"] for output in cell.get("outputs", ())):
            if output["output_type"] == "error":
                yield f"{name} contains the error {output['ename']}: {output['evalue']}"
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        examples = [cell for cell in code if "show_doc(" not in "".join(cell["source"])]
        if examples and name not in WITHOUT_OUTPUT and not any(cell.get("outputs") for cell in examples):
            yield f"{name} has {len(examples)} examples and no output: run the notebook and save its outputs"


def navigation_problems(project: Path) -> Iterator[str]:
    """List notebooks that the navigation lacks or repeats, and entries without a notebook."""
    listed = re.findall(r"[\w/-]+\.ipynb", (project / "sidebar.yml").read_text(encoding="utf-8"))
    paths = [path.relative_to(project) for path in project.rglob("*.ipynb")]
    have = {path.as_posix() for path in paths if not any(part.startswith((".", "_")) for part in path.parts)} - {
        "app.ipynb"
    }
    for name in sorted(have - set(listed)):
        yield f"nbs/sidebar.yml lacks {name}: add it"
    for name in sorted(set(listed) - have):
        yield f"nbs/sidebar.yml lists {name}, which does not exist"
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        yield f"nbs/sidebar.yml lists {name} more than once"


# --- the pages -----------------------------------------------------------------------------------


HEADINGS = ("h1", "h2", "h3", "h4")


@dataclass
class Page(HTMLParser):
    """What a page contains: anchors, targets of links and pictures, title, headings, and its text without code."""

    ids: set[str] = field(default_factory=set)
    targets: list[str] = field(default_factory=list)
    title: str = ""
    headings: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    navigation: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.ids |= {given[key] for key in ("id", "name") if key in given}
        self.targets += [given[key] for key in ("href", "src") if key in given]
        if tag in ("p", "div", "li", "td", "section"):
            self.text.append("\n")
        self.navigation += tag == "nav" or "sidebar" in given.get("class", "")
        if tag in HEADINGS or tag in ("title", "pre", "code", "script", "style"):
            self._open.append(tag)
        if tag in HEADINGS:
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if "title" in self._open:
            self.title += data
        elif any(tag in HEADINGS for tag in self._open):
            self.headings[-1] += data
        elif not self._open:  # neither code nor a script
            self.text.append(data)


def read_pages(site: Path) -> dict[str, Page]:
    """Return the pages of `site` by their path in it."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path.relative_to(site).as_posix()] = page = Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def page_problems(site: Path, aliases: dict[str, str] | None = None) -> Iterator[str]:
    """List empty titles and headings, dead links, leftovers of markup and missing navigation in the pages of `site`.

    `aliases` maps names that Quarto gives to pages to the names that they have here.
    """
    pages, aliases = read_pages(site), aliases or {}
    if not pages:
        yield f"{site} contains no page"
    for name, page in pages.items():
        if not page.title.strip():
            yield f"{name} has no title"
        if not page.navigation:
            yield f"{name} has no navigation"
        if any(not heading.strip() for heading in page.headings):
            yield f"{name} has an empty heading"
        for line in filter(re.compile(r"^\s*(:::|#\|)").search, "".join(page.text).splitlines()):
            yield f"{name} shows the markup {line.strip()!r}"
        for target in dict.fromkeys(page.targets):
            path, anchor = urldefrag(target)
            if re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE):
                continue
            there = os.path.normpath(os.path.join(os.path.dirname(name), unquote(path))) if path else name
            there = aliases.get(there, there)
            if there in pages:
                if anchor and unquote(anchor) not in pages[there].ids:
                    yield f"{name} links to {target}, which has no such anchor"
            elif not (site / there).exists():
                yield f"{name} links to {target}, which does not exist"


Symbols = dict[str, dict[str, tuple[str, str]]]


def public_names(root: Path) -> Symbols:
    """Return the page and anchor of each name of the package below `root`, by module, as nbdev writes them."""
    return runpy.run_path(str(root / PACKAGE / "_modidx.py"))["d"]["syms"]


def api_problems(site: Path, aliases: dict[str, str], symbols: Symbols) -> Iterator[str]:
    """List public functions and classes that the page of their module does not describe.

    `symbols` has the page and anchor of each name, by module.
    """
    pages = read_pages(site)
    for module, names in symbols.items():
        for name, (target, _) in names.items():
            short = name.removeprefix(f"{module}.")
            if "." in short or short.startswith("_"):
                continue  # methods are described with their class
            page, anchor = urldefrag(target)
            there = pages.get(aliases.get(page, page))
            if there is None or anchor not in there.ids:
                yield f"{module} has {short}, which {page} does not describe: export it in a shown cell"


def quarto_names(project: Path) -> dict[str, str]:
    """Map the name that each notebook's page has on the real site to the name that smalldocs gives it."""
    names = {}
    for path in project.rglob("*.ipynb"):
        output = front_matter(json.loads(path.read_text(encoding="utf-8"))).get("output-file", path.stem + ".html")
        here = path.relative_to(project)
        names[here.with_name(output).as_posix()] = here.with_suffix(".html").as_posix()
    return names


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the documentation without Quarto, and list what is wrong.")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep the pages in this folder, which must not exist")
    parser.add_argument("--site", metavar="DIR", type=Path, help="only check the pages of this site")
    args = parser.parse_args(argv)
    if args.keep and args.keep.exists():
        parser.error(f"{args.keep} exists")
    if args.site:
        problems = list(page_problems(args.site))
    else:
        with tempfile.TemporaryDirectory() as name:
            project = build(Path(name).resolve())
            problems = [*outputs.unshown(ROOT), *notebook_problems(project), *navigation_problems(project)]
            site = render(project)
            problems += page_problems(site, quarto_names(project))
            problems += api_problems(site, quarto_names(project), public_names(project.parent))
            if args.keep:
                shutil.copytree(site, args.keep)
    print("\n".join(problems) or "No problems in the documentation")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
