"""Print the lowest versions that settings.ini allows, one `name==version` per line, for `pip install -r`.

    python .ci/lowest.py [extra ...]

Includes the requirements of the given extras, such as archives. Tools such as pytest are not included.
"""

import re
import sys
from configparser import ConfigParser
from pathlib import Path


def lowest(*extras: str) -> list[str]:
    """Return the requirements of settings.ini with their lowest version; raise `SystemExit` if one has none."""
    config = ConfigParser(delimiters=["="])
    config.read(Path(__file__).resolve().parent.parent / "settings.ini", encoding="utf-8")
    keys = ["requirements", *(f"{extra}_requirements" for extra in extras)]
    if missing := [key for key in keys if key not in config["DEFAULT"]]:
        raise SystemExit(f"settings.ini has no {', '.join(missing)}")
    pinned = []
    for requirement in " ".join(config["DEFAULT"][key] for key in keys).split():
        if not (found := re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)(,.*)?", requirement)):
            raise SystemExit(f"{requirement} in settings.ini has no lowest version: write it as name>=version")
        pinned.append(f"{found[1]}=={found[2]}")
    return pinned


if __name__ == "__main__":
    print("\n".join(lowest(*sys.argv[1:])))
