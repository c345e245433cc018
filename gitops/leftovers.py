"""Removes what a good commit has no use for besides containers: an empty network, and volumes on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gitops.channel import Channel
from gitops.channel.engine import Engine
from gitops.errors import GitopsError
from gitops.model.observed import LABEL_APP
from gitops.model.stack import Stack

log = logging.getLogger(__name__)

_SIDE_BY_SIDE = 64  # hosts


def sweep(stack: Stack, channels: Iterable[Channel], *, volumes: bool) -> list[str]:
    """Removes an application's leftovers from its hosts. What goes wrong is logged: it is no failure.

    Args:
        stack: what has just become good.
        channels: of its container hosts.
        volumes: whether named volumes that no service has any more go too, with their data.

    Returns:
        What was removed, `h1: network gitops-shop` and the like, sorted.
    """
    targets = list(channels)
    with ThreadPoolExecutor(max(1, min(len(targets), _SIDE_BY_SIDE))) as pool:
        found = pool.map(partial(_sweep, stack, volumes), targets)
        return sorted(line for lines in found for line in lines)


def _sweep(stack: Stack, volumes: bool, channel: Channel) -> list[str]:
    removed: list[str] = []
    try:
        engine = channel.engine()
        if not engine.containers({"label": [f"{LABEL_APP}={stack.app}"]}):
            removed += [f"{channel.name}: network {name}" for name in _networks(engine, stack.app)]
        if volumes:
            removed += [f"{channel.name}: volume {name}" for name in _volumes(engine, stack)]
    except GitopsError as error:
        log.warning("%s: leftovers stay: %s", stack.app, error)
    return removed


def _networks(engine: Engine, app: str) -> list[str]:
    names = [network["Name"] for network in engine.networks({"label": [f"{LABEL_APP}={app}"]})]
    for name in names:
        engine.remove_network(name)
    return names


def _volumes(engine: Engine, stack: Stack) -> list[str]:
    needed = {f"{stack.app}_{volume}" for service in stack.services for volume in service.volumes}
    there = [volume["Name"] for volume in engine.volumes({"label": [f"{LABEL_APP}={stack.app}"]})]
    names = [name for name in there if name not in needed]
    for name in names:
        engine.remove_volume(name)
    return names
