"""When passes are due: Git and hosts have a clock each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gitops.agenda import MOST_BREATH_S, SETTLES_S, Agenda
from gitops.config import AppSettings
from gitops.source.triggers import JITTER


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def agenda(clock: Clock, **settings: str) -> Agenda:
    said: dict[str, Any] = {"name": "shop", "source": {"repo": "/srv/shop.git"}, "inventory": "/srv/hosts"}
    return Agenda(AppSettings.model_validate({**said, **settings}, context={}), clock)


def test_the_first_pass_asks_git() -> None:
    assert agenda(Clock()).next() == "poll"


def test_in_between_the_hosts_alone_are_looked_at() -> None:
    clock = Clock()
    due = agenda(clock, poll="100s", observe="10s")
    due.succeeded(due.next(), 0.1)
    assert due.idle_s() == pytest.approx(10, rel=JITTER)
    clock.now += due.idle_s()
    assert due.next() == "heal"
    due.succeeded("heal", 0.1)
    clock.now = 100 * (1 + JITTER)
    assert due.next() == "poll"


def test_a_push_asks_git_and_is_not_kept_waiting() -> None:
    clock = Clock()
    due = agenda(clock)
    due.succeeded(due.next(), 3.0)
    assert due.breath_s() == MOST_BREATH_S
    due.poll_now()
    assert due.breath_s() == 0.0
    assert due.next() == "push"
    assert due.next() == "heal", "it was asked once"


def test_a_surprise_is_looked_at_as_soon_as_it_is_whole_and_a_crowd_of_events_a_pass_at_a_time() -> None:
    clock = Clock()
    due = agenda(clock)
    due.succeeded(due.next(), 0.3)
    clock.now = 0.1
    assert due.breath_s() == pytest.approx(0.2), "its own events, or a crowd of them"
    clock.now = 10.0
    assert due.breath_s() == SETTLES_S


def test_what_a_pass_knows_of_the_future_comes_first() -> None:
    due = agenda(Clock(), poll="100s", observe="50s")
    due.succeeded(due.next(), 0.1, None, 4.0)
    assert due.idle_s() == 4.0


def test_git_that_does_not_answer_does_not_keep_the_hosts_waiting() -> None:
    clock = Clock()
    due = agenda(clock, poll="10s", observe="10s")
    for _ in range(6):
        clock.now += 1_000
        due.failed(due.next(), 0.1)
    due.succeeded("heal", 0.1)
    assert due.idle_s() == pytest.approx(10, rel=JITTER)
    clock.now += due.idle_s()
    assert due.next() == "heal", "Git has its turn later and later"
