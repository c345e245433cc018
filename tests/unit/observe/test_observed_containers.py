"""From an engine's words to the model's."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict, replace
from typing import Any

import pytest

from gitops.channel.failures import ContainerError, EngineError, NotFoundError
from gitops.model.observed import Found, Release
from gitops.model.size import Size
from gitops.observe.containers import parse, read, restarted
from gitops.observe.files import Files, listeners
from gitops.observe.files import parse as parse_files

ANY = "198.18.0.1"
LABELS = {
    "gitops.app": "shop",
    "gitops.service": "web",
    "gitops.slot": "2",
    "gitops.spec": "abc",
    "gitops.commit": "c0ffee",
}


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "Id": "1",
        "Names": ["/shop-web-2-abc"],
        "Image": "web:1",
        "Labels": LABELS,
        "State": "running",
        "Status": "Up 2 minutes",
        "Ports": [
            {"IP": ANY, "PrivatePort": 80, "PublicPort": 20001, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 20001, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"IP": ANY, "PrivatePort": 53, "PublicPort": 20053, "Type": "udp"},
        ],
        **changes,
    }


def test_a_running_container() -> None:
    found = parse(entry(), "h1")
    assert found is not None
    assert (found.name, found.host, found.app, found.service, found.slot) == (
        "shop-web-2-abc",
        "h1",
        "shop",
        "web",
        2,
    )
    assert (found.spec, found.commit, found.image) == ("abc", "c0ffee", "web:1")
    assert (found.state, found.health, found.exit_code) == ("running", "none", None)
    assert found.ports == ((80, 20001),)


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [
        ("running", "Up 1 second (health: starting)", ("running", "starting", None)),
        ("running", "Up 1 second (starting)", ("running", "starting", None)),
        ("running", "Up 2 hours (healthy)", ("running", "healthy", None)),
        ("running", "Up 2 hours (unhealthy)", ("running", "unhealthy", None)),
        ("exited", "Exited (137) 3 seconds ago", ("exited", "none", 137)),
        ("restarting", "Restarting (1) 2 seconds ago", ("restarting", "none", None)),
        ("created", "Created", ("created", "none", None)),
        ("paused", "Up 2 hours (Paused)", ("paused", "none", None)),
        ("stopped", "Exited (0) 1 second ago", ("exited", "none", 0)),
    ],
)
def test_state_health_and_exit_code_are_in_one_status(
    state: str, status: str, expected: tuple[Any, ...]
) -> None:
    found = parse(entry(State=state, Status=status), "h1")
    assert found is not None
    assert (found.state, found.health, found.exit_code) == expected


def test_a_link_is_not_the_name() -> None:
    found = parse(entry(Names=["/other/alias", "/shop-web-2-abc"]), "h1")
    assert found is not None
    assert found.name == "shop-web-2-abc"


@pytest.mark.parametrize(
    "labels",
    [{"gitops.app": "shop"}, {**LABELS, "gitops.slot": "first"}, {**LABELS, "gitops.slot": "-1"}],
)
def test_a_container_under_our_label_without_a_slot_is_a_stray_one(labels: dict[str, str]) -> None:
    found = parse(entry(Labels=labels), "h1")
    assert found is not None
    assert (found.app, found.slot) == ("shop", 0)


@pytest.mark.parametrize("labels", [None, {}, {"gitops.service": "web", "gitops.slot": "1"}])
def test_containers_of_others_are_left_out(labels: dict[str, str] | None) -> None:
    assert parse(entry(Labels=labels), "h1") is None


def test_what_an_image_was_asked_for_as_where_the_engine_lists_its_id_alone() -> None:
    details = {"Config": {"Image": "other:2"}, "State": {}}
    engine = FakeEngine([entry(Image="sha256:0123")], details)
    (container,), _ = read(engine, "h1")  # type: ignore[arg-type]  # a fake
    assert container.image == "other:2"


class FakeEngine:
    """An engine of canned answers."""

    podman = False

    def __init__(self, listed: list[dict[str, Any]], details: dict[str, Any]) -> None:
        self.listed = listed
        self.details = details
        self.inspected = 0

    def containers(self, *, timeout_s: float) -> list[dict[str, Any]]:  # noqa: ARG002 - as the engine's
        return self.listed

    def inspect(self, name: str) -> dict[str, Any]:  # noqa: ARG002 - as the engine's
        self.inspected += 1
        return self.details


def test_one_call_tells_all_where_everything_runs() -> None:
    engine = FakeEngine([entry(), entry(Labels={}, Ports=[{"PublicPort": 8080, "PrivatePort": 1}])], {})
    found, used = read(engine, "h1")  # type: ignore[arg-type]  # a fake
    assert [container.name for container in found] == ["shop-web-2-abc"]
    assert used == (8080, 20001, 20053)
    assert engine.inspected == 0


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (NotFoundError("container 12 does not exist in database", status=500), []),
        (ContainerError("container web is not running", status=409), ["shop-web-2-abc"]),
    ],
)
def test_a_container_that_goes_or_crashes_between_list_and_look_is_no_fault_of_its_host(
    error: EngineError, left: list[str]
) -> None:
    class Crashing(FakeEngine):
        def inspect(self, name: str) -> dict[str, Any]:  # noqa: ARG002 - as the engine's
            raise error

    engine = Crashing([entry(State="exited", Status="Exited (1) now", Ports=[])], {})
    found, _ = read(engine, "h1")  # type: ignore[arg-type]  # a fake
    assert [container.name for container in found] == left


def test_what_has_ended_still_has_its_ports() -> None:
    details = {
        "State": {"ExitCode": 3},
        "RestartCount": 2,
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": "20001"}], "53/udp": [{"HostPort": "20053"}]}
        },
    }
    engine = FakeEngine([entry(State="exited", Status="Exited (3) now", Ports=[])], details)
    (container,), used = read(engine, "h1")  # type: ignore[arg-type]  # a fake
    assert (container.exit_code, container.restarts, container.ports) == (3, 2, ((80, 20001),))
    assert used == (20001,)


def test_a_health_check_that_is_switched_off_is_none_although_podman_says_starting() -> None:
    details = {"Config": {"Healthcheck": {"Test": ["NONE"]}}, "State": {"Health": {"Status": "starting"}}}
    engine = FakeEngine([entry(Status="Up 1 second (starting)")], details)
    engine.podman = True
    (container,), _ = read(engine, "h1")  # type: ignore[arg-type]  # a fake
    assert container.health == "none"


QUEUE = Found("queue", "10.96.3.4", ("shop",))
VOTE = {"app": "vote", "commit": "beef", "deployment": "d2", "services": [asdict(QUEUE)]}


def test_release_files_and_fragments() -> None:
    archive = _tar(
        {
            "shop/release.json": b'{"app": "shop", "commit": "c0ffee", "deployment": "d1"}',
            "shop/haproxy.cfg": b"backend shop\n",
            "torn/release.json": b'{"app": "to',
            "vote/release.json": json.dumps(VOTE).encode(),
            "blog/haproxy.cfg": b"backend blog\n",
        }
    )
    routes = b"local 127.0.0.0/8 scope host local 127.0.0.1 scope host local 10.96.0.0/16 scope host\n"
    digest = "ab" * 32
    kept = parse_files(routes + f"{digest}  - description gitops-c0ffee\n".encode() + archive)
    assert kept.releases == (Release("shop", "c0ffee", "d1"), Release("vote", "beef", "d2", (QUEUE,)))
    assert kept.fragments == (("blog", "backend blog\n"), ("shop", "backend shop\n"))
    assert kept.networks == ("127.0.0.0/8", "10.96.0.0/16")
    assert kept.config == digest
    assert (kept.mark, kept.loading) == ("c0ffee", False)
    assert parse_files(routes + f"{digest}  - description - loading\n".encode()).loading
    assert parse_files(b"\n\n" + archive) == replace(kept, config="", networks=(), mark="")


def test_a_host_without_any_file() -> None:
    assert parse_files(b"\n\n") == Files()
    assert parse_files(b"") == Files()


def test_ports_that_anything_on_the_host_listens_on() -> None:
    line = (
        "00000000:4E20 0100007F:4E21 00000000000000000000000000000000:4E22 "
        "00000000000000000000000001000000:0016 sl: nonsense"
    )
    assert listeners(line) == {(20000, True), (20001, False), (20002, True), (22, False)}
    assert listeners("") == frozenset()


def _tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.mark.parametrize(
    ("labels", "size"),
    [
        ({}, Size()),
        ({"gitops.cpus": "250", "gitops.memory": "1024"}, Size(250, 1024)),
        ({"gitops.cpus": "many", "gitops.memory": "-1"}, Size()),
    ],
)
def test_what_is_reserved_for_a_container_is_on_its_labels(labels: dict[str, str], size: Size) -> None:
    found = parse(entry(Labels={**LABELS, **labels}), "h1")
    assert found is not None
    assert found.reserved == size


def test_when_a_container_was_made() -> None:
    found = parse(entry(Created=1_700_000_000), "h1")
    assert found is not None
    assert found.created_s == 1_700_000_000


@pytest.mark.parametrize(
    ("status", "age_s", "again"),
    [
        ("Up 5 seconds", 8.0, False),
        ("Up 5 seconds", 60.0, True),
        ("Up Less than a second", 60.0, True),
        ("Up About a minute (healthy)", 100.0, False),
        ("Up 3 minutes", 1000.0, True),
        ("Up 11 minutes", 100_000.0, False),
        ("Up 2 hours", 100_000.0, False),
        ("Exited (1) 5 seconds ago", 60.0, False),
        ("", 60.0, False),
    ],
)
def test_what_runs_for_less_long_than_it_is_old_was_started_again(
    status: str, age_s: float, again: bool
) -> None:
    assert restarted(entry(Status=status, Created=1e6 - age_s), 1e6) is again


def test_a_container_that_its_engine_restarts_is_told_as_crashing() -> None:
    details = {"State": {}, "RestartCount": 4}
    young = entry(Status="Up 2 seconds", Created=1.0)
    (container,), _ = read(FakeEngine([young], details), "h1")  # type: ignore[arg-type]  # a fake
    assert (container.restarts, container.crashing) == (4, True)
    old = entry(Status="Up 2 hours", Created=1.0)
    (container,), _ = read(FakeEngine([old], details), "h1")  # type: ignore[arg-type]  # a fake
    assert (container.restarts, container.crashing) == (None, False)


def test_docker_is_never_asked_to_run_a_check() -> None:
    class Docker(FakeEngine):
        def healthcheck_run(self, name: str) -> str:
            raise AssertionError(f"asked for {name}: only Podman can do that")

    details = {
        "State": {"Health": {"Status": "starting"}},
        "Config": {"Healthcheck": {"Test": ["CMD", "true"]}},
    }
    again = entry(Status="Up 2 seconds (health: starting)", Created=1.0)
    (container,), _ = read(Docker([again], details), "h1")  # type: ignore[arg-type]  # a fake
    assert container.health == "starting"
