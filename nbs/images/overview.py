"""Draw overview.png, the README's picture, from sample data: `python nbs/images/overview.py [file]`."""

import io
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.sample import make_archives
from nsw_da_medical_image.viewer.plots import contact_sheet, phase_raster


def picture(figure: Figure) -> Image.Image:
    """A figure as pixels."""
    figure.savefig(buffer := io.BytesIO(), format="png")
    return Image.open(buffer).convert("RGB")


def overview() -> Image.Image:
    """A contact sheet above a phase raster."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_archives(work / "archives", videos=6, frames=90, size=250)
        extract_dataset(work / "archives", work / "extracted")
        ds = EmbryoDataset(work / "extracted")
        sheet, raster = picture(contact_sheet(ds["SAM1-2"], size=115)), picture(phase_raster(ds, by="hours"))
    drawn = Image.new("RGB", (max(sheet.width, raster.width), sheet.height + raster.height), "white")
    drawn.paste(sheet, (0, 0))
    drawn.paste(raster, (0, sheet.height))
    return drawn


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("overview.png")
    overview().quantize(192, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size:,} bytes")
