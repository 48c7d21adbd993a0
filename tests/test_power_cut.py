"""Test that what `image_folder` and `extract_part` write is complete or absent after a power cut."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from power_cut import after_power_cuts, assert_survives, recorded_calls

from nsw_da_medical_image.common import files
from nsw_da_medical_image.common.files import new_file, new_folder
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.dataset_util.extract_dataset import extract_dataset
from nsw_da_medical_image.dataset_util.image_folder import make_image_folder
from nsw_da_medical_image.dataset_util.sample import make_archives


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EmbryoDataset:
    folder = tmp_path_factory.mktemp("power")
    make_archives(folder / "archives", videos=1, frames=24, size=64)
    extract_dataset(folder / "archives", folder / "extracted")
    return EmbryoDataset(folder / "extracted")


def images(data: EmbryoDataset, top: Path) -> Path:
    make_image_folder(data.frames(planes="F0", phases=[*data[data.videos[0]].phases.phase]), top / "images")
    return top / "images"


def part(data: EmbryoDataset, top: Path) -> Path:
    data.extract(planes=["F0", "F15"], to=top / "part")
    return top / "part"


def table(top: Path) -> Path:
    with new_file(top / "table.csv") as hidden:
        hidden.write_text("video,plane,runs\n")
    return top / "table.csv"


def unflushed(top: Path) -> Path:
    """Rename without a flush, as the library did before."""
    (top / ".hidden").mkdir()
    for number in range(20):
        (top / ".hidden" / f"{number}.jpeg").write_bytes(bytes(range(256)) * 100)
    os.rename(top / ".hidden", top / "unflushed")
    return top / "unflushed"


@pytest.mark.slow
def test_nothing_is_there_or_all_of_it_after_a_power_cut(data: EmbryoDataset, record_property: Any) -> None:
    works = [lambda top: images(data, top), lambda top: part(data, top), table, unflushed]
    *ours, (made, cuts) = after_power_cuts(works)
    record_property("tried", sum(len(each) for _, each in ours))
    for each in ours:
        assert_survives(*each)
    with pytest.raises(AssertionError, match="20 of 20 files are there, 20 of them empty"):  # the test can fail
        assert_survives(made, cuts)


def test_the_content_reaches_the_disk_before_its_name(data: EmbryoDataset, tmp_path: Path) -> None:
    for work, name in (lambda top: images(data, top), "images"), (lambda top: part(data, top), "part"):
        with pytest.MonkeyPatch.context() as patch, recorded_calls(patch) as calls:
            work(tmp_path)
        ours = [call for call in calls if name in call[1] or call[0] == "fsync folder"]
        assert [kind for kind, _ in ours] == ["flush", "name", "fsync folder"], calls
        assert ours[1:] == [("name", name), ("fsync folder", tmp_path.name)]


def test_a_folder_is_flushed_file_by_file_without_syncfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsw_da_medical_image.common.files._syncfs", lambda fd: False)
    with pytest.MonkeyPatch.context() as patch, recorded_calls(patch) as calls, new_folder(tmp_path / "made") as hidden:
        (hidden / "below").mkdir()
        (hidden / "below" / "0.jpeg").write_bytes(b"frame")
    *content, named, last = [(kind, name.partition(".nsw-")[0]) for kind, name in calls]
    assert sorted(content[1:]) == [("flush", "0.jpeg"), ("fsync folder", ".made"), ("fsync folder", "below")]
    assert (named, last) == (("name", "made"), ("fsync folder", tmp_path.name))


KILLED = """
import os, signal, sys
from pathlib import Path
from nsw_da_medical_image.dataset_util import extract_part, image_folder
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
count, write = iter(range(5)), Path.write_bytes
def killing(self, data):
    next(count, None) is not None or os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)
Path.write_bytes = killing
sys.exit({"part": extract_part, "images": image_folder}[sys.argv[1]].main(sys.argv[2:]))
"""


@pytest.mark.parametrize("name", ["part", "images"])
@pytest.mark.slow
def test_kill_9_loses_nothing_and_the_next_run_sweeps(name: str, data: EmbryoDataset, tmp_path: Path) -> None:
    """An empty folder that was at the destination is still there, with its mode."""
    made = tmp_path / "made"
    if name == "part":
        made.mkdir(mode=0o750)
    args = [sys.executable, "-c", KILLED, name, data.path, made, "--planes", "F0"]
    before = sorted(os.listdir(tmp_path))
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -9, done
    [left] = set(os.listdir(tmp_path)) - set(before)
    assert left.startswith(".made.nsw-")
    assert list((tmp_path / left).rglob("*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.time, "time", lambda now=time.time: now() + 3600)
        if name == "part":
            part(data, tmp_path)
        else:
            images(data, tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, name])
    if name == "part":
        assert os.listdir(made) == []
        assert stat.S_IMODE(made.stat().st_mode) == 0o750


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["part", "images"])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.slow
def test_a_destination_in_a_folder_of_another_user(name: str, there: bool, data: EmbryoDataset, tmp_path: Path) -> None:
    made = tmp_path / "theirs" / "made"
    made.parent.mkdir(mode=0o755)
    if there:
        made.mkdir()
        made.chmod(0o777)
    code = "import os, sys\nfrom nsw_da_medical_image.dataset_util import extract_part, image_folder\n"
    code += "import encodings.utf_8_sig\nimport nsw_da_medical_image.validation.validate\nos.setuid(12345)\n"
    code += "sys.exit({'part': extract_part, 'images': image_folder}[sys.argv[1]].main(sys.argv[2:]))"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    for above in {*Path(data.path).parents, *made.parents}:
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    args = [sys.executable, "-c", code, name, data.path, made, "--planes", "F0"]
    environment = {**os.environ, "NSW_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(args, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr, done.stderr
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: ")
    assert str(made.parent) in line
    assert os.listdir(made.parent) == (["made"] if there else [])
