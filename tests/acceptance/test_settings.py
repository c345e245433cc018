"""gitops.yaml says another path or env: what runs is read as it was deployed, and stays the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.shop import NEVER_HEALTHY, MakeShop, Shop

from gitops.model.deployment import State
from gitops.store.records import this_process

pytestmark = pytest.mark.lab

ON_ITS_WAY_BACK: tuple[State, ...] = ("planning", "running", "rolling-back")


def move(shop: Shop, **changes: Any) -> None:
    """Changes gitops.yaml: `path` of the source, or keys of the application."""
    if "path" in changes:
        repo = f"{shop.lab.data['git']}/{shop.repo}.git"
        shop.settings["source"] = {"repo": repo, "branch": "main", "path": changes.pop("path")}
    shop.settings |= changes
    shop.configure()


def lose(shop: Shop, service: str) -> None:
    """A container of a service is removed by hand."""
    host, name = next(each.split("/") for each in shop.containers() if f"-{service}-" in each)
    engine = next(h["engine"] for h in shop.lab.data["hosts"] if h["name"] == host)
    shop.lab.on(host, engine, "rm", "-f", name)


def images(shop: Shop) -> set[str]:
    return {rest.split()[-1] for rest in shop.containers().values()}


def test_an_application_moves_to_another_path(make_shop: MakeShop) -> None:
    shop = make_shop("moved", replicas=1)
    at = ("-C", str(shop.checkout))
    first = shop.deploy("1")
    there = set(shop.containers())

    move(shop, path="ops")  # before there is a commit with that folder
    gone = replace(this_process(), start_time=1)  # a controller that died on its way back
    recorded = shop.records.settings_used.of_good(shop.name, first)
    begun = shop.records.begin(shop.name, first, first, "poll", gone, settings=recorded)
    for state in ON_ITS_WAY_BACK:
        shop.records.transition(begun.id, state)
    early = shop.sync()
    assert shop.records.deployment(begun.id).state == "rolled-back", "finished as it was begun"
    assert (early["outcome"], early["deployment"]["trigger"]) == ("failed", "settings"), early
    assert "ops: there is no such folder" in early["message"]
    lose(shop, "web")
    assert shop.sync()["outcome"] == "succeeded", "what runs is healed as it was deployed"
    assert len(shop.containers()) == len(there)
    status = shop.read("status", shop.name)
    assert (status["commit"], status["sync"], status["health"]) == (first, "out-of-sync", "healthy")
    assert status["settings_changed"] == ["path: (none) -> ops"]
    assert shop.sync()["outcome"] == "nothing", "the failed reading is not tried for ever"

    (shop.checkout / "ops").mkdir()
    shop.commit("to be moved")
    web = shop.compose["services"]["web"]
    before, web["healthcheck"] = web["healthcheck"], {"test": NEVER_HEALTHY, "interval": "200ms"}
    web["healthcheck"]["retries"] = 2
    moved(shop, "never healthy")
    back = shop.sync()
    assert back["outcome"] == "rolled-back", back
    assert images(shop) == {shop.image("1")}

    web["healthcheck"], web["image"] = before, shop.image("2")
    second = moved(shop, "moved")
    assert shop.sync()["outcome"] == "succeeded"
    done = shop.gitops("rollback", shop.name, "--to", first)
    assert done.returncode == 0, done.stderr
    assert images(shop) == {shop.image("1")}, "read at the path of then"
    status = shop.read("status", shop.name)
    assert (status["commit"], second in status["quarantined"]) == (first, True)
    assert shop.git(*at, "rev-parse", "HEAD") == second


def moved(shop: Shop, message: str) -> str:
    """Commits compose.yaml as it stands into the folder ops, and nowhere else."""
    shop.commit(message)
    at = ("-C", str(shop.checkout))
    shop.git(*at, "mv", "-f", "compose.yaml", "ops/compose.yaml")
    shop.git(*at, "commit", "-q", "--amend", "-m", message)
    shop.push_commits()
    return shop.git(*at, "rev-parse", "HEAD")


def push_read_by_env(shop: Shop) -> str:
    """Pushes one service whose image is that of `env`: one, two, or bad, which is never healthy."""
    for number, name in (("1", "one"), ("2", "two"), ("2", "bad")):
        image, check = shop.image(number), "/" if name != "bad" else "/no-such-page"
        (shop.checkout / f".env.{name}").write_text(f"IMAGE={image}\nCHECK={check}\n")
    web = shop.compose["services"]["web"]
    url = "http://127.0.0.1$CHECK"
    web["healthcheck"] = {"test": ["CMD", "wget", "-qO-", url], "interval": "200ms", "retries": 2}
    del shop.compose["services"]["api"]
    web["image"] = "$IMAGE"
    return shop.push("read by env")


def test_other_settings_are_a_change_with_a_way_back(make_shop: MakeShop) -> None:
    shop = make_shop("reads", replicas=1, env="one")
    commit = push_read_by_env(shop)
    assert shop.sync()["outcome"] == "succeeded"
    assert images(shop) == {shop.image("1")}

    move(shop, env="two")
    changed = shop.sync()
    assert (changed["outcome"], changed["deployment"]["trigger"]) == ("succeeded", "settings"), changed
    assert images(shop) == {shop.image("2")}
    move(shop, env="bad")
    failed = shop.sync()
    assert (failed["outcome"], failed["commit"]) == ("rolled-back", commit), failed
    lose(shop, "web")
    assert shop.sync()["outcome"] == "succeeded", "healed as it was before"
    assert images(shop) == {shop.image("2")}
    before = shop.containers()
    assert shop.sync()["outcome"] == "nothing", "that it was healed lets nobody try again"
    assert shop.read("status", shop.name)["quarantined"] == [commit]
    move(shop, env="one")
    assert shop.read("status", shop.name)["quarantined"] == []
    assert shop.sync()["outcome"] == "succeeded"
    assert images(shop) == {shop.image("1")}
    assert set(before) != set(shop.containers())


def test_a_change_that_was_left_half_way_is_rolled_back_to_the_former_reading(make_shop: MakeShop) -> None:
    shop = make_shop("stuck", replicas=1, env="two", on_failure="halt")
    commit = push_read_by_env(shop)
    assert shop.sync()["outcome"] == "succeeded"
    before = shop.containers()
    move(shop, env="bad")
    halted = shop.sync()
    assert (halted["outcome"], shop.sync()["outcome"]) == ("failed", "held"), halted
    assert len(shop.containers()) == 2, "what failed is there to be looked at"
    done = shop.gitops("rollback", shop.name)
    assert done.returncode == 0, done.stderr
    assert shop.containers() == before
    assert shop.sync()["outcome"] == "nothing", "it is not tried again by itself"
    assert shop.read("status", shop.name)["quarantined"] == [commit]
    move(shop, env="two")
    status = shop.read("status", shop.name)
    assert (status["sync"], status["quarantined"]) == ("synced", []), "as it runs it is good"


def test_a_rollback_that_fails_holds_no_newer_commit_back(make_shop: MakeShop) -> None:
    shop = make_shop("goback", replicas=1)
    web = shop.compose["services"]["web"]
    before, web["healthcheck"] = (
        web["healthcheck"],
        {"test": NEVER_HEALTHY, "interval": "200ms", "retries": 2},
    )
    bad = shop.push("never healthy")
    web["healthcheck"] = before
    good = shop.deploy("1")
    done = shop.gitops("rollback", shop.name, "--to", bad)
    assert done.returncode == 3, done.stderr
    status = shop.read("status", shop.name)
    assert (status["commit"], status["sync"], status["quarantined"]) == (good, "synced", [bad])
    assert shop.sync()["outcome"] == "nothing"
