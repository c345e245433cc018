"""How a task of a rendered playbook ended, as data that travels in Ansible's result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from gitops.channel.faults import Fault
from gitops.errors import PermanentError, Where

Kind = Literal["pull", "create", "exit", "unhealthy", "edge", "judged", "timeout", "stopped"] | Fault
"""What went wrong, for whoever decides what follows: a fault of a host, or of the commit."""

LOG_LINES = 20  # last lines of a container's output that a failure carries
_AT_ONCE = 8  # containers of one host that are started, watched or stopped side by side

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A task that succeeded.

    Attributes:
        changed: whether it changed the host.
        message: what it did, one line for a person.
    """

    changed: bool
    message: str


class TaskError(PermanentError):
    """A task that failed.

    Attributes:
        kind: what went wrong.
        service: the service concerned, or empty.
        container: the container concerned, or empty.
        logs: its last lines of output.
        ports: of kind `port` the host ports concerned.
    """

    def __init__(
        self,
        message: str,
        kind: Kind,
        *,
        service: str = "",
        container: str = "",
        logs: Sequence[str] = (),
        hint: str = "",
        ports: Sequence[int] = (),
    ) -> None:
        self.ports = tuple(ports)
        self.kind: Kind = kind
        self.service = service
        self.container = container
        self.logs = tuple(logs)[-LOG_LINES:]
        super().__init__(message, hint=hint, where=Where(container=container))

    def data(self, host: str) -> dict[str, Any]:
        """The fields that the controller reads from the task's result."""
        ports = {"ports": list(self.ports)} if self.ports else {}
        return {
            **ports,
            "host": host,
            "service": self.service,
            "container": self.container,
            "kind": self.kind,
            "message": self.message,
            "logs": list(self.logs),
        }


def side_by_side(work: Callable[[T], Outcome], items: Sequence[T]) -> Outcome:
    """Does the same for several containers of one host at once.

    Raises:
        TaskError: the first failure in the order of the items; the others are carried through.
    """
    if len(items) <= 1:
        return combined(map(work, items))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return combined(pool.map(work, items))


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """Several outcomes as one."""
    every = list(outcomes)
    return Outcome(any(o.changed for o in every), "; ".join(o.message for o in every) or "nothing to do here")
