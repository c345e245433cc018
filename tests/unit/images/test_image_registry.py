"""Who is asked what a tag means, and what follows when nobody says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gitops.channel import Channel
from gitops.channel.failures import EngineError, UnreachableError
from gitops.images.registry import ImageError, RegistryError, resolve
from gitops.model.secret import Secret
from gitops.tasks.login import Login

IMAGE, OWN, INDEX = "reg:5000/web:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64


@dataclass
class Host:
    """A host whose engine says what a test wants."""

    name: str
    answer: str | Exception = INDEX
    podman: bool = False
    first: str = OWN  # the digest by which Podman pulled the image first
    index: frozenset[str] = frozenset({OWN})  # what Podman finds in the index of the reference
    has: dict[str, Any] | None = None
    asked: list[Any] = field(default_factory=list)

    def engine(self) -> Host:
        return self

    def distribution(self, reference: str, *, auth: Any) -> Any:
        self.asked.append((reference, auth))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Descriptor": {"digest": self.answer}}

    def pull(self, reference: str, *, auth: Any) -> None:
        self.distribution(reference, auth=auth)

    def image_details(self, reference: str) -> Any:
        name = reference.rpartition(":")[0]
        digests = [f"{name}@{OWN}", f"{name}@{self.answer}", f"other@{OWN}"]
        return {"Digest": self.first, "RepoDigests": digests}

    def variants(self, _: str) -> frozenset[str]:
        return self.index

    def image(self, _: str) -> Any:
        return self.has


def ask(*hosts: Host, login: Login | None = None) -> dict[str, str]:
    return resolve({IMAGE: "web"}, [cast("Channel", host) for host in hosts], lambda *_: login)


def test_one_host_is_asked_with_the_login_to_that_registry() -> None:
    first, second = Host("h1"), Host("h2")
    assert ask(first, second, login=Login("ann", Secret("s"))) == {IMAGE: f"{IMAGE}@{INDEX}"}
    assert first.asked == [(IMAGE, {"username": "ann", "password": "s", "serveraddress": "reg:5000"})]
    assert not second.asked


def test_podman_pulls_and_the_index_is_what_all_hosts_run() -> None:
    assert ask(Host("p1", podman=True)) == {IMAGE: f"{IMAGE}@{INDEX}"}
    assert ask(Host("p1", podman=True, first=INDEX)) == {IMAGE: f"{IMAGE}@{INDEX}"}
    assert ask(Host("p1", OWN, podman=True)) == {IMAGE: f"{IMAGE}@{OWN}"}
    assert ask(Host("p1", podman=True, index=frozenset())) == {IMAGE: f"{IMAGE}@{OWN}"}, "no index"


REFUSALS = [
    EngineError("manifest unknown", status=404),
    EngineError("unauthorized: authentication required", status=401),
    EngineError("no basic auth credentials", status=500),
    EngineError("cannot pull: reading manifest: requested access to the resource is denied"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_refusal_is_the_commit_s_fault_and_one_host_is_enough(refusal: EngineError) -> None:
    second = Host("h2")
    with pytest.raises(ImageError) as refused:
        ask(Host("h1", refusal), second)
    assert str(refused.value).startswith(f"h1: service web: {IMAGE}: {refusal.message}")
    assert "`registries`" in refused.value.hint
    assert not second.asked


@pytest.mark.parametrize(
    "trouble",
    [EngineError("dial tcp: connection refused", status=500), UnreachableError("the host is gone")],
    ids=str,
)
def test_a_registry_that_is_down_for_one_host_may_be_up_for_another(trouble: Exception) -> None:
    assert ask(Host("h1", trouble), Host("h2")) == {IMAGE: f"{IMAGE}@{INDEX}"}
    third = Host("h3")
    with pytest.raises(RegistryError, match="service web"):
        ask(Host("h1", trouble), Host("h2", trouble), third)
    assert not third.asked


def known(digest: str) -> dict[str, Any]:
    return {"Id": "1", "RepoDigests": [f"reg:5000/web@{digest}"]}


LOADED = {"Id": "1", "RepoDigests": []}


@pytest.mark.parametrize(
    ("images", "pin"),
    [
        ((known(OWN), known(OWN)), f"{IMAGE}@{OWN}"),
        ((LOADED, LOADED), IMAGE),
        ((known(OWN), known(INDEX)), ""),
        ((known(OWN), None), ""),
        ((known(OWN), LOADED), ""),
        ((LOADED, {"Id": "2"}), ""),
        ((None, None), ""),
    ],
)
def test_an_image_that_every_host_has_needs_no_registry(images: tuple[Any, Any], pin: str) -> None:
    hosts = [Host(f"h{number}", REFUSALS[0], has=image) for number, image in enumerate(images)]
    if pin:
        assert ask(*hosts) == {IMAGE: pin}
        return
    with pytest.raises(ImageError):
        ask(*hosts)
