from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from support.planning import deployed, plan_of, small_fleet, stack_of
from support.rendering import CASES, update

from gitops.model.plan import Plan, Retire, RetirePhase, Start, StartPhase
from gitops.render.stages import Stage, Watch, stages


def shown(stage: Stage) -> str:
    def slots(items: Iterable[Start | Watch | Retire]) -> str:
        return ",".join(str(item.slot) for item in items)

    words = {
        "+": stage.starts,
        "?": stage.watches,
        "-": stage.removals,
        "in ": stage.joins,
        "out ": stage.drains,
    }
    parts = [f"{sign}{slots(items)}" for sign, items in words.items() if items]
    return " ".join([*parts, *([] if stage.backends is None else ["|"])])


def names(items: Iterable[Start | Watch | Retire]) -> set[str]:
    return {item.container for item in items}


def replaced(order: str, replicas: int = 4) -> Plan:
    fleet = small_fleet()
    old, new = (
        stack_of({"web": {"image": i, "ports": [80], "replicas": replicas, "order": order}}) for i in "ab"
    )
    return plan_of(new, fleet, deployed(old, fleet), previous=old)


def test_start_first_overlaps_what_does_not_wait_for_each_other() -> None:
    assert [shown(stage) for stage in stages(replaced("start-first"))] == [
        "+1",
        "+2 ?1 in 1 |",
        "+3 ?2 in 2 out 1 |",
        "+4 ?3 -1 in 3 out 2 |",
        "?4 -2 in 4 |",
        "out 3,4 |",
        "-3,4",
    ]


def test_stop_first_makes_room_before_it_starts() -> None:
    assert [shown(stage) for stage in stages(replaced("stop-first", 2))] == [
        "out 1 |",
        "-1",
        "+1",
        "?1 in 1 |",
        "out 2 |",
        "-2",
        "+2",
        "?2 in 2 |",
    ]


def test_a_service_starts_when_what_it_depends_on_is_served() -> None:
    assert [shown(stage) for stage in stages(CASES["first"]())] == [
        "+1,2",
        "in 1,2 |",
        "+1,2,3",
        "?1,2,1,2,3 in 1,2,3 |",
    ]


@pytest.mark.parametrize(
    "plan", [*(case() for case in CASES.values()), *map(replaced, ("start-first", "stop-first"))]
)
def test_each_thing_waits_for_what_it_needs(plan: Plan) -> None:
    done: dict[str, set[str]] = {name: set() for name in ("started", "watched", "in", "out", "removed")}
    replaces = {start.container: start.replaces for start in plan.starts}
    successors = {retire.container: retire.successor for retire in plan.retires}
    stop_first = {retire.container for retire in plan.retires if not retire.successor}
    for stage in stages(plan):
        assert names(stage.watches) <= done["started"]
        assert names(stage.joins) <= done["started"]
        assert names(stage.removals) <= done["out"]
        for name in names(stage.starts):
            assert replaces[name] not in stop_first or replaces[name] in done["removed"]
        for name in names(stage.drains):
            assert not successors[name] or successors[name] in done["watched"]
            assert not successors[name] or successors[name] in done["in"] | names(stage.joins)
        done["started"] |= names(stage.starts)
        done["watched"] |= names(stage.watches)
        done["in"] |= names(stage.joins)
        done["out"] |= names(stage.drains)
        done["removed"] |= names(stage.removals)
    assert done["started"] == done["watched"] == done["in"] == {start.container for start in plan.starts}
    assert done["removed"] == done["out"] == {retire.container for retire in plan.retires}


def test_the_edge_alone_is_a_stage_of_its_own() -> None:
    plan = replace(update(), phases=(), edge_changes=True)
    assert [stage.backends for stage in stages(plan)] == [plan.backends]
    assert stages(replace(plan, edge_changes=False)) == ()


def test_a_service_behind_no_edge_is_replaced_without_a_switch() -> None:
    fleet = small_fleet()
    old, new = (stack_of({"job": {"image": image}}) for image in "ab")
    plan = plan_of(new, fleet, deployed(old, fleet), previous=old)
    assert isinstance(plan.phases[0], StartPhase)
    assert isinstance(plan.phases[1], RetirePhase)
    assert [shown(stage) for stage in stages(plan)] == ["+1", "?1", "-1"]
