"""Checks of the machine that gitops itself runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from gitops.channel import own_folder
from gitops.checkup.check import CONTROLLER, Check, bad, good, number
from gitops.errors import GitopsError

PYTHON = (3, 11)
GIT = (2, 24)  # the first with --end-of-options
SSH = (8,)
ANSWER_S = 10.0


def machine() -> list[Check]:
    """Python, the programs that gitops starts, and the folder of its connections."""
    return [_python(), _ssh(), _git(), _ansible(), _sockets()]


def state_folder(folder: Path) -> Check:
    """Whether store, clones and run folders can be written; the nearest folder that exists decides."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return good(CONTROLLER, "state folder", f"{folder} is writable")
    return bad(
        CONTROLLER,
        "state folder",
        f"{nearest} is not writable for user {os.getuid()}",
        f"sudo install -d -o {os.getuid()} -m 0700 {folder}",
    )


def _python() -> Check:
    found = sys.version_info[:3]
    text = ".".join(map(str, found))
    if found >= PYTHON:
        return good(CONTROLLER, "python", text)
    return bad(CONTROLLER, "python", f"{text}, needs 3.11", "sudo apt-get install python3")


def _ssh() -> Check:
    # OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024
    return _program("ssh", ["ssh", "-V"], "OpenSSH_", SSH, "sudo apt-get install openssh-client")


def _git() -> Check:
    return _program("git", ["git", "--version"], "git version ", GIT, "sudo apt-get install git")


def _program(name: str, argv: Sequence[str], before: str, least: tuple[int, ...], fix: str) -> Check:
    """Whether a program is there and says a version of at least `least` after the word `before`."""
    said = _said(argv)
    if said is None:
        return bad(CONTROLLER, name, f"there is no {name} on this machine", fix)
    found = said.partition(before)[2].split(maxsplit=1)
    text = found[0].rstrip(",") if found else ""
    if number(text) >= least:
        return good(CONTROLLER, name, text)
    return bad(CONTROLLER, name, f"{text or said}, needs {'.'.join(map(str, least))}", fix)


def _ansible() -> Check:
    """The playbook runner of our own environment: the one that the service starts."""
    fix = f"{sys.executable} -m pip install --force-reinstall ansible-core"
    playbook = program("ansible-playbook")
    if playbook is None:
        return bad(CONTROLLER, "ansible-playbook", "it is not beside this Python, nor on PATH", fix)
    return good(CONTROLLER, "ansible-playbook", f"ansible-core {version('ansible-core')}")


def _sockets() -> Check:
    try:
        folder = own_folder()
    except GitopsError as problem:
        return bad(CONTROLLER, "connections", problem.message, problem.hint)
    except OSError as error:
        return bad(
            CONTROLLER,
            "connections",
            f"{error.filename}: {error.strerror}",
            f"sudo install -d -o {os.getuid()} -m 0700 {Path(str(error.filename)).parent}",
        )
    return good(CONTROLLER, "connections", f"{folder.parent} is writable")


def program(name: str) -> str | None:
    """A program of the environment that gitops is installed in, else of PATH; None where it is missing."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def _said(argv: Sequence[str]) -> str | None:
    """The first line that a program prints, or None where there is no such program."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout.strip() or done.stderr.strip()).partition("\n")[0]
