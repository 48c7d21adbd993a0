"""Look at embryo videos in the browser: a list of all videos, and a player.

    python explore.py data/extracted
    python explore.py data/archives --annotations my-annotations
    python explore.py data/extracted --report report.json --videos AA83-7 AB028-6

The page opens in your browser. It is visible on this computer only. Press Ctrl-C in this window to end it. Needs the extra `app`.
"""

from nsw_da_medical_image.viewer import app


def main(argv: list[str] | None = None) -> int:
    return app.main(argv, prog="python explore.py")


if __name__ == "__main__":
    raise SystemExit(main())
