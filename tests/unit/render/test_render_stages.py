from __future__ import annotations

from dataclasses import replace

import pytest
from support.planning import deployed, plan_of, small_fleet, stack_of
from support.rendering import CASES, update

from gitops.model.plan import Plan, RetirePhase, StartPhase
from gitops.render.stages import Stage, stages


def shown(stage: Stage) -> str:
    def slots(items: object) -> str:
        return ",".join(str(item.slot) for item in items)  # type: ignore[attr-defined]  # starts or retires

    words = {"+": stage.starts, "?": stage.watches, "-": stage.removals, "drain ": stage.drains}
    text = " ".join(f"{sign}{slots(items)}" for sign, items in words.items() if items)
    return text + ("" if stage.backends is None else " |")


def replaced(order: str, replicas: int = 4) -> Plan:
    fleet = small_fleet()
    old, new = (
        stack_of({"web": {"image": i, "ports": [80], "replicas": replicas, "order": order}}) for i in "ab"
    )
    return plan_of(new, fleet, deployed(old, fleet), previous=old)


def test_start_first_overlaps_what_does_not_wait_for_each_other() -> None:
    assert [shown(stage) for stage in stages(replaced("start-first"))] == [
        "+1 |",
        "+2 ?1 drain 1 |",
        "+3 ?2 -1 drain 2 |",
        "+4 -2 |",
        "?3,4 drain 3,4 |",
        "-3,4",
    ]


def test_stop_first_makes_room_before_it_starts() -> None:
    assert [shown(stage) for stage in stages(replaced("stop-first", 2))] == [
        "drain 1 |",
        "-1",
        "+1 |",
        "?1 drain 2 |",
        "-2",
        "+2 |",
        "?2",
    ]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_removed_before_it_has_left_the_edge_and_its_successor_was_watched(case: str) -> None:
    watched: set[str] = set()
    drained: set[str] = set()
    started: set[str] = set()
    for stage in stages(CASES[case]()):
        assert {start.container for start in stage.watches} <= started
        for retire in stage.removals:
            assert not retire.served or retire.container in drained
            assert not retire.successor or retire.successor in watched
        started |= {start.container for start in stage.starts}
        watched |= {start.container for start in stage.watches}
        for retire in stage.drains:
            assert not retire.successor or retire.successor in watched
        drained |= {retire.container for retire in stage.drains}


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
    assert [shown(stage) for stage in stages(plan)] == ["+1", "?1 drain 1", "-1"]
