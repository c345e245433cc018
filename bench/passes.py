"""How a pass with nothing to do grows with the fleet: simulated engines, real SSH connections.

    python -m bench.passes [HOSTS...]

Every simulated host is a master connection of its own to a lab host, and an engine socket
of one process there. Ends with an error where 200 hosts take a second or 500 MB and more.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from support.labs import Lab, running_lab

from bench import ROOT, growth, machine, page
from bench.engines import APP, COMMIT, IMAGE, SERVICE, place
from gitops.channel import close_channels, open_channels, own_folder
from gitops.model.fleet import CONTAINER_HOSTS, Fleet, Host
from gitops.model.stack import ContainerSpec, Service, Stack
from gitops.observe.hosts import observe
from gitops.plan import make_plan

LAB_HOSTS = 3
SIZES = (10, 30, 100, 200, 300, 1000)
CONTAINERS = 10  # a host
PASSES = 5
SOCKETS = "srv"  # the folder on each lab host
LIMIT_HOSTS, LIMIT_S, LIMIT_MB = 200, 1.0, 500.0


@dataclass(frozen=True)
class Point:
    """What was measured with so many hosts.

    Attributes:
        hosts: how many.
        connect_s: until all of them were connected and seen for the first time.
        pass_s: median of a pass, observing and planning.
        plan_s: the planning in it.
        memory_mb: proportional memory of the controller and its SSH connections.
    """

    hosts: int
    connect_s: float
    pass_s: float
    plan_s: float
    memory_mb: float


def main(sizes: Sequence[int]) -> int:
    """Measures, prints, and writes the page after a whole run; 1 where it was too slow or too large."""
    with running_lab("passes", hosts=LAB_HOSTS, edges=1) as lab:
        points = [_told(measure(lab, hosts)) for hosts in sizes]
    if tuple(sizes) == SIZES:
        write(points)
    slow = [p for p in points if p.hosts == LIMIT_HOSTS and (p.pass_s >= LIMIT_S or p.memory_mb >= LIMIT_MB)]
    return int(bool(slow))


def measure(lab: Lab, hosts: int) -> Point:
    """One fleet, from its first connection on."""
    stack = Stack(APP, COMMIT, (Service(SERVICE, ContainerSpec(IMAGE), replicas=hosts * CONTAINERS),))
    digest = stack.services[0].container.digest
    folder = own_folder()
    with engines(lab, hosts, digest):
        fleet = simulated(lab, hosts)
        channels = open_channels(fleet.hosts, folder)
        try:
            began = time.perf_counter()
            observe(channels, fleet)
            connect_s = time.perf_counter() - began
            spent: list[tuple[float, float]] = []
            for _ in range(PASSES):
                began = time.perf_counter()
                observed = observe(channels, fleet)
                seen = time.perf_counter()
                plan = make_plan(stack, fleet, observed, previous=stack)
                ended = time.perf_counter()
                if not plan.empty:
                    raise RuntimeError(f"there was something to do: {plan.starts[:3]}")
                spent.append((ended - began, ended - seen))
            return Point(
                hosts,
                connect_s,
                statistics.median(whole for whole, _ in spent),
                statistics.median(planning for _, planning in spent),
                _memory_mb(folder),
            )
        finally:
            close_channels(channels.values(), folder)


@contextmanager
def engines(lab: Lab, hosts: int, digest: str) -> Iterator[None]:
    """The process with the engines of all hosts, whose sockets lie in the lab hosts' own file systems."""
    roots = [lab.folder / "hosts" / host["name"] / "root" for host in lab.data["hosts"]]
    folders = [str(root / SOCKETS) for root in roots]
    argv = [sys.executable, "-m", "bench.engines", str(hosts), str(CONTAINERS), digest, *folders]
    for root in roots:
        record = root / "var/lib/gitops" / APP / "release.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"app": APP, "commit": COMMIT, "deployment": "1"}))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the engines do not listen")
            yield
        finally:
            process.terminate()
            for root in roots:
                shutil.rmtree(root / "var/lib/gitops" / APP)


def simulated(lab: Lab, hosts: int) -> Fleet:
    """Hosts of that many names on the few that there are."""
    options = (
        f"-o UserKnownHostsFile={lab.data['known_hosts']} -o GlobalKnownHostsFile=/dev/null"
        " -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    )
    addresses = [str(host["address"]) for host in lab.data["hosts"]]

    def host(number: int) -> Host:
        address = addresses[number % len(addresses)]
        variables = {
            # By its own name: two hosts of one address would share one connection.
            "ansible_host": f"s{number:04}.simulated",
            "ansible_ssh_common_args": f"{options} -o HostName={address} -o HostKeyAlias={address}",
            "ansible_ssh_private_key_file": str(lab.data["ssh_key"]),
            "ansible_user": "deploy",
            "gitops_engine_socket": str(place(number, [Path("/", SOCKETS)])),
        }
        return Host(f"s{number:04}", address, (CONTAINER_HOSTS,), tuple(sorted(variables.items())))

    return Fleet(tuple(host(number) for number in range(1, hosts + 1)))


def _memory_mb(folder: Path) -> float:
    """Proportional memory of this process and of the SSH masters that have their sockets in the folder."""
    total = _pss(os.getpid())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            command = _command(entry)
            if command.startswith(b"ssh") and os.fsencode(folder) in command:
                total += _pss(int(entry.name))
    return total / 1024


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""  # it has ended


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _told(point: Point) -> Point:
    print(
        f"{point.hosts:5} hosts: first look {point.connect_s:.1f} s, pass {point.pass_s:.3f} s"
        f" (planning {point.plan_s:.3f} s), {point.memory_mb:.0f} MB",
        flush=True,
    )
    return point


def write(points: Sequence[Point]) -> None:
    """The page's section, its chart and the figures."""
    facts = {"containers a host": CONTAINERS, "points": [asdict(p) for p in points]}
    chart = growth.svg(
        "Seconds of a pass with nothing to do, by hosts",
        {
            "the whole pass": [(p.hosts, p.pass_s) for p in points],
            "planning in it": [(p.hosts, p.plan_s) for p in points],
        },
    )
    rows = [
        f"| {p.hosts} | {p.connect_s:.1f} | {p.pass_s:.3f} | {p.plan_s:.3f} | {p.memory_mb:.0f} |"
        for p in points
    ]
    text = "\n".join([
        "![Seconds of a pass by the number of hosts](performance-passes.svg)",
        "",
        f"Measured at commit `{machine.commit()}`, {CONTAINERS} containers a host.",
        "[All figures](performance-passes.json).",
        "",
        "| hosts | first look, s | pass, s | planning in it, s | memory, MB |",
        "|---|---|---|---|---|",
        *rows,
    ])  # fmt: skip
    page.write("passes", facts, text, chart=chart)


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or SIZES))
