"""Shares of a service's requests as HAProxy weights of its servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction

from gitops.model.plan import Share

MOST = 256  # HAProxy's greatest weight
_ALL = 100  # percent


def weights(share: Share, names: Collection[str]) -> dict[str, int]:
    """The weight of each server, so that those of the share get their percentage together.

    They are never all 1, the normal weight: whoever looks at HAProxy sees that two versions
    share the requests. Empty where there is nobody to share with.

    Args:
        share: which servers get how much.
        names: all servers of the service.
    """
    favoured = set(names) & set(share.containers)
    others = set(names) - favoured
    if not favoured or not others:
        return {}
    one, other = _pair(share.percent, len(favoured), len(others))
    return {name: one if name in favoured else other for name in sorted(names)}


def _pair(percent: int, favoured: int, others: int) -> tuple[int, int]:
    """The weights of one favoured server and of one other, as near to the percentage as HAProxy can."""
    if percent in {0, _ALL}:
        return (0, 1) if percent == 0 else (1, 0)
    ratio = Fraction(percent * others, (_ALL - percent) * favoured)
    swapped = ratio > 1
    near = (1 / ratio if swapped else ratio).limit_denominator(MOST) or Fraction(1, MOST)
    low, high = near.as_integer_ratio()
    if low == high:
        low = high = 2
    return (high, low) if swapped else (low, high)


def percent(favoured: Collection[str], all_weights: Mapping[str, int]) -> int:
    """Which percentage of the requests these servers get, of all whose weights are given."""
    whole = sum(all_weights.values())
    part = sum(weight for name, weight in all_weights.items() if name in favoured)
    return round(Fraction(_ALL * part, whole)) if whole else 0
