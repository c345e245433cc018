"""The playbook of one deployment: the plan's phases as plays that read as the rollout's story."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gitops.errors import PermanentError
from gitops.model.plan import Backend, Plan, Retire, Start
from gitops.render.environment import environment
from gitops.render.stages import Stage, Watch, stages

SWITCH_WAIT_S = 10.0
"""How long HAProxy may take until its own check calls a new server up."""

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Task:
    """One task: what it is called, its action plugin, and that plugin's arguments."""

    name: str
    action: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """The name as the template prints it."""
        return literal(self.name)

    @property
    def lines(self) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
        """The arguments as the template prints them: JSON, and a list of mappings one a line."""
        return tuple(
            (key, tuple(map(_json, value)) if _is_rows(value) else _json(value))
            for key, value in self.arguments.items()
        )


@dataclass(frozen=True)
class Play:
    """One play: its tasks run on its hosts side by side, each task on all of them before the next."""

    name: str
    hosts: tuple[str, ...]
    tasks: tuple[Task, ...]

    @property
    def heading(self) -> str:
        """The name as the template prints it."""
        return literal(self.name)

    @property
    def host_list(self) -> str:
        """The hosts as the template prints them."""
        return _json(self.hosts)


def switches(plan: Plan) -> dict[str, tuple[Backend, ...]]:
    """What the edge serves after each change of it, by the file that says so; the last is the final state."""
    wanted = [stage.backends for stage in stages(plan) if stage.backends is not None]
    return {f"haproxy/{number:02d}.cfg": backends for number, backends in enumerate(wanted, 1)}


def playbook(plan: Plan) -> bytes:
    """The text of `rollout.yml`.

    Raises:
        PermanentError: a name or image reference that Ansible might take for more than text.
    """
    _check(plan)
    template = environment().get_template("rollout.yml.j2")
    return template.render(app=plan.app, commit=plan.commit, plays=plays(plan)).encode()


def plays(plan: Plan) -> tuple[Play, ...]:
    """All plays of a deployment, in order."""
    everywhere = tuple(host.name for host in plan.fleet.hosts)
    every = stages(plan)
    files = iter(switches(plan))
    found = [_prepare(plan, everywhere)]
    for number, stage in enumerate(every, 1):
        file = next(files) if stage.backends is not None else ""
        found.append(_play(plan, stage, file, f"Stage {number} of {len(every)}"))
    release = Task("Write the release file", "gitops_release", {"file": "release.json"})
    found.append(Play("Record the release", everywhere, (release,)))
    return tuple(play for play in found if play.hosts)


def _prepare(plan: Plan, hosts: tuple[str, ...]) -> Play:
    images = {service.name: service.container.image for service in plan.stack.services}
    users: dict[tuple[str, str], str] = {}  # the first service that needs an image on a host
    for start in plan.starts:
        users.setdefault((start.host, images[start.service]), start.service)
    pulls = [
        {"host": pull.host, "image": pull.image, "service": users.get((pull.host, pull.image), "")}
        for pull in plan.pulls
    ]
    name = "Take the lock of each host" + (
        ", pull the images before any container is touched" if pulls else ""
    )
    return Play("Prepare the hosts", hosts, (Task(name, "gitops_prepare", {"pulls": pulls}),))


def _play(plan: Plan, stage: Stage, file: str, title: str) -> Play:
    """One stage: its task does on each host what concerns that host."""
    items: tuple[Start | Watch | Retire, ...] = (*stage.starts, *stage.watches, *stage.removals)
    hosts = {item.host for item in items}
    arguments: dict[str, Any] = {"containers": _rows(plan, stage)}
    balancers = [host.name for host in plan.fleet.load_balancers]
    if file and balancers:
        drained = [retire for retire in stage.drains if retire.served]
        grace_s = max((retire.grace_s for retire in drained), default=0.0)
        arguments["edge"] = {
            "hosts": balancers,
            "app": plan.app,
            "fragment": file,
            "wait_s": SWITCH_WAIT_S,
            "drain": [retire.container for retire in drained],
            "drain_s": grace_s,
        }
    task = Task(_story(stage), "gitops_stage", arguments)
    about = _slots((*items, *stage.joins, *stage.drains)) or "the edge"
    return Play(f"{title}: {about}", tuple(sorted({*hosts, *(balancers if file else ())})), (task,))


def _rows(plan: Plan, stage: Stage) -> list[dict[str, Any]]:
    """What is done with each container."""
    monitor_s = {service.name: service.update.monitor_s for service in plan.stack.services}
    started = [
        {
            "host": start.host,
            "state": "healthy",
            "name": start.container,
            "spec": f"services/{start.service}.json",
            "slot": start.slot,
            "ports": [list(pair) for pair in start.ports],
            "monitor_s": monitor_s[start.service],
        }
        for start in stage.starts
    ]
    watched = [
        {
            "host": watch.host,
            "state": "watched",
            "name": watch.container,
            "monitor_s": monitor_s[watch.service],
        }
        for watch in stage.watches
    ]
    removed = [
        {"host": retire.host, "state": "absent", "name": retire.container, "grace_s": retire.grace_s}
        for retire in stage.removals
    ]
    return [*started, *watched, *removed]


def _story(stage: Stage) -> str:
    """What happens, and why."""
    parts = []
    if stage.starts:
        parts.append(f"start {_places(stage.starts)} and wait until healthy")
    if stage.watches:
        parts.append(f"stand the monitor window of {_places(stage.watches)}")
    if stage.backends is not None:
        drained = [retire for retire in stage.drains if retire.served]
        edge = ["check and swap haproxy.cfg"]
        edge += [f"take in {_slots(stage.joins)}"] if stage.joins else []
        edge += [f"drain the old {_slots(drained)}"] if drained else []
        parts.append(f"at the edge {', '.join(edge)}")
    if stage.removals:
        parts.append(f"stop and remove the old {_places(stage.removals)}")
    text = "; ".join(parts)
    changes: tuple[Start | Retire, ...] = (*stage.starts, *stage.removals)
    reasons = dict.fromkeys(item.reason for item in changes)
    return text[:1].upper() + text[1:] + (f" ({_listed(reasons)})" if reasons else "")


def _slots(items: Iterable[Start | Watch | Retire]) -> str:
    return _listed(dict.fromkeys(f"{item.service}.{item.slot}" for item in items))


def _places(items: Iterable[Start | Watch | Retire]) -> str:
    return _listed(f"{item.service}.{item.slot} on {item.host}" for item in items)


def _listed(words: Iterable[str], most: int = 8) -> str:
    """The words as a list that a line of a log can hold."""
    every = list(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _json(value: Any) -> str:
    """JSON in one line, which is YAML, too."""
    return json.dumps(value, ensure_ascii=False)


def literal(text: str) -> str:
    """Text as a quoted YAML string that Ansible prints and never evaluates.

    Ansible templates the names of plays and tasks, and a reason may quote a user's
    text: a space parts what would open an expression, a statement or a comment.
    """
    return _json(re.sub(r"\{(?=[{%#])", "{ ", text))


def _check(plan: Plan) -> None:
    """Nothing but words reaches the arguments of a task, which Ansible templates."""
    names = [
        plan.app,
        *(service.name for service in plan.stack.services),
        *(h.name for h in plan.fleet.hosts),
    ]
    names += [start.container for start in plan.starts] + [retire.container for retire in plan.retires]
    bad = [name for name in names if not _NAME.fullmatch(name)]
    bad += [pull.image for pull in plan.pulls if not _IMAGE.fullmatch(pull.image)]
    if bad:
        raise PermanentError(
            f"{bad[0]!r} must not reach a playbook", hint="letters, digits, '.', '_', '-' only"
        )
