"""`ansible-playbook`, imported before it is known what to run: a rollout need not wait for that.

    python -P -m gitops.execute.playbook SOCKET

Says its process id, connects to the socket, and waits for one line of JSON: `cwd`, and `argv` of
`ansible-playbook`. Its last word there is the exit code. When the other end is gone before, it ends.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import warnings

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
    "gitops.tasks.action",
    "gitops.tasks.rollout",
)
"""What every rollout needs, and takes long to import."""


def _load_plugins() -> None:
    """Finds and reads what a run looks up among Ansible's plugins: half of its time until the first task."""
    from ansible.plugins import loader  # noqa: PLC0415 - as in `main`

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
    """Runs one playbook; returns its exit code."""
    print(os.getpid(), flush=True)  # noqa: T201 - ansible-runner reads it
    relax()
    with loading():
        for name in WANTED:
            importlib.import_module(name)
        _load_plugins()
    from ansible.cli.playbook import PlaybookCLI  # noqa: PLC0415 - after the process id has been said

    with socket.socket(socket.AF_UNIX) as link:
        link.connect(place)
        line = link.makefile().readline()
        if not line:
            return 0
        asked = json.loads(line)
        os.chdir(asked["cwd"])
        sys.argv = asked["argv"]
        code = 0
        try:
            PlaybookCLI.cli_executor(sys.argv)
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        link.sendall(f"{code}\n".encode())
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
