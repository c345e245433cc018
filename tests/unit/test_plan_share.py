"""Shares of the requests as weights."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from gitops.model.plan import Share
from gitops.plan.share import MOST, percent, weights

COUNTS = st.integers(1, 40)


def share_of(found: dict[str, int], part: set[str]) -> Fraction:
    return Fraction(sum(w for name, w in found.items() if name in part), sum(found.values()))


@given(st.integers(0, 100), COUNTS, COUNTS)
def test_the_new_ones_get_their_percentage_together(asked: int, new: int, old: int) -> None:
    fresh = {f"new-{n}" for n in range(new)}
    names = fresh | {f"old-{n}" for n in range(old)}
    found = weights(Share(asked, tuple(sorted(fresh))), names)
    assert found.keys() == names
    assert all(0 <= weight <= MOST for weight in found.values())
    assert len(set(found.values())) <= 2, "those of one version are alike"
    many, few = max(new, old), min(new, old)
    finest = Fraction(many, many + MOST * few)  # six beside one get 2.3% at the least
    assert abs(share_of(found, fresh) - Fraction(asked, 100)) <= max(Fraction(1, 100), finest)
    assert percent(fresh, found) == round(100 * share_of(found, fresh))
    assert set(found.values()) != {1}, "to be told from a service that is not on trial"


@given(st.integers(1, 99), st.integers(1, 12))
def test_small_fleets_get_exactly_what_is_asked(asked: int, replicas: int) -> None:
    fresh = {f"new-{n}" for n in range(-(-replicas * asked // 100))}
    names = fresh | {f"old-{n}" for n in range(replicas)}
    assert percent(fresh, weights(Share(asked, tuple(fresh)), names)) == asked


def test_who_is_alone_has_nobody_to_share_with() -> None:
    assert weights(Share(5, ("a",)), {"a"}) == {}
    assert weights(Share(5, ("gone",)), {"a"}) == {}
    assert percent(["a"], {}) == 0


def test_examples() -> None:
    old = [f"o{n}" for n in range(4)]
    assert weights(Share(5, ("n",)), {"n", *old}) == {"n": 4, **dict.fromkeys(old, 19)}
    assert weights(Share(0, ("n",)), {"n", *old}) == {"n": 0, **dict.fromkeys(old, 1)}
    assert weights(Share(100, ("n",)), {"n", *old}) == {"n": 1, **dict.fromkeys(old, 0)}
    assert weights(Share(50, ("n",)), {"n", "o"}) == {"n": 2, "o": 2}
