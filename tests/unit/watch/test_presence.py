"""Whether a host is there, by its answers and a monotonic clock alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitops.watch.presence import Presence
from gitops.watch.watcher import judged

AFTER_S = 30.0


def silent_since(at: float) -> Presence:
    return Presence(at).missed("no route").missed("no route")


def test_one_question_without_an_answer_says_nothing() -> None:
    once = Presence(0.0).missed("slow")
    assert not once.silent
    assert not once.lost(1_000.0, AFTER_S)
    assert once.missed("slow").silent


def test_without_a_connection_it_is_silent_at_once() -> None:
    gone = Presence(0.0).missed("the connection ended", broken=True)
    assert gone.silent
    assert not gone.lost(29.9, AFTER_S)
    assert not gone.answered(1.0).silent


def test_it_is_lost_after_so_long_and_says_when() -> None:
    host = silent_since(100.0)
    assert host.changes_at(101.0, AFTER_S) == 130.0
    assert not host.lost(129.9, AFTER_S)
    assert host.lost(130.0, AFTER_S)
    assert host.changes_at(130.0, AFTER_S) is None


def test_one_that_was_lost_counts_as_back_after_a_third_of_that() -> None:
    back = silent_since(100.0).answered(140.0)
    assert not back.lost(140.0, AFTER_S)
    assert back.settles_at(AFTER_S) == 150.0
    assert back.changes_at(141.0, AFTER_S) == 150.0
    assert back.changes_at(150.0, AFTER_S) is None


def test_a_short_silence_changes_nothing() -> None:
    assert silent_since(100.0).answered(129.0).settles_at(AFTER_S) is None


def test_one_that_comes_and_goes_begins_anew() -> None:
    back = silent_since(100.0).answered(140.0)
    blinked = back.answered(144.0).missed("gone", broken=True).answered(146.0)
    assert blinked.settles_at(AFTER_S) == 156.0
    stood = back.answered(155.0).missed("gone", broken=True).answered(157.0)
    assert stood.settles_at(AFTER_S) is None, "it had been back for long enough before"


@given(st.lists(st.tuples(st.floats(0.1, 60), st.booleans()), max_size=40), st.floats(5, 60))
def test_what_answers_is_never_lost_and_what_was_lost_is_shut_at_first(
    steps: list[tuple[float, bool]], after_s: float
) -> None:
    now, host = 0.0, Presence(0.0)
    for pause_s, answers in steps:
        now += pause_s
        was_lost = host.lost(now, after_s)
        host = host.answered(now) if answers else host.missed("no route")
        if answers:
            known = judged({"h1": host}, now, after_s)
            assert not known.lost
            assert not known.away
            assert "h1" in known.shut or not was_lost


def test_what_an_application_is_told() -> None:
    known = {"h1": Presence(200.0), "h2": silent_since(100.0), "h3": silent_since(195.0)}
    known["h4"] = silent_since(100.0).answered(199.0)
    told = judged(known, 200.0, AFTER_S)
    assert [(host.name, host.reachable, host.error) for host in told.away] == [
        ("h2", False, "no route"),
        ("h3", False, "no route"),
    ]
    assert told.lost == {"h2": "host h2 lost"}
    assert set(told.shut) == {"h4"}
    assert told.changes_in_s == 9.0
