"""A host's fault is not the commit's: another port or host is tried, then the commit again, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import IPv4Network

import pytest
from support.labs import Lab
from support.load import Load
from support.shop import MakeShop, Shop

from gitops.lab.layout import Layout
from gitops.lab.state import load_whole

pytestmark = pytest.mark.lab

HOST = "h3"  # images are built on the first one, which therefore need not pull them

# It holds what is free of 20000 to 20009. At the last two it does not listen: so does a program that comes
# between the look and the start, whose port nobody can see and nobody can have.
HOLDER = """
use Socket; my @held;
for my $port (20000 .. 20009) {
    socket(my $socket, PF_INET, SOCK_STREAM, 0);
    bind($socket, sockaddr_in($port, INADDR_ANY)) or next;
    listen($socket, 5) if $port < 20008;
    push @held, $socket;
}
print "ready\\n"; close STDOUT; sleep 600;
"""


@contextmanager
def ports_held(lab: Lab, host: str) -> Iterator[None]:
    """A program of the host has the first ports of those that are allotted."""
    command = 'perl -e "$1" 2>/dev/null & echo $! >/run/holder.pid; wait'
    with lab.begin(host, "sh", "-c", command, "sh", HOLDER) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            lab.on(host, "sh", "-c", "kill $(cat /run/holder.pid)")


@contextmanager
def disk_full(lab: Lab, host: str) -> Iterator[None]:
    """Where the host's engine puts layers that it pulls there is no space."""
    place = "/var/lib/docker/tmp"
    lab.on(host, "sh", "-c", f"mount -t tmpfs -o size=16k none {place}; dd if=/dev/zero of={place}/full; :")
    try:
        yield
    finally:
        lab.on(host, "umount", place)


@contextmanager
def own_files_full(lab: Lab, host: str, app: str) -> Iterator[None]:
    """There is no space where the release file of an application is kept."""
    place = f"/var/lib/gitops/{app}"
    script = f"""
        cp -a {place} /run/before && mount -t tmpfs -o size=16k,mode=777 none {place}
        cp -a /run/before/. {place}; dd if=/dev/zero of={place}/full; rm -r /run/before
    """
    lab.on(host, "sh", "-c", script)
    try:
        yield
    finally:
        lab.on(host, "umount", place)


@contextmanager
def pool_exhausted(lab: Lab, host: str) -> Iterator[None]:
    """All addresses that the host's engine gives to networks are in use."""
    found = next(m for m in load_whole(Layout.of(lab.folder)).members if m.name == host)
    made: list[str] = []

    def take(block: IPv4Network) -> None:
        name = f"hog-{block.network_address}-{block.prefixlen}"
        if lab.on(host, "docker", "network", "create", "--subnet", str(block), name, check=False):
            made.append(name)
        elif block.prefixlen < 24:
            for half in block.subnets():
                take(half)

    try:
        take(IPv4Network(found.network_pool))
        yield
    finally:
        lab.on(host, "docker", "network", "rm", *made)


@contextmanager
def hanging(lab: Lab, host: str) -> Iterator[None]:
    """The host's engine answers nothing; its containers run on."""
    lab.on(host, "sh", "-c", "kill -STOP $(cat /run/docker.pid)")
    try:
        yield
    finally:
        lab.on(host, "sh", "-c", "kill -CONT $(cat /run/docker.pid)")


def pin(shop: Shop, host: str) -> None:
    """The replicas of web run on that host alone."""
    shop.compose["services"]["web"]["deploy"]["placement"] = {"constraints": [f"node.hostname == {host}"]}


def where(shop: Shop, image: str) -> set[str]:
    """The hosts that run web with that image."""
    return {
        name.split("/")[0]
        for name, rest in shop.containers().items()
        if f"{shop.name}-web-" in name and rest.endswith(f"Up {image}")
    }


def test_ports_that_a_program_of_the_host_holds_are_passed_by(make_shop: MakeShop) -> None:
    shop = make_shop("foreign", replicas=2, served=True)
    pin(shop, HOST)
    shop.deploy("1")
    with Load(shop.lab.address("e1"), host="foreign.test") as load, ports_held(shop.lab, HOST):
        shop.deploy("2")
        services = shop.read("status", "foreign")["services"]
    web = next(service for service in services if service["name"] == "web")
    assert min(replica["port"] for replica in web["replicas"]) > 20009
    told = [event.message for event in shop.records.events(shop.deployments()[0].id, kind="host-fault")]
    assert [text for text in told if "another port than 20008 is tried" in text], told
    assert not [text for text in told if "20000" in text], "what listens is seen before"
    assert shop.records.quarantined("foreign") == {}
    assert not load.report.failures, load.report


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (disk_full, "no space left on /var/lib/docker/tmp"),
        (pool_exhausted, "address pool"),
    ],
)
def test_a_host_that_can_start_nothing_is_done_without(
    make_shop: MakeShop, fault: Callable[[Lab, str], AbstractContextManager[None]], words: str
) -> None:
    name = fault.__name__.replace("_", "")
    shop = make_shop(name, replicas=1, served=True)
    del shop.compose["services"]["api"]
    pin(shop, "h2")
    shop.deploy("1")
    web = shop.compose["services"]["web"]
    web["deploy"]["placement"] = {"constraints": ["node.hostname != h2"]}
    web["image"] = shop.image(name)
    others = [host["name"] for host in shop.lab.data["hosts"] if host["name"] not in {"h2", HOST, "h4"}]
    web["deploy"]["placement"]["constraints"] += [f"node.hostname != {other}" for other in others]
    commit = shop.push("to h3 or h4")
    with Load(shop.lab.address("e1"), host=f"{name}.test") as load, fault(shop.lab, HOST):
        result = shop.sync()
    assert result["outcome"] == "succeeded", result
    assert where(shop, web["image"]) == {"h4"}
    told = [event.message for event in shop.records.events(shop.deployments()[0].id, kind="host-fault")]
    assert len(told) == 1
    assert words in told[0]
    assert f"{HOST}: no new containers there" in told[0]
    assert shop.records.good(name) == commit
    assert not load.report.failures, load.report


def test_a_commit_that_failed_for_its_host_is_deployed_by_itself_when_the_host_is_well(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("later", replicas=2)
    del shop.compose["services"]["api"]
    pin(shop, HOST)
    web = shop.compose["services"]["web"]
    good = shop.deploy("1")

    def converged(commit: str) -> bool:
        last = shop.deployments()[0]
        return (last.commit, last.outcome, last.degraded) == (commit, "succeeded", False)

    with Load(shop.lab.address("e1"), host="later.test") as load, shop.serving():
        web["image"] = shop.image("full")
        with disk_full(shop.lab, HOST):
            commit = shop.push("while the disk is full")
            ended = shop.ended(commit)
            assert ended["outcome"] == "rolled-back", ended
            assert "no space left on /var/lib/docker/tmp" in ended["reason"]
            assert "the host is at fault, not the commit" in ended["reason"]
            status = shop.read("status", "later")
            assert (status["commit"], status["health"], status["quarantined"]) == (good, "healthy", [])
            assert status["retry"]["commit"] == commit
            assert "no space left" in status["retry"]["reason"]
        shop.until(lambda: converged(commit), 120, "the commit, once there is space")
        assert shop.read("status", "later")["retry"] is None

        web["image"] = second = shop.image("2")
        commit = shop.push("while the engine hangs")
        shop.until(lambda: HOST in where(shop, second), 120, "the first new replica")
        with hanging(shop.lab, HOST):
            shop.until(
                lambda: any(d.commit == commit and d.outcome != "running" for d in shop.deployments()),
                180,
                "the end of the deployment",
            )
            first = next(d for d in reversed(shop.deployments()) if d.commit == commit)
            assert first.outcome == "rolled-back", first
            assert "the engine does not answer in time" in first.reason
            assert shop.records.quarantined("later") == {}
        shop.until(lambda: converged(commit), 180, "the commit, once the engine answers")

        web["image"] = shop.image("1")
        with own_files_full(shop.lab, HOST, "later"):
            commit = shop.push("while the release file cannot be written")
            ended = shop.ended(commit)
            assert ended["outcome"] == "rolled-back", ended
            assert "no space left on /var/lib/gitops/later (0 free of 16K)" in ended["reason"]
            assert shop.records.quarantined("later") == {}
        shop.gitops("retry", "later")
        shop.until(lambda: converged(commit), 120, "the commit, once there is space")
    assert not load.report.failures, load.report
    assert {"1", "full", "2"} <= set(load.report.answers)
