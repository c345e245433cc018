"""The channels of a controller to its fleet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from gitops.channel import ssh
from gitops.channel.channel import Channel
from gitops.channel.folder import end_folder
from gitops.channel.resolve import settings_for, transport_for


class HostLike(Protocol):
    """A host of the inventory."""

    @property
    def name(self) -> str:
        """Its inventory name."""
        ...

    @property
    def variables(self) -> Iterable[tuple[str, Any]]:
        """Its connection variables, templates resolved."""
        ...


def open_channels(hosts: Iterable[HostLike], folder: Path) -> dict[str, Channel]:
    """A channel to each host by name, over Ansible's own connection plugins. Nothing is connected yet.

    Args:
        hosts: with the inventory's connection variables.
        folder: of this controller: see `own_folder`.

    Raises:
        PermanentError: a host's connection is neither ssh nor local.
    """
    channels = {}
    for host in hosts:
        values = dict(host.variables)
        connection = ssh.plugin(host.name, values, folder)
        become = str(values.get("ansible_become", "")).lower() in {"true", "yes", "on", "1"}
        channels[host.name] = Channel(
            host.name, transport_for(host.name, connection, folder), settings_for(values, become)
        )
    return channels


def close_channels(channels: Iterable[Channel], folder: Path) -> None:
    """Ends the channels and everything else in the controller's folder."""
    for channel in channels:
        channel.close()
    end_folder(folder)
