"""`gitops bootstrap`: prepares hosts by playbook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from gitops import assets
from gitops.checkup.controller import program
from gitops.errors import PermanentError
from gitops.model.stack import SERVICE_NETWORK
from gitops.render.deployment import inventory_files
from gitops.session import Session


def inventories_of(config: Path | None) -> dict[Path, str]:
    """The inventories of all applications in gitops.yaml, each once, with their service network.

    One that lies in an application's repository is not handed to Ansible as it
    is, for its author may not run programs on this machine: what is returned
    is a copy of its hosts and connection variables, as plain text.
    """
    with Session.open(config) as session:
        apps = session.settings.apps
        found = {inventory_of(session, name): apps[name].service_network for name in sorted(apps)}
    if not found:
        raise PermanentError("gitops.yaml has no application", hint="name an inventory with --inventory")
    return found


def inventory_of(session: Session, name: str) -> Path:
    """The inventory of one application: the operator's own, or a plain copy of the one in its repository."""
    app = session.application(name)
    if not app.settings.inventory_in_repo:
        return Path(app.settings.inventory)
    folder = session.settings.state_dir / "inventories" / name
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in inventory_files(app.fleet(app.fetch())).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder / "inventory"


def bootstrap_hosts(inventory: Path, network: str = SERVICE_NETWORK, *, check: bool) -> int:
    """Runs playbooks/bootstrap.yml on the hosts of an inventory, its output on the terminal.

    Args:
        inventory: an inventory file or folder.
        network: where services have the addresses at which others find them.
        check: only say what would change.

    Returns:
        0 where every host is prepared, else 1.
    """
    if not inventory.exists():
        raise PermanentError(f"no inventory {inventory}", hint="name an inventory file or folder")
    options = ["--extra-vars", f"gitops_service_network={network}"]
    options += ["--check", "--diff"] if check else []
    return run_playbook(inventory, assets.folder("playbooks") / "bootstrap.yml", *options)


def run_playbook(inventory: Path, playbook: Path, *options: str) -> int:
    """Runs a playbook of Ansible's own modules; its output goes to standard error, as all that is no result.

    Returns:
        0 where it went well on every host, else 1.
    """
    found = program("ansible-playbook")
    if found is None:
        raise PermanentError("ansible-playbook is missing", hint="gitops doctor says how to install it")
    done = subprocess.run(
        [found, "-i", str(inventory), str(playbook), *options],
        env={**os.environ, "ANSIBLE_HOST_KEY_CHECKING": "1"},
        stdout=sys.stderr,
        check=False,
    )
    return int(done.returncode != 0)
