"""Play embryo time-lapse videos in the browser, without JupyterLab.

    python play_video.py data/extracted AA83-7
    python play_video.py data/extracted AA83-7 AB028-6 --plane F15 --out page.html --no-open
    python play_video.py data/archives AA83-7
    python play_video.py data/extracted AA83-7 --planes all
    python play_video.py data/extracted AA83-7 --mp4 film.mp4
    python play_video.py data/extracted

Write one self-contained page, which can be sent to anyone, and open it. Several videos are shown side by side. If the folder
contains the archives, nothing is unpacked; the archive of the plane is indexed the first time. `--mp4` writes a film instead, and without a
name, the command lists the videos.
"""

from nsw_da_medical_image.viewer import player


def main(argv: list[str] | None = None) -> int:
    return player.main(argv, prog="python play_video.py")


if __name__ == "__main__":
    raise SystemExit(main())
