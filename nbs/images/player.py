"""Take the README's pictures in a browser, with invented embryos: `python nbs/images/player.py [file]`.

Takes player.png, or the picture that `file` names. `PICTURES` lists them; to add one, write a function that writes a page and returns
it, with what to wait for and the element to take. Needs what the tests in a browser need: the extra dev, and Chromium or Chrome on PATH.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.viewer.player import EmbryoPlayer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
)
RUN = 41  # four cells


class Shot(NamedTuple):
    """A page to take a picture of: its file, the element that shows that it is complete, the element to take, and the window."""

    page: Path
    ready: str
    element: str
    width: int = 860
    height: int = 900


def player(work: Path, ds: EmbryoDataset) -> Shot:
    """Return the page of one video in all planes."""
    page = EmbryoPlayer(ds[ds.videos[0]], value=RUN).to_html(work / "player.html", planes=ds.planes)
    return Shot(page, f".ep-pane[data-pane-run='{RUN}']", ".embryo-player")  # the run is set together with the pixels


#: The pictures by the name of their file, and the videos that each of them needs.
PICTURES: dict[str, tuple[Callable[[Path, EmbryoDataset], Shot], int]] = {"player.png": (player, 1)}


def screenshot(name: str = "player.png") -> Image.Image:
    """Return a picture of `PICTURES`, light, at one and a half times its size on a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("no Chromium or Chrome is on PATH: install one")
    make, videos = PICTURES[name]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        work = Path(folder)
        make_archives(work / "archives", videos=videos, frames=120)
        extract_dataset(work / "archives", work / "extracted")
        shot = make(work, EmbryoDataset(work / "extracted"))
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        window = {"width": shot.width, "height": shot.height}
        page = chromium.new_page(viewport=window, color_scheme="light", device_scale_factor=1.5)
        page.goto(shot.page.as_uri())
        page.locator(shot.ready).wait_for()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        taken = page.locator(shot.element).screenshot()
        chromium.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("player.png")
    picture = screenshot(file.name if file.name in PICTURES else "player.png")
    picture.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size:,} bytes")
    if len(sys.argv) == 1:  # the repository's picture: list its digest
        subprocess.run([sys.executable, file.parents[2] / ".ci/outputs.py", "--file", file], check=True)
