"""Follows all hosts that the applications of this process use: each host once, whoever uses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gitops.channel import Channel
from gitops.model.fleet import Fleet, Host
from gitops.model.observed import ObservedHost
from gitops.watch.host import HostWatch
from gitops.watch.presence import Presence
from gitops.watch.signs import Sign

LEAST_PAUSE_S = 0.6
"""Between two questions to a host: what only they tell, such as a file, is noticed within a second."""

ASKED_PER_S = 20
"""Hosts that are asked in a second, all in all: of more than that each is asked less often."""

END_S = 5.0
"""How long the end waits for questions that are under way."""

Notice = Callable[[Sign], None]
"""Told of what happens on a host; must not block."""


@dataclass
class _Followed:
    """One host and who is told of it."""

    watch: HostWatch
    told: dict[str, Notice]  # by application


@dataclass(frozen=True)
class Hosts:
    """What is known of an application's hosts beyond what they report.

    Attributes:
        away: those that do not answer now.
        lost: those that have not for so long that their work is done elsewhere, with why.
        shut: those that are back, but not for long enough to be given work, with why.
        changes_in_s: seconds until one of them will be lost, or will count as back; None: not foreseeable.
    """

    away: tuple[ObservedHost, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    shut: Mapping[str, str] = field(default_factory=dict)
    changes_in_s: float | None = None


class Watcher:
    """One `HostWatch` a host for as long as an application uses it."""

    def __init__(self) -> None:
        self._followed: dict[Channel, _Followed] = {}
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            watches = [each.watch for each in self._followed.values()]
            self._followed.clear()
        for watch in watches:
            watch.stop()
        deadline = time.monotonic() + END_S
        for watch in watches:  # a question that reconnects would outlive the connections
            watch.join(max(0.0, deadline - time.monotonic()))

    def follow(self, app: str, fleet: Fleet, channels: Mapping[str, Channel], notice: Notice) -> None:
        """Tells an application of what happens on these hosts from now on, and on no others."""
        wanted = {channels[host.name]: host for host in fleet.hosts if host.runs_containers or host.balances}
        with self._mutex:
            for channel in [c for c, each in self._followed.items() if app in each.told and c not in wanted]:
                self._leave(channel, app)
            for channel, host in wanted.items():
                if channel not in self._followed:
                    self._followed[channel] = self._begin(channel, host)
                self._followed[channel].told[app] = notice

    def unfollow(self, app: str) -> None:
        """Tells an application of nothing more."""
        with self._mutex:
            for channel in [c for c, each in self._followed.items() if app in each.told]:
                self._leave(channel, app)

    def hosts(self, fleet: Fleet, channels: Mapping[str, Channel], lost_after_s: float) -> Hosts:
        """What is known of these hosts now."""
        now = time.monotonic()
        known: dict[str, Presence] = {}
        with self._mutex:
            for host in fleet.hosts:
                if each := self._followed.get(channels[host.name]):
                    known[host.name] = each.watch.presence
        return judged(known, now, lost_after_s)

    def _begin(self, channel: Channel, host: Host) -> _Followed:
        told: dict[str, Notice] = {}

        def tell(sign: Sign) -> None:
            with self._mutex:
                notices = [notice for app, notice in told.items() if sign.app in {"", app}]
            for notice in notices:
                notice(sign)

        watch = HostWatch(channel, engine=host.runs_containers, pause_s=self._pause_s, tell=tell)
        watch.start()
        return _Followed(watch, told)

    def _leave(self, channel: Channel, app: str) -> None:
        followed = self._followed[channel]
        del followed.told[app]
        if not followed.told:
            followed.watch.stop()
            del self._followed[channel]

    def _pause_s(self) -> float:
        return max(LEAST_PAUSE_S, len(self._followed) / ASKED_PER_S)


def judged(known: Mapping[str, Presence], now: float, lost_after_s: float) -> Hosts:
    """What hosts' answers say of them. Pure."""
    changes = [at - now for each in known.values() if (at := each.changes_at(now, lost_after_s)) is not None]
    settles = {name: at for name, each in known.items() if (at := each.settles_at(lost_after_s)) is not None}
    return Hosts(
        away=tuple(
            ObservedHost(name, reachable=False, error=each.error)
            for name, each in sorted(known.items())
            if each.silent
        ),
        lost={
            name: f"host {name} lost" for name, each in sorted(known.items()) if each.lost(now, lost_after_s)
        },
        shut={
            name: f"host {name} was lost and is back for a short time only"
            for name, at in sorted(settles.items())
            if at > now
        },
        changes_in_s=min(changes, default=None),
    )
