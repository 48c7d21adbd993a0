"""Measure the memory of an export to shards, for a table of 240,000 and of 2.4 million simulated frames.

    python benchmarks/shards_memory.py [parquet] [webdataset] [ROWS ...]

Each export runs in its own process. The frames are one small JPEG, so the time is that of our own work; the table has the types and sizes of the
release's. Printed are the memory of the process before the export (with the table), how much more it has at the highest point of the export, and the
time. This needs Linux, which can forget the highest point before the export.
"""

import gc
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def megabytes(which: str) -> float:
    """Return the memory of this process: VmRSS now, VmHWM at the highest point."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def simulated(rows: int) -> Frames:
    """Return frames of as many rows, all of the same image."""
    videos = released_videos()
    number = np.arange(rows)
    listed = pd.DataFrame(
        {
            "video": pd.Categorical.from_codes(number * len(videos) // rows, videos),
            "code": pd.Categorical.from_codes(number * len(videos) // rows, videos),
            "plane": pd.Categorical.from_codes(number % 7, dtype=PLANE_TYPE),
            "run": (number // 7 % 500 + 1).astype(np.int32),
            "phase": pd.Categorical.from_codes(number % 16, dtype=PHASE_TYPE),
            "hours": number % 1000 / 10,
        }
    )
    return Frames(listed, One())


def export(form: str, rows: int, split: bool = False) -> tuple[float, float, float]:
    """Export a simulated table; return the memory before, what the export adds at its highest point, and the seconds."""
    frames, videos = simulated(rows), released_videos()
    parts = {"train": videos[::2], "test": videos[1::2]} if split else None
    with tempfile.TemporaryDirectory() as folder:
        make_image_folder(frames[:300], f"{folder}/out", form=form)  # what the libraries take once
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest point
    with tempfile.TemporaryDirectory() as folder:
        before, start = megabytes("VmRSS"), time.perf_counter()
        make_image_folder(frames, f"{folder}/out", form=form, split=parts)
        return before, megabytes("VmHWM") - before, time.perf_counter() - start


def measured(form: str, rows: int) -> list[str]:
    """Return a row of the table, measured in a process of its own."""
    command = [sys.executable, __file__, "--one", form, str(rows)]
    before, added, took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return [f"{form}, {rows:,} rows", f"{before:.0f}", f"{added:.1f}", f"{took:.0f}"]


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        print(json.dumps(export(words[1], int(words[2]))))
    else:
        forms = [word for word in words if word in ("parquet", "webdataset")] or ["parquet", "webdataset"]
        counts = [int(word) for word in words if word.isdigit()] or [240_000, 2_400_000]
        print("| export | before (MB) | added (MB) | time (s) |\n|---|---:|---:|---:|")
        for form, rows in itertools.product(forms, counts):
            print(f"| {' | '.join(measured(form, rows))} |", flush=True)
