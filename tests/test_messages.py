"""Test the messages that a page sends to the player and to the explorer: whatever they contain, nothing is harmed."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Shared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsw_da_medical_image.dataset_util.dataset import EmbryoDataset
from nsw_da_medical_image.viewer.explorer import explore
from nsw_da_medical_image.viewer.player import EmbryoPlayer

WORDS = ["kind", "items", "seq", "session", "id", "action", "phase", "run", "video", "rows", "comment", "base64"]
KINDS = ["want", "ack", "hello", "bye", "annotate", "shown", "seek", "note", "opened", "../../etc"]
NAMES = ["SAM1-2", "SAM1-7", "F0", "F99", "t2", "set", "undo", "rows", "picture", "/etc/passwd", "\x1b[2J", "<script>"]

simple = (
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(NAMES)
)
anything = st.recursive(
    simple,
    lambda some: (
        st.lists(some, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), some, max_size=4)
    ),
    max_leaves=8,
)
frame = st.tuples(simple, simple, simple).map(list)
message = st.one_of(
    anything,
    st.fixed_dictionaries({"kind": st.sampled_from(KINDS)}, optional=dict.fromkeys(WORDS[1:], anything)),
    st.fixed_dictionaries({"kind": st.just("want"), "items": st.lists(frame, max_size=5)}),
)
profile = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def answered(sent: list[Any], ask: Callable[[], None], kind: str) -> None:
    """Ask a valid question, and wait for an answer of this kind."""
    sent.clear()
    ask()
    end = time.monotonic() + 60
    while kind not in [content["kind"] for content in list(sent)]:
        assert time.monotonic() < end, f"no answer; sent: {sent}"
        time.sleep(0.005)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what is sent to the browser, as a list that grows."""
    found: list[Any] = []
    for name in "PATIENCE", "SPARE_PATIENCE", "PACE":  # nobody acknowledges here
        monkeypatch.setattr(f"nsw_da_medical_image.viewer.player.Delivery.{name}", 0.001)
    for holder in "player.EmbryoPlayer", "explorer.VideoList":
        monkeypatch.setattr(
            f"nsw_da_medical_image.viewer.{holder}.send", lambda self, content, buffers=None: found.append(content)
        )
    return found


@pytest.mark.slow
@profile
@given(messages=st.lists(message, min_size=5, max_size=40))
def test_no_message_to_the_player_does_harm(
    shared: Callable[..., Shared], sent: list[Any], record_property: Any, messages: list[Any]
) -> None:
    record_property("tried", len(messages))
    video = EmbryoDataset(shared().extracted)["SAM1-2"]
    read: list[tuple] = []
    player = EmbryoPlayer(video)
    own = player._delivery.read
    player._delivery.read = lambda each: (read.append(each), own(each))[1]
    try:
        for content in messages:
            player._receive(None, content, [])
            player.set_state(content if isinstance(content, dict) else {"value": content, "plane": content})
        answered(
            sent, lambda: player._receive(None, {"kind": "want", "items": [[0, "F0", int(player.value)]]}, []), "frames"
        )
        assert all(
            number == 0 and plane in player._series["planes"] and run in player.runs for number, plane, run in read
        )
        assert player.value in player.runs
        assert player.plane in player._series["planes"]
        assert sum(thread.name == "EmbryoPlayer" for thread in threading.enumerate()) < 20
    finally:
        player.close()


@pytest.mark.slow
@profile
@given(messages=st.lists(message, min_size=5, max_size=40))
def test_no_message_to_the_explorer_does_harm(
    shared: Callable[..., Shared], sent: list[Any], record_property: Any, messages: list[Any]
) -> None:
    record_property("tried", len(messages))
    explorer = explore(EmbryoDataset(shared().extracted))
    videos = explorer._list
    try:
        for content in messages:
            videos._receive(None, content, [])
        answered(sent, lambda: videos._receive(None, {"kind": "want", "items": [[0, "rows", 0]]}, []), "frames")
        assert set(explorer.shown) <= set(explorer.dataset.videos)
    finally:
        videos.close()
        if explorer.player:
            explorer.player.close()
