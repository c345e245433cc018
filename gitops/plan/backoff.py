"""How long a slot that needs healing again and again is left alone. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIRST_S = 1.0
"""Seconds between the first heal of a slot and the second; twice as many before each further one."""

FIRST_SICK_S = 15.0
"""The same where the new container was as unhealthy as the old one: what it depends on needs time."""

LONGEST_S = 300.0
"""The most seconds between two heals."""

STOOD_S = 600.0
"""A slot that has stood for so many seconds after a heal has recovered: nothing is counted any more."""

WINDOW_S = 3600.0
"""How far back heals matter: with more of them than fit in here the delay is the longest in any case."""


RETRY_FIRST_S = 5.0
"""Seconds until a commit whose deployment failed for a host is tried again; twice as many each time."""


def retry_s(attempts: int) -> float:
    """Seconds to the next try of a commit after so many that failed for a host."""
    return float(min(RETRY_FIRST_S * 2.0 ** min(attempts - 1, 30), LONGEST_S))


@dataclass(frozen=True)
class Heal:
    """One time that a slot was healed, or that it was tried."""

    service: str
    slot: int
    at: float  # when that had ended, seconds since 1970
    sick: bool = False  # whether an unhealthy container was to be replaced, and its successor was, too


def waits(heals: Iterable[Heal], now: float) -> Mapping[tuple[str, int], float]:
    """Seconds for which each slot that was healed lately is left alone yet; 0 where it no longer is.

    Args:
        heals: what is recorded, in any order; what a clock that was wrong has put into the future
            does not count.
        now: seconds since 1970.
    """
    times: dict[tuple[str, int], list[float]] = {}
    sick: dict[tuple[str, int], tuple[float, bool]] = {}  # of the last one
    for heal in heals:
        if heal.at <= now:
            slot = heal.service, heal.slot
            times.setdefault(slot, []).append(heal.at)
            sick[slot] = max(sick.get(slot, (heal.at, heal.sick)), (heal.at, heal.sick))
    found = {}
    for slot, ended in times.items():
        last = max(ended)
        if now - last < STOOD_S:
            delay = delay_s(_in_a_row(sorted(ended)), FIRST_SICK_S if sick[slot][1] else FIRST_S)
            found[slot] = max(0.0, last + delay - now)
    return found


def delay_s(heals: int, first_s: float = FIRST_S) -> float:
    """Seconds to the next heal after so many in a row."""
    return float(min(first_s * 2.0 ** min(heals - 1, 30), LONGEST_S))


def _in_a_row(ended: list[float]) -> int:
    """How many of the heals, in order of time, belong to the last series."""
    count = 1
    for earlier, later in zip(reversed(ended[:-1]), reversed(ended), strict=False):
        if later - earlier >= STOOD_S:
            break
        count += 1
    return count
