"""`gitops unlock`: who holds the locks of hosts, and the end of a connection that holds one for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gitops.application import Application
from gitops.channel import Owner
from gitops.connections import Connections
from gitops.desired import inventory as inventories
from gitops.errors import GitopsError, PermanentError
from gitops.model.fleet import Fleet, Host
from gitops.session import Session

SIDE_BY_SIDE = 32  # hosts asked at once


def unlock(
    names: Sequence[str], *, config: Path | None, inventory: Path | None, app: str, force: bool
) -> dict[str, Any]:
    """Says who holds the lock of each host, or ends the connection that holds it.

    Args:
        names: the hosts, by inventory name.
        config: gitops.yaml, or None for its usual places.
        inventory: where the hosts are; None for the applications of gitops.yaml.
        app: one of these, or empty for all.
        force: whether to take the locks over.

    Returns:
        `{"locks": [{"host", "state", "owner": {"name", "process", "controller", "since"}, "error"}]}`,
        in the order of the names. `state` is free, held, taken-over (by this call, from `owner`),
        or unknown where the host could not be asked.

    Raises:
        PermanentError: no such host, or two different ones of that name.
    """
    fleets = [inventories.load(inventory, trusted=True)] if inventory else _fleets(config, app)
    hosts = [_host(fleets, name) for name in dict.fromkeys(names)]
    with Connections(owner="gitops unlock") as connections, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return {"locks": list(pool.map(lambda host: _lock(connections, host, force=force), hosts))}


def _fleets(config: Path | None, app: str) -> list[Fleet]:
    with Session.open(config) as session:
        return [
            _fleet(session.application(name)) for name in ([app] if app else sorted(session.settings.apps))
        ]


def _fleet(app: Application) -> Fleet:
    """Its hosts; for those of the repo the commit last seen will do where the Git server does not answer."""
    if not app.settings.inventory_in_repo:
        return app.fleet("")
    try:
        return app.fleet(app.fetch())
    except GitopsError:
        if seen := app.store.target(app.name):
            return app.fleet(seen)
        raise


def _host(fleets: Sequence[Fleet], name: str) -> Host:
    found = [host for fleet in fleets for host in fleet.hosts if host.name == name]
    if not found:
        known = ", ".join(sorted({host.name for fleet in fleets for host in fleet.hosts}))
        raise PermanentError(f"no host {name!r} in the inventory", hint=f"there are: {known or 'none'}")
    if len({host.variables for host in found}) > 1:
        raise PermanentError(
            f"inventories differ in how to reach {name}", hint="say which: --app APP, or --inventory PATH"
        )
    return found[0]


def _lock(connections: Connections, host: Host, *, force: bool) -> dict[str, Any]:
    try:
        channel = connections.open(Fleet((host,)))[host.name]
        found = channel.take_over() if force else channel.holder()
    except GitopsError as problem:
        return _view(host, "unknown", None, problem.message + (f" ({problem.hint})" if problem.hint else ""))
    if not found.held:
        return _view(host, "free", None)
    return _view(host, "taken-over" if force else "held", found.owner)


def _view(host: Host, state: str, owner: Owner | None, error: str = "") -> dict[str, Any]:
    return {
        "host": host.name,
        "state": state,
        "owner": owner and {
            "name": owner.name, "process": owner.pid, "controller": owner.host, "since": owner.since,
        },
        "error": error,
    }  # fmt: skip
