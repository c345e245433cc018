"""Debian packages that the lab needs, installed when a program is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from gitops.errors import PermanentError
from gitops.lab.layout import SEARCH_PATH, Shape
from gitops.lab.network import machine_lock
from gitops.lab.system import clean_environment, succeeds

# Program -> packages that may have it; the first that the distribution knows is taken.
_Programs = dict[str, tuple[str, ...]]
_ALWAYS: _Programs = {
    "ip": ("iproute2",),
    "iptables": ("iptables",),
    "sshd": ("openssh-server",),
    "ssh-keygen": ("openssh-client",),
    "sudo": ("sudo",),
    "git": ("git",),
    "docker-registry": ("docker-registry",),
    "busybox": ("busybox-static",),
    "haproxy": ("haproxy",),
    "socat": ("socat",),
    "nsenter": ("util-linux",),
    "hostname": ("hostname",),
    "awk": ("mawk",),
}
_DOCKER: _Programs = {"dockerd": ("docker.io",), "docker": ("docker-cli", "docker.io")}
_PODMAN: _Programs = {
    "podman": ("podman",),
    "catatonit": ("catatonit",),
    "runc": ("runc",),
    "docker": ("docker-cli", "docker.io"),
}
# Package -> the processes that its installation may start, each with its service units.
_STARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "docker.io": {"dockerd": ("docker.socket", "docker"), "containerd": ("containerd",)},
    "podman": {"podman": ("podman.socket", "podman")},
    "haproxy": {"haproxy": ("haproxy",)},
    "docker-registry": {"docker-registry": ("docker-registry",)},
    "openssh-server": {"sshd": ("ssh",)},
}
_INSTALL_SECONDS = 900


def check_machine() -> None:
    """Refuses where a lab cannot run.

    Raises:
        PermanentError: not Linux, or not root.
    """
    if platform.system() != "Linux":
        raise PermanentError(
            f"a lab needs Linux; this is {platform.system()}", hint="use a Debian or Ubuntu virtual machine"
        )
    if os.geteuid() != 0:
        raise PermanentError("a lab needs root: it makes networks and mounts", hint="sudo gitops lab ...")


def needed(shape: Shape) -> dict[str, tuple[str, ...]]:
    """Programs that a lab of this shape runs, each with the packages that may have it (pure)."""
    wanted = dict(_ALWAYS)
    for count, programs in ((shape.docker, _DOCKER), (shape.podman, _PODMAN)):
        if count:
            wanted.update(programs)
    return wanted


def ensure(shape: Shape, say: Callable[[str], None]) -> None:
    """Installs what is missing, and stops the services that the installation itself started.

    Raises:
        PermanentError: something is missing and cannot be installed.
    """
    with machine_lock():  # apt has one user at a time
        missing = {p: names for p, names in needed(shape).items() if not shutil.which(p, path=SEARCH_PATH)}
        if not missing:
            return
        if not shutil.which("apt-get"):
            raise PermanentError(
                f"missing programs: {', '.join(sorted(missing))}",
                hint="install them; a lab knows apt-get alone",
            )
        _apt(("update", "--quiet"), say)
        packages = sorted({_known(names) for names in missing.values()})
        may_start = {name: units for package in packages for name, units in _STARTS.get(package, {}).items()}
        before = {name for name in may_start if _runs(name)}
        say(f"installing {' '.join(packages)}")
        _apt(("install", "--yes", "--quiet", "--no-install-recommends", *packages), say)
        for name, units in may_start.items():
            if name not in before and _runs(name):
                _stop(name, units, say)
    left = sorted(p for p in missing if not shutil.which(p, path=SEARCH_PATH))
    if left:
        raise PermanentError(f"still missing after the installation: {', '.join(left)}")


def _known(names: tuple[str, ...]) -> str:
    for name in names:
        if succeeds("apt-cache", "show", name):
            return name
    return names[-1]  # apt-get then says that it has no such package


def _apt(arguments: tuple[str, ...], say: Callable[[str], None]) -> None:
    environment = clean_environment(DEBIAN_FRONTEND="noninteractive", NEEDRESTART_SUSPEND="1")
    done = subprocess.run(
        ("apt-get", *arguments),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},  # a proxy that the machine needs is in the caller's environment
        timeout=_INSTALL_SECONDS,
    )
    if done.returncode != 0:
        say(done.stdout[-2000:] + done.stderr[-2000:])
        raise PermanentError(f"apt-get {arguments[0]} ended with {done.returncode}", hint="see above")


def _runs(name: str) -> bool:
    """Whether a process of that name runs on the machine."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == name[:15]:
                return True
        except OSError:
            continue  # it has just ended
    return False


def _stop(name: str, units: tuple[str, ...], say: Callable[[str], None]) -> None:
    say(f"stopping {name}, which its package has just started; hosts have their own")
    for unit in units:
        succeeds("service", unit.removesuffix(".socket"), "stop")
        if Path("/run/systemd/system").is_dir():
            succeeds("systemctl", "stop", unit)
