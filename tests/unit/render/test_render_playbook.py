from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from support.rendering import CASES, first, shop, update

from gitops.errors import PermanentError
from gitops.model.plan import Plan, Pull, StartPhase
from gitops.render.deployment import fragments
from gitops.render.graph import graph
from gitops.render.haproxy import fragment
from gitops.render.playbook import HERE, LOCK_TAG, literal, playbook, plays
from gitops.render.work import Switch


def steps(plan: Plan) -> list[dict[str, Any]]:
    """The rows of the one task that rolls out."""
    return [row.data for row in plays(plan)[-1].tasks[0].arguments["steps"]]


@pytest.mark.parametrize("case", CASES)
def test_the_text_says_what_the_plays_say(case: str) -> None:
    plan = CASES[case]()
    lock, rollout = yaml.safe_load(playbook(plan))
    assert lock["hosts"] == [host.name for host in plan.fleet.hosts]
    assert (lock["tags"], lock["tasks"][0]["gitops_lock"]) == ([LOCK_TAG], {})
    assert (rollout["hosts"], rollout["gather_facts"], rollout["any_errors_fatal"]) == ([HERE], False, True)
    assert rollout["tasks"][0]["gitops_rollout"]["steps"] == steps(plan)


@pytest.mark.parametrize("case", CASES)
def test_every_start_is_watched_and_every_container_handled_once(case: str) -> None:
    plan = CASES[case]()
    names: dict[str, list[str]] = {"start": [], "run": [], "watch": [], "remove": []}
    for row in steps(plan):
        if row["do"] in names:
            names[row["do"]].append(row["name"])
    starts = sorted(start.container for start in plan.starts if not start.job)
    assert sorted(names["start"]) == starts
    adds = {"shop-web-3-49c91a04"}  # in `discovery`, to replicas of the same version
    assert set(names["watch"]) == set(starts) - adds
    assert len(names["watch"]) == len(set(names["watch"]))
    assert sorted(names["run"]) == sorted(start.container for start in plan.starts if start.job)
    assert sorted(names["remove"]) == sorted(retire.container for retire in plan.retires)


@pytest.mark.parametrize("case", CASES)
def test_the_last_fragment_is_the_final_state_of_the_edge(case: str) -> None:
    plan = CASES[case]()
    switches = [step.work for step in graph(plan) if isinstance(step.work, Switch)]
    assert switches[-1].backends == plan.backends
    places = [place for row in steps(plan) if row["do"] == "switch" for place in row["places"]]
    told = [place["fragment"] for place in places if place["edge"]]
    assert told == sorted(file for file in fragments(plan) if file.startswith("haproxy/"))
    assert fragments(plan)[told[-1]] == fragment(plan.stack, None, plan.backends)


def test_a_reader_of_the_playbook_is_told_why() -> None:
    text = playbook(update()).decode()
    assert "# web.1 on h3: image changed: " in text
    assert "# the edge: take in web.1" in text


def test_a_plan_that_leaves_the_edge_alone_has_no_switch() -> None:
    phases = tuple(replace(phase, backends=None) for phase in first().phases)
    plan = replace(first(), phases=phases, places=())
    assert not any(row["do"] == "switch" for row in steps(plan))


@pytest.mark.parametrize("opening", ["{{ 7 * 7 }}", "{% if 1 %}", "{# note #}", "{{{{"])
def test_a_reason_never_opens_a_template(opening: str) -> None:
    plan = first()
    phase = plan.phases[0]
    assert isinstance(phase, StartPhase)
    reasons = tuple(replace(start, reason=f"label {opening} changed") for start in phase.starts)
    text = playbook(replace(plan, phases=(replace(phase, starts=reasons), *plan.phases[1:]))).decode()
    read = yaml.safe_load(text)
    for sign in ("{{", "{%", "{#"):
        assert sign not in json.dumps(read)  # a comment may hold it: nothing evaluates that
    assert "label {" in json.dumps(read)


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
