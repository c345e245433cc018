"""`depends_on`: what must be so of other services before one starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from gitops.desired.fields import Fields, string
from gitops.errors import Where
from gitops.model.stack import Condition, Dependency, Job

_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_COMPLETED: Condition = "service_completed_successfully"
_RANKS = {"pre-deploy": 0, "in-order": 1, "post-deploy": 2}


@dataclass(frozen=True)
class Entry:
    """One entry of `depends_on` with its places."""

    dependency: Dependency
    required: bool
    where: Where
    condition: Where  # where the condition stands, else the entry


def parse_depends_on(fields: Fields) -> tuple[Entry, ...]:
    """Reads `depends_on`, a list of names or a mapping of them."""
    node = fields.get("depends_on")
    if node is None:
        return ()
    if isinstance(node.value, tuple):
        return tuple(
            Entry(Dependency(item.value), required=True, where=item.where, condition=item.where)
            for item in node.items
            if string(item, fields.at("depends_on"), fields.problems, expected="a service name")
            and isinstance(item.value, str)
        )
    if not isinstance(node.value, dict):
        fields.wrong("depends_on", f"expected a list or a mapping, found {node.kind}")
    found: list[Entry] = []
    for name, value in node.entries.items():
        child = Fields(value, "dependency", f"{fields.at('depends_on')}.{name}", fields.problems)
        condition = cast("Condition", child.choice("condition", _CONDITIONS) or "service_started")
        if child.boolean("restart"):
            child.wrong("restart", "only what has changed is replaced", "leave it out")
        given = child.get("condition")
        required = child.boolean("required") is not False
        place = given.where if given else value.place
        found.append(Entry(Dependency(name, condition), required, value.place, place))
    return tuple(found)


def rank(job: Job | None) -> int:
    """What comes first: jobs before the deployment, services and jobs in order, jobs after it."""
    return _RANKS[job.when] if job else _RANKS["in-order"]


def objections(
    name: str, job: Job | None, wanted: Dependency, other: Job | None
) -> Iterator[tuple[str, str]]:
    """Why a service cannot depend so on another, each with what to do.

    Args:
        name: the service.
        job: what it is, if it is a job.
        wanted: what it depends on.
        other: what that is, if it is a job.
    """
    if other and wanted.condition != _COMPLETED:
        yield "a job does not stay up, it completes", f"`{wanted.service}: {{condition: {_COMPLETED}}}`"
    if not other and wanted.condition == _COMPLETED:
        hint = f"`service_healthy`, or `x-job` on {wanted.service}"
        yield "it is no job: it stays up, and does not complete", hint
    if rank(job) == _RANKS["pre-deploy"] < rank(other):
        hint = f"`x-job: {{when: in-order}}` on {name} runs it at its place"
        yield "a pre-deploy job runs before everything else", hint
    elif rank(job) < rank(other):
        hint = f"`x-job: {{when: in-order}}` on {wanted.service} runs it at its place"
        yield "a post-deploy job runs after everything else", hint
