"""A lab fleet for tests: brought up once a session, taken down however the session ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from support.warm import WARM

from gitops.lab.host import enter
from gitops.lab.layout import Layout
from gitops.lab.state import load_whole
from gitops.lab.system import start_time

FOLDERS = Path("/tmp/gitops-lab-tests")  # short: paths of Unix sockets have 107 bytes
_UP_SECONDS = 900  # with the installation of missing packages
_COMMAND_SECONDS = 180


@dataclass(frozen=True)
class Lab:
    """A running lab.

    Attributes:
        folder: its `--dir`.
        data: what `gitops lab up -o json` printed.
        built: images that tests share, `NAME:TAG` -> reference: to build and to pull one takes a second.
    """

    folder: Path
    data: dict[str, Any]
    built: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        """Runs `gitops lab COMMAND --dir FOLDER ARGUMENTS...`; returns its output, stripped."""
        done = lab_command(command, "--dir", str(self.folder), *arguments)
        if check and done.returncode != 0:
            raise AssertionError(
                f"gitops lab {command} {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout.rstrip("\n")

    def on(self, host: str, *command: str, check: bool = True) -> str:
        """Runs a command as root on a host; returns its standard output without the last line break."""
        process = load_whole(Layout.of(self.folder)).hosts[host]
        done = subprocess.run(
            enter(process, command), check=False, capture_output=True, text=True, timeout=_COMMAND_SECONDS
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{host}: {command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.rstrip("\n")

    def begin(self, host: str, *command: str) -> subprocess.Popen[str]:
        """Starts a command as root on a host, and does not wait for its end; its output is a pipe."""
        process = load_whole(Layout.of(self.folder)).hosts[host]
        return subprocess.Popen(enter(process, command), stdout=subprocess.PIPE, text=True)

    def engine_socket(self, host: str) -> str:
        """The engine's socket of a host, through the root folder of its first process."""
        starter = load_whole(Layout.of(self.folder)).hosts[host].pid
        children = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()
        engine = next(member["engine"] for member in self.data["hosts"] if member["name"] == host)
        path = "/run/podman/podman.sock" if engine == "podman" else "/run/docker.sock"
        return f"/proc/{children[0] if children else starter}/root{path}"

    def containers(self, host: str, label: str) -> list[dict[str, Any]]:
        """The containers with a label, whatever their state, as the host's engine lists them by its API."""
        filters = quote(json.dumps({"label": [label]}))
        engine = _Engine(self.engine_socket(host))
        engine.request("GET", f"/v1.40/containers/json?all=1&filters={filters}")
        answer = engine.getresponse()
        text = answer.read().decode()
        engine.close()
        assert answer.status == HTTPStatus.OK, text
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def haproxy(self, command: str) -> str:
        """Says something to the runtime socket of the load balancer e1; returns the answer."""
        return self.on("e1", "sh", "-c", f"echo '{command}' | socat - /run/haproxy/admin.sock")

    def up(self, host: str) -> bool:
        """Whether a host has power."""
        return host in load_whole(Layout.of(self.folder)).hosts

    def ssh(self, host: str, command: str, *, user: str = "deploy") -> subprocess.CompletedProcess[str]:
        """Runs a shell command over SSH, with the lab's key and known hosts."""
        options = (
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "IdentitiesOnly=yes",
            "-F",
            "/dev/null",
        )
        known = f"UserKnownHostsFile={self.data['known_hosts']}"
        return subprocess.run(
            [
                "ssh",
                *options,
                "-o",
                known,
                "-i",
                self.data["ssh_key"],
                f"{user}@{self.address(host)}",
                command,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def address(self, host: str) -> str:
        """The address of a host or an edge."""
        return next(
            str(member["address"])
            for member in [*self.data["hosts"], *self.data["edges"]]
            if member["name"] == host
        )

    @property
    def registry(self) -> str:
        """The registry as image references name it."""
        return str(self.data["registry"])


class _Engine(HTTPConnection):
    """An engine's API by its socket: much less work than a command in the host."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_COMMAND_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def digest_of(reference: str) -> str:
    """The digest that a tag has in the lab's registry now."""
    registry, _, path = reference.partition("/")
    name, _, tag = path.rpartition(":")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    request = Request(f"http://{registry}/v2/{name}/manifests/{tag}", headers={"Accept": kind})
    with urlopen(request, timeout=10) as response:  # noqa: S310 - the lab's own address
        return str(response.headers["Docker-Content-Digest"])


def lab_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs one lab command."""
    return WARM.run(
        "gitops.lab", *arguments, timeout_s=_UP_SECONDS if arguments[0] == "up" else _COMMAND_SECONDS
    )


@contextmanager
def running_lab(
    name: str, *, hosts: int, podman: int = 0, edges: int = 1, python: bool = False
) -> Iterator[Lab]:
    """A lab of that shape; `name` tells labs of this process apart, `python` leaves it to the hosts.

    A SIGTERM to the test run becomes an orderly end, so that the lab goes down with it.
    What an earlier run left that was killed outright is cleared here.
    """
    clear_leftovers()
    folder = folder_for(name)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        shape: tuple[str, ...] = ("--hosts", str(hosts), "--podman", str(podman), "--edges", str(edges))
        shape += ("--python",) if python else ()
        done = lab_command("up", "--dir", str(folder), *shape, "-o", "json")
        if done.returncode != 0:
            raise RuntimeError(f"the lab did not come up: {done.stderr}{_boot_logs(folder)}")
        yield Lab(folder, json.loads(done.stdout))
    finally:
        _take_down([folder])
        signal.signal(signal.SIGTERM, previous)


def folder_for(name: str) -> Path:
    """Where this process keeps the lab of that name; a later run sees from it whether its owner lives."""
    return FOLDERS / f"{os.getpid()}-{start_time(os.getpid())}-{name}"


def clear_leftovers() -> None:
    """Takes down the labs of test runs that are no more."""
    found = list(FOLDERS.iterdir()) if FOLDERS.is_dir() else []
    _take_down([folder for folder in found if not _owner_lives(folder)])


def _owner_lives(folder: Path) -> bool:
    pid, started, _ = folder.name.split("-", 2)
    return start_time(int(pid)) == int(started)


def _take_down(folders: Sequence[Path]) -> None:
    for folder in folders:
        done = lab_command("down", "--dir", str(folder))
        if done.returncode != 0:
            raise RuntimeError(f"the lab in {folder} did not go down: {done.stderr}")
        shutil.rmtree(folder, ignore_errors=True)  # what `up` had not begun to fill
    with suppress(OSError):  # another run's labs are in it, or it has just removed the folder itself
        FOLDERS.rmdir()


def _boot_logs(folder: Path) -> str:
    return "".join(f"\n{log}:\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("hosts/*/boot.log")))


if __name__ == "__main__":
    clear_leftovers()
