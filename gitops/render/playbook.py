"""The playbook of one deployment: the plan's phases as plays that read as the rollout's story."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops.errors import PermanentError
from gitops.model.plan import Backend, Plan, Retire, RetirePhase, Start, StartPhase
from gitops.render.environment import environment

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


@dataclass(frozen=True)
class Switch:
    """What the edge serves after one phase."""

    file: str  # relative path in the run folder
    backends: tuple[Backend, ...]


def switches(plan: Plan) -> tuple[Switch, ...]:
    """The application's fragment after each change of it; the last is the final one.

    Empty where the plan leaves the edge alone.
    """
    wanted = [phase.backends for phase in plan.phases if phase.backends is not None]
    if not wanted and not plan.edge_changes:
        return ()
    if not wanted or wanted[-1] != plan.backends:
        wanted.append(plan.backends)
    return tuple(Switch(f"haproxy/{number:02d}.cfg", backends) for number, backends in enumerate(wanted, 1))


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
    balancers = tuple(host.name for host in plan.fleet.load_balancers)
    files = list(switches(plan))
    watched: set[str] = set()
    found = [_prepare(plan), _pull(plan)]
    for phase in plan.phases:
        switch = files.pop(0) if phase.backends is not None else None
        if isinstance(phase, StartPhase):
            found.append(_start(plan, phase))
            if switch and balancers:
                name = f"Check haproxy.cfg, swap it, wait until {_services(phase.starts)} is up there"
                task = _edge(plan.app, name, switch)
                found.append(Play(f"Batch {phase.batch}: switch the edge", balancers, (task,)))
        else:
            found += _retire(plan, phase, switch, balancers)
            watched |= {retire.successor for retire in phase.retires}
    if files and balancers:  # the edge alone changes
        found.append(
            Play(
                "Bring the edge up to date",
                balancers,
                (_edge(plan.app, "Check haproxy.cfg, swap it", files[0]),),
            )
        )
    found.append(_finish(plan, [start for start in plan.starts if start.container not in watched]))
    return tuple(play for play in found if play.hosts)


def _prepare(plan: Plan) -> Play:
    hosts = tuple(host.name for host in plan.fleet.hosts)
    return Play("Prepare the hosts", hosts, (Task("Take the lock of the host", "gitops_lock"),))


def _pull(plan: Plan) -> Play:
    images = {service.name: service.container.image for service in plan.stack.services}
    users: dict[tuple[str, str], str] = {}
    for start in plan.starts:
        users.setdefault((start.host, images[start.service]), start.service)
    pulls = [
        {"host": pull.host, "image": pull.image, "service": users.get((pull.host, pull.image), "")}
        for pull in plan.pulls
    ]
    task = Task("Pull the images before the first container is touched", "gitops_image", {"pulls": pulls})
    return Play("Prepare the images", tuple(sorted({pull.host for pull in plan.pulls})), (task,))


def _start(plan: Plan, phase: StartPhase) -> Play:
    services = {service.name: service for service in plan.stack.services}
    rows = [
        {
            "host": start.host,
            "name": start.container,
            "spec": f"services/{start.service}.json",
            "slot": start.slot,
            "ports": [list(pair) for pair in start.ports],
            "monitor_s": services[start.service].update.monitor_s,
        }
        for start in phase.starts
    ]
    reasons = _listed(dict.fromkeys(start.reason for start in phase.starts))
    names = _listed(f"{start.service}.{start.slot} on {start.host}" for start in phase.starts)
    # One task, not two: starting it and waiting for it go over the same connection, and a task costs time.
    task = Task(
        f"Start {names}, wait until healthy: {reasons}",
        "gitops_container",
        {"state": "healthy", "containers": rows},
    )
    return Play(f"Batch {phase.batch}: start {_services(phase.starts)}", _hosts(phase.starts), (task,))


def _retire(plan: Plan, phase: RetirePhase, switch: Switch | None, balancers: tuple[str, ...]) -> list[Play]:
    successors = [retire for retire in phase.retires if retire.successor]
    title = f"Batch {phase.batch}"
    found = []
    if successors:
        monitor = {service.name: service.update.monitor_s for service in plan.stack.services}
        rows = [
            {"host": r.successor_host, "name": r.successor, "monitor_s": monitor[r.service]}
            for r in successors
        ]
        task = Task("Stand the monitor window", "gitops_watch", {"containers": rows})
        hosts = tuple(sorted({retire.successor_host for retire in successors}))
        found.append(Play(f"{title}: watch {_services(successors)}", hosts, (task,)))
    if switch and balancers:
        drained = [retire for retire in phase.retires if retire.served]
        task = _edge(plan.app, f"Drain {_services(drained)}", switch)
        task.arguments.update(
            drain=[retire.container for retire in drained],
            drain_s=max((retire.grace_s for retire in phase.retires), default=0.0),
        )
        found.append(Play(f"{title}: drain at the edge", balancers, (task,)))
    rows = [{"host": r.host, "name": r.container, "grace_s": r.grace_s} for r in phase.retires]
    reasons = _listed(dict.fromkeys(retire.reason for retire in phase.retires))
    names = _listed(f"{retire.service}.{retire.slot} on {retire.host}" for retire in phase.retires)
    task = Task(
        f"Stop and remove {names}: {reasons}", "gitops_container", {"state": "absent", "containers": rows}
    )
    found.append(Play(f"{title}: remove {_services(phase.retires)}", _hosts(phase.retires), (task,)))
    return found


def _finish(plan: Plan, unwatched: Sequence[Start]) -> Play:
    tasks = []
    if unwatched:
        task = Task("Stand the monitor window", "gitops_watch", {"containers": _watched(plan, unwatched)})
        tasks.append(task)
    tasks.append(Task("Write the release file", "gitops_release", {"file": "release.json"}))
    return Play("Record the release", tuple(host.name for host in plan.fleet.hosts), tuple(tasks))


def _edge(app: str, name: str, switch: Switch) -> Task:
    return Task(name, "gitops_edge", {"app": app, "fragment": switch.file, "wait_s": SWITCH_WAIT_S})


def _watched(plan: Plan, starts: Iterable[Start]) -> list[dict[str, Any]]:
    services = {service.name: service for service in plan.stack.services}
    return [
        {"host": s.host, "name": s.container, "monitor_s": services[s.service].update.monitor_s}
        for s in starts
    ]


def _hosts(items: Iterable[Start | Retire]) -> tuple[str, ...]:
    return tuple(sorted({item.host for item in items}))


def _services(items: Iterable[Start | Retire]) -> str:
    return _listed(dict.fromkeys(f"{item.service}.{item.slot}" for item in items))


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
