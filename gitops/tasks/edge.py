"""Brings an application's part of a load balancer to a fragment: the file first, then the running HAProxy."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops.channel import Channel
from gitops.channel.failures import ChannelTimeoutError, ProxyError, UnreachableError
from gitops.channel.faults import fault_of
from gitops.channel.proxy import Look
from gitops.errors import GitopsError, PermanentError
from gitops.model.edge import Assembled
from gitops.render.edge import assemble, plain_servers
from gitops.render.fragment import Fragment, before_joins, parse, stages, without_servers
from gitops.tasks.edge_files import ChangedMeanwhileError, EdgeFiles, OnDisk
from gitops.tasks.edge_running import (
    RunningProxy,
    Said,
    lines_of,
    mark_of,
    own_entries,
    ready_backends,
    serving_places,
)
from gitops.tasks.network import take
from gitops.tasks.outcome import Outcome, TaskError

_TRIES = 5  # applications that deploy at the same moment take turns at the file
_RELOAD_S = 0.1  # until the sockets of a HAProxy that is being reloaded are there again


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
                raise TaskError(error.message, fault_of(error) or "edge", hint=error.hint) from error

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
        current = there.fragments.get(target.app, "")
        if current != target.text and current in target.later:
            self._there = there
            return Outcome(changed=False, message="the edge is past this step")
        proxy = RunningProxy(self._channel.proxy(), target.app, target.drain_s, target.wait_s)
        if check:
            return self._checked(there, target, proxy)
        if target.network:
            take(self._channel, target.network)
        said = Said()
        for step in self._steps(there, target, proxy.look()):
            there = self._put(there, target, step, proxy, said)
        proxy.drain_old_workers({*target.drain, *said.left})
        self._there = there
        return Outcome(bool(said.text), said.text or "haproxy.cfg and HAProxy are as wanted")

    def _checked(self, there: OnDisk, target: Target, proxy: RunningProxy) -> Outcome:
        """What would be done."""
        wanted = self._assembled(there, target, target.text)
        fragment = parse(target.text)
        same = there.holds(wanted) and there.fragments.get(target.app, "") == target.text
        changes = not same or not proxy.serves(fragment, wanted, proxy.look())
        message = "haproxy.cfg would change" if changes else "haproxy.cfg is as wanted"
        return Outcome(changes, message)

    def _steps(self, there: OnDisk, target: Target, look: Look) -> list[Fragment]:
        """The fragments that follow each other until the wanted one serves: see `stages`.

        Where HAProxy has to be reloaded, what is to join backends that serve already does so after that, when
        its own check has reached it: a server that is in a file at a reload gets requests at once.
        """
        on_disk = parse(there.fragments.get(target.app, ""))
        idle = lines_of(on_disk).keys() - serving_places(
            look
        )  # of a switch that broke off before they joined
        current, wanted = without_servers(on_disk, idle), parse(target.text)
        own = own_entries(target.app, look.entries, self._assembled(there, target, target.text).routing)
        found = list(stages(current, wanted, own, ready_backends(look)))
        config = self._assembled(there, target, found[0].text(target.app))
        if mark_of(look) != config.mark:
            known = {(stat.proxy, stat.name) for stat in look.stats if stat.server}
            serving = set(own.values())
            joining = {
                (backend, server)
                for backend, servers in found[0].servers.items()
                for server in servers
                if backend in serving and (backend, server) not in known
            }
            if joining:
                found.insert(0, before_joins(found[0], current, joining))
        return found

    def _assembled(self, there: OnDisk, target: Target, text: str) -> Assembled:
        fragments = {app: text for app, text in {**there.fragments, target.app: text}.items() if text}
        return assemble(fragments, edge=target.edge)

    def _put(
        self, there: OnDisk, target: Target, fragment: Fragment, proxy: RunningProxy, said: Said
    ) -> OnDisk:
        """Brings the files and the running HAProxy to one fragment: the files first."""
        text = fragment.text(target.app)
        wanted = self._assembled(there, target, text)
        before = self._assembled(there, target, there.fragments.get(target.app, ""))
        # Somebody may have reloaded HAProxy with a file of their own.
        foreign = bool(there.config) and there.config != before.config
        loads = foreign or mark_of(proxy.look()) != wanted.mark
        if not there.holds(wanted) or there.fragments.get(target.app, "") != text:
            proven = not loads and plain_servers(wanted.config)
            there = self._files.swap(there, target.app, text, wanted, proven=proven, loads=loads)
            said.swapped = True
        try:
            proxy.bring(fragment, wanted, said, reload=foreign)
        finally:
            if loads:
                with suppress(GitopsError):  # it counts for a minute only
                    self._files.loaded(target.app)
        return there
