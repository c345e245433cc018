"""One lab host: its folder, its power, and commands in it."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gitops.errors import PermanentError, TransientError
from gitops.lab import cgroups, network
from gitops.lab.files import OWN_FOLDERS, HostFile, Keys, Machine, host_files
from gitops.lab.layout import NETWORKS, Layout, Member
from gitops.lab.state import Process
from gitops.lab.system import clean_environment, run, spawn, start_time, wait_until

_BOOT = Path(__file__).with_name("boot.sh")
_BOOT_SECONDS = 60.0


def machine() -> Machine:
    """What hosts take over from this machine."""

    def limit(kind: int) -> int:
        hard = resource.getrlimit(kind)[1]
        return 1_000_000 if hard == resource.RLIM_INFINITY else hard

    return Machine(
        passwd=Path("/etc/passwd").read_text(),
        group=Path("/etc/group").read_text(),
        shadow=Path("/etc/shadow").read_text(),
        open_files=limit(resource.RLIMIT_NOFILE),
        processes=limit(resource.RLIMIT_NPROC),
    )


def furnish(layout: Layout, member: Member, members: Sequence[Member], registry: str, taken: Machine) -> None:
    """Makes the host's folder with its configuration and its own SSH host key. The host is off."""
    folder = layout.host(member.name)
    for name in ("etc", "etc.work", "root"):
        (folder / name).mkdir(parents=True, mode=0o755)
    folder.chmod(0o755)  # a host's users pass through: the folders above belong to root alone
    for name in OWN_FOLDERS:
        own = folder / "etc" / name
        own.mkdir()
        os.setxattr(own, "trusted.overlay.opaque", b"y")  # overlayfs: nothing shines through from below
    host_key = folder / "host_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", member.name, "-f", str(host_key))
    keys = Keys(
        layout.key.with_suffix(".pub").read_text(),
        host_key.read_text(),
        host_key.with_suffix(".pub").read_text(),
    )
    files = host_files(member, members, registry, taken, keys)
    users = {file.path: file.content for file in files if file.path in {"passwd", "group"}}
    for file in files:
        _write(folder / "etc", file, users["passwd"], users["group"])
    _furnish_data(folder / "root", users["passwd"], users["group"])


def _write(etc: Path, file: HostFile, passwd: str, group: str) -> None:
    path = etc / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.content)
    os.chown(path, _id_of(passwd, file.owner), _id_of(group, file.group))
    path.chmod(file.mode)


def _furnish_data(root: Path, passwd: str, group: str) -> None:
    """Makes homes and the folders that `deploy` writes to."""
    root.chmod(0o755)
    owned = {"home/deploy": "deploy", "home/ops": "ops", "var/lib/gitops": "deploy"}
    for path, owner in owned.items():
        (root / path).mkdir(parents=True)
        os.chown(root / path, _id_of(passwd, owner), _id_of(group, owner))
    os.chown(root.parent / "etc" / "haproxy", _id_of(passwd, "deploy"), _id_of(group, "haproxy"))


def _id_of(table: str, name: str) -> int:
    """The numeric id of a name in the text of a passwd or group file."""
    for line in table.splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2])
    raise PermanentError(f"this machine has no user or group {name!r}")


def power_on(layout: Layout, member: Member, subnet: int, *, python: bool) -> Process:
    """Boots the host and plugs its cable in. Its services may need a moment more (`wait_for_services`).

    Returns:
        the host's process 1.
    """
    group = f"{layout.group}/{member.name}"
    environment = clean_environment(
        LAB_NAME=member.name,
        LAB_KIND=member.kind,
        LAB_ADDRESS=member.address,
        LAB_NETWORKS=" ".join(NETWORKS if member.has_engine else ()),
        LAB_HOST=str(layout.host(member.name)),
        LAB_CGROUPS=" ".join(str(folder) for folder in cgroups.make(group)),
        LAB_PYTHON="yes" if python else "no",
    )
    network.unplug(subnet, member)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w", encoding="ascii") as switch:
        log = layout.host(member.name) / "boot.log"
        supply = spawn(("bash", str(_BOOT), "power-on"), log=log, environment=environment, stdin=read_end)
        os.close(read_end)
        booted = f"power at {member.name}"
        wait_until(booted, lambda: _first_process(supply) > 0, seconds=_BOOT_SECONDS, hint=f"see {log}")
        cgroups.move_aside(f"{layout.group}/power", supply)
        first = _first_process(supply)
        process = Process(first, start_time(first))
        network.plug(subnet, member, supply)
        switch.write("plugged in\n")
    return process


def _first_process(supply: int) -> int:
    """The host's process 1 as the machine numbers it, or 0 while there is none.

    Raises:
        TransientError: the power supply has ended.
    """
    try:
        children = Path(f"/proc/{supply}/task/{supply}/children").read_text().split()
    except OSError:
        children = []
    if not start_time(supply):
        raise TransientError("the host ended while it was powered on")
    mine = [pid for pid in children if _is_first_process(int(pid))]
    return int(mine[0]) if mine else 0


def _is_first_process(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
    return len(numbers) > 2 and numbers[-1] == "1"  # noqa: PLR2004 - label, number outside, number inside


def wait_for_services(layout: Layout, member: Member, process: Process) -> None:
    """Waits until the host's sshd, its engine and its HAProxy answer.

    Raises:
        TransientError: they do not, within a minute; the hint names the folder of logs.
    """
    ports = [22, 80] if member.kind == "edge" else [22]
    proxy = Path(f"/proc/{process.pid}/root/run/haproxy/admin.sock")

    def ready() -> bool:
        if not is_running(process):
            raise TransientError(f"{member.name} went down while it booted", hint=hint)
        if member.has_engine and not engine_answers(member, process):
            return False
        return proxy.exists() and all(_listens(member.address, port) for port in ports)

    hint = f"see {layout.host(member.name)}/boot.log and root/var/log beside it"
    wait_until(f"the services of {member.name} starting", ready, seconds=_BOOT_SECONDS, hint=hint)


def is_running(process: Process | None) -> bool:
    """Whether a recorded process is still that process."""
    return process is not None and start_time(process.pid) == process.started


def socket_path(member: Member, process: Process) -> str:
    """The path by which this machine reaches the host's engine socket."""
    return f"/proc/{process.pid}/root{member.socket}"


def engine_answers(member: Member, process: Process) -> bool:
    """Whether the host's container engine answers a ping."""
    try:
        with closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(5)
            line.connect(socket_path(member, process))
            line.sendall(b"GET /_ping HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
            answer = http.client.HTTPResponse(line)
            answer.begin()
            return answer.status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def power_off(layout: Layout, member: Member) -> None:
    """Ends everything on the host at once, as a power cut does. Its data stays."""
    cgroups.end(f"{layout.group}/{member.name}")


def enter(process: Process, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` as root in the host."""
    return ["nsenter", "--target", str(process.pid), "--all", "--", *command]


def execute(process: Process, command: Sequence[str]) -> int:
    """Runs a command as root in the host, on this terminal; returns its exit code."""
    environment = clean_environment(TERM=os.environ.get("TERM", "dumb"))
    return subprocess.run(enter(process, command), check=False, env=environment).returncode
