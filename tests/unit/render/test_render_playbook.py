from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from support.rendering import CASES, first, shop, update

from gitops.errors import PermanentError
from gitops.model.plan import Plan, Pull, StartPhase
from gitops.render.playbook import literal, playbook, plays, switches


@pytest.mark.parametrize("case", CASES)
def test_the_text_says_what_the_plays_say(case: str) -> None:
    plan = CASES[case]()
    read = yaml.safe_load(playbook(plan))
    for said, play in zip(read, plays(plan), strict=True):
        assert tuple(said["hosts"]) == play.hosts
        assert (said["gather_facts"], said["any_errors_fatal"]) == (False, True)
        for task, wanted in zip(said["tasks"], play.tasks, strict=True):
            assert task[wanted.action] == wanted.arguments


@pytest.mark.parametrize("case", CASES)
def test_every_start_is_watched_and_every_container_handled_once(case: str) -> None:
    plan = CASES[case]()
    names: dict[str, list[str]] = {"healthy": [], "watched": [], "absent": []}
    for play in plays(plan):
        for task in play.tasks:
            for row in task.arguments.get("containers", []):
                assert row["host"] in play.hosts
                names[row["state"]].append(row["name"])
    starts = sorted(start.container for start in plan.starts)
    assert sorted(names["healthy"]) == sorted(names["watched"]) == starts
    assert sorted(names["absent"]) == sorted(retire.container for retire in plan.retires)


@pytest.mark.parametrize("case", CASES)
def test_the_release_is_recorded_last_and_everywhere(case: str) -> None:
    plan = CASES[case]()
    last = plays(plan)[-1]
    assert last.tasks[-1].action == "gitops_release"
    assert last.hosts == tuple(host.name for host in plan.fleet.hosts)


@pytest.mark.parametrize("case", CASES)
def test_the_last_fragment_is_the_final_state_of_the_edge(case: str) -> None:
    plan = CASES[case]()
    assert list(switches(plan).values())[-1] == plan.backends
    edges = [
        task.arguments["edge"] for play in plays(plan) for task in play.tasks if "edge" in task.arguments
    ]
    files = [edge["fragment"] for edge in edges]
    assert files == list(switches(plan))


def test_an_edge_that_alone_differs_is_brought_up_to_date() -> None:
    plan = replace(update(), phases=(), edge_changes=True)
    assert [play.name for play in plays(plan)] == [
        "Prepare the hosts",
        "Stage 1 of 1: the edge",
        "Record the release",
    ]


def test_a_plan_that_leaves_the_edge_alone_has_no_switch() -> None:
    phases = tuple(replace(phase, backends=None) for phase in first().phases)
    plan = replace(first(), phases=phases, edge_changes=False)
    assert switches(plan) == {}
    assert not any("edge" in task.arguments for play in plays(plan) for task in play.tasks)


@pytest.mark.parametrize("opening", ["{{ 7 * 7 }}", "{% if 1 %}", "{# note #}", "{{{{"])
def test_a_reason_never_opens_a_template(opening: str) -> None:
    plan = first()
    phase = plan.phases[0]
    assert isinstance(phase, StartPhase)
    reasons = tuple(replace(start, reason=f"label {opening} changed") for start in phase.starts)
    text = playbook(replace(plan, phases=(replace(phase, starts=reasons), *plan.phases[1:]))).decode()
    for sign in ("{{", "{%", "{#"):
        assert sign not in text
    assert "label {" in text


def test_literal_text_is_yaml_that_reads_back() -> None:
    assert yaml.safe_load(literal('a "b": c # d\n- e')) == 'a "b": c # d\n- e'


def _named(plan: Plan, container: str) -> Plan:
    phase = plan.phases[0]
    assert isinstance(phase, StartPhase)
    return replace(plan, phases=(replace(phase, starts=(replace(phase.starts[0], container=container),)),))


def test_names_and_images_that_ansible_could_take_for_more_are_refused() -> None:
    for plan in (
        _named(first(), "{{ lookup('pipe', 'id') }}"),
        replace(first(), app="a b"),
        replace(first(), pulls=(Pull("h1", "x:{{ 1 }}"),)),
    ):
        with pytest.raises(PermanentError, match="must not reach a playbook"):
            playbook(plan)


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert playbook(update()) == playbook(update())
    assert shop("2") != shop("1")
