"""A channel: everything that a controller does to a host goes through one of these."""

from __future__ import annotations

import json
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gitops.channel import hold, ssh
from gitops.channel.engine import About, Engine
from gitops.channel.facts import Facts, Settings, Socket, load_facts, parse, probe
from gitops.channel.failures import (
    DiskFullError,
    HostSetupError,
    LockHeldError,
    LockLostError,
    LoginShellError,
    SessionLimitError,
    UnreachableError,
)
from gitops.channel.faults import refusal
from gitops.channel.folder import VARIABLE
from gitops.channel.forwarding import why_closed
from gitops.channel.holder import Held, Owner, look, owner, take_over
from gitops.channel.local import LocalTransport
from gitops.channel.lock import Lock, Shared, held_elsewhere, lost, read_record, take
from gitops.channel.proxy import Proxy
from gitops.channel.reader import Asked, Question, Reader
from gitops.channel.relay import Relay, Relayed
from gitops.channel.resolve import records_folder, settings_for, transport_for
from gitops.channel.session import after, marking, new_mark, open_session, refused
from gitops.channel.slots import WAIT_S, take_slot
from gitops.channel.ssh import SshTransport
from gitops.channel.transport import Completed, OwningSocket, Transport, shell
from gitops.errors import GitopsError, Where

T = TypeVar("T")

CONNECT_S = 30.0
RUN_S = 30.0
SETTLE_S = 5.0  # for the connection of a playbook that has ended to end too
SETTLE_POLL_S = 0.05
KEEP_S = 0.3  # an idle connection to the engine that is a session, of which there are few
ENGINE, STATS, MASTER = ".e", ".s", ".m"  # what is appended to the control path

WRITE = r"""
set -e
path=$1 mode=$2 size=$3 new=$1.$$.new
trap 'rm -f "$new"' EXIT
mkdir -p "$(dirname "$path")"
(umask 077; cat > "$new")
[ "$(wc -c < "$new")" -eq "$size" ] || { echo 'the connection broke in the middle of a file' >&2; exit 1; }
chmod "$mode" "$new"
if cmp -s "$new" "$path"; then chmod "$mode" "$path"; echo same; else mv -f "$new" "$path"; echo changed; fi
"""
READ = '[ -e "$1" ] || exit 44; exec cat "$1"'
ABSENT = 44


class Channel:
    """The way to one host: commands, files, the engine, HAProxy, the lock. Safe to use from several threads.

    It connects when first used, and again when its connection has ended, except
    under the host's lock: whoever lost the lock may not act.
    """

    def __init__(self, name: str, transport: Transport, settings: Settings) -> None:
        """Nothing is opened. Use `open_channels` or `Channel.from_connection`.

        Args:
            name: the host's inventory name.
            transport: how it is reached.
            settings: what the inventory says beyond that.
        """
        self.name = name
        self._transport = transport
        self._settings = settings
        self._mutex = threading.RLock()
        self._bound = False  # to the connection that stands: it acts under a lock
        self._facts: Facts | None = None
        self._engine: Engine | None = None
        self._relay: Relay | None = None
        self._asked: Asked = Reader(self._open_shell)

    @classmethod
    def from_connection(
        cls, connection: Any, *, variables: Mapping[str, Any] | None = None, need_lock: bool = True
    ) -> Channel:
        """The channel of a playbook's task, from its connection plugin object.

        Args:
            connection: `self._connection` of an action plugin.
            variables: `task_vars`, for `inventory_hostname` and the `gitops_*` settings.
            need_lock: whether to insist that this playbook holds the host's lock.

        Raises:
            PermanentError: a connection that is neither ssh nor local.
            LockHeldError: another process of this machine holds the lock.
            LockLostError: `need_lock`, and this playbook does not hold it.
        """
        values = variables or {}
        name = str(values.get("inventory_hostname") or ssh.address(connection))
        channel = cls(
            name,
            transport_for(name, connection, records_folder()),
            settings_for(values, connection.become is not None),
        )
        channel._insist(need_lock)
        return channel

    @classmethod
    def over(cls, name: str, way: Mapping[str, Any], *, need_lock: bool = True) -> Channel:
        """The channel of a host over the connection that stands; it never connects anew.

        Args:
            name: the host's inventory name.
            way: what `way` of the channel that connected it has said.
            need_lock: whether to insist that this process or an ancestor holds the host's lock.

        Raises:
            LockHeldError: another process of this machine holds the lock.
            LockLostError: `need_lock`, and it is not held.
        """
        place = str(way["place"])
        transport = LocalTransport(Path(place)) if way["kind"] == "local" else SshTransport(name, place)
        channel = cls(name, transport, Settings(**way["settings"]))
        if "relay" in way:
            channel._asked = Relayed(str(way["relay"]), transport.record, transport.carrier)
        channel._insist(need_lock)
        return channel

    def relayed(self, relay: Relay) -> None:
        """From now on `way` lets other processes use this channel's shell instead of one of their own."""
        self._relay = relay

    def way(self) -> dict[str, Any]:
        """How another process of this machine finds this channel's connection; plain data for `over`."""
        record = Path(self._transport.record)
        ssh_kind = isinstance(self._transport, SshTransport)
        place = record.with_suffix("") if ssh_kind else record.parent
        found = {
            "kind": "ssh" if ssh_kind else "local",
            "place": str(place),
            "settings": asdict(self._settings),
        }
        if self._relay is not None and ssh_kind:
            found["relay"] = self._relay.serve(self._transport.record, self.answer)
        return found

    def _insist(self, need_lock: bool) -> None:
        """Refuses to act beside whoever holds the lock, or without it."""
        record = read_record(self._transport.record)
        if record is not None and record.alive and not record.ours:
            raise held_elsewhere(record, self.name)
        if need_lock and (record is None or not record.ours or record.carrier != self._transport.carrier()):
            raise lost(self.name)
        self._bound = need_lock

    # --- the connection ---

    @property
    def facts(self) -> Facts:
        """What the host is; connects if need be."""
        with self._mutex:
            return self._facts or self.connect()

    def connect(self) -> Facts:
        """Connects, unless a connection stands, and learns what the host is.

        Raises:
            UnreachableError: the host does not answer.
            HostKeyError: its key is unknown or has changed.
            AuthenticationError: it refused the user.
            LockLostError: the connection ended under the lock.
        """
        with self._mutex:
            saved = self._saved()
            if saved is not None:
                self._facts = saved
                return saved
            if self.fenced and not self._transport.standing():
                raise lost(self.name)
            self._forget()
            self._about_path.unlink(missing_ok=True)
            found = parse(self._first_script().decode(errors="replace"))
            if self._settings.become and not found.sudo:
                raise HostSetupError(
                    f"the user {found.user} may not use sudo without a password",
                    hint="allow it in sudoers, or put the user in the engine's group, without ansible_become",
                    where=Where(host=self.name),
                )
            for suffix, place in ((ENGINE, found.engine), (STATS, found.stats), (MASTER, found.master)):
                if place.path and place.direct:
                    self._transport.forward(suffix, place.path)
            if isinstance(self._transport, SshTransport):
                _save(self._facts_path, found.dump())
            self._facts = found
            return found

    def _first_script(self) -> bytes:
        """Connects, and returns what the script that looks the host over has printed."""
        script, args = probe(self._settings)
        mark = new_mark()
        done = self._transport.start(shell(marking(script, mark), args), CONNECT_S)
        try:
            answer = after(done.stdout, mark)
        except LoginShellError as error:
            self._transport.close()
            # Some say why by their errors alone.
            problem = error if done.stdout.strip() else refused(done.stderr)
            problem.where = Where(host=self.name)
            raise problem from None
        if done.code != 0:
            raise HostSetupError(f"the host's shell failed: {done.words}", where=Where(host=self.name))
        return answer

    def refresh(self) -> Facts:
        """Learns again what the host is, as after an engine or HAProxy was started there."""
        with self._mutex:
            if not self.fenced:
                self._facts_path.unlink(missing_ok=True)
                self._facts = None
            return self.connect()

    @property
    def standing(self) -> bool:
        """Whether a connection stands; the host itself is not asked."""
        return self._transport.standing()

    @property
    def fenced(self) -> bool:
        """Whether this channel acts under the host's lock, also one that was lost: then nothing reconnects.

        A playbook's task does even where nobody is left to say so: who held the lock may have been killed.
        """
        record = read_record(self._transport.record)
        return self._bound or (record is not None and record.ours)

    def close(self) -> None:
        """Ends the connection and whatever goes over it."""
        with self._mutex:
            self._forget()
            self._facts_path.unlink(missing_ok=True)
            self._about_path.unlink(missing_ok=True)
            self._transport.close()

    # --- commands and files ---

    def run(
        self,
        script: str | Sequence[str],
        *,
        args: Sequence[str] = (),
        stdin: bytes = b"",
        timeout_s: float = RUN_S,
        become: bool | None = None,
    ) -> Completed:
        """Runs a POSIX shell script, or a program with its arguments, on the host.

        One at a time: all go to one shell, which stays. Where the connection has ended meanwhile it is
        run anew over another one: it must bear to be run twice.

        Args:
            script: the script, or a list of words that no shell interprets.
            args: the script's `$1`, `$2` and so on.
            stdin: its standard input.
            timeout_s: seconds until it must have ended.
            become: False for the user who logs in, also where all else goes through sudo.

        Returns:
            Exit code and output, also of a command that failed.
        """
        text = script if isinstance(script, str) else f"exec {shlex.join(script)}"
        as_user = become is False and self._sudo
        return self._put(Question(text, tuple(args), stdin, timeout_s, as_user))

    def ask(
        self, script: str, *, args: Sequence[str] = (), text: str = "", timeout_s: float = RUN_S
    ) -> Completed:
        """As `run`, with a text as its standard input."""
        return self.run(script, args=args, stdin=text.encode(), timeout_s=timeout_s)

    def answer(self, question: Question, carrier: int) -> Completed:
        """What `run` does for another process of this controller, over the connection that it means.

        Raises:
            LockLostError: that connection has ended.
        """
        if self._transport.carrier() != carrier:
            raise lost(self.name)
        return self._asked.ask(question)

    def sessions_allowed(self, wanted: int) -> int:
        """How many sessions sshd allows the connection at a time, up to those wanted: tries it.

        The shell that answers questions is one of them.
        """
        self.run("true")
        if not isinstance(self._transport, SshTransport):
            return wanted
        with ExitStack() as ending:
            for opened in range(1, wanted):
                try:
                    link = self._transport.pipe(shell("exec cat"), RUN_S)
                except SessionLimitError:
                    return opened
                ending.callback(link.close)
        return wanted

    def _put(self, question: Question) -> Completed:
        return self._again(lambda: self._asked.ask(question))

    def _open_shell(self) -> tuple[socket.socket, socket.socket]:
        def command(mark: str) -> str:
            return shell(marking("exec sh", mark, errors=True), sudo=self._sudo)

        link, errors = self._opened(command, errors=True)
        if errors is None:
            raise UnreachableError("the shell has no errors to read")  # cannot be: it was asked for
        return link, errors

    def _opened(
        self, command: Callable[[str], str], *, errors: bool = False, timeout_s: float = RUN_S
    ) -> tuple[OwningSocket, socket.socket | None]:
        try:
            return open_session(self._transport, command, timeout_s, errors=errors)
        except GitopsError as error:
            error.where = error.where or Where(host=self.name)
            raise

    def write(self, path: str, content: bytes, *, mode: str = "0644", become: bool | None = None) -> bool:
        """Writes a file atomically, its folder too; whether it changed.

        Raises:
            DiskFullError: the host has no space left.
            HostSetupError: the host refuses.
        """
        done = self.run(WRITE, args=(path, mode, str(len(content))), stdin=content, become=become)
        if done.code != 0:
            refused = refusal(f"cannot write {path}: {done.words}", where=Where(host=self.name))
            full = isinstance(refused, DiskFullError)
            raise refused if full else HostSetupError(refused.message, where=refused.where)
        return done.stdout.strip() == b"changed"

    def read(self, path: str, *, become: bool | None = None) -> bytes | None:
        """A file's content, or None where there is none.

        Raises:
            HostSetupError: the host refuses.
        """
        done = self.run(READ, args=(path,), become=become)
        if done.code == ABSENT:
            return None
        if done.code != 0:
            raise HostSetupError(f"cannot read {path}: {done.words}", where=Where(host=self.name))
        return done.stdout

    # --- the engine and HAProxy ---

    def engine(self) -> Engine:
        """The host's container engine.

        Raises:
            HostSetupError: it has none, or the user may not use it.
        """
        with self._mutex:
            if self._engine is None:
                if not self.facts.engine.path:
                    raise HostSetupError(
                        "no container engine was found",
                        hint="start docker or podman, run gitops bootstrap, or set gitops_engine_socket",
                        where=Where(host=self.name),
                    )
                connect = partial(self._dial, ENGINE, lambda known: known.engine)
                self._engine = Engine(
                    connect,
                    host=self.name,
                    about=_load(self._about_path),
                    learned=self._remember,
                    explain=lambda: self._why_closed(self.facts.engine),
                    keep_s=None if self.facts.engine.direct else KEEP_S,
                )
            return self._engine

    def proxy(self) -> Proxy:
        """The host's HAProxy."""
        stats = partial(self._dial, STATS, lambda known: known.stats)
        master = partial(self._dial, MASTER, lambda known: known.master)
        return Proxy(stats, master, lambda: self._why_closed(self.facts.stats, certain=True))

    def _why_closed(self, place: Socket, *, certain: bool = False) -> GitopsError | None:
        """Why a socket of the host that this one forwards is closed at once, where that can be told."""
        if not place.direct or not isinstance(self._transport, SshTransport):
            return None
        with suppress(GitopsError):
            return why_closed(self._put, place.path, self.name, certain=certain)
        return None

    def _dial(self, suffix: str, which: Callable[[Facts], Socket], timeout_s: float) -> socket.socket:
        place = which(self.facts)
        if not place.path:
            raise HostSetupError(
                "no socket of HAProxy was found" if suffix != ENGINE else "no container engine was found",
                hint="run gitops bootstrap, or set gitops_haproxy_socket and gitops_haproxy_master",
                where=Where(host=self.name),
            )
        if place.direct:
            return self._again(lambda: self._transport.dial(suffix, place.path, timeout_s))
        if not self._settings.become:
            raise HostSetupError(
                f"the user {self.facts.user} may not open {place.path}",
                hint="run gitops bootstrap, which adds the user to the socket's group, or set ansible_become",
                where=Where(host=self.name),
            )
        script = f"exec {_stdio(self.facts.programs, place.path, engine=suffix == ENGINE)}"

        def command(mark: str) -> str:
            return shell(marking(script, mark), sudo=True)

        return self._again(lambda: self._in_slot(command, timeout_s))

    def _in_slot(self, command: Callable[[str], str], timeout_s: float) -> socket.socket:
        """A session that carries a socket; there are at most so many of them at a time."""
        deadline = time.monotonic() + WAIT_S
        slot = take_slot(self._transport.record, wait_s=WAIT_S)
        with ExitStack() as undo:
            undo.callback(os.close, slot)
            link = self._when_allowed(lambda: self._opened(command, timeout_s=timeout_s)[0], deadline)
            link.also(lambda: os.close(slot))
            undo.pop_all()
        return link

    def _when_allowed(self, action: Callable[[], T], deadline: float) -> T:
        """Opens a session as soon as sshd allows one more: those that carry an engine end by and by."""
        while True:
            try:
                return action()
            except SessionLimitError:
                if time.monotonic() > deadline:
                    raise

    # --- the lock ---

    def lock(self, name: str) -> Lock:
        """Takes the host's lock for this process and everything that it starts.

        Args:
            name: who takes it, shown to whoever is refused.

        Raises:
            LockHeldError: naming who holds it and since when.
            HostSetupError: the host lacks the folder or flock.
        """
        with self._mutex:
            self._ready_to_lock()
            record = read_record(self._transport.record)
            if record is not None and record.pid == os.getpid() and record.alive:
                return Shared(self._transport, record.owner)
            is_ssh = isinstance(self._transport, SshTransport)
            sudo = self._sudo
            return take(self._transport, self.name, owner(name), os.getpid(), ssh=is_ssh, sudo=sudo)

    def lock_for(self, process: int, name: str) -> bool:
        """Takes the host's lock for another process, which this one is a worker of, until that one ends.

        Returns:
            Whether it was taken: False where an ancestor of this process holds it already.

        Raises:
            LockHeldError: naming who holds it and since when.
            LockLostError: a controller planned what is done here under a lock that it does not hold any more.
            HostSetupError: the host lacks the folder or flock.
        """
        record = read_record(self._transport.record)
        if record is not None and record.ours:
            return False
        if VARIABLE in os.environ:
            raise lost(self.name)
        deadline = time.monotonic() + SETTLE_S
        while True:
            try:
                self._hold(process, owner(name, process))
            except (LockHeldError, LockLostError, UnreachableError):
                # A playbook that has just ended takes its connection with it, a moment later.
                if record is None or record.alive or time.monotonic() > deadline:
                    raise
                time.sleep(SETTLE_POLL_S)
            else:
                return True

    def _hold(self, process: int, who: Owner) -> None:
        with self._mutex:
            self._ready_to_lock()
            way = self.way()
            hold.start(self.name, way["kind"], way["place"], who, process, sudo=self._sudo)

    def holder(self) -> Held:
        """Whether somebody holds the host's lock, and who.

        Raises:
            HostSetupError: the lock cannot be looked at.
        """
        return look(self._put, self.name)

    def take_over(self) -> Held:
        """Ends the connection of whoever holds the host's lock, and with it the lock and every means to act.

        Returns:
            The lock as it was: whose connection was ended, or that it was free.

        Raises:
            LockHeldError: it could not be ended.
        """
        return take_over(self._put, self.name)

    def _ready_to_lock(self) -> None:
        """A connection that stands, and no record in the way but one of a process that has died."""
        record = read_record(self._transport.record)
        if record is not None and record.alive:
            if not record.ours:
                raise held_elsewhere(record, self.name)
            if not self._transport.standing():
                Path(self._transport.record).unlink(missing_ok=True)  # our own, lost: this is the way back
        self.connect()

    # --- inside ---

    @property
    def _sudo(self) -> bool:
        """Whether commands go through sudo; root needs none, and may have none."""
        return self._settings.become and self.facts.user != "root"

    def _again(self, action: Callable[[], T]) -> T:
        """Runs an action; where the connection has ended, connects once more and repeats it."""
        _ = self.facts
        try:
            return action()
        except UnreachableError:
            if self._transport.standing():
                raise
        with self._mutex:
            if not self._transport.standing():
                self._facts = None
                self.connect()
        return action()

    def _saved(self) -> Facts | None:
        """The facts that whoever made the standing connection wrote down."""
        if not self._transport.standing():
            return None
        if self._facts is not None:
            return self._facts
        if not isinstance(self._transport, SshTransport):
            return None
        try:
            return load_facts(self._facts_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, about: About) -> None:
        """Tells a playbook's workers what engine it is, so that they need not ask."""
        if isinstance(self._transport, SshTransport):
            _save(self._about_path, json.dumps(asdict(about)))

    @property
    def _facts_path(self) -> Path:
        return Path(self._transport.record).with_suffix(".facts")

    @property
    def _about_path(self) -> Path:
        return Path(self._transport.record).with_suffix(".about")

    def _forget(self) -> None:
        self._asked.close()
        if self._engine is not None:
            self._engine.close()  # it stays usable: whoever has it goes on over the next connection
        self._facts = None


def _stdio(programs: Sequence[str], path: str, *, engine: bool) -> str:
    """The command that joins its standard input and output to a socket."""
    quoted = shlex.quote(path)
    if engine and "podman" in path and "podman" in programs:
        return f"podman --url unix://{quoted} system dial-stdio"
    if engine and "docker" in programs:
        return f"docker --host unix://{quoted} system dial-stdio"
    return f"socat -t 3600 STDIO UNIX-CONNECT:{quoted}"


def _save(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")  # workers save side by side
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _load(path: Path) -> About | None:
    try:
        return About(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
