"""The channel on a real fleet: engines, HAProxy, files, and what keeps it from connecting."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.controllers import Machine, machine, opened
from support.labs import Lab

from gitops.channel import Channel
from gitops.channel.failures import (
    AuthenticationError,
    ChannelTimeoutError,
    EngineError,
    HostKeyError,
    HostSetupError,
    NotFoundError,
    UnreachableError,
)
from gitops.channel.mux import Control
from gitops.errors import PermanentError

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def image(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(
        'FROM busybox\nCMD ["sh", "-c", "echo one; echo two >&2; exec sleep 300"]\n'
    )
    return lab.run("image", "channel:1", str(folder)).splitlines()[-1]


@pytest.fixture(params=["h1", "p1"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Channel]:
    """A Docker host and a Podman host."""
    with opened(machine(lab, request.param)) as channels:
        yield channels[request.param]


def test_runs_as_a_user_without_root_and_gives_back_code_output_and_errors(host: Channel) -> None:
    done = host.run('cat; echo "$1" >&2; id -u; exit 7', args=("it's $HOME",), stdin=b"in\n")
    assert (done.code, done.stderr) == (7, b"it's $HOME\n")
    first, uid = done.stdout.split()
    assert first == b"in"
    assert int(uid) != 0


def test_a_list_of_words_reaches_no_shell(host: Channel) -> None:
    assert host.run(["printf", "%s", "$(id); `id`"]).stdout == b"$(id); `id`"


def test_a_command_that_hangs_ends_in_time(host: Channel) -> None:
    with pytest.raises(ChannelTimeoutError):
        host.run("sleep 60", timeout_s=0.3)
    assert host.run("echo on").stdout == b"on\n"


def test_writes_a_file_only_when_it_differs(host: Channel) -> None:
    content = bytes(range(256)) * 5000
    path = "/var/lib/gitops/test folder/it's.bin"
    assert host.write(path, content, mode="0640") is True
    assert host.write(path, content, mode="0640") is False
    assert host.read(path) == content
    assert host.run(["stat", "-c", "%a", path]).stdout.strip() == b"640"
    assert host.run(["ls", "/var/lib/gitops/test folder"]).stdout.split(b"\n")[:-1] == [b"it's.bin"]
    assert host.write(path, b"", mode="0640") is True
    assert host.read(path) == b""
    host.run(["rm", "-r", "/var/lib/gitops/test folder"])
    assert host.read(path) is None


def test_a_file_that_the_host_refuses_is_an_error(host: Channel) -> None:
    with pytest.raises(HostSetupError, match="cannot write /proc/nothing"):
        host.write("/proc/nothing/here", b"x")
    with pytest.raises(HostSetupError, match="cannot read /etc/shadow"):
        host.read("/etc/shadow")


def test_one_shell_answers_many_questions(host: Channel) -> None:
    for number in range(20):
        done = host.ask('printf "%s\\n\\n" "$1"; exit $2', args=(f"a\nb {number}", str(number)))
        assert (done.code, done.stdout) == (number, f"a\nb {number}\n\n".encode())


@pytest.mark.parametrize("size", [1, 5_000, 300_000])
def test_a_question_may_have_a_text_of_any_size(host: Channel, size: int) -> None:
    text = "".join(f"$HOME `id` '{number}' \\\n" for number in range(size // 20 + 1))
    done = host.ask('head -c "$1"; cat >/dev/null', args=(str(len(text)),), text=text)
    assert (done.code, done.stdout.decode()) == (0, text)
    assert host.ask("cat").stdout == b""


def test_a_question_that_hangs_does_not_spoil_the_next(host: Channel) -> None:
    with pytest.raises(ChannelTimeoutError):
        host.ask("sleep 2; echo late", timeout_s=0.2)
    assert host.ask("echo on").stdout == b"on\n"


def test_the_life_of_a_container(host: Channel, image: str) -> None:
    engine = host.engine()
    assert engine.podman is (host.name == "p1")
    engine.pull(image)
    assert engine.image(image) is not None
    assert engine.ensure_network("channel-test") is True
    assert engine.ensure_network("channel-test") is False
    assert engine.ensure_volume("channel-test") is True
    assert engine.ensure_volume("channel-test") is False
    body = {
        "Image": image,
        "Labels": {"test": "channel"},
        "HostConfig": {"NetworkMode": "channel-test", "Binds": ["channel-test:/data"], "Init": True},
    }
    try:
        assert engine.create("channel-1", body)
        engine.start("channel-1")
        engine.start("channel-1")
        assert [c["Names"] for c in engine.containers({"label": ["test=channel"]})] == [["/channel-1"]]
        assert engine.exec("channel-1", ["sh", "-c", "echo out; echo err >&2; exit 4"], timeout_s=10)[0] == 4
        assert set(
            engine.exec("channel-1", ["sh", "-c", "echo out; echo err >&2"], timeout_s=10)[1].split()
        ) == {
            "out",
            "err",
        }
        with pytest.raises(ChannelTimeoutError):
            engine.exec("channel-1", ["sleep", "60"], timeout_s=0.3)
        assert sorted(engine.logs("channel-1")) == ["one", "two"]
        lines = engine.follow_logs("channel-1", tail=5)
        assert {next(iter(lines)) for _ in range(1)} <= {"one", "two"}
        lines.close()
        engine.stop("channel-1", grace_s=2)
        assert engine.wait("channel-1", timeout_s=10) == engine.inspect("channel-1")["State"]["ExitCode"]
    finally:
        engine.remove("channel-1", force=True)
        engine.remove_network("channel-test")
        engine.remove_volume("channel-test")
    assert engine.containers({"label": ["test=channel"]}) == []


def test_the_code_of_an_exit_is_known_when_the_container_runs_again(host: Channel, image: str) -> None:
    engine, name = host.engine(), "channel-again"
    engine.pull(image)
    engine.create(name, {"Image": image, "Cmd": ["sh", "-c", "[ -e /was ] && sleep 60; touch /was; exit 9"]})
    try:
        engine.start(name)
        assert engine.wait(name, timeout_s=20) == 9
        engine.start(name)
        assert engine.inspect(name)["State"]["ExitCode"] == 0
        assert engine.last_exit(name) == 9
        assert engine.last_exit("channel-nobody") is None
    finally:
        engine.remove(name, force=True)


def test_the_engines_refusals_are_errors(host: Channel, lab: Lab) -> None:
    engine = host.engine()
    with pytest.raises(NotFoundError, match=r"(?i)no such container"):
        engine.inspect("nothing")
    with pytest.raises(NotFoundError):
        engine.create("nothing", {"Image": f"{lab.registry}/nothing:1"})
    with pytest.raises(EngineError, match="nothing"):
        engine.pull(f"{lab.registry}/nothing:1")
    assert engine.image("nothing:1") is None


def test_events_arrive_as_they_happen(host: Channel, image: str) -> None:
    engine = host.engine()
    engine.pull(image)
    events = engine.events({"type": ["container"]})
    try:
        engine.create("channel-2", {"Image": image})
        seen = next(event for event in events if event["Actor"]["Attributes"]["name"] == "channel-2")
        assert seen["Action"] == "create"
    finally:
        events.close()
        engine.remove("channel-2", force=True)


def test_haproxy_over_its_sockets(lab: Lab) -> None:
    with opened(machine(lab, "e1")) as channels:
        proxy = channels["e1"].proxy()
        assert proxy.info()["Name"] == "HAProxy"
        assert any(stat.name == "FRONTEND" for stat in proxy.stats())
        before = {process.pid for process in proxy.processes() if process.kind == "worker"}
        proxy.reload()
        after = {process.pid for process in proxy.processes() if process.kind == "worker" and not process.old}
        assert after
        assert not after & before


def test_a_reload_of_a_broken_file_is_an_error_and_the_old_worker_stays(lab: Lab) -> None:
    path = "/etc/haproxy/haproxy.cfg"
    with opened(machine(lab, "e1")) as channels:
        edge = channels["e1"]
        proxy = edge.proxy()
        good = edge.read(path)
        assert good is not None
        pid = proxy.info()["Pid"]
        edge.write(path, good + b"\nnonsense here\n")
        try:
            with pytest.raises(PermanentError, match="kept its old worker"):
                proxy.reload()
            assert proxy.info()["Pid"] == pid
        finally:
            edge.write(path, good)
        proxy.reload()
        assert proxy.info()["Pid"] != pid


def test_sudo_carries_the_sockets_that_the_user_may_not_open(lab: Lab) -> None:
    names = ("h1", "p1", "e1")
    with opened(*(machine(lab, name, ansible_user="ops", ansible_become=True) for name in names)) as channels:
        for name in ("h1", "p1"):
            assert channels[name].facts.engine.direct is False
            engine = channels[name].engine()
            assert engine.podman is (name == "p1")
            assert isinstance(engine.containers(), list)
            assert isinstance(engine.containers(), list)
            assert channels[name].run("id -u").stdout == b"0\n"
            assert channels[name].ask("id -u").stdout == b"0\n"
        proxy = channels["e1"].proxy()
        assert proxy.info()["Name"] == "HAProxy"
        assert proxy.processes()


def test_without_the_right_and_without_sudo_the_error_says_what_to_do(lab: Lab) -> None:
    with opened(machine(lab, "h1", ansible_user="ops")) as channels, pytest.raises(HostSetupError) as caught:
        channels["h1"].engine().containers()
    assert "ops" in caught.value.message
    assert "bootstrap" in caught.value.hint


def test_a_local_connection_needs_no_ssh(lab: Lab) -> None:
    here = Machine(
        "here",
        (("ansible_connection", "local"), ("gitops_engine_socket", lab.engine_socket("h1"))),
    )
    with opened(here) as channels:
        assert isinstance(channels["here"].engine().containers(), list)
        assert channels["here"].run("cat", stdin=b"x").stdout == b"x"
        assert channels["here"].ask("echo y").stdout == b"y\n"


def test_a_user_without_sudo_is_told_at_once(lab: Lab) -> None:
    with (
        opened(machine(lab, "h1", ansible_become=True)) as channels,
        pytest.raises(HostSetupError, match="deploy may not use sudo"),
    ):
        channels["h1"].run("true")


def test_other_connections_are_refused() -> None:
    with (
        pytest.raises(PermanentError, match="not supported"),
        opened(Machine("other", (("ansible_connection", "winrm"),))),
    ):
        pass


def test_a_changed_host_key_is_never_accepted(lab: Lab, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    other = next(
        line
        for line in Path(lab.data["known_hosts"]).read_text().splitlines()
        if line.startswith(lab.address("h2"))
    )
    known.write_text(f"{lab.address('h1')} {' '.join(other.split()[1:])}\n")
    _refused(lab, HostKeyError, "changed", ansible_ssh_common_args=f"-o UserKnownHostsFile={known}")


def test_an_unknown_host_key_is_never_accepted(lab: Lab) -> None:
    _refused(lab, HostKeyError, "not known", ansible_ssh_common_args="-o UserKnownHostsFile=/dev/null")


def test_a_refused_user(lab: Lab) -> None:
    _refused(lab, AuthenticationError, "refused the user", ansible_user="stranger")


def test_a_closed_port(lab: Lab) -> None:
    _refused(lab, UnreachableError, "refused", ansible_port=9)


def _refused(lab: Lab, kind: type[Exception], words: str, **changes: object) -> None:
    with opened(machine(lab, "h1", **changes)) as channels, pytest.raises(kind, match=f"h1: .*{words}"):
        channels["h1"].run("true")


def test_a_dead_master_is_replaced(lab: Lab) -> None:
    with opened(machine(lab, "h1")) as channels:
        channel = channels["h1"]
        engine = channel.engine()
        engine.containers()
        path = str(channel._transport.record).removesuffix(".lock")
        with Control(path, 5) as control:
            first = control.pid()
        subprocess.run(["kill", "-9", str(first)], check=True)
        _until(lambda: not Path(f"/proc/{first}").exists())
        assert isinstance(engine.containers(), list)
        assert channel.run("echo on").stdout == b"on\n"
        assert channel.ask("echo on").stdout == b"on\n"


def test_a_cut_host_fails_within_a_bound(lab: Lab) -> None:
    with opened(machine(lab, "h2", ansible_timeout=2)) as channels:
        channel = channels["h2"]
        assert isinstance(channel.engine().containers(), list)
        lab.run("cut", "h2")
        try:
            with pytest.raises((ChannelTimeoutError, UnreachableError)):
                channel.engine().containers(timeout_s=1)
            with pytest.raises((ChannelTimeoutError, UnreachableError)):
                channel.ask("true", timeout_s=1)
        finally:
            lab.run("mend", "h2")
        _until(lambda: _answers(channel))


def _answers(channel: Channel) -> bool:
    try:
        return channel.run("echo on", timeout_s=2).stdout == b"on\n"
    except (ChannelTimeoutError, UnreachableError):
        return False


def _until(true: object, seconds: float = 40) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.02)
