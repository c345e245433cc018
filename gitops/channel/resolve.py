"""From what Ansible knows of a host to how its channel reaches it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gitops.channel import ssh
from gitops.channel.facts import Settings
from gitops.channel.folder import VARIABLE
from gitops.channel.local import LocalTransport
from gitops.channel.ssh import SshTransport
from gitops.channel.transport import Transport
from gitops.errors import PermanentError, Where


def transport_for(name: str, connection: Any, folder: Path) -> Transport:
    """The transport of a connection plugin object.

    Raises:
        PermanentError: it is neither ssh nor local.
    """
    if connection.transport == "local":
        return LocalTransport(folder)
    if connection.transport == "ssh":
        return SshTransport(name, ssh.control_path(connection), partial(ssh.call, connection))
    raise PermanentError(
        f"the connection {connection.transport!r} is not supported",
        hint="set ansible_connection to ssh or local",
        where=Where(host=name),
    )


def settings_for(values: Mapping[str, Any], become: bool) -> Settings:
    """The settings in a host's variables.

    Raises:
        PermanentError: a way to become root that is not sudo.
    """
    if become and any(key in values for key in ("ansible_become_password", "ansible_become_pass")):
        raise PermanentError(
            "a password for sudo is not supported", hint="allow the user sudo without a password (NOPASSWD)"
        )
    method = str(values.get("ansible_become_method", "sudo"))
    user = str(values.get("ansible_become_user", "root"))
    if become and (method.rpartition(".")[2] != "sudo" or user != "root"):
        raise PermanentError(
            f"becoming {user} by {method} is not supported", hint="use sudo without a password, to root"
        )
    return Settings(
        become=become,
        engine_socket=str(values.get("gitops_engine_socket", "")),
        stats_socket=str(values.get("gitops_haproxy_socket", "")),
        master_socket=str(values.get("gitops_haproxy_master", "")),
    )


def records_folder() -> Path:
    """Where a playbook's local records lie: the controller's folder, else beside Ansible's sockets."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".ansible" / "cp")
