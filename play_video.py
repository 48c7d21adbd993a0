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
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from nsw_da_medical_image.common.command import Parser, Several, filled, run_command
from nsw_da_medical_image.common.files import expanded, refuse_existing, refuse_inside
from nsw_da_medical_image.common.text import complain, tell
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.player import EmbryoPlayer


def parser() -> Parser:
    parser = Parser(
        prog="python play_video.py",
        description="Write videos of a data set, extracted or as archives, into one self-contained page, and open it in the browser.",
        epilog="Exit status: 0 done, 1 there is no such video, plane or data set, or the page exists, 2 wrong usage.",
    )
    folder = "the folder of an extracted data set, or of the archives, or of a part of them"
    parser.add_argument("folder", type=filled, help=folder)
    video = "a video such as AA83-7; several show side by side"
    parser.add_argument("video", action=Several, spaces=True, help=video)
    parser.add_argument("--plane", type=filled, default="F0", help="focal plane, F-45 to F45 (F0)")
    parser.add_argument("--fps", type=float, default=25, help="frames a second (25)")
    out = "the page to write, which must not exist (a new temporary file)"
    parser.add_argument("--out", type=filled, help=out)
    parser.add_argument("--no-open", action="store_true", help="do not open the page")
    return parser


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder that is kept, unless nothing was written into it."""
    folder = Path(tempfile.mkdtemp(prefix="embryo-"))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def write_page(args: argparse.Namespace, out: Path) -> None:
    """Write the page and open it."""
    dataset = EmbryoDataset(args.folder, planes=args.plane)  # of the archives, only this one is looked into
    player = EmbryoPlayer([dataset[name] for name in args.video], plane=args.plane, fps=args.fps)
    player.to_html(out)
    tell(f"{out}: {', '.join(args.video)}, plane {player.plane}, {os.path.getsize(out) / 1e6:.1f} MB")
    if not args.no_open and not webbrowser.open(out.resolve().as_uri()):
        complain("no browser was found; open the page yourself")


def work(args: argparse.Namespace) -> None:
    if args.out is not None:
        refuse_inside(args.out, args.folder)
        out = expanded(args.out)
        if os.path.lexists(out):
            raise FileExistsError(f"{args.out} exists; give another name after --out")
        refuse_existing(out)
        write_page(args, out)
        return
    with temporary_folder() as folder:
        write_page(args, folder / f"{'_'.join(args.video[:4])}.html")


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: work(args), wrong=2)


if __name__ == "__main__":
    raise SystemExit(main())
