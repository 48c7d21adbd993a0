"""Start a real JupyterLab and a real browser for tests: see the fixtures `lab`, `browser`, `open_notebook` and `run_cells` in conftest.

```python
def test_player(open_notebook):
    page = open_notebook("nbs/yolo.ipynb", dark=True)
    assert run_all(page)                        # false if a cell fails; its text names the cell and the error
    page.get_by_role("button", name="Play").click()
    screenshot(page, "player")                  # writes a file if NSW_SCREENSHOTS is set
    assert not page_errors(page)                # errors in the browser
```

Opening a notebook takes about ten seconds. `run_cells` shows cells in a notebook that stays open, which takes one:

```python
def test_slider(run_cells):
    page = run_cells("import ipywidgets; ipywidgets.IntSlider()")
```

Playwright's synchronous interface keeps an event loop running in the main thread, so a test that uses it cannot call
`asyncio.run`. conftest runs these tests last, so that the loop does not disturb the others.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LIFETIME = 1800  # seconds after which a server ends, whatever happens


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome on PATH, or None."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


# --- the server ----------------------------------------------------------------------------------


def guard(command: list[str], lifetime: float) -> int:
    """Run `command` until it ends, standard input closes, or `lifetime` seconds have passed; then end it.

    The caller has the other end of standard input. The system closes it even if the caller is killed, so no server
    outlives its tests.
    """
    import threading

    def wait_for_holder() -> None:
        sys.stdin.buffer.read()
        child.terminate()

    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=wait_for_holder, daemon=True).start()
    try:
        return child.wait(lifetime)
    except subprocess.TimeoutExpired:
        child.terminate()
    try:
        return child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


class Lab:
    """A JupyterLab server of this interpreter, on a free port of the loopback interface, with a home of its own.

    `home` is an empty folder. JupyterLab shows `home/root`; its settings and caches are in other folders of `home`.
    """

    def __init__(self, home: Path, lifetime: float = LIFETIME):
        self.home = home.resolve()
        self.root = self.home / "root"
        self.root.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        # no news; all cells in the page, not only the visible ones
        self.set("apputils-extension", "notification", {"fetchNews": "false", "doNotDisturbMode": True})
        self.set("notebook-extension", "tracker", {"windowingMode": "none"})
        self.log = self.home / "server.log"
        self.process = self._start(lifetime)

    def set(self, extension: str, plugin: str, values: dict[str, Any]) -> None:
        """Write the user's settings of one plugin; a page reads them when it is loaded."""
        path = self.home / "settings" / "@jupyterlab" / extension / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        """Return the environment of this process without the user's Jupyter and desktop settings."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "XDG_"))}
        folders = {
            "HOME": "user",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        for name, folder in folders.items():
            env[name] = str(self.home / folder)
            (self.home / folder).mkdir(exist_ok=True)
        return env

    def _start(self, lifetime: float) -> subprocess.Popen[bytes]:
        server = [
            *(sys.executable, "-P", "-m", "jupyterlab", "--no-browser", "--allow-root"),
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, __file__, str(lifetime), *server],
                cwd=self.root,
                env=self._environment(),
                stdin=subprocess.PIPE,  # see guard
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def request(self, method: str, path: str, timeout: float = 10) -> Any:
        """Ask the server's REST interface, e.g. `request("GET", "api/sessions")`."""
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        # no proxy of the environment stands between this machine and itself
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def wait(self, timeout: float = 180) -> "Lab":
        """Return when the server answers; raise an error with its log if it does not start."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.request("GET", "api/status")
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        self.stop()
        raise RuntimeError("JupyterLab did not start:\n" + self.log.read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        """Stop the server and its kernels within about 20 seconds, first politely, then by force."""
        if self.process.poll() is None:
            try:
                self.request("POST", "api/shutdown")
            except OSError:
                assert self.process.stdin is not None
                self.process.stdin.close()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                # the group is this server's own: it was started as the leader of a session
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


# --- the page ------------------------------------------------------------------------------------

_errors: WeakKeyDictionary[Any, list[str]] = WeakKeyDictionary()

KERNEL_IDLE = """() => {
  const context = window.jupyterapp.shell.currentWidget?.sessionContext;
  return context?.isReady && context.session?.kernel?.status === 'idle';
}"""


def page_errors(page: Any) -> list[str]:
    """Return the exceptions that were not caught in the page, oldest first."""
    return _errors[page]


def wait_idle(page: Any, timeout: float = 180) -> None:
    """Return when JupyterLab is up in `page` and the kernel of its current notebook waits for work.

    Also works after `page.reload()`.
    """
    page.wait_for_function("() => window.jupyterapp", timeout=timeout * 1000)
    page.evaluate("() => window.jupyterapp.started")
    page.wait_for_function(KERNEL_IDLE, timeout=timeout * 1000)


def opener(lab: Lab, context: Any, prefix: str = "nb") -> Callable[..., Any]:
    """Return the function of the fixture `open_notebook`; `context` is a Playwright browser context, folders are named `prefix`-..."""

    def open_notebook(path: str | Path, *, name: str | None = None, dark: bool = False, timeout: float = 180) -> Any:
        """Copy the notebook at `path` into a folder of its own below `lab.root` and open it.

        Returns the Playwright page once JupyterLab has started and the kernel is idle; nothing was run yet. `name`
        renames the copy. `dark` takes JupyterLab's dark theme. The kernel ends with the test.
        """
        folder = f"{prefix}-{secrets.token_hex(4)}"
        copy = lab.root / folder / (name or Path(path).name)
        copy.parent.mkdir()
        shutil.copyfile(path, copy)
        lab.set("apputils-extension", "themes", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
        page = context.new_page()
        page.folder = folder
        _errors[page] = []
        page.on("pageerror", lambda error, found=_errors[page]: found.append(str(error)))
        # a workspace of its own: else JupyterLab brings back the tabs of the page before
        page.goto(
            f"{lab.url}/lab/workspaces/{folder}/tree/{folder}/{copy.name}?token={lab.token}",
            wait_until="domcontentloaded",
            timeout=timeout * 1000,
        )
        wait_idle(page, timeout)
        return page

    return open_notebook


@dataclass(frozen=True)
class Ran:
    """Result of running a notebook: true if no cell failed; otherwise `error` names the cell and its exception."""

    ok: bool
    error: str = ""

    def __bool__(self) -> bool:
        return self.ok


def saved_cells(page: Any) -> list[dict[str, Any]]:
    """Return the cells of the current notebook with their outputs, as they would be saved now."""
    return page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells")


def first_error(page: Any) -> str:
    """Return the number, source and traceback of the first cell with an error, or '' if no cell has one."""
    for number, cell in enumerate(saved_cells(page), 1):
        for out in cell.get("outputs", []):
            if out["output_type"] == "error":
                colour = re.compile(r"\x1b\[[0-9;]*m")
                source = "".join(cell["source"]).strip()
                return colour.sub("", f"cell {number} failed:\n{source}\n\n" + "\n".join(out["traceback"]))
    return ""


def red(page: Any) -> list[str]:
    """Return what is red in the current notebook: errors, standard error, and progress bars that ended early."""
    found = []
    for number, cell in enumerate(saved_cells(page), 1):
        for out in cell.get("outputs", []):
            if out["output_type"] == "error" or out.get("name") == "stderr":
                text = "".join(out.get("text", out.get("evalue", "")))
                found.append(f"cell {number} (id {cell.get('id')}): {text.strip()[:300]}")
    # ipywidgets 8 puts these classes on a bar whose style is "danger"
    bars = page.evaluate(
        """() => [...document.querySelectorAll('.jp-Cell')].flatMap((cell, i) =>
          [...cell.querySelectorAll('.progress-bar-danger, .mod-danger')].map(bar =>
            `cell ${i + 1}: ${bar.closest('.jp-OutputArea')?.innerText.trim() || 'a bar'}`))"""
    )
    return found + [f"{bar} (a progress bar that ended early)" for bar in bars]


def run_all(page: Any, timeout: float = 300) -> Ran:
    """Run all cells of the current notebook, as the menu does, and wait for the last one.

    Cells marked `#| eval: false` also run: that directive is only for nbdev.
    """
    page.evaluate(
        """() => {
          window.testRan = null;
          window.jupyterapp.commands.execute('notebook:run-all-cells').then(
            ok => { window.testRan = {ok: ok !== false, why: ''}; },
            error => { window.testRan = {ok: false, why: String(error)}; });
        }"""
    )
    page.wait_for_function("() => window.testRan", timeout=timeout * 1000)
    ran = page.evaluate("() => window.testRan")
    if ran["ok"]:
        return Ran(True)
    return Ran(
        False,
        first_error(page) or ran["why"] or "JupyterLab gave up, and no cell has an error: the kernel has died",
    )


SHOW_CELLS = """async ([sources, theme]) => {
  const {shell, commands} = window.jupyterapp;
  const {content} = shell.currentWidget;
  const {sharedModel} = content.model;
  sharedModel.transact(() => {
    const before = sharedModel.cells.length;
    sharedModel.insertCells(0, sources.map(source => ({cell_type: 'code', source, metadata: {}, outputs: [], execution_count: null})));
    sharedModel.deleteCellRange(sources.length, sources.length + before);
  });
  content.activeCellIndex = 0;
  content.mode = 'command';
  document.activeElement?.blur();
  if (document.body.dataset.jpThemeName !== theme) await commands.execute('apputils:change-theme', {theme});
}"""
# close all widgets, and forget all names; imported modules stay
FORGET = """
import ipywidgets
ipywidgets.Widget.close_all()
get_ipython().run_line_magic('reset', '-f')
print('forgotten')
"""


class Stage:
    """A page of JupyterLab with one notebook and one kernel, which tests use one after the other.

    Each test shows its own cells. Afterwards all widgets are closed and all names are forgotten; only what the kernel has imported stays. Tests that show
    the same cells with `again` go on with what the one before has left. After a test that failed, the page is closed, and the next test gets another one.
    """

    SIZE: ClassVar = {"width": 1400, "height": 1000}

    def __init__(self, lab: Lab, browser: Any):
        self.lab, self.browser = lab, browser
        self.page: Any = None
        self.left: Any = None  # the cells that the test before has left for others

    def show(self, sources: Sequence[str], dark: bool = False, again: bool = False) -> Any:
        """Return the page with these cells, which were not run yet, unless `again`, and the test before has left the same.

        `page.requests` lists the addresses that are requested from now on.
        """
        if self.page is None:
            self._open()
        page, shown = self.page, (tuple(sources), dark) if again else None
        self.ran = again and self.left == shown
        if self.left and not self.ran:
            self._forget()
        self.left = shown
        page.set_viewport_size(self.SIZE)
        page.mouse.move(0, 0)
        if self.ran:
            page.requests.clear()
            return page
        page.evaluate(SHOW_CELLS, [list(sources), "JupyterLab Dark" if dark else "JupyterLab Light"])
        page.wait_for_function(
            f"""() => document.body.dataset.jpThemeLight === '{str(not dark).lower()}'
              && document.querySelectorAll('.jp-Notebook .jp-Cell').length === {len(sources)}"""
        )
        _errors[page].clear()
        page.requests.clear()
        return page

    def _open(self) -> None:
        """Open a page with an empty notebook."""
        path = self.lab.home / "shared.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
        path.write_text(json.dumps({"cells": [], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
        context = self.browser.new_context(viewport=self.SIZE)
        context.set_default_timeout(180_000)  # long, because a busy machine is slow
        self.page = opener(self.lab, context, "shared")(path)
        self.page.requests = []
        self.page.on("request", lambda request, seen=self.page.requests: seen.append(request.url))

    def leave(self) -> None:
        """Close the widgets of the test and forget its names, unless it leaves them for others."""
        if self.page is not None and not self.left:
            self._forget()

    def _forget(self) -> None:
        answer = kernel(self.page, FORGET)  # with the log of the kernel
        if "forgotten" not in answer:
            raise RuntimeError(f"the kernel does not forget: {answer}")
        if answer != "forgotten":
            print(f"while the widgets were closed: {answer}")
        self.page.evaluate(SHOW_CELLS, [[""], "JupyterLab Light"])

    def close(self) -> None:
        """Close the page and end its kernel."""
        if self.page is None:
            return
        folder = self.page.folder
        self.page.context.close()
        self.page = self.left = None
        for session in self.lab.request("GET", "api/sessions"):
            if session["path"].startswith(f"{folder}/"):
                self.lab.request("DELETE", f"api/sessions/{session['id']}")


def screenshot(page: Any, name: str) -> Path | None:
    """Save what `page` shows as `name`.png in the folder NSW_SCREENSHOTS, if it is set."""
    folder = os.environ.get("NSW_SCREENSHOTS")
    if not folder:
        return None
    path = Path(folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    return path


if __name__ == "__main__":
    sys.exit(guard(sys.argv[2:], float(sys.argv[1])))


def kernel(page: Any, code: str) -> str:
    """Return what `code` prints in the kernel of the notebook."""
    return page.evaluate(
        """async (code) => {
          const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          const future = kernel.requestExecute({code});
          let text = '';
          future.onIOPub = ({header, content}) => {
            if (header.msg_type === 'stream') text += content.text;
            if (header.msg_type === 'error') text += content.ename + ': ' + content.evalue;
          };
          await future.done;
          return text.trim();
        }""",
        code,
    )


def told_in_kernel(page: Any, code: str, expected: str) -> None:
    """Return when `code` prints `expected` in the kernel; a message from the browser needs a moment to arrive."""
    for _ in range(600):
        answer = kernel(page, code)
        if answer == expected:
            return
        page.wait_for_timeout(100)
    assert answer == expected
