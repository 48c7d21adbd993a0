"""Take explorer.png, the README's second picture: the explorer in a browser, with invented embryos: `python nbs/images/explorer.py [file]`.

Needs what the tests in a browser need: the extra dev, and Chromium or Chrome on PATH.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from player import BROWSERS, FLAGS
from playwright.sync_api import sync_playwright

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.validation.validate import validate
from nsw_da_medical_image.viewer.app import served

RUN = 41  # four cells


def screenshot() -> Image.Image:
    """Return the explorer with a chosen video, light."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("no Chromium or Chrome is on PATH: install one")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        work = Path(name)
        quirks = "run-gap@SAM2-4", "truncated-jpeg@SAM3-6"
        make_archives(work / "archives", videos=9, frames=120, size=300, quirks=quirks)
        extract_dataset(work / "archives", work / "extracted")
        ds = EmbryoDataset(work / "extracted")
        validate(ds).to_json(work / "report.json")
        asked = {"folder": ds.root, "report": str(work / "report.json"), "annotations": None, "videos": None}
        with served(asked) as (_, address):
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
            page = chromium.new_page(viewport={"width": 1500, "height": 1000}, color_scheme="light")
            page.goto(address)
            page.locator(".embryo-explorer[data-ready=true]").wait_for(timeout=180_000)
            page.locator("[role=row][data-video='SAM1-2']").click()
            page.get_by_label("Go to run or hour").fill(str(RUN))
            page.get_by_label("Go to run or hour").press("Enter")
            page.locator(f".embryo-player[data-run='{RUN}'][data-exact=true]").wait_for()
            page.wait_for_function("() => !document.querySelector('.ee-spacer .ee-blank')")
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            page.evaluate("document.activeElement.blur()")
            box = page.locator(".embryo-explorer").bounding_box()
            edge = {"x": box["x"] - 6, "y": box["y"] - 6, "width": box["width"] + 12, "height": box["height"] + 12}
            taken = page.screenshot(clip=edge)
            chromium.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("explorer.png")
    picture = screenshot()
    picture.thumbnail((1000, 1000), Image.Resampling.LANCZOS)  # as wide as the README shows it
    picture.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size:,} bytes")
    if len(sys.argv) == 1:  # the repository's picture: list its digest
        subprocess.run([sys.executable, file.parents[2] / ".ci/outputs.py", "--file", file], check=True)
