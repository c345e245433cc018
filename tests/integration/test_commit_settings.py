"""Each setting that decides what a commit says: recorded, and used when the commit is read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from support.repos import Origin

from gitops.application import Application
from gitops.config import AppSettings, SourceSettings, load
from gitops.connections import Connections
from gitops.execute.standby import Standby
from gitops.model.commit_settings import CommitSettings
from gitops.store.records import Store, this_process

HOSTS = "container_hosts: {{hosts: {{{name}: {{ansible_host: 10.0.0.1}}}}}}\n"
FILES = {
    "compose.yaml": "services: {web: {image: 'shop:1', hostname: 'top-${WHO:-nobody}'},"
    " extra: {image: 'shop:1', profiles: [x]}}\n",
    "ops/compose.yaml": "services: {web: {image: 'shop:1', hostname: ops}}\n",
    ".env.blue": "WHO=blue\n",
    "more.yaml": "services: {web: {hostname: more}}\n",
    "hosts/one.yaml": HOSTS.format(name="h1"),
    "hosts/two.yaml": HOSTS.format(name="h2"),
}

BEFORE: dict[str, Any] = {"source": {}, "inventory": "hosts/one.yaml"}
AFTER: dict[str, dict[str, Any]] = {
    "path": {"source": {"path": "ops"}},
    "env": {"env": "blue"},
    "overlays": {"overlays": ["more.yaml"]},
    "profiles": {"profiles": ["x"]},
    "inventory": {"inventory": "hosts/two.yaml"},
    "service_network": {"service_network": "10.97.0.0/16"},
}
"""What gitops.yaml says of each setting in place of `BEFORE`. A setting that is new needs its line here."""

DECIDE_NOTHING = {
    AppSettings: {
        "name", "poll_s", "observe_s", "host_lost_after_s", "sync", "self_heal", "prune", "prune_volumes",
        "tolerate_unreachable", "on_failure", "on_new_commit", "timeout_s", "image_retention", "registries",
        "scheduler",
    },
    SourceSettings: {"repo", "branch", "tag"},
}  # fmt: skip
"""Settings with which a commit says the same: when and how it is deployed, and where it comes from."""


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/gitops.db") as store:
        yield store


def application(origin: Origin, store: Store, said: dict[str, Any]) -> Application:
    """The application as a process sees it that has just read gitops.yaml; it speaks with no host."""
    source = {"repo": str(origin.bare), **said.get("source", {})}
    file = origin.bare.parent / "gitops.yaml"
    file.write_text(yaml.safe_dump({"apps": {"shop": {**BEFORE, **said, "source": source}}}))
    settings = load(file).app("shop")
    nobody = cast("Connections", None), cast("Standby", None)
    return Application("shop", settings, store, *nobody, origin.bare.parent)


def test_every_setting_decides_what_a_commit_says_or_is_known_not_to() -> None:
    decide = {field.name for field in fields(CommitSettings)}
    known = DECIDE_NOTHING[AppSettings] | DECIDE_NOTHING[SourceSettings] | decide | {"source"}
    assert set(AppSettings.model_fields) | set(SourceSettings.model_fields) == known
    assert set(AFTER) == decide


@pytest.mark.parametrize("name", [field.name for field in fields(CommitSettings)])
def test_a_commit_is_read_again_as_it_was_deployed(origin: Origin, store: Store, name: str) -> None:
    origin.commit(FILES)
    before = application(origin, store, {})
    commit = before.fetch()
    was = before.at(commit)
    assert before.good() is None
    deployed = store.begin("shop", commit, "", "poll", this_process(), settings=was.settings.text)
    for state in ("planning", "verifying", "succeeded"):
        store.transition(deployed.id, state)

    after = application(origin, store, AFTER[name])
    now = after.at(commit)
    assert (now.stack, now.fleet, now.network) != (was.stack, was.fleet, was.network), "it decides"
    assert after.good() == was
    assert not now.same_as(was)
    assert [each.partition(":")[0] for each in now.settings.differences(was.settings)] == [name]

    store.quarantine("shop", commit, "it failed", settings=now.settings.text)
    assert after.quarantined() == {commit: "it failed"}
    assert before.quarantined() == {}, "as it was it is good"


def test_a_record_of_before_these_is_read_with_the_settings_of_now(origin: Origin, store: Store) -> None:
    commit = origin.commit(FILES)
    deployed = store.begin("shop", commit, "", "poll", this_process())
    for state in ("planning", "verifying", "succeeded"):
        store.transition(deployed.id, state)
    app = application(origin, store, AFTER["path"])
    app.fetch()
    assert app.good() == app.at(commit)
    app.store.settings_used.complete("shop", app.commit_settings.text)
    assert application(origin, store, {}).good() == app.at(commit), "and from then on with those"


def test_an_inventory_of_this_machine_that_has_gone_is_that_of_today(origin: Origin, store: Store) -> None:
    commit = origin.commit(FILES)
    old, new = (origin.bare.parent / name for name in ("old.yaml", "new.yaml"))
    old.write_text(HOSTS.format(name="h1"))
    new.write_text(HOSTS.format(name="h2"))
    before = application(origin, store, {"inventory": str(old)})
    before.fetch()
    settings = before.commit_settings
    after = application(origin, store, {"inventory": str(new)})
    assert [host.name for host in after.at(commit, settings).fleet.hosts] == ["h1"]
    old.unlink()
    assert [host.name for host in after.at(commit, settings).fleet.hosts] == ["h2"]
    within = application(origin, store, {})
    assert [host.name for host in within.at(commit, settings).fleet.hosts] == ["h1"], "from the repo"
