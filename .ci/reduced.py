"""Render notebooks as a reader without styles and scripts sees them: `python .ci/reduced.py FOLDER NOTEBOOK ...`.

GitHub and nbviewer remove styles and scripts from saved outputs. Each notebook becomes one page in the new folder FOLDER,
from nbconvert's basic template without `<style>`, `<script>`, `style=` and `class=`. `--pictures` also takes a picture of
each page with Chromium, `--width` pixels wide, light and dark.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

REMOVED = re.compile(
    r"<(style|script)\b.*?</\1\s*>|\s(?:style|class)=(?:\"[^\"]*\"|'[^']*')",
    re.DOTALL | re.IGNORECASE,
)

# What every host adds: a column, its colours, and pictures that are not wider than the column.
PAGE = """\
<!doctype html><meta charset="utf-8"><title>{name}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ margin: 16px auto; max-width: 95%; font: 16px/1.5 sans-serif }}
img {{ max-width: 100% }} pre {{ overflow: auto; font-size: 12px }}
table {{ border-collapse: collapse; display: block; overflow: auto; font-size: 13px }}
td, th {{ border: 1px solid #8888; padding: 4px 8px }}
</style>
{body}
"""


def reduced(path: Path) -> str:
    """Return the page of a notebook."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic").from_filename(str(path))
    return PAGE.format(name=path.stem, body=REMOVED.sub("", body))


def take_pictures(pages: list[Path], width: int) -> None:
    """Write a picture beside each page, light and dark."""
    from lab import BROWSER_FLAGS, find_browser
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        for scheme in "light", "dark":
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            for path in pages:
                page.goto(path.resolve().as_uri())
                page.screenshot(path=path.with_suffix(f".{scheme}.png"), full_page=True)
        browser.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Render notebooks without styles and scripts.")
    parser.add_argument("folder", type=Path, help="new folder for the pages")
    parser.add_argument("notebook", type=Path, nargs="+")
    parser.add_argument("--pictures", action="store_true", help="take a picture of each page with Chromium")
    parser.add_argument("--width", type=int, default=700, help="width of the pictures in pixels (700)")
    given = parser.parse_args(argv)
    given.folder.mkdir(parents=True)
    pages = []
    for notebook in given.notebook:
        pages.append(given.folder / f"{notebook.parent.name}-{notebook.stem}.html")
        pages[-1].write_text(reduced(notebook), encoding="utf-8")
        print(pages[-1])
    if given.pictures:
        take_pictures(pages, given.width)
    return 0


if __name__ == "__main__":
    sys.exit(main())
