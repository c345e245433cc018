"""Jobs of rendered deployments on real hosts: under stock ansible-playbook and run by the controller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.labs import Lab
from support.rollouts import Rollouts, ansible_playbook, changed, stock

from gitops.execute import runner
from gitops.model.observed import Container
from gitops.model.stack import ContainerSpec, Job, Mount, RestartPolicy, Service, Stack, When
from gitops.render.deployment import deployment
from gitops.tasks import CANCEL
from gitops.verify import difference

pytestmark = pytest.mark.lab


@pytest.fixture
def app(lab: Lab, tmp_path: Path) -> Iterator[Rollouts]:
    """The application on a Docker and a Podman host."""
    rollouts = Rollouts(lab, "jobs", tmp_path, hosts=("h1", "p1"))
    yield rollouts
    rollouts.remove()


def job(
    image: str, script: str, when: When = "pre-deploy", *, name: str = "migrate", **more: object
) -> Service:
    spec = ContainerSpec(image, command=("sh", "-c", script), restart=RestartPolicy("no"),
                         stop_grace_period_s=1.0, init=True)  # fmt: skip
    replicas = int(str(more.pop("replicas", 1)))
    return Service(name, spec, replicas=replicas, job=Job(when, **more))  # type: ignore[arg-type]


def with_jobs(stack: Stack, *before: Service, after: tuple[Service, ...] = ()) -> Stack:
    return replace(stack, services=(*before, *stack.services, *after))


def jobs_of(app: Rollouts) -> list[Container]:
    return [container for container in app.containers() if container.job]


def test_jobs_run_once_under_stock_ansible_and_a_second_run_finds_them(app: Rollouts) -> None:
    image = app.image("1")
    stack = with_jobs(
        app.stack(image, replicas=2),
        job(image, "echo migrated; cat /proc/sys/kernel/random/uuid", replicas=2),
        after=(job(image, "wget -q -O - http://web/", "post-deploy", name="smoke"),),
    )
    folder = app.rendered(app.plan(stack), "stock")
    assert changed(ansible_playbook(folder, "--check")) > 0
    assert app.containers() == ()
    ansible_playbook(folder)

    marks = jobs_of(app)
    assert [(c.service, c.host, c.finished) for c in marks] == [
        ("migrate", "h1", True),
        ("smoke", "h1", True),
        ("migrate", "p1", True),
    ]
    assert app.get() == (200, "1")
    assert app.plan(stack).empty
    assert difference(app.plan(stack), app.observe()) is None
    assert changed(ansible_playbook(folder)) == 0
    assert [c.id for c in jobs_of(app)] == [c.id for c in marks]

    newer = with_jobs(app.stack(image, replicas=2, commit="b"), job(image, "echo migrated again"))
    done, events = app.run(app.plan(newer, previous=stack), "newer")
    assert done.ok, done.failure
    said = [event for event in events if event.kind == "job"]
    assert [(e.data["replica"], e.data["lines"]) for e in said] == [("migrate.1", ["migrated again"])]
    [mark] = jobs_of(app)
    assert (mark.spec, mark.finished) == (newer.services[0].container.digest, True)


def test_a_failure_or_a_job_that_takes_too_long_ends_it_before_anything_is_touched(app: Rollouts) -> None:
    image = app.image("1")
    good = app.stack(image, replicas=1)
    done, _ = app.run(app.plan(good), "good")
    assert done.ok, done.failure
    [web] = app.containers()

    fails = with_jobs(app.stack(app.image("2"), commit="b"), job(image, "echo no such table >&2; exit 3"))
    done, events = app.run(app.plan(fails, previous=good), "fails")
    assert done.failure is not None
    assert (done.failure.kind, done.failure.service) == ("exit", "migrate")
    assert done.failure.message == "migrate.1 exited with code 3"
    assert done.failure.logs == ("no such table",)
    assert [event.data["lines"] for event in events if event.kind == "job"] == [["no such table"]]
    assert [c.id for c in app.containers() if c.service == "web"] == [web.id]

    # Told to stop it exits with 0, which is no success all the same.
    slow = job(image, "trap 'exit 0' TERM; echo at it; sleep 600 & wait", timeout_s=1.0)
    stack = with_jobs(app.stack(app.image("2"), commit="c"), slow)
    done, _ = app.run(app.plan(stack, previous=good), "slow")
    assert done.failure is not None
    assert (done.failure.kind, done.failure.logs) == ("timeout", ("at it",))
    late = next(c for c in jobs_of(app) if c.spec == slow.container.digest)
    assert (late.state, late.exit_code, late.finished) == ("exited", 0, False)
    assert app.plan(stack, previous=good).starts[0].service == "migrate"

    back = app.plan(good, previous=stack)
    done, _ = app.run(back, "back")
    assert done.ok, done.failure
    assert [c.id for c in app.containers()] == [web.id]


def test_a_job_that_cannot_be_started_says_so(app: Rollouts) -> None:
    image = app.image("1")
    broken = job(image, "")
    broken = replace(broken, container=replace(broken.container, init=False, command=("/no/such/program",)))
    done = stock(app.rendered(app.plan(with_jobs(app.stack(image), broken)), "broken"))
    assert done.returncode == 2
    assert "migrate.1 cannot be started" in done.stdout
    assert [c.state for c in jobs_of(app)] == ["created"]


def test_a_job_is_awaited_where_it_runs(app: Rollouts) -> None:
    """The run that started it has been cut off; the next one neither starts another nor ends this one."""
    image = app.image("1")
    waits = job(image, "until [ -e /flag/go ]; do sleep 0.1; done; echo gone")
    spec = replace(waits.container, mounts=(Mount("volume", "/flag", "flag"),))
    stack = with_jobs(app.stack(image, replicas=1), replace(waits, container=spec))
    files = deployment(app.plan(stack), deployment_id="cut")
    done = runner.run(
        files,
        app.folder / "cut",
        on_event=lambda _: None,
        timeout_s=60,
        env={},
        signals=lambda: {CANCEL} if jobs_of(app) else set(),
    )
    assert done.failure is not None
    [running] = jobs_of(app)
    assert running.running

    again = app.plan(stack)
    [start] = [start for start in again.starts if start.job]
    assert (start.container, start.host) == (running.name, running.host)
    engine = next(h["engine"] for h in app.lab.data["hosts"] if h["name"] == running.host)
    app.lab.on(running.host, engine, "exec", running.name, "touch", "/flag/go")
    done, _ = app.run(again, "again")
    assert done.ok, done.failure
    assert [(c.id, c.finished) for c in jobs_of(app)] == [(running.id, True)]
