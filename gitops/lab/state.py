"""What a lab remembers between commands: one JSON file, replaced in one step, locked through its folder."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from gitops.errors import PermanentError, TransientError
from gitops.lab.layout import Layout, Member, Shape

_LOCK_SECONDS = 90


@dataclass(frozen=True)
class Process:
    """A process for good: ids are used again, an id with its start time is not.

    Attributes:
        pid: the process id.
        started: clock ticks from the machine's boot to its start.
    """

    pid: int
    started: int


@dataclass
class LabState:
    """A lab as last recorded.

    Attributes:
        shape: how many hosts of each kind.
        python: whether hosts may run Python.
        subnet: N of 198.18.N.0/24; -1 until it is claimed.
        complete: whether `up` came to its end.
        registry: the registry's process.
        hosts: process 1 of every host that is powered on, by name.
        cut: names of the hosts whose cable is cut.
    """

    shape: Shape
    python: bool = False
    subnet: int = -1
    complete: bool = False
    registry: Process | None = None
    hosts: dict[str, Process] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)

    @property
    def members(self) -> tuple[Member, ...]:
        """All hosts."""
        return self.shape.members(self.subnet)

    def member(self, name: str) -> Member:
        """The host of that name.

        Raises:
            PermanentError: there is none.
        """
        for member in self.members:
            if member.name == name:
                return member
        known = ", ".join(member.name for member in self.members)
        raise PermanentError(f"the lab has no host {name!r}", hint=f"its hosts are {known}")


def save(layout: Layout, state: LabState) -> None:
    """Writes the state so that a reader finds the old or the new one, whole."""
    fresh = layout.state.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(state), indent=2) + "\n")
    fresh.replace(layout.state)


def load(layout: Layout) -> LabState:
    """Reads the state.

    Raises:
        PermanentError: there is no lab in the folder, or its state cannot be read.
    """
    try:
        data: dict[str, Any] = json.loads(layout.state.read_text())
        return LabState(
            shape=Shape(**data["shape"]),
            python=bool(data["python"]),
            subnet=int(data["subnet"]),
            complete=bool(data["complete"]),
            registry=Process(**data["registry"]) if data["registry"] else None,
            hosts={name: Process(**process) for name, process in data["hosts"].items()},
            cut=list(data["cut"]),
        )
    except FileNotFoundError as error:
        raise PermanentError(f"there is no lab in {layout.folder}", hint="gitops lab up") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PermanentError(
            f"the state of the lab in {layout.folder} cannot be read", hint="gitops lab down, then up"
        ) from error


def load_whole(layout: Layout) -> LabState:
    """Reads the state of a lab whose `up` came to its end.

    Raises:
        PermanentError: there is none, or it is only half there.
    """
    state = load(layout)
    if not state.complete:
        raise PermanentError(
            f"the lab in {layout.folder} is not whole", hint="wait for its `up`, or run it again"
        )
    return state


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Holds the lab's folder (it must exist): one command at a time changes a lab.

    The lock is the folder itself, so it leaves no file, and ends with its holder however that ends.

    Raises:
        TransientError: another command holds it for longer than a command may take.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        descriptor = os.open(layout.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The lab may have been taken down, and its folder made anew, while we waited.
            if layout.folder.exists() and os.path.samestat(os.fstat(descriptor), layout.folder.stat()):
                yield
                return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another command is at work on the lab in {layout.folder}"
                raise TransientError(message, hint="try again when it has ended") from None
        finally:
            os.close(descriptor)
        time.sleep(0.05)
