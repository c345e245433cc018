"""`gitops bootstrap`: prepares hosts by playbook."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from gitops import assets
from gitops.checkup.controller import program
from gitops.errors import PermanentError
from gitops.render.deployment import inventory_files
from gitops.session import Session


def inventories_of(config: Path | None) -> list[Path]:
    """The inventories of all applications in gitops.yaml, each once.

    One that lies in an application's repository is not handed to Ansible as it
    is, for its author may not run programs on this machine: what is returned
    is a copy of its hosts and connection variables, as plain text.
    """
    found: list[Path] = []
    with Session.open(config) as session:
        for name in sorted(session.settings.apps):
            app = session.application(name)
            if app.settings.inventory_in_repo:
                folder = session.settings.state_dir / "inventories" / name
                shutil.rmtree(folder, ignore_errors=True)
                for path, content in inventory_files(app.fleet(app.fetch())).items():
                    file = folder / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                found.append(folder / "inventory")
            elif Path(app.settings.inventory) not in found:
                found.append(Path(app.settings.inventory))
    if not found:
        raise PermanentError("gitops.yaml has no application", hint="name an inventory with --inventory")
    return found


def bootstrap_hosts(inventory: Path, *, check: bool) -> int:
    """Runs playbooks/bootstrap.yml on the hosts of an inventory, its output on the terminal.

    Args:
        inventory: an inventory file or folder.
        check: only say what would change.

    Returns:
        0 where every host is prepared, else 1.
    """
    if not inventory.exists():
        raise PermanentError(f"no inventory {inventory}", hint="name an inventory file or folder")
    playbook = program("ansible-playbook")
    if playbook is None:
        raise PermanentError("ansible-playbook is missing", hint="gitops doctor says how to install it")
    argv = [playbook, "-i", str(inventory), str(assets.folder("playbooks") / "bootstrap.yml")]
    done = subprocess.run(
        [*argv, "--check", "--diff"] if check else argv,
        env={**os.environ, "ANSIBLE_HOST_KEY_CHECKING": "1"},
        check=False,
    )
    return int(done.returncode != 0)
