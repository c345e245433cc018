"""The process's connections to hosts: one channel a host, and its lock, shared by every application.

A controller holds a host's lock while at least one of its applications
deploys there; other controllers are refused meanwhile.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from gitops.allotments import Allotments
from gitops.channel import Channel, Lock, Owner, close_channels, controller_env, open_channels, own_folder
from gitops.channel.relay import Relay
from gitops.errors import ContendedError, GitopsError, Where
from gitops.model.fleet import Fleet, Host


class Way(NamedTuple):
    """What makes two hosts of two inventories the same connection: groups do not."""

    name: str
    variables: tuple[tuple[str, str | int | float | bool], ...]


@dataclass
class _Held:
    """A host's lock and how many deployments of this process lean on it."""

    lock: Lock
    users: int


class Leaning(NamedTuple):
    """What a deployment leans on of what the process holds, and what is to be taken for it."""

    held: list[Channel]
    wanted: list[Channel]


@dataclass
class Connections:
    """Channels by host, opened when first asked for and kept until `close`."""

    owner: str  # who holds the locks: shown to whoever is refused
    folder: Path = field(default_factory=own_folder)
    allotments: Allotments = field(default_factory=Allotments)
    edge_repair: threading.Lock = field(default_factory=threading.Lock)
    """Held by the application of this process that repairs what load balancers run."""
    _channels: dict[Way, Channel] = field(default_factory=dict)
    _held: dict[Channel, _Held] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _relay: Relay = field(init=False)
    _turns: dict[Channel, threading.Lock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What answers the playbooks that this process runs lies beside the connections."""
        self._relay = Relay(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def environment(self) -> dict[str, str]:
        """What makes an `ansible-playbook` of this process use the same connections."""
        return controller_env(self.folder)

    def open(self, fleet: Fleet) -> Mapping[str, Channel]:
        """The channels to all hosts of the fleet by host name; the missing ones are connected side by side.

        A host that cannot be reached has a channel all the same: observing it says why.
        """
        with self._mutex:
            missing = [host for host in fleet.hosts if _way(host) not in self._channels]
            opened = open_channels(missing, self.folder)
            for channel in opened.values():
                channel.relayed(self._relay)
            self._channels.update({_way(host): opened[host.name] for host in missing})
            return {host.name: self._channels[_way(host)] for host in fleet.hosts}

    @contextmanager
    def locked(self, app: str, channels: Mapping[str, Channel]) -> Iterator[None]:
        """Holds the lock of every given host for the time of an application's deployment.

        All or none: if one is held by another controller the others are given
        back at once, so that two controllers cannot wait for each other.

        Raises:
            LockHeldError: naming the host, who holds it, and since when.
        """
        hosts = list(channels.values())
        self._acquire(hosts)
        try:
            yield
        finally:
            self.allotments.forget(app)
            self._release(hosts)

    def passed_over(self, channels: Mapping[str, Channel]) -> Mapping[str, Owner | None]:
        """The hosts whose lock this process has lost and somebody else has had since, and who if still noted.

        They are asked over connections of their own, as nothing reconnects under a lock. A host
        that does not answer is not among them, nor one whose connection broke and nothing more.
        """
        with self._mutex:
            held = {way: self._held[c].lock for way, c in self._channels.items() if c in self._held}
            lost = {
                way: lock for way, lock in held.items()
                if self._channels[way] is channels.get(way.name) and lock.lost()
            }  # fmt: skip
        folder = Path(tempfile.mkdtemp(prefix="l", dir=self.folder))
        asked = open_channels(lost, folder)
        try:
            with ThreadPoolExecutor(max_workers=max(1, len(lost))) as pool:
                found = pool.map(lambda way: _since(asked[way.name], lost[way].owner), lost)
                return {way.name: owner for way, (passed, owner) in zip(lost, found, strict=True) if passed}
        finally:
            close_channels(asked.values(), folder)

    def _acquire(self, channels: Sequence[Channel]) -> None:
        with ExitStack() as turns:
            # By name, so that two cannot wait for each other. Whoever uses other hosts waits for nobody.
            for channel in sorted(channels, key=lambda channel: channel.name):
                turns.enter_context(self._turn(channel))
            taken = self._take(self._lean(channels))
            with self._mutex:
                self._held.update({channel: _Held(lock, 1) for channel, lock in taken.items()})

    def _turn(self, channel: Channel) -> threading.Lock:
        """One application at a time takes a host's lock."""
        with self._mutex:
            return self._turns.setdefault(channel, threading.Lock())

    def _lean(self, channels: Sequence[Channel]) -> Leaning:
        """Leans on the locks that the process holds already; tells which, and which are to be taken."""
        with self._mutex:
            leaning = Leaning(
                [channel for channel in channels if channel in self._held],
                [channel for channel in channels if channel not in self._held],
            )
            for channel in leaning.held:
                # Those who still lean on it must see that it is lost: a new lock would let them go on.
                if self._held[channel].lock.lost():
                    raise ContendedError(
                        "a deployment that has lost the host's lock has not ended yet",
                        where=Where(host=channel.name),
                    )
            for channel in leaning.held:
                self._held[channel].users += 1
            return leaning

    def _take(self, leaning: Leaning) -> dict[Channel, Lock]:
        """Takes the locks that are missing, side by side; all or none, and nothing is leaned on then."""
        taken: dict[Channel, Lock] = {}
        failures: list[GitopsError] = []
        with ThreadPoolExecutor(max_workers=max(1, len(leaning.wanted))) as pool:
            futures = [(channel, pool.submit(channel.lock, self.owner)) for channel in leaning.wanted]
        for channel, future in futures:
            try:
                taken[channel] = future.result()
            except GitopsError as failure:
                failures.append(failure)
        if failures:
            for lock in taken.values():
                lock.release()
            self._release(leaning.held)
            raise failures[0]
        return taken

    def _release(self, channels: Sequence[Channel]) -> None:
        with self._mutex:
            for channel in channels:
                held = self._held[channel]
                held.users -= 1
                if held.users == 0:
                    held.lock.release()
                    del self._held[channel]

    def close(self) -> None:
        """Gives every lock back and ends every connection."""
        with self._mutex:
            for held in self._held.values():
                held.lock.release()
            self._held.clear()
            self._relay.close()
            close_channels(self._channels.values(), self.folder)
            self._channels.clear()


def _way(host: Host) -> Way:
    return Way(host.name, host.variables)


def _since(channel: Channel, ours: Owner) -> tuple[bool, Owner | None]:
    """Whether somebody else has had a host's lock since this owner lost it, and who, if it is still noted."""
    try:
        noted = channel.holder().owner
    except GitopsError:
        return False, None
    return noted != ours, noted
