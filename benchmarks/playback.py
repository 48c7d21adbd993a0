"""Compare `EmbryoPlayer` with what a user would choose otherwise, playing the same frames in one JupyterLab.

    pip install mediapy imageio-ffmpeg stackview wigglystuff     # needed only here
    python benchmarks/playback.py [--frames 500] [--fps 60] [--seconds 5] [--only EmbryoPlayer] [--table benchmarks/playback.md]
        [--figure nbs/images/playback.png]

Each player gets its own notebook in the same JupyterLab and the same browser, one after the other. Use a machine that is
otherwise idle. What the page shows is sampled at every refresh of the display:

- first: time from running the cell to the first picture, including encoding, because the reader waits for it
- shown: different pictures per second while it plays at `--fps`
- late: share of intervals that are more than 1.5 times as long as requested
- seek: time from moving the slider to the picture that belongs to it (median of 100)
- 95 %: 95 of the 100 seeks take less time than this
- notebook: its size after saving

Writes the table and the figure, and with `--notebook` also the table in the notebook of the player.
"""

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
# the kernels use this copy of the package too
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

from lab import BROWSER_FLAGS, Lab, find_browser, opener, run_all  # noqa: E402
from nbformat import read, write  # noqa: E402
from nbformat.v4 import new_code_cell, new_notebook  # noqa: E402

SETUP = """
import io
import ipywidgets
import numpy as np
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
v = EmbryoDataset({path!r})["SAM1-2"]
runs = v.runs().tolist()
fps = {fps}
"""

# name: the module that it needs, the cells before the timed one, the timed cell
CONTENDERS: dict[str, tuple[str, str, str]] = {
    "EmbryoPlayer": (
        "anywidget",
        "from nsw_da_medical_image.viewer.player import EmbryoPlayer",
        "EmbryoPlayer(v, fps=fps)",
    ),
    "Play + Image": (
        "ipywidgets",
        "",
        """
play = ipywidgets.Play(min=runs[0], max=runs[-1], interval=round(1000 / fps))
slider = ipywidgets.IntSlider(min=runs[0], max=runs[-1], continuous_update=True)
picture = ipywidgets.Image(value=v.jpeg(runs[0]), format="jpeg", width=500)
slider.observe(lambda change: setattr(picture, "value", v.jpeg(change.new)), "value")
ipywidgets.jslink((play, "value"), (slider, "value"))
ipywidgets.VBox([picture, play, slider])""",
    ),
    "mediapy": (
        "mediapy",
        "import imageio_ffmpeg, mediapy\nmediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())",
        "mediapy.show_video(v.stack(), fps=fps)",
    ),
    "to_jshtml": (
        "matplotlib",
        "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nfrom matplotlib.animation import FuncAnimation\n"
        "from IPython.display import HTML\nmatplotlib.rcParams['animation.embed_limit'] = 500",
        """
stack = v.stack()
figure = plt.figure(figsize=(5, 5), dpi=100)
axes = figure.add_axes([0, 0, 1, 1])
axes.axis("off")
shown = axes.imshow(stack[0], cmap="gray", vmin=0, vmax=255)
moving = FuncAnimation(figure, lambda i: [shown.set_data(stack[i])], frames=len(stack), interval=1000 / fps)
page = HTML(moving.to_jshtml(fps=fps, default_mode="once"))
plt.close(figure)
page""",
    ),
    "stackview": (
        "stackview",
        "import stackview\n\ndef within(widget):\n    yield widget\n    for child in getattr(widget, 'children', ()):\n        yield from within(child)",
        """
box = stackview.slice(v.stack(), continuous_update=True)
slider = next(w for w in within(box) if isinstance(w, ipywidgets.IntSlider))
play = ipywidgets.Play(min=slider.min, max=slider.max, interval=round(1000 / fps))
ipywidgets.jslink((play, "value"), (slider, "value"))
ipywidgets.VBox([box, play])""",
    ),
    "FramePlayer": (
        "wigglystuff",
        "from wigglystuff import FramePlayer",
        "FramePlayer([v.jpeg(run) for run in runs], interval_ms=round(1000 / fps), loop=False)",
    ),
}

DIGITS = {"first (ms)": 0, "shown (1/s)": 1, "late (%)": 1, "seek (ms)": 1, "95 % (ms)": 1, "notebook (MB)": 2}

# In the page: return what is shown, play, stop and seek.
TOOLS = """() => {
  const cell = () => [...document.querySelectorAll('.jp-OutputArea-output')].at(-1);
  const hash = data => { let h = 0; for (const x of data) h = (h * 31 + x) | 0; return h; };
  const find = selector => cell()?.querySelector(selector);
  const image = () => find('.animation img') ?? find('img');
  window.bench = {
    shows(kind) {
      if (kind === 'EmbryoPlayer') {
        const {run, exact} = find('.embryo-player')?.dataset ?? {};
        return exact ? run : null;
      }
      if (kind === 'mediapy') {
        const video = find('video');
        if (!video || video.readyState < 2) return null;
        if (!video.watched) {
          video.watched = true;
          video.seen = 0;
          const seen = (now, {presentedFrames}) => { video.seen = presentedFrames; video.requestVideoFrameCallback(seen); };
          video.requestVideoFrameCallback(seen);
        }
        return `v${video.seen}`;
      }
      if (kind === 'stackview') {
        const canvas = find('canvas');
        if (!canvas?.width) return null;
        const {width, height} = canvas;
        const data = canvas.getContext('2d').getImageData(width >> 2, height >> 2, width >> 1, 24).data;
        return data.some(x => x) ? String(hash(data)) : null;
      }
      const img = image();
      return img?.complete && img.naturalWidth ? `${img.src.length} ${img.src.slice(-80)}` : null;
    },
    play(kind) {
      if (kind === 'EmbryoPlayer') return find('[aria-label=Play]').click();
      if (kind === 'mediapy') { const video = find('video'); video.currentTime = 0; return video.play(); }
      if (kind === 'to_jshtml') return find('button[title="Play"]').click();
      if (kind === 'FramePlayer') return find('.frame-player-btn').click();
      return find('.jupyter-widgets.widget-play button, .widget-play button').click();
    },
    stop(kind) {
      if (kind === 'EmbryoPlayer') return find('[aria-label=Pause]')?.click();
      if (kind === 'mediapy') return find('video').pause();
      if (kind === 'to_jshtml') return find('button[title="Pause"]').click();
      if (kind === 'FramePlayer') return find('.frame-player-btn').click();
      return find('.widget-play button').click();
    },
    async seek(kind, i, n) {
      const at = 1 + ((i * 37) % (n - 1));
      const was = this.shows(kind);
      const began = performance.now();
      const later = () => new Promise(done => setTimeout(done));
      if (kind === 'mediapy') {
        const video = find('video');
        const sought = new Promise(done => video.addEventListener('seeked', done, {once: true}));
        video.currentTime = (at / n) * video.duration;
        await sought;
        return performance.now() - began;
      }
      if (['EmbryoPlayer', 'to_jshtml', 'FramePlayer'].includes(kind)) {
        const bar = find('input[type=range]');
        bar.value = at;
        for (const name of ['input', 'change']) bar.dispatchEvent(new Event(name, {bubbles: true}));
      } else {
        find('.noUi-handle').dispatchEvent(new KeyboardEvent('keydown', {key: i % 2 ? 'PageUp' : 'PageDown', bubbles: true}));
      }
      const until = began + 5000;
      const met = () => kind === 'EmbryoPlayer'
        ? find('.embryo-player').dataset.exact === 'true' && find('.embryo-player').dataset.run === String(at)
        : this.shows(kind) !== null && this.shows(kind) !== was;
      for (let i = 0; i < 50 && !met(); i++) await null;  // what is done within this task waits for no timer
      while (!met() && performance.now() < until) await later();
      if (image() && kind !== 'EmbryoPlayer' && kind !== 'stackview') await image().decode().catch(() => {});
      return performance.now() - began;
    },
  };
}"""

FIRST = """async ([kind, source]) => {
  const app = window.jupyterapp, content = app.shell.currentWidget.content;
  content.activeCellIndex = content.widgets.length - 1;
  content.activeCell.model.sharedModel.setSource(source);
  const began = performance.now();
  app.commands.execute('notebook:run-cell');
  while (window.bench.shows(kind) === null && performance.now() - began < 180000) await new Promise(done => requestAnimationFrame(done));
  return performance.now() - began;
}"""

PLAY = """async ([kind, ms]) => {
  const times = [];
  let was = window.bench.shows(kind), on = true, ticks = 0;
  window.bench.play(kind);
  const began = performance.now();
  await new Promise(done => {
    const tick = now => {
      ticks += 1;
      const shows = window.bench.shows(kind);
      if (shows !== was) times.push(performance.now());
      was = shows;
      performance.now() - began < ms ? requestAnimationFrame(tick) : done();
    };
    requestAnimationFrame(tick);
  });
  window.bench.stop(kind);
  return {times, display: ticks / ms * 1000};
}"""

SEEK = "async ([kind, n]) => { const took = []; for (let i = 1; i <= 100; i++) { took.push(await window.bench.seek(kind, i, n)); await new Promise(done => setTimeout(done, 150)); } return took; }"


def measure(
    open_notebook: Any, lab: Lab, name: str, data: Path, args: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Measure one player, in its own notebook."""
    _, before, timed = CONTENDERS[name]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    cells = [new_code_cell(source) for source in (SETUP.format(path=str(data), fps=args.fps), before, "")]
    write(new_notebook(cells=cells, metadata=kernel), folder / "playback.ipynb")
    page = open_notebook(folder / "playback.ipynb", timeout=120)
    ran = run_all(page)
    if not ran:
        raise RuntimeError(f"{name}: {ran.error}")
    page.evaluate(TOOLS)
    first = page.evaluate(FIRST, [name, timed.strip()])
    if first >= 180_000:
        raise RuntimeError(f"{name} shows nothing: are its JupyterLab extensions installed in {sys.prefix}?")
    page.wait_for_timeout(2500)
    played = page.evaluate(PLAY, [name, 1000 * args.seconds])
    page.wait_for_timeout(500)
    seeks = page.evaluate(SEEK, [name, args.frames])
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    path = lab.root / page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    times = played["times"]
    gaps = [b - a for a, b in pairwise(times)]
    return {
        "first (ms)": first,
        "shown (1/s)": len(gaps) / (times[-1] - times[0]) * 1000 if gaps else 0.0,
        "late (%)": 100 * sum(gap > 1500 / args.fps for gap in gaps) / len(gaps) if gaps else 100.0,
        "seek (ms)": statistics.median(seeks),
        "95 % (ms)": sorted(seeks)[int(0.95 * len(seeks))],
        "notebook (MB)": path.stat().st_size / 1e6,
    }


def table(results: dict[str, dict[str, float]], args: argparse.Namespace) -> str:
    """Return the results as a Markdown table."""
    heads = list(next(iter(results.values())))
    lines = [
        f"| {args.frames} frames at {args.fps} per second | {' | '.join(heads)} |",
        f"|---|{'---:|' * len(heads)}",
    ]
    lines += [
        f"| {name} | {' | '.join(f'{values[head]:.{DIGITS[head]}f}' for head in heads)} |"
        for name, values in results.items()
    ]
    return "\n".join(lines)


TITLES = {
    "EmbryoPlayer": "`EmbryoPlayer`",
    "Play + Image": "`ipywidgets.Play` + `Image`",
    "to_jshtml": "matplotlib's `to_jshtml`",
    "FramePlayer": "wigglystuff's `FramePlayer`",
}


def write_notebook(results: dict[str, dict[str, float]], args: argparse.Namespace, path: Path) -> None:
    """Replace the table in the notebook of the player."""
    named = {TITLES.get(name, name): values for name, values in results.items()}
    _, *rows = table(named, args).splitlines()
    lines = [f"| | {' | '.join(next(iter(results.values())))} |", *rows]
    notebook = read(path, as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "markdown" and "\n| | first (ms)" in cell.source)
    before, _, rest = cell.source.partition("\n| | first (ms)")
    cell.source = f"{before}\n" + "\n".join(lines) + "\n\n" + rest.partition("\n\n")[2]
    write(notebook, path)


def figure(results: dict[str, dict[str, float]], path: Path) -> None:
    """Draw one panel per measure and one bar per player; large differences are drawn on a logarithmic scale."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    names = list(results)[::-1]
    heads = [head for head in results[names[0]] if head not in ("late (%)", "95 % (ms)")]
    drawing, panels = plt.subplots(1, len(heads), figsize=(11, 2.4), sharey=True, layout="constrained")
    for panel, head in zip(panels, heads, strict=True):
        values = [results[name][head] for name in names]
        if max(values) > 100 * min(values):
            panel.set_xscale("log")
            panel.set_xlim(0.3 * max(min(values), 0.003), 30 * max(values))
        bars = panel.barh(
            names,
            [max(value, 1e-9) for value in values],
            color=["#005f73" if name == "EmbryoPlayer" else "#b8c0c8" for name in names],
        )
        panel.bar_label(bars, [f"{value:.{DIGITS[head]}f}" for value in values], padding=3, fontsize=8)
        panel.set_title(head + (", log scale" if panel.get_xscale() == "log" else ""), fontsize=9, loc="left")
        if panel.get_xscale() == "linear":
            panel.margins(x=0.25)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.tick_params(length=0, labelsize=9)
        panel.set_xticks([])
        panel.minorticks_off()
    drawing.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--fps", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=CONTENDERS, help="measure only this player")
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks" / "playback.md")
    parser.add_argument("--notebook", action="store_true", help="also write the table into nbs/viewer/02_player.ipynb")
    parser.add_argument("--figure", type=Path, default=ROOT / "nbs" / "images" / "playback.png")
    args = parser.parse_args()

    from playwright.sync_api import sync_playwright

    from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
    from nsw_da_medical_image.dataset_util.sample import make_archives

    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        make_archives(folder / "archives", videos=1, frames=args.frames)
        extract_dataset(folder / "archives", folder / "extracted")
        (folder / "lab").mkdir()
        lab = Lab(folder / "lab").wait()
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        try:
            for contender, (module, _, _) in CONTENDERS.items():
                if args.only and contender not in args.only:
                    continue
                if importlib.util.find_spec(module) is None:
                    print(f"{contender}: left out, because {module} is not installed", file=sys.stderr)
                    continue
                context = browser.new_context(viewport={"width": 1400, "height": 1000})
                results[contender] = measure(opener(lab, context), lab, contender, folder / "extracted", args, folder)
                print(contender, {key: round(value, 2) for key, value in results[contender].items()}, flush=True)
                context.close()
                for session in lab.request("GET", "api/sessions"):
                    lab.request("DELETE", f"api/sessions/{session['id']}")
        finally:
            browser.close()
            lab.stop()
    text = table(results, args)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    args.table.write_text(f"{text}\n\n{machine}; `python benchmarks/playback.py`\n", encoding="utf-8")
    figure(results, args.figure)
    if args.notebook:
        write_notebook(results, args, ROOT / "nbs" / "viewer" / "02_player.ipynb")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
