"""The service survives what happens to services: it is killed, told to stop, started twice, reconfigured."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop, until

from gitops.execute.processes import find

pytestmark = pytest.mark.lab


def web_images(shop: Shop) -> list[str]:
    return sorted(rest.split()[2] for name, rest in shop.containers().items() if "-web-" in name)


def half_way(shop: Shop) -> bool:
    """Whether the service has started the first replica of its rollout; three more are to come."""
    return "web.1 started" in shop.service_log


def running(shop: Shop) -> Path:
    """What the processes of the newest deployment's latest playbook bear in their environment."""
    return shop.records.runs(shop.deployments()[0].id)[-1].folder


def test_killed_in_the_middle_of_a_rollout_it_converges_and_nothing_runs_twice(make_shop: MakeShop) -> None:
    shop = make_shop("killed")
    shop.compose["services"]["web"]["deploy"]["update_config"]["monitor"] = "3s"
    shop.deploy("1")
    shop.compose["services"]["web"]["image"] = image = shop.image("2")
    with Load(shop.lab.address("e1"), host="killed.test") as load:
        with shop.serving() as service:
            commit = shop.push("v2")
            until(lambda: half_way(shop), 120, "a rollout half-way")
            service.send_signal(signal.SIGKILL)
            service.wait(timeout=10)
        killed = running(shop)
        assert find(killed), "the playbook ended with its service: nothing is left to be reaped"
        with shop.serving():
            ended = until(
                lambda: next(
                    (d for d in shop.deployments() if (d.outcome, d.commit) == ("succeeded", commit)), None
                ),
                180,
                "the rollout taken up again",
            )
        assert find(killed) == [], "a process of the killed service's run lives on"
    assert ended.changes.kept > 0, "what had been done was done again"
    assert web_images(shop) == [image] * 4
    outcomes = [d["outcome"] for d in shop.history() if d["commit"] == commit]
    assert outcomes == ["succeeded", "cancelled"]
    assert not load.report.failures, load.report


def test_killed_in_the_middle_of_a_rollback_it_finishes_the_rollback(make_shop: MakeShop) -> None:
    shop = make_shop("backkill")
    good = shop.deploy("1")
    web = shop.compose["services"]["web"]
    web["image"] = shop.image("2")
    web["healthcheck"] = {"test": ["CMD", "false"], "interval": "200ms", "retries": 2}
    with shop.serving() as service:
        bad = shop.push("never healthy")
        until(lambda: shop.deployments()[0].state == "rolling-back", 120, "a rollback")
        service.send_signal(signal.SIGKILL)
        service.wait(timeout=10)
    with shop.serving():
        ended = shop.ended(bad)
    assert ended["outcome"] == "rolled-back"
    assert "unhealthy" in ended["reason"]
    status = shop.read("status", shop.name)
    assert status["commit"] == good
    assert status["health"] == "healthy"
    assert bad in status["quarantined"]
    assert len(set(web_images(shop))) == 1


def test_told_to_stop_it_ends_at_a_batch_boundary_and_goes_on_later(make_shop: MakeShop) -> None:
    shop = make_shop("stopped", replicas=5)  # the fifth waits for the window of the first
    shop.compose["services"]["web"]["deploy"]["update_config"]["monitor"] = "3s"
    shop.deploy("1")
    shop.compose["services"]["web"]["image"] = image = shop.image("2")
    with shop.serving() as service:
        commit = shop.push("v2")
        until(lambda: half_way(shop), 120, "a rollout half-way")
        service.terminate()
        assert service.wait(timeout=60) == 0
    stopped = shop.history()[0]
    assert stopped["outcome"] == "cancelled", stopped
    assert "batch boundary" in stopped["reason"]
    assert find(running(shop)) == []
    with shop.serving():
        until(lambda: shop.deployments()[0].outcome == "succeeded", 180, "the rest of the rollout")
    assert shop.history()[0]["commit"] == commit
    assert web_images(shop) == [image] * 5


def test_two_services_never_deploy_the_same_thing_twice(make_shop: MakeShop, tmp_path: Path) -> None:
    """Each has a store of its own, so that only the hosts' locks stand between them."""
    first = make_shop("twice")
    second = first.with_another_controller(tmp_path / "second")
    with first.serving(), second.serving():
        commit = first.push("v1")
        outcomes = [first.ended(commit), second.ended(commit)]
    assert [d["outcome"] for d in outcomes] == ["succeeded", "succeeded"]
    assert sum(d["changes"]["started"] for d in outcomes) == 5
    assert len(first.containers()) == 5


def test_changes_of_the_configuration_are_followed(make_shop: MakeShop) -> None:
    shop = make_shop("config")
    content = yaml.safe_load(shop.config.read_text())
    shop.config.write_text(yaml.safe_dump({**content, "apps": {}}))
    commit = shop.push("v1")
    with shop.serving():
        until(lambda: "serving" in shop.service_log, 30, "the service")
        shop.config.write_text("apps: [broken")
        until(lambda: "last good configuration stays" in shop.service_log, 20, "the refusal of a broken one")
        shop.configure()
        assert shop.ended(commit)["outcome"] == "succeeded"


def test_sync_lets_the_service_do_it(make_shop: MakeShop) -> None:
    """Over its connections, without waiting for its locks; what is told and how it ends is the same."""
    shop = make_shop("asked", replicas=2, sync="manual")
    with shop.serving():
        until(lambda: "serving" in shop.service_log, 30, "the service")
        commit = shop.push("v1")
        result = shop.sync()
        assert (result["exit"], result["outcome"], result["commit"]) == (0, "succeeded", commit)
        assert "web.1 started and is healthy" in result["stderr"]
        assert f"{commit[:12]} succeeded" in shop.service_log, "the command did it on its own"
        assert shop.sync()["outcome"] == "nothing"
        shop.compose["services"]["web"]["healthcheck"] = {
            "test": NEVER_HEALTHY,
            "interval": "200ms",
            "retries": 2,
        }
        bad = shop.push("never healthy")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (3, "rolled-back")
        assert "healthy" in result["message"]
        assert shop.gitops("sync", shop.name, "--commit", "no-such-branch").returncode == 1
        assert shop.gitops("sync", shop.name, "--commit", commit, "-o", "json").returncode == 0
        assert shop.gitops("pause", shop.name).returncode == 0
        refused = shop.gitops("sync", shop.name)
        assert (refused.returncode, "is paused" in refused.stderr) == (1, True)
    assert [d["outcome"] for d in shop.history()] == ["rolled-back", "succeeded"]
    assert shop.read("status", shop.name)["quarantined"] == [bad]


def test_two_applications_are_deployed_side_by_side(make_shop: MakeShop) -> None:
    one, two = make_shop("one", replicas=2), make_shop("two", replicas=2)
    apps = {}
    for shop in (one, two):
        apps.update(yaml.safe_load(shop.config.read_text())["apps"])
    for shop in (one, two):
        shop.store = str(one.folder / "gitops.db")
        shop.config.write_text(yaml.safe_dump({"store": f"sqlite:///{shop.store}", "apps": apps}))
    with one.serving():
        first, second = one.push("v1"), two.push("v1")
        ended = [one.ended(first), two.ended(second)]
    assert [d["outcome"] for d in ended] == ["succeeded", "succeeded"], ended
    a, b = ended
    assert a["started_at"] < b["finished_at"]
    assert b["started_at"] < a["finished_at"], "they ran one after the other"
    for shop in (one, two):
        load = Load(shop.lab.address("e1"), host=f"{shop.name}.test", clients=1)
        with load:
            until(lambda load=load: load.report.requests > 3, 10, "answers")
        assert not load.report.failures, load.report


def test_a_service_that_is_stopped_leaves_no_connection(make_shop: MakeShop) -> None:
    shop = make_shop("leaves", replicas=1)
    commit = shop.push("v1")
    with shop.serving() as service:
        shop.ended(commit)
        pid = service.pid
    assert list(Path("/run/gitops").glob(f"c{pid}-*")) == []
    masters = subprocess.run(
        ["pgrep", "-f", f"/run/gitops/c{pid}-"], check=False, capture_output=True, text=True
    )
    assert masters.stdout == ""
