"""Random fleets, filled by the scheduler and, as well as it can, by OR-tools."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass

from bench import FOLDER, ROOT
from gitops.model.fleet import CONTAINER_HOSTS, Fleet, Host
from gitops.model.observed import Observed, ObservedHost
from gitops.model.placement import Scheduler
from gitops.model.size import Size
from gitops.model.stack import ContainerSpec, Service, Stack
from gitops.plan import make_plan

FLEETS = 24
HOSTS = 80
SERVICES = 50
CPUS, MEMORY = 125, 128 * 1024**2  # units: thousandths of a core, bytes
KINDS = ((32, 128), (64, 256), (128, 512), (128, 256))  # of hosts, in units: 4 cores and 16 GiB ...
MOST_CPUS, MOST_MEMORY, MOST_REPLICAS = 16, 64, 8  # of a container, in units
SOLVER = ROOT / ".venv" / "ortools" / "bin" / "python"


@dataclass(frozen=True)
class Instance:
    """One fleet to fill: sizes in units."""

    hosts: tuple[tuple[int, int], ...]
    containers: tuple[tuple[int, int, int], ...]  # cores, memory, replicas


@dataclass(frozen=True)
class Packed:
    """How many hosts were used."""

    ours: int
    found: int  # by OR-tools, at most as many as ours
    bound: int  # fewer are impossible


def instance(seed: int) -> Instance:
    """A random fleet: of one kind of host where the seed is odd, else of several."""
    chance = random.Random(seed)  # noqa: S311 - the same fleets at every run
    kinds = [chance.choice(KINDS)] if seed % 2 else KINDS
    hosts = tuple(chance.choice(kinds) for _ in range(HOSTS))
    containers = tuple(
        (
            chance.randint(1, MOST_CPUS),
            chance.randint(1, MOST_MEMORY),
            chance.randint(1, MOST_REPLICAS),
        )
        for _ in range(SERVICES)
    )
    return Instance(hosts, containers)


def used(fleet: Instance) -> int:
    """How many hosts the scheduler uses with `binpack`."""
    names = [f"h{number:03}" for number in range(len(fleet.hosts))]
    hosts = tuple(Host(name, name, (CONTAINER_HOSTS,)) for name in names)
    observed = tuple(
        ObservedHost(name, reachable=True, engine="docker", cpus=cpus * CPUS // 1000, memory=memory * MEMORY)
        for name, (cpus, memory) in zip(names, fleet.hosts, strict=True)
    )
    services = tuple(
        Service(
            f"s{number:02}",
            ContainerSpec("image", reserved=Size(cpus * CPUS, memory * MEMORY)),
            replicas=replicas,
        )
        for number, (cpus, memory, replicas) in enumerate(fleet.containers)
    )
    plan = make_plan(
        Stack("bench", "c" * 40, services),
        Fleet(hosts),
        Observed(observed),
        previous=None,
        scheduler=Scheduler("binpack"),
    )
    return len({start.host for start in plan.starts})


def compare(number: int = FLEETS) -> list[Packed]:
    """So many fleets, filled by both."""
    fleets = [instance(seed) for seed in range(number)]
    ours = [used(fleet) for fleet in fleets]
    asked = [
        {"hosts": fleet.hosts, "containers": fleet.containers, "known": known}
        for fleet, known in zip(fleets, ours, strict=True)
    ]
    argv = [str(SOLVER), str(FOLDER / "solver.py")]
    done = subprocess.run(argv, input=json.dumps(asked), capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    return [Packed(known, each["found"], each["bound"]) for known, each in zip(ours, told, strict=True)]
