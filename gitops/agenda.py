"""When an application's next pass is due, and whether it asks Git or looks at the hosts alone."""

from __future__ import annotations

import random
from collections.abc import Callable

from gitops.config import AppSettings
from gitops.reconcile import Trigger
from gitops.source.triggers import Poll

SETTLES_S = 0.05
"""The rest before a pass that an event has asked for: one change is told by several events."""

MOST_BREATH_S = 0.5
"""The longest rest between two passes that events have asked for: drift is noticed within a second."""


class Agenda:
    """Two clocks of one application: Git is asked at every `poll`, the hosts are at every `observe`.

    A pass that asks Git looks at the hosts, too. What fails is tried again later and later.
    """

    def __init__(self, settings: AppSettings, clock: Callable[[], float]) -> None:
        chance = random.Random()  # noqa: S311 - jitter, not a secret
        self._clock = clock
        self._poll = Poll(settings.poll_s, chance)
        self._look = Poll(settings.observe_s, chance)
        self._poll_at = self._look_at = clock()
        self._pushed = False
        self._rested_at = clock()

    def poll_now(self) -> None:
        """The repo has changed: the next pass asks Git."""
        self._pushed = True

    def next(self) -> Trigger:
        """What the pass that begins now is for."""
        pushed, self._pushed = self._pushed, False
        if self._clock() >= self._poll_at:
            return "poll"
        return "push" if pushed else "heal"

    def idle_s(self) -> float:
        """Seconds until the next pass is due."""
        return max(0.0, min(self._poll_at, self._look_at) - self._clock())

    def breath_s(self) -> float:
        """Seconds to rest before a pass that somebody has asked for.

        What comes as a surprise is looked at as soon as it is whole. While events go on, as much time
        passes between two passes as a pass takes.
        """
        return 0.0 if self._pushed else max(SETTLES_S, self._rested_at - self._clock())

    def succeeded(self, trigger: Trigger, took_s: float, *sooner_s: float | None) -> None:
        """A pass has ended well.

        Args:
            trigger: what it was for.
            took_s: seconds that it took.
            sooner_s: seconds after which the hosts are to be looked at for some reason of its own.
        """
        now = self._clock()
        if trigger != "heal":
            self._poll_at = now + self._poll.succeeded()
        self._look_at = now + min([self._look.succeeded(), *(s for s in sooner_s if s is not None)])
        self._rested_at = now + min(took_s, MOST_BREATH_S)

    def failed(self, trigger: Trigger, took_s: float) -> None:
        """A pass could not be made: something does not answer, or a setting is wrong."""
        now = self._clock()
        if trigger != "heal":
            self._poll_at = now + self._poll.failed()
        self._look_at = now + self._look.failed()
        self._rested_at = now + min(took_s, MOST_BREATH_S)
