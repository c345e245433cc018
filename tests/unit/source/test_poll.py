"""How long until the next look, by a fixed chance."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gitops.source.triggers import LONGEST_S, Poll


class Middle(random.Random):
    """A chance that always falls in the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_a_look_that_succeeds_is_followed_by_one_after_the_interval() -> None:
    poll = Poll(30, Middle())
    assert [poll.succeeded() for _ in range(3)] == [30, 30, 30]


def test_failures_double_the_delay_up_to_five_minutes_and_a_success_ends_it() -> None:
    poll = Poll(30, Middle())
    assert [poll.failed() for _ in range(6)] == [30, 60, 120, 240, 300, 300]
    assert poll.succeeded() == 30
    assert poll.failed() == 30


def test_an_interval_longer_than_five_minutes_stays() -> None:
    poll = Poll(3600, Middle())
    assert [poll.failed(), poll.failed()] == [3600, 3600]


def test_failures_without_end_do_not_overflow() -> None:
    poll = Poll(1, Middle())
    assert [poll.failed() for _ in range(5000)][-1] == LONGEST_S


@given(seed=st.integers(), interval=st.floats(1, 86400), failures=st.integers(0, 20))
def test_every_delay_is_within_a_tenth_and_they_differ(seed: int, interval: float, failures: int) -> None:
    poll = Poll(interval, random.Random(seed))  # noqa: S311 - jitter, not a secret
    for _ in range(failures):
        poll.failed()
    delays = [poll.succeeded() for _ in range(20)]
    assert all(interval * 0.9 <= delay <= interval * 1.1 for delay in delays)
    assert len(set(delays)) > 1
