"""What a run tells: events as they come, and in the end why it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from gitops.channel.faults import Fault
from gitops.model.run import HERE
from gitops.tasks import story


@dataclass(frozen=True)
class Event:
    """One thing that happened in a deployment."""

    at: str  # ISO 8601, UTC
    kind: str  # play, started, ok, changed, failed, unreachable, job; of our own: state, absent, fence ...
    message: str = ""  # one line for people; more for a failure
    host: str = ""
    task: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)  # what programs read; JSON


@dataclass(frozen=True)
class Failure:
    """Why a run failed."""

    kind: str  # `gitops.tasks.outcome.Kind`, or internal
    message: str
    host: str = ""
    service: str = ""
    container: str = ""
    logs: tuple[str, ...] = ()  # the container's last lines
    ports: tuple[int, ...] = ()  # of kind `port`: those of the host that somebody else holds

    @property
    def of_host(self) -> bool:
        """Whether the host is at fault: the commit may succeed elsewhere, or later."""
        return self.kind in get_args(Fault)

    @property
    def reason(self) -> str:
        """As the record and the quarantine state it: where, what, and the last log lines."""
        place = " ".join(part for part in (self.service, self._where()) if part)
        head = f"{place}: {self.message}" if place else self.message
        return "\n".join([head, *(f"  | {line}" for line in self.logs)])

    def _where(self) -> str:
        machine = "/".join(part for part in (self.host, self.container) if part)
        return f"on {machine}" if machine and self.service else machine


TOLD = {
    "playbook_on_play_start": "play",
    "playbook_on_task_start": "started",
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
}
"""ansible-runner's events that are told, and what they are called here."""


def event_of(raw: Mapping[str, Any]) -> Event | None:
    """An event as ansible-runner reports it, or None for those that say nothing of their own."""
    if raw.get("event") == "verbose":
        return _step_of(raw)
    kind = TOLD.get(str(raw.get("event")))
    if kind is None:
        return None
    data: Mapping[str, Any] = raw.get("event_data") or {}
    if kind == "ok" and data.get("host") == HERE:
        return None  # its steps have been told of, one by one
    result: Mapping[str, Any] = data.get("res") or {}
    if kind == "failed" and data.get("ignore_errors"):
        kind = "ok"
    if kind == "ok" and result.get("changed"):
        kind = "changed"
    task = str(data.get("task") or "")
    message = str(result.get("msg") or task or data.get("name") or data.get("play") or "")
    fields = result.get("gitops")
    fields = fields if isinstance(fields, dict) else {}
    host = str(fields.get("host") or data.get("host") or "")  # where it happened, not where the task ran
    return Event(
        at=str(raw.get("created") or ""),
        kind=kind,
        message=message.removeprefix(f"{host}: "),
        host=host,
        task=task,
        data=fields,
    )


def _step_of(raw: Mapping[str, Any]) -> Event | None:
    """A step of a rollout that its task has told of, in words."""
    told = story.read(str(raw.get("stdout") or ""))
    if told is None:
        return None
    mark, host, message = told
    at = str(raw.get("created") or "")
    if mark == story.SAID:
        if (heard := story.said(message)) is None:
            return None
        replica, lines = heard
        text = "\n".join([f"{replica} said:", *(f"  | {line}" for line in lines)])
        return Event(at=at, kind="job", message=text, host=host, data={"replica": replica, "lines": lines})
    kind = {story.DONE: "changed", story.WAITS: "waits"}.get(mark, "ok")
    return Event(at=at, kind=kind, message=message, host=host)


def failure_of(event: Event) -> Failure | None:
    """The failure that an event tells of, or None."""
    if event.kind not in {"failed", "unreachable"}:
        return None
    data = event.data
    if not data:
        kind = "unreachable" if event.kind == "unreachable" else "internal"
        return Failure(kind, event.message or event.task, host=event.host)
    return Failure(
        kind=str(data.get("kind") or "internal"),
        message=str(data.get("message") or event.message),
        host=str(data.get("host") or event.host),
        service=str(data.get("service") or ""),
        container=str(data.get("container") or ""),
        logs=tuple(str(line) for line in data.get("logs") or ()),
        ports=tuple(int(port) for port in data.get("ports") or ()),
    )
