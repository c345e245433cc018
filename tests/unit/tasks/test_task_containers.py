"""What is done with containers that are there already, and what a failure tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gitops.channel.failures import EngineError, NotFoundError
from gitops.tasks import container, image
from gitops.tasks.outcome import Outcome, TaskError, side_by_side

BODY = {
    "Image": "web:1",
    "Labels": {"gitops.app": "shop", "gitops.service": "web", "gitops.spec": "abc"},
    "HostConfig": {"NetworkMode": "gitops-shop", "PortBindings": {"53/udp": [{"HostPort": "53"}]}},
}
ROW = {"name": "shop-web-1-abc", "slot": 1, "spec": "services/web.json", "ports": [[80, 20000]]}


class MemoryEngine:
    """Keeps containers in a dictionary."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.images: dict[str, dict[str, Any]] = {}

    def inspect(self, name: str) -> dict[str, Any]:
        if name not in self.there:
            raise NotFoundError(name)
        return self.there[name]

    def create(self, name: str, body: dict[str, Any]) -> str:
        self.calls.append(f"create {name}")
        self.bodies.append(body)
        self.there[name] = {
            "Config": {"Labels": body["Labels"]},
            "HostConfig": body["HostConfig"],
            "State": {"Running": False},
        }
        return "id"

    def start(self, name: str) -> None:
        self.calls.append(f"start {name}")
        self.there[name]["State"]["Running"] = True

    def stop(self, name: str, *, grace_s: float) -> None:
        self.calls.append(f"stop {name} {grace_s:g}")

    def unpause(self, name: str) -> None:
        self.calls.append(f"unpause {name}")

    def kill(self, name: str) -> None:
        self.calls.append(f"kill {name}")

    def wait(self, name: str, *, timeout_s: float) -> int:
        assert timeout_s
        self.calls.append(f"wait {name}")
        return 137

    def remove(self, name: str, *, force: bool) -> None:
        assert force
        self.calls.append(f"remove {name}")
        del self.there[name]

    def ensure_network(self, name: str, labels: dict[str, str]) -> bool:
        return not self.calls and bool(name and labels)

    def ensure_volume(self, name: str, options: dict[str, str], labels: dict[str, str]) -> bool:
        self.calls.append(f"volume {name} {options} {labels}")
        return True

    def image(self, reference: str) -> dict[str, Any] | None:
        return self.images.get(reference)

    def pull(self, reference: str, *, auth: dict[str, str] | None) -> None:
        self.calls.append(f"pull {reference}" + (f" as {auth['username']}" if auth else ""))
        if "missing" in reference:
            raise EngineError("manifest unknown")
        self.images[reference] = {"Architecture": "arm64" if "arm" in reference else "amd64"}


@pytest.fixture
def engine() -> Any:
    return MemoryEngine()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    content = {"service": "web", "network": "gitops-shop", "volumes": {"shop_data": {}}, "body": BODY}
    (tmp_path / "services").mkdir()
    (tmp_path / "services/web.json").write_text(json.dumps(content))
    return tmp_path


def start(engine: Any, folder: Path, *, check: bool = False, **difference: Any) -> Outcome:
    service = container.read_service(folder / "services/web.json")
    if not check:
        container.surroundings(engine, service)
    return container.start(engine, service, {**ROW, **difference}, check=check)


def test_a_container_is_made_once(engine: Any, folder: Path) -> None:
    assert start(engine, folder) == Outcome(changed=True, message="web.1 started")
    assert engine.calls[-2:] == ["create shop-web-1-abc", "start shop-web-1-abc"]
    made = engine.there["shop-web-1-abc"]
    assert made["Config"]["Labels"]["gitops.slot"] == "1"
    assert made["HostConfig"]["PortBindings"] == {
        "53/udp": [{"HostPort": "53"}],
        "80/tcp": [{"HostPort": "20000"}],
    }

    assert start(engine, folder) == Outcome(changed=False, message="web.1 runs")


def test_one_that_stopped_is_started_again(engine: Any, folder: Path) -> None:
    start(engine, folder)
    engine.there["shop-web-1-abc"]["State"]["Running"] = False
    engine.calls.clear()
    assert start(engine, folder).changed
    assert "create shop-web-1-abc" not in engine.calls


def test_one_that_is_paused_begins_anew_in_place(engine: Any, folder: Path) -> None:
    """Let go on, it would serve while its engine still holds it for unhealthy."""
    start(engine, folder)
    engine.there["shop-web-1-abc"]["State"] = {"Running": True, "Paused": True}
    engine.calls.clear()
    assert start(engine, folder).changed
    assert [call.split()[0] for call in engine.calls] == ["volume", "kill", "wait", "start"]


def test_one_that_is_paused_hears_its_stop_signal(engine: Any, folder: Path) -> None:
    start(engine, folder)
    engine.there["shop-web-1-abc"]["State"] = {"Running": True, "Paused": True}
    engine.calls.clear()
    assert container.remove(engine, "shop-web-1-abc", 5.0).changed
    assert [call.split()[0] for call in engine.calls] == ["unpause", "stop", "remove"]


@pytest.mark.parametrize("difference", [{"slot": 2}, {"ports": [[80, 20007]]}])
def test_one_of_ours_with_the_same_name_and_another_content_is_replaced(
    engine: Any, folder: Path, difference: dict[str, Any]
) -> None:
    start(engine, folder)
    engine.calls.clear()
    assert start(engine, folder, **difference).changed
    assert [call.split()[0] for call in engine.calls] == ["volume", "remove", "create", "start"]


def test_a_container_of_somebody_else_is_never_touched(engine: Any, folder: Path) -> None:
    engine.there["shop-web-1-abc"] = {
        "Config": {"Labels": None},
        "HostConfig": {},
        "State": {"Running": True},
    }
    for act in (
        lambda: start(engine, folder),
        lambda: container.remove(engine, ROW["name"], 1),
    ):
        with pytest.raises(TaskError, match="is taken by a container that is not managed here") as failure:
            act()
        assert failure.value.kind == "create"
    assert not [call for call in engine.calls if call.startswith(("remove", "stop"))]


def test_what_the_engine_refuses_names_service_and_container(engine: Any, folder: Path) -> None:
    def refuse(_: str) -> None:
        raise EngineError("port is already allocated")

    engine.start = refuse
    with pytest.raises(TaskError, match=r"web\.1 cannot be started: port is already allocated") as failure:
        start(engine, folder)
    assert (failure.value.kind, failure.value.service, failure.value.container) == (
        "create",
        "web",
        ROW["name"],
    )


def test_removing_stops_first_and_twice_is_once(engine: Any, folder: Path) -> None:
    start(engine, folder)
    engine.calls.clear()
    assert container.remove(engine, ROW["name"], 7).changed
    assert engine.calls == ["stop shop-web-1-abc 7", "remove shop-web-1-abc"]
    assert not container.remove(engine, ROW["name"], 7).changed


def test_check_mode_says_and_does_nothing(engine: Any, folder: Path) -> None:
    assert start(engine, folder, check=True).changed
    assert image.pull(engine, [{"image": "web:1", "service": "web"}], "amd64", check=True).changed
    start(engine, folder)
    engine.calls.clear()
    assert container.remove(engine, ROW["name"], 7, check=True).changed
    assert engine.calls == []


def test_an_image_is_pulled_once(engine: Any) -> None:
    assert image.pull(engine, [{"image": "web:1", "service": "web"}], "amd64").changed
    assert not image.pull(engine, [{"image": "web:1", "service": "web"}], "amd64").changed


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("web:missing", "cannot pull web:missing: manifest unknown"),
        ("web:arm", "made for arm64, the host is amd64"),
    ],
)
def test_an_image_that_cannot_run_here_is_found_before_any_container(
    engine: Any, reference: str, words: str
) -> None:
    with pytest.raises(TaskError, match=words) as failure:
        image.pull(engine, [{"image": reference, "service": "web"}], "amd64")
    assert (failure.value.kind, failure.value.service) == ("pull", "web")


def test_several_containers_of_a_host_are_one_outcome_and_one_failure() -> None:
    assert side_by_side(lambda item: Outcome(item == "b", item), ["a", "b"]) == Outcome(
        changed=True, message="a; b"
    )
    done: list[str] = []

    def work(item: str) -> Outcome:
        if item == "bad":
            raise TaskError("no", "exit")
        done.append(item)
        return Outcome(changed=True, message=item)

    with pytest.raises(TaskError, match="no"):
        side_by_side(work, ["a", "bad", "c"])
    assert sorted(done) == ["a", "c"]


@pytest.mark.parametrize(
    ("said", "image", "expected"),
    [
        ({}, {"Entrypoint": ["e"], "Cmd": ["c"]}, (None, None)),
        ({"Cmd": ["x"]}, {"Entrypoint": ["e"], "Cmd": ["c"]}, (None, ["x"])),
        ({"Cmd": []}, {"Entrypoint": ["e", "f"], "Cmd": ["c"]}, (["e", "f"], [])),
        ({"Entrypoint": ["x"]}, {"Entrypoint": ["e"], "Cmd": ["c"]}, (["x"], None)),
        ({"Entrypoint": ["x"], "Cmd": []}, {"Entrypoint": ["e"], "Cmd": ["c"]}, (["x"], [])),
        ({"Entrypoint": []}, {"Entrypoint": ["e"], "Cmd": ["c"]}, ([""], ["c"])),
        ({"Entrypoint": [], "Cmd": ["x"]}, {"Entrypoint": ["e"], "Cmd": ["c"]}, ([""], ["x"])),
    ],
)
def test_an_empty_command_or_entrypoint_is_said_so_that_engines_understand_it(
    engine: Any, said: dict[str, Any], image: dict[str, Any], expected: tuple[Any, Any]
) -> None:
    engine.images["web:1"] = {"Config": image}
    container.start(engine, {"service": "web", "body": {**BODY, **said}}, ROW)
    (body,) = engine.bodies
    assert (body.get("Entrypoint"), body.get("Cmd")) == expected


@pytest.mark.parametrize("said", [{"Cmd": []}, {"Entrypoint": []}, {"Entrypoint": [], "Cmd": []}])
def test_nothing_to_run_is_told_before_the_engine_is_asked(engine: Any, said: dict[str, Any]) -> None:
    engine.images["web:1"] = {"Config": {"Entrypoint": None, "Cmd": None}}
    with pytest.raises(TaskError, match=r"web\.1 has nothing to run"):
        container.start(engine, {"service": "web", "body": {**BODY, **said}}, ROW)
    assert engine.bodies == []
