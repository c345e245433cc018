"""Whether a host is there: heard a moment ago, silent, lost, or back for too short a time. Pure.

All times are seconds of a monotonic clock: a clock that is set changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SILENT = 2
"""Questions without an answer after which a host is not asked by passes: they would only wait for it."""

_GAPS = 8  # silences that are remembered


@dataclass(frozen=True)
class Presence:
    """What is known of one host's answers.

    Attributes:
        heard: when it answered last, or when it was asked first.
        misses: questions since then without an answer.
        error: why the last one had none.
        broken: whether there is no connection any more on which it could answer.
        gaps: its last silences, each from the answer before to the answer after.
    """

    heard: float
    misses: int = 0
    error: str = ""
    broken: bool = False
    gaps: tuple[tuple[float, float], ...] = ()

    def answered(self, now: float) -> Presence:
        """It answers."""
        gaps = (*self.gaps, (self.heard, now))[-_GAPS:] if self.misses else self.gaps
        return Presence(now, gaps=gaps)

    def missed(self, error: str, *, broken: bool = False) -> Presence:
        """It does not."""
        return replace(self, misses=self.misses + 1, error=error, broken=broken or self.broken)

    @property
    def silent(self) -> bool:
        """Whether there is no point in asking it."""
        return self.broken or self.misses >= SILENT

    def lost(self, now: float, after_s: float) -> bool:
        """Whether it has been silent for so long that its work is done elsewhere."""
        return self.silent and now - self.heard >= after_s

    def settles_at(self, after_s: float) -> float | None:
        """When it counts as back if it goes on answering; None where it was not lost since it last did.

        One that comes and goes must stay for a third of the time in which it is lost.
        """
        since: float | None = None
        for begin, end in self.gaps:
            if since is not None and begin - since >= after_s / 3:
                since = None
            if since is not None or end - begin >= after_s:
                since = end
        return None if since is None else since + after_s / 3

    def changes_at(self, now: float, after_s: float) -> float | None:
        """When it will be lost, or will count as back, if nothing else happens; None: not foreseeable."""
        if self.misses:
            at = self.heard + after_s
            return at if at > now else None
        settles = self.settles_at(after_s)
        return settles if settles is not None and settles > now else None
