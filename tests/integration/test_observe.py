"""Observation of a real fleet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.controllers import Machine, machine, opened
from support.labs import Lab

from gitops.channel import Channel
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.observed import (
    LABEL_APP,
    LABEL_COMMIT,
    LABEL_SERVICE,
    LABEL_SLOT,
    LABEL_SPEC,
    Observed,
    Release,
)
from gitops.observe.hosts import observe

pytestmark = pytest.mark.lab

NAMES = ("h1", "p1", "e1")
CHECK = {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "Retries": 1}


@pytest.fixture
def channels(lab: Lab) -> Iterator[Mapping[str, Channel]]:
    with opened(*(machine(lab, name, ansible_timeout=2) for name in NAMES)) as found:
        yield found
        for channel in found.values():
            channel.run("rm -rf /var/lib/gitops/observed")
            if channel.facts.engine.path:
                engine = channel.engine()
                for container in engine.containers({"label": [f"{LABEL_APP}=observed"]}):
                    engine.remove(container["Id"], force=True)


@pytest.fixture
def fleet(lab: Lab) -> Fleet:
    def host(name: str) -> Host:
        groups = (LOAD_BALANCERS,) if name == "e1" else (CONTAINER_HOSTS,)
        variables: Machine = machine(lab, name)
        return Host(name, lab.address(name), groups, variables.variables)

    return Fleet(tuple(host(name) for name in sorted(NAMES)))


@pytest.fixture(scope="module")
def image(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text('FROM busybox\nCMD ["sleep", "300"]\n')
    return lab.run("image", "observed:1", str(folder)).splitlines()[-1]


@pytest.mark.parametrize("name", ["h1", "p1"])
def test_containers_with_ports_health_and_exit_code(
    channels: Mapping[str, Channel], fleet: Fleet, image: str, name: str
) -> None:
    _start(channels[name], image, slot=1, port=21001, check=True)
    _start(channels[name], image, slot=2, port=21002, command=["sh", "-c", "exit 5"])
    observed = _until(
        channels,
        fleet,
        lambda seen: (
            [(c.state, c.health) for c in seen.containers("observed")]
            == [("running", "healthy"), ("exited", "none")]
        ),
    )
    running, ended = observed.containers("observed")
    assert (running.host, running.service, running.slot, running.ports) == (name, "web", 1, ((80, 21001),))
    assert (running.spec, running.commit, running.image) == ("abc", "c0ffee", image)
    assert (ended.exit_code, ended.ports) == (5, ((80, 21002),))
    host = observed.host(name)
    assert host is not None
    assert {21001, 21002} <= set(host.ports_used)


def test_what_each_host_is(channels: Mapping[str, Channel], fleet: Fleet) -> None:
    observed = observe(channels, fleet)
    assert [host.name for host in observed.hosts] == sorted(NAMES)
    assert all(host.reachable and host.cpus and host.memory and host.architecture for host in observed.hosts)
    assert [host.engine.split()[0] if host.engine else "" for host in observed.hosts] == [
        "",
        "docker",
        "podman",
    ]


def test_release_files_and_fragments(channels: Mapping[str, Channel], fleet: Fleet) -> None:
    release = b'{"app": "observed", "commit": "c0ffee", "deployment": "d1"}'
    for channel in channels.values():
        channel.write("/var/lib/gitops/observed/release.json", release)
    channels["e1"].write("/var/lib/gitops/observed/haproxy.cfg", b"# a fragment\n")
    observed = observe(channels, fleet)
    assert all(Release("observed", "c0ffee", "d1") in host.releases for host in observed.hosts)
    edge = observed.host("e1")
    assert edge is not None
    assert ("observed", "# a fragment\n") in edge.fragments


def test_the_servers_of_haproxy(channels: Mapping[str, Channel], fleet: Fleet) -> None:
    path = Path("/etc/haproxy/haproxy.cfg")
    edge = channels["e1"]
    before = edge.read(str(path))
    assert before is not None
    edge.write(str(path), before + b"\nbackend observed.web.80\n  server one 198.18.0.9:20000 disabled\n")
    edge.proxy().reload()
    try:
        seen = observe(channels, fleet).host("e1")
        assert seen is not None
        (server,) = [server for server in seen.servers if server.backend == "observed.web.80"]
        assert (server.name, server.address, server.status) == ("one", "198.18.0.9:20000", "MAINT")
    finally:
        edge.write(str(path), before)
        edge.proxy().reload()


def test_a_host_that_is_cut_is_told_and_comes_back(
    lab: Lab, channels: Mapping[str, Channel], fleet: Fleet
) -> None:
    assert all(host.reachable for host in observe(channels, fleet).hosts)
    lab.run("cut", "h1")
    try:
        observed = observe(channels, fleet)
        assert [host.name for host in observed.hosts if not host.reachable] == ["h1"]
        assert observed.hosts[1].error
    finally:
        lab.run("mend", "h1")
    _until(channels, fleet, lambda seen: all(host.reachable for host in seen.hosts))


def test_a_host_that_was_powered_off_comes_back(
    lab: Lab, channels: Mapping[str, Channel], fleet: Fleet
) -> None:
    assert all(host.reachable for host in observe(channels, fleet).hosts)
    lab.run("stop", "h1")
    try:
        assert [host.name for host in observe(channels, fleet).hosts if not host.reachable] == ["h1"]
    finally:
        lab.run("start", "h1")
    _until(channels, fleet, lambda seen: all(host.reachable for host in seen.hosts))


def _start(
    channel: Channel,
    image: str,
    *,
    slot: int,
    port: int,
    check: bool = False,
    command: list[str] | None = None,
) -> None:
    engine = channel.engine()
    engine.pull(image)
    labels = {
        LABEL_APP: "observed",
        LABEL_SERVICE: "web",
        LABEL_SLOT: str(slot),
        LABEL_SPEC: "abc",
        LABEL_COMMIT: "c0ffee",
    }
    body = {
        "Image": image,
        "Labels": labels,
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}, "Init": True},
        **({"Healthcheck": CHECK} if check else {}),
        **({"Cmd": command} if command else {}),
    }
    engine.create(f"observed-web-{slot}", body)
    engine.start(f"observed-web-{slot}")


def _until(channels: Mapping[str, Channel], fleet: Fleet, true: object, seconds: float = 40) -> Observed:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true(seen := observe(channels, fleet)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen
