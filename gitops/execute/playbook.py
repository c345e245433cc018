"""`ansible-playbook`, imported before it is known what to run: a rollout need not wait for that.

    python -P -m gitops.execute.playbook SOCKET

Says its process id, connects to the socket, and waits for lines of JSON: `cwd`, and `argv` of
`ansible-playbook`. For each it forks, so that every run begins with what was imported and with
nothing of the run before, and answers with the exit code. When the other end is gone it ends.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import sys
import warnings
from contextlib import suppress

from gitops.collector import loading, relax

WANTED = (
    "ansible.cli.playbook",
    "ansible.executor.task_queue_manager",
    "ansible.executor.process.worker",
    "ansible.plugins.action",
    "ansible.plugins.callback",
    "ansible.plugins.strategy.linear",
    "ansible.plugins.inventory.yaml",
    "gitops.render.edge",
    "gitops.render.fragment",
    "gitops.tasks.action",
    "gitops.tasks.rollout",
)
"""What every rollout needs, and takes long to import."""


def _load_plugins() -> None:
    """Finds and reads what a run looks up among Ansible's plugins: half of its time until the first task."""
    from ansible.plugins import loader  # noqa: PLC0415 - as in `_play`

    loader.init_plugin_loader()
    # The command line does so once more, and is told so.
    warnings.filterwarnings("ignore", message="AnsibleCollectionFinder has already been configured")
    loader.inventory_loader.get("ansible.builtin.yaml")
    loader.strategy_loader.get("linear", class_only=True)
    # Not those of `vars`: read ahead of an inventory they would give no host its variables.
    for kind in ("callback", "connection", "shell", "become"):
        for _ in getattr(loader, f"{kind}_loader").all(class_only=True):
            pass


def main(place: str) -> int:
    """Runs playbooks, one after the other; returns the exit code of this process, or of a fork of it."""
    print(os.getpid(), flush=True)  # noqa: T201 - ansible-runner reads it
    relax()
    with loading():
        for name in WANTED:
            importlib.import_module(name)
        _load_plugins()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(place)
        for line in link.makefile():
            child = os.fork()
            if child == 0:
                os.close(link.detach())
                return _play(**json.loads(line))
            _, status = os.waitpid(child, 0)
            with suppress(BrokenPipeError):  # nobody waits for it any more: there is no next line either
                link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return 0


def _play(cwd: str, argv: list[str]) -> int:
    """Is `ansible-playbook` from now on; returns its exit code."""
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415 - after the process id has been said
    from ansible.utils.path import cleanup_tmp_file  # noqa: PLC0415 - as above

    atexit.unregister(cleanup_tmp_file)  # Ansible's temporary folder is the parent's
    os.chdir(cwd)
    sys.argv = argv
    try:
        PlaybookCLI.cli_executor(argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
