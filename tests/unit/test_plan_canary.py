"""What holds for every canary and blue-green, wherever it breaks off."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import APP, altered, applied, deployed, plan_of, small_fleet, stack_of, walk

from gitops.model.observed import Container, Observed
from gitops.model.plan import Plan, ShiftPhase, Spared
from gitops.model.stack import Stack
from gitops.plan import make_plan

CASES = settings(max_examples=40, deadline=None, derandomize=True)
FLEET = small_fleet()


@st.composite
def stacks(draw: st.DrawFn, image: str, replicas: st.SearchStrategy[int]) -> Stack:
    web = {
        "image": f"web:{image}",
        "ports": draw(st.sampled_from([(80,), (80, 81)])) if image == "1" else (80,),
        "replicas": draw(replicas),
        "strategy": draw(st.sampled_from(["canary", "blue-green"])),
        "steps": draw(st.sampled_from([(5, 25, 50), (1, 99), (50,)])),
    }
    return stack_of({"api": {"image": f"api:{image}", "ports": [8080]}, "web": web}, image)


BEFORE = stacks("1", st.integers(1, 5)).filter(
    lambda stack: stack.services[1].container.target_ports == (80,)
)
AFTER = stacks("2", st.integers(1, 5))
NEXT = stacks("3", st.integers(1, 5))


def spec(stack: Stack) -> str:
    web = stack.service("web")
    assert web is not None
    return web.container.digest


def web_of(observed: Observed) -> list[Container]:
    return [c for c in observed.containers(APP) if c.service == "web"]


def share(observed: Observed, digest: str) -> Fraction:
    """What the version of that digest gets of the requests for web."""
    names = {c.name for c in web_of(observed) if c.spec == digest and c.well}
    balancer = observed.host("lb1")
    assert balancer is not None
    servers = [s for s in balancer.servers if s.backend == f"{APP}.web.80"]
    whole = sum(server.weight for server in servers)
    assert whole, "somebody serves"
    return Fraction(sum(s.weight for s in servers if s.name in names), whole)


def states(plan: Plan, observed: Observed) -> list[tuple[object, Observed]]:
    return list(walk(plan, observed))


@CASES
@given(BEFORE, AFTER)
def test_the_old_version_is_whole_and_the_new_one_gets_its_share_until_the_last_trial(
    before: Stack, after: Stack
) -> None:
    observed = deployed(before, FLEET)
    olds = len(web_of(observed))
    plan = plan_of(after, FLEET, observed, before)
    trials = [phase for phase in plan.phases if isinstance(phase, ShiftPhase)]
    rollout = after.services[1].rollout
    assert [t.share.percent for t in trials] == list(rollout.steps or (100,)) or rollout.strategy != "canary"
    seen = 0
    shares = []
    for phase, state in states(plan, observed):
        shares.append(share(state, spec(after)))
        if phase in trials:
            seen += 1
            asked = phase.share.percent  # type: ignore[union-attr]
            assert abs(shares[-1] - Fraction(asked, 100)) < Fraction(1, 100)
            trial = phase.trial  # type: ignore[union-attr]
            assert {c.name for c in web_of(state)} == {*trial.old, *(name for _, name in trial.new)}
            undone = {s.name: s.weight for b in phase.undone if b.service == "web" for s in b.servers}  # type: ignore[union-attr]
            assert undone == {**dict.fromkeys(trial.old, 1), **{name: 0 for _, name in trial.new}}
        if seen < len(trials):
            assert len([c for c in web_of(state) if c.spec == spec(before)]) == olds
    assert all(one <= next_ for one, next_ in pairwise(shares)), "nothing is taken back on the way"
    assert shares[-1] == 1
    assert all(server.weight is None for backend in plan.backends for server in backend.servers)


@CASES
@given(BEFORE, AFTER, st.data())
def test_the_way_back_gives_the_good_version_all_requests_first(
    before: Stack, after: Stack, data: st.DataObject
) -> None:
    """Whatever comes before web has to be brought back, too: its first change is the edge's."""
    observed = deployed(before, FLEET)
    plan = plan_of(after, FLEET, observed, before)
    trials = [state for phase, state in states(plan, observed) if isinstance(phase, ShiftPhase)]
    broken = data.draw(st.sampled_from(trials))
    back = plan_of(before, FLEET, broken, after, rollback=True)
    assert isinstance(back.phases[0], ShiftPhase)
    assert not any(start.service == "web" for start in back.starts), "what is there is what serves"
    for _, state in states(back, broken):
        assert share(state, spec(before)) == 1
    assert plan_of(before, FLEET, applied(back, broken), before).empty


@CASES
@given(BEFORE, AFTER, NEXT, st.data())
def test_a_rollout_that_broke_off_is_taken_up_undone_or_superseded_without_a_gap(
    before: Stack, after: Stack, following: Stack, data: st.DataObject
) -> None:
    observed = deployed(before, FLEET)
    plan = plan_of(after, FLEET, observed, before)
    at, (_, broken) = data.draw(st.sampled_from(list(enumerate(states(plan, observed)))))
    on_trial = share(broken, spec(after))
    for goal in (after, before, following):
        again = plan_of(goal, FLEET, broken, before)
        for _, state in states(again, broken):
            assert share(state, spec(goal)) >= 0, "somebody serves at every step"
            if goal is following and on_trial < 1:
                assert share(state, spec(after)) <= on_trial, "superseded, it gets no more than it had"
        assert plan_of(goal, FLEET, applied(again, broken), goal).empty, at
    again = plan_of(after, FLEET, broken, before)
    steps = [phase.share.percent for phase in again.phases if isinstance(phase, ShiftPhase)]
    assert all(step >= round(100 * on_trial) for step in steps), "it goes on with the share that it had"


def test_what_is_on_trial_and_unhealthy_is_replaced_while_the_old_version_serves() -> None:
    said = {"ports": [80], "replicas": 4, "strategy": "canary", "steps": [5, 50]}
    before, after = (stack_of({"web": {**said, "image": image}}, image) for image in "ab")
    observed = deployed(before, FLEET)
    plan = plan_of(after, FLEET, observed, before)
    trials = [state for phase, state in walk(plan, observed) if isinstance(phase, ShiftPhase)]
    name = plan.starts[0].container
    broken = altered(trials[1], name, health="unhealthy")
    again = plan_of(after, FLEET, broken, before)
    assert 1 in {start.slot for start in again.starts}
    assert name in {retire.container for retire in again.retires}
    assert plan_of(after, FLEET, applied(again, broken), after).empty


def test_a_weight_that_somebody_changed_is_drift() -> None:
    stack = stack_of({"web": {"image": "web:1", "ports": [80], "replicas": 2}})
    observed = deployed(stack, FLEET)
    assert plan_of(stack, FLEET, observed, stack).empty
    hosts = (
        replace(host, servers=(*(replace(s, weight=0) for s in host.servers[:1]), *host.servers[1:]))
        for host in observed.hosts
    )
    plan = plan_of(stack, FLEET, Observed(tuple(hosts)), stack)
    assert plan.edge_changes
    assert not plan.starts


def test_on_the_way_back_the_failed_version_gets_nothing_while_a_lost_old_container_comes_back() -> None:
    said = {"ports": [80], "replicas": 4, "strategy": "blue-green"}
    before, after = (stack_of({"web": {**said, "image": image}}, image) for image in "ab")
    observed = deployed(before, FLEET)
    plan = plan_of(after, FLEET, observed, before)
    went_over = next(state for phase, state in walk(plan, observed) if isinstance(phase, ShiftPhase))
    dead = next(c for c in web_of(went_over) if c.spec == spec(before))
    broken = altered(went_over, dead.name, state="exited", exit_code=1)
    back = plan_of(before, FLEET, broken, after, rollback=True)
    assert [start.slot for start in back.starts] == [dead.slot]
    for _, state in walk(back, broken):
        assert share(state, spec(after)) == 0
    assert plan_of(before, FLEET, applied(back, broken), before).empty


def test_an_old_container_that_a_failed_new_one_leaves_in_its_place_is_not_on_trial() -> None:
    said = {"ports": [80], "replicas": 4, "strategy": "canary", "steps": [50]}
    before, after = (stack_of({"web": {**said, "image": image}}, image) for image in "ab")
    observed = deployed(before, FLEET)
    kept = next(c for c in web_of(observed) if c.slot == 1)
    spared = (Spared("web", 1, "web.1 exited with code 1"),)
    plan = make_plan(after, FLEET, observed, previous=before, spared=spared)
    [trial] = [phase for phase in plan.phases if isinstance(phase, ShiftPhase)]
    assert kept.name not in trial.share.containers
    for phase, state in walk(plan, observed):
        if phase == trial:
            assert share(state, spec(after)) == Fraction(1, 2)
    assert kept.name in {keep.container for keep in plan.keeps}
