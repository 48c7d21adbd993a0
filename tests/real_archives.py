"""Make the ten archives from real frames, for tests with `NSW_REAL_DATA`; none of it stays in the repository.

The folder contains frames of plane F0 and annotations of a few videos. The rest is made here in the released form: the
other six planes repeat the frames of F0, times begin at hour 4 in steps of a quarter of an hour over the annotated runs,
and one video has a grade.
"""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from nsw_da_medical_image.dataset_util.util import ANNOTATIONS, GRADES, TIMES, FocalPlane, run_of

STEP = 0.25  # hours a run, the commonest in the release


def videos_in(real_data: Path) -> list[str]:
    """Return the names of the videos that have frames."""
    return sorted(path.name for path in (real_data / "embryo_dataset").iterdir() if path.is_dir())


def frames_of(real_data: Path, video: str) -> list[Path]:
    """Return the frames of a video by RUN number."""
    return sorted((real_data / "embryo_dataset" / video).glob("*.jpeg"), key=lambda path: run_of(path.name) or 0)


def time_elapsed(annotation: str) -> str:
    """Return a time file for the annotated runs: row 0 without an image, a resolution of 0.1 h, a blank line at the end."""
    rows = [line.split(",") for line in annotation.split()]
    last = int(rows[-1][2])
    first = int(rows[0][1])
    lines = [f"{run},{4 + run * STEP:.1f}" for run in (0, *range(first, last + 1))]
    return "\n".join(["frame_index,time", *lines, "", ""])


def _pack(archive: Path, top: str, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tarball with one top folder."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, data in members:
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def make_real_archives(real_data: Path, folder: Path, videos: Iterable[str] | None = None) -> list[str]:
    """Write the ten archives with these videos (default: all) to the new `folder`; return their names."""
    names = list(videos_in(real_data) if videos is None else videos)
    folder.mkdir(parents=True)
    frames = [(f"{name}/{path.name}", path.read_bytes()) for name in names for path in frames_of(real_data, name)]
    for plane in FocalPlane:
        _pack(folder / f"{plane.folder}.tar.gz", plane.folder, frames)
    written = {name: (real_data / ANNOTATIONS / f"{name}_phases.csv").read_text(encoding="utf-8") for name in names}
    phases = [(f"{name}_phases.csv", text.encode()) for name, text in written.items()]
    times = [(f"{name}_timeElapsed.csv", time_elapsed(text).encode()) for name, text in written.items()]
    _pack(folder / f"{ANNOTATIONS}.tar.gz", ANNOTATIONS, phases)
    _pack(folder / f"{TIMES}.tar.gz", TIMES, times)
    grades = [f"{name},{'A,B' if i == 0 else 'NA,NA'}" for i, name in enumerate(names)]
    (folder / GRADES).write_text("\n".join(["video_name,TE,ICM", *grades, ""]), encoding="utf-8")
    return names
