"""What a tag means and which images go, as Docker and Podman say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from support.controllers import machine, opened
from support.labs import Lab, digest_of

from gitops.channel import Channel
from gitops.images.prune import prune
from gitops.images.registry import ImageError, RegistryError, resolve
from gitops.store.records import Store, this_process
from gitops.tasks.image import pull
from gitops.tasks.login import Login

pytestmark = pytest.mark.lab

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


def built(lab: Lab, folder: Path, name: str, content: str) -> str:
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM busybox\nRUN echo {content} > /content\n")
    return lab.run("image", name, str(folder)).splitlines()[-1]


@pytest.fixture(scope="module")
def image(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(lab, tmp_path_factory.mktemp("images") / "one", "meaning:1", "one")


@pytest.fixture(params=["h2", "p1"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Channel]:
    """A Docker host that has built nothing, and a Podman host."""
    with opened(machine(lab, request.param)) as channels:
        yield channels[request.param]


def nobody(_: Channel, __: str) -> Login | None:
    return None


def test_a_tag_means_what_the_registry_has(host: Channel, image: str) -> None:
    assert resolve({image: "web"}, [host], nobody) == {image: f"{image}@{digest_of(image)}"}


@pytest.mark.parametrize("before", ["nothing", "variant"])
def test_of_an_image_for_several_machines_all_hosts_get_the_index(
    lab: Lab, host: Channel, tmp_path: Path, before: str
) -> None:
    engine = host.engine()
    # An image of its own: Podman remembers by which digest it pulled one first.
    image = built(lab, tmp_path / "image", f"{host.name}-{before}:1", f"{host.name} {before}")
    if before == "variant":
        engine.pull(image)
    index, digest = pushed_index(image, host.facts.machine)
    pin = resolve({index: "web"}, [host], nobody)[index]
    assert pin == f"{index}@{digest}"
    assert pull(engine, [{"image": pin, "service": "web"}], host.facts.machine).message.startswith(pin)
    assert engine.image(pin) is not None


def pushed_index(image: str, architecture: str) -> tuple[str, str]:
    """Pushes an index of that image under a tag of its own; returns its reference and digest."""
    registry, _, path = image.partition("/")
    name, _, tag = path.rpartition(":")
    url = f"http://{registry}/v2/{name}/manifests"
    with urlopen(Request(f"{url}/{tag}", headers={"Accept": MANIFEST}), timeout=10) as response:  # noqa: S310 - the lab's own address
        manifest = response.read()
    entry: dict[str, Any] = {
        "mediaType": MANIFEST,
        "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        "size": len(manifest),
        "platform": {"architecture": architecture, "os": "linux"},
    }
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    request = Request(f"{url}/index", data=content, method="PUT", headers={"Content-Type": INDEX})  # noqa: S310 - as above
    urlopen(request, timeout=10).close()  # noqa: S310 - as above
    return f"{registry}/{name}:index", f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_what_is_missing_and_what_does_not_answer_are_told_apart(host: Channel, image: str) -> None:
    missing, nowhere = f"{image}-never-pushed", image.replace(":5000", ":5999")
    with pytest.raises(ImageError, match=f"service web: {missing}: .*manifest unknown"):
        resolve({missing: "web"}, [host], nobody)
    with pytest.raises(RegistryError, match=f"service web: {nowhere}: .*connection refused"):
        resolve({nowhere: "web"}, [host], nobody)


def test_an_image_that_nothing_needs_is_removed_with_all_its_names(
    host: Channel, lab: Lab, tmp_path: Path
) -> None:
    engine = host.engine()
    with Store(f"sqlite:///{tmp_path}/gitops.db") as store:
        pins = {}
        for number in ("1", "2", "3"):
            reference = built(lab, tmp_path / number, f"outdated-{host.name}:{number}", number)
            pins[number] = resolve({reference: "web"}, [host], nobody)[reference]
            engine.pull(pins[number])
            store.pins.record("shop", number * 40, {reference: pins[number]})
            begun = store.begin("shop", number * 40, "", "push", this_process())
            store.transition(begun.id, "planning")
            store.transition(begun.id, "verifying")
            store.transition(begun.id, "succeeded")
        used = engine.create("keeps-an-image", {"Image": pins["1"]})
        try:
            prune("shop", store, [host], 1)
            assert [number for number, pin in pins.items() if engine.image(pin)] == ["1", "3"]
        finally:
            engine.remove(used, force=True)
        prune("shop", store, [host], 1)
        assert [number for number, pin in pins.items() if engine.image(pin)] == ["3"]
