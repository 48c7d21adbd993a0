"""Make README.md from nbs/index.ipynb: `python .ci/readme.py`, or only compare the two with `--check`.

The cells appear as they are saved, so run the notebook's examples and keep their text output.
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


def from_root(match: re.Match[str]) -> str:
    """A link that is written as seen from nbs/, as seen from the README's folder."""
    target = match["target"]
    if not re.match(r"[a-z][a-z0-9+.-]*:|[#/]", target, re.IGNORECASE):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(INDEX), target))
    return match["before"] + target


def outside_fences(text: str, change) -> str:
    """`text` with `change` applied to everything but fenced code."""
    return "".join(part if i % 2 else change(part) for i, part in enumerate(FENCE.split(text)))


class ForReaders(Preprocessor):
    """Leaves out what is said to nbdev and to Quarto, and sets the links right."""

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
                continue  # raw cells speak to Quarto
            cells.append(cell)
        nb.cells = cells
        return nb, resources


def render(root: Path = ROOT) -> str:
    """The README's text. `FileNotFoundError` where there is no index notebook."""
    nb = nbformat.read(root / INDEX, as_version=4)
    config = Config()
    # tables as text: their HTML carries styles that no README shows
    config.NbConvertBase.display_data_priority = ["text/markdown", "text/plain"]
    exporter = MarkdownExporter(config=config, raw_template=TEMPLATE, preprocessors=[ForReaders])
    text, _ = exporter.from_notebook_node(nb)
    text = outside_fences(text, lambda part: re.sub(r"\n{3,}", "\n\n", part))
    return HEADER + text.strip() + "\n"


def findings(root: Path = ROOT) -> list[str]:
    """Empty where README.md says what the index notebook says, else one line with the remedy."""
    try:
        text = render(root)
    except FileNotFoundError:
        return [f"{INDEX} is missing: write it, README.md is made from it"]
    except Exception as error:
        return [f"{INDEX} cannot be rendered: {error!r:.200}"]
    path = root / "README.md"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return []
    return [f"README.md is behind {INDEX}: run python .ci/readme.py"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=f"Make README.md from {INDEX}.")
    parser.add_argument("--check", action="store_true", help="only compare; status 1 where README.md is behind")
    check = parser.parse_args(argv).check
    found = findings()
    if not found:
        print(f"README.md says what {INDEX} says")
    elif check or not found[0].startswith("README.md"):
        print(found[0], file=sys.stderr)
        return 1
    else:
        (ROOT / "README.md").write_text(render(), encoding="utf-8")
        print(f"README.md made from {INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
