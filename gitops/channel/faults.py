"""Failures whose cause is the host: the same call succeeds on another host, or later.

Engines tell a full disk, a taken port and a refused image all with status 500, and with their words alone.
These words are read here, where the answer arrives, and nowhere else: from here on a type says it.
"""

from __future__ import annotations

import re
from typing import Literal

from gitops.channel.failures import (
    AuthenticationError,
    ChannelTimeoutError,
    ContainerError,
    DiskFullError,
    EngineBrokenError,
    EngineError,
    EngineHangsError,
    ForwardingRefusedError,
    HostKeyError,
    HostSetupError,
    LockLostError,
    NotFoundError,
    PoolExhaustedError,
    PortTakenError,
    UnreachableError,
)
from gitops.errors import GitopsError, Where

Fault = Literal["disk", "port", "pool", "engine", "unreachable", "lock"]
"""What a host can fail by."""

_TYPES: tuple[tuple[type[GitopsError], Fault], ...] = (
    (DiskFullError, "disk"),
    (PortTakenError, "port"),
    (PoolExhaustedError, "pool"),
    (EngineHangsError, "engine"),
    (EngineBrokenError, "engine"),
    (LockLostError, "lock"),
    (UnreachableError, "unreachable"),
    (ChannelTimeoutError, "unreachable"),
    (HostSetupError, "unreachable"),
    (ForwardingRefusedError, "unreachable"),
    (HostKeyError, "unreachable"),
    (AuthenticationError, "unreachable"),
)

_WORDS: tuple[tuple[type[EngineError], re.Pattern[str]], ...] = (
    (DiskFullError, re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)),
    (
        PortTakenError,
        re.compile(
            r"port is already allocated"  # Docker: by one of its own containers
            r"|\bbind\b[^\n]*address already in use"  # Docker and Podman: by any other process
            r"|cannot listen on the (?:tcp|udp) port",  # Podman
            re.IGNORECASE,
        ),
    ),
    (
        PoolExhaustedError,
        re.compile(
            r"non-overlapping IPv4 address pool"  # Docker up to 26
            r"|address pools have been (?:fully subnetted|exhausted)"  # Docker from 27
            r"|no available IPv4 addresses on this network"  # Docker: in one network
            r"|could not find free subnet from subnet pools"  # Podman
            r"|failed to find free IP in range"  # netavark: in one network
            r"|no IP addresses available in range set",  # CNI: in one network
            re.IGNORECASE,
        ),
    ),
)


_GONE = re.compile(
    r"no such container|does not exist in database|no container with (?:name|id)", re.IGNORECASE
)
"""Podman says so with status 500 of what has gone between two of its own steps."""


def fault_of(error: BaseException) -> Fault | None:
    """Which fault of the host an error is, by its type; None where the host is not at fault."""
    return next((fault for kind, fault in _TYPES if isinstance(error, kind)), None)


def refusal(message: str, *, status: int = 0, where: Where | None = None) -> EngineError:
    """The error for an engine's refusal, of the type that its words mean.

    Args:
        message: the engine's words.
        status: the HTTP status, or 0 where the error came inside a stream.
        where: the host, and the container where the call was about one.
    """
    kind = next((kind for kind, words in _WORDS if words.search(message)), None)
    about_one = where is not None and where.container
    if kind is None and (status == _NOT_FOUND or (about_one and _GONE.search(message))):
        kind = NotFoundError
    if kind is None:
        kind = ContainerError if about_one else EngineError
    return kind(message, status=status, where=where)


def named_ports(words: str, published: tuple[int, ...]) -> tuple[int, ...]:
    """The ports that a refusal names, of those that the container publishes; all of them if it names none."""
    said = {int(number) for number in re.findall(r":(\d{1,5})\b", words)}
    return tuple(port for port in published if port in said) or published


_NOT_FOUND = 404
