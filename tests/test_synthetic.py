"""Test synthetic batches: the command from outside, and a hostile folder."""

import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import Shared
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsw_da_medical_image.common.findings import FINDING_COLUMNS, Severity
from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util import synthetic
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.synthetic import SyntheticBatches, adopt_batch, parse_metadata, write_batch
from nsw_da_medical_image.viewer.realism import compare_sheet

ROOT = Path(__file__).parent.parent
HTML = "<img src=x onerror=alert(1)> an embryo at phase t2"


def jpeg(value: int, side: int = 64) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (side, side), np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a good batch with an ugly prompt, and one batch for each possible problem."""
    folder = tmp_path / "all-synthetic-runs"
    folder.mkdir()
    write_batch(folder / "good", [jpeg(0), jpeg(1)], HTML, "t2")
    good = json.loads((folder / "good" / "metadata.json").read_text())
    texts = {
        "no-json": "phase: t7",
        "comma": '{"phase": "t7", "focal-plane": "F+00",}',
        "a-list": "[]",
        "no-phase": json.dumps({**good, "phase": None}),
        "wrong-phase": json.dumps({**good, "phase": "<script>alert(1)</script>"}),
        "wrong-plane": json.dumps({**good, "focal-plane": "F+99"}),
        "deep": "[" * 100_000,
        "binary": "\udcff\udcfe",
    }
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / "img0.jpg").write_bytes(jpeg(2))
        (folder / name / "metadata.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "nothing").mkdir()
    write_batch(folder / "pictures", [jpeg(3), jpeg(4), jpeg(5)], "", "t4")
    (folder / "pictures" / "img1.jpg").write_bytes(jpeg(4)[:300])
    (folder / "pictures" / "img2.jpg").unlink()
    (folder / "pictures" / "img2.jpg").mkdir()
    (folder / "link").symlink_to(folder / "not there")
    (folder / "loop").symlink_to("loop")
    (folder / "notes.txt").write_text("mine")
    return folder


def command(*args: object, module: str = "dataset_util.synthetic") -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", f"nsw_da_medical_image.{module}", *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(full, capture_output=True, text=True, env=env, check=False, timeout=60)


def test_what_is_wrong_is_a_finding_and_the_rest_is_served(hostile: Path) -> None:
    runs = SyntheticBatches(hostile)
    findings = runs.findings()
    errors = findings[findings.severity == "error"]
    assert set(errors.origin) == set(runs) - {"good"}
    assert set(runs.left_out) == set(runs) - {"good", "pictures"}
    assert findings[findings.origin == ""].message.str.contains("notes.txt|link|loop").all()
    served = runs.frames(exclude=findings)
    assert [served.label(i) for i in range(len(served))] == ["F+00_good_0", "F+00_good_1", "F+00_pictures_0"]
    assert [record.phase for record in served] == ["t2", "t2", "t4"]


def test_the_findings_stand_below_those_of_the_validation(hostile: Path) -> None:
    """`dataset_util` does not import the validation, so only a test can compare the two."""
    findings = SyntheticBatches(hostile).findings()
    assert tuple(findings.columns[: len(FINDING_COLUMNS)]) == FINDING_COLUMNS
    assert set(findings.severity) <= set(Severity)
    assert set(findings.video) == {""}


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["t7", "F+00", "_F-15", "tPna"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["phase", "focal-plane", "prompt", "datetime", "generate-datetime", "seed"]


@settings(max_examples=300, deadline=None)
@given(st.binary() | st.dictionaries(st.sampled_from(KEYS), ANY).map(lambda value: json.dumps(value).encode()))
def test_no_metadata_makes_it_raise(data: bytes) -> None:
    found, faults = parse_metadata(data)
    assert (found is None) == any(fault.severity == "error" for fault in faults)
    assert all(fault.message.count("\n") == 0 for fault in faults)


def test_no_markup_of_a_stranger_reaches_a_page(hostile: Path) -> None:
    runs = SyntheticBatches(hostile)
    page = runs._repr_html_()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert "<script" not in page


@pytest.mark.slow
def test_the_command_lists_all_and_says_so(hostile: Path) -> None:
    done = command(hostile)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "findings of severity error" in done.stderr
    assert "Traceback" not in done.stdout
    assert "no-json: metadata.json is not JSON (line 1: Expecting value)" in done.stdout
    rows = json.loads(command(hostile, "--json").stdout)
    assert {row["origin"] for row in rows if row["severity"] == "error"} == set(SyntheticBatches(hostile)) - {"good"}


@pytest.mark.slow
def test_the_command_without_faults_and_without_a_folder(tmp_path: Path) -> None:
    write_batch(tmp_path / "run1", [jpeg(0)], "", "tB", "F+15")
    done = command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "run1: tB F15, 1 usable image" in done.stdout
    for wrong in tmp_path / "no", tmp_path / "run1", tmp_path / "run1" / "img0.jpg":
        done = command(wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_names_that_are_no_text_are_findings(tmp_path: Path) -> None:
    """Tables contain only text: such a batch is left out and named, and such a file is only named."""
    runs = tmp_path / "runs"
    runs.mkdir()
    write_batch(runs / "good", [jpeg(0)], "", "t2")
    for name in os.fsdecode(b"run\xff"), os.fsdecode(b".hidden\xff"):
        try:
            write_batch(runs / name, [jpeg(1)], "", "t2")
        except OSError:
            pytest.skip("this file system takes no such name")
    for place in runs, runs / "good":
        (place / os.fsdecode(b"file\xff")).touch()

    opened = SyntheticBatches(runs)
    assert list(opened) == ["good"]
    assert opened.table().origin.tolist() == ["good"]
    findings = opened.findings()
    assert findings[["check", "severity", "message"]].to_numpy().tolist() == [
        ["synthetic-name", "error", r"run\udcff has a name that is not UTF-8, so it is left out"],
        ["synthetic-stray", "info", r"file\udcff is not part of any batch"],
        ["synthetic-stray", "info", r"good: file\udcff is neither an image named like img0.jpg nor metadata.json"],
    ]
    assert len(opened.frames(exclude=findings)) == 1
    done = command(runs)
    assert done.returncode == 1
    assert r"error: run\udcff has a name that is not UTF-8, so it is left out; rename the folder" in done.stdout
    assert done.stderr.splitlines() == [
        rf"warning: {runs}: 1 batch is left out, because the name is not UTF-8: run\udcff",
        "error: 1 finding of severity error; see the list above",
    ]


INTERRUPTED = """
import os, signal, sys
from nsw_da_medical_image.dataset_util import synthetic

signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits an ignored one
synthetic.{place} = lambda *args: os.kill(os.getpid(), signal.SIGINT) or signal.pause()
sys.exit(synthetic.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("place", "options", "said"),
    [
        ("parse_metadata", [], "stopped; not all batches were checked\n"),
        ("_as_jpeg", ["--adopt", "{images}", "--phase", "t4", "--name", "new"], "stopped; nothing was written\n"),
    ],
)
def test_ctrl_c_ends_the_command_in_one_line(tmp_path: Path, place: str, options: list[str], said: str) -> None:
    write_batch(tmp_path / "all" / "run1", [jpeg(0)], "", "t2")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(jpeg(1))
    given = [option.format(images=tmp_path / "images") for option in options]
    full = [sys.executable, "-c", INTERRUPTED.format(place=place), str(tmp_path / "all"), *given]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(full, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", said)
    assert os.listdir(tmp_path / "all") == ["run1"]


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "I;16B"])
def test_no_picture_is_clipped_in_silence(tmp_path: Path, mode: str) -> None:
    """An image of more than 8 bits is refused, as the array is."""
    with pytest.raises(
        ValueError, match=f"image 1 cannot be written: it is a Pillow image of mode {mode}; scale it to 0-255"
    ):
        write_batch(tmp_path / "run", [jpeg(0), Image.new(mode, (16, 16))], "", "t2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_the_metadata_are_json(tmp_path: Path, number: float) -> None:
    """Python writes NaN and Infinity, which other readers refuse; this is checked before anything is generated."""
    images = iter([jpeg(0)])
    with pytest.raises(ValueError, match=r"more= contains a value that JSON cannot contain: .*not JSON compliant"):
        write_batch(tmp_path / "run", images, "", "t2", more={"losses": [0.5, number]})
    assert len(list(images)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def data(shared: Callable[..., Shared]) -> Path:
    return shared().extracted


@pytest.mark.slow
def test_other_commands_use_what_is_sound_and_say_so(data: Path, hostile: Path, tmp_path: Path) -> None:
    done = command(data, tmp_path / "out", "--phases", "t2", "--synthetic", hostile, module="dataset_util.image_folder")
    assert done.returncode == 0
    assert done.stderr.startswith("note: images with errors are left out (12 findings); python -m ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out" / "metadata.csv").read_text().count("F+00_good_") == 2

    page = tmp_path / "page.html"
    done = command(data, hostile, "--out", page, module="viewer.realism")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{page}: ")
    text = page.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    assert "<script" not in text


def test_a_name_is_no_formula(data: Path, tmp_path: Path) -> None:
    r"""Matplotlib takes text between dollar signs for TeX, and refuses an incomplete \frac."""
    write_batch(tmp_path / r"a$\frac$b", [jpeg(0)], "", "t2")
    axes = compare_sheet(EmbryoDataset(data).frames(planes="F0", phases="t2"), SyntheticBatches(tmp_path).frames())
    (figure := axes.figure).savefig(buffer := io.BytesIO(), format="svg", metadata={"Date": None})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any(r"a$\frac$b" in text for text in texts)
    assert buffer.getvalue()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["{data}", "{runs}", "--out", "{taken}"], "exists already"),
        (["{data}", "{runs}", "--out", "{new}", "--names", "god"], "has no synthetic batch 'god'; nearest: good"),
        (
            ["{data}", "{runs}", "--out", "{new}", "--names", "no-json"],
            "there is no synthetic frame to compare: images with errors are left out (12 findings)",
        ),
        (
            ["{data}", "{runs}", "--out", "{new}", "--videos", "SAM1-3"],
            "has no video 'SAM1-3'; nearest: SAM1-7, SAM1-2",
        ),
        (["{data}", "{data}", "--out", "{new}"], "there is no synthetic frame to compare: "),
        (["{runs}", "{runs}", "--out", "{new}"], "is not a data set"),
    ],
)
@pytest.mark.slow
def test_the_comparison_refuses_in_one_line(
    data: Path, hostile: Path, tmp_path: Path, args: list[str], why: str
) -> None:
    (tmp_path / "taken.html").write_text("mine")
    places = {"data": data, "runs": hostile, "new": tmp_path / "new.html", "taken": tmp_path / "taken.html"}
    done = command(*(arg.format(**places) for arg in args), module="viewer.realism")
    assert done.returncode == 1
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new.html").exists()
    assert (tmp_path / "taken.html").read_text() == "mine"


# --- the first batch, and batches made of images from elsewhere ---------------------------------------------------------

GREY = np.random.default_rng(7).integers(0, 255, (48, 40), np.uint8)


def digests(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return images as users save them: other formats, modes and names, with system files and a sub-folder."""
    folder = tmp_path / "my images"
    (folder / "sub").mkdir(parents=True)
    image = Image.fromarray(GREY)
    for number in (0, 2, 10):
        Image.fromarray(np.roll(GREY, number)).convert("RGB").save(folder / f"embryo{number}.png")
    image.save(folder / "a.tiff")
    image.convert("RGBA").save(folder / "b.webp", lossless=True)
    image.convert("P").save(folder / "c.bmp")
    image.save(folder / "d", "PNG")
    image.save(folder / "e.JPG", quality=90)
    (folder / "f.jpeg").write_bytes((folder / "e.JPG").read_bytes() + b"what a phone appends")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter for display
    image.save(folder / "g.jpg", exif=turned)
    Image.fromarray(np.dstack([GREY, GREY // 2, GREY // 3])).save(folder / "h.png")
    image.save(folder / "i.jpg", "PNG")
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", "._a.tiff", "sub/embryo0.png", "BMW.csv"):
        (folder / name).write_text("BM no image")
    return folder


def test_images_from_elsewhere_become_a_batch(saved: Path, tmp_path: Path) -> None:
    before = digests(saved)
    batch = adopt_batch(
        saved, "t4", -15, "an embryo at phase t4", to=tmp_path / "data" / "all" / "v1", more={"seed": 3}
    )
    assert digests(saved) == before
    assert (batch.phase, batch.plane, batch.prompt, batch.metadata.made) == (
        "t4",
        "F-15",
        "an embryo at phase t4",
        None,
    )
    adopted = batch.metadata.more.pop("adopted")
    assert batch.metadata.more == {"seed": 3}
    names = ["a.tiff", "b.webp", "c.bmp", "d", "e.JPG", "embryo0.png", "embryo2.png", "embryo10.png"]
    names += ["f.jpeg", "g.jpg", "h.png", "i.jpg"]
    assert (adopted["folder"], adopted["sources"], adopted["skipped"]) == ("my images", names, {})
    assert adopted["left"] == ["BMW.csv", "notes.txt", "sub"]
    assert str(tmp_path) not in (tmp_path / "data" / "all" / "v1" / "metadata.json").read_text()
    assert sorted(os.listdir(batch.path)) == sorted([*(f"img{i}.jpg" for i in range(len(names))), "metadata.json"])
    assert batch.faults(pixels=False) == []
    for number, name in enumerate(names):
        expected = np.roll(GREY, int(name[6:-4])) if name.startswith("embryo") else GREY
        pixels, image = batch.frame(number), Image.open(io.BytesIO(batch.jpeg(number)))
        assert image.mode == ("RGB" if name == "h.png" else "L"), name
        if name == "g.jpg":
            assert pixels.shape == (40, 48)
            expected = np.rot90(GREY, -1)
        if name != "h.png":
            assert np.mean(abs(pixels.astype(int) - expected)) < 8, name
    assert batch.jpeg(4) == batch.jpeg(8) == (saved / "e.JPG").read_bytes()
    assert os.listdir(tmp_path / "data" / "all") == ["v1"]
    assert len(SyntheticBatches(tmp_path / "data" / "all").frames(phases="t4")) == len(names)


def spoil(folder: Path) -> dict[str, str]:
    """Add files that cannot be adopted; return the reason for each."""
    whole = (folder / "embryo0.png").read_bytes()
    (folder / "empty.png").touch()
    (folder / "page.png").write_text("<html>not found</html>")
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "half.jpg").write_bytes((folder / "e.JPG").read_bytes()[:600])
    Image.fromarray(GREY).save(buffer := io.BytesIO(), "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    (folder / "scans.jpg").write_bytes(data[:-2] + last * 3000 + data[-2:])
    Image.fromarray(GREY.astype(np.uint16) * 200).save(folder / "sixteen.png")
    Image.new("RGBA", (9, 9), (1, 2, 3, 99)).save(folder / "glass.png")
    Image.new("L", (9, 9)).save(folder / "stack.tif", save_all=True, append_images=[Image.new("L", (9, 9))])
    Image.new("1", (4097, 4097)).save(folder / "large.png")
    Image.new("1", (10_000, 10_000)).save(folder / "larger.png")  # Pillow warns
    Image.new("1", (14_000, 14_000)).save(folder / "largest.png")  # Pillow raises
    (folder / "movie.gif").write_bytes(b"GIF89a")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(1 << 40)
    (folder / "\x1b[31mred.png").write_text("x")
    (folder / "noise.tif").write_bytes(b"II*\0" + bytes(range(256)) * 9)
    return {
        "empty.png": "is empty",
        "page.png": "is not a JPEG, PNG, TIFF, WebP or BMP image",
        "half.png": "truncated",
        "half.jpg": "truncated",
        "scans.jpg": "scans; at most",
        "sixteen.png": "more than 8 bits",
        "glass.png": "transparent pixels",
        "stack.tif": "several pictures",
        "large.png": "pixels; at most",
        "larger.png": "too many pixels",
        "largest.png": "too many pixels",
        "movie.gif": "is not a JPEG",
        "pipe.png": "a named pipe",
        "loop.png": "cannot be read (",
        "zero.png": "a device",
        "sparse.png": "bytes; at most",
        r"\x1b[31mred.png": "is not a JPEG",
        "noise.tif": "cannot be decoded",
    }


def test_unreadable_images_are_refused_or_skipped_by_name(saved: Path, tmp_path: Path) -> None:
    target = tmp_path / "data" / "all" / "v1"
    reasons = spoil(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            DataError, match=rf"my images: {len(reasons)} of {len(reasons) + 12} images cannot be adop"
        ) as caught:
            adopt_batch(saved, "t4", to=target)
        assert "repair or remove them, or skip them" in str(caught.value)
        assert str(caught.value).isprintable()
        assert not (tmp_path / "data").exists()
        batch = adopt_batch(saved, "t4", to=target, skip_unreadable=True)
    skipped = batch.metadata.more["adopted"]["skipped"]
    assert set(skipped) == set(reasons)
    for name, why in reasons.items():
        assert why in skipped[name], name
    assert len(batch.numbers) == 12


def test_nothing_is_written_if_a_batch_cannot_be_adopted(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare").mkdir()
    (tmp_path / "nested" / "run_0").mkdir(parents=True)
    Image.fromarray(GREY).save(tmp_path / "nested" / "run_0" / "embryo0.png")
    made = write_batch(tmp_path / "batch", [jpeg(0)], "", "t2")
    before = digests(tmp_path)
    for folder, phase, why in (
        (tmp_path / "no", "t4", "does not exist; give the folder that contains the images"),
        (saved / "a.tiff", "t4", "is a file; give the folder"),
        (tmp_path / "bare", "t4", "contains no image that can be adopted"),
        (tmp_path / "nested", "t4", "adopt its sub-folders one by one: run_0"),
        (made.path, "t4", r"is a batch already \(t2 F0\)"),
        (saved, "t99", "'t99' is not a phase"),
    ):
        with pytest.raises((DataError, ValueError), match=why):
            adopt_batch(folder, phase)
    for wrong in (".hidden", "a\x1bb", os.fsdecode(b"\xff")):
        with pytest.raises(ValueError, match="cannot be the name of a batch"):
            adopt_batch(saved, "t4", to=tmp_path / wrong)
    with pytest.raises(ValueError, match="as an argument of its own"):
        adopt_batch(saved, "t4", more={"phase": "t3"})

    def interrupted(*args: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "_as_jpeg", interrupted)
        with pytest.raises(KeyboardInterrupt):
            adopt_batch(saved, "t4")
    assert digests(tmp_path) == before
    assert not (tmp_path / "data").exists()
    assert adopt_batch(saved, "t4").path == str(tmp_path / "data" / "all-synthetic-runs" / "my images")
    with pytest.raises(FileExistsError, match="exists already"):
        adopt_batch(saved, "t4")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["PNG", "TIFF", "WEBP", "BMP", "JPEG"]), st.integers(0, 10**6), st.integers(0, 255), st.booleans()
)
def test_no_damaged_image_raises_anything_else(form: str, place: int, byte: int, cut: bool) -> None:
    Image.fromarray(GREY).save(buffer := io.BytesIO(), form)
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = byte
    with warnings.catch_warnings(), suppress(DataError):
        warnings.simplefilter("error")
        synthetic._decode_image(synthetic._as_jpeg(form, bytes(data[: place % len(data)] if cut else data)))


def test_the_first_batch_makes_the_folder_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ZeroDivisionError):
        write_batch(tmp_path / "data" / "all" / "run1", (1 / 0 for _ in "x"), "", "t2")
    assert list(tmp_path.iterdir()) == []
    assert write_batch(tmp_path / "data" / "all" / "run1", [jpeg(0)], "", "t2").faults() == []
    (tmp_path / "home").mkdir()
    assert write_batch("~/all/run1", [jpeg(0)], "", "t2").path == str(tmp_path / "home" / "all" / "run1")
    assert list(SyntheticBatches("~/all")) == ["run1"]
    (tmp_path / "home" / "pictures").mkdir()
    (tmp_path / "home" / "pictures" / "a.png").write_bytes(jpeg(1))
    assert adopt_batch("~/pictures", "t2", to="~/all/run2").path == str(tmp_path / "home" / "all" / "run2")
    with pytest.raises(DataError, match="does not exist, so there is no synthetic batch yet"):
        SyntheticBatches("~/no")
    with pytest.raises(OSError, match="run1"):
        write_batch(tmp_path / "data" / "all" / "run1" / "img0.jpg" / "run", [jpeg(0)], "", "t2")


def test_parents_that_another_process_uses_stay(tmp_path: Path) -> None:
    def images() -> Iterator[bytes]:
        write_batch(tmp_path / "data" / "all" / "other", [jpeg(0)], "", "t2")
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        write_batch(tmp_path / "data" / "all" / "run1", images(), "", "t2")
    assert list(SyntheticBatches(tmp_path / "data" / "all")) == ["other"]


def test_the_older_form_has_an_empty_suffix_for_f0(tmp_path: Path) -> None:
    for suffix, plane in ("", "F0"), ("_F-15", "F-15"), ("_F30", "F30"):
        folder = tmp_path / f"run{plane}"
        folder.mkdir()
        (folder / "img0.jpeg").write_bytes(jpeg(0))
        text = {"phase": "tPna", "focal-plane": suffix, "generate-datetime": "2023-09-04T15:30:01.459358"}
        (folder / "metadata.json").write_text(json.dumps(text))
    runs = SyntheticBatches(tmp_path)
    assert {run.plane for run in runs.values()} == {"F0", "F-15", "F30"}
    assert set(runs.findings().severity) == {"info"}
    assert len(runs.frames(planes="F0", phases="tPNa")) == 1


@pytest.mark.slow
def test_the_command_makes_a_batch_and_knows_when_there_is_none(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "all-synthetic-runs"
    for _ in range(2):
        done = command(folder)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "no" in done.stderr
        assert "synthetic batch yet; write_batch makes one" in done.stderr
        folder.mkdir(parents=True, exist_ok=True)
    folder.rmdir()
    folder.parent.rmdir()
    done = command(folder, "--adopt", saved, "--phase", "t4", "--prompt", "an embryo", "--name", "v1")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == f"{folder / 'v1'}: 12 images adopted, t4 F0\n  not adopted, because not an image: BMW.csv, notes.txt, sub\n"
    )
    assert command(folder).returncode == 0
    spoil(saved)
    done = command(folder, "--adopt", saved, "--phase", "t4", "--plane", "F15")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--skip-unreadable" in done.stderr
    done = command(folder, "--adopt", saved, "--phase", "t4", "--plane", "F15", "--skip-unreadable", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["images"], len(told["skipped"])) == (0, 12, 18)
    assert SyntheticBatches(folder)["my images"].plane == "F15"
    for wrong in (
        ["--phase", "t4"],
        ["--skip-unreadable"],
        ["--adopt", saved],
        ["--adopt", ""],
        ["--adopt", saved, "--phase", "t99"],
        ["--adopt", saved, "--phase", "t4", "--plane", "F99"],
        ["--adopt", saved, "--phase", "t4", "--name", "../up"],
        ["--adopt", saved, "--phase", "t4", "--name", ".."],
    ):
        done = command(folder, *wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
    assert sorted(os.listdir(folder)) == ["my images", "v1"]


def test_images_of_other_names_lead_to_adopting_them(saved: Path, tmp_path: Path) -> None:
    done = command(tmp_path)
    assert done.returncode == 1
    assert (
        "my images: contains no image img0.jpg, img1.jpg, ..., but 11 images with other names, such as a.tiff; adopt"
        in done.stdout
    )
