"""Removes one application from a host."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from gitops.channel import Channel
from gitops.tasks.container import APP, remove
from gitops.tasks.edge import Target, apply
from gitops.tasks.edge_files import BASE, LOADING
from gitops.tasks.outcome import Outcome, TaskError, side_by_side

GRACE_S = 10.0
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def check_name(app: str) -> str:
    """The name of an application, or a refusal: it becomes part of paths.

    Raises:
        TaskError: it is not such a name.
    """
    if not _NAME.fullmatch(app):
        raise TaskError(f"not the name of an application: {app!r}", "create")
    return app


@dataclass(frozen=True)
class Found:
    """What a host has of an application.

    Attributes:
        containers: by name, jobs that have ended among them.
        networks: by name.
        volumes: by name: its data.
        served: whether HAProxy serves something of it, or may.
        files: whether its folder is there.
    """

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    served: bool = False
    files: bool = False

    @property
    def anything(self) -> bool:
        """Whether there is anything to remove but data."""
        return bool(self.containers or self.networks or self.served or self.files)


def find(channel: Channel, app: str, *, engine: bool = True) -> Found:
    """What there is of an application on a host.

    Args:
        channel: of the host.
        app: the application.
        engine: whether the host has a container engine.
    """
    files = channel.run('[ -d "$1" ]', args=(f"{BASE}/{check_name(app)}",)).code == 0
    served = files and _served(channel, app)
    if not engine:
        return Found(served=served, files=files)
    api, ours = channel.engine(), {"label": [f"{APP}={app}"]}
    return Found(
        tuple(sorted(each["Names"][0].removeprefix("/") for each in api.containers(ours))),
        tuple(sorted(each["Name"] for each in api.networks(ours))),
        tuple(sorted(each["Name"] for each in api.volumes(ours))),
        served=served,
        files=files,
    )


def _served(channel: Channel, app: str) -> bool:
    """Whether there is a fragment, or HAProxy may not have loaded yet that there is none any more."""
    places = (f"{BASE}/{app}/haproxy.cfg", f"{BASE}/{app}/{LOADING}")
    return channel.run('[ -e "$1" ] || [ -e "$2" ]', args=places).code == 0


def off_haproxy(channel: Channel, app: str, *, edge: bool, check: bool = False) -> Outcome:
    """Removes the application's part of haproxy.cfg, after its requests have ended.

    Args:
        channel: of the host.
        app: the application.
        edge: whether the host is a load balancer; another one has a part only where it ran consumers.
        check: whether only to say what would be done.
    """
    if not _served(channel, check_name(app)):
        return Outcome(changed=False, message="HAProxy serves nothing of it here")
    return apply(channel, Target(app, "", drain_s=GRACE_S, edge=edge), check=check)


def containers(channel: Channel, app: str, *, volumes: bool, check: bool = False) -> Outcome:
    """Stops and removes its containers and networks, and on demand its named volumes with their data."""
    engine = channel.engine()
    there = find(channel, app)
    kept = there.volumes if volumes else ()
    found = [*there.containers, *there.networks, *kept]
    if there.containers:
        side_by_side(lambda name: remove(engine, name, GRACE_S, check=check), there.containers)
    if not check:
        for network in there.networks:
            engine.remove_network(network)
        for volume in kept:
            engine.remove_volume(volume)
    return Outcome(bool(found), f"removed {', '.join(found)}" if found else "nothing of it is here")


def records(channel: Channel, app: str, *, check: bool = False) -> Outcome:
    """Removes the folder of its release file."""
    folder = shlex.quote(f"{BASE}/{check_name(app)}")
    there = channel.run(f"[ -d {folder} ]").code == 0
    if there and not check:
        channel.run(f"rm -rf {folder}")
    return Outcome(there, f"removed {BASE}/{app}" if there else "there was no release file")
