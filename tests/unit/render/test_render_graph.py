from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import altered, deployed, nothing_on, plan_of, small_fleet, stack_of, walk
from support.rendering import CASES, update

from gitops.model.plan import HostChange, Plan, Retire, ShiftPhase, Start, StartPhase
from gitops.render.graph import graph
from gitops.render.work import Gate, Pulls, Release, Step, Switch, Watch


def shown(step: Step) -> str:
    match step.work:
        case Start() as start:
            return f"+{start.slot}"
        case Watch() as watch:
            return f"?{watch.slot}"
        case Retire() as retire:
            return f"-{retire.slot}"
        case Switch() as switch:
            slots = [f"in {start.slot}" for start in switch.joins]
            slots += [f"{switch.share.percent}%"] if switch.share else []
            return " ".join([*slots, *(f"out {retire.slot}" for retire in switch.drains)])
        case _:
            return step.name


def replaced(order: str, replicas: int = 4) -> Plan:
    fleet = small_fleet()
    old, new = (
        stack_of({"web": {"image": i, "ports": [80], "replicas": replicas, "order": order}}) for i in "ab"
    )
    return plan_of(new, fleet, deployed(old, fleet), previous=old)


def direct(plan: Plan) -> dict[str, set[str]]:
    """What each step waits for, in short words; gates are looked through."""
    steps = {step.name: step for step in graph(plan)}

    def through(name: str) -> set[str]:
        step = steps[name]
        if isinstance(step.work, Gate):
            return set().union(*(through(before) for before in step.after))
        return set() if isinstance(step.work, Pulls) else {shown(step)}

    return {
        shown(step): set().union(*(through(name) for name in step.after))
        for step in steps.values()
        if not isinstance(step.work, Gate | Pulls)
    }


def adds(plan: Plan, start: Start) -> bool:
    """Whether a replica that replaces nothing is of a service of which others are kept."""
    return not start.replaces and start.service in {keep.service for keep in plan.keeps}


def test_start_first_lets_go_on_what_does_not_wait_for_each_other() -> None:
    assert direct(replaced("start-first", 5)) == {
        "+1": set(),
        "in 1": {"+1"},
        "+2": {"+1"},
        "in 2": {"in 1", "+2"},
        "+3": {"+2"},
        "in 3": {"in 2", "+3"},
        "+4": {"+3"},
        "in 4": {"in 3", "+4"},
        "?1": {"+1"},
        "out 1": {"in 4", "?1"},
        "-1": {"out 1"},
        "+5": {"+4", "?1"},
        "in 5": {"out 1", "+5"},
        "?2": {"+2"},
        "out 2": {"in 5", "?2"},
        "-2": {"out 2"},
        "?3": {"+3"},
        "out 3": {"out 2", "?3"},
        "-3": {"out 3"},
        "?4": {"+4"},
        "out 4": {"out 3", "?4"},
        "-4": {"out 4"},
        "?5": {"+5"},
        "out 5": {"out 4", "?5"},
        "-5": {"out 5"},
        "release": {"out 5", "?1", "?2", "?3", "?4", "?5"},
    }


def test_stop_first_makes_room_before_it_starts() -> None:
    found = direct(replaced("stop-first", 2))
    assert found["+1"] == {"-1", "out 1"}
    assert found["out 2"] == {"in 1", "?1"}
    assert found["+2"] >= {"-2", "?1"}
    assert found["release"] == {"in 2", "?1", "?2"}


def test_jobs_run_before_between_and_after_what_serves() -> None:
    fleet = small_fleet()
    stack = stack_of(
        {
            "a": {"job": "pre-deploy", "replicas": 2},
            "b": {"job": "pre-deploy"},
            "db": {},
            "seed": {"job": "in-order"},
            "web": {"ports": [80], "replicas": 2},
            "c": {"job": "post-deploy"},
            "d": {"job": "post-deploy"},
        }
    )
    steps = graph(plan_of(stack, fleet, nothing_on(fleet)))
    behind: dict[str, set[str]] = {}
    short: dict[str, str] = {}
    for step in steps:
        behind[step.name] = {*step.after}.union(*(behind[name] for name in step.after))
        if isinstance(step.work, Start | Watch):
            kind = "?" if isinstance(step.work, Watch) else ""
            short[step.name] = f"{kind}{step.work.service}{step.work.slot}"
        elif isinstance(step.work, Switch):
            short[step.name] = "edge"
    waits = {what: {short[other] for other in behind[name] if other in short} for name, what in short.items()}
    assert waits["a1"] == waits["a2"] == set()
    assert waits["b1"] == {"a1", "a2"}
    assert waits["db1"] == {"a1", "a2", "b1"}
    assert waits["seed1"] == waits["db1"] | {"db1"}
    assert waits["web1"] == waits["web2"] == waits["seed1"] | {"seed1"}
    assert waits["c1"] == waits["web1"] | {"web1", "web2", "edge", "?db1", "?web1", "?web2"}
    assert waits["d1"] == waits["c1"] | {"c1"}
    assert "run h1/" in next(name for name, what in short.items() if what == "a1")
    assert {short.get(name) for name in behind["release"]} >= {"d1", "?web2"}
    assert steps[-1].name == "release"


def test_a_new_route_is_served_before_a_job_that_comes_after_it() -> None:
    """The edge alone changes, and the smoke test asks it."""
    plan = CASES["jobs"]()
    smoke = tuple(
        phase for phase in plan.phases if isinstance(phase, StartPhase) and phase.when == "post-deploy"
    )
    steps = graph(replace(plan, phases=smoke, edge_changes=(HostChange("lb1", "haproxy.cfg differs"),)))
    by_name = {step.name: step for step in steps}
    runs = [step for step in steps if isinstance(step.work, Start)]
    waited = {name for step in runs for name in step.after}
    waited |= {name for gate in waited for name in by_name[gate].after}
    waited |= {name for gate in waited for name in by_name[gate].after}
    assert "switch 1" in waited
    assert [step.name for step in steps if isinstance(step.work, Switch)] == ["switch 1"]


def test_a_service_starts_when_what_it_depends_on_is_served() -> None:
    steps = graph(CASES["first"]())
    starts = [step for step in steps if isinstance(step.work, Start)]
    before = {step.name: step for step in steps}
    [gate] = {name for step in starts if step.work.service == "web" for name in step.after}  # type: ignore[union-attr]
    waited = [before[name].work for name in before[gate].after]
    assert any(isinstance(work, Switch) and work.joins[0].service == "api" for work in waited)


@pytest.mark.parametrize(
    "plan", [*(case() for case in CASES.values()), *map(replaced, ("start-first", "stop-first"))]
)
def test_each_thing_waits_for_what_it_needs(plan: Plan) -> None:
    steps = graph(plan)
    names = [step.name for step in steps]
    assert len(names) == len(set(names))
    behind: dict[str, set[str]] = {}  # all that a step waits for, near and far
    for step in steps:
        behind[step.name] = {*step.after}.union(*(behind[name] for name in step.after))
    by_name = {step.name: step.work for step in steps}
    replaces = {start.container: start.replaces for start in plan.starts}
    stop_first = {retire.container for retire in plan.retires if not retire.successor}
    for step in steps:
        before = [by_name[name] for name in behind[step.name]]
        started = {work.container for work in before if isinstance(work, Start)}
        watched = {work.container for work in before if isinstance(work, Watch)}
        removed = {work.container for work in before if isinstance(work, Retire)}
        drained = {retire.container for work in before if isinstance(work, Switch) for retire in work.drains}
        joined = {start.container for work in before if isinstance(work, Switch) for start in work.joins}
        match step.work:
            case Start() as start:
                assert replaces[start.container] not in stop_first or start.replaces in removed
                assert {f"pull {pull.host}" for pull in plan.pulls} <= behind[step.name]
            case Watch() as watch:
                assert watch.container in started
            case Switch() as switch:
                assert {start.container for start in switch.joins} <= started
                for retire in switch.drains:
                    assert not retire.successor or retire.successor in watched & joined
            case Retire() as retire:
                assert retire.container in drained or not retire.served
            case Release():
                on_trial = {start.container for start in plan.starts if not (start.job or adds(plan, start))}
                assert watched >= on_trial
                assert started == {start.container for start in plan.starts}
    removals = {step.work.container for step in steps if isinstance(step.work, Retire)}
    assert removals == {retire.container for retire in plan.retires}


@pytest.mark.parametrize(("image", "watched"), [("a", set()), ("b", {1, 2, 3, 4})])
def test_what_only_adds_to_the_same_version_is_not_on_trial(image: str, watched: set[int]) -> None:
    fleet = small_fleet()
    old = stack_of({"web": {"image": "a", "ports": [80], "replicas": 2}}, "a")
    new = stack_of({"web": {"image": image, "ports": [80], "replicas": 4}})
    steps = graph(plan_of(new, fleet, deployed(old, fleet), previous=old))
    assert {step.work.slot for step in steps if isinstance(step.work, Watch)} == watched


def test_a_first_replica_and_one_that_was_lost_are_on_trial() -> None:
    fleet = small_fleet()
    stack = stack_of({"web": {"ports": [80], "replicas": 2}})
    first = plan_of(stack, fleet, nothing_on(fleet))
    (one, _) = deployed(stack, fleet).containers("shop")
    crashed = plan_of(stack, fleet, altered(deployed(stack, fleet), one.name, state="exited"), previous=stack)
    for plan, count in ((first, 2), (crashed, 1)):
        assert sum(isinstance(step.work, Watch) for step in graph(plan)) == count


def test_the_edge_alone_is_a_step_of_its_own() -> None:
    plan = replace(update(), phases=(), pulls=())
    (place,) = plan.places
    wrong = (HostChange(place.hosts[0], "haproxy.cfg differs"),)
    differs, same = (replace(plan, places=(replace(place, changes=changes),)) for changes in (wrong, ()))
    assert [step.name for step in graph(differs)] == ["switch 1", "release"]
    assert [step.name for step in graph(same)] == ["release"]


def test_a_service_behind_no_edge_is_replaced_without_a_switch() -> None:
    fleet = small_fleet()
    old, new = (stack_of({"job": {"image": image}}) for image in "ab")
    plan = plan_of(new, fleet, deployed(old, fleet), previous=old)
    assert direct(plan) == {"+1": set(), "?1": {"+1"}, "-1": {"?1"}, "release": {"?1"}}


def on_trial(strategy: str, replicas: int = 4) -> Plan:
    fleet = small_fleet()
    said = {"ports": [80], "replicas": replicas, "strategy": strategy, "steps": [5, 50]}
    old, new = (stack_of({"web": {**said, "image": image}}) for image in "ab")
    return plan_of(new, fleet, deployed(old, fleet), previous=old)


def test_a_canary_starts_more_only_after_its_trial() -> None:
    found = direct(on_trial("canary"))
    assert found["judge web 5%"] == {"5%", "+1"}
    assert found["5%"] == {"in 1", "+1"}
    assert found["+2"] == {"+1", "?1", "judge web 5%"}
    assert found["judge web 50%"] == {"50%", "+2", "judge web 5%"}
    assert found["+3"] == found["+4"] == {"+2", "?1", "?2", "judge web 50%"}
    last = {"in 3 in 4", "judge web 50%", "?1", "?2", "?3", "?4"}
    assert found["out 1 out 2 out 3 out 4"] == last


def test_blue_green_starts_all_and_goes_over_in_one_step() -> None:
    found = direct(on_trial("blue-green", 2))
    assert found["in 1 in 2"] == found["100%"] - {"in 1 in 2"} == {"+1", "+2"}
    assert found["judge web 100%"] == {"100%", "+1", "+2"}
    assert found["out 1 out 2"] == {"100%", "judge web 100%", "?1", "?2"}


def test_the_way_back_from_a_trial_begins_with_the_edge_and_waits_for_nothing() -> None:
    fleet = small_fleet()
    said = {"api": {"image": "api:1"}, "web": {"ports": [80], "replicas": 2, "image": "web:1"}}
    old = stack_of(said, "a")
    tried = {"image": "web:2", "ports": [80], "replicas": 2, "strategy": "blue-green"}
    new = stack_of({"api": {"image": "api:2"}, "web": tried}, "b")
    plan = plan_of(new, fleet, deployed(old, fleet), previous=old)
    went_over = [state for phase, state in walk(plan, deployed(old, fleet)) if isinstance(phase, ShiftPhase)]
    back = plan_of(old, fleet, went_over[-1], previous=new, rollback=True)
    assert back.starts, "api comes back, too"
    [shift] = [step for step in graph(back) if isinstance(step.work, Switch) and step.work.share]
    assert shift.after == ()
    assert shift.work.backends == back.phases[0].backends  # type: ignore[union-attr]
