"""Reasons: what changed between two specs, without ever showing what may be a secret."""

from __future__ import annotations

import string
from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import deployed, plan_of, service_of, small_fleet, stack_of

from gitops.model.plan import Plan
from gitops.model.stack import ContainerSpec, Healthcheck, Mount
from gitops.plan.explain import Difference, differences, sentence, state_reason

OLD = ContainerSpec("shop:1", environment=(("COLOUR", "red"), ("DB_HOST", "db1")))


def reason(**changes: object) -> str:
    return sentence(differences(OLD, replace(OLD, **changes)))  # type: ignore[arg-type]


def test_an_image_shows_old_and_new() -> None:
    assert reason(image="shop:2") == "image changed: shop:1 -> shop:2"


def test_environment_names_keys_only() -> None:
    assert reason(environment=(("COLOUR", "blue"), ("PASSWORD", "hunter2"))) == (
        "env COLOUR changed, env DB_HOST removed, env PASSWORD added"
    )


def test_fields_have_the_names_of_the_compose_file() -> None:
    assert reason(command=("run", "--token", "hunter2")) == "command changed"
    assert reason(mounts=(Mount("volume", "/data", "data"),)) == "volumes changed"
    assert reason(stop_grace_period_s=3.0) == "stop_grace_period changed"
    assert reason(labels=(("tier", "front"),)) == "label tier added"


def test_many_differences_are_counted() -> None:
    text = reason(image="shop:2", user="1000", init=True, read_only=True, hostname="web", working_dir="/srv")
    assert (
        text
        == "image changed: shop:1 -> shop:2, user changed, working_dir changed, hostname changed and 2 more"
    )


def test_equal_specs_do_not_differ() -> None:
    assert differences(OLD, replace(OLD)) == ()


def test_every_field_of_a_spec_is_compared() -> None:
    new = ContainerSpec(
        "shop:2",
        healthcheck=Healthcheck(test=("NONE",)),
        **{  # type: ignore[arg-type]
            field.name: object()
            for field in fields(ContainerSpec)
            if field.name not in {"image", "healthcheck", "environment", "labels", "sysctls", "extra_hosts"}
        },
    )
    keyed = 3  # labels, sysctls and extra_hosts are equal here; environment has two keys
    assert len(differences(OLD, new)) == len(fields(ContainerSpec)) - keyed + 1


def test_a_difference_reads_as_a_sentence() -> None:
    assert str(Difference("env DB_HOST", "changed")) == "env DB_HOST changed"


def test_a_container_that_works_needs_no_reason() -> None:
    fleet = small_fleet()
    container = deployed(stack_of({"web": {}}), fleet).containers("shop")[0]
    assert state_reason(container) == ""
    assert state_reason(replace(container, state="exited", exit_code=137)) == "container exited (137)"
    assert state_reason(replace(container, state="paused")) == "container paused"
    assert state_reason(replace(container, health="unhealthy")) == "container unhealthy"


_SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=20)


def _everything_said(plan: Plan) -> str:
    return " ".join([*(start.reason for start in plan.starts), *(retire.reason for retire in plan.retires)])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(_SECRETS, _SECRETS)
def test_no_value_reaches_a_reason(old: str, new: str) -> None:
    fleet = small_fleet()
    was, now = (
        stack_of(
            {"web": {"env": {"TOKEN": value}, "labels": {"note": value}, "command": ["run", value]}}, commit
        )
        for value, commit in ((old, "a"), (new, "b"))
    )
    plan = plan_of(now, fleet, deployed(was, fleet), was)
    said = _everything_said(plan)
    assert old not in said
    assert new not in said
    if old != new:
        assert said.startswith("command changed, env TOKEN changed, label note changed")


def test_a_spec_that_is_not_the_previous_one_is_only_called_changed() -> None:
    fleet = small_fleet()
    was = stack_of({"web": {"image": "shop:1"}}, "a")
    skipped = stack_of({"web": {"image": "shop:2"}}, "c")
    plan = plan_of(stack_of({"web": {"image": "shop:3"}}), fleet, deployed(was, fleet), skipped)
    assert [start.reason for start in plan.starts] == ["spec changed"]


def test_a_service_from_replicated_to_global_says_so() -> None:
    fleet = small_fleet(2)
    was = stack_of({"web": {"replicas": 1}}, "a")
    plan = plan_of(stack_of({"web": {"mode": "global"}}), fleet, deployed(was, fleet), was)
    assert [start.reason for start in plan.starts] == ["mode changed: replicated -> global"]
    assert service_of("web", {}).container == was.services[0].container
