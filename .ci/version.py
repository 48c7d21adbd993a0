"""Compare the places that name the version: `python .ci/version.py [tag]`; exit status 1 if one differs.

settings.ini decides the version; CITATION.cff and the changelog must have the same date. The package, CITATION.cff and the newest dated section of CHANGELOG.md must agree with it, and so must
the tag, such as v0.1.0, if one is given.
"""

import re
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PLACES = {
    "nsw_da_medical_image/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## (\d\S*) - \d{4}-\d\d-\d\d$",
}

DATES = {
    "CITATION.cff": r"^date-released: [\"']?(\d{4}-\d\d-\d\d)",
    "CHANGELOG.md": r"^## \d\S* - (\d{4}-\d\d-\d\d)$",
}


def findings(tag: str = "", root: Path = ROOT) -> list[str]:
    """Return one line per place whose version differs from that of settings.ini."""
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    version = config["DEFAULT"]["version"]
    named = {
        name: found[1]
        if (found := re.search(pattern, (root / name).read_text(encoding="utf-8"), re.M))
        else "no version"
        for name, pattern in PLACES.items()
    }
    dates = [
        found[1] if (found := re.search(pattern, (root / name).read_text(encoding="utf-8"), re.M)) else "no date"
        for name, pattern in DATES.items()
    ]
    apart = [f"the dates in {' and '.join(DATES)} differ: {' and '.join(dates)}"] if len(set(dates)) > 1 else []
    if tag:
        named["the tag"] = tag.removeprefix("v")
    return apart + [
        f"{place} has {have}, settings.ini has {version}: correct one of them"
        for place, have in named.items()
        if have != version
    ]


if __name__ == "__main__":
    found = findings(*sys.argv[1:2])
    print("\n".join(found) or "All places name the same version")
    sys.exit(bool(found))
