"""One pass over the fleet."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from gitops.channel import Channel
from gitops.channel.failures import HostSetupError, ProxyError, UnreachableError
from gitops.errors import GitopsError
from gitops.model.edge import Running
from gitops.model.fleet import Fleet, Host
from gitops.model.observed import Container, Observed, ObservedHost, ProxyServer
from gitops.observe import containers, files, haproxy

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 64
LOOKS = 4  # at files and HAProxy, while deployments change them
OBSERVE_S = 15.0
"""How long a look goes on without an answer. As a rule a host is given up before, by its own timeouts."""


def observe(channels: Mapping[str, Channel], fleet: Fleet, away: Iterable[ObservedHost] = ()) -> Observed:
    """Asks every host of the fleet, side by side.

    A host that cannot be asked is in the answer too, with the reason; nothing is raised for it. When
    none has answered for `OBSERVE_S` the others are not waited for: of many hosts the last ones
    have their turn when the first ones have answered.

    Args:
        channels: by host name.
        fleet: the hosts.
        away: those that an earlier look could not reach: they are not asked again, which takes
            long, and even if they are back by now nobody holds their locks.
    """
    known = {host.name: host for host in away if fleet.host(host.name)}
    asked = [host for host in fleet.hosts if host.name not in known]
    if not asked:
        return Observed(tuple(sorted(known.values(), key=lambda host: host.name)))
    pool = ThreadPoolExecutor(min(len(asked), SIDE_BY_SIDE), thread_name_prefix="observe")
    looks = {host.name: pool.submit(_observe, channels[host.name], host) for host in asked}
    pool.shutdown(wait=False)
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()
    for look in looks.values():
        look.add_done_callback(lambda _: answers.put(None))
    with suppress(queue.Empty):
        for _ in looks:
            answers.get(timeout=OBSERVE_S)
    for name, look in looks.items():
        late = ObservedHost(name, reachable=False, error=f"no answer within {OBSERVE_S:g} s")
        known[name] = look.result() if look.done() else late
    return Observed(tuple(sorted(known.values(), key=lambda host: host.name)))


def _observe(channel: Channel, host: Host) -> ObservedHost:
    try:
        return _ask(channel, host)
    except GitopsError as error:
        reason = error.message + (f" ({error.hint})" if error.hint else "")
        return ObservedHost(host.name, reachable=False, error=reason)
    except Exception as error:  # what one host answers must not stop the applications of the others
        log.exception("%s: its answer cannot be read, please report it", host.name)
        reason = f"its answer cannot be read: {type(error).__name__}: {error}"[:300]
        return ObservedHost(host.name, reachable=False, error=reason)


def _ask(channel: Channel, host: Host) -> ObservedHost:
    facts = channel.facts
    if (host.runs_containers and not facts.engine.path) or (host.balances and not facts.stats.path):
        facts = channel.refresh()  # it may have been started since
    engine = ""
    managed: tuple[Container, ...] = ()
    ports: tuple[int, ...] = ()
    if facts.engine.path or host.runs_containers:
        asked = channel.engine()
        engine = f"{asked.about.kind} {asked.about.version}"
        managed, ports = containers.read(asked, host.name)
    kept, running, servers = _served(channel, host)
    if kept.fragments and not facts.stats.path:
        facts = channel.refresh()
    return ObservedHost(
        name=host.name,
        reachable=True,
        engine=engine,
        architecture=facts.architecture,
        cpus=facts.cpus,
        memory=facts.memory,
        containers=managed,
        ports_used=ports,
        listening=kept.listening,
        listening_everywhere=kept.everywhere,
        releases=kept.releases,
        fragments=kept.fragments,
        servers=servers,
        proxy=bool(facts.stats.path and facts.master.path),
        networks=kept.networks,
        root=facts.sudo or facts.user == "root",
        config=kept.config,
        running=running,
        loading=kept.loading,
    )


def _served(channel: Channel, host: Host) -> tuple[files.Files, Running | None, tuple[ProxyServer, ...]]:
    """The files, and what HAProxy runs at a moment at which they are these.

    Where a deployment changes them in between, both are asked anew: only what belongs together can be
    compared. HAProxy that does not run has nothing to say: the host itself is well.
    """
    kept = files.read(channel)
    running: Running | None = None
    servers: tuple[ProxyServer, ...] = ()
    for _ in range(LOOKS):
        if not (host.balances or kept.fragments):
            return kept, None, ()
        running, servers = None, ()
        with suppress(UnreachableError, HostSetupError, ProxyError):
            running, servers = haproxy.running(channel.proxy())
        if running is None or (running.mark == kept.mark and not kept.loading):
            break
        before, kept = kept, files.read(channel)
        if kept == before:
            break
    return kept, running, servers
