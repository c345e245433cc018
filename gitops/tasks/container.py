"""Starts and removes one container."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitops.channel.engine import Engine
from gitops.channel.failures import ContainerError, EngineError, NotFoundError, PortTakenError
from gitops.channel.faults import fault_of, named_ports
from gitops.tasks.outcome import LOG_LINES, Outcome, TaskError

APP, SERVICE, SLOT, SPEC = "gitops.app", "gitops.service", "gitops.slot", "gitops.spec"

KILL_S = 10.0  # for a container to be gone after its kill

Row = Mapping[str, Any]
"""What a task says of one container."""

Service = Mapping[str, Any]
"""What a file in `services/` says of one service."""


def read_service(path: Path) -> Service:
    """One file of `services/`."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def surroundings(engine: Engine, service: Service) -> bool:
    """Network and named volumes, before the containers that need them; whether any was made."""
    labels = {APP: service["body"]["Labels"][APP]}
    made = engine.ensure_network(service["network"], labels)
    for volume, options in service["volumes"].items():
        made |= engine.ensure_volume(volume, options, labels)
    return made


def find(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of a container, or None."""
    try:
        return engine.inspect(name)
    except NotFoundError:
        return None


def last_lines(engine: Engine, name: str, most: int = LOG_LINES) -> list[str]:
    """The end of a container's output; empty where the engine cannot tell."""
    try:
        return engine.logs(name, tail=most)
    except EngineError:
        return []


def start(engine: Engine, service: Service, row: Row, *, check: bool = False) -> Outcome:
    """Creates and starts a container unless it is there with the same spec, slot and ports, and runs.

    Raises:
        TaskError: kind `create`, or the fault of the host.
    """
    name, label = row["name"], f"{service['service']}.{row['slot']}"
    body = slot_body(service["body"], row)
    there = find(engine, name)
    if there is not None and same(there, body):
        if there["State"]["Running"] and not there["State"].get("Paused"):
            return Outcome(changed=False, message=f"{label} runs")
    elif there is not None:
        _own(there, name)
    if check:
        return Outcome(changed=True, message=f"{label} would be started")
    try:
        if there is not None and not same(there, body):
            engine.remove(name, force=True)
            there = None
        if there is None:
            engine.create(name, _with_process(engine, body, row, service["service"]))
        if there is not None and there["State"].get("Paused"):
            # Let go on it would serve at once, while its engine holds it for unhealthy for an interval.
            engine.kill(name)
            engine.wait(name, timeout_s=KILL_S)
        engine.start(name)
    except EngineError as error:
        message = f"{label} cannot be started: {error.message}"
        ports = named_ports(error.message, published(body)) if isinstance(error, PortTakenError) else ()
        kind = fault_of(error) or "create"
        raise TaskError(message, kind, service=service["service"], container=name, ports=ports) from error
    return Outcome(changed=True, message=f"{label} started")


def _with_process(engine: Engine, body: dict[str, Any], row: Row, service: str) -> dict[str, Any]:
    """The body with an empty `command` or `entrypoint` said so that each engine understands it.

    To engines an empty list is one that was not given: Docker runs the image's CMD for an empty `Cmd`,
    and Podman the image's entrypoint for an empty `Entrypoint`. Where the entrypoint is said, neither
    adds the image's CMD; one of an empty word is none.
    """
    cleared, no_words = body.get("Entrypoint") == [], body.get("Cmd") == []
    if not (cleared or (no_words and "Entrypoint" not in body)):
        return body
    image = (engine.image(body["Image"]) or {}).get("Config") or {}
    entrypoint = [""] if cleared else list(image.get("Entrypoint") or ())
    command = body["Cmd"] if "Cmd" in body else list(image.get("Cmd") or ())
    if not any((*entrypoint, *command)):
        raise TaskError(
            f"{service}.{row['slot']} has nothing to run: neither an entrypoint nor a command",
            "create",
            service=service,
            container=row["name"],
            hint="an empty `command` leaves the image's entrypoint alone, which this image does not have",
        )
    return {**body, "Entrypoint": entrypoint, "Cmd": command}


def slot_body(body: Service, row: Row) -> dict[str, Any]:
    """The service's body with what is the slot's own: label and allotted ports."""
    host_config = dict(body["HostConfig"])
    allotted = {f"{port}/tcp": [{"HostPort": str(host_port)}] for port, host_port in row["ports"]}
    if allotted or "PortBindings" in host_config:
        host_config["PortBindings"] = _joined(host_config.get("PortBindings", {}), allotted)
    return {**body, "Labels": {**body["Labels"], SLOT: str(row["slot"])}, "HostConfig": host_config}


def _joined(fixed: Row, allotted: Row) -> dict[str, list[dict[str, str]]]:
    return {port: [*fixed.get(port, []), *allotted.get(port, [])] for port in sorted({*fixed, *allotted})}


def same(there: Row, body: Row) -> bool:
    """Whether a container is the one that the body describes: spec, slot, and the ports that are wanted."""
    labels = there["Config"].get("Labels") or {}
    marks = all(labels.get(key) == body["Labels"][key] for key in (APP, SERVICE, SLOT, SPEC))
    return marks and _bindings(body) <= _bindings(there)


def published(body: Row) -> tuple[int, ...]:
    """The host ports of a container, allotted and fixed ones."""
    return tuple(sorted({int(port) for _, port in _bindings(body) if port.isdecimal()}))


def _bindings(described: Row) -> set[tuple[str, str]]:
    """(container port, host port), as `8080/tcp` and `20000`."""
    ports = described["HostConfig"].get("PortBindings") or {}
    return {(port, entry["HostPort"]) for port, entries in ports.items() for entry in entries or []}


def remove(engine: Engine, name: str, grace_s: float, *, check: bool = False) -> Outcome:
    """Stops and removes a container; named volumes stay.

    Args:
        engine: of the host.
        name: of the container.
        grace_s: seconds between the stop signal and the kill.
        check: whether only to say what would be done.

    Raises:
        TaskError: kind `create`: the name belongs to a container that is not ours.
    """
    there = find(engine, name)
    if there is None:
        return Outcome(changed=False, message=f"{name} is gone")
    _own(there, name)
    if check:
        return Outcome(changed=True, message=f"{name} would be stopped and removed")
    with suppress(NotFoundError):  # somebody else was quicker: what we wanted
        with suppress(ContainerError):  # one in a crash loop may have ended, or begun again, since the look
            if there["State"].get("Paused"):
                engine.unpause(name)  # it has to hear the stop signal
            if there["State"]["Running"]:
                engine.stop(name, grace_s=grace_s)
        engine.remove(name, force=True)
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
