"""Play embryo time-lapse videos in the browser, without JupyterLab.

    python play_video.py data/extracted AA83-7
    python play_video.py data/extracted AA83-7 AB028-6 --plane F15 --out page.html --no-open
    python play_video.py data/archives AA83-7

Writes one self-contained page, which can be sent to anyone, and opens it. Several videos show side by side. From the
archives nothing is unpacked; the first time, the archive of the plane is indexed.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from nsw_da_medical_image.common.text import DataError, one_line
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.player import EmbryoPlayer


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python play_video.py",
        description="Write videos of a data set, extracted or as archives, into one self-contained page, and open it in the browser.",
        epilog="Exit status: 0 done, 1 there is no such video, plane or data set, or the page exists, 2 wrong usage.",
    )
    parser.add_argument("folder", help="the folder of an extracted data set, or of the archives, or of a part of them")
    parser.add_argument("video", nargs="+", help="a video such as AA83-7; several show side by side")
    parser.add_argument("--plane", default="F0", help="focal plane, F-45 to F45 (F0)")
    parser.add_argument("--fps", type=float, default=25, help="frames a second (25)")
    parser.add_argument("--out", type=Path, help="the page to write, which must not exist (a new temporary file)")
    parser.add_argument("--no-open", action="store_true", help="do not open the page")
    return parser


def refuse(out: Path, asked: Path | None, why: str, status: int) -> int:
    """One clear line, and no empty folder left behind."""
    print(f"error: {why}", file=sys.stderr)
    if asked is None:
        with contextlib.suppress(OSError):
            out.parent.rmdir()
    return status


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    out = args.out or Path(tempfile.mkdtemp(prefix="embryo-")) / f"{'_'.join(args.video[:4])}.html"
    try:
        dataset = EmbryoDataset(args.folder, planes=args.plane)  # of the archives, only this one is looked into
        player = EmbryoPlayer([dataset[name] for name in args.video], plane=args.plane, fps=args.fps)
        player.to_html(out)
    except ValueError as fault:
        return refuse(out, args.out, one_line(fault), 2)
    except FileExistsError:
        return refuse(out, args.out, f"{out} exists; give another name after --out", 1)
    except (DataError, KeyError, OSError) as fault:
        return refuse(out, args.out, one_line(fault), 1)
    print(f"{out}: {', '.join(args.video)}, plane {player.plane}, {os.path.getsize(out) / 1e6:.1f} MB")
    if not args.no_open and not webbrowser.open(out.resolve().as_uri()):
        print("no browser was found; open the page yourself", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
