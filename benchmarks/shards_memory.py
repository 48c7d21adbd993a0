"""Measure the memory of an export to shards, for a table of 240,000 and of 2.4 million simulated frames.

    python benchmarks/shards_memory.py [parquet|webdataset] [ROWS ...]

Each export runs in its own process. The frames are one small JPEG, so the time is that of our own work; the table has the types and sizes of the
release's. Printed are the peak memory of the process, before the export (with the table) and at its end, and the time.
"""

import io
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from PIL import Image

from nsw_da_medical_image.dataset_util.frames import PHASE_TYPE, PLANE_TYPE, Frames
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.util import released_videos


class One:
    """A source of frames that are all the same."""

    def __init__(self) -> None:
        buffer = io.BytesIO()
        Image.new("L", (16, 16), 90).save(buffer, "JPEG")
        self.data = buffer.getvalue()

    def jpeg(self, row):
        return self.data


def megabytes() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def export(form: str, rows: int) -> None:
    """Export a simulated table and print what it took."""
    videos = released_videos()
    number = np.arange(rows)
    table = pd.DataFrame(
        {
            "video": pd.Categorical.from_codes(number * len(videos) // rows, videos),
            "code": pd.Categorical.from_codes(number * len(videos) // rows, videos),
            "plane": pd.Categorical.from_codes(number % 7, dtype=PLANE_TYPE),
            "run": (number // 7 % 500 + 1).astype(np.int32),
            "phase": pd.Categorical.from_codes(number % 16, dtype=PHASE_TYPE),
            "hours": number % 1000 / 10,
        }
    )
    frames = Frames(table, One())
    with tempfile.TemporaryDirectory() as folder:
        before, start = megabytes(), time.perf_counter()
        make_image_folder(frames, f"{folder}/out", form=form)
        took = time.perf_counter() - start
    print(f"{form} {rows:>9,} rows: {before:.0f} MB before, {megabytes():.0f} MB at the end, {took:.0f} s", flush=True)


if __name__ == "__main__":
    form, *counts = sys.argv[1:] or ["parquet"]
    if counts and counts[0] == "--one":
        export(form, int(counts[1]))
    else:
        for rows in counts or ["240000", "2400000"]:
            subprocess.run([sys.executable, __file__, form, "--one", rows], check=True)
