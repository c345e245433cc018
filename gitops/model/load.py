"""The load of services as their load balancers and engines report it, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gitops.model.stack import Metric


@dataclass(frozen=True)
class EdgeLoad:
    """One service at one HAProxy, all its backends together."""

    sessions: int = 0  # now, with those that wait, and those of workers from before a reload
    queued: int = 0  # now
    requests: int = 0  # since its HAProxy was last reloaded
    mean_ms: float = 0.0  # response time of its last answers


@dataclass(frozen=True)
class ContainerLoad:
    """One container of a service."""

    cpu_s: float  # processor time since it was started
    memory: int  # bytes, without what the kernel could drop at once


@dataclass(frozen=True)
class Sample:
    """One look at an application's load.

    Attributes:
        at: monotonic seconds.
        edges: by host of the HAProxy, and service.
        containers: by service and container id.
        complete: whether everything that was asked has answered.
    """

    at: float
    edges: Mapping[tuple[str, str], EdgeLoad] = field(default_factory=dict)
    containers: Mapping[tuple[str, str], ContainerLoad] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True)
class Reading:
    """What a service's metrics were last, each for one replica, and when."""

    at: str  # ISO 8601, UTC
    values: Mapping[Metric, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaling:
    """A change of one service's count of replicas, and why."""

    service: str
    before: int
    after: int
    reason: str  # with its numbers

    def __str__(self) -> str:
        """As history tells it."""
        return f"scaled {self.service} {self.before} -> {self.after}: {self.reason}"
