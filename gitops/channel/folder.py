"""The folder of one controller process's control sockets: its own, so that no two share a connection."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from gitops.channel.failures import HostSetupError
from gitops.channel.mux import Control
from gitops.channel.processes import alive, start_time
from gitops.channel.ssh import SSH_ARGS
from gitops.errors import GitopsError
from gitops.places import runtime_folder

VARIABLE = "GITOPS_CHANNELS"
"""Tells the workers of a playbook where the controller keeps its records."""


def base_folder() -> Path:
    """Makes the folder of all of this user's sockets, mode 0700.

    Raises:
        HostSetupError: somebody else has one there.
    """
    base = runtime_folder()
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise HostSetupError(f"{base} is not a folder of this user", hint="remove it")
    base.chmod(0o700)
    return base


def own_folder() -> Path:
    """Makes this process's folder, mode 0700, and sweeps those of controllers that have died.

    Its path is short: a Unix socket's has at most 107 bytes.
    """
    base = base_folder()
    _sweep(base)
    own = base / f"c{os.getpid()}-{start_time(os.getpid())}"
    own.mkdir(mode=0o700, exist_ok=True)
    return own


def controller_env(folder: Path) -> dict[str, str]:
    """The environment that makes `ansible-playbook` use the connections of a controller."""
    return {
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder),
        "ANSIBLE_SSH_ARGS": SSH_ARGS,
        "ANSIBLE_SSH_PIPELINING": "1",
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        VARIABLE: str(folder),
    }


def end_folder(folder: Path) -> None:
    """Ends every master of a folder and removes it."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.suffix == "" and entry.is_socket():
            with suppress(GitopsError), Control(str(entry), 2.0) as control:
                control.terminate()
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for entry in base.glob("c*-*"):
        pid, _, started = entry.name[1:].partition("-")
        if pid.isdigit() and started.isdigit() and not alive(int(pid), int(started)):
            end_folder(entry)
