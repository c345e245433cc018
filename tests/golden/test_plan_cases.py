"""Each folder of plan/ is a case: case.yaml says what ran and what is wanted, plan.txt is the plan.

case.yaml:
    about: one sentence
    fleet: host -> group or groups; default: h1, h2, h3 and lb1
    labels: host -> label -> value
    now_fleet: the same, where it changes
    was: service -> a few words (see support.planning.service_of): what was deployed
    now: the same: what is wanted; without it the same as `was`
    known: false where planning is not told what was deployed
    jobs: false where none may be run
    broke_off: after how many steps the rollout from `was` to `now` ended
    back: true where the way leads back from `now` to `was`
    faults: container -> what its engine reports instead, or `absent`
    sizes: host -> cores and memory (MiB) of it
    scheduler: binpack; default: spread
    ports: host -> host ports that something else uses
    absent: hosts that cannot be used
    tolerate: how many hosts may be absent; default: none
    out: hosts that are to be empty -> why
    spared: `SERVICE.SLOT`s whose new container failed, which is tolerated
    servers: server -> what HAProxy reports instead of UP, or `absent`
In container names a spec's digest is replaced by `was` or `now`, or `same` for both.
After an intended change run it in this folder with `--update-golden`, and read the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.planning import (
    altered,
    deployed,
    fleet_of,
    lost,
    nothing_on,
    plan_of,
    sized,
    small_fleet,
    stack_of,
    walk,
    without,
)

from gitops.errors import GitopsError
from gitops.model.fleet import Fleet
from gitops.model.observed import Observed
from gitops.model.placement import Scheduler
from gitops.model.plan import Backend, Plan, ShiftPhase, Spared, StartPhase
from gitops.model.stack import Stack

CASES = sorted(path.parent for path in Path(__file__).parent.glob("plan/*/case.yaml"))


def digests(was: Stack, now: Stack) -> dict[str, str]:
    """What stands for each spec's digest in the text: container name's part -> word."""
    words: dict[str, str] = {}
    for stack, word in ((was, "was"), (now, "now")):
        for service in stack.services:
            short = service.container.digest[:8]
            words[short] = "same" if words.get(short, word) != word else word
    return words


def fleet_in(case: dict[str, Any], key: str) -> Fleet:
    fleet = fleet_of(case[key]) if key in case else small_fleet()
    labels = case.get("labels", {})
    return Fleet(tuple(replace(h, labels=tuple(sorted(labels.get(h.name, {}).items()))) for h in fleet.hosts))


def observed_of(case: dict[str, Any], was: Stack, now: Stack, words: dict[str, str]) -> Observed:
    fleet = fleet_in(case, "fleet")
    observed = deployed(was, fleet) if was.services else nothing_on(fleet)
    if "broke_off" in case:
        steps = [state for _, state in walk(plan_of(now, fleet, observed, was), observed)]
        observed = steps[case["broke_off"] - 1]
    names = {masked(c.name, words): c for host in observed.hosts for c in host.containers}
    for name, fault in case.get("faults", {}).items():
        container = names[name]
        if fault == "absent":
            observed = without(observed, [(container.host, container.name)])
        else:
            observed = altered(observed, container.name, **fault)
    for host, ports in case.get("ports", {}).items():
        used = [
            replace(h, ports_used=tuple(sorted([*h.ports_used, *ports])))
            for h in observed.hosts
            if h.name == host
        ]
        observed = Observed(tuple(used[0] if h.name == host else h for h in observed.hosts))
    said = case.get("servers", {})
    hosts = [
        replace(
            host,
            servers=tuple(
                replace(server, status=said.get(masked(server.name, words), "UP"))
                for server in host.servers
                if said.get(masked(server.name, words)) != "absent"
            ),
        )
        for host in observed.hosts
    ]
    return lost(sized(Observed(tuple(hosts)), case.get("sizes", {})), case.get("absent", ()))


def masked(text: str, words: dict[str, str]) -> str:
    for short, word in words.items():
        text = text.replace(short, word)
    return text


def edge_text(backends: tuple[Backend, ...] | None, words: dict[str, str]) -> list[str]:
    if backends is None:
        return []
    return [
        f"  edge {b.service}:{b.target} "
        + " ".join(
            sorted(
                f"{masked(s.name, words)}@{s.address}:{s.port}" + ("" if s.weight is None else f"*{s.weight}")
                for s in b.servers
            )
        )
        for b in backends
    ] or ["  edge empty"]


def what(when: str, does: str) -> str:
    return does if when == "in-order" else f"{does}, {when}"


def is_job(phase: StartPhase) -> bool:
    return all(start.job for start in phase.starts)


def text_of(plan: Plan, words: dict[str, str]) -> str:
    lines = [f"pull {pull.host} {pull.image}" for pull in plan.pulls]
    for phase in plan.phases:
        if isinstance(phase, StartPhase):
            lines.append(f"batch {phase.batch}: {what(phase.when, 'run' if is_job(phase) else 'start')}")
            for s in phase.starts:
                ports = " ".join(f"{host_port}->{port}" for port, host_port in s.ports)
                over = f", for {s.replaces}" if s.replaces else ""
                lines.append(f"  + {s.service}.{s.slot} {s.host} {s.container} [{ports}] {s.reason}{over}")
        elif isinstance(phase, ShiftPhase):
            trial = ""
            if phase.trial:
                until = "promoted" if phase.trial.manual else f"{phase.trial.pause_s:g} s"
                trial = f", on trial beside {' '.join(phase.trial.old)} until {until}"
            names = " ".join(phase.share.containers)
            lines.append(f"batch {phase.batch}: {phase.share.percent}% to {names}{trial}")
        else:
            lines.append(f"batch {phase.batch}: {what(phase.when, 'retire')}")
            for r in phase.retires:
                after = f", once {r.successor} on {r.successor_host} has stood" if r.successor else ""
                how = f"drain, grace {r.grace_s:g}" if r.served else f"grace {r.grace_s:g}"
                lines.append(f"  - {r.service}.{r.slot} {r.host} {r.container} ({how}) {r.reason}{after}")
        lines += edge_text(phase.backends, words)
    absent = [f"without {each.host.name}: {each.reason}" for each in plan.absent]
    lines += absent
    lines += [
        f"keep {k.service}.{k.slot} {k.host} {k.container}"
        + (f" ({k.reason})" if k.reason != "unchanged" else "")
        for k in plan.keeps
    ]
    lines += [
        "at the end" + (", haproxy.cfg changes" if plan.edge_changes else ""),
        *edge_text(plan.backends, words),
    ]
    bound = [f"{keep.service}.{keep.slot} {keep.reason}" for keep in plan.bound]
    waiting = [f"{each.service}.{each.slot} finds no room: {each.reason}" for each in plan.waiting]
    lines = ["nothing to do", *absent, *bound] if plan.empty else lines
    return "\n".join([*lines, *waiting]) + "\n"


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_the_plan_is_as_written(folder: Path, same_as_golden: Callable[[Path, str], None]) -> None:
    case = yaml.safe_load((folder / "case.yaml").read_text())
    was = stack_of(case.get("was") or {}, "a")
    now = stack_of(case.get("now", case.get("was")) or {}, "b")
    words = digests(was, now)
    observed = observed_of(case, was, now, words)
    if "now_fleet" in case:
        fleet = fleet_in(case, "now_fleet")
        new = [host for host in nothing_on(fleet).hosts if observed.host(host.name) is None]
        observed = Observed((*observed.hosts, *new))
    else:
        fleet = fleet_in(case, "fleet")
    goal, before = (was, now) if case.get("back") else (now, was)
    known = before if case.get("known", True) and before.services else None
    try:
        slots = [each.rpartition(".") for each in case.get("spared", ())]
        spared = tuple(Spared(service, int(slot), "failed") for service, _, slot in slots)
        ways = {"rollback": case.get("back", False), "jobs": case.get("jobs", True)}
        ways |= {"tolerate": case.get("tolerate", 0), "spared": spared, "out": case.get("out", {})}
        ways |= {"scheduler": Scheduler(case.get("scheduler", "spread"))}
        text = text_of(plan_of(goal, fleet, observed, known, **ways), words)
    except GitopsError as error:
        text = f"{type(error).__name__} {error}\n"
    text = f"# {case['about']}\n{masked(text, words)}"
    same_as_golden(folder / "plan.txt", text)


def test_there_are_cases() -> None:
    assert len(CASES) > 20
