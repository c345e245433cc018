"""The scheduler alone: how fast it places, how that grows with the fleet, and how well it packs.

    python -m bench.scheduler [HOSTS...]

No host is touched: fleets are made up. Each size is measured in a process of its own, for its memory.
Ends with an error where a limit is not met.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from bench import ROOT, growth, machine, packing, page
from gitops.collector import relax
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import Container, Observed, ObservedHost, ProxyServer, Release
from gitops.model.placement import PackStrategy, Scheduler
from gitops.model.plan import Plan
from gitops.model.size import Size
from gitops.model.stack import ContainerSpec, Service, Stack
from gitops.plan import make_plan
from gitops.plan.edge import backend_name

SIZES = (100, 300, 1_000, 3_000, 10_000)
REPLICAS = 10  # a host
SERVICES = 100
GIB = 1024**3
APP = "bench"
LEAST_PER_S, MOST_IDLE_S, MOST_MB, MOST_HOSTS = 20_000, 2.0, 1_000.0, 1.02


@dataclass(frozen=True)
class Point:
    """What was measured with so many hosts, in seconds of processor time.

    Attributes:
        hosts: how many.
        replicas: how many containers in all.
        spread_s: a plan that places all of them, with `spread`.
        binpack_s: the same with `binpack`.
        idle_s: a plan with nothing to do, once they run.
        memory_mb: the most that the process had.
    """

    hosts: int
    replicas: int
    spread_s: float
    binpack_s: float
    idle_s: float
    memory_mb: float

    @property
    def rates(self) -> tuple[float, float]:
        """Placements a second with `spread` and with `binpack`."""
        return self.replicas / self.spread_s, self.replicas / self.binpack_s


def main(sizes: Sequence[int]) -> int:
    """Measures, prints, and writes the page after a whole run; 1 where a limit is not met."""
    points = [_told(_apart(hosts)) for hosts in sizes]
    packed = packing.compare()
    ours, found = sum(each.ours for each in packed), sum(each.found for each in packed)
    print(f"{len(packed)} random fleets: {ours} hosts used, {found} by OR-tools: {ours / found:.4f}")
    if tuple(sizes) == SIZES:
        write(points, packed)
    last = points[-1]
    slow = min(last.rates) < LEAST_PER_S or last.idle_s > MOST_IDLE_S or last.memory_mb > MOST_MB
    return int(slow or ours > MOST_HOSTS * found)


def measure(hosts: int) -> Point:
    """One size of fleet."""
    relax()
    fleet, stack, empty = _fleet(hosts), _stack(hosts), _empty(hosts)
    spent: dict[PackStrategy, float] = {}
    plan: Plan | None = None
    strategies: tuple[PackStrategy, ...] = ("binpack", "spread")
    for strategy in strategies:
        scheduler = Scheduler(strategy)
        plan = None  # memory is that of one plan, beside what is observed
        spent[strategy], plan = _timed(
            partial(make_plan, stack, fleet, empty, previous=None, scheduler=scheduler)
        )
    if plan is None or len(plan.starts) != hosts * REPLICAS:
        raise RuntimeError("not all were placed")
    running = _running(plan, empty)
    plan = None
    idle_s, again = _timed(partial(make_plan, stack, fleet, running, previous=stack))
    if not again.empty:
        raise RuntimeError(f"there was something to do: {again.starts[:3]}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Point(hosts, hosts * REPLICAS, spent["spread"], spent["binpack"], idle_s, memory)


def _timed(make: Callable[[], Plan]) -> tuple[float, Plan]:
    began = time.process_time()
    plan = make()
    return time.process_time() - began, plan


def _fleet(hosts: int) -> Fleet:
    found = [
        Host(f"h{n:05}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", (CONTAINER_HOSTS,)) for n in range(hosts)
    ]
    return Fleet((*found, Host("lb1", "10.255.0.1", (LOAD_BALANCERS,))))


def _stack(hosts: int) -> Stack:
    """A hundred services, served at the edge, of twenty sizes: somewhat less than half of the fleet."""
    services = tuple(
        Service(
            f"s{n:03}",
            ContainerSpec(
                f"image{n}:1", reserved=Size(250 * (1 + n % 5), GIB * (1 + n % 4)), target_ports=(80,)
            ),
            replicas=hosts * REPLICAS // SERVICES,
        )
        for n in range(SERVICES)
    )
    return Stack(APP, "c" * 40, services)


def _empty(hosts: int) -> Observed:
    names = [*(f"h{n:05}" for n in range(hosts)), "lb1"]
    return Observed(
        tuple(
            ObservedHost(name, reachable=True, engine="docker 28.0", cpus=16, memory=64 * GIB)
            for name in names
        )
    )


def _running(plan: Plan, empty: Observed) -> Observed:
    """What the hosts report once the plan has been carried out."""
    there: dict[str, list[Container]] = {}
    for start in plan.starts:
        service = plan.stack.service(start.service)
        if service is None:
            raise KeyError(start.service)
        spec = service.container
        there.setdefault(start.host, []).append(
            Container(
                id=start.container,
                name=start.container,
                host=start.host,
                app=APP,
                service=start.service,
                slot=start.slot,
                spec=spec.digest,
                commit=plan.commit,
                image=spec.image,
                state="running",
                ports=start.ports,
                reserved=spec.reserved,
            )
        )
    servers = tuple(
        ProxyServer(backend_name(APP, b.service, b.target), s.name, f"{s.address}:{s.port}", "UP")
        for b in plan.backends
        for s in b.servers
    )
    hosts = [
        replace(
            host,
            containers=tuple(there.get(host.name, ())),
            ports_used=tuple(sorted(p for c in there.get(host.name, ()) for _, p in c.ports)),
            servers=servers if host.name == "lb1" else (),
            releases=(Release(APP, plan.commit, "1"),),
        )
        for host in empty.hosts
    ]
    return Observed(tuple(hosts))


def _apart(hosts: int) -> Point:
    """Measured in a process of its own."""
    argv = [sys.executable, "-m", "bench.scheduler", "--point", str(hosts)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    return Point(**json.loads(done.stdout))


def _told(point: Point) -> Point:
    spread, binpack = point.rates
    print(
        f"{point.hosts:6} hosts: {spread:,.0f} placements a second with spread, {binpack:,.0f} with binpack;"
        f" nothing to do: {point.idle_s:.2f} s; {point.memory_mb:.0f} MB",
        flush=True,
    )
    return point


def write(points: Sequence[Point], packed: Sequence[packing.Packed]) -> None:
    """The page's section, its chart and the figures."""
    facts = {
        "points": [asdict(point) for point in points],
        "packing": [asdict(each) for each in packed],
    }
    chart = growth.svg(
        "Placements a second, by hosts",
        {
            "spread": [(point.hosts, point.rates[0]) for point in points],
            "binpack": [(point.hosts, point.rates[1]) for point in points],
        },
    )
    page.write("scheduler", facts, section(points, packed, machine.commit()), chart=chart)


def section(points: Sequence[Point], packed: Sequence[packing.Packed], commit: str) -> str:
    """What the page says of them."""
    ours, found = sum(each.ours for each in packed), sum(each.found for each in packed)
    proven = sum(each.bound for each in packed)
    worse = sum(each.ours > each.found for each in packed)
    how_well = (
        f"**Packing.** {len(packed)} random fleets: {ours} hosts used, {found} in the best ways that OR-tools"
        f" found ({100 * (ours / found - 1):.1f}% more); fewer than {proven} are proven impossible."
        f" In {worse} of the fleets OR-tools found a better way."
    )
    rows = [
        f"| {p.hosts:,} | {p.replicas:,} | {p.rates[0]:,.0f} | {p.rates[1]:,.0f} | {p.idle_s:.2f}"
        f" | {p.memory_mb:.0f} |"
        for p in points
    ]
    return "\n".join([
        "![Placements a second by the number of hosts](performance-scheduler.svg)",
        "",
        f"Measured at commit `{commit}`. [All figures](performance-scheduler.json).",
        "",
        "| hosts | replicas | spread, placements/s | binpack, placements/s | nothing to do, s | memory, MB |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        how_well,
    ])  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--point"]:
        print(json.dumps(asdict(measure(int(sys.argv[2])))))
        sys.exit()
    sys.exit(main([int(word) for word in sys.argv[1:]] or SIZES))
