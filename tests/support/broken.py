"""Ways in which a host is set up wrong, each applied to one host of a lab and undone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support.labs import Lab
from support.shop import until

SSHD = "/etc/ssh/sshd_config"
BASHRC = "/home/deploy/.bashrc"
LISTENER = 'pgrep -o -f "sshd -D -e"'


@dataclass(frozen=True)
class Setup:
    """One way.

    Attributes:
        name: for the test's report.
        host: where it is applied.
        broken: what does it, as root.
        undone: what undoes it.
        check: the check of doctor that finds it; empty where the host is well all the same.
        cause: what doctor and sync say, each word of it.
        slow: whether a sync on a busy machine may say no more than that the host does not answer in time.
    """

    name: str
    host: str
    broken: str
    undone: str
    check: str = ""
    cause: tuple[str, ...] = ()
    slow: bool = False


def of_sshd(host: str, setting: str, check: str, *cause: str) -> Setup:
    """A setting of sshd."""
    return Setup(
        setting, host, f"cp {SSHD} {SSHD}.kept; sed -i '1i {setting}' {SSHD}", f"mv {SSHD}.kept {SSHD}",
        check, cause,
    )  # fmt: skip


def of_shell(host: str, name: str, start_file: str, check: str = "", *cause: str) -> Setup:
    """A start file of the user's login shell."""
    write = f"cat > {BASHRC} <<'END'\n{start_file}\nEND"
    return Setup(name, host, write, f"rm {BASHRC}", check, cause)


@contextmanager
def applied(lab: Lab, *setups: Setup) -> Iterator[None]:
    """Hosts set up so for the time of the block."""
    done: list[Setup] = []
    try:
        for setup in setups:
            lab.on(setup.host, "sh", "-c", setup.broken)
            done.append(setup)
            _reread(lab, setup)
        yield
    finally:
        for setup in reversed(done):
            lab.on(setup.host, "sh", "-c", setup.undone)
            _reread(lab, setup)


def _reread(lab: Lab, setup: Setup) -> None:
    """Ends the sshd that listens, so that another one with the settings of now is started; sessions stay."""
    if SSHD in setup.broken:
        lab.on(setup.host, "sh", "-c", f"kill -9 $({LISTENER})")
        until(lambda: _greets(lab.address(setup.host)), 30, f"another sshd on {setup.host}")


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=5) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False
