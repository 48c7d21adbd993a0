"""Try the player, the explorer and the report in the programs that show notebooks, with a real browser.

    pip install notebook voila marimo           # those that are missing are left out
    python .ci/hosts.py [HOST ...] [--pictures DIR]

Prints the table of nbs/hosts.ipynb: for each host, whether the player shows the right frame and plays, whether the explorer
lists the videos and opens one, and whether the report is shown and a click in it opens the player. `jupyterhub` is JupyterLab below the
prefix that JupyterHub gives to a user, `/user/ann/`.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from lab import BROWSER_FLAGS, find_browser  # noqa: E402
from nbformat import write  # noqa: E402
from nbformat.v4 import new_code_cell, new_notebook  # noqa: E402

SETUP = """
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.validation.validate import validate
from nsw_da_medical_image.viewer.explorer import explore
from nsw_da_medical_image.viewer.player import EmbryoPlayer
ds = EmbryoDataset({path!r})
"""
SHOWN = {
    "player": "EmbryoPlayer(ds['SAM1-2'], value=5)",
    "explorer": "explore(ds)",
    "report": "validate(ds, pixels=True)",
}
JUPYTER = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"]
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"


def notebook(path: Path, data: Path, what: str) -> None:
    """Write a notebook that shows one of the three."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    cells = [new_code_cell(SETUP.format(path=str(data)).strip()), new_code_cell(SHOWN[what])]
    write(new_notebook(cells=cells, metadata=kernel), path)


def marimo_app(path: Path, data: Path, what: str) -> None:
    """Write the same as an app of marimo."""
    first = textwrap.indent(SETUP.format(path=str(data)).strip(), "    ")
    path.write_text(
        "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n"
        f"{first}\n    return EmbryoPlayer, ds, explore, validate\n\n\n@app.cell\n"
        f"def _(EmbryoPlayer, ds, explore, validate):\n    {SHOWN[what]}\n    return\n\n\n"
        'if __name__ == "__main__":\n    app.run()\n'
    )


# --- the hosts -----------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(command: list[str], folder: Path, ready: str) -> Iterator[None]:
    """Run a server with a home of its own until the block ends; wait until the address `ready` answers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "XDG_"))}
    env = kept | {"HOME": str(folder), "PYTHONPATH": str(ROOT), "NSW_CACHE_DIR": str(folder / "cache")}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not answers(ready):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "server.log").read_text(errors="replace")[-1500:])
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # the group is this server's own
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def python(*words: object) -> list[str]:
    return [sys.executable, "-P", "-m", *map(str, words)]


@contextlib.contextmanager
def jupyter(
    module: str, view: str, app: str, folder: Path, data: Path, what: str, page: Any, prefix: str = "/"
) -> Iterator[None]:
    """Show a notebook in JupyterLab or Notebook, and run it."""
    notebook(folder / f"{what}.ipynb", data, what)
    port, token = free_port(), secrets.token_hex(8)
    command = python(module, *JUPYTER, f"--ServerApp.port={port}", f"--IdentityProvider.token={token}")
    command += [
        f"--{app}.expose_app_in_browser=True",
        f"--ServerApp.base_url={prefix}",
        f"--ServerApp.root_dir={folder}",
    ]
    with serving(command, folder, f"http://127.0.0.1:{port}{prefix}api"):
        page.goto(f"http://127.0.0.1:{port}{prefix}{view}/{what}.ipynb?token={token}", wait_until="domcontentloaded")
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate("() => window.jupyterapp.started")
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )
        page.evaluate(RUN_ALL)
        yield


@contextlib.contextmanager
def voila(folder: Path, data: Path, what: str, page: Any) -> Iterator[None]:
    notebook(folder / f"{what}.ipynb", data, what)
    port = free_port()
    command = python("voila", folder / f"{what}.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1")
    with serving(command, folder, f"http://127.0.0.1:{port}/static/"):
        page.goto(f"http://127.0.0.1:{port}/", wait_until="domcontentloaded")
        yield


@contextlib.contextmanager
def marimo(folder: Path, data: Path, what: str, page: Any) -> Iterator[None]:
    marimo_app(folder / f"{what}.py", data, what)
    port = free_port()
    command = python(
        "marimo", "-q", "run", folder / f"{what}.py", "--headless", "--no-token", "--port", port, "--host", "127.0.0.1"
    )
    with serving(command, folder, f"http://127.0.0.1:{port}/health"):
        page.goto(f"http://127.0.0.1:{port}/", wait_until="domcontentloaded")
        yield


def lab(*args: Any) -> Any:
    return jupyter("jupyterlab", "lab/tree", "LabApp", *args)


def hub(*args: Any) -> Any:
    return jupyter("jupyterlab", "lab/tree", "LabApp", *args, prefix="/user/ann/")


def notebook7(*args: Any) -> Any:
    return jupyter("notebook", "notebooks", "JupyterNotebookApp", *args)


HOSTS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "jupyterlab": ("JupyterLab", "jupyterlab", lab),
    "jupyterhub": ("JupyterLab behind `/user/ann/`, as in JupyterHub", "jupyterlab", hub),
    "notebook": ("Notebook", "notebook", notebook7),
    "voila": ("Voila", "voila", voila),
    "marimo": ("marimo", "marimo", marimo),
}


# --- what must work ------------------------------------------------------------------------------


def player_works(page: Any) -> str:
    """The frame of RUN 5 is shown, and Play leads to others."""
    player = page.locator(".embryo-player[data-exact=true]").first
    player.wait_for()
    if player.get_attribute("data-run") != "5":
        return f"shows RUN {player.get_attribute('data-run')}, not 5"
    page.get_by_label("Play", exact=True).first.click()
    end = time.monotonic() + 30
    while page.locator(".embryo-player").first.get_attribute("data-run") == "5":
        if time.monotonic() > end:
            return "shows a frame, but does not play"
        page.wait_for_timeout(100)
    return ""


def explorer_works(page: Any) -> str:
    """All videos are listed, and a double click opens one."""
    page.locator(".embryo-explorer[data-ready=true]").first.wait_for()
    page.locator(".embryo-explorer [role=row][data-video='SAM1-7']").first.dblclick()
    page.locator(".embryo-explorer .embryo-player[data-exact=true]").first.wait_for()
    return ""


def report_works(page: Any) -> str:
    """The report is shown, and a click on a picture opens the player."""
    page.locator(".nsw-report").first.wait_for()
    buttons = page.locator(".nsw-report").first.get_by_role("button")
    if not buttons.count():
        return "is shown as a page without buttons"
    page.get_by_role("button", name="dark-frames").first.click()
    page.locator(".embryo-player[data-exact=true]").first.wait_for()
    return ""


WORKS = {"player": player_works, "explorer": explorer_works, "report": report_works}


def attempt(browser: Any, host: str, what: str, data: Path, pictures: Path | None) -> str:
    """Return "yes", or what went wrong."""
    from playwright.sync_api import Error

    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(180_000)  # long, because a busy machine is slow
    page = context.new_page()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        try:
            with HOSTS[host][2](Path(name), data, what, page):
                problem = WORKS[what](page)
                if pictures:
                    page.screenshot(path=pictures / f"{host}-{what}.png")
                return problem or "yes"
        except (Error, RuntimeError) as error:
            if pictures:
                with contextlib.suppress(Error):
                    page.screenshot(path=pictures / f"{host}-{what}.png")
            return "no: " + " ".join(str(error).split())[:160]
        finally:
            context.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("host", nargs="*", help=f"{', '.join(HOSTS)} (default: all)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep a picture of each in this folder")
    args = parser.parse_args(argv)
    if unknown := set(args.host) - HOSTS.keys():
        parser.error(f"unknown host: {', '.join(sorted(unknown))}")
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
    from nsw_da_medical_image.dataset_util.sample import make_archives

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        make_archives(Path(name, "archives"), videos=3, frames=40, size=200, quirks=("dark-frames@SAM1-7",))
        extract_dataset(Path(name, "archives"), data := Path(name, "extracted"))
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        print("| Host | Version | Player | Explorer | Report |\n|---|---|---|---|---|")
        for host in args.host or HOSTS:
            title, package, _ = HOSTS[host]
            if importlib.util.find_spec(package) is None:
                print(f"| {title} | not installed | | | |")
                continue
            found = [attempt(browser, host, what, data, args.pictures) for what in SHOWN]
            print(f"| {title} | {importlib.metadata.version(package)} | {' | '.join(found)} |", flush=True)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
