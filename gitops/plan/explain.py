"""Why a container is started, replaced or removed: differences of two specs as data, then as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from gitops.model.image import parse, short
from gitops.model.observed import Container
from gitops.model.stack import ContainerSpec, Service

Operation = Literal["added", "changed", "removed"]

_SHOWN = 4  # differences that a reason spells out before it only counts

# Keyed fields are compared key by key. Their values may be secrets: a reason names the key alone.
_KEYED = {
    "environment": "env",
    "labels": "label",
    "sysctls": "sysctl",
    "extra_hosts": "extra host",
}
# Names as the Compose file has them, where the field's own name is not that.
_COMPOSE = {
    "mounts": "volumes",
    "stop_grace_period_s": "stop_grace_period",
    "cpu_limit": "cpu limit",
    "memory_limit": "memory limit",
    "pids_limit": "pids limit",
    "reserved": "reservation",
    "target_ports": "ports",
    "host_ports": "host ports",
}


@dataclass(frozen=True)
class Difference:
    """One difference of two specs. Values are kept for the image alone: any other may hold a secret."""

    path: str  # "image", "env DB_HOST", "command"
    operation: Operation
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        """The difference as an operator reads it: `env DB_HOST changed`."""
        values = f": {self.old} -> {self.new}" if self.old or self.new else ""
        return f"{self.path} {self.operation}{values}"


def differences(old: ContainerSpec, new: ContainerSpec) -> tuple[Difference, ...]:
    """What changed between two specs of one service, in the order of the spec's fields.

    Args:
        old: the spec that a container runs with.
        new: the spec that it should run with.

    Returns:
        One entry a changed field; of environment, labels and the like one a changed key.
    """
    found: list[Difference] = []
    for field in fields(ContainerSpec):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if field.name == "image":
            found.append(Difference("image", "changed", short(before), short(after)))
        elif field.name in _KEYED:
            found += _by_key(_KEYED[field.name], dict(before), dict(after))
        else:
            found.append(Difference(_COMPOSE.get(field.name, field.name), "changed"))
    return tuple(found)


def _by_key(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    found: list[Difference] = []
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            found.append(Difference(f"{kind} {key}", "added"))
        elif key not in new:
            found.append(Difference(f"{kind} {key}", "removed"))
        elif old[key] != new[key]:
            found.append(Difference(f"{kind} {key}", "changed"))
    return found


def sentence(found: Iterable[Difference]) -> str:
    """Differences as one short text: `image changed: a -> b, env X added and 3 more`."""
    texts = [str(difference) for difference in found]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def spec_reason(container: Container, before: Service | None, service: Service) -> str:
    """Why a container of another spec than the desired one is replaced.

    Args:
        container: the container as observed.
        before: the service at the previous commit, or None where that is not known.
        service: the service as desired.
    """
    if before is None or before.container.digest != container.spec:
        return "spec changed"
    return sentence(differences(before.container, service.container))


def image_reason(container: Container, service: Service) -> str:
    """Why a container whose label tells the right spec is not of it: somebody made it of another image.

    The digest decides: Podman tells no tag, and of images that are alike it may tell another one's name.
    """
    if container.image == service.container.image:
        return ""
    wanted, there = parse(service.container.image), parse(container.image)
    if not wanted.digest or wanted.digest == there.digest:
        return ""
    return f"image changed by hand: {short(service.container.image)} -> {short(container.image)}"


def state_reason(container: Container) -> str:
    """Why a container of the right spec cannot stay, such as `container exited (3)`; or empty.

    One that its engine is starting again by its restart policy is the engine's business.
    """
    if container.state == "restarting":
        return ""
    if not container.running:
        code = f" ({container.exit_code})" if container.exit_code is not None else ""
        return f"container {container.state}{code}"
    return "" if container.well else "container unhealthy"


def bound_reason(app: str, service: Service, host: str, why: str) -> str:
    """Why a container cannot leave a host that is to be empty, such as a drained one.

    Args:
        app: the application.
        service: a service with named volumes.
        host: where their data lies.
        why: why the host is to be empty: `host h2 drained`.
    """
    names = ", ".join(f"{app}_{volume}" for volume in service.volumes)
    one = len(service.volumes) == 1
    return f"stays: its {'volume' if one else 'volumes'} {names} {'is' if one else 'are'} on {host} ({why})"


def missing_reason(slot: int, before: Service | None, service: Service, *, first: bool) -> str:
    """Why a slot without any container gets one.

    Args:
        slot: its number.
        before: the service at the previous commit, or None.
        service: the service as desired.
        first: whether the service has no container anywhere.
    """
    if before is None:
        return "new service" if first else "replica missing"
    if before.mode != service.mode:
        return f"mode changed: {before.mode} -> {service.mode}"
    if service.mode == "replicated" and before.replicas < slot:
        return f"scaled {before.replicas} -> {service.replicas}"
    return "replica missing"
