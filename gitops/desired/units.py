"""Durations and byte sizes as Compose writes them, and percents."""

from __future__ import annotations

import re

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # the micro sign
    "μs": 1e-6,  # the Greek letter
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w)", re.ASCII)
_DURATION = re.compile(rf"\+?(?:{_PART.pattern})+", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_PERCENT = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,6})?|100)%")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_LONGEST_DURATION = 9_223_372_036  # seconds; engines count nanoseconds in 64 bits
_LARGEST = 2**63 - 1  # bytes, as engines count them
_LONGEST = 40  # characters; longer numbers mean nothing and only cost time


def seconds(text: str) -> float | None:
    """Seconds of a duration such as `1m30s` or `500ms`; None for anything else."""
    if text == "0":
        return 0.0
    if len(text) > _LONGEST or not _DURATION.fullmatch(text):
        return None
    found = round(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), 6)
    return found if found <= _LONGEST_DURATION else None


def size(text: str) -> int | None:
    """Bytes of a size such as `64m`, `1.5gb` or `1024`, in powers of 1024; None for anything else."""
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    found = int(float(match[1]) * 1024 ** _POWERS[match[2].lower()]) if match else None
    return found if found is not None and found <= _LARGEST else None


def percent(text: str) -> float | None:
    """The number of a percentage such as `5%` or `0.5%`, 0 to 100; None for anything else."""
    match = _PERCENT.fullmatch(text)
    return float(match[1]) if match else None
