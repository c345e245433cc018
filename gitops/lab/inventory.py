"""The Ansible inventory of a lab (pure, but for `write`)."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from gitops.lab.layout import DEPLOY_USER, Layout, Member


def documents(layout: Layout, members: Sequence[Member]) -> dict[str, str]:
    """The inventory's files: relative path to text."""
    groups = {
        "container_hosts": {member.name: None for member in members if member.has_engine},
        "load_balancers": {member.name: None for member in members if not member.has_engine},
    }
    common = {
        "ansible_user": DEPLOY_USER,
        "ansible_ssh_private_key_file": str(layout.key),
        "ansible_ssh_common_args": (
            f"-o UserKnownHostsFile={layout.known_hosts} -o GlobalKnownHostsFile=/dev/null"
            " -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        ),
    }
    files = {
        "hosts.yml": {"all": {"children": {name: {"hosts": hosts} for name, hosts in groups.items()}}},
        "group_vars/all.yml": common,
        **{f"host_vars/{member.name}.yml": {"ansible_host": member.address} for member in members},
    }
    return {path: f"---\n{yaml.safe_dump(content, sort_keys=False)}" for path, content in files.items()}


def known_hosts(keys: dict[Member, str]) -> str:
    """OpenSSH's known_hosts text for the hosts' public keys."""
    return "".join(
        f"{member.address},{member.name} {' '.join(key.split()[:2])}\n" for member, key in keys.items()
    )


def write(layout: Layout, members: Sequence[Member]) -> None:
    """Writes the inventory and the known hosts."""
    for path, text in documents(layout, members).items():
        file = layout.inventory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    keys = {member: (layout.host(member.name) / "host_key.pub").read_text() for member in members}
    layout.known_hosts.write_text(known_hosts(keys))
