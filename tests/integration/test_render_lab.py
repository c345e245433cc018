"""Rendered deployments on real hosts: what they bring about, and what they say when they fail."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.labs import Lab
from support.load import Load
from support.rollouts import Rollouts, ansible_playbook, changed, counts, run_playbook, specs, stock

from gitops.assets import folder
from gitops.execute import runner
from gitops.model.stack import Healthcheck, Ingress, Mount, Publish
from gitops.render import playbook
from gitops.render.deployment import deployment
from gitops.tasks import STOP

pytestmark = pytest.mark.lab


@pytest.fixture
def everywhere(lab: Lab, tmp_path: Path) -> Iterator[Rollouts]:
    """The application on every host."""
    rollouts = Rollouts(lab, "render", tmp_path)
    yield rollouts
    rollouts.remove()


@pytest.fixture
def app(lab: Lab, tmp_path: Path) -> Iterator[Rollouts]:
    """The application on one host, which is quicker."""
    rollouts = Rollouts(lab, "render", tmp_path, hosts=("h1",))
    yield rollouts
    rollouts.remove()


def test_the_folder_deploys_under_stock_ansible_and_changes_nothing_the_second_time(
    everywhere: Rollouts, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    trap = "{{ lookup('pipe', 'touch " + str(marker) + "') }}"
    stack = everywhere.stack(
        everywhere.image("1"),
        replicas=5,
        environment=(("TRAP", trap),),
        labels=(("trap", trap),),
        command=("sh", "-c", f"echo '{trap.replace(chr(39), '')}'; exec httpd -f -p 80 -h /www"),
    )
    run_folder = everywhere.rendered(everywhere.plan(stack), "stock")

    assert changed(ansible_playbook(run_folder, "--check")) > 0
    assert everywhere.containers() == ()

    assert changed(ansible_playbook(run_folder)) > 0
    assert everywhere.get() == (200, "1")
    assert [c.host for c in everywhere.containers()] == ["h1", "h2", "h3", "h4", "p1"]
    assert everywhere.plan(stack).empty

    again = ansible_playbook(run_folder)
    assert changed(again) == 0
    assert set(again) == {"e1", "h1", "h2", "h3", "h4", "p1", "localhost"}

    # Text of the repository is text on the hosts.
    name = next(c.name for c in everywhere.containers() if c.host == "h1")
    seen = everywhere.lab.on("h1", "docker", "inspect", name)
    assert seen.count("{{ lookup('pipe'") == 2
    assert not marker.exists()


def test_a_rollout_loses_no_request_and_leaves_exactly_the_new_version(everywhere: Rollouts) -> None:
    old, new = (
        everywhere.stack(everywhere.image("1"), replicas=4),
        everywhere.stack(everywhere.image("2"), replicas=4, commit="b"),
    )
    done, _ = everywhere.run(everywhere.plan(old), "one")
    assert done.ok, done.failure

    with Load(everywhere.edge, host="render.test") as load:
        plan = everywhere.plan(new, previous=old)
        done, events = everywhere.run(plan, "two")
    assert done.ok, done.failure
    assert load.report.failures == {}
    assert set(load.report.answers) == {"1", "2"}

    assert specs(everywhere.containers()) == {new.services[0].container.digest}
    assert len(everywhere.containers()) == 4
    assert everywhere.plan(new, previous=new).empty
    told = [event.task for event in events if event.kind == "started"]
    assert any(name.startswith("Start web.1, ") and "image changed" in name for name in told)
    done_ = [event.message for event in events if event.kind == "changed" and event.host in {"h1", "h2"}]
    assert any(re.match(r"web\.\d started and is healthy", message) for message in done_)


def test_another_application_of_the_same_edge_is_never_disturbed(
    app: Rollouts, lab: Lab, tmp_path: Path
) -> None:
    other = Rollouts(lab, "beside", tmp_path / "other", hosts=("h1",))
    done, _ = other.run(other.plan(other.stack(other.image("1"), replicas=1)))
    assert done.ok, done.failure
    try:
        with Load(app.edge, host="beside.test") as load:
            done, _ = app.run(app.plan(app.stack(app.image("1"))))
            assert done.ok, done.failure
            app.remove()
        assert load.report.failures == {}
        assert other.get() == (200, "1")
    finally:
        other.remove()


DIES = ("sh", "-c", "echo starting; sleep 0.3; echo out of luck >&2; exit 7")


@pytest.mark.parametrize(
    ("spec", "kind", "words", "logs"),
    [
        ({"image": "nothing/of-that:name"}, "pull", "of-that", ()),
        ({"command": DIES, "healthcheck": None}, "exit", "web.1 ", ("out of luck",)),
        ({"command": DIES, "healthcheck": Healthcheck(("CMD", "false"))}, "exit", "web.1 ", ("out of luck",)),
        (
            {
                "healthcheck": Healthcheck(
                    ("CMD-SHELL", "echo not yet; exit 1"), interval_s=1, timeout_s=1, retries=1
                )
            },
            "unhealthy",
            "healthy: not yet",
            (),
        ),
        ({"working_dir": "relative"}, "create", "cannot be started", ()),
        ({"target_ports": (81,)}, "edge", "HAProxy does not reach", ()),
    ],
)
def test_a_failure_says_where_and_why(
    app: Rollouts,
    monkeypatch: pytest.MonkeyPatch,
    spec: dict[str, object],
    kind: str,
    words: str,
    logs: tuple[str, ...],
) -> None:
    monkeypatch.setattr(playbook, "SWITCH_WAIT_S", 2.0)
    image = spec.pop("image", None) or app.image("1")
    if kind == "pull":
        image = f"{app.lab.registry}/{image}"
    stack = app.stack(str(image), replicas=1, **spec)
    if kind == "edge":
        service = replace(stack.services[0], ingress=(Ingress(81, "render.test"),))
        stack = replace(stack, services=(service,))
    done, events = app.run(app.plan(stack))

    assert done.failure is not None
    assert (done.failure.kind, words in done.failure.message) == (kind, True), done.failure
    assert done.failure.host
    if kind in {"exit", "unhealthy", "create", "edge"}:
        assert (done.failure.service, done.failure.container[:13]) == ("web", "render-web-1-")
    assert set(logs) <= set(done.failure.logs)
    assert [event for event in events if event.kind == "failed"]
    assert app.get()[0] == 503
    if kind != "edge":
        assert app.lab.on("e1", "ls", "/var/lib/gitops/render", check=False) in {"", "haproxy.cfg"}


def test_an_edge_that_calls_the_file_invalid_keeps_the_old_one(app: Rollouts) -> None:
    stack = app.stack(app.image("1"), replicas=1)
    done, _ = app.run(app.plan(stack))
    assert done.ok, done.failure
    before = app.lab.on("e1", "cat", "/etc/haproxy/haproxy.cfg", "/var/lib/gitops/render/haproxy.cfg")

    plan = app.plan(app.stack(app.image("2"), replicas=1, commit="c"), previous=stack)
    files = deployment(plan, deployment_id="invalid")
    broken = {
        name: content.replace(b"    balance leastconn", b"    balance on a rope")
        if "haproxy/" in name
        else content
        for name, content in files.items()
    }
    done = runner.run(broken, app.folder / "invalid", on_event=lambda _: None, timeout_s=60, env={})
    assert done.failure is not None
    assert (done.failure.kind, done.failure.host) == ("edge", "e1")
    assert "balance" in done.failure.message
    assert app.lab.on("e1", "cat", "/etc/haproxy/haproxy.cfg", "/var/lib/gitops/render/haproxy.cfg") == before
    assert app.get() == (200, "1")


@pytest.mark.parametrize("disabled", ["set server {} state maint", "set weight {} 0"])
def test_a_server_that_somebody_disabled_is_taken_in_again(app: Rollouts, disabled: str) -> None:
    stack = app.stack(app.image("1"), replicas=1)
    done, _ = app.run(app.plan(stack), "one")
    assert done.ok, done.failure
    [container] = app.containers()
    command = disabled.format(f"render.web.80/{container.name}")
    app.lab.haproxy(command)
    assert app.get()[0] == 503
    plan = app.plan(stack, previous=stack)
    assert (plan.starts, plan.retires, bool(plan.edge_changes)) == ((), (), True)
    done, _ = app.run(plan, "two")
    assert done.ok, done.failure
    assert app.get() == (200, "1")
    assert [c.id for c in app.containers()] == [container.id]


def test_a_request_to_stop_ends_the_rollout_before_its_next_batch(app: Rollouts) -> None:
    old = app.stack(app.image("1"), replicas=2)
    done, _ = app.run(app.plan(old), "one")
    assert done.ok, done.failure
    files = deployment(app.plan(app.stack(app.image("2"), commit="b"), previous=old), deployment_id="x")
    begun: list[str] = []
    done = runner.run(
        files,
        app.folder / "stopped",
        on_event=lambda event: begun.append(event.kind),
        timeout_s=60,
        env={},
        signals=lambda: {STOP},
    )
    assert done.failure is not None
    assert done.failure.kind == "stopped"
    assert app.get()[0] == 200


def test_a_tcp_service_has_a_port_of_its_own_and_its_volume_survives(app: Rollouts) -> None:
    first = app.stack(app.image("1"), replicas=1, mounts=(Mount("volume", "/data", "data"),))
    published = replace(first.services[0], ingress=(), publish=(Publish(7000, 80),))
    first = replace(first, services=(published,))
    done, _ = app.run(app.plan(first), "one")
    assert done.ok, done.failure
    with urllib.request.urlopen(f"http://{app.edge}:7000/", timeout=10) as response:
        assert response.read().strip() == b"1"

    [container] = app.containers()
    app.lab.on(container.host, "docker", "exec", container.name, "sh", "-c", "echo kept > /data/file")
    spec = replace(published.container, image=app.image("2"))
    second = replace(first, commit="b" * 40, services=(replace(published, container=spec),))
    done, _ = app.run(app.plan(second, previous=first), "two")
    assert done.ok, done.failure
    [successor] = app.containers()
    assert successor.host == container.host
    assert app.lab.on(container.host, "docker", "exec", successor.name, "cat", "/data/file") == "kept"


def test_a_playbook_that_cannot_connect_says_unreachable(app: Rollouts) -> None:
    plan = app.plan(app.stack(app.image("1"), replicas=1))
    app.lab.run("cut", "h1")
    try:
        files = deployment(plan, deployment_id="x")
        done = runner.run(files, app.folder / "cut", on_event=lambda _: None, timeout_s=90, env={})
    finally:
        app.lab.run("mend", "h1")
    assert done.failure is not None
    assert (done.failure.kind, done.failure.host) == ("unreachable", "h1")


def test_stock_ansible_prints_the_reason(app: Rollouts) -> None:
    stack = app.stack(app.image("1"), replicas=1, command=DIES, healthcheck=None)
    done = stock(app.rendered(app.plan(stack), "stock"))
    assert done.returncode == 2
    assert "web.1 exited with code 7" in done.stdout.replace("\\n", "\n") or "was restarted" in done.stdout
    assert "out of luck" in done.stdout


def test_the_teardown_playbook_leaves_nothing_of_an_application(app: Rollouts, lab: Lab) -> None:
    done, _ = app.run(app.plan(app.stack(app.image("1"), replicas=1)))
    assert done.ok, done.failure
    teardown = folder("playbooks") / "teardown.yml"
    arguments = [str(teardown), "-i", lab.data["inventory"], "--limit", "h1,e1", "-e", "gitops_app=render"]
    for expected in (True, False):
        done_ = run_playbook(arguments, cwd=teardown.parent)
        assert done_.returncode == 0, done_.stdout + done_.stderr
        assert (changed(counts(done_.stdout)) > 0) is expected
    assert app.containers() == ()
    assert app.get()[0] == 503
    assert "gitops-render" not in lab.on("h1", "docker", "network", "ls")
    assert lab.on("e1", "ls", "/var/lib/gitops/render", check=False) == ""
