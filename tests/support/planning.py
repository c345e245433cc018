"""Plans without a fleet: small inputs in few words, and a pure way to carry a plan out.

Carrying out refuses what no real fleet would do: a port or a name taken twice
on one host, a server in the load balancer that does not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Container, Observed, ObservedHost, ProxyServer, Release
from gitops.model.placement import SPREAD, Constraint, Placement, Scheduler
from gitops.model.plan import Backend, Phase, Plan, Role, ShiftPhase, Spared, StartPhase
from gitops.model.size import CORE, Size
from gitops.model.stack import (
    ContainerSpec,
    Healthcheck,
    Ingress,
    Job,
    Mount,
    RestartPolicy,
    Rollout,
    Service,
    Stack,
    UpdateConfig,
)
from gitops.plan import make_plan
from gitops.plan.diff import NOWHERE, STARTABLE
from gitops.plan.edge import backend_name

APP = "shop"
EDGE = Role()
MIB = 1024**2


def fleet_of(hosts: Mapping[str, Iterable[str] | str]) -> Fleet:
    """A fleet from host names and their groups."""
    found = [
        Host(name, f"198.18.0.{number}", tuple(sorted([groups] if isinstance(groups, str) else groups)))
        for number, (name, groups) in enumerate(sorted(hosts.items()), start=1)
    ]
    return Fleet(tuple(found))


def small_fleet(count: int = 3) -> Fleet:
    """Container hosts h1, h2 ... and the load balancer lb1."""
    return fleet_of({**{f"h{n}": CONTAINER_HOSTS for n in range(1, count + 1)}, "lb1": LOAD_BALANCERS})


def spec_of(name: str, said: Mapping[str, Any]) -> ContainerSpec:
    """The container of a service from the same words; equal ones are one: its digest is made once."""
    spec = ContainerSpec(
        image=said.get("image", f"{name}:1"),
        command=tuple(said["command"]) if "command" in said else None,
        environment=tuple(sorted(said.get("env", {}).items())),
        labels=tuple(sorted(said.get("labels", {}).items())),
        mounts=tuple(Mount("volume", f"/{volume}", volume) for volume in said.get("volumes", ())),
        healthcheck=Healthcheck(test=("CMD", "true")) if said.get("healthcheck") else None,
        stop_grace_period_s=float(said.get("grace", 10.0)),
        expose=tuple(sorted(said.get("expose", ()))),
        target_ports=tuple(sorted(said.get("ports", ()))),
        host_ports=tuple((port, port, "tcp") for port in said.get("host_ports", ())),
        reserved=Size(round(said.get("cpus", 0) * CORE), said.get("memory", 0) * MIB),
        restart=RestartPolicy("no") if "job" in said else RestartPolicy(),
    )
    return _SPECS.setdefault(spec, spec)


_SPECS: dict[ContainerSpec, ContainerSpec] = {}


def service_of(name: str, said: Mapping[str, Any]) -> Service:
    """A service from a few words: image, ports, replicas, order, job (when), memory (MiB), constraints ..."""
    spec = spec_of(name, said)
    update = UpdateConfig(parallelism=said.get("parallelism", 1), order=said.get("order", "start-first"))
    return Service(
        name,
        spec,
        mode=said.get("mode", "replicated"),
        replicas=said.get("replicas", 1),
        update=update,
        rollback=replace(update, parallelism=0, failure_action="pause"),
        placement=placement_of(said),
        rollout=Rollout(said.get("strategy", "rolling"), tuple(said.get("steps", ()))),
        ingress=tuple(Ingress(port) for port in said.get("ports", ())),
        job=Job(said["job"], fence=said.get("fence", False)) if "job" in said else None,
    )


def stack_of(services: Mapping[str, Mapping[str, Any]], commit: str = "b") -> Stack:
    """A stack from a few words for each service."""
    return Stack(APP, commit * 40, tuple(service_of(name, said or {}) for name, said in services.items()))


def nothing_on(fleet: Fleet) -> Observed:
    """Hosts that answer and run nothing."""
    return Observed(
        tuple(ObservedHost(host.name, reachable=True, engine="docker 20.10.24") for host in fleet.hosts)
    )


def fragment(stack: Stack, previous: Stack | None, backends: tuple[Backend, ...], role: Role = EDGE) -> str:
    """Stands for the rendered fragment: planning only asks whether it is the same."""
    del previous, role  # its routes are the renderer's business
    routes = [(service.name, service.ingress) for service in stack.services]
    servers = [
        line
        for b in backends
        for line in (
            f"backend {backend_name(APP, b.service, b.target)}",
            *(f"    server {s.name} {s.address}:{s.port}" for s in b.servers),
        )
    ]
    return "\n".join([f"# {routes}", *servers])


def plan_of(
    stack: Stack,
    fleet: Fleet,
    observed: Observed,
    previous: Stack | None = None,
    *,
    rollback: bool = False,
    jobs: bool = True,
    tolerate: int = 0,
    spared: tuple[Spared, ...] = (),
    out: Mapping[str, str] = NOWHERE,
    scheduler: Scheduler = SPREAD,
) -> Plan:
    """The plan, with a fragment to compare."""
    return make_plan(
        stack,
        fleet,
        observed,
        previous=previous,
        rollback=rollback,
        jobs=jobs,
        fragment=fragment,
        tolerate=tolerate,
        spared=spared,
        out=out,
        scheduler=scheduler,
    )


def sized(observed: Observed, sizes: Mapping[str, tuple[int, int]]) -> Observed:
    """The hosts, some of them with cores and memory (MiB)."""
    hosts = []
    for host in observed.hosts:
        cpus, memory = sizes.get(host.name, (0, 0))
        hosts.append(replace(host, cpus=cpus, memory=memory * MIB))
    return Observed(tuple(hosts))


def placement_of(said: Mapping[str, Any]) -> Placement:
    """Constraints as Compose writes them, `spread` (keys) and `most` (replicas a host)."""
    constraints = []
    for text in said.get("constraints", ()):
        key, sign, value = text.split(" ")
        constraints.append(Constraint(key, sign == "==", value))
    return Placement(tuple(constraints), tuple(said.get("spread", ())), said.get("most", 0))


def deployed(stack: Stack, fleet: Fleet) -> Observed:
    """What a fleet reports once a stack has been deployed to it."""
    return applied(plan_of(stack, fleet, nothing_on(fleet)), nothing_on(fleet))


def applied(plan: Plan, observed: Observed) -> Observed:
    """What the fleet reports after the plan."""
    *_, (_, after) = [(None, observed), *walk(plan, observed)]
    return after


def walk(plan: Plan, observed: Observed) -> Iterator[tuple[Phase | None, Observed]]:
    """What the fleet reports after each step: start, switch, drain, removal, last switch and release."""
    for phase in plan.phases:
        if isinstance(phase, StartPhase):
            observed = _started(plan, phase, observed)
            yield phase, observed
            observed = _switched(plan, phase.backends, observed)
        elif isinstance(phase, ShiftPhase):
            observed = _switched(plan, phase.backends, observed)
        else:
            observed = _switched(plan, phase.backends, observed)
            yield phase, observed
            observed = _removed(plan, {(r.host, r.container) for r in phase.retires}, observed)
        yield phase, observed
    if not plan.empty:
        yield None, _released(plan, _switched(plan, plan.backends, observed))


def _released(plan: Plan, observed: Observed) -> Observed:
    release = Release(plan.app, plan.commit, "d1")
    hosts = {host.name for host in plan.fleet.hosts}
    return Observed(tuple(replace(h, releases=(release,)) if h.name in hosts else h for h in observed.hosts))


def _started(plan: Plan, phase: StartPhase, observed: Observed) -> Observed:
    for start in phase.starts:
        service = plan.stack.service(start.service)
        assert service is not None
        spec = service.container
        new = Container(
            id=f"id-{start.container}",
            name=start.container,
            host=start.host,
            app=plan.app,
            service=start.service,
            slot=start.slot,
            spec=spec.digest,
            commit=plan.commit,
            image=spec.image,
            state="exited" if service.job else "running",
            exit_code=0 if service.job else None,
            timeout_s=service.job.timeout_s if service.job else None,
            fence=bool(service.job and service.job.fence),
            reserved=spec.reserved,
            health="healthy" if spec.healthcheck else "none",
            ports=tuple(
                sorted([*start.ports, *((port, host_port) for host_port, port, _ in spec.host_ports)])
            ),
        )
        observed = with_container(observed, new, adopt=True)
    return observed


def with_container(observed: Observed, new: Container, *, adopt: bool = False) -> Observed:
    """The hosts with one more container, or with one that is there taken up again."""
    hosts = []
    for host in observed.hosts:
        if host.name != new.host:
            hosts.append(host)
            continue
        there = next((c for c in host.containers if c.name == new.name), None)
        if there is not None:
            assert adopt, f"name {new.name} is taken on {host.name}"
            assert (there.spec, there.slot) == (new.spec, new.slot)
            assert there.running or there.state in STARTABLE
            assert set(new.ports) <= set(there.ports)
            others = tuple(c for c in host.containers if c is not there)
            now = replace(there, health=new.health, state=new.state, exit_code=new.exit_code)
            hosts.append(replace(host, containers=(*others, now)))
            continue
        ports = [port for _, port in new.ports]
        assert len(set(ports)) == len(ports)
        assert not set(ports) & set(host.ports_used), f"a port is used twice on {host.name}"
        hosts.append(
            replace(
                host,
                containers=(*host.containers, new),
                ports_used=tuple(sorted([*host.ports_used, *ports])),
            )
        )
    return Observed(tuple(hosts))


def without(observed: Observed, names: Iterable[tuple[str, str]]) -> Observed:
    """The hosts without some containers, given as host and name."""
    gone = set(names)
    hosts = []
    for host in observed.hosts:
        leaving = [c for c in host.containers if (host.name, c.name) in gone]
        freed = {port for c in leaving for _, port in c.ports}
        hosts.append(
            replace(
                host,
                containers=tuple(c for c in host.containers if c not in leaving),
                ports_used=tuple(port for port in host.ports_used if port not in freed),
            )
        )
    return Observed(tuple(hosts))


def lost(observed: Observed, names: Iterable[str], why: str = "no route to host") -> Observed:
    """The hosts, of which some do not answer."""
    gone = set(names)
    return Observed(
        tuple(
            ObservedHost(host.name, reachable=False, error=why) if host.name in gone else host
            for host in observed.hosts
        )
    )


def returned(observed: Observed, before: Observed) -> Observed:
    """The hosts, with those that did not answer as they were before."""
    there = {host.name: host for host in before.hosts}
    return Observed(tuple(host if host.reachable else there[host.name] for host in observed.hosts))


def altered(observed: Observed, name: str, **fields: Any) -> Observed:
    """The hosts with some fields of the container of that name replaced."""
    return Observed(
        tuple(
            replace(
                host, containers=tuple(replace(c, **fields) if c.name == name else c for c in host.containers)
            )
            for host in observed.hosts
        )
    )


def _removed(plan: Plan, names: set[tuple[str, str]], observed: Observed) -> Observed:
    there = {(c.host, c.name) for c in observed.containers(plan.app)}
    assert names <= there, f"removes what is not there: {names - there}"
    return without(observed, names)


def _switched(plan: Plan, backends: tuple[Backend, ...] | None, observed: Observed) -> Observed:
    if backends is None:
        return observed
    running = {(c.name, port) for c in observed.containers(plan.app) if c.well for _, port in c.ports}
    absent = {absent.host.address for absent in plan.absent}  # what runs there nobody knows
    servers = []
    for backend in backends:
        for server in backend.servers:
            known = server.address in absent or (server.name, server.port) in running
            assert known, f"{server.name} would be served and does not run"
            name = backend_name(plan.app, backend.service, backend.target)
            weight = 1 if server.weight is None else server.weight
            address = f"{server.address}:{server.port}"
            servers.append(ProxyServer(name, server.name, address, "UP", weight=weight))
    balancers = {host.name for host in plan.fleet.load_balancers}
    text = fragment(plan.stack, None, backends) if any(s.served for s in plan.stack.services) else ""
    told = {"servers": tuple(servers), "fragments": ((plan.app, text),) if text else ()}
    return Observed(tuple(replace(h, **told) if h.name in balancers else h for h in observed.hosts))
