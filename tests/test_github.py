"""The files that GitHub and pre-commit read are valid, and agree with the rest of the repository."""

import os
import re
import runpy
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FILES = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_yaml_is_valid(path: Path) -> None:
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved to other code, a commit cannot; the comment shows the release to people and to dependabot."""
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    uses = {use for path in WORKFLOWS for use in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))}
    assert len(uses) == len({use.partition("@")[0] for use in uses})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_and_end_in_time(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())


def test_each_python_of_the_classifiers_is_tested() -> None:
    named = re.search(r"for v in \((.*?)\)\)", (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert named
    matrix = read(ROOT / ".github/workflows/test.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert re.findall(r'"(.*?)"', named[1]) == matrix


def test_binder_has_a_python_that_is_tested_and_a_script_that_can_run() -> None:
    """The commands of the script are those of the README, which tests/test_readme.py runs."""
    commands = re.findall(r"^python -m nsw.*$", (ROOT / ".binder/postBuild").read_text(encoding="utf-8"), re.M)
    assert len(commands) == 2
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in commands if f"$ {command}\n" not in readme] == []
    wanted = read(ROOT / ".binder/environment.yml")["dependencies"]
    assert "pip" in wanted
    matrix = read(ROOT / ".github/workflows/test.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert [each.removeprefix("python=") in matrix for each in wanted if each.startswith("python=")] == [True]
    assert os.access(ROOT / ".binder/postBuild", os.X_OK)


def test_citation_names_the_source_of_the_data() -> None:
    dois = {reference["doi"] for reference in read(ROOT / "CITATION.cff")["references"]}
    assert dois == {"10.1016/j.dib.2022.108258", "10.5281/zenodo.7912264"}


def test_hooks_use_the_tools_of_the_environment() -> None:
    """settings.ini pins the tools; a hook with a version of its own would judge differently."""
    repos = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [hook["id"] for repo in repos for hook in repo["hooks"] if hook["language"] != "system"] == []


def test_a_version_that_differs_is_found(tmp_path: Path) -> None:
    findings = runpy.run_path(str(ROOT / ".ci/version.py"))["findings"]
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    version = config["DEFAULT"]["version"]
    assert findings(f"v{version}") == findings() == []
    assert len(findings("v99.0.0")) == 1
    for name in "settings.ini", "CITATION.cff", "CHANGELOG.md", "nsw_da_medical_image/__init__.py":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(
            (ROOT / name).read_text(encoding="utf-8").replace(version, "99.0.0"), encoding="utf-8"
        )
    (tmp_path / "settings.ini").write_text(f"[DEFAULT]\nversion = {version}\n")
    assert len(findings(root=tmp_path)) == 3
