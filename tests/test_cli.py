"""Test the umbrella command: its commands are those of the modules, and all `python -m` forms work from everywhere."""

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nsw_da_medical_image.cli import COMMANDS, commands, main
from nsw_da_medical_image.common.command import called_as, parser_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "nsw_da_medical_image"


def run(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a folder."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL)


def same(text: str) -> str:
    """Return the text of a command without its name, and without line breaks, which depend on the name's length."""
    return " ".join(re.sub(rf"python -m {PACKAGE}[\w.]*|nsw-embryo [a-z]+", "COMMAND", text).split())


@pytest.mark.parametrize("name", list(commands()))
def test_a_command_is_that_of_its_module(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    module = import_module(f"{PACKAGE}.{command.module}")
    with called_as(f"nsw-embryo {name}"):
        short = parser_of(command.main())
    assert short.prog == f"nsw-embryo {name}"
    long = parser_of(module.main, **command.options)
    assert long.prog == f"python -m {PACKAGE}.{command.module}"
    assert same(short.format_help()) == same(long.format_help())
    for wrong in ["--nonsense"], ["\x1b", "", "--annotations"], []:
        told = []
        for call in (lambda w: main([name, *w])), (lambda w: module.main(w, **command.options)):
            with pytest.raises(SystemExit) as stop:
                call(wrong)
            told.append((stop.value.code, *map(same, capsys.readouterr())))
        assert told[0] == told[1]
        assert told[0][0] == 2


def test_errors_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for call in (
        lambda: main(["show", str(tmp_path)]),
        lambda: import_module(f"{PACKAGE}.dataset_util.dataset").main([str(tmp_path)]),
    ):
        told.append((call(), *capsys.readouterr()))
    assert told[0] == told[1]
    assert told[0][0] == 1


def test_quiet_prints_no_summary_and_no_note(shared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(shared().extracted)
    assert main(["--quiet", "show", data]) == 0
    assert main(["show", data, "--quiet"]) == 0
    assert main(["table", data, str(tmp_path / "table.csv"), "--quiet", "--planes", "F0"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "table.csv").exists()
    assert main(["--quiet", "show", data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 3
    assert main(["--quiet", "show", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert main(["show", data]) == 0  # the next one is not quiet
    assert "3 videos" in capsys.readouterr().out


def test_the_table_command_is_the_table_option(shared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(shared().extracted)
    module = import_module(f"{PACKAGE}.dataset_util.dataset")
    assert main(["table", "--planes", "F0", "F15", data, str(tmp_path / "a.csv"), "--hours", "20-60"]) == 0
    assert module.main([data, "--table", str(tmp_path / "b.csv"), "--planes", "F0,F15", "--hours", "20-60"]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_help_imports_no_module_of_a_command() -> None:
    heavy = "numpy", "pandas", "PIL", f"{PACKAGE}.dataset_util.dataset", "matplotlib", "requests"
    code = f"""
import sys
from {PACKAGE}.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {heavy!r} if name in sys.modules])
"""
    assert run("-c", code).stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_one_message() -> None:
    done = run("-m", PACKAGE, "valdate")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "nsw-embryo: error: there is no command 'valdate'; nearest: validate; nsw-embryo --help lists them"
    )


def test_every_command_of_the_issue_exists() -> None:
    wanted = "sample download extract part show table validate clock split folder batches compare play explore export experiment"
    assert list(COMMANDS) == wanted.split()
    assert commands().keys() >= set(wanted.split()) - {"export"}
    assert all(hasattr(import_module(f"{PACKAGE}.{each.module}"), "main") for each in commands().values())


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_completion_in_bash(tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="the extra completion is not installed")
    script = run("-m", PACKAGE, "--print-completion", "bash")
    assert script.returncode == 0
    (tmp_path / "script").write_text(script.stdout)
    (tmp_path / "a.json").touch()

    (tmp_path / "archives").mkdir()
    asked = [
        ["va"],
        ["validate", "--"],
        ["split", "data", "--check", "a"],
        ["export", "data", "SAM1-2", "--align", "a"],
        *([name, "arch"] for name in COMMANDS.keys() - {"sample", "download"}),  # each begins with an existing folder
    ]
    lines = [f"source {tmp_path / 'script'}"]
    for words in asked:
        lines += [f"COMP_WORDS=(nsw-embryo {' '.join(words)})", f"COMP_CWORD={len(words)}", "_shtab_nsw_embryo"]
        lines.append("echo ${COMPREPLY[@]}")
    done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=tmp_path, text=True, capture_output=True, check=False)
    command, options, file, how, *folders = (set(line.split()) for line in done.stdout.splitlines())
    assert command == {"validate"}
    assert {"--pixels", "--html"} <= options
    assert "a.json" in file
    assert not {"archives", "a.json"} & how
    assert folders == [{"archives"}] * (len(COMMANDS) - 2)
    assert run("-m", PACKAGE, "--print-completion", "zsh").stdout.startswith("#compdef nsw-embryo\n")


def test_the_python_forms_work_from_three_folders(shared, tmp_path: Path) -> None:
    """The commands of the README and of the notebooks, word for word, from the checkout, from nbs, and from elsewhere."""
    modules = dict.fromkeys(f"{PACKAGE}.{command.module}" for command in commands().values())
    for folder in ROOT, ROOT / "nbs", tmp_path:
        done = run("-m", f"{PACKAGE}.dataset_util.dataset", shared().extracted, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert "3 videos of 2 patients" in done.stdout
    for name in modules:
        text = " ".join(parser_of(import_module(name).main).format_usage().split())
        assert text.startswith(f"usage: python -m {name} ")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["checkout", "nbs", "elsewhere"])
def test_all_commands_in_both_forms(place: str, tmp_path: Path) -> None:
    """The `python -m` forms from three folders; the umbrella command imports the same modules, so one of its commands from two of them."""
    folder = {"checkout": ROOT, "nbs": ROOT / "nbs", "elsewhere": tmp_path}[place]
    forms = ["python", "umbrella"] if place == "elsewhere" else ["python"]
    for form in forms:
        work = tmp_path / form
        work.mkdir()
        archives, data = work / "archives", work / "extracted"
        for name, *words in (
            ("sample", archives, "--videos", "5", "--frames", "12", "--size", "64"),
            ("extract", archives, data),
            ("part", archives, work / "part", "--planes", "F0", "--videos", "SAM1-2"),
            ("show", data),
            ("validate", data, "--json-file", work / "report.json"),
            ("clock", data, "--videos", "SAM1-2"),
            ("split", data, "--out", work / "split.json"),
            ("split", data, "--folds", "3", "--out", work / "folds"),
            ("split", data, "--check", work / "folds" / "fold_0.csv"),
            ("folder", data, work / "folder", "--planes", "F0", "--split", work / "split.json"),
            ("batches", work / "batches", "--adopt", work / "folder" / "images", "--phase", "t2"),
            ("batches", work / "batches"),
            ("compare", data, work / "batches", "--out", work / "compare.html"),
            ("play", data, "SAM1-2", "--out", work / "play.html", "--no-open"),
            ("export", data, "SAM1-2", "--out", work / "strip.png"),
            ("experiment", data, "--out", work / "experiment", "--frames", "1"),
        ):
            start = ["-m", PACKAGE, name] if form == "umbrella" else ["-m", f"{PACKAGE}.{COMMANDS[name].module}"]
            done = run(*start, *words, cwd=folder)
            assert done.returncode == 0, (start, done.stderr)
            assert "Traceback" not in done.stderr
    assert run("-m", PACKAGE, "show", tmp_path / "python" / "extracted", cwd=folder).returncode == 0
    made = [sorted(path.name for path in (tmp_path / form).iterdir()) for form in forms]
    assert made[0] == made[-1]
