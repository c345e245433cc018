"""What operators touch, on real hosts: doctor and the commands it gives, logs of many containers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.labs import Lab, running_lab

from gitops.channel import Channel, close_channels, open_channels
from gitops.checkup.bootstrap import inventories_of
from gitops.checkup.doctor import examine
from gitops.desired import inventory
from gitops.logs import container_logs
from gitops.model.observed import Container
from gitops.observe.hosts import observe
from gitops.scaffold import write_application

pytestmark = pytest.mark.lab

DEADLINE_S = 30.0
ENDS = "trap 'exit 0' TERM; "
COUNTS = ENDS + "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Lab]:
    """A lab of its own: these tests break hosts."""
    with running_lab("tools", hosts=2, podman=1, edges=1) as lab:
        yield lab


def gitops(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gitops.cli", *arguments],
        check=False, capture_output=True, text=True, timeout=120, cwd=folder, env={**os.environ, **variables},
    )  # fmt: skip


def doctor(place: Path | str) -> dict[str, Any]:
    return examine(None, Path(place))


def faults(view: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(check["host"], check["check"]): check for check in view["checks"] if not check["ok"]}


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.05)


def copied_inventory(fleet: Lab, folder: Path, change: Callable[[str], str]) -> Path:
    """The lab's inventory with other variables for all hosts."""
    place = folder / "inventory"
    shutil.copytree(fleet.data["inventory"], place)
    variables = place / "group_vars" / "all.yml"
    variables.write_text(change(variables.read_text()))
    return place


@contextmanager
def engine_stopped(fleet: Lab, host: str) -> Iterator[None]:
    """Stops the engine, and whoever would start it again, for the time of the block."""
    pid = fleet.on(host, "cat", "/run/docker.pid")
    parent = fleet.on(host, "sh", "-c", f"set -- $(cat /proc/{pid}/stat); echo $4")
    fleet.on(host, "kill", "-STOP", parent)
    try:
        fleet.on(host, "kill", pid)
        until(
            lambda: "no" in fleet.on(host, "sh", "-c", "test -S /run/docker.sock || echo no"),
            "the engine's end",
        )
        yield
    finally:
        fleet.on(host, "kill", "-CONT", parent)
        until(
            lambda: "yes" in fleet.on(host, "sh", "-c", "docker info >&2 && echo yes", check=False),
            "the engine",
        )


def test_doctor_finds_a_healthy_fleet_healthy(fleet: Lab) -> None:
    done = gitops("doctor", "--inventory", fleet.data["inventory"], "-o", "json", folder=Path("/"))
    assert (done.returncode, done.stderr) == (0, "")
    view = json.loads(done.stdout)
    assert view["ok"]
    assert faults(view) == {}
    found = {(check["host"], check["check"]): check["message"] for check in view["checks"]}
    assert found["h1", "engine"].startswith("docker 20.10")
    assert found["p1", "engine"].startswith("podman 4.")
    assert found["e1", "haproxy"].startswith("2.6")
    assert found["e1", "haproxy master"] == "answers at /run/haproxy-master.sock"
    assert found["h1", "lock"] == "free"
    assert ("e1", "engine") not in found
    assert {"python", "ssh", "git", "ansible-playbook"} <= {
        check for host, check in found if host == "controller"
    }


def test_doctor_tells_who_holds_a_lock(fleet: Lab, tmp_path: Path) -> None:
    hosts = inventory.load(Path(fleet.data["inventory"]), trusted=True).hosts
    channels = open_channels(hosts, tmp_path)
    try:
        lock = channels["h1"].lock("a test")
        view = doctor(fleet.data["inventory"])
        message = next(c["message"] for c in view["checks"] if (c["host"], c["check"]) == ("h1", "lock"))
        assert message.startswith(f"held by a test (process {os.getpid()} on ")
        assert view["ok"]
        assert not lock.lost()
        lock.release()
    finally:
        close_channels(channels.values(), tmp_path)


def test_doctor_finds_a_stopped_engine(fleet: Lab) -> None:
    with engine_stopped(fleet, "h2"):
        found = faults(doctor(fleet.data["inventory"]))
        assert list(found) == [("h2", "engine")]
        assert found["h2", "engine"]["fix"] == "sudo systemctl enable --now docker"
        assert found["h2", "engine"]["fix_on"] == "h2"
    assert doctor(fleet.data["inventory"])["ok"]


def test_doctor_finds_missing_rights_and_its_commands_mend_them(fleet: Lab, tmp_path: Path) -> None:
    place = copied_inventory(fleet, tmp_path, lambda text: text.replace("deploy", "ops"))
    found = faults(doctor(place))
    # `ops` may not even look into the folder of Podman's socket, so there that is all that can be said.
    assert set(found) == {
        *((host, check) for host in ("h1", "h2", "p1") for check in ("engine", "state folder")),
        *(("e1", check) for check in ("state folder", "haproxy", "haproxy master", "haproxy.cfg")),
    }
    assert found["h1", "engine"]["fix"] == "sudo usermod -aG docker ops"
    mended = {"h1": ["/var/lib/gitops"], "e1": ["/var/lib/gitops", "/etc/haproxy"]}
    before = {
        host: fleet.on(host, "stat", "-c", "chown %U:%G %n; chmod %a %n", *paths)
        for host, paths in mended.items()
    }
    try:
        for host in mended:
            fixes = [check["fix"] for check in found.values() if check["fix_on"] == host]
            fleet.on(host, "sh", "-c", "; ".join(fixes))
        assert {host for host, _ in faults(doctor(place))} == {"h2", "p1"}
    finally:
        for host, group in (("h1", "docker"), ("e1", "haproxy")):
            fleet.on(host, "sh", "-c", f"{before[host]}\ngpasswd -d ops {group}")
    assert doctor(fleet.data["inventory"])["ok"]


def test_doctor_finds_all_well_where_sudo_opens_the_way(fleet: Lab, tmp_path: Path) -> None:
    place = copied_inventory(
        fleet, tmp_path, lambda text: text.replace("deploy", "ops") + "ansible_become: true\n"
    )
    assert faults(doctor(place)) == {}


def test_doctor_never_accepts_another_host_key_and_says_what_to_do(fleet: Lab, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    lines = Path(fleet.data["known_hosts"]).read_text().splitlines()
    keys = {line.split()[0].split(",")[0]: line for line in lines}
    one, two = (fleet.address(host) for host in ("h1", "h2"))
    swapped = keys[one].split()[0] + " " + keys[two].split(maxsplit=1)[1]
    known.write_text("\n".join(swapped if line == keys[one] else line for line in lines) + "\n")
    place = copied_inventory(
        fleet, tmp_path, lambda text: text.replace(fleet.data["known_hosts"], str(known))
    )
    found = faults(doctor(place))
    assert list(found) == [("h1", "host key")]
    assert found["h1", "host key"]["fix_on"] == "controller"
    assert known.read_text().count(swapped) == 1
    subprocess.run(["sh", "-c", found["h1", "host key"]["fix"]], check=True, capture_output=True, timeout=60)
    assert faults(doctor(place)) == {}


def test_doctor_tells_of_a_host_that_does_not_answer(fleet: Lab, tmp_path: Path) -> None:
    """A port where nobody listens: the answer is quick, and the other hosts are examined all the same."""
    place = copied_inventory(fleet, tmp_path, lambda text: text)
    (place / "host_vars" / "h1.yml").write_text(f"ansible_host: {fleet.address('h1')}\nansible_port: 2\n")
    found = faults(doctor(place))
    assert list(found) == [("h1", "connection")]
    assert "refused" in found["h1", "connection"]["message"]
    assert found["h1", "connection"]["fix"] == f"ssh -v -p 2 deploy@{fleet.address('h1')} true"


def test_doctor_without_a_configuration_says_so(tmp_path: Path) -> None:
    done = gitops("doctor", folder=tmp_path, GITOPS_CONFIG=str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert "FAIL  configuration" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("content", "check", "told"),
    [
        ("apps: {shop: 1}\n", "configuration", "expected a mapping"),
        ("store: sqlite:///torn.db\napps: {}\n", "store", "is damaged"),
    ],
)
def test_doctor_finds_what_is_wrong_with_the_controllers_own_files(
    tmp_path: Path, content: str, check: str, told: str
) -> None:
    (tmp_path / "gitops.yaml").write_text(content)
    (tmp_path / "torn.db").write_bytes(b"not a database" * 1000)
    found = faults(examine(tmp_path / "gitops.yaml", None))
    assert list(found) == [("controller", check)]
    assert told in found["controller", check]["message"]
    assert found["controller", check]["fix"]


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A repository with what `gitops init` writes, and a store of its own."""
    folder = tmp_path / "hello"
    write_application(folder)
    settings = folder / "gitops.yaml"
    settings.write_text(f"store: sqlite:///{tmp_path}/state/gitops.db\n" + settings.read_text())
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.test")
    for words in (("init", "-q", "-b", "main"), ("add", "--all"), (*identity, "commit", "-q", "-m", "files")):
        subprocess.run(["git", *words], check=True, cwd=folder, timeout=60)


def test_bootstrap_gets_an_inventory_of_the_repository_as_plain_text(hello: Path, tmp_path: Path) -> None:
    hosts = hello / "inventory" / "hosts.yml"
    hosts.write_text(
        hosts.read_text() + '    gitops_note: "{{ ansible_user }} of {{ inventory_hostname }}"\n'
    )
    commit(hello)
    (copy,) = inventories_of(hello / "gitops.yaml")
    assert copy == tmp_path / "state" / "inventories" / "hello" / "inventory"
    assert (
        'gitops_note: !unsafe "deploy of h1.example.com"'
        in (copy / "host_vars" / "h1.example.com.yml").read_text()
    )
    assert inventory.load(copy, trusted=True) == inventory.load(hello / "inventory", trusted=False)


def test_bootstrap_refuses_an_inventory_of_the_repository_that_would_run_something_here(hello: Path) -> None:
    hosts = hello / "inventory" / "hosts.yml"
    proof = hello / "proof"
    hosts.write_text(hosts.read_text() + f"    gitops_note: \"{{{{ lookup('pipe', 'touch {proof}') }}}}\"\n")
    commit(hello)
    done = gitops("bootstrap", "--check", folder=hello)
    assert done.returncode == 1
    assert "a template may only name a variable" in done.stderr
    assert not proof.exists()


def test_bootstrap_that_does_not_reach_a_host_fails(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[container_hosts]\nnobody ansible_host=127.0.0.1 ansible_port=2\n")
    done = gitops("bootstrap", "--inventory", "hosts", "--check", folder=tmp_path)
    assert done.returncode == 1
    assert "unreachable=1" in done.stderr


@pytest.fixture(scope="module")
def image(fleet: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("talker")
    (folder / "Dockerfile").write_text("FROM busybox\n")
    return fleet.run("image", "talker:1", str(folder)).splitlines()[-1]


@contextmanager
def talking(
    fleet: Lab, image: str, folder: Path, scripts: dict[str, str]
) -> Iterator[tuple[dict[str, Channel], list[Container]]]:
    """A container a host that runs a shell script, found by its labels as the controller would."""
    engines = {host["name"]: host["engine"] for host in fleet.data["hosts"]}
    hosts = inventory.load(Path(fleet.data["inventory"]), trusted=True)
    channels = open_channels(hosts.hosts, folder)
    try:
        for slot, (host, script) in enumerate(scripts.items(), 1):
            labels = {
                "app": "talk",
                "service": "web",
                "slot": str(slot),
                "spec": "0" * 64,
                "commit": "0" * 40,
            }
            marks = [word for key, value in labels.items() for word in ("--label", f"gitops.{key}={value}")]
            fleet.on(
                host,
                engines[host],
                "run",
                "-d",
                "--init",
                "--name",
                f"talk-{slot}",
                *marks,
                image,
                "sh",
                "-c",
                script,
            )
        yield channels, list(observe(channels, hosts).containers("talk"))
    finally:
        close_channels(channels.values(), folder)
        for slot, host in enumerate(scripts, 1):
            fleet.on(host, engines[host], "rm", "-f", f"talk-{slot}", check=False)


def test_logs_show_the_last_lines_container_by_container(fleet: Lab, image: str, tmp_path: Path) -> None:
    # An engine reads two streams: what is said on both at once it records in any order.
    ordered = "echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three; "
    says = ENDS + ordered + "printf '\\033[2J\\033[31mred\\033[0m\\n'; sleep 600 & wait"
    with talking(fleet, image, tmp_path, {"h1": says, "p1": says}) as (channels, containers):

        def lines() -> list[tuple[str, str]]:
            return list(container_logs(channels, containers, follow=False, tail=3))

        expected = [
            (label, text) for label in ("web.1@h1", "web.2@p1") for text in ("two", "three", "\\x1b[2Jred")
        ]
        until(lambda: sorted(lines()) == sorted(expected), "the lines")
        assert [label for label, _ in lines()] == [label for label, _ in expected]


def test_logs_follow_all_containers_side_by_side_until_they_are_closed(
    fleet: Lab, image: str, tmp_path: Path
) -> None:
    with talking(fleet, image, tmp_path, {"h1": COUNTS, "h2": COUNTS, "p1": COUNTS}) as (
        channels,
        containers,
    ):
        lines = container_logs(channels, containers, follow=True, tail=1000)
        seen: dict[str, list[str]] = {}
        deadline = time.monotonic() + DEADLINE_S
        for label, text in lines:
            seen.setdefault(label, []).append(text)
            if len(seen) == 3 and min(len(found) for found in seen.values()) >= 5:
                break
            assert time.monotonic() < deadline
        lines.close()
        for found in seen.values():
            assert found == [f"line {number}" for number in range(1, len(found) + 1)]


def test_following_ends_when_every_container_has_ended(fleet: Lab, image: str, tmp_path: Path) -> None:
    with talking(fleet, image, tmp_path, {"h1": "echo bye", "h2": "echo good; sleep 1; echo bye"}) as (
        channels,
        containers,
    ):
        lines = list(container_logs(channels, containers, follow=True, tail=10))
    assert sorted(lines) == [("web.1@h1", "bye"), ("web.2@h2", "bye"), ("web.2@h2", "good")]


def test_a_log_that_cannot_be_read_says_so_and_the_others_go_on(
    fleet: Lab, image: str, tmp_path: Path
) -> None:
    with talking(fleet, image, tmp_path, {"h1": "echo one", "h2": "echo two"}) as (channels, containers):
        fleet.on("h1", "docker", "rm", "-f", "talk-1")
        for follow in (False, True):
            lines = dict(container_logs(channels, containers, follow=follow, tail=10))
            assert lines["web.1@h1"].startswith("(this log cannot be read: ")
            assert lines["web.2@h2"] == "two"


def test_ctrl_c_ends_logs_dash_f(fleet: Lab, image: str, tmp_path: Path) -> None:
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # one in the background would ignore it
from pathlib import Path
from gitops.channel import close_channels, open_channels
from gitops.desired import inventory
from gitops.logs import container_logs
from gitops.observe.hosts import observe
hosts = inventory.load(Path({fleet.data["inventory"]!r}), trusted=True)
channels = open_channels(hosts.hosts, Path({str(tmp_path / "c")!r}))
try:
    containers = observe(channels, hosts).containers("talk")
    for label, line in container_logs(channels, containers, follow=True, tail=1):
        print(label, line, flush=True)
except KeyboardInterrupt:
    sys.exit(130)
finally:
    close_channels(channels.values(), Path({str(tmp_path / "c")!r}))
"""
    with (
        talking(fleet, image, tmp_path, {"h1": COUNTS}),
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as following,
    ):
        assert following.stdout is not None
        assert following.stdout.readline().startswith("web.1@h1 line ")
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=DEADLINE_S)  # reads on, as a terminal does: a full pipe takes no Ctrl-C
        assert following.returncode == 130
