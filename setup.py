"""Package the library: settings.ini holds what nbdev and this file both need."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

OPTIONAL = ("archives", "download", "movies", "app", "shards", "completion")
extras = {name: cfg[f"{name}_requirements"].split() for name in (*OPTIONAL, "dev")}
extras["all"] = sorted({requirement for name in OPTIONAL for requirement in extras[name]})

# The pages of this version, which a later change of the branch does not move.
tag = f"v{cfg['version']}"
repository = cfg["git_url"]
raw = repository.replace("github.com", "raw.githubusercontent.com")


def absolute(match: re.Match[str]) -> str:
    """Point a relative link of README.md to this version's page, and a picture to its file."""
    opening, target = match.groups()
    return f"{opening}{f'{raw}/{tag}' if opening.startswith('!') else f'{repository}/blob/{tag}'}/{target}"


readme = (here / "README.md").read_text(encoding="utf-8")

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=re.sub(r"(!?\[[^\]]*\]\()(?![a-z]+:|#)([^)\s]+)", absolute, readme),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=repository,
    project_urls={
        "Documentation": cfg["doc_host"] + cfg["doc_baseurl"],
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Data set": "https://doi.org/10.5281/zenodo.7912264",
    },
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=cfg["keywords"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Jupyter :: JupyterLab",
        f"Intended Audience :: {cfg['audience']}",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: {v}" for v in ("3.11", "3.12", "3.13", "3.14")),
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    packages=find_packages(include=[cfg["lib_name"], f"{cfg['lib_name']}.*"]),
    package_data={cfg["lib_name"]: ["py.typed", "*/data/*", "*/static/*"]},
    include_package_data=False,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
