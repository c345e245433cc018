"""The SSH transport: one master connection a host, made with the arguments of Ansible's own plugin."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops.channel.failures import (
    AuthenticationError,
    ChannelTimeoutError,
    HostKeyError,
    HostSetupError,
    SessionLimitError,
    UnreachableError,
)
from gitops.channel.mux import Control
from gitops.channel.session import MOST_NOISE, noisy, silent
from gitops.channel.streams import read_until
from gitops.channel.transport import Completed, OwningSocket, unix_connect
from gitops.errors import GitopsError, PermanentError, Where

ANSWER_S = 10.0  # a master is on this machine: it answers at once, or not at all
SHELL_S = 12.0  # from a login that has succeeded to the end of the first command
ENDS_S = 5.0  # for sshd to notice that a session has ended
LOOK_S = 0.05
SSH_FAILED = 255
SESSIONS = 2
"""Sessions of one connection at a time: the lock's, and the shell's that answers all questions."""
LIMIT_HINT = (
    f"sshd's MaxSessions is below the {SESSIONS} that a deployment needs: raise it in /etc/ssh/sshd_config, "
    "or end what else uses this connection"
)
PERSIST = ("ControlMaster=auto", "ControlPersist=60s")
GUARDS = ("StreamLocalBindUnlink=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3")
SSH_ARGS = " ".join(f"-o {option}" for option in (*PERSIST, *GUARDS))
"""Ansible's `ssh_args`, so that a master which Ansible starts is like one of ours."""


@dataclass(frozen=True)
class Call:
    """How to start a master: the local command, without the host's."""

    argv: tuple[str, ...]
    control_path: str
    password: str = ""
    password_pipe: tuple[int, int] | None = None  # (read, write) ends for sshpass


class SshTransport:
    """A master connection, found by its control path or made anew.

    Everything goes through the control socket and the sockets forwarded beside
    it, so that a call fails when the master is gone: nothing reconnects except
    `start`.
    """

    def __init__(self, host: str, control_path: str, call: Callable[[], Call] | None = None) -> None:
        """Nothing is opened.

        Args:
            host: its inventory name, for errors.
            control_path: of the master.
            call: how to start a master; None where only an existing one may be used.
        """
        self._host = host
        self._control_path = control_path
        self._call = call

    @property
    def control_path(self) -> str:
        """Where the master listens."""
        return self._control_path

    @property
    def record(self) -> str:
        """Path of the lock's record."""
        return f"{self._control_path}.lock"

    def start(self, command: str, timeout_s: float) -> Completed:
        """Makes the master connection, or joins the one that stands, and runs a first command.

        Raises:
            HostKeyError: the host's key is unknown or has changed.
            AuthenticationError: the host refused the user.
            LoginShellError: the user's login shell hangs, or prints without end.
            UnreachableError: anything else that kept SSH from connecting.
        """
        with _alone(f"{self._control_path}.l"):
            if self.standing():
                return self._run(command, timeout_s)
            if self._call is None:
                raise self._error(UnreachableError("the SSH connection ended"))
            return self._start(self._call(), command, timeout_s)

    def _start(self, call: Call, command: str, timeout_s: float) -> Completed:
        streams, far = zip(socket.socketpair(), socket.socketpair(), strict=True)
        with ExitStack() as undo:
            for stream in streams:
                undo.callback(stream.close)
            try:
                process = subprocess.Popen(
                    [*call.argv, command],
                    stdin=subprocess.DEVNULL,
                    stdout=far[0].fileno(),
                    stderr=far[1].fileno(),
                    start_new_session=True,  # no terminal, so ssh cannot ask a question
                    pass_fds=call.password_pipe or (),
                )
            except OSError as error:
                raise PermanentError(f"cannot run {call.argv[0]}: {error.strerror}") from error
            finally:
                for stream in far:
                    stream.close()
                _send_password(call)
            done = self._first_answer(process, streams, timeout_s)
        if done.code == SSH_FAILED or (call.password_pipe and not self.standing()):
            raise self._error(failure(done.stderr.decode(errors="replace")))
        return done

    def _first_answer(
        self, process: subprocess.Popen[bytes], streams: Sequence[socket.socket], timeout_s: float
    ) -> Completed:
        """What the first command has printed when it has ended.

        The master stays behind and may hold the far ends for ever: their ends are not waited for.
        """
        began = time.monotonic()
        logged_in = 0.0
        texts: list[bytearray] = [bytearray() for _ in streams]
        ending = os.pidfd_open(process.pid)
        while True:
            ended = process.poll() is not None  # before the look: what it has printed is there then
            texts = _now_there(streams, texts, ending, 0.0 if ended else LOOK_S)
            if ended:
                os.close(ending)
                return Completed(process.returncode, bytes(texts[0]), bytes(texts[1]))
            now = time.monotonic()
            if not logged_in and self.standing():
                logged_in = now
            problem: GitopsError | None = None
            if max(map(len, texts)) > MOST_NOISE:
                problem = noisy()
            elif logged_in and now - logged_in > SHELL_S:
                problem = silent(SHELL_S)
            elif now - began > timeout_s:
                problem = UnreachableError(f"SSH did not connect within {timeout_s:.0f} s")
            if problem is not None:
                os.close(ending)
                process.kill()
                process.wait()
                self.close()
                raise self._error(problem)

    def standing(self) -> bool:
        """Whether the master answers."""
        return self.carrier() != 0

    def carrier(self) -> int:
        """The master's process id, or 0."""
        try:
            with Control(self._control_path, ANSWER_S) as control:
                return control.pid()
        except GitopsError:
            return 0

    def _run(self, command: str, timeout_s: float) -> Completed:
        """Runs a command line of the user's shell through the master that stands."""
        deadline = time.monotonic() + timeout_s
        streams, far = zip(socket.socketpair(), socket.socketpair(), strict=True)
        with ExitStack() as undo:
            for stream in streams:
                undo.callback(stream.close)
            try:
                control = self._session(command, None, far[0], far[1])
            finally:
                for stream in far:
                    stream.close()
            undo.callback(control.close)
            with self._named():
                texts, _ = read_until([each.fileno() for each in streams], lambda _: False, deadline)
                code = control.wait(max(deadline - time.monotonic(), 1.0))
            return Completed(code, bytes(texts[0]), bytes(texts[1]))

    def pipe(
        self, command: str, timeout_s: float, *, echo: bool = False, errors: socket.socket | None = None
    ) -> OwningSocket:
        """A socket that is a command's standard input and output; with `echo` its errors are its input, too.

        The master itself gives the echo: it writes the errors into the far end of what it reads from.
        """
        with ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            ours.settimeout(timeout_s)
            with theirs:
                control = self._session(command, theirs, theirs, ours if echo else errors)
            undo.pop_all()
            return OwningSocket(ours, control.close)

    def _session(
        self,
        command: str,
        given: socket.socket | None,
        output: socket.socket,
        errors: socket.socket | None,
    ) -> Control:
        """A session with these descriptors; asked again, as one that has just ended may still count."""
        deadline = time.monotonic() + ENDS_S
        while True:
            with ExitStack() as undo, Path(os.devnull).open("r+b", buffering=0) as nowhere, self._named():
                control = undo.enter_context(self._open(ANSWER_S))
                descriptors = [
                    stream.fileno() if stream else nowhere.fileno() for stream in (given, output, errors)
                ]
                try:
                    control.session(command, *descriptors)
                except SessionLimitError as error:
                    if time.monotonic() < deadline:
                        time.sleep(LOOK_S)
                        continue
                    error.hint = LIMIT_HINT
                    raise
                undo.pop_all()
                return control

    def forward(self, suffix: str, path: str) -> None:
        """Makes the master listen beside its control path."""
        local = f"{self._control_path}{suffix}"
        with contextlib.suppress(OSError):
            unix_connect(local, ANSWER_S).close()
            return  # another process has asked for it already
        with self._open(ANSWER_S) as control, self._named():
            Path(local).unlink(missing_ok=True)  # left behind by a master that was killed
            control.forward(local, path)

    def dial(self, suffix: str, path: str, timeout_s: float) -> socket.socket:  # noqa: ARG002 - of the protocol
        """A connection to a forwarded socket of the host."""
        try:
            return unix_connect(f"{self._control_path}{suffix}", timeout_s)
        except OSError as error:
            raise self._error(UnreachableError("the SSH connection ended")) from error

    def close(self) -> None:
        """Ends the master."""
        with contextlib.suppress(GitopsError), Control(self._control_path, ANSWER_S) as control:
            control.terminate()

    def _open(self, timeout_s: float) -> Control:
        with self._named():
            return Control(self._control_path, timeout_s)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors inside name the host."""
        try:
            yield
        except (UnreachableError, ChannelTimeoutError, HostSetupError) as error:
            raise self._error(error) from error

    def _error(self, error: GitopsError) -> GitopsError:
        error.where = Where(host=self._host)
        return error


def _now_there(
    streams: Sequence[socket.socket], before: Sequence[bytearray], ending: int, wait_s: float
) -> list[bytearray]:
    """What has come of each stream until now, after waiting for a moment for a piece or for `ending`."""
    texts = [bytearray(text) for text in before]
    poller = select.poll()
    places = {stream.fileno(): number for number, stream in enumerate(streams)}
    for stream in places:
        poller.register(stream, select.POLLIN)
    poller.register(ending, select.POLLIN)
    while ready := poller.poll(int(wait_s * 1000)):
        wait_s = 0.0
        if [stream for stream, _ in ready] == [ending]:
            break
        for stream, _ in ready:
            if stream == ending:
                continue
            part = os.read(stream, 1 << 16)
            texts[places[stream]] += part
            if not part:
                poller.unregister(stream)
        if max(map(len, texts)) > MOST_NOISE:
            break
    return texts


def call(connection: Any) -> Call:
    """How Ansible's ssh plugin would connect, as a master of ours.

    Args:
        connection: the plugin object with its options set.

    Raises:
        PermanentError: its options do not make a command, such as a password without sshpass.
    """
    password = str(connection.get_option("password") or "")
    if password:
        # The other mechanism of Ansible answers a prompt through its own environment.
        connection.set_option("password_mechanism", "sshpass")
    binary = connection.get_option("ssh_executable")
    connection.host = address(connection)  # Ansible sets it late, when it runs something
    try:
        built = [part.decode() for part in connection._build_command(binary, "ssh")]  # noqa: SLF001 - the only place that knows
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "ansible":
            raise
        raise PermanentError(f"no SSH command for this host: {error}") from error
    pipe = connection.sshpass_pipe if password else None
    at = built.index(binary) + 1
    found = [part for part in built if "controlpath" in part.lower()]
    path = _value(found[0]) if found else _default_path(connection)
    if "%" in path:
        raise PermanentError(
            f"the control path {path} holds a token of ssh",
            hint="leave ControlPath out of the SSH arguments, or set ansible_control_path to a plain path",
        )
    argv = (
        *built[:at],
        *_options(PERSIST),  # first: of an option given twice, ssh takes the first
        *built[at:],
        *_options(GUARDS),
        *([] if found else _options((f'ControlPath="{path}"',))),
        *([] if password else _options(("BatchMode=yes",))),
        address(connection),
    )
    return Call(argv, path, password, pipe)


def address(connection: Any) -> str:
    """The host as ssh is told of it."""
    return str(connection.get_option("host") or connection._play_context.remote_addr)  # noqa: SLF001 - Ansible's fallback


def control_path(connection: Any) -> str:
    """The control path that Ansible's plugin and `call` use, without making a command."""
    wanted = connection.get_option("control_path")
    text = " ".join(
        str(connection.get_option(name) or "") for name in ("ssh_args", "ssh_common_args", "ssh_extra_args")
    )
    if wanted or "controlpath" in text.lower():
        plan = call(connection)
        for end in plan.password_pipe or ():
            os.close(end)
        return plan.control_path
    return _default_path(connection)


def _default_path(connection: Any) -> str:
    folder = Path(os.path.expandvars(connection.get_option("control_path_dir"))).expanduser().absolute()
    parts = (address(connection), connection.get_option("port"), connection.get_option("remote_user"))
    name = connection._create_control_path(*parts)  # noqa: SLF001 - so that Ansible's own tasks share the master
    return str(name % {"directory": folder})


def _options(options: tuple[str, ...]) -> list[str]:
    return [part for option in options for part in ("-o", option)]


def _value(option: str) -> str:
    return re.split(r"[=\s]+", option, maxsplit=1)[1].strip('"')


def plugin(name: str, variables: Mapping[str, Any], folder: Path) -> Any:
    """Ansible's connection plugin for a host, as a playbook would have it.

    Args:
        name: the host's inventory name.
        variables: its connection variables.
        folder: where control sockets lie unless the inventory says otherwise.
    """
    from ansible.playbook.play_context import PlayContext  # noqa: PLC0415 - 0.3 s, and workers have it already
    from ansible.plugins.loader import connection_loader  # noqa: PLC0415 - as above

    play = PlayContext()
    play.remote_addr = str(variables.get("ansible_host", name))
    kind = str(variables.get("ansible_connection", "ssh")).replace("smart", "ssh")
    connection = connection_loader.get(kind, play)
    if connection is None:
        raise PermanentError(f"Ansible has no connection plugin {kind!r}", where=Where(host=name))
    connection.set_options(var_options={"inventory_hostname": name, "ansible_host": name, **variables})
    if connection.transport == "ssh" and "ansible_control_path_dir" not in variables:
        connection.set_option("control_path_dir", str(folder))
    return connection


def failure(words: str) -> GitopsError:
    """What ssh printed when it could not connect, as an error of ours."""
    lines = [line.strip() for line in words.splitlines() if line.strip() and not line.startswith("Warning:")]
    last = lines[-1] if lines else "ssh ended without a word"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in words:
        return HostKeyError(
            "the host's key has changed: it may be another machine",
            hint="if you know why, remove the old key with ssh-keygen -R and add the new one to known_hosts",
        )
    if "Host key verification failed" in words or "No matching host key" in words:
        return HostKeyError("the host's key is not known", hint="compare it and add it to known_hosts")
    if "Permission denied" in words or "Too many authentication failures" in words:
        return AuthenticationError(f"SSH refused the user: {last}", hint="check ansible_user and the key")
    if "Session open refused" in words:
        return SessionLimitError("sshd refuses to open a session", hint=LIMIT_HINT)
    if "Invalid/incorrect password" in words:
        return AuthenticationError("SSH refused the password")
    return UnreachableError(f"SSH cannot connect: {last}")


def _send_password(call: Call) -> None:
    if call.password_pipe is None:
        return
    read, write = call.password_pipe
    os.close(read)
    with contextlib.suppress(BrokenPipeError), os.fdopen(write, "wb") as pipe:
        pipe.write(call.password.encode() + b"\n")


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """One process, and one thread of it, at a time."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
