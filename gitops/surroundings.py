"""What an application's worker knows of its hosts between passes, and records of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from gitops.application import Application
from gitops.channel import Channel
from gitops.errors import GitopsError
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.observe.hosts import observe
from gitops.watch.watcher import Notice, Watcher

log = logging.getLogger(__name__)


class Surroundings:
    """The hosts of the commit that runs, followed by the process's watcher for one application."""

    def __init__(self, app: Application, watcher: Watcher, notice: Notice) -> None:
        self._app = app
        self._watcher = watcher
        self._notice = notice
        self._fleet = Fleet()
        self._channels: Mapping[str, Channel] = {}

    def look(self) -> float | None:
        """Tells the application what is known of its hosts now.

        Returns:
            Seconds until that changes by the mere passing of time; None: not foreseeable.
        """
        app = self._app
        before, app.hosts = (
            app.hosts,
            self._watcher.hosts(self._fleet, self._channels, app.settings.host_lost_after_s),
        )
        for name, why in app.hosts.lost.items():
            if name not in before.lost:
                log.warning("%s: %s: what can be moved is started elsewhere", app.name, why)
        for name in before.lost:
            if name not in app.hosts.lost:
                log.info("%s: host %s is back", app.name, name)
        if self._fleet.hosts:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            app.store.healing.set_lost(app.name, app.hosts.lost, now)
        return app.hosts.changes_in_s

    def follow(self) -> None:
        """Follows the hosts of the commit that runs, or of the one that is to, from now on."""
        app = self._app
        target = app.store.target(app.name)
        try:
            runs = app.good() or (app.at(target) if target else None)
        except GitopsError as problem:  # the pass has told of it
            log.debug("%s: its hosts are not known: %s", app.name, problem)
            return
        if runs is None:
            return
        fleet = runs.fleet
        self._fleet, self._channels = fleet, app.connections.open(fleet)
        self._watcher.follow(app.name, fleet, self._channels, self._notice)

    def observed(self) -> Observed | None:
        """What the hosts that are followed report now; None where none are followed yet."""
        if not self._fleet.hosts:
            return None
        return observe(self._channels, self._fleet, self._app.hosts.away)

    def leave(self) -> None:
        """Follows nothing any more."""
        self._watcher.unfollow(self._app.name)
