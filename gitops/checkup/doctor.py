"""`gitops doctor`: what is missing on the controller and the hosts, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gitops.application import Application
from gitops.channel import Channel
from gitops.checkup import controller
from gitops.checkup.check import CONTROLLER, Check, bad, good
from gitops.checkup.hosts import examine_host
from gitops.checkup.orphans import strangers
from gitops.config import load
from gitops.connections import Connections
from gitops.desired import inventory as inventories
from gitops.errors import GitopsError, InvalidInputError
from gitops.model.fleet import Fleet, Host
from gitops.places import find_config
from gitops.plan.discovery import sought
from gitops.session import Session

SIDE_BY_SIDE = 32  # hosts examined at once


def examine(config: Path | None, inventory: Path | None) -> dict[str, Any]:
    """Examines the controller and every host.

    Args:
        config: gitops.yaml, or None for its usual places.
        inventory: whose hosts; None for those of every application in gitops.yaml.

    Returns:
        `{"ok": bool, "checks": [{"host", "check", "ok", "message", "fix", "fix_on"}]}`.
    """
    checks = controller.machine()
    fleets: list[Fleet] = []
    networks: dict[str, str] = {}
    apps: list[str] | None = None
    if inventory is not None:
        checks += _inventory(inventory, fleets)
    else:
        checks += _configuration(config, fleets, networks)
        apps = _named(config)
    hosts = {host.name: host for fleet in fleets for host in fleet.hosts}
    checks += _hosts((hosts[name] for name in sorted(hosts)), networks)
    if apps is not None:
        answering = {check.host for check in checks if check.ok and check.check == "connection"}
        known = [hosts[name] for name in sorted(answering & hosts.keys())]
        checks += strangers(known, apps, _deployed(config))
    return {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


def _named(config: Path | None) -> list[str] | None:
    """The applications of gitops.yaml; None where it cannot be read, which another check says."""
    try:
        return sorted(load(find_config(config)).apps)
    except GitopsError:
        return None


def _deployed(config: Path | None) -> list[str]:
    """Those that this controller has deployed; none where its store cannot be read."""
    with suppress(GitopsError), Session.open(config) as session:
        return session.store.deployed()
    return []


def _inventory(inventory: Path, fleets: list[Fleet]) -> list[Check]:
    try:
        fleets.append(inventories.load(inventory, trusted=True))
    except GitopsError as problem:
        fix = f"gitops validate --inventory {inventory}"
        return [bad(CONTROLLER, "inventory", str(problem), fix)]
    return [good(CONTROLLER, "inventory", f"{inventory}: {len(fleets[-1].hosts)} hosts")]


def _configuration(config: Path | None, fleets: list[Fleet], networks: dict[str, str]) -> list[Check]:
    """gitops.yaml, the state folder, and each application's repository and inventory.

    `networks` gets the service network of each host that needs one.
    """
    try:
        file = find_config(config)
    except GitopsError as problem:
        fix = "gitops init DIR   # writes one to begin with"
        return [bad(CONTROLLER, "configuration", str(problem), fix)]
    try:
        settings = load(file)
    except GitopsError as problem:
        return [bad(CONTROLLER, "configuration", str(problem), f"${{EDITOR:-vi}} {file}")]
    state = controller.state_folder(settings.state_dir)
    checks = [good(CONTROLLER, "configuration", f"{file}: {len(settings.apps)} applications"), state]
    if not state.ok:
        return checks
    try:
        session = Session.open(file)
    except GitopsError as problem:
        return [*checks, bad(CONTROLLER, "store", problem.message, problem.hint)]
    with session:
        for name in sorted(session.settings.apps):
            repo = session.settings.apps[name].source.repo
            try:
                app = session.application(name)
                commit = app.fetch()
                fleets.append(app.fleet(commit))
                networks |= _wanted_networks(app, commit, fleets[-1])
            except GitopsError as problem:
                fix = f"git ls-remote {repo}"
                checks.append(bad(CONTROLLER, f"application {name}", str(problem), fix))
            else:
                checks.append(good(CONTROLLER, f"application {name}", f"{repo} is at {commit[:12]}"))
    return checks


def _wanted_networks(app: Application, commit: str, fleet: Fleet) -> dict[str, str]:
    """The service network of each container host, where services of the application look for each other."""
    with suppress(InvalidInputError):  # what is wrong with the commit is not the hosts' fault
        if sought(app.at(commit).stack):
            return dict.fromkeys((host.name for host in fleet.container_hosts), app.settings.service_network)
    return {}


def _hosts(hosts: Iterable[Host], networks: Mapping[str, str]) -> list[Check]:
    """The checks of every host, side by side."""
    with Connections(owner="gitops doctor") as connections, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found: list[list[Check]] = []
        opened: list[tuple[Host, Channel]] = []
        for host in hosts:
            try:
                opened.append((host, connections.open(Fleet((host,)))[host.name]))
            except GitopsError as problem:
                found.append([bad(host.name, "connection", problem.message, problem.hint, on=CONTROLLER)])
        wanted = [networks.get(host.name, "") for host, _ in opened]
        found += pool.map(examine_host, *zip(*opened, strict=True), wanted) if opened else ()
    return sorted((check for checks in found for check in checks), key=lambda check: check.host)
