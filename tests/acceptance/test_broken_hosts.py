"""A host that doctor finds well can do a rollout and its way back; any other is refused before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.broken import Setup, applied, of_shell, of_sshd
from support.labs import Lab
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop

from gitops.checkup.doctor import examine

pytestmark = pytest.mark.lab

STATE = "/var/lib/gitops"
# Shared by all broken setups: one deployment, and after each of them it still serves.
BROKEN = [
    Setup(
        "a state folder without the right to write", "h1",
        f"chmod 0555 {STATE}", f"chmod 0755 {STATE}",
        "state folder", (STATE, "Permission denied"),
    ),
    Setup(
        "files of another user", "h1",
        f"chown -R root: {STATE}/setup", f"chown -R deploy: {STATE}/setup",
        "state folder", (f"{STATE}/setup/: Permission denied",),
    ),
    Setup(
        "a full disk", "h1",
        f"mount -t tmpfs -o size=4k,mode=0777 none {STATE}", f"umount {STATE}",
        "state folder", (STATE, "No space left on device"),
    ),
    Setup(
        "a full disk at the load balancer", "e1",
        "mkdir /tmp/kept; cp -a /etc/haproxy/. /tmp/kept;"
        " mount -t tmpfs -o size=16k,mode=0777 none /etc/haproxy; cp -a /tmp/kept/. /etc/haproxy",
        "umount /etc/haproxy; rm -r /tmp/kept",
        "haproxy.cfg", ("/etc/haproxy", "No space left on device"),
    ),
    Setup(
        "no tar", "h2",
        "touch /tmp/none; mount --bind /tmp/none /usr/bin/tar", "umount /usr/bin/tar",
        "programs", ("tar",),
    ),
    of_sshd("h1", "MaxSessions 1", "sessions", "sshd", "session"),
    of_sshd("h2", "AllowStreamLocalForwarding no", "engine", "AllowStreamLocalForwarding no"),
    of_sshd("e1", "AllowTcpForwarding no", "haproxy", "AllowTcpForwarding no"),
    of_shell("h1", "an account that is closed", "echo This account is currently not available.; exit 1",
             "login shell", "This account is currently not available."),
    of_shell("h1", "a login shell that prints without end", "exec yes",
             "login shell", "more than 1 MiB"),
    replace(
        of_shell("h2", "a login shell that hangs", "exec sleep 600", "login shell", "runs no command within"),
        slow=True,
    ),
]  # fmt: skip

NOISE = (
    "echo hello; echo oops >&2; head -c 200000 /dev/urandom; printf 'no end of a line'; printf 'nor here' >&2"
)


def faults(inventory: Path | str) -> dict[tuple[str, str], dict[str, Any]]:
    view = examine(None, Path(inventory))
    return {(check["host"], check["check"]): check for check in view["checks"] if not check["ok"]}


def test_what_would_break_a_rollout_is_named_and_refused_before_a_container_is_touched(
    lab: Lab, make_shop: MakeShop
) -> None:
    shop = make_shop("setup", replicas=2)
    shop.deploy("1")
    shop.compose["services"]["web"]["image"] = shop.image("2")
    shop.push("version 2")
    before = shop.containers()
    with Load(lab.address("e1"), host="setup.test", clients=1, pause_s=0.1) as load:
        for setup in BROKEN:
            with applied(lab, setup):
                found = faults(lab.data["inventory"])
                done = shop.gitops("sync", shop.name)
                planned = shop.gitops("plan", shop.name) if "Forwarding" in setup.name else done
            named = found.get((setup.host, setup.check))
            assert named is not None, (setup.name, found)
            assert {host for host, _ in found} == {setup.host}, (setup.name, found)
            assert named["fix"], setup.name
            for word in setup.cause:
                assert word in named["message"], (setup.name, named)
                said = done.stderr + done.stdout
                assert word in said or (setup.slow and "no answer within" in said), (setup.name, said)
                assert planned is done or word in planned.stderr + planned.stdout, (setup.name, planned)
            assert done.returncode == 1, (setup.name, done.stdout, done.stderr)
            assert shop.containers() == before, setup.name
    assert not load.report.failures, load.report
    assert list(load.report.answers) == ["1"]
    assert len(shop.history()) == 1
    assert shop.read("status", shop.name)["quarantined"] == []
    assert faults(lab.data["inventory"]) == {}
    assert shop.sync()["outcome"] == "succeeded"


def inventory_of_ops(lab: Lab, folder: Path) -> Path:
    """The lab's inventory for a user who may open no socket and write no folder without sudo."""
    place = folder / "inventory"
    shutil.copytree(lab.data["inventory"], place)
    variables = place / "group_vars" / "all.yml"
    text = variables.read_text().replace("ansible_user: deploy", "ansible_user: ops")
    variables.write_text(text + "ansible_become: true\n")
    return place


def test_a_user_who_may_not_open_the_engines_socket_needs_eight_sessions(
    lab: Lab, make_shop: MakeShop, tmp_path: Path
) -> None:
    place = inventory_of_ops(lab, tmp_path)
    hosts = [member["name"] for member in [*lab.data["hosts"], *lab.data["edges"]]]
    with applied(lab, of_sshd("h1", "MaxSessions 7", "")):
        assert list(faults(place)) == [("h1", "sessions")]
        assert "allows 7 sessions on a connection, 8 are needed" in faults(place)["h1", "sessions"]["message"]
    with applied(lab, *(of_sshd(host, "MaxSessions 8", "") for host in hosts)):
        assert faults(place) == {}
        there_and_back(make_shop("eight", served=True, replicas=8, inventory=str(place)))


def test_two_sessions_and_a_login_shell_that_prints_are_enough(lab: Lab, make_shop: MakeShop) -> None:
    hosts = [member["name"] for member in [*lab.data["hosts"], *lab.data["edges"]]]
    setups = [of_sshd(host, "MaxSessions 2", "") for host in hosts]
    setups += [of_shell(host, "noise", NOISE) for host in hosts]
    with applied(lab, *setups):
        assert faults(lab.data["inventory"]) == {}
        there_and_back(make_shop("two", served=True, replicas=2))
        assert faults(lab.data["inventory"]) == {}


def there_and_back(shop: Shop) -> None:
    """A deployment, one that fails, another one and its way back, and what else asks the hosts."""
    shop.deploy("1")
    web = shop.compose["services"]["web"]
    healthy = web["healthcheck"]
    web["healthcheck"] = {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2}
    shop.push("never healthy")
    assert shop.sync()["outcome"] == "rolled-back"
    web["healthcheck"] = healthy
    shop.deploy("2")
    done = shop.gitops("rollback", shop.name)
    assert done.returncode == 0, done.stderr
    assert shop.read("status", shop.name)["health"] == "healthy"
    assert "cannot be read" not in shop.gitops("logs", shop.name).stdout
