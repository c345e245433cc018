"""Which images go: those that no rollback of any application needs, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from gitops.channel import Channel
from gitops.channel.failures import EngineError
from gitops.images.prune import outdated_names, prune
from gitops.store.records import Store, this_process

REPO = "reg/web"


def digest(number: int) -> str:
    return f"sha256:{number:064d}"


class Host:
    """A host that has images, some in use."""

    name = "h1"

    def __init__(self, *numbers: int, used: int = 0, stuck: int = 0) -> None:
        self.there = {
            f"{REPO}@{digest(n)}": {"Id": f"id{n}", "RepoDigests": [f"{REPO}@{digest(n)}"]} for n in numbers
        }
        self.used, self.stuck = used, stuck

    def engine(self) -> Host:
        return self

    def containers(self) -> list[dict[str, Any]]:
        return [{"ImageID": f"id{self.used}"}]

    def images(self) -> list[dict[str, Any]]:
        return list(self.there.values())

    def remove_image(self, name: str) -> None:
        if name == f"{REPO}@{digest(self.stuck)}":
            raise EngineError("conflict", status=409)
        del self.there[name]

    @property
    def left(self) -> list[int]:
        return [int(image["Id"].removeprefix("id")) for image in self.there.values()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/gitops.db") as opened:
        yield opened


def deploy(store: Store, number: int, *, app: str = "shop", ends: bool = True) -> None:
    commit = f"{number:040d}"
    store.pins.record(app, commit, {f"{REPO}:1": f"{REPO}:1@{digest(number)}", "loaded:1": "loaded:1"})
    begun = store.begin(app, commit, "", "push", this_process())
    for state in ("planning", "verifying", "succeeded") if ends else ():
        store.transition(begun.id, cast("Any", state))


def clear(store: Store, host: Host, retention: int = 2) -> list[int]:
    prune("shop", store, [cast("Channel", host)], retention)
    return host.left


def test_images_of_the_last_good_commits_stay(store: Store) -> None:
    for number in (1, 2, 3, 4):
        deploy(store, number)
    assert clear(store, Host(1, 2, 3, 4, 9), 3) == [2, 3, 4, 9]
    assert clear(store, Host(1, 2, 3, 4), 1) == [4]


def test_what_is_in_use_or_refused_stays_and_the_rest_goes(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3, 4):
        deploy(store, number)
    assert clear(store, Host(1, 2, 3, 4, used=1, stuck=2), 1) == [1, 2, 4]
    assert "shop: an old image stays: conflict" in caplog.text


def test_another_application_keeps_what_it_may_go_back_to_or_is_deploying(store: Store) -> None:
    for number in (1, 2, 3, 4):
        deploy(store, number)
    deploy(store, 2, app="blog")
    deploy(store, 1, app="wiki", ends=False)
    assert clear(store, Host(1, 2, 3, 4)) == [1, 2, 3, 4]


def test_a_commit_that_failed_keeps_nothing(store: Store) -> None:
    deploy(store, 1)
    deploy(store, 2, ends=False)
    store.transition(store.history("shop")[0].id, "failed")
    assert clear(store, Host(1, 2)) == [1]


OLD, NEW = f"{REPO}@{digest(1)}", f"{REPO}@{digest(2)}"


@pytest.mark.parametrize(
    ("digests", "tags", "taken"),
    [
        ([OLD], [], [OLD]),
        ([OLD], [f"{REPO}:1", OLD], [f"{REPO}:1", OLD]),  # as Podman has it
        ([OLD], ["<none>:<none>"], [OLD]),
        ([OLD, f"other@{digest(1)}"], [f"{REPO}:1", "mine:1"], [f"{REPO}:1", OLD]),
        ([OLD, NEW], [f"{REPO}:1"], [OLD]),
        ([f"other@{digest(1)}"], ["other:1"], []),
        (None, ["loaded:1"], []),
    ],
)
def test_only_outdated_names_are_taken_from_an_image(
    digests: list[str] | None, tags: list[str], taken: list[str]
) -> None:
    image = {"RepoDigests": digests, "RepoTags": tags}
    assert outdated_names(image, {("docker.io/reg/web", digest(1))}) == taken
