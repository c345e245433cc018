"""Brings an application's part of a load balancer to a fragment: the file first, then the running HAProxy."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops.channel import Channel
from gitops.channel.failures import ChannelTimeoutError, ProxyError, UnreachableError
from gitops.channel.proxy import Proxy, Stat
from gitops.errors import PermanentError
from gitops.render.edge import assemble, parse, plain_servers, structure
from gitops.tasks.edge_files import ChangedMeanwhileError, EdgeFiles, OnDisk
from gitops.tasks.network import take
from gitops.tasks.outcome import Outcome, TaskError

_PAUSE_S = 0.02
_TRIES = 5  # applications that deploy at the same moment take turns at the file
_RELOAD_S = 0.1  # until the sockets of a HAProxy that is being reloaded are there again
_DELETE_S = 1.0  # a server without sessions may still hold a connection for an instant

Place = tuple[str, str]  # backend, server


@dataclass(frozen=True)
class Target:
    """What the edge is to serve of one application.

    Attributes:
        app: the application.
        text: its fragment; empty takes it off the edge.
        later: fragments that follow in the same rollout. An edge that has one of them
            is past this step and is left alone: so a second run changes nothing.
        drain: names of servers whose requests have ended when this returns.
        drain_s: how long those may take; then they are cut off.
        wait_s: how long HAProxy may take until its own check reaches a new server.
        edge: whether the host is a load balancer.
        network: the service network, where it is not known that the host takes it for its own.
    """

    app: str
    text: str
    later: Collection[str] = ()
    drain: Collection[str] = ()
    drain_s: float = 10.0
    wait_s: float = 10.0
    edge: bool = True
    network: str = ""


def read_targets(folder: Path, app: str, steps: Sequence[Mapping[str, Any]]) -> dict[str, Target]:
    """What steps of a rollout ask for that have become one: each host's last fragment, and all drains.

    Args:
        folder: the run folder.
        app: the application.
        steps: in their order, each with `drain`, `drain_s`, `wait_s` and `places`: `hosts`, their
            `fragment` (a file; those of the same folder with a higher number come later in this
            rollout), `edge` and perhaps `network`.

    Returns:
        By host.
    """
    found: dict[str, Target] = {}
    for place in (place for step in steps for place in step["places"]):
        here = folder / place["fragment"]
        later = [file.read_text() for file in here.parent.glob("*.cfg") if file.name > here.name]
        target = Target(
            app,
            here.read_text(),
            later=later,
            drain=[name for step in steps for name in step["drain"]],
            drain_s=max(float(step["drain_s"]) for step in steps),
            wait_s=max(float(step["wait_s"]) for step in steps),
            edge=place["edge"],
            network=place.get("network", ""),
        )
        found |= dict.fromkeys(place["hosts"], target)
    return found


def apply(channel: Channel, target: Target, *, check: bool = False) -> Outcome:
    """Brings one load balancer to one fragment: see `Edge.apply`."""
    return Edge(channel).apply(target, check=check)


class Edge:
    """One load balancer during a rollout.

    What its files hold is read once and known from then on: if somebody else changes
    a fragment, the swap is refused, and they are read again.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._files = EdgeFiles(channel)
        self._there: OnDisk | None = None
        self._mutex = threading.Lock()

    def apply(self, target: Target, *, check: bool = False) -> Outcome:
        """Writes the fragment and the whole haproxy.cfg, then makes the running HAProxy equal to it.

        Servers come and go at run time; anything else is a hitless reload.

        Raises:
            TaskError: kind `edge`: the file is not valid (nothing was changed then), HAProxy
                refused a command, or its check does not reach a new server.
        """
        with self._mutex:
            try:
                return self._in_turn(target, check=check)
            except TaskError:
                raise
            except (ProxyError, ChannelTimeoutError, PermanentError) as error:
                raise TaskError(error.message, "edge", hint=error.hint) from error

    def _in_turn(self, target: Target, *, check: bool) -> Outcome:
        for _ in range(_TRIES - 1):
            try:
                return self._once(target, check=check)
            except ChangedMeanwhileError:
                continue
            except UnreachableError:
                # Another application's reload takes the sockets away for a moment. Where it is the host
                # that has gone, the next try fails as well.
                time.sleep(_RELOAD_S)
        return self._once(target, check=check)

    def _once(self, target: Target, *, check: bool) -> Outcome:
        there, self._there = self._there or self._files.read(), None  # what a failure leaves is not known
        outcome, self._there = self._brought(there, target, check=check)
        return outcome

    def _brought(self, there: OnDisk, target: Target, *, check: bool) -> tuple[Outcome, OnDisk]:
        """What was done, and what the files hold then."""
        current = there.fragments.get(target.app, "")
        if current != target.text and current in target.later:
            return Outcome(changed=False, message="the edge is past this step"), there
        fragments = {app: text for app, text in {**there.fragments, target.app: target.text}.items() if text}
        config = assemble(fragments, edge=target.edge)
        digest = hashlib.sha256(structure(config).encode()).hexdigest()
        reload = digest != there.loaded or there.config != assemble(there.fragments, edge=target.edge)
        writes = config != there.config or current != target.text
        if check:
            changes = writes or reload
            message = "haproxy.cfg would change" if changes else "haproxy.cfg is as wanted"
            return Outcome(changes, message), there
        if target.network:
            take(self._channel, target.network)
        if writes:
            proven = not reload and plain_servers(config)
            there = self._files.swap(there, target.app, target.text, config, proven=proven)
        running = _Running(self._channel.proxy(), target)
        reload = running.follow(reload=reload)
        if reload:
            there = self._files.note_loaded(there, digest)
        said = [
            *(["haproxy.cfg swapped"] if writes else []),
            *(["HAProxy reloaded"] if reload else []),
            *running.said,
        ]
        return Outcome(bool(said), ", ".join(said) or "haproxy.cfg and HAProxy are as wanted"), there


class _Running:
    """The servers of one application in the running HAProxy."""

    def __init__(self, proxy: Proxy, target: Target) -> None:
        self._proxy = proxy
        self._target = target
        self._wanted = {
            (backend, server): line
            for backend, servers in parse(target.text).servers.items()
            for server, line in servers.items()
        }
        self.said: list[str] = []

    def follow(self, *, reload: bool) -> bool:
        """Makes HAProxy serve what is wanted; whether it was reloaded for that."""
        there = self._servers()
        # Who gets more gets it first: there is no moment in which nobody would take a request.
        changed = self._weigh(there, lambda now, wanted: wanted > now)
        there = self._servers() if changed else there
        leaving = [place for place in there if place not in self._wanted]
        joining = [place for place in self._wanted if place not in there or _idle(there[place])]
        if not reload:
            try:
                self._join(joining, there)
            except ProxyError:
                # A name instead of an address, or a backend that is missing: what a reload can do.
                reload = True
        if reload:
            self._drain(leaving)
            self._proxy.reload()  # only then is there who takes what others give away
            self._until_checked(joining, self._up)
        else:
            changed += self._weigh(there, lambda now, wanted: wanted < now)
            self._drain(leaving)
            self._leave(leaving)
        self._drain_old_workers({*self._target.drain, *(server for _, server in leaving)})
        if joining:
            self.said.append(f"{len(joining)} in")
        if leaving:
            self.said.append(f"{len(leaving)} out")
        if changed:
            self.said.append(f"{changed} weights changed")
        return reload

    def _weigh(self, there: Mapping[Place, Stat], concerns: Callable[[int, int], bool]) -> int:
        """Sets the weights of servers that are there, where that `concerns` (now, wanted); how many."""
        wanted = {place: _weight(line) for place, line in self._wanted.items()}
        changes = [
            (place, wanted[place])
            for place, stat in there.items()
            if place in wanted and concerns(stat.weight, wanted[place])
        ]
        for (backend, server), weight in changes:
            self._proxy.set_weight(backend, server, str(weight))
        return len(changes)

    def _up(self, stat: Stat) -> bool:
        """Whether a server takes requests, or would if it had a weight."""
        return stat.status.startswith("UP") or (stat.status.startswith("DRAIN") and not stat.weight)

    def _join(self, places: Sequence[Place], there: Mapping[Place, Stat]) -> None:
        """Puts servers in service; new ones only when HAProxy's own check has reached them."""
        new = [place for place in places if place not in there]
        for backend, server in new:
            line = self._wanted[backend, server]
            self._command(f"add server {backend}/{server} {line}", "New server registered.")
        for backend, server in places:
            self._command(f"enable health {backend}/{server}")
        self._until_checked(new, lambda _: True)
        for backend, server in places:
            self._proxy.set_state(backend, server, "ready")
        # HAProxy does not check what somebody has put in maintenance: those are looked at afterwards.
        self._until_checked(places, self._up)

    def _until_checked(self, places: Sequence[Place], ready: Callable[[Stat], bool]) -> None:
        deadline = time.monotonic() + self._target.wait_s
        left = list(places)
        while left:
            now = self._servers()
            left = [p for p in left if p not in now or not (now[p].check.endswith("OK") and ready(now[p]))]
            if left and time.monotonic() > deadline:
                backend, server = left[0]
                stat = now.get(left[0])
                found = f"its check says {stat.check or 'nothing'}" if stat else "it does not know it"
                raise TaskError(
                    f"HAProxy does not reach {server} at {self._wanted[left[0]].split()[0]}: {found}",
                    "edge",
                    service=backend.removeprefix(f"{self._target.app}.").rpartition(".")[0],
                    container=server,
                )
            if left:
                time.sleep(_PAUSE_S)

    def _drain(self, places: Sequence[Place]) -> None:
        """No new requests for these servers; returns when the running ones have ended or were cut off."""
        for backend, server in places:
            self._proxy.set_state(backend, server, "drain")
        deadline = time.monotonic() + self._target.drain_s
        while busy := [p for p, stat in self._servers().items() if p in places and stat.sessions]:
            if time.monotonic() > deadline:
                for backend, server in busy:
                    self._command(f"shutdown sessions server {backend}/{server}")
                return
            time.sleep(_PAUSE_S)

    def _leave(self, places: Sequence[Place]) -> None:
        for backend, server in places:
            deadline = time.monotonic() + _DELETE_S
            while True:
                try:
                    self._proxy.delete_server(backend, server)
                    break
                except ProxyError:
                    if time.monotonic() > deadline:
                        break  # it stays in maintenance until the next reload, and takes nothing
                    time.sleep(_PAUSE_S)

    def _drain_old_workers(self, names: Collection[str]) -> None:
        """Workers from before a reload finish what they have, perhaps with a server that is to be stopped."""
        deadline = time.monotonic() + self._target.drain_s
        old = [process.pid for process in self._proxy.processes() if process.old] if names else []
        while old and time.monotonic() < deadline:
            old = [pid for pid in old if self._busy(pid, names)]
            if old:
                time.sleep(_PAUSE_S)

    def _busy(self, pid: int, names: Collection[str]) -> bool:
        with suppress(ProxyError, ChannelTimeoutError):
            return any(stat.sessions for stat in self._proxy.worker_stats(pid) if stat.name in names)
        return False  # it has ended in the meantime

    def _servers(self) -> dict[Place, Stat]:
        prefix = f"{self._target.app}."
        return {(s.proxy, s.name): s for s in self._proxy.stats() if s.server and s.proxy.startswith(prefix)}

    def _command(self, text: str, expected: str = "") -> None:
        answer = self._proxy.command(text)
        if answer != expected:
            raise ProxyError(f"HAProxy refused `{text}`: {answer}")


def _idle(stat: Stat) -> bool:
    """Whether somebody has taken the server out of service, such as a run that died half-way.

    Without a weight it gets nothing all the same, and HAProxy may call that draining.
    """
    return stat.status.startswith("MAINT") or (stat.status.startswith("DRAIN") and stat.weight > 0)


def _weight(line: str) -> int:
    """The weight in the arguments of a server line; without one it is 1."""
    words = line.split()
    return int(words[words.index("weight") + 1]) if "weight" in words else 1
