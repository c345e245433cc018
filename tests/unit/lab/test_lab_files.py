from __future__ import annotations

import json
import tomllib

import pytest

from gitops.lab.files import HostFile, Keys, Machine, host_files
from gitops.lab.layout import Shape

MEMBERS = Shape(docker=2, podman=1, edges=1).members(3)
MACHINE = Machine(
    passwd="root:x:0:0:root:/root:/bin/bash\nhaproxy:x:104:106::/var/lib/haproxy:/bin/false\n",
    group="root:x:0:\ndocker:x:107:alice\nhaproxy:x:106:\n",
    shadow="root:$y$secret:1:0:99999:7:::\nhaproxy:!:1::::::\n",
    open_files=1024,
    processes=500,
)
KEYS = Keys(authorized="ssh-ed25519 AAAA lab\n", host_private="PRIVATE", host_public="ssh-ed25519 BBBB h\n")


def files_of(name: str, machine: Machine = MACHINE) -> dict[str, HostFile]:
    member = next(member for member in MEMBERS if member.name == name)
    return {file.path: file for file in host_files(member, MEMBERS, "198.18.3.1:5000", machine, KEYS)}


def test_deploy_is_in_the_group_of_the_sockets_and_ops_is_not() -> None:
    assert "docker:x:107:alice,deploy" in files_of("h1")["group"].content.splitlines()
    assert "haproxy:x:106:deploy" in files_of("e1")["group"].content.splitlines()
    assert "docker:x:107:alice" in files_of("e1")["group"].content.splitlines()


def test_users_that_the_machine_has_by_chance_give_way() -> None:
    machine = Machine("deploy:x:0:0::/:/bin/sh\n", "haproxy:x:9:\n", "deploy:!:1::::::\n", 1024, 500)
    files = files_of("p1", machine)
    assert len(files["passwd"].content.splitlines()) == 2
    assert "deploy:x:15001:15001::/home/deploy:/bin/bash" in files["passwd"].content
    assert "docker:x:15000:deploy" in files["group"].content


def test_no_password_of_the_machine_reaches_a_host() -> None:
    shadow = files_of("h1")["shadow"]
    assert [line.split(":")[:2] for line in shadow.content.splitlines()] == [
        ["root", "*"],
        ["haproxy", "*"],
        ["deploy", "*"],
        ["ops", "*"],
    ]
    assert "secret" not in shadow.content
    assert shadow.mode == 0o640


def test_secret_files_are_closed() -> None:
    files = files_of("h1")
    assert files["ssh/ssh_host_ed25519_key"].mode == 0o600
    assert files["sudoers"].mode == 0o440


def test_every_engine_is_told_its_own_networks_and_the_registry() -> None:
    settings = [json.loads(files_of(name)["docker/daemon.json"].content) for name in ("h1", "h2")]
    assert settings[0]["insecure-registries"] == ["198.18.3.1/32"]
    assert settings[0]["bip"] != settings[1]["bip"]
    podman = tomllib.loads(files_of("p1")["containers/containers.conf"].content)
    assert podman["network"]["default_subnet"] == MEMBERS[2].bridge_subnet
    registries = tomllib.loads(files_of("p1")["containers/registries.conf"].content)
    assert registries["registry"] == [{"location": "198.18.3.1", "insecure": True}]


@pytest.mark.parametrize(("limit", "expected"), [(1024, "nofile=1024:1024"), (10**6, "nofile=20000:20000")])
def test_podman_asks_for_no_more_files_than_the_machine_allows(limit: int, expected: str) -> None:
    machine = Machine(MACHINE.passwd, MACHINE.group, MACHINE.shadow, limit, 500)
    conf = tomllib.loads(files_of("p1", machine)["containers/containers.conf"].content)
    assert conf["containers"]["default_ulimits"] == [expected, "nproc=500:500"]


def test_every_host_has_a_haproxy_that_deploy_may_change_and_the_edge_alone_listens() -> None:
    for name, listens in (("h1", False), ("p1", False), ("e1", True)):
        config = files_of(name)["haproxy/haproxy.cfg"]
        assert config.content.startswith("# managed by ansible-gitops\n")
        assert ("bind :80\n" in config.content) is listens
        assert (config.owner, config.group) == ("deploy", "haproxy")
