"""The playbook of one deployment: the plan's steps as rows that read as the rollout's story."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from gitops.errors import PermanentError
from gitops.model.plan import Place, Plan, Retire, ShiftPhase, Start
from gitops.model.run import HERE
from gitops.plan.judged import Judged, judged
from gitops.render.environment import environment
from gitops.render.graph import graph
from gitops.render.haproxy import backend_name
from gitops.render.work import Gate, Judging, Pulls, Release, Step, Switch, Watch, Work

LOCK_TAG = "lock"
"""Of the play that a controller leaves out: it holds the locks already."""

SWITCH_WAIT_S = 10.0
"""How long HAProxy may take until its own check calls a new server up."""

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Row:
    """One row of a list that a task takes, and a comment for whoever reads the playbook."""

    about: str
    data: dict[str, Any]

    @property
    def comment(self) -> str:
        """The comment in one line; nothing evaluates it."""
        return " ".join(self.about.split())

    @property
    def text(self) -> str:
        """The row as the template prints it."""
        return _json(self.data)


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
    def lines(self) -> tuple[tuple[str, str | tuple[Row, ...]], ...]:
        """The arguments as the template prints them: JSON, or rows."""
        return tuple(
            (key, tuple(value) if _is_rows(value) else _json(value)) for key, value in self.arguments.items()
        )


@dataclass(frozen=True)
class Play:
    """One play: its tasks run on its hosts side by side, each task on all of them before the next."""

    name: str
    hosts: tuple[str, ...]
    tasks: tuple[Task, ...]
    tags: tuple[str, ...] = ()

    @property
    def tag_list(self) -> str:
        """The tags as the template prints them."""
        return _json(self.tags)

    @property
    def heading(self) -> str:
        """The name as the template prints it."""
        return literal(self.name)

    @property
    def host_list(self) -> str:
        """The hosts as the template prints them."""
        return _json(self.hosts)


def playbook(plan: Plan) -> bytes:
    """The text of `rollout.yml`.

    Raises:
        PermanentError: a name or image reference that Ansible might take for more than text.
    """
    _check(plan)
    template = environment().get_template("rollout.yml.j2")
    return template.render(app=plan.app, commit=plan.commit, plays=plays(plan)).encode()


def plays(plan: Plan) -> tuple[Play, ...]:
    """Both plays of a deployment: the first is left out where a controller holds the locks already."""
    hosts = tuple(host.name for host in plan.fleet.hosts)
    lock = Task("Take the lock of each host", "gitops_lock")
    arguments: dict[str, Any] = {"app": plan.app, "release": "release.json", "hosts": list(hosts)}
    arguments["balancers"] = [host.name for host in plan.fleet.load_balancers]
    updates = judged(plan)
    live = {name for each in updates for _, name in each.new}
    arguments["steps"] = [_row(plan, step, live) for step in graph(plan)]
    if updates:
        arguments["judged"] = [_judged_row(plan, each) for each in updates]
    rollout = Task(_story(plan), "gitops_rollout", arguments)
    return (
        Play("Take the locks", hosts, (lock,), tags=(LOCK_TAG,)),
        Play(f"Roll out {plan.app}", (HERE,), (rollout,)),
    )


def _judged_row(plan: Plan, update: Judged) -> Row:
    """A service whose update is judged on its live answers."""
    before = plan.previous.service(update.service) if plan.previous else None
    ports = sorted({*update.targets, *(before.http_targets if before else ())})
    data = {
        "service": update.service,
        "backends": [backend_name(plan.app, update.service, port) for port in ports],
        "new": [{"host": host, "name": name} for host, name in update.new],
        "old": list(update.old),
        "judge": asdict(update.judge),
    }
    return Row(f"{update.service}: the edge's counters of new and old containers are compared", data)


def _row(plan: Plan, step: Step, live: Collection[str]) -> Row:
    """One step as data for the task, and what a reader of the playbook is told of it.

    The monitor window of a container that is judged on its `live` answers names its service.
    """
    about, fields = _fields(plan, step.work)
    if isinstance(step.work, Watch) and step.work.container in live:
        fields["service"] = step.work.service
    return Row(about, {"step": step.name, **fields, "after": list(step.after)})


def _fields(plan: Plan, work: Work) -> tuple[str, dict[str, Any]]:
    match work:
        case Pulls():
            images = [{"image": image, "service": service} for image, service in work.images]
            return "", {"do": "pull", "host": work.host, "images": images}
        case Start():
            end = {} if work.job else {"monitor_s": _monitor_s(plan, work.service)}
            return f"{_label(work)} on {work.host}: {work.reason}", {
                "do": "run" if work.job else "start",
                "host": work.host,
                "name": work.container,
                "spec": f"services/{work.service}.json",
                "slot": work.slot,
                "ports": [list(pair) for pair in work.ports],
                **end,
            }
        case Watch():
            monitor_s = _monitor_s(plan, work.service)
            return "", {"do": "watch", "host": work.host, "name": work.container, "monitor_s": monitor_s}
        case Switch():
            drained = [retire for retire in work.drains if retire.served]
            parts = [f"take in {_slots(work.joins)}"] if work.joins else []
            parts += [f"drain the old {_slots(drained)}"] if drained else []
            parts += [f"{work.share.percent}% to {_listed(work.share.containers)}"] if work.share else []
            parts = parts or ["the addresses at which consumers look" if work.opens else "the final state"]
            return f"{_who(work.places)}: {', then '.join(parts)}", {
                "do": "switch",
                "places": [_place(place, work.file(place)) for place in work.places],
                "wait_s": SWITCH_WAIT_S,
                "drain": [retire.container for retire in drained],
                "drain_s": max((retire.grace_s for retire in drained), default=0.0),
            }
        case Judging():
            return _judging(plan, work)
        case Retire():
            return f"the old {_label(work)} on {work.host}: {work.reason}", {
                "do": "remove",
                "host": work.host,
                "name": work.container,
                "grace_s": work.grace_s,
            }
        case Release():
            return "all that is new has proved itself", {"do": "release"}
        case Gate():
            return "", {"do": "wait", **({"delay_s": work.delay_s} if work.delay_s else {})}


def _judging(plan: Plan, work: Judging) -> tuple[str, dict[str, Any]]:
    trial = work.trial
    service = plan.stack.service(work.service)
    targets = service.container.target_ports if service else ()
    how_long = "until the file `promote` lies here" if trial.manual else f"for {trial.pause_s:g} s"
    return f"{work.service}: the edge's counters of the new containers are judged {how_long}", {
        "do": "judge",
        "service": work.service,
        "backends": [backend_name(plan.app, work.service, target) for target in targets],
        "percent": work.percent,
        **({"of": list(_number(plan, work))} if trial.manual else {}),
        "new": [{"host": host, "name": name} for host, name in trial.new],
        "old": list(trial.old),
        "pause_s": trial.pause_s,
        "manual": trial.manual,
        "judge": asdict(trial.judge),
        "back": [_place(place, work.file(place)) for place in work.places],
    }


def _number(plan: Plan, work: Judging) -> tuple[int, int]:
    """Which of a service's trials it is, from 1, and how many there are."""
    own = [p for p in plan.phases if isinstance(p, ShiftPhase) and p.trial and p.service == work.service]
    shares = [phase.share.percent for phase in own]
    return shares.index(work.percent) + 1, len(shares)


def _who(places: Iterable[Place]) -> str:
    edges = {place.role.edge for place in places}
    nodes = any(place.role.services for place in places)
    return " and ".join([*(["the edge"] if True in edges else []), *(["nodes"] if nodes else [])])


def _place(place: Place, fragment: str) -> dict[str, Any]:
    """Hosts, the fragment that they get, and what they must have for it."""
    row: dict[str, Any] = {"hosts": list(place.hosts), "fragment": fragment, "edge": place.role.edge}
    return row | ({"network": place.network} if place.network else {})


def _monitor_s(plan: Plan, service: str) -> float:
    known = plan.stack.service(service)
    return known.policy(rollback=plan.rollback).monitor_s if known else 0.0


def _story(plan: Plan) -> str:
    """What happens, and why, in one line."""
    runs, starts = ([s for s in plan.starts if bool(s.job) is job] for job in (True, False))
    parts = [f"run {_slots(runs)}"] if runs else []
    parts += [f"start {_slots(starts)}"] if starts else []
    parts += [f"remove the old {_slots(plan.retires)}"] if plan.retires else []
    text = ", ".join(parts) or "bring the edge up to date"
    changes: tuple[Start | Retire, ...] = (*plan.starts, *plan.retires)
    reasons = dict.fromkeys(change.reason for change in changes)
    return text[:1].upper() + text[1:] + (f" ({_listed(reasons)})" if reasons else "")


def _label(item: Start | Retire) -> str:
    return f"{item.service}.{item.slot}"


def _slots(items: Iterable[Start | Retire]) -> str:
    return _listed(dict.fromkeys(map(_label, items)))


def _listed(words: Iterable[str], most: int = 8) -> str:
    """The words as a list that a line of a log can hold."""
    every = list(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Row) for row in value)


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
