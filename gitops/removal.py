"""`gitops remove`: everything of an application goes from its hosts and this machine, but its data."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gitops.application import Application
from gitops.channel import Channel
from gitops.config import APP_NAME, DEFAULT_RETENTION, AppSettings
from gitops.desired import inventory as inventories
from gitops.errors import ContendedError, GitopsError, PermanentError
from gitops.execute import runner
from gitops.images.prune import prune
from gitops.model.fleet import Fleet, Host
from gitops.session import RETRY_S, Session
from gitops.tasks import teardown

SIDE_BY_SIDE = 64  # hosts
READINGS = 20  # so many of the latest deployments say where containers may be left

View = dict[str, Any]


@dataclass
class _There:
    """One host while an application is removed from it."""

    host: Host
    channel: Channel
    found: teardown.Found = field(default_factory=teardown.Found)
    error: str = ""  # why something of it is left there

    @property
    def view(self) -> View:
        """As it is reported."""
        return {
            "name": self.host.name,
            "containers": list(self.found.containers),
            "networks": list(self.found.networks),
            "volumes": list(self.found.volumes),
            "routes": self.found.served,
            "files": self.found.files,
            "error": self.error,
        }


class Removal:
    """One application that is to go.

    Args:
        session: the configuration, opened; the application need not be in it any more.
        name: of the application.
        inventory: more hosts to look at, or None.
        say: told in a sentence what is waited for.
        wait_s: how long to wait for a deployment of it, or for another controller.

    Raises:
        PermanentError: it is no name of an application, or no host is known.
    """

    def __init__(
        self,
        session: Session,
        name: str,
        inventory: Path | None,
        *,
        say: Callable[[str], None],
        wait_s: float,
    ) -> None:
        if not APP_NAME.fullmatch(name):
            raise PermanentError(f"{name!r} is not the name of an application")
        self._session = session
        self._name = name
        self._say = say
        self._wait_s = wait_s
        self._fleet = _fleet(session, name, inventory)
        channels = session.connections.open(self._fleet)
        self._hosts = [_There(host, channels[host.name]) for host in self._fleet.hosts]

    def look(self) -> View:
        """What there is of it, nothing touched.

        Returns:
            `{"app", "removed": False, "in_config", "hosts": [{"name", "containers": [], "networks": [],
            "volumes": [], "routes", "files", "error"}]}`; `error` is why a host could not be asked.
        """
        self._everywhere(self._hosts, self._find)
        return self._view(removed=False, volumes=False)

    def remove(self, *, volumes: bool) -> View:
        """Removes it: from HAProxy everywhere, then its containers, then its files, then what is kept here.

        An application that is still in gitops.yaml is paused first, so that no service deploys it
        again. What is kept on this machine goes last, and only when no host has failed.

        Args:
            volumes: whether its named volumes go too, with their data.

        Returns:
            As `look`: what was there; `error` is why something of it is left, and `removed` whether
            nothing is. `volumes_removed` says whether the volumes went.

        Raises:
            ContendedError: another controller holds a host, or it is being deployed, for too long.
        """
        store = self._session.store
        if self._in_config:
            store.set_paused(self._name, paused=True)
        self._everywhere(self._hosts, self._find)
        deadline = time.monotonic() + self._wait_s
        said = ""
        while True:
            answering = {each.host.name: each.channel for each in self._hosts if not each.error}
            try:
                with self._session.connections.locked(self._name, answering):
                    self._end_deployments()
                    self._take_away(volumes=volumes)
                break
            except ContendedError as problem:
                if time.monotonic() > deadline:
                    raise
                if str(problem) != said:
                    said = str(problem)
                    self._say(said)
                time.sleep(RETRY_S)
        removed = not any(each.error for each in self._hosts)
        if removed:
            self._forget()
        return self._view(removed=removed, volumes=volumes)

    @property
    def _in_config(self) -> bool:
        return self._name in self._session.settings.apps

    def _view(self, *, removed: bool, volumes: bool) -> View:
        return {
            "app": self._name,
            "removed": removed,
            "volumes_removed": volumes,
            "in_config": self._in_config,
            "hosts": [each.view for each in self._hosts],
        }

    def _everywhere(self, hosts: Iterable[_There], act: Callable[[_There], None]) -> None:
        """Does the same on many hosts, side by side; what fails on one is told of that one."""

        def one(there: _There) -> None:
            try:
                act(there)
            except GitopsError as problem:
                there.error = problem.message + (f" ({problem.hint})" if problem.hint else "")

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(one, [each for each in hosts if not each.error]))

    def _find(self, there: _There) -> None:
        facts = there.channel.connect()
        there.found = teardown.find(there.channel, self._name, engine=bool(facts.engine.path))

    def _take_away(self, *, volumes: bool) -> None:
        """All hosts stop to serve it before its first container goes; a host that has failed is left."""

        def off(there: _There) -> None:
            teardown.off_haproxy(there.channel, self._name, edge=there.host.balances)

        def gone(there: _There) -> None:
            if there.channel.facts.engine.path:
                teardown.containers(there.channel, self._name, volumes=volumes)

        def files(there: _There) -> None:
            teardown.records(there.channel, self._name)

        for stage in (self._find, off, gone, files):  # found anew: a deployment may have ended meanwhile
            self._everywhere(self._hosts, stage)

    def _end_deployments(self) -> None:
        """Closes the record of a deployment whose controller has died, and ends what is left of it.

        Raises:
            ContendedError: a controller that lives is about to go on with one.
        """
        store = self._session.store
        for deployment, owner, run in store.running():
            if deployment.app != self._name:
                continue
            if owner.alive():
                raise ContendedError(
                    f"{self._name} is being deployed by {owner}", hint=f"gitops cancel {self._name}"
                )
            if run is not None:
                runner.reap(run)
            store.transition(deployment.id, "cancelled", reason="the application was removed")

    def _forget(self) -> None:
        """Removes what this machine keeps of it: images' pins, clone, run folders. Its history stays."""
        session, name = self._session, self._name
        settings = session.settings.apps.get(name)
        engines = [each.channel for each in self._hosts if each.channel.facts.engine.path]
        session.store.forget(name)  # then its pins, for only what is pinned is pruned
        prune(name, session.store, engines, settings.image_retention if settings else DEFAULT_RETENTION)
        session.store.pins.forget(name)
        state = session.settings.state_dir
        for folder in (state / "repos" / f"{name}.git", state / "runs" / name, state / "inventories" / name):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (f"{name}.git.lock", f"{name}.git.config"):
            (state / "repos" / file).unlink(missing_ok=True)


def _fleet(session: Session, name: str, inventory: Path | None) -> Fleet:
    """The hosts that may have something of an application.

    They are those of its latest deployments, each as its commit and settings had it, and of its
    present inventory. Where neither is known they are those of all other applications.
    """
    fleets = [inventories.load(inventory, trusted=True)] if inventory else []
    problems: list[GitopsError] = []
    for look in (_own_fleets(session, name), _others(session, name)):
        if fleets:
            break
        for read in look:
            try:
                fleets.append(read())
            except GitopsError as problem:
                problems.append(problem)
    found: dict[str, Host] = {}
    for host in (host for fleet in fleets for host in fleet.hosts):
        known = found.setdefault(host.name, host)
        found[host.name] = replace(known, groups=tuple(sorted({*known.groups, *host.groups})))
    if not found:
        why = f": {problems[0]}" if problems else ""
        raise PermanentError(f"no host is known that {name} may run on{why}", hint="name an --inventory")
    return Fleet(tuple(found[host] for host in sorted(found)))


Read = Callable[[], Fleet]


def _own_fleets(session: Session, name: str) -> Iterator[Read]:
    """Its present inventory, and those of its latest deployments, the newest first."""
    store = session.store
    now = session.application(name) if name in session.settings.apps else None
    if now is not None:
        yield partial(_newest, now)
    seen: set[tuple[str, str]] = set()
    for deployment in store.history(name, limit=READINGS):
        recorded = store.settings_used.of_deployment(deployment.id)
        if (deployment.commit, recorded) in seen:
            continue
        seen.add((deployment.commit, recorded))
        app = now or _as_recorded(session, name, recorded)
        if app is not None:
            settings = app.commit_settings.recorded(recorded)
            yield partial(app.fleet, deployment.commit, settings)


def _others(session: Session, name: str) -> Iterator[Read]:
    """The inventories of the other applications."""
    for other in sorted(session.settings.apps):
        if other != name:
            yield partial(_newest, session.application(other))


def _newest(app: Application) -> Fleet:
    """The hosts of the newest commit that was seen, or else is to be had."""
    return app.fleet(app.store.target(app.name) or app.fetch())


def _as_recorded(session: Session, name: str, recorded: str) -> Application | None:
    """An application that gitops.yaml does not name any more, as its last deployments had it."""
    if not recorded:
        return None
    settings = AppSettings.as_recorded(name, recorded)
    return Application(
        name, settings, session.store, session.connections, session.standby, session.settings.state_dir
    )
