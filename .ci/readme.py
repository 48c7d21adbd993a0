"""Write README.md from nbs/index.ipynb: `python .ci/readme.py`; `--check` only compares the two.

Outputs are taken from the notebook as saved, so run its examples first and keep their text output.
"""

import argparse
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import Preprocessor
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
INDEX = "nbs/index.ipynb"

DIRECTIVE = re.compile(r"\s*#\s*\|\s*(.*)")
FENCE = re.compile(r"(^```.*?^```\s*?$)", re.MULTILINE | re.DOTALL)
# The target of a markdown link or picture, and of an HTML one.
TARGET = re.compile(r"""(?P<before>\]\(|\b(?:src|href)=["'])(?P<target>[^)\s"']+)""")

HEADER = "<!-- Made from nbs/index.ipynb by .ci/readme.py: edit the notebook. -->\n\n"

# nbconvert indents outputs by four spaces; a fence keeps them apart from code and from lists.
TEMPLATE = """\
{%- extends 'markdown/index.md.j2' -%}
{%- block input %}

```python
{{ cell.source }}
```
{% endblock input -%}
{%- block stream %}

```text
{{ output.text.strip('\\n') | strip_ansi }}
```
{% endblock stream -%}
{%- block data_text scoped %}

```text
{{ output.data['text/plain'].strip('\\n') | strip_ansi }}
```
{% endblock data_text -%}
{%- block markdowncell scoped %}

{{ cell.source }}
{% endblock markdowncell -%}
"""


# The documentation has no files outside of nbs/, so the notebook links to them on GitHub.
ON_GITHUB = "https://github.com/nantes-summer-workshop/nsw_da_medical_image/blob/main/"


def from_root(match: re.Match[str]) -> str:
    """Return a link that is relative to nbs/, or to a file on GitHub, as one that is relative to the folder of the README."""
    target = match["target"]
    if target.startswith(ON_GITHUB):
        target = target.removeprefix(ON_GITHUB)
    elif not re.match(r"[a-z][a-z0-9+.-]*:|[#/]", target, re.IGNORECASE):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(INDEX), target))
    return match["before"] + target


def outside_fences(text: str, change) -> str:
    """Return `text` with `change` applied to everything but fenced code."""
    return "".join(part if i % 2 else change(part) for i, part in enumerate(FENCE.split(text)))


class ForReaders(Preprocessor):
    """Remove the directives for nbdev and the cells for Quarto, and correct the links."""

    def preprocess(self, nb, resources):
        cells = []
        for cell in nb.cells:
            if cell.cell_type == "code":
                rows = cell.source.splitlines()
                said = [m[1] for m in map(DIRECTIVE.match, rows) if m]
                cell.source = "\n".join(row for row in rows if not DIRECTIVE.match(row)).strip()
                if "hide" in said or not cell.source:
                    continue
            elif cell.cell_type == "markdown":
                cell.source = outside_fences(cell.source, lambda text: TARGET.sub(from_root, text))
            else:
                continue  # raw cells are for Quarto
            cells.append(cell)
        nb.cells = cells
        return nb, resources


def render(root: Path = ROOT) -> str:
    """Return the text of the README. Raises `FileNotFoundError` if the index notebook is missing."""
    nb = nbformat.read(root / INDEX, as_version=4)
    config = Config()
    # tables as text: the README does not show the styles of their HTML
    config.NbConvertBase.display_data_priority = ["text/markdown", "text/plain"]
    exporter = MarkdownExporter(config=config, raw_template=TEMPLATE, preprocessors=[ForReaders])
    text, _ = exporter.from_notebook_node(nb)
    text = outside_fences(text, lambda part: re.sub(r"\n{3,}", "\n\n", part))
    return HEADER + text.strip() + "\n"


def findings(root: Path = ROOT) -> list[str]:
    """Return [] if README.md is up to date with the index notebook, otherwise one line with the remedy."""
    try:
        text = render(root)
    except FileNotFoundError:
        return [f"{INDEX} is missing: restore it, because README.md is made from it"]
    except Exception as error:
        return [f"{INDEX} cannot be rendered: {error!r:.200}"]
    path = root / "README.md"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return []
    return [f"README.md is not up to date with {INDEX}: run python .ci/readme.py"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=f"Write README.md from {INDEX}.")
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit status 1 if README.md is not up to date"
    )
    check = parser.parse_args(argv).check
    found = findings()
    if not found:
        print(f"README.md is up to date with {INDEX}")
    elif check or not found[0].startswith("README.md"):
        print(found[0], file=sys.stderr)
        return 1
    else:
        (ROOT / "README.md").write_text(render(), encoding="utf-8")
        print(f"README.md written from {INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
