"""The load of an application: HAProxy's counters of its backends, and what its containers use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gitops.channel import Channel, Engine, Proxy
from gitops.channel.failures import ContainerError, HostSetupError, NotFoundError
from gitops.channel.proxy import Stat
from gitops.errors import GitopsError
from gitops.model.fleet import Fleet
from gitops.model.load import ContainerLoad, EdgeLoad, Sample
from gitops.model.observed import LABEL_APP, LABEL_SERVICE

Backends = Mapping[str, Collection[str]]
"""By service: one question for each of its backends, however many the load balancer has."""

_NANOSECOND = 1e-9
_SIDE_BY_SIDE = 16


def look(
    channels: Mapping[str, Channel],
    fleet: Fleet,
    app: str,
    *,
    at_edge: Backends,
    at_nodes: Backends,
    in_engines: Collection[str],
    at: float,
) -> Sample:
    """Asks the load balancers, and the container hosts where that is needed, side by side.

    A host that does not answer is left out, and the sample is not complete; nothing is raised for it.

    Args:
        channels: by host name.
        fleet: the hosts.
        app: the application.
        at_edge: services whose load the load balancers know, with the names of their backends.
        at_nodes: the same of services that only others find, by the HAProxies of container hosts.
        in_engines: services of which the engines are asked.
        at: monotonic seconds, for the sample.
    """
    edges = {host.name for host in fleet.load_balancers} if at_edge else set()
    asked: dict[str, Backends] = dict.fromkeys(sorted(edges), at_edge)
    for host in fleet.container_hosts if at_nodes else ():
        asked[host.name] = {**asked.get(host.name, {}), **at_nodes}
    hosts = [host.name for host in fleet.container_hosts] if in_engines else []
    if not asked and not hosts:
        return Sample(at)

    def balanced(name: str) -> dict[tuple[str, str], EdgeLoad] | None:
        try:
            found = edge_load(channels[name].proxy(), asked[name])
        except HostSetupError:
            return None if name in edges else {}  # a host without consumers needs no HAProxy
        except GitopsError:
            return None
        return {(name, service): load for service, load in found.items()}

    def used(name: str) -> dict[tuple[str, str], ContainerLoad] | None:
        try:
            return container_load(channels[name].engine(), app, in_engines)
        except GitopsError:
            return None

    with ThreadPoolExecutor(min(len(asked) + len(hosts), _SIDE_BY_SIDE)) as pool:
        balancing, using = pool.map(balanced, asked), pool.map(used, hosts)
        seen, counted = list(balancing), list(using)
    return Sample(
        at,
        {key: load for each in seen if each for key, load in each.items()},
        {key: load for each in counted if each for key, load in each.items()},
        complete=None not in seen and None not in counted,
    )


def edge_load(proxy: Proxy, backends: Backends) -> dict[str, EdgeLoad]:
    """The load of services at one HAProxy, of those that it has.

    A worker from before a reload lives on with its connections: their sessions count, too.
    """
    old = [process.pid for process in proxy.processes() if process.old and process.kind == "worker"]
    left = [stat for pid in old for stat in proxy.worker_stats(pid)]
    found: dict[str, EdgeLoad] = {}
    for service, names in backends.items():
        stats = [stat for name in names for stat in proxy.backend_stats(name)]
        if stats:
            found[service] = load_of(stats, [stat for stat in left if stat.proxy in names])
    return found


def load_of(stats: Sequence[Stat], older: Iterable[Stat]) -> EdgeLoad:
    """The counters of a service's backends; `older` are those of workers from before a reload. Pure.

    A backend's own line has its sessions, requests and times; what waits is told for each server, too.
    """
    backends = [stat for stat in stats if not stat.server]
    requests = sum(stat.requests for stat in backends)
    weighed = sum(stat.requests * stat.mean_ms for stat in backends)
    return EdgeLoad(
        sessions=sum(stat.sessions for stat in (*backends, *older) if not stat.server),
        queued=sum(stat.queued for stat in stats),
        requests=requests,
        mean_ms=weighed / requests if requests else 0.0,
    )


def container_load(
    engine: Engine, app: str, services: Collection[str]
) -> dict[tuple[str, str], ContainerLoad]:
    """What the running containers of services have used, by service and container id."""
    found: dict[tuple[str, str], ContainerLoad] = {}
    for entry in engine.containers({"label": [f"{LABEL_APP}={app}"], "status": ["running"]}):
        service = entry["Labels"].get(LABEL_SERVICE, "")
        if service not in services:
            continue
        try:
            found[service, entry["Id"]] = of_container(engine.stats(entry["Id"]))
        except (NotFoundError, ContainerError):  # it went in this moment
            continue
    return found


def of_container(stats: Mapping[str, Any]) -> ContainerLoad:
    """An engine's statistics of one container. Pure.

    Memory without the files that the kernel keeps there and could drop at once, as `docker stats` has it.
    """
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    dropped = details.get("total_inactive_file", details.get("inactive_file", 0))
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return ContainerLoad(
        cpu_s=int(cpu.get("total_usage") or 0) * _NANOSECOND,
        memory=max(0, int(memory.get("usage") or 0) - int(dropped or 0)),
    )
