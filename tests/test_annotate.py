"""Test that a reader's annotation is saved completely, never over another one, and with the same bytes in Python and in JavaScript."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Shared

from nsw_da_medical_image.common.text import DataError
from nsw_da_medical_image.dataset_util.annotate import Annotation, AnnotationConflict, History, out_of_order, phases_csv
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset, Video
from nsw_da_medical_image.dataset_util.textfiles import parse_phases
from nsw_da_medical_image.dataset_util.util import Phase

HERE = Path(__file__).parent


@pytest.fixture
def video(shared: Callable[..., Shared]) -> Video:
    ds = EmbryoDataset(shared(videos=3, frames=24, size=64).extracted)
    return ds[ds.videos[0]]


MARK = """
import sys
from nsw_da_medical_image.dataset_util.annotate import Annotation, AnnotationConflict
from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
path, name, folder, times = sys.argv[1:]
track = Annotation(EmbryoDataset(path)[name], folder, reader="Ann")
print("ready", flush=True)
conflicts = saved = 0
for n in range(int(times)):
    before = len(track.changes)
    try:
        track.set("t2" if n % 2 else "t4", 2 + n % 20)
        saved += len(track.changes) > before  # setting the same again is no change
    except AnnotationConflict:
        conflicts += 1
        track.resolve("theirs")
print(saved, conflicts, flush=True)
"""


def marking(video: Video, folder: Path, times: int) -> subprocess.Popen[str]:
    """Start a process that changes an annotation `times` times."""
    command = [sys.executable, "-c", MARK, video.dataset.root, video.name, str(folder), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.mark.slow
def test_a_killed_process_leaves_the_file_old_or_new(video: Video, tmp_path: Path, record_property: Any) -> None:
    record_property("tried", 6)
    folder = tmp_path / "ann"
    path = folder / f"{video.name}_phases.csv"
    changes = 0
    for kill in range(6):
        with marking(video, folder, 100_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            while not path.exists():
                pass
            for _ in range(kill * 40):  # a different moment each time
                path.read_bytes()
            os.kill(process.pid, signal.SIGKILL)
        data = path.read_bytes()
        rows, faults = parse_phases(data)
        assert rows
        assert faults == []
        again = Annotation(video, folder)
        assert phases_csv(again.onsets, again.last) == data, "the file counts"
        assert len(again.changes) >= changes
        changes = len(again.changes)
        assert EmbryoDataset(video.dataset.root, annotations=folder)[video.name].phases.shape == (len(rows), 3)


@pytest.mark.slow
def test_two_processes_never_overwrite_each_other_in_silence(
    video: Video, tmp_path: Path, record_property: Any
) -> None:
    record_property("tried", 2 * 60)
    folder = tmp_path / "ann"
    processes = [marking(video, folder, 60) for _ in range(2)]
    saved = 0
    for process in processes:
        told, _ = process.communicate(timeout=120)
        saved += int(told.split()[1])
    record = json.loads((folder / f"{video.name}_phases.json").read_bytes())
    assert saved
    assert sum(change["do"] == "set" for change in record["changes"]) == saved, "each change that was not refused"
    kept = Annotation(video, folder)
    assert kept.path.read_bytes() == phases_csv(kept.onsets, kept.last)
    done = History(record["changes"]).onsets
    assert done == kept.onsets


def test_two_readers_are_both_shown_and_asked(video: Video, tmp_path: Path) -> None:
    ann, bob = (Annotation(video, tmp_path, reader=name) for name in ("Ann", "Bob"))
    ann.set("t2", 5)
    with pytest.raises(AnnotationConflict, match="changed by Ann since it was read") as caught:
        bob.set("t2", 7)
    assert (caught.value.mine, caught.value.theirs) == ({Phase.t2: 7}, {Phase.t2: 5})
    assert ann.path.read_bytes() == f"t2,5,{ann.last}\n".encode()
    with pytest.raises(AnnotationConflict):
        bob.set("t3", 9)  # it stays in memory
    bob.resolve("mine")
    assert bob.path.read_bytes() == f"t2,7,8\nt3,9,{ann.last}\n".encode()
    assert [(change["reader"], change["do"]) for change in bob.changes] == [("Ann", "set"), ("Bob", "keep")]
    bob.undo()
    assert bob.path.read_bytes() == f"t2,5,{ann.last}\n".encode()
    with pytest.raises(AnnotationConflict):
        ann.remove("t2")
    ann.resolve("theirs")
    assert ann.onsets == {Phase.t2: 5}


def test_a_change_that_was_taken_back_elsewhere_is_not_lost_either(video: Video, tmp_path: Path) -> None:
    one, two = Annotation(video, tmp_path, reader="Ann"), Annotation(video, tmp_path, reader="Ann")
    one.set("t2", 5)
    two.resolve("theirs")
    one.set("t2", 6)
    one.undo()  # the onsets are those that `two` has read, the history is not
    with pytest.raises(AnnotationConflict):
        two.set("t3", 9)
    two.resolve("mine")
    assert [change["do"] for change in two.changes] == ["set", "set", "undo", "keep"]


def test_a_file_changed_by_another_program_is_read_and_noted(video: Video, tmp_path: Path) -> None:
    Annotation(video, tmp_path, reader="Ann").set("t2", 5)
    path = tmp_path / f"{video.name}_phases.csv"
    path.write_text("t2,4,8\nt4,9,12\n")
    again = Annotation(video, tmp_path)
    assert again.onsets == {Phase.t2: 4, Phase.t4: 9}
    assert path.read_text() == "t2,4,8\nt4,9,12\n", "opening changes nothing"
    again.undo()
    assert again.onsets == {Phase.t2: 5}
    path.unlink()
    assert Annotation(video, tmp_path).onsets == {}


def test_undo_to_the_beginning_and_redo_to_the_end(video: Video, tmp_path: Path) -> None:
    track = Annotation(video, tmp_path, reader="Ann")
    states = [b""]
    for phase, run in ("tPNf", 3), ("t2", 6), ("t3", 6), ("t8", 4), ("t3", 9):
        track.set(phase, run)
        states.append(track.path.read_bytes())
    track.remove("t8")
    states.append(track.path.read_bytes())
    for expected in states[-2::-1]:
        track = Annotation(video, tmp_path)  # each time another session
        track.undo()
        assert track.path.read_bytes() == expected
    track.undo()
    assert track.path.read_bytes() == b""
    assert EmbryoDataset(video.dataset.root, annotations=tmp_path)[video.name].phases.empty
    for expected in states[1:]:
        track = Annotation(video, tmp_path)
        track.redo()
        assert track.path.read_bytes() == expected


def test_a_wrong_order_is_saved_marked_and_reported(video: Video, tmp_path: Path) -> None:
    from nsw_da_medical_image.validation.validate import validate

    track = Annotation(video, tmp_path, reader="Ann")
    track.set("t4", 3)
    track.set("t2", 9)
    assert track.out_of_order == ["t2 begins at RUN 9, after t4 (RUN 3)"]
    assert track.path.read_bytes() == f"t4,3,8\nt2,9,{track.last}\n".encode()
    ds = EmbryoDataset(video.dataset.root, annotations=tmp_path)
    findings = validate(ds, checks=["phase-order"], pixels=False).findings
    assert findings["video"].tolist() == [video.name]


def test_events_have_recorded_hours_only(shared: Callable[..., Shared], tmp_path: Path) -> None:
    ds = EmbryoDataset(shared(videos=3, frames=24, size=64).extracted)
    video = ds[ds.videos[1]]
    track = Annotation(video, tmp_path, reader="Ann")
    track.set("t2", track.last)
    track.set("tPB2", track.first)
    assert track.events["phase"].tolist() == ["tPB2", "t2"]
    for row in track.events.itertuples():
        recorded = video.hours.get(row.run)
        assert row.hours == recorded if recorded is not None else row.hours != row.hours


def test_the_published_file_is_never_written(shared: Callable[..., Shared], tmp_path: Path) -> None:
    copy = shared(videos=3, frames=24, size=64).copy(tmp_path / "copy")
    ds = EmbryoDataset(copy)
    video = ds[ds.videos[0]]
    published = copy / "embryo_dataset_annotations" / f"{video.name}_phases.csv"
    before = published.read_bytes()
    (tmp_path / "link").symlink_to(copy / "embryo_dataset_annotations")
    (tmp_path / "other" / "embryo_dataset_annotations").mkdir(parents=True)
    for folder in copy, published.parent, tmp_path / "link", copy / "new", tmp_path / "other" / published.parent.name:
        with pytest.raises(DataError, match=r"inside the data set|published annotations"):
            Annotation(video, folder)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / published.name).symlink_to(published)
    track = Annotation(video, tmp_path / "ann")
    track.set("t2", 3)
    assert published.read_bytes() == before
    assert not track.path.is_symlink()
    (tmp_path / "hard").mkdir()
    os.link(published, tmp_path / "hard" / published.name)
    Annotation(video, tmp_path / "hard").set("t2", 4)
    assert published.read_bytes() == before


def test_a_full_disk_keeps_the_change_for_the_next_time(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = Annotation(video, tmp_path, reader="Ann")
    track.set("t2", 3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            track.set("t3", 5)
        assert track.path.read_bytes() == f"t2,3,{track.last}\n".encode()
    track.save()
    assert track.path.read_bytes() == f"t2,3,4\nt3,5,{track.last}\n".encode()
    assert names(tmp_path) == [track.path.name, track.path.with_suffix(".json").name]


def test_archives_and_other_annotations_can_be_annotated(shared: Callable[..., Shared], tmp_path: Path) -> None:
    sample = shared(videos=3, frames=24, size=64)
    pytest.importorskip("rapidgzip")
    packed = EmbryoDataset(sample.archives)
    plain = EmbryoDataset(sample.extracted)
    name = plain.videos[0]
    assert Annotation(packed[name], tmp_path / "a").published == Annotation(plain[name], tmp_path / "a").published
    with pytest.raises(DataError, match="inside the data set"):
        Annotation(packed[name], sample.archives / "mine")
    ann = Annotation(plain[name], tmp_path / "ann", reader="Ann")
    ann.set("t2", 3)
    second = Annotation(EmbryoDataset(sample.extracted, annotations=tmp_path / "ann")[name], tmp_path / "bob")
    assert second.published == ann.published, "published means published"


def test_any_history_that_is_read_is_valid(video: Video, tmp_path: Path, record_property: Any) -> None:
    Annotation(video, tmp_path, reader="Ann").set("t2", 5)
    path = tmp_path / f"{video.name}_phases.json"
    good = json.loads(path.read_bytes())
    spoilt: list[Any] = [[], {}, {**good, "changes": 3}, {**good, "reader": 7}, {**good, "changes": [{"do": "undo"}]}]
    spoilt.append({**good, "changes": [{"do": "undo", "phases": {}}]})
    spoilt.append({**good, "changes": [{"do": "set", "phases": {"t99": {"run": 3, "was": None}}}]})
    spoilt.append({**good, "changes": [{"do": "set", "phases": {"t2": {"run": "3", "was": None}}}]})
    record_property("tried", len(spoilt) + 1)
    for each in spoilt:
        path.write_text(json.dumps(each))
        with pytest.raises(DataError, match="is not the history of an annotation"):
            Annotation(video, tmp_path)
        assert json.loads(path.read_bytes()) == each
    path.write_bytes(b"\xff{")
    with pytest.raises(DataError, match="is not the history"):
        Annotation(video, tmp_path)


# --- the same rules in the browser --------------------------------------------------------------


def python_steps(case: dict[str, Any]) -> list[list[Any]]:
    """Return what Python makes of the case that annotate.test.mjs plays: both files, and the order in words, after each action."""
    published = case["published"] and {Phase(name): run for name, run in case["published"].items()}
    head = {"video": "A-1", "reader": "Ann é", "last": case["last"], "start": "published" if case["base"] else "empty"}
    changes: list[dict[str, Any]] = []

    def add(change: dict[str, Any]) -> None:
        changes.append({"at": "2026-01-02T03:04:05Z", "reader": head["reader"], **change})

    if case["base"]:
        add(History([]).change("start", {Phase(name): run for name, run in case["base"].items()}, published))
    steps = []
    for action, *where in case["actions"]:
        phase, run = [*where, None, None][:2]
        history = History(changes)
        if runs := history.runs_after(action, phase and Phase(phase), run):
            add(history.change(action, runs, published))
        onsets = History(changes).onsets
        record = {**head, "blind": case["published"] is None, "finished": None, "changes": changes}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        steps.append([phases_csv(onsets, case["last"]).decode(), text, out_of_order(onsets)])
    return steps


def random_case(rng: Any) -> dict[str, Any]:
    """Return a case with a random history, in which runs coincide and the order is often wrong."""
    phases = [str(phase) for phase in Phase]
    some = {phase: rng.randint(1, 12) for phase in rng.sample(phases, rng.randint(0, 5))}
    kinds = rng.choices(["set", "remove", "undo", "redo"], [6, 1, 4, 3], k=rng.randint(1, 30))
    actions = [[kind, rng.choice(phases[:6]), rng.randint(1, 12)] if kind == "set" else [kind] for kind in kinds]
    actions = [[*each, rng.choice(phases[:6])] if each == ["remove"] else each for each in actions]
    return {
        "actions": actions,
        "last": 12,
        "published": rng.choice([None, some]),
        "base": rng.choice([None, some]) or None,
    }


@pytest.mark.slow
def test_javascript_writes_the_same_bytes(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    rng = random.Random(7)
    cases = [random_case(rng) for _ in range(200)]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    environment = {**os.environ, "NSW_CASES": str(tmp_path / "cases.json")}
    script = HERE / "annotate.test.mjs"
    done = subprocess.run(
        [node, script], capture_output=True, text=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    for case, steps in zip(cases, json.loads(result.removeprefix("RESULT")), strict=True):
        assert steps == python_steps(case), case


# --- the player, without a browser ---------------------------------------------------------------


def test_the_player_saves_what_the_browser_sends_and_survives_anything(
    video: Video, tmp_path: Path, record_property: Any
) -> None:
    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    player = EmbryoPlayer(video, annotations=tmp_path / "ann", reader="Ann")
    assert player.events.empty
    assert not (tmp_path / "ann").exists(), "opening writes nothing"

    def send(**content: Any) -> None:
        player._receive(None, {"kind": "annotate", "session": "s", "id": 1, **content}, [])

    tracks: list[dict[str, Any]] = []
    player.observe(lambda change: tracks.append(change.new), "_track")
    send(action="set", phase="t2", run=5)
    # the change never arrives without its number: the browser would add it again, and then ignore an undo
    assert [(len(track["changes"]), track["acks"]) for track in tracks] == [(1, {"s": 1})]
    assert player.events[["phase", "run"]].values.tolist() == [["t2", 5]]
    assert (tmp_path / "ann" / f"{video.name}_phases.csv").read_bytes() == f"t2,5,{player.annotation.last}\n".encode()
    assert player._track["acks"] == {"s": 1}
    wrongs: tuple[dict[str, Any], ...] = (
        {"action": "set"},
        {"action": None},
        {"action": "set", "phase": "t3", "run": 10**9},
        {"id": None},
        {"session": "x" * 10**6, "action": 7},
    )
    record_property("tried", len(wrongs) + 52)  # with those below
    for wrong in wrongs:
        send(**wrong)
    player._receive(None, {"kind": "annotate"}, [])
    assert player.events["run"].tolist() == [5]
    assert len(json.dumps(player._track)) < 20_000
    player.set_state({"_track": {}})
    assert player._track["reader"] == "Ann"
    player.annotation.set("t3", 9)  # in Python
    assert len(player._track["changes"]) == 2
    for number in range(50):
        send(session=f"session {number}", action="undo")
    assert len(player._track["acks"]) <= 8
    player.close()


def test_a_player_without_annotations_has_no_events(video: Video) -> None:
    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    player = EmbryoPlayer(video)
    with pytest.raises(DataError, match="has no annotations"):
        player.events  # noqa: B018
    player._receive(None, {"kind": "annotate", "session": "s", "id": 1, "action": "undo"}, [])
    for options in {"blind": True}, {"reader": "Ann"}, {"start": "published"}:
        with pytest.raises(ValueError, match="needs annotations"):
            EmbryoPlayer(video, **options)
    with pytest.raises(ValueError, match="one video is annotated at a time"):
        EmbryoPlayer([video, video.dataset[video.dataset.videos[1]]], annotations="never-made")
    assert not Path("never-made").exists()
    player.close()


def test_a_blind_page_does_not_contain_the_published_phases(video: Video, tmp_path: Path) -> None:
    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    player = EmbryoPlayer(video, annotations=tmp_path / "ann", reader="Bob", blind=True)
    with pytest.raises(ValueError, match="align must be"):
        player.align = "t2"
    for page in player.to_html(annotate=True), player.to_html():
        assert '"phases":[]' in page
        assert '"published":{' not in page
    sheet = player._repr_mimebundle_()[0]["text/html"]
    assert "run " in sheet
    assert not [phase for phase in Phase if f">{phase}<" in sheet]
    player.annotation.set("t2", 5)
    player.annotation.finish()
    assert player._track["reference"]["name"] == "published"
    player.close()


def test_what_a_blind_reader_may_not_see_appears_after_finishing(video: Video, tmp_path: Path) -> None:
    from nsw_da_medical_image.viewer.player import EmbryoPlayer

    movement = pd.Series(range(24), index=video.runs())
    player = EmbryoPlayer(video, activity=movement, annotations=tmp_path / "ann", reader="Bob", blind=True)
    (hidden,) = player._series["videos"]
    assert hidden["phases"] == []
    assert "activity" not in hidden
    player._receive(None, {"kind": "annotate", "session": "s", "id": 1, "action": "finish"}, [])
    (shown,) = player._series["videos"]
    assert shown["phases"]
    assert shown["activity"]["levels"][-1] == "z"
    player.align = "t2"  # which is in the description now
    player.close()


def test_the_published_runs_are_added_to_a_blind_page(video: Video, tmp_path: Path) -> None:
    """The page of a blind reading does not contain them, so its history records the reader's own runs only."""
    own = Annotation(video, tmp_path / "ann", reader="Bob", blind=True)
    own.set("t2", 5)
    own.finish()
    path = own.path.with_suffix(".json")
    record = json.loads(path.read_bytes())
    record["changes"][-1]["phases"] = {"t2": {"run": 5, "was": 5}}
    path.write_text(json.dumps(record))
    again = Annotation(video, tmp_path / "ann")
    assert again.changes == own.changes
    other = next(phase for phase in own.published if phase != Phase.t2)
    assert again.changes[-1]["phases"][str(other)] == {"run": None, "was": None, "published": own.published[other]}
    again.set("tHB", 9)
    assert json.loads(path.read_bytes())["changes"][:-1] == own.changes
