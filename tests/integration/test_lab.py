"""The lab on this machine: what it gives, what it survives, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.labs import Lab, folder_for, lab_command, running_lab

from gitops.lab import cgroups, network
from gitops.lab.layout import Layout

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def small_lab() -> Iterator[Lab]:
    with running_lab("small", hosts=2, podman=1, edges=1) as fleet:
        yield fleet


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for a lab that a test breaks."""
    folder = folder_for("scratch")
    yield folder
    assert lab_command("down", "--dir", str(folder)).returncode == 0


@pytest.fixture(scope="module")
def web(small_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that serves `release 7` at port 8080; its reference in the lab's registry."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(
        'FROM busybox\nARG RELEASE\nRUN mkdir /www && echo "release $RELEASE" > /www/index.html\n'
        'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'
    )
    return small_lab.run("image", "web:7", str(folder), "--build-arg", "RELEASE=7").splitlines()[-1]


def eventually(what: str, check: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def answer(address: str, port: int = 20000) -> str:
    try:
        with urlopen(f"http://{address}:{port}/", timeout=2) as response:
            return str(response.read().decode())
    except OSError:
        return ""


def engine(host: str) -> str:
    return "podman" if host.startswith("p") else "docker"


def traces(folder: Path) -> dict[str, object]:
    """Everything that a lab in `folder` could have left on the machine."""
    layout = Layout.of(folder)
    mounts = Path("/proc/self/mountinfo").read_text()
    return {
        "processes": cgroups.processes(layout.group),
        "cgroups": [str(h / layout.group) for h in cgroups.hierarchies() if (h / layout.group).exists()],
        "bridges": network.subnets(layout),
        "mounts": [line for line in mounts.splitlines() if str(folder) in line],
        "folder": folder.exists(),
    }


NOTHING = {"processes": set(), "cgroups": [], "bridges": [], "mounts": [], "folder": False}


def test_the_report_has_exactly_the_documented_fields(small_lab: Lab) -> None:
    assert list(small_lab.data) == [
        "hosts",
        "edges",
        "registry",
        "git",
        "inventory",
        "ssh_key",
        "known_hosts",
    ]
    hosts = [(host["name"], host["engine"]) for host in small_lab.data["hosts"]]
    assert hosts == [("h1", "docker"), ("h2", "docker"), ("p1", "podman")]
    assert [edge["name"] for edge in small_lab.data["edges"]] == ["e1"]
    assert json.loads(small_lab.run("status", "-o", "json")) == small_lab.data


def test_up_on_a_running_lab_leaves_it_alone_but_refuses_another_shape(small_lab: Lab) -> None:
    folder = str(small_lab.folder)
    again = lab_command("up", "--dir", folder, "--hosts", "2", "--podman", "1", "-o", "json")
    assert json.loads(again.stdout) == small_lab.data
    other = lab_command("up", "--dir", folder, "--hosts", "5")
    assert (other.returncode, other.stdout) == (1, "")
    assert "another shape" in other.stderr


@pytest.mark.parametrize("host", ["h1", "p1"])
def test_deploy_may_use_the_engine_and_is_not_root(small_lab: Lab, host: str) -> None:
    seen = small_lab.ssh(
        host, "id -un; id -nG; hostname; stat -c '%U %G %a' /run/*/podman.sock /run/docker.sock"
    )
    user, groups, name, socket = seen.stdout.splitlines()
    assert (user, name, socket) == ("deploy", host, "root docker 660")
    assert "docker" in groups.split()
    assert "root" not in groups.split()
    assert small_lab.ssh(host, "touch /var/lib/gitops/x /etc/x").stderr.count("Permission denied") == 1


def test_ops_needs_sudo_and_nobody_needs_python(small_lab: Lab) -> None:
    assert small_lab.ssh("h1", "docker ps", user="ops").returncode != 0
    assert small_lab.ssh("h1", "sudo -n id -un", user="ops").stdout == "root\n"
    assert small_lab.ssh("h1", "sudo -n id -un").returncode != 0
    assert small_lab.ssh("h1", "/usr/bin/python3 -c 'print(1)'").returncode == 126


def test_an_edge_serves_and_deploy_can_reload_it(small_lab: Lab) -> None:
    master = "echo 'show proc' | socat -t 2 - /run/haproxy-master.sock"
    assert "worker" in small_lab.ssh("e1", master).stdout
    stats = small_lab.ssh("e1", "echo 'show info' | socat -t 2 - /run/haproxy/admin.sock").stdout
    assert stats.startswith("Name: HAProxy")
    config = "/etc/haproxy/haproxy.cfg"
    change = (
        f"head -1 {config}; sed -i 's/status 503/status 200/; s/no application/one application/' {config}"
    )
    assert small_lab.ssh("e1", change).stdout == "# managed by ansible-gitops\n"
    small_lab.ssh("e1", "echo reload | socat -t 5 - /run/haproxy-master.sock")
    eventually("the new page", lambda: answer(small_lab.address("e1"), 80).startswith("one application"))


def test_stock_ansible_reaches_all_hosts(small_lab: Lab, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible"),
            "-i",
            small_lab.data["inventory"],
            "all",
            "-m",
            "raw",
            "-a",
            "id",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",  # no connection outlives the test
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("uid=15001(deploy)") == 4


def test_containers_publish_and_answer_each_other(small_lab: Lab, web: str) -> None:
    hosts = ["h1", "h2", "p1"]
    for host in hosts:
        run = "run --detach --init --name shop --restart always --memory 64m --publish 20000:8080"
        small_lab.on(host, engine(host), *run.split(), web)
        assert small_lab.on(host, engine(host), "exec", "shop", "cat", "/www/index.html") == "release 7"
    for host in hosts:
        address = small_lab.address(host)
        eventually(f"{host} answers", lambda address=address: answer(address) == "release 7\n")
        for asking in hosts:
            fetch = ("wget", "-q", "-O", "-", f"http://{address}:20000/")
            assert small_lab.on(asking, engine(asking), "exec", "shop", *fetch) == "release 7"


@pytest.mark.parametrize("host", ["h1", "p1"])
def test_a_power_cut_ends_all_and_a_boot_brings_containers_back(small_lab: Lab, web: str, host: str) -> None:
    assert web
    before = cgroups.processes(f"{Layout.of(small_lab.folder).group}/{host}")
    assert len(before) > 5
    small_lab.on(host, engine(host), "pause", "shop")  # a frozen process cannot even be killed: it is thawed
    small_lab.run("stop", host)
    assert cgroups.processes(f"{Layout.of(small_lab.folder).group}/{host}") == set()
    assert answer(small_lab.address(host)) == ""
    off = lab_command("exec", "--dir", str(small_lab.folder), host, "--", "true")
    assert "is off" in off.stderr
    small_lab.run("start", host)
    eventually(f"{host} serves again", lambda: answer(small_lab.address(host)) == "release 7\n", 40)


def test_a_cut_host_is_silent_until_mended(small_lab: Lab, web: str) -> None:
    assert web
    address = small_lab.address("h2")
    small_lab.run("cut", "h2")
    assert answer(address) == ""
    assert "cut" in small_lab.run("status")
    small_lab.run("mend", "h2")
    eventually("h2 answers again", lambda: answer(address) == "release 7\n")


def test_exec_passes_arguments_and_the_exit_code(small_lab: Lab) -> None:
    done = lab_command(
        "exec", "--dir", str(small_lab.folder), "h1", "--", "sh", "-c", 'echo "$0"; exit 7', "a b"
    )
    assert (done.returncode, done.stdout) == (7, "a b\n")
    assert (
        "has no host 'h9'" in lab_command("exec", "--dir", str(small_lab.folder), "h9", "--", "true").stderr
    )


def test_a_repository_takes_a_push(small_lab: Lab, tmp_path: Path) -> None:
    path = small_lab.run("repo", "shop").splitlines()[-1]
    assert path == f"{small_lab.data['git']}/shop.git"
    assert small_lab.run("repo", "shop") == path
    (tmp_path / "work").mkdir()
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "one"],
        ["push", "--quiet", path, "main"],
    ):
        subprocess.run(["git", "-C", str(tmp_path / "work"), *command], check=True, timeout=30)
    head = subprocess.run(
        ["git", "-C", path, "log", "--format=%s"], check=True, capture_output=True, text=True
    )
    assert head.stdout == "one\n"


def test_a_second_lab_stands_beside_the_first_and_leaves_nothing(small_lab: Lab, scratch: Path) -> None:
    up = lab_command("up", "--dir", str(scratch), "--hosts", "1", "--edges", "0", "-o", "json")
    assert up.returncode == 0, up.stderr
    data = json.loads(up.stdout)
    assert data["registry"] != small_lab.registry
    assert traces(scratch)["processes"]
    down = lab_command("down", "--dir", str(scratch))
    assert down.returncode == 0, down.stderr
    assert traces(scratch) == NOTHING
    assert small_lab.ssh("h1", "true").returncode == 0
    assert lab_command("down", "--dir", str(scratch)).returncode == 0  # again: nothing to do


@pytest.mark.parametrize("sign", ["lab.json", "hosts/h2/etc.work/work", "hosts/h1/root/var/log/dockerd.log"])
def test_a_lab_whose_up_was_killed_goes_down_whole(scratch: Path, sign: str) -> None:
    """Killed at three points: before the network, while hosts boot, while engines start."""
    command = [sys.executable, "-m", "gitops.lab", "up", "--dir", str(scratch), "--hosts", "2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as up:
        eventually(sign, lambda: (scratch / sign).exists() or up.poll() is not None)
        up.send_signal(signal.SIGKILL)
    assert up.returncode == -signal.SIGKILL
    (scratch / "lab.json").write_text('{"shape": {"dock')  # torn as well
    done = lab_command("down", "--dir", str(scratch))
    assert done.returncode == 0, done.stderr
    assert traces(scratch) == NOTHING


def test_a_folder_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for command in ("up", "down"):
        done = lab_command(command, "--dir", str(tmp_path))
        assert done.returncode == 1
        assert "lab" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
