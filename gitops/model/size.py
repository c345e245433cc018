"""Sizes of containers and hosts: what is reserved, and what there is."""

from __future__ import annotations

from typing import NamedTuple

CORE = 1000  # a core in thousandths
_UNITS = ((1024**4, "T"), (1024**3, "G"), (1024**2, "M"), (1024, "K"))


class Size(NamedTuple):
    """Cores and memory."""

    cpus: int = 0  # thousandths of a core: sums of fractions would drift
    memory: int = 0  # bytes

    def __str__(self) -> str:
        """The size as a person reads it: `0.5 cpus, 512M`."""
        return f"{cores(self.cpus)} cpus, {bytes_text(self.memory)}"


NOTHING = Size()


def cores(thousandths: int) -> str:
    """Cores as Compose writes them: `0.5`, `2`."""
    return f"{thousandths / CORE:g}"


def bytes_text(number: int) -> str:
    """Bytes in the largest unit that leaves a short number: `512M`, `1.5G`."""
    for factor, unit in _UNITS:
        if abs(number) >= factor:
            return f"{number / factor:.4g}{unit}"
    return str(number)
