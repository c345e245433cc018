"""One application as the controller knows it: its settings, its clone, and what a commit of it says."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gitops import desired
from gitops.channel import Channel
from gitops.config import AppSettings
from gitops.connections import Connections
from gitops.desired import inventory
from gitops.desired.placement import check_placement
from gitops.errors import PermanentError, TransientError
from gitops.execute.standby import Standby
from gitops.images import pins, registry
from gitops.images.logins import logins
from gitops.model.commit_settings import DEFAULT_SETTINGS, CommitSettings
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.placement import SPREAD, Scheduler
from gitops.model.stack import SERVICE_NETWORK, Stack
from gitops.plan.autoscale import counts_of, counts_running, scaled
from gitops.source.git import Clone
from gitops.store.records import Store
from gitops.watch.watcher import Hosts

REMEMBERED_COMMITS = 8  # the last good one, the newest one, and what lies between them


@dataclass(frozen=True)
class Desired:
    """What one commit says: the services, and the hosts to run them on."""

    stack: Stack
    fleet: Fleet
    pinned: bool = False  # whether every image is named with the digest that the commit means
    network: str = SERVICE_NETWORK  # where its services have their addresses
    settings: CommitSettings = DEFAULT_SETTINGS  # with which the commit was read

    def same_as(self, other: Desired | None) -> bool:
        """Whether the other is the same commit, read with the same settings; counts of replicas aside."""
        return (
            other is not None and other.stack.commit == self.stack.commit and other.settings == self.settings
        )


@dataclass(frozen=True)
class Premises:
    """What is given when a plan is made, beside the commit and what the hosts report.

    Attributes:
        out: hosts that are to run nothing, with why.
        hosts: what is known of the hosts beyond what they report.
        scheduler: how they are filled.
    """

    out: Mapping[str, str] = field(default_factory=dict)
    hosts: Hosts = field(default_factory=Hosts)
    scheduler: Scheduler = SPREAD


NOTHING_GIVEN = Premises()


@dataclass
class Application:
    """An application with all that a pass over it needs."""

    name: str
    settings: AppSettings
    store: Store
    connections: Connections
    standby: Standby
    state_dir: Path
    hosts: Hosts = field(default_factory=Hosts)
    """What is known of its hosts beyond what they report: those that are lost, or do not answer now."""
    _read: dict[tuple[str, CommitSettings, str], Desired] = field(default_factory=dict)

    @property
    def premises(self) -> Premises:
        """What is given for a plan of it now."""
        drained = {host: f"host {host} drained" for host in self.store.drained.every()}
        return Premises(drained, self.hosts, self.settings.placing)

    @property
    def clone(self) -> Clone:
        """The bare clone of the application's repo."""
        return Clone(self.state_dir / "repos" / f"{self.name}.git", self.settings.source.repo)

    @property
    def runs(self) -> Path:
        """The folder of run folders, one a deployment."""
        return self.state_dir / "runs" / self.name

    def fetch(self) -> str:
        """The newest commit of the branch or tag, full SHA; the store remembers having seen it.

        Raises:
            TransientError: the Git server does not answer.
            PermanentError: no such repo, branch or tag.
        """
        commit = self.clone.fetch(self.settings.source.ref)
        self.store.set_target(self.name, commit)
        return commit

    @property
    def commit_settings(self) -> CommitSettings:
        """The settings with which a commit is read now."""
        return self.settings.commit_settings

    def settings_of_good(self, commit: str) -> CommitSettings:
        """Those with which the commit was good last; today's where that is not recorded."""
        return self.commit_settings.recorded(self.store.settings_used.of_good(self.name, commit))

    def good(self) -> Desired | None:
        """What the last good commit says, read as it was deployed; None where there is none.

        Raises:
            GitopsError: as `at`.
        """
        commit = self.store.good(self.name)
        return self.at(commit, self.settings_of_good(commit)) if commit else None

    def quarantined(self, settings: CommitSettings | None = None) -> dict[str, str]:
        """The commits that are held back, with why: one that failed with other settings is not.

        Args:
            settings: with which commits are to be read; None for today's.
        """
        failed_with = self.store.settings_used.of_quarantine(self.name)
        now = settings or self.commit_settings
        return {
            commit: reason
            for commit, reason in self.store.quarantined(self.name).items()
            if now.recorded(failed_with.get(commit, "")) == now
        }

    def resolve(self, revision: str) -> str:
        """The full SHA of a commit, branch or tag of the repo, fetched first.

        Args:
            revision: as git names it, with `~N` and `^` behind; `HEAD` is the newest of what is followed.

        Raises:
            PermanentError: there is no such commit.
        """
        newest = self.fetch()
        name = re.split(r"[~^]", revision, maxsplit=1)[0]
        steps = revision.removeprefix(name)
        commit = newest if name == "HEAD" else self.clone.resolve(name)
        return self.clone.ancestor(commit, steps) if steps else commit

    def at(self, commit: str, settings: CommitSettings | None = None) -> Desired:
        """What the commit says, with the image digests that are recorded for it.

        Args:
            commit: full SHA.
            settings: with which it is read; None for today's.

        Raises:
            InvalidInputError: with everything that is wrong in its files.
            TransientError: an inventory outside the repo is wrong.
        """
        settings = settings or self.commit_settings
        key = (commit, settings, _inventory_signature(settings))
        if key not in self._read:
            while len(self._read) >= REMEMBERED_COMMITS:
                del self._read[next(iter(self._read))]
            said = Desired(
                self._stack(commit, settings),
                self.fleet(commit, settings),
                network=settings.service_network,
                settings=settings,
            )
            self._check(said)
            self._read[key] = said
        said = self._read[key]
        if not said.pinned:  # another process may have recorded the digests since
            said = self._read[key] = _pinned(said, self.store.pins.of(self.name, commit))
        return said

    def _check(self, said: Desired) -> None:
        """Whether the fleet has what the commit asks of its hosts."""
        try:
            check_placement(said.stack, said.fleet)
        except PermanentError as problem:
            if said.settings.inventory_in_repo:
                raise
            raise TransientError(str(problem)) from problem  # the inventory may be at fault, as in `fleet`

    def known(self, desired: Desired, observed: Observed) -> Desired:
        """The commit with the digest of every image, where no registry has to be asked for one."""
        return desired if desired.pinned else _pinned(desired, self._known(desired, observed))

    def resolved(
        self, desired: Desired, channels: Mapping[str, Channel], observed: Observed, *, record: bool = True
    ) -> Desired:
        """The commit with the digest of every image: recorded, run by its containers, or asked for now.

        What is found is recorded at once, so that the commit means the same images from now on.
        Where no host answers nothing can be asked: planning says why.

        Args:
            desired: what the commit says.
            channels: by host name.
            observed: what the hosts report.
            record: whether the commit is to be deployed, not only looked at.

        Raises:
            ImageError: a registry has no such image, or does not give it to us.
            TransientError: a registry does not answer, or a login cannot be read.
        """
        if desired.pinned:
            return desired
        found = self._known(desired, observed)
        missing = pins.loose(desired.stack, found)
        names = [host.name for host in desired.fleet.container_hosts]
        hosts = [host for host in map(observed.host, names) if host and host.reachable]
        if missing and not hosts:
            return desired
        if missing:
            # Docker answers from the registry alone, Podman has to pull.
            asked = sorted(hosts, key=lambda host: (host.engine.startswith("podman"), host.name))
            answering = [channels[host.name] for host in asked]
            found |= registry.resolve(missing, answering, logins(self.settings.registries))
        if record:
            found = self.store.pins.record(self.name, desired.stack.commit, found)
        return _pinned(desired, found)

    def counted(self, desired: Desired, observed: Observed) -> Desired:
        """The commit with as many replicas as the controller has chosen within the commit's bounds.

        Where that is not recorded, as for a new store, what runs is what was chosen; where nothing
        runs the commit says what to begin with.
        """
        counts = {**counts_running(desired.stack, observed), **self.store.replicas.counts(self.name)}
        return replace(desired, stack=scaled(desired.stack, counts))

    def record_counts(self, stack: Stack) -> None:
        """Records how many replicas run of the services whose count is chosen by load."""
        self.store.replicas.record(self.name, counts_of(stack))

    def _known(self, desired: Desired, observed: Observed) -> dict[str, str]:
        stack = desired.stack
        recorded = self.store.pins.of(self.name, stack.commit)
        # Containers of a commit that was read otherwise say nothing of what this reading's tags mean.
        used = self.store.settings_used.of_commit(self.name, stack.commit)
        trusted = all(desired.settings.recorded(each) == desired.settings for each in used)
        running = pins.running(stack, observed) if trusted else {}
        return {**running, **pins.given(stack), **recorded}

    def _stack(self, commit: str, settings: CommitSettings) -> Stack:
        return desired.load(
            self.clone.tree(commit),
            app=self.name,
            commit=commit,
            path=settings.path,
            overlays=settings.overlays,
            env=settings.env,
            profiles=settings.profiles,
        )

    def fleet(self, commit: str, settings: CommitSettings | None = None) -> Fleet:
        """The hosts of the inventory that the commit, or this machine, has.

        Where an inventory of this machine has gone since, those of today's.

        Args:
            commit: full SHA.
            settings: with which the commit is read; None for today's.

        Raises:
            InvalidInputError: with everything that is wrong in it.
            PermanentError: it is not there.
        """
        settings = settings or self.commit_settings
        place = settings.inventory
        if not settings.inventory_in_repo:
            if place != self.settings.inventory and not Path(place).exists():
                return self.fleet(self.store.target(self.name) or commit)
            try:
                return inventory.load(Path(place), trusted=True)
            except PermanentError as problem:  # not the commit's fault: the next pass tries again
                raise TransientError(str(problem)) from problem
        tree = self.clone.tree(commit)
        if not tree.exists(place):
            raise PermanentError(
                f"the inventory {place} is not in the repo at {commit[:12]}",
                hint="commit it, or give an absolute path as `inventory`",
            )
        with tempfile.TemporaryDirectory(prefix="gitops-inventory-") as folder:
            tree.export(place, Path(folder) / "inventory")
            return inventory.load(Path(folder) / "inventory", trusted=False)


def _inventory_signature(settings: CommitSettings) -> str:
    """Changes when an inventory outside the repo changes; one inside is part of the commit."""
    if settings.inventory_in_repo:
        return ""
    root = Path(settings.inventory)
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]
    return ",".join(f"{path}:{path.stat().st_mtime_ns}" for path in files if path.exists())


def _pinned(desired: Desired, found: Mapping[str, str]) -> Desired:
    """The commit with all its images pinned, or as it is where a pin is missing."""
    if pins.loose(desired.stack, found):
        return desired
    return replace(desired, stack=pins.pinned(desired.stack, found), pinned=True)
