"""Sessions of a host's shell: what comes before the mark, questions and answers, who may have how many."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitops.channel.failures import (
    ChannelTimeoutError,
    EngineBrokenError,
    ForwardingRefusedError,
    HostSetupError,
    LockLostError,
    LoginShellError,
    UnreachableError,
)
from gitops.channel.forwarding import LOOK, reason
from gitops.channel.local import LocalTransport
from gitops.channel.reader import Question, Reader
from gitops.channel.relay import Relay, Relayed
from gitops.channel.session import MOST_NOISE, after, marking, open_session
from gitops.channel.slots import SLOTS, take_slot
from gitops.channel.transport import Completed, shell

SHELLS = ["sh", "bash", "busybox sh"]
DEADLINE_S = 30.0
NOISES = {
    "none": "true",
    "a line": "echo hello",
    "no end of a line": "printf hello; printf oops >&2",
    "not UTF-8": r"printf '\377\376\n\200'",
    "half a mark": "printf gitops-; printf gitops- >&2",
    "much": f"head -c {MOST_NOISE - 4096} /dev/zero; head -c 100000 /dev/zero >&2",
}


def transport(folder: Path) -> LocalTransport:
    return LocalTransport(folder)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("errors", [False, True])
def test_what_comes_before_the_mark_is_skipped(tmp_path: Path, noise: str, *, errors: bool) -> None:
    def command(mark: str) -> str:
        return f"{noise}\n{shell(marking('echo out; cat; echo err >&2', mark, errors=errors))}"

    link, wrong = open_session(transport(tmp_path), command, DEADLINE_S, errors=errors)
    with link:
        link.sendall(b"in\n")
        link.shutdown(socket.SHUT_WR)
        assert rest(link) == b"out\nin\n"
    assert (wrong is not None) is errors
    if wrong is not None:
        with wrong:
            assert rest(wrong) == b"err\n"


@pytest.mark.parametrize(
    ("instead", "told"),
    [
        ("echo This account is currently not available.; exit 1", "This account is currently not available."),
        ("exit 0", "printed nothing"),
        (f"head -c {2 * MOST_NOISE} /dev/zero; sleep 60", "more than 1 MiB"),
        ("exec yes", "more than 1 MiB"),
    ],
)
def test_a_login_shell_that_runs_nothing_is_an_error_with_its_words(
    tmp_path: Path, instead: str, told: str
) -> None:
    with pytest.raises(LoginShellError, match=told):
        open_session(transport(tmp_path), lambda _: instead, DEADLINE_S)


def test_a_login_shell_that_hangs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoginShellError, match="runs no command within"):
        open_session(transport(tmp_path), lambda _: "exec sleep 60", 0.2)


def test_output_as_a_whole_is_read_from_the_mark_on() -> None:
    assert after(b"hello\nMARK\nMARK\nout\n", "MARK") == b"MARK\nout\n"
    with pytest.raises(LoginShellError, match="it printed: no such thing"):
        after(b"no such\nthing", "MARK")


# --- questions ---


@pytest.fixture(params=SHELLS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """Over each shell that hosts have."""
    words = str(request.param)
    if shutil.which(words.split(maxsplit=1)[0]) is None:
        pytest.fail(f"{words} is missing")

    def open_shell() -> tuple[socket.socket, socket.socket]:
        def command(mark: str) -> str:
            return f"echo hello; echo oops >&2\n{shell(marking(f'exec {words}', mark, errors=True))}"

        link, errors = open_session(transport(tmp_path), command, DEADLINE_S, errors=True)
        assert errors is not None
        return link, errors

    made = Reader(open_shell)
    yield made
    made.close()


def test_questions_are_answered_with_code_output_and_errors(reader: Reader) -> None:
    for number in range(5):
        script = 'printf "%s\\n\\n" "$1"; echo wrong >&2; exit $2'
        done = reader.ask(Question(script, (f"it's $HOME\n{number}", str(number)), timeout_s=DEADLINE_S))
        assert done == Completed(number, f"it's $HOME\n{number}\n\n".encode(), b"wrong\n")


@pytest.mark.parametrize("given", [b"", b"a\nb\n", b"no end", bytes(range(256)) * 2000, b"$HOME `id`\n" * 9])
def test_any_input_reaches_the_script_whole(reader: Reader, given: bytes) -> None:
    assert reader.ask(Question("cat", stdin=given, timeout_s=DEADLINE_S)) == Completed(0, given, b"")
    assert reader.ask(Question("echo on; exec true", timeout_s=DEADLINE_S)).stdout == b"on\n"


def test_a_script_that_hangs_is_ended_on_the_host(reader: Reader, tmp_path: Path) -> None:
    """sshd counts a session until its last process has ended."""
    file = tmp_path / "pid"
    reader.ask(Question("true", timeout_s=DEADLINE_S))
    script = 'echo $$ > "$1.new"; mv "$1.new" "$1"; sleep 600; true'
    with pytest.raises(ChannelTimeoutError):
        reader.ask(Question(script, (str(file),), timeout_s=2.0))
    pid = int(file.read_text())
    until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not _words(pid))
    assert reader.ask(Question("echo on", timeout_s=DEADLINE_S)).stdout == b"on\n"


def test_a_shell_that_has_ended_is_replaced(reader: Reader) -> None:
    reader.ask(Question("kill -9 $PPID", timeout_s=DEADLINE_S))
    assert reader.ask(Question("echo on", timeout_s=DEADLINE_S)).stdout == b"on\n"


def test_whoever_waits_behind_a_dead_host_is_told_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gitops.channel.reader.QUIET_S", 0.2)
    begun = threading.Event()
    ours, theirs = socket.socketpair()
    errors, far = socket.socketpair()

    def open_shell() -> tuple[socket.socket, socket.socket]:
        begun.set()
        return ours, errors  # nobody answers at the other end

    dead = Reader(open_shell)
    first = threading.Thread(target=_until_it_fails, args=(dead, 5.0))
    first.start()
    begun.wait(DEADLINE_S)
    with theirs, far, pytest.raises(ChannelTimeoutError, match="busy with another question"):
        dead.ask(Question("true", timeout_s=0.1))
    first.join(DEADLINE_S)
    dead.close()


def _until_it_fails(reader: Reader, timeout_s: float) -> None:
    with suppress(ChannelTimeoutError, UnreachableError):
        reader.ask(Question("true", timeout_s=timeout_s))


# --- the controller's shell for its playbooks ---


def test_a_playbook_asks_by_its_controller(tmp_path: Path) -> None:
    asked = []

    def answer(question: Question, carrier: int) -> Completed:
        asked.append((question, carrier))
        return Completed(3, b"out\xff", b"err")

    relay = Relay(tmp_path)
    try:
        path = relay.serve("/r/h1.lock", answer)
        assert relay.serve("/r/h2.lock", answer) == path
        question = Question("script", ("a", "b"), b"\0\xff", 5.0, as_user=True)
        assert Relayed(path, "/r/h1.lock", lambda: 7).ask(question) == Completed(3, b"out\xff", b"err")
        assert asked == [(question, 7)]
    finally:
        relay.close()
    with pytest.raises(UnreachableError, match="controller"):
        Relayed(path, "/r/h1.lock", lambda: 7).ask(question)


def test_what_goes_wrong_at_the_controller_goes_wrong_here(tmp_path: Path) -> None:
    def answer(_: Question, carrier: int) -> Completed:
        if carrier == 1:
            raise LockLostError("another connection", hint="none")
        raise HostSetupError("not allowed")

    relay = Relay(tmp_path)
    try:
        path = relay.serve("/r/h1.lock", answer)
        with pytest.raises(LockLostError, match="another connection") as caught:
            Relayed(path, "/r/h1.lock", lambda: 1).ask(Question("x"))
        assert caught.value.hint == "none"
        with pytest.raises(HostSetupError, match="not allowed"):
            Relayed(path, "/r/h1.lock", lambda: 2).ask(Question("x"))
        with pytest.raises(UnreachableError, match="no connection"):
            Relayed(path, "/r/h9.lock", lambda: 2).ask(Question("x"))
    finally:
        relay.close()


# --- sessions that carry an engine ---


def test_there_are_only_so_many_sessions_to_an_engine(tmp_path: Path) -> None:
    record = str(tmp_path / "h1.lock")
    taken = [take_slot(record, wait_s=0) for _ in range(SLOTS)]
    with pytest.raises(ChannelTimeoutError, match=f"all {SLOTS} sessions"):
        take_slot(record, wait_s=0)
    os.close(taken.pop())
    taken.append(take_slot(record, wait_s=0))
    for descriptor in taken:
        os.close(descriptor)


# --- why a forwarded socket is closed ---

SOCKET = "/run/docker.sock"


@pytest.mark.parametrize(
    ("said", "kind", "words", "hint"),
    [
        ("", EngineBrokenError, "no process listens at /run/docker.sock", "start it"),
        (
            "listens\n/etc/ssh/sshd_config:AllowTcpForwarding no\n",
            ForwardingRefusedError,
            "AllowTcpForwarding no in /etc/ssh/sshd_config",
            "sed -i",
        ),
        (
            "listens\n/etc/ssh/sshd_config.d/a.conf:  DisableForwarding=yes\n",
            ForwardingRefusedError,
            "DisableForwarding yes in /etc/ssh/sshd_config.d/a.conf",
            "no/' /etc/ssh/sshd_config.d/a.conf",
        ),
        ("listens\n", ForwardingRefusedError, "does not forward", "AllowStreamLocalForwarding"),
    ],
)
def test_a_refused_forwarding_names_the_setting(
    said: str, kind: type[Exception], words: str, hint: str
) -> None:
    found = reason(SOCKET, said, "h1")
    assert found is not None
    assert type(found) is kind
    assert words in found.message
    assert hint in found.hint


@pytest.mark.parametrize("said", ["", "listens\n", "/etc/ssh/sshd_config:AllowTcpForwarding no\n"])
def test_a_program_that_is_started_anew_is_not_put_down_to_sshd(said: str) -> None:
    assert reason(SOCKET, said, "h1", certain=True) is None


@pytest.mark.parametrize("words", SHELLS)
def test_the_host_tells_whether_a_process_listens(tmp_path: Path, words: str) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert _look(words, path).startswith("listens\n")
    assert not _look(words, path).startswith("listens\n")


def _look(words: str, path: str) -> str:

    done = subprocess.run(
        [*words.split(), "-c", LOOK, "sh", path], check=True, capture_output=True, text=True
    )
    return done.stdout


def rest(link: socket.socket) -> bytes:
    data = b""
    while part := link.recv(1 << 16):
        data += part
    return data


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
