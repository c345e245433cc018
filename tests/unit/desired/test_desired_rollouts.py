"""How a service is replaced and when a job runs: `update_config`, `rollback_config`, `x-job`, `x-rollout`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import problems, service, service_problems, stack

from gitops.model.stack import Dependency, Job, Judge, RestartPolicy, Rollout, UpdateConfig

BACK = UpdateConfig(0, "start-first", 5.0, "pause")
GLOBAL_JOB = "`global-job` is not supported (`replicated-job` runs as often as `replicas` says)"
CANARY = Rollout("canary", (5, 25, 50))


def update(keys: str) -> UpdateConfig:
    return service(f"deploy: {{update_config: {{{keys}}}}}").update


def rollback(keys: str) -> UpdateConfig:
    return service(f"deploy: {{rollback_config: {{{keys}}}}}").rollback


def rollout(keys: str) -> Rollout:
    return service(f"x-ingress: {{port: 80}}\nx-rollout: {{{keys}}}").rollout


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", UpdateConfig()),
        ("delay: 1m30s", UpdateConfig(delay_s=90.0)),
        ("max_failure_ratio: 0.25", UpdateConfig(max_failure_ratio=0.25)),
        ("max_failure_ratio: '.5'", UpdateConfig(max_failure_ratio=0.5)),
        ("max_failure_ratio: 1", UpdateConfig(max_failure_ratio=1.0)),
        ("max_failure_ratio: 0", UpdateConfig()),
        ("failure_action: continue", UpdateConfig(failure_action="continue")),
        ("failure_action: pause", UpdateConfig(failure_action="pause")),
    ],
)
def test_a_key_of_update_config(keys: str, expected: UpdateConfig) -> None:
    assert update(keys) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", BACK),
        ("parallelism: 2", UpdateConfig(2, "start-first", 5.0, "pause")),
        ("order: stop-first", UpdateConfig(0, "stop-first", 5.0, "pause")),
        ("monitor: 0s", UpdateConfig(0, "start-first", 0.0, "pause")),
        ("failure_action: continue", UpdateConfig(0, "start-first", 5.0, "continue")),
        ("delay: 1s, max_failure_ratio: 0.5", UpdateConfig(0, "start-first", 5.0, "pause", 1.0, 0.5)),
    ],
)
def test_a_key_of_rollback_config(keys: str, expected: UpdateConfig) -> None:
    assert rollback(keys) == expected


def test_a_rollback_goes_as_the_update_does_but_at_once() -> None:
    web = service("deploy: {update_config: {parallelism: 2, order: stop-first, monitor: 9s, delay: 1s}}")
    assert web.rollback == UpdateConfig(0, "stop-first", 9.0, "pause")
    assert service("volumes: ['data:/d']").rollback.order == "stop-first"
    assert service("").rollback == BACK


@pytest.mark.parametrize("ratio", ["-0.1", "1.01", "2", "10%", "many", "true", "[1]", ".nan"])
def test_a_failure_ratio_is_zero_to_one(ratio: str) -> None:
    (problem,) = service_problems(f"deploy: {{update_config: {{max_failure_ratio: {ratio}}}}}")
    path = "services.web.deploy.update_config.max_failure_ratio"
    assert problem.startswith(f"compose.yaml:4:49: {path}: expected 0 to 1, found")


def test_a_rollback_is_not_rolled_back() -> None:
    (problem,) = service_problems("deploy: {rollback_config: {failure_action: rollback}}")
    assert problem.startswith("compose.yaml:4:48: services.web.deploy.rollback_config.failure_action: ")
    assert problem.endswith(": a rollback is not rolled back (`pause` or `continue`)")


@pytest.mark.parametrize(
    ("keys", "job"),
    [
        ("", None),
        ("x-fence: false", None),
        ("deploy: {mode: replicated-job}", Job("in-order")),
        ("deploy: {mode: replicated-job}\nx-fence: true", Job("in-order", fence=True)),
        ("x-job: {}", Job("pre-deploy")),
        ("x-job: {}\ndeploy: {mode: replicated-job}", Job("pre-deploy")),
        ("x-job: {when: post-deploy, timeout: 90s}", Job("post-deploy", 90.0)),
        ("x-job: {when: in-order}\nx-fence: true", Job("in-order", fence=True)),
    ],
)
def test_what_makes_a_job(keys: str, job: Job | None) -> None:
    assert service(keys).job == job


def test_a_job_completes_as_often_as_its_replicas_say() -> None:
    assert service("deploy: {mode: replicated-job, replicas: 3}").replicas == 3
    assert service("x-job: {}\nscale: 2").replicas == 2


@pytest.mark.parametrize("keys", ["", "restart: no", "deploy: {restart_policy: {condition: none}}"])
def test_a_job_is_never_restarted_and_else_is_as_any_other(keys: str) -> None:
    job = service(f"command: [migrate]\nx-job: {{}}\n{keys}")
    assert job.container.restart == RestartPolicy("no")
    assert job.container.digest == service("command: [migrate]\nrestart: no").container.digest


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        ("ports: ['81:80']", "ports", "never served"),
        ("ports: [{target: 80, published: 81, mode: host}]", "ports", "never served"),
        ("x-ingress: {port: 80}", "x-ingress", "never served"),
        ("x-rollout: {strategy: rolling}", "x-rollout", "run, not replaced"),
        ("deploy: {update_config: {}}", "deploy.update_config", "run, not replaced"),
        ("deploy: {rollback_config: {}}", "deploy.rollback_config", "run, not replaced"),
        ("deploy: {mode: global}", "deploy.mode", "leave one of them out"),
        ("deploy: {mode: replicated}", "deploy.mode", "leave one of them out"),
        ("restart: unless-stopped", "restart", "not restarted"),
        ("restart: on-failure:3", "restart", "not restarted"),
        ("deploy: {restart_policy: {}}", "deploy.restart_policy", "not restarted"),
    ],
)
def test_what_a_job_cannot_have(keys: str, key: str, why: str) -> None:
    (problem,) = service_problems(f"{keys}\nx-job: {{}}")
    assert problem.startswith("compose.yaml:4:")
    assert f"services.web.{key}: " in problem
    assert why in problem


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("x-fence: true", "4:14: services.web.x-fence: only a job is a fence (`x-job` makes it one)"),
        ("x-job:", "4:5: services.web.x-job: expected a mapping, found nothing"),
        ("x-job: {timeout: 0s}", "4:22: services.web.x-job.timeout: a job needs time (leave it out for 10m)"),
        ("x-job: {wen: in-order}", "4:13: unknown key `wen` in services.web.x-job (did you mean `when`?)"),
        ("deploy: {mode: global-job}", f"4:20: services.web.deploy.mode: {GLOBAL_JOB}"),
    ],
)
def test_what_makes_no_job(keys: str, problem: str) -> None:
    assert service_problems(keys) == [f"compose.yaml:{problem}"]


@pytest.mark.parametrize("key", ["x-env", "x-log", "x-team", "x-ingest", "x-notes"])
def test_other_extensions_are_the_users(key: str) -> None:
    assert service(f"{key}: {{any: thing}}").job is None


JOBS = """\
services:
  early: {image: x, x-job: {}}
  inner: {image: x, deploy: {mode: replicated-job}}
  late: {image: x, x-job: {when: post-deploy}}
  later:
    image: x
    x-job: {when: post-deploy}
    depends_on: {late: {condition: service_completed_successfully}}
  a: {image: x, depends_on: {b: {}, inner: {condition: service_completed_successfully}}}
  b: {image: x, depends_on: {z: {condition: service_started, restart: false}}}
  z: {image: x, depends_on: {early: {condition: service_completed_successfully}}}
"""


def test_the_order_is_jobs_before_then_services_then_jobs_after() -> None:
    found = stack(JOBS)
    assert [s.name for s in found.services] == ["early", "inner", "z", "b", "a", "late", "later"]
    assert len({s.container.digest for s in found.services if not s.job}) == 1
    by_name = {s.name: s.depends_on for s in found.services}
    assert by_name["a"] == (Dependency("b"), Dependency("inner", "service_completed_successfully"))


@pytest.mark.parametrize(
    ("kind", "depends_on", "place", "why"),
    [
        ("init: true", "[early]", "early", "early: a job does not stay up"),
        ("init: true", "{early: {}}", "early", "early: a job does not stay up"),
        ("init: true", "{inner: {condition: service_healthy}}", "service_h", "inner: a job does not stay up"),
        ("init: true", "{z: {condition: service_completed_successfully}}", "service_c", "z: it is no job"),
        ("init: true", "{late: {condition: service_completed_successfully}}", "service_c",
         "late: a post-deploy job runs after everything else"),
        ("x-job: {}", "[z]", "z", "z: a pre-deploy job runs before everything else"),
        ("x-job: {}", "{inner: {condition: service_completed_successfully}}", "service_c",
         "inner: a pre-deploy job runs before everything else"),
        ("x-job: {when: in-order}", "{late: {condition: service_completed_successfully}}", "service_c",
         "late: a post-deploy job runs after everything else"),
        ("init: true", "{z: {restart: true}}", "true", "z.restart: only what has changed is replaced"),
        ("init: true", "{z: {condition: service_helthy}}", "service_h", "z.condition: expected one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_waited_for(kind: str, depends_on: str, place: str, why: str) -> None:
    last = f"    depends_on: {depends_on}"
    text = f"{JOBS}  s:\n    image: x\n    {kind}\n{last}\n"
    column = last.index(place, len("    depends_on: ")) + 1
    (problem,) = problems(text)
    assert problem.startswith(f"compose.yaml:{text.count(chr(10))}:{column}: services.s.depends_on.{why}")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", Rollout()),
        ("strategy: rolling", Rollout()),
        ("judge: false", Rollout(judged=False)),
        ("strategy: rolling, judge: no", Rollout(judged=False)),
        ("judge: true", Rollout()),
        ("judge: {max_5xx: 5%, against: old}", Rollout(judge=Judge(0.05, against="old"))),
        ("strategy: canary", CANARY),
        ("strategy: canary, steps: [1%, 99%], pause: 1m", Rollout("canary", (1, 99), 60.0)),
        ("strategy: canary, pause: manual", Rollout("canary", (5, 25, 50), manual=True)),
        ("strategy: canary, judge: {}", CANARY),
        ("strategy: canary, judge: {max_5xx: 0.5%, max_errors: 100%, max_mean_ms: 300}",
         Rollout("canary", (5, 25, 50), judge=Judge(0.005, 1.0, 300.0))),
        ("strategy: canary, judge: {against: old, min_requests: 1, max_5xx: 0%}",
         Rollout("canary", (5, 25, 50), judge=Judge(0.0, against="old", min_requests=1))),
        ("strategy: blue-green", Rollout("blue-green")),
        ("strategy: blue-green, keep: 0s, judge: {against: absolute}", Rollout("blue-green", keep_s=0.0)),
    ],
)  # fmt: skip
def test_a_rollout(keys: str, expected: Rollout) -> None:
    assert rollout(keys) == expected


@pytest.mark.parametrize("key", ["ports: ['6379:6379']", "ports: ['6379:6379']\nx-ingress: {port: 80}"])
def test_what_the_edge_serves_can_be_a_canary(key: str) -> None:
    assert service(f"{key}\nx-rollout: {{strategy: canary}}").rollout == CANARY


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("strategy: canari", "strategy: expected one of rolling, canary, blue-green, found `canari`"),
        ("strategy: canary, steps: []", "steps: no steps"),
        ("strategy: canary, steps: 5%", "steps: expected a list, found a string"),
        ("strategy: canary, steps: [5]", "steps[0]: expected a percentage such as `5%`, found `5`"),
        ("strategy: canary, steps: [0%]", "steps[0]: expected a whole percentage of 1% to 99%, found `0%`"),
        ("strategy: canary, steps: [100%]", "steps[0]: expected a whole percentage of 1% to 99%"),
        ("strategy: canary, steps: [1.5%]", "steps[0]: expected a whole percentage of 1% to 99%"),
        ("strategy: canary, steps: [5%, 5%]", "steps[1]: `5%` is not above the step before"),
        ("strategy: canary, steps: [9%, 5%]", "steps[1]: `5%` is not above the step before"),
        ("strategy: canary, pause: 0s", "pause: a step needs time to be judged"),
        ("strategy: canary, pause: manuel", "pause: expected `manual` or a duration such as `30s`"),
        ("strategy: canary, keep: 1s", "keep: a canary rollout has none (it is for `strategy: blue-green`)"),
        ("strategy: blue-green, steps: [5%]", "steps: a blue-green rollout has none"),
        ("strategy: blue-green, pause: manual", "pause: a blue-green rollout has none"),
        ("strategy: blue-green, judge: {against: old}", "judge.against: after the switch the old servers"),
        ("steps: [5%]", "steps: a rolling rollout has none (it is for `strategy: canary`)"),
        ("judge: {against: absolute}", "judge.against: a rolling update is always compared with the old "),
        ("strategy: canary, judge: false", "judge: a canary rollout is there to be judged (use `strategy: "),
        ("judge: 5", "judge: expected true or false, found a number"),
        ("strategy: canary, judge: {max_5xx: 1}", "judge.max_5xx: expected a percentage such as `5%`"),
        ("strategy: canary, judge: {max_errors: 101%}", "judge.max_errors: expected a percentage"),
        ("strategy: canary, judge: {max_mean_ms: 0}", "judge.max_mean_ms: expected 1 to"),
        ("strategy: canary, judge: {max_p95_ms: 9}",
         "judge.max_p95_ms is not supported (HAProxy counts no percentiles: use `max_mean_ms`)"),
        ("strategy: canary, judge: {max_queue: 1}", "judge.max_queue is not supported (the edge limits no"),
    ],
)  # fmt: skip
def test_what_is_no_rollout(keys: str, problem: str) -> None:
    (found,) = service_problems(f"x-rollout: {{{keys}}}\nx-ingress: {{port: 80}}")
    assert found.startswith("compose.yaml:4:")
    assert f": services.web.x-rollout.{problem}" in found


def test_misspelt_keys_of_a_rollout_have_suggestions() -> None:
    keys = "x-ingress: {port: 80}\nx-rollout: {strategy: canary, stesp: [5%], judge: {max_5x: 1%}}"
    assert service_problems(keys) == [
        "compose.yaml:5:35: unknown key `stesp` in services.web.x-rollout (did you mean `steps`?)",
        "compose.yaml:5:56: unknown key `max_5x` in services.web.x-rollout.judge (did you mean `max_5xx`?)",
    ]


@pytest.mark.parametrize("strategy", ["canary", "blue-green"])
@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("init: true", "the edge does not serve it"),
        ("expose: [80]", "the edge does not serve it"),
        ("ports: ['81:80', {target: 1, published: 1, mode: host}]", "two containers cannot hold one port"),
        ("ports: ['81:80']\ndeploy: {mode: global}", "a global service has one container on each host"),
        ("ports: ['81:80']\ndeploy: {update_config: {order: stop-first}}", "its containers stop before"),
        ("ports: ['81:80']\nvolumes: ['data:/d']", "its containers stop before"),
    ],
)
def test_two_versions_side_by_side_need_room(strategy: str, keys: str, why: str) -> None:
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    head = f"services:\n  web:\n    image: x\n    x-rollout: {{strategy: {strategy}}}\n"
    text = f"{head}{lines}volumes: {{data: }}\n"
    (problem,) = problems(text)
    message = f"services.web.x-rollout: {strategy} needs both versions at once: {why}"
    assert problem.startswith(f"compose.yaml:4:5: {message}")


def test_a_volume_may_be_written_by_both_versions_where_the_file_says_so() -> None:
    web = service(
        "ports: ['81:80']\nvolumes: ['data:/d']\n"
        "deploy: {update_config: {order: start-first}}\nx-rollout: {strategy: canary}"
    )
    assert web.rollout == CANARY


@pytest.mark.parametrize("limit", ["max_5xx: 1%", "max_mean_ms: 300"])
def test_tcp_is_not_judged_by_what_only_http_has(limit: str) -> None:
    keys = f"x-rollout: {{strategy: canary, judge: {{{limit}}}}}\nports: ['81:80']"
    (problem,) = service_problems(keys)
    assert "the edge reads no answers of what it serves as TCP" in problem
    web = service("ports: ['81:80']\nx-rollout: {strategy: canary, judge: {max_errors: 2%}}")
    assert web.rollout.judge.max_errors == 0.02


DURATIONS = st.integers(1, 90).map("{}s".format)
PERCENTS = st.integers(0, 100).map("{}%".format)


def some_of(**keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=keys)


UPDATES = some_of(
    parallelism=st.integers(0, 9),
    delay=DURATIONS,
    order=st.just("start-first"),
    monitor=DURATIONS,
    max_failure_ratio=st.floats(0, 1).map(lambda ratio: round(ratio, 6)),
    failure_action=st.sampled_from(["pause", "continue"]),
)
JUDGES = some_of(
    max_5xx=PERCENTS, max_errors=PERCENTS, max_mean_ms=st.integers(1, 9), min_requests=st.integers(1, 9)
)
ROLLOUTS = st.one_of(
    st.just({"strategy": "rolling"}),
    some_of(keep=DURATIONS, judge=JUDGES).map(lambda keys: keys | {"strategy": "blue-green"}),
    some_of(
        steps=st.sets(st.integers(1, 99), min_size=1).map(
            lambda found: [f"{step}%" for step in sorted(found)]
        ),
        pause=st.one_of(st.just("manual"), DURATIONS),
        judge=JUDGES,
    ).map(lambda keys: keys | {"strategy": "canary"}),
)


@given(update=UPDATES, rollback=UPDATES, rollout=ROLLOUTS)
def test_how_a_service_is_replaced_replaces_no_container(
    update: object, rollback: object, rollout: object
) -> None:
    policy = {"update_config": update, "rollback_config": rollback}
    web = service(f"x-ingress: {{port: 80}}\ndeploy: {json.dumps(policy)}\nx-rollout: {json.dumps(rollout)}")
    assert web.container.digest == service("x-ingress: {port: 80}").container.digest


@given(
    job=some_of(when=st.sampled_from(["pre-deploy", "in-order", "post-deploy"]), timeout=DURATIONS),
    fence=st.booleans(),
)
def test_when_a_job_runs_is_not_part_of_its_container(job: object, fence: bool) -> None:
    found = service(f"x-job: {json.dumps(job)}\nx-fence: {json.dumps(fence)}")
    assert found.container.digest == service("deploy: {mode: replicated-job}").container.digest
