"""Take player.png, the README's picture: the player in a browser, with invented embryos: `python nbs/images/player.py [file]`.

Needs what the tests in a browser need: the extra dev, and Chromium or Chrome on PATH.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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


def screenshot() -> Image.Image:
    """Return the player, light, at one and a half times its size on a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("no Chromium or Chrome is on PATH: install one")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        work = Path(name)
        make_archives(work / "archives", videos=1, frames=120)
        extract_dataset(work / "archives", work / "extracted")
        ds = EmbryoDataset(work / "extracted")
        file = EmbryoPlayer(ds[ds.videos[0]], value=RUN).to_html(work / "player.html", planes=ds.planes)
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        page = chromium.new_page(viewport={"width": 860, "height": 900}, color_scheme="light", device_scale_factor=1.5)
        page.goto(file.as_uri())
        page.locator(f".ep-pane[data-pane-run='{RUN}']").wait_for()  # set together with the pixels
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        taken = page.locator(".embryo-player").screenshot()
        chromium.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("player.png")
    screenshot().quantize(256, kmeans=3, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size:,} bytes")
    if len(sys.argv) == 1:  # the repository's picture: list its digest
        subprocess.run([sys.executable, file.parents[2] / ".ci/outputs.py", "--file", file], check=True)
