"""How long a slot that fails again and again is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gitops.plan.backoff import FIRST_S, FIRST_SICK_S, LONGEST_S, STOOD_S, Heal, delay_s, waits

WEB = ("web", 1)
TIMES = st.lists(st.floats(0, 10_000), min_size=1, max_size=30)


def healed(*at: float) -> list[Heal]:
    return [Heal("web", 1, each) for each in at]


def test_the_first_time_nothing_is_waited_for() -> None:
    assert waits([], now=0.0) == {}


def test_the_delay_doubles_with_each_heal_in_a_row() -> None:
    assert waits(healed(100), now=100.0)[WEB] == 1.0
    assert waits(healed(100, 102), now=102.5)[WEB] == 1.5
    assert waits(healed(100, 102, 106), now=107.0)[WEB] == 3.0
    assert waits(healed(100, 102, 106), now=120.0)[WEB] == 0.0, "its time has passed, and it still counts"
    assert delay_s(100_000) == LONGEST_S


def test_what_has_stood_is_forgotten() -> None:
    assert waits(healed(100, 102, 106), now=106 + STOOD_S) == {}
    again = waits(healed(100, 102, 106, 106 + STOOD_S), now=106 + STOOD_S)
    assert again[WEB] == FIRST_S


def test_slots_are_counted_for_themselves() -> None:
    heals = [Heal("web", 1, 100), Heal("web", 1, 101), Heal("web", 2, 101), Heal("api", 1, 50)]
    assert waits(heals, now=101.0) == {("web", 1): 2.0, ("web", 2): 1.0, ("api", 1): 0.0}


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    assert waits(healed(5_000), now=100.0) == {}


def test_what_became_as_unhealthy_as_before_waits_longer() -> None:
    sick = [Heal("web", 1, 100.0, sick=True)]
    assert waits(sick, now=100.0)[WEB] == FIRST_SICK_S
    assert waits([*sick, Heal("web", 1, 200.0)], now=200.0)[WEB] == 2.0, "the last one counts"


@given(TIMES, st.floats(0, 20_000))
def test_the_wait_is_within_its_bounds_whatever_the_order(times: list[float], now: float) -> None:
    left = waits(healed(*times), now)
    assert left == waits(healed(*reversed(times)), now)
    assert all(0 <= seconds <= LONGEST_S for seconds in left.values())


@given(TIMES, st.floats(0, 1_000), st.floats(0, 1_000))
def test_waiting_makes_it_shorter(times: list[float], earlier: float, later: float) -> None:
    first = max(times) + min(earlier, later)
    second = max(times) + max(earlier, later)
    heals = healed(*times)
    assert waits(heals, second).get(WEB, 0.0) <= waits(heals, first).get(WEB, 0.0)
