"""Starts and removes containers of one host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.channel.engine import Engine
from gitops.channel.failures import EngineError, NotFoundError
from gitops.tasks.outcome import Outcome, TaskError, side_by_side

APP, SERVICE, SLOT, SPEC = "gitops.app", "gitops.service", "gitops.slot", "gitops.spec"

Row = Mapping[str, Any]


def start(engine: Engine, folder: Path, rows: Sequence[Row], *, check: bool = False) -> Outcome:
    """Creates and starts containers unless they are there with the same spec.

    Args:
        engine: of the host.
        folder: the run folder; the rows' `spec` is relative to it.
        rows: `name`, `slot`, `spec` (file) and `ports` ([container port, host port] pairs) each.
        check: whether only to say what would be done.

    Raises:
        TaskError: kind `create`.
    """
    services = {row["spec"]: json.loads((folder / row["spec"]).read_text()) for row in rows}
    changed = False
    if not check:
        for service in services.values():
            changed |= _surroundings(engine, service)
    outcome = side_by_side(lambda row: _start(engine, services[row["spec"]], row, check=check), rows)
    return Outcome(outcome.changed or changed, outcome.message)


def remove(engine: Engine, rows: Sequence[Row], *, check: bool = False) -> Outcome:
    """Stops and removes containers; named volumes stay.

    Args:
        engine: of the host.
        rows: `name` and `grace_s`, the seconds between the stop signal and the kill.
        check: whether only to say what would be done.

    Raises:
        TaskError: kind `create`: the name belongs to a container that is not ours.
    """
    return side_by_side(lambda row: _remove(engine, row["name"], row["grace_s"], check=check), rows)


def find(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of a container, or None."""
    try:
        return engine.inspect(name)
    except NotFoundError:
        return None


def last_lines(engine: Engine, name: str) -> list[str]:
    """The end of a container's output; empty where the engine cannot tell."""
    try:
        return engine.logs(name)
    except EngineError:
        return []


def _start(engine: Engine, service: Row, row: Row, *, check: bool) -> Outcome:
    name, label = row["name"], f"{service['service']}.{row['slot']}"
    body = slot_body(service["body"], row)
    there = find(engine, name)
    if there is not None and _same(there, body):
        if there["State"]["Running"]:
            return Outcome(changed=False, message=f"{label} runs")
    elif there is not None:
        _own(there, name)
    if check:
        return Outcome(changed=True, message=f"{label} would be started")
    try:
        if there is not None and not _same(there, body):
            engine.remove(name, force=True)
            there = None
        if there is None:
            engine.create(name, body)
        engine.start(name)
    except EngineError as error:
        message = f"{label} cannot be started: {error.message}"
        raise TaskError(message, "create", service=service["service"], container=name) from error
    return Outcome(changed=True, message=f"{label} started")


def slot_body(body: Row, row: Row) -> dict[str, Any]:
    """The service's body with what is the slot's own: label and allotted ports."""
    host_config = dict(body["HostConfig"])
    allotted = {f"{port}/tcp": [{"HostPort": str(host_port)}] for port, host_port in row["ports"]}
    if allotted or "PortBindings" in host_config:
        host_config["PortBindings"] = _joined(host_config.get("PortBindings", {}), allotted)
    return {**body, "Labels": {**body["Labels"], SLOT: str(row["slot"])}, "HostConfig": host_config}


def _joined(fixed: Row, allotted: Row) -> dict[str, list[dict[str, str]]]:
    return {port: [*fixed.get(port, []), *allotted.get(port, [])] for port in sorted({*fixed, *allotted})}


def _surroundings(engine: Engine, service: Row) -> bool:
    """Network and named volumes, before the containers that need them; whether any was made."""
    labels = {APP: service["body"]["Labels"][APP]}
    made = engine.ensure_network(service["network"], labels)
    for volume, options in service["volumes"].items():
        made |= engine.ensure_volume(volume, options, labels)
    return made


def _same(there: Row, body: Row) -> bool:
    """Whether a container is the one that the body describes: spec, slot, and the ports that are wanted."""
    labels = there["Config"].get("Labels") or {}
    marks = all(labels.get(key) == body["Labels"][key] for key in (APP, SERVICE, SLOT, SPEC))
    return marks and _bindings(body) <= _bindings(there)


def _bindings(described: Row) -> set[tuple[str, str]]:
    """(container port, host port), as `8080/tcp` and `20000`."""
    ports = described["HostConfig"].get("PortBindings") or {}
    return {(port, entry["HostPort"]) for port, entries in ports.items() for entry in entries or []}


def _remove(engine: Engine, name: str, grace_s: float, *, check: bool) -> Outcome:
    there = find(engine, name)
    if there is None:
        return Outcome(changed=False, message=f"{name} is gone")
    _own(there, name)
    if check:
        return Outcome(changed=True, message=f"{name} would be stopped and removed")
    try:
        if there["State"]["Running"]:
            engine.stop(name, grace_s=grace_s)
        engine.remove(name, force=True)
    except NotFoundError:
        pass  # somebody else was quicker: what we wanted
    return Outcome(changed=True, message=f"{name} stopped and removed")


def _own(there: Row, name: str) -> None:
    """Refuses a container that this project has not made."""
    if APP not in (there["Config"].get("Labels") or {}):
        raise TaskError(
            f"the name {name} is taken by a container that is not managed here",
            "create",
            container=name,
            hint="rename or remove it",
        )
