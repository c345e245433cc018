"""An engine's containers as containers of the model. One call tells all of those that run."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast, get_args

from gitops.channel import Engine
from gitops.channel.failures import ContainerError, NotFoundError
from gitops.channel.times import lasted_s
from gitops.model.observed import (
    LABEL_APP,
    LABEL_COMMIT,
    LABEL_CPUS,
    LABEL_FENCE,
    LABEL_MEMORY,
    LABEL_SERVICE,
    LABEL_SLOT,
    LABEL_SPEC,
    LABEL_TIMEOUT,
    Container,
    ContainerState,
    Health,
)
from gitops.model.size import Size

Json = dict[str, Any]
EXITED = re.compile(r"Exited \((-?\d+)\)")
HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)")
STATES: frozenset[str] = frozenset(get_args(ContainerState))
UP = re.compile(r"Up (?P<count>\d+|Less than a|About an?) (?P<unit>second|minute)")
TIMEOUT_S = 5.0
YOUNG_S = 600.0
"""Seconds for which a container that its engine has started again counts as one that crashes."""

_SLACK_S = 5.0  # between the making of a container and its start, and between two clocks
_ID = "sha256:"  # begins what an engine lists as image where the name it was made of is another one's now


def read(engine: Engine, host: str) -> tuple[tuple[Container, ...], tuple[int, ...]]:
    """The managed containers of a host, by name, and every host port that any container has published."""
    listed = engine.containers(timeout_s=TIMEOUT_S)
    now = time.time()
    managed = []
    for entry in listed:
        container = parse(entry, host)
        if container is None:
            continue
        again = restarted(entry, now)
        whole = _completed(engine, container, again=again)
        if whole is not None:
            managed.append(replace(whole, crashing=bool(whole.restarts) and _young(whole, again=again)))
    used = {
        port["PublicPort"] for entry in listed for port in entry.get("Ports") or [] if port.get("PublicPort")
    }
    used |= {port for container in managed for _, port in container.ports}
    return tuple(sorted(managed, key=lambda container: container.name)), tuple(sorted(used))


def parse(entry: Json, host: str) -> Container | None:
    """One entry of the engine's list; None where it is not ours. A stray one may have no service or slot."""
    labels = entry.get("Labels") or {}
    app, service, slot = (labels.get(label, "") for label in (LABEL_APP, LABEL_SERVICE, LABEL_SLOT))
    state = str(entry.get("State", "")).lower()
    state = {"configured": "created", "stopped": "exited", "stopping": "running"}.get(
        state, state
    )  # Podman's
    if not (app and state in STATES):
        return None
    status = str(entry.get("Status", ""))
    exited = EXITED.search(status)
    health = HEALTH.search(status)
    return Container(
        id=entry["Id"],
        name=_name(entry["Names"]),
        host=host,
        app=app,
        service=service,
        slot=int(slot) if slot.isdecimal() else 0,
        spec=labels.get(LABEL_SPEC, ""),
        commit=labels.get(LABEL_COMMIT, ""),
        image=entry.get("Image", ""),
        state=cast("ContainerState", state),
        health=cast("Health", health.group(1)) if health else "none",
        exit_code=int(exited.group(1)) if exited else None,
        created_s=float(entry.get("Created") or 0),
        ports=_ports(entry.get("Ports") or []),
        timeout_s=_number(labels.get(LABEL_TIMEOUT, "")),
        fence=labels.get(LABEL_FENCE) == "true",
        reserved=Size(_whole(labels.get(LABEL_CPUS, "")), _whole(labels.get(LABEL_MEMORY, ""))),
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def restarted(entry: Json, now: float) -> bool:
    """Whether a container runs for less than ten minutes and was made well before that.

    Args:
        entry: of the engine's list, which tells how long it runs in words.
        now: seconds since 1970.
    """
    up = UP.match(str(entry.get("Status", "")))
    if up is None:
        return False
    count = int(up["count"]) if up["count"].isdecimal() else 1
    up_s = (count + 1) * (60.0 if up["unit"] == "minute" else 1.0)
    return up_s <= YOUNG_S and now - float(entry.get("Created") or now) > up_s + _SLACK_S


def _young(container: Container, *, again: bool) -> bool:
    """Whether its last restart is not long ago; one that is restarted right now is not up at all."""
    return again or container.state == "restarting"


def _completed(engine: Engine, container: Container, *, again: bool) -> Container | None:
    """What the list leaves out: the ports and end of what does not run, and Podman's health.

    None where it has been removed since the list. One that ended or began again meanwhile, as a container
    in a crash loop does, is as far as it is known: its trouble is not its host's.
    """
    if container.running and not (engine.podman or again or container.image.startswith(_ID)):
        return container
    try:
        details = engine.inspect(container.name)
        container = _inspected(container, details)
        if engine.podman and container.running and container.health == "starting":
            # Without systemd Podman never runs a health check by itself.
            return replace(container, health=_health(engine.healthcheck_run(container.name)))
    except NotFoundError:
        return None
    except ContainerError:
        return container
    return container


def _inspected(container: Container, details: Json) -> Container:
    state = details.get("State", {})
    test = (details.get("Config", {}).get("Healthcheck") or {}).get("Test") or []
    off = test[:1] == ["NONE"]  # Podman lists such a container as one that is starting, for ever
    health = (state.get("Health") or state.get("Healthcheck") or {}).get("Status", "")
    bindings = details.get("HostConfig", {}).get("PortBindings") or {}
    ports = {
        (int(target.partition("/")[0]), int(binding["HostPort"]))
        for target, bound in bindings.items()
        if target.endswith("/tcp")
        for binding in bound or []
        if binding.get("HostPort")
    }
    ended = container.state in {"exited", "dead"}
    asked_for = details.get("Config", {}).get("Image") or container.image
    return replace(
        container,
        image=asked_for if container.image.startswith(_ID) else container.image,
        health="none" if off else _health(health) if test else container.health,
        exit_code=int(state.get("ExitCode", 0)) if ended else container.exit_code,
        restarts=int(details.get("RestartCount", 0)),
        ports=tuple(sorted(ports)),
        ran_s=lasted_s(state) if container.job and ended else 0.0,
    )


def _health(word: str) -> Health:
    return cast("Health", word) if word in get_args(Health) else "starting"


def _name(names: Iterable[str]) -> str:
    """The container's own name: further ones are links from other containers, with two slashes."""
    return min(names, key=lambda name: name.count("/")).lstrip("/")


def _ports(ports: Iterable[Json]) -> tuple[tuple[int, int], ...]:
    found = {
        (int(port["PrivatePort"]), int(port["PublicPort"]))
        for port in ports
        if port.get("PublicPort") and port.get("Type", "tcp") == "tcp"
    }
    return tuple(sorted(found))  # IPv4 and IPv6 say the same
