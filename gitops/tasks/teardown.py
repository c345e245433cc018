"""Removes one application from a host."""

from __future__ import annotations

import re
import shlex

from gitops.channel import Channel
from gitops.tasks.container import APP, remove
from gitops.tasks.edge import Target, apply
from gitops.tasks.edge_files import BASE
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


def off_haproxy(channel: Channel, app: str, *, edge: bool, check: bool = False) -> Outcome:
    """Removes the application's part of haproxy.cfg, after its requests have ended.

    Args:
        channel: of the host.
        app: the application.
        edge: whether the host is a load balancer; another one has a part only where it ran consumers.
        check: whether only to say what would be done.
    """
    fragment = f"{BASE}/{check_name(app)}/haproxy.cfg"
    if not edge and channel.run('[ -f "$1" ]', args=(fragment,)).code:
        return Outcome(changed=False, message="HAProxy serves nothing of it here")
    return apply(channel, Target(app, "", drain_s=GRACE_S, edge=edge), check=check)


def containers(channel: Channel, app: str, *, volumes: bool, check: bool = False) -> Outcome:
    """Stops and removes its containers and networks, and on demand its named volumes with their data."""
    engine = channel.engine()
    ours = {"label": [f"{APP}={check_name(app)}"]}
    names = [container["Names"][0].removeprefix("/") for container in engine.containers(ours)]
    networks = [network["Name"] for network in engine.networks(ours)]
    kept = [volume["Name"] for volume in engine.volumes(ours)] if volumes else []
    found = [*names, *networks, *kept]
    if names:
        side_by_side(lambda name: remove(engine, name, GRACE_S, check=check), names)
    if not check:
        for network in networks:
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
