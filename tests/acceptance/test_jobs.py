"""Jobs around and between the services of a deployment, and what a fence means when it fails."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.load import Load
from support.shop import NEVER_HEALTHY, MakeShop, Shop, until

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Ran:
    """One container, by the clock of its host: all are this machine's."""

    host: str
    id: str
    image: str
    status: str
    began: datetime
    ended: datetime


def ran(shop: Shop, service: str) -> list[Ran]:
    found = []
    for host in shop.lab.data["hosts"]:
        on = (host["name"], host["engine"])
        ids = shop.lab.on(
            *on, "ps", "-aq", "--no-trunc",
            "--filter", f"label=gitops.app={shop.name}", "--filter", f"label=gitops.service={service}",
        ).split()  # fmt: skip
        for each in json.loads(shop.lab.on(*on, "inspect", *ids)) if ids else []:
            state = each["State"]
            image = shop.digests.get(each["Config"]["Image"].partition("@")[2], "")  # pinned by its digest
            began, ended = (datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt"))
            found.append(Ran(host["name"], each["Id"], image, state["Status"], began, ended))
    return found


def with_jobs(
    shop: Shop, *, fence: bool = False, script: str = "echo migrated to $VERSION"
) -> dict[str, Any]:
    """Gives the application a migration and a smoke test; returns its services."""
    image = shop.compose["services"]["web"]["image"]
    services: dict[str, Any] = shop.compose["services"]
    services["migrate"] = {
        "image": image,
        "command": ["sh", "-c", script.replace("$", "$$")],
        "x-job": {"when": "pre-deploy", "timeout": "2m"},
        "x-fence": fence,
        "stop_grace_period": "1s",
    }
    services["smoke"] = {
        "image": image,
        "command": ["sh", "-c", "echo asked $$VERSION"],
        "x-job": {"when": "post-deploy"},
    }
    return services


def breaks(web: dict[str, Any]) -> None:
    web["healthcheck"] = {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2}


def test_a_migration_runs_before_and_a_smoke_test_after_and_one_that_fails_touches_nothing(
    make_shop: MakeShop,
) -> None:
    shop = make_shop("migration", served=True, replicas=3)
    services = with_jobs(shop)
    shop.deploy("1")
    [first] = ran(shop, "migrate")
    assert shop.gitops("plan", shop.name).returncode == 0

    with Load(shop.lab.address("e1"), host="migration.test") as load:
        good = shop.deploy("2")
        [migrate], [smoke] = ran(shop, "migrate"), ran(shop, "smoke")
        web = ran(shop, "web")
        assert migrate.id != first.id
        assert migrate.ended < min(each.began for each in web)
        assert smoke.began > max(each.began for each in web)
        said = {job["replica"]: job["lines"] for job in shop.history()[0]["jobs"]}
        assert said == {"migrate.1": ["migrated to 2"], "smoke.1": ["asked 2"]}
        assert shop.gitops("logs", shop.name, "migrate").stdout.endswith("| migrated to 2\n")

        status = shop.read("status", shop.name)
        assert (status["sync"], status["health"]) == ("synced", "healthy")
        job = next(service for service in status["services"] if service["name"] == "migrate")
        assert (job["job"], job["desired"], job["finished"]) == ("pre-deploy", 0, 1)
        assert shop.sync()["outcome"] == "nothing"

        before = shop.containers()
        services["migrate"]["command"] = ["sh", "-c", "echo no such table; exit 3"]
        services["web"]["image"] = shop.image("3")
        shop.push("a migration that fails")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (3, "rolled-back"), result
        assert "migrate.1 exited with code 3\n  | no such table" in result["message"]
        assert shop.containers() == before, "its container is gone, and no other was touched"
        assert shop.history()[0]["jobs"][0]["lines"] == ["no such table"]

        services["migrate"]["command"] = ["sh", "-c", "echo fine"]
        services["smoke"]["command"] = ["sh", "-c", "echo not what it should be; exit 1"]
        shop.push("a smoke test that fails")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (3, "rolled-back"), result
        assert "not what it should be" in result["message"]
        assert {each.image for each in ran(shop, "web")} == {shop.image("2")}
        assert [each.id for each in ran(shop, "migrate")] == [migrate.id], "no job runs on the way back"
        status = shop.read("status", shop.name)
        assert (status["commit"], status["health"]) == (good, "healthy")
        assert shop.sync()["outcome"] == "nothing"
    assert not load.report.failures, load.report

    shop.lab.on(migrate.host, engine(shop, migrate.host), "rm", migrate.id)
    assert shop.sync()["outcome"] == "nothing", "a job whose mark was pruned is not run again"


def engine(shop: Shop, host: str) -> str:
    return str(next(each["engine"] for each in shop.lab.data["hosts"] if each["name"] == host))


def test_a_fence_is_not_crossed_by_itself_but_by_hand(make_shop: MakeShop) -> None:
    shop = make_shop("fence", replicas=2)
    services = with_jobs(shop, fence=True)
    good = shop.deploy("1")
    healthy = dict(services["web"])
    with Load(shop.lab.address("e1"), host="fence.test") as load:
        for service in services.values():
            service["image"] = shop.image("2")
        breaks(services["web"])
        bad = shop.push("a migration, then a web that is never healthy")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (1, "failed"), result
        assert "unhealthy" in result["message"]
        assert (
            f"the job migrate of commit {bad[:12]} is a fence, which no automatic rollback"
            in result["message"]
        )
        left = shop.containers()
        assert {each.image for each in ran(shop, "migrate")} == {shop.image("1"), shop.image("2")}
        assert shop.sync()["outcome"] == "held"
        assert shop.containers() == left

        by_hand = shop.gitops("rollback", shop.name)
        assert by_hand.returncode == 0, by_hand.stderr
        assert (
            f"crosses a fence, as asked: what the job migrate of commit {bad[:12]} has done is not undone"
            in (by_hand.stderr)
        )
        assert shop.read("status", shop.name)["commit"] == good
        assert {each.image for each in (*ran(shop, "web"), *ran(shop, "migrate"))} == {shop.image("1")}

        services["web"].clear()
        services["web"].update({**healthy, "image": shop.image("3")})
        services["migrate"]["command"] = ["sh", "-c", "echo half of it; exit 4"]
        shop.push("a migration that breaks off half-way")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (1, "failed"), "half a migration is a fence, too"
        assert "is a fence" in result["message"]
        services["migrate"]["command"] = ["sh", "-c", "echo all of it"]
        fixed = shop.push("the whole migration")
        assert shop.sync()["outcome"] == "succeeded"
        assert shop.read("status", shop.name)["commit"] == fixed
        assert len(ran(shop, "migrate")) == 1

        breaks(services["web"])
        shop.push("a web that is never healthy, after the same migration")
        result = shop.sync()
        assert (result["exit"], result["outcome"]) == (3, "rolled-back"), "a fence that stays is not crossed"
    assert not load.report.failures, load.report


def test_a_fence_stands_though_its_controller_was_killed(make_shop: MakeShop) -> None:
    """Killed while the migration runs: it is awaited, not started twice; what fails then is left as it is."""
    shop = make_shop("fencekill", replicas=2)
    shop.compose["volumes"] = {"flag": None}
    services = with_jobs(
        shop, fence=True, script="until [ -e /flag/$VERSION ]; do sleep 0.1; done; echo done"
    )
    services["migrate"]["volumes"] = ["flag:/flag"]
    good = shop.push("v1")
    with shop.serving() as service:
        let_go(shop, "1")
        assert shop.ended(good)["outcome"] == "succeeded"
        for each in services.values():
            each["image"] = shop.image("2")
        breaks(services["web"])
        bad = shop.push("v2")
        running = until(lambda: [each for each in ran(shop, "migrate") if each.status == "running"],
                        120, "the migration")  # fmt: skip
        service.send_signal(signal.SIGKILL)
        service.wait(timeout=10)
    with shop.serving():
        until(lambda: shop.service_log.count("migrate.1") and shop.deployments()[0].state == "running",
              120, "the deployment taken up again")  # fmt: skip
        let_go(shop, "2")
        until(lambda: shop.deployments()[0].state == "failed", 180, "the end of it")
    ended = shop.history()[0]
    assert f"the job migrate of commit {bad[:12]} is a fence" in ended["reason"], ended
    assert "unhealthy" in ended["reason"]
    assert [each.id for each in ran(shop, "migrate") if each.image == shop.image("2")] == [running[0].id]
    assert shop.read("status", shop.name)["commit"] == good


def let_go(shop: Shop, version: str) -> None:
    """Lets the migration to that version end."""

    def done() -> bool:
        for each in ran(shop, "migrate"):
            if each.image == shop.image(version) and each.status == "running":
                shop.lab.on(each.host, engine(shop, each.host), "exec", each.id, "touch", f"/flag/{version}")
                return True
        return False

    until(done, 120, f"the migration to {version}")


def test_a_chain_of_dependencies_is_kept_across_hosts(make_shop: MakeShop) -> None:
    """db is healthy, then the job fills it, then api starts, and web when api does."""
    shop = make_shop("chain", served=True, replicas=2)
    services = shop.compose["services"]
    image = services["web"]["image"]
    slow = ["sh", "-c", "(sleep 1; touch /ready) & exec httpd -f -p 80 -h /www"]
    services["db"] = {
        "image": image,
        "command": slow,
        "init": True,
        "healthcheck": {"test": ["CMD", "test", "-e", "/ready"], "interval": "1s"},
        "deploy": {"update_config": {"monitor": "1s"}},
    }
    services["fill"] = {
        "image": image,
        "command": ["sh", "-c", "sleep 1; echo filled"],
        "depends_on": {"db": {"condition": "service_healthy"}},
        "deploy": {"mode": "replicated-job", "replicas": 2},
    }
    services["api"]["depends_on"] = {"fill": {"condition": "service_completed_successfully"}}
    services["web"]["depends_on"] = {"api": {"condition": "service_started"}}
    shop.deploy("1")
    in_order(shop)
    with Load(shop.lab.address("e1"), host="chain.test") as load:
        shop.deploy("2")
        in_order(shop)
    assert not load.report.failures, load.report
    assert {"1", "2"} <= set(load.report.answers)


def in_order(shop: Shop) -> None:
    db, fill, api, web = (ran(shop, name) for name in ("db", "fill", "api", "web"))
    assert (len(db), len(fill), len(api), len(web)) == (1, 2, 1, 2)
    assert len({each.host for each in (*db, *fill, *api, *web)}) > 2
    assert min(each.began for each in fill) >= db[0].began + timedelta(seconds=1)
    assert max(each.ended for each in fill) < min(each.began for each in api)
    assert max(each.began for each in api) < min(each.began for each in web)
