"""HAProxy's runtime: its stats socket (level admin) and the socket of its master process."""

from __future__ import annotations

import contextlib
import csv
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gitops.channel.failures import ChannelTimeoutError, ProxyError, UnreachableError
from gitops.errors import GitopsError

Connect = Callable[[float], socket.socket]
"""Opens a connection; its argument is the timeout in seconds."""

TIMEOUT_S = 10.0
POLL_S = 0.02
ASKED_AGAIN = 3  # times
FORBIDDEN = re.compile(r"[\n\r;\x00]")  # would begin a second command
FAILED = re.compile(r"\[failed: (\d+)\]")
BACKEND = re.compile(r"[A-Za-z0-9_.:-]+")
NAME = re.compile(r"[A-Za-z0-9_.:-]+/[A-Za-z0-9_.:-]+")
_BACKENDS_AND_SERVERS = 2 + 4  # of `show stat`
_ANSWERS = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


@dataclass(frozen=True)
class Stat:
    """One line of `show stat`: a frontend, a backend or a server."""

    proxy: str
    name: str  # FRONTEND, BACKEND, or the server's
    address: str
    status: str
    check: str
    sessions: int  # current
    queued: int
    requests: int  # total
    errors_5xx: int  # total
    weight: int = 1  # as configured or set; what it takes
    answers: int = 0  # total, of all status codes; 0 of TCP
    failures: int = 0  # total: connections and answers that failed, also where another server then answered
    mean_ms: float = 0.0  # of the last 1,024 answers; 0 of TCP

    @property
    def server(self) -> bool:
        """Whether it is a server."""
        return self.name not in {"FRONTEND", "BACKEND"}


@dataclass(frozen=True)
class Look:
    """What a HAProxy answered at one moment, all of it by one connection to one worker.

    Attributes:
        pid: of the worker.
        description: of the file that it has loaded.
        stats: every frontend, backend and server.
        entries: of the maps that were asked for, all together.
    """

    pid: int
    description: str
    stats: tuple[Stat, ...]
    entries: Mapping[str, str]

    @property
    def sections(self) -> frozenset[str]:
        """`frontend NAME` and `backend NAME` of each that it has."""
        return frozenset(f"{each.name.lower()} {each.proxy}" for each in self.stats if not each.server)


@dataclass(frozen=True)
class Process:
    """One process of `show proc`."""

    pid: int
    kind: str  # master, worker
    reloads: int  # of a master: tried so far; of a worker: outlived
    old: bool  # a worker left over from before a reload
    failed: int = 0  # of a master: reloads that have failed since the last good one


class Proxy:
    """One HAProxy. Each command is a connection of its own."""

    def __init__(
        self, stats: Connect, master: Connect, explain: Callable[[], GitopsError | None] = lambda: None
    ) -> None:
        """Nothing is opened.

        Args:
            stats: opens the stats socket.
            master: opens the master's socket.
            explain: says why the stats socket is not forwarded, or nothing.
        """
        self._explain = explain
        self._stats = stats
        self._master = master

    def command(self, text: str, *, timeout_s: float = TIMEOUT_S) -> str:
        """One command at the stats socket, and HAProxy's answer without the white space around it."""
        return _ask(self._stats, text, timeout_s)

    def stats(self) -> list[Stat]:
        """Every frontend, backend and server.

        Raises:
            ForwardingRefusedError: sshd does not forward the socket.
        """
        try:
            return _stats(self.command("show stat"))
        except UnreachableError as error:
            raise self._explain() or error from error

    def backend_stats(self, backend: str) -> list[Stat]:
        """One backend and its servers; none where there is no such backend."""
        if not BACKEND.fullmatch(backend):
            raise ProxyError(f"not a backend's name: {backend!r}")
        answer = self.command(f"show stat {backend} {_BACKENDS_AND_SERVERS} -1")
        return _stats(answer) if answer.startswith("# ") else []

    def worker_stats(self, pid: int) -> list[Stat]:
        """The same of one worker, such as an old one that still has connections; asked through the master."""
        return _stats(_ask(self._master, f"@!{pid} show stat", TIMEOUT_S))

    def info(self) -> dict[str, str]:
        """`show info`: version, uptime, process id and so on."""
        return _pairs(self.command("show info"))

    def look(self, *maps: str) -> Look:
        """Everything that it runs, and the entries of these maps; a map that it does not have has none.

        Raises:
            ProxyError: the answer is not whole.
            ForwardingRefusedError: sshd does not forward the socket.
        """
        # What is asked last is short and always there: an answer that broke off lacks it.
        questions = ["show stat", *(f"show map {path}" for path in maps), "show info"]
        try:
            answer = _ask(self._stats, questions, TIMEOUT_S)
        except UnreachableError as error:
            raise self._explain() or error from error
        table, _, rest = answer.partition("\n\n")
        info = _pairs(rest)
        if not table.startswith("# ") or "Pid" not in info:
            raise ProxyError("HAProxy's answer broke off")
        return Look(int(info["Pid"]), info.get("description", ""), tuple(_stats(table)), _entries(rest))

    def set_map(self, path: str, key: str, value: str) -> None:
        """Gives a key of a map another value; one that it does not have is added."""
        there = key in _entries(self.command(f"show map {path}"))
        self._expect(f"{'set' if there else 'add'} map {path} {key} {value}")

    def delete_map(self, path: str, key: str) -> None:
        """Takes a key out of a map."""
        self._expect(f"del map {path} {key}")

    def pid(self) -> int:
        """The process id of the worker that answers at the stats socket."""
        return int(self.info().get("Pid", 0))

    def servers(self, backend: str) -> list[str]:
        """The names of a backend's servers as HAProxy has them now."""
        lines = self.command(f"show servers state {backend}").splitlines()
        # "1", "# be_id be_name srv_id srv_name ...", then a line a server
        return [line.split()[3] for line in lines[2:] if line.strip()]

    def add_server(self, backend: str, server: str, options: str) -> None:
        """Adds a server and puts it in service; `options` as in a server line: address first."""
        place = _place(backend, server)
        self._expect(f"add server {place} {options}", "New server registered.")
        if " check" in f" {options}":
            self._expect(f"enable health {place}")
        self._expect(f"enable server {place}")

    def delete_server(self, backend: str, server: str) -> None:
        """Removes a server that has no session left; it is put in maintenance first."""
        place = _place(backend, server)
        self._expect(f"set server {place} state maint")
        self._expect(f"del server {place}", "Server deleted.")

    def set_state(self, backend: str, server: str, state: Literal["ready", "drain", "maint"]) -> None:
        """Changes a server's administrative state."""
        self._expect(f"set server {_place(backend, server)} state {state}")

    def set_weight(self, backend: str, server: str, weight: str) -> None:
        """Changes a server's weight: a number, or a share of its first one such as `50%`."""
        self._expect(f"set weight {_place(backend, server)} {weight}")

    def processes(self) -> list[Process]:
        """The master and its workers, old ones too."""
        found = []
        old = False
        for line in _ask(self._master, "show proc", TIMEOUT_S).splitlines():
            if line.startswith("#"):
                old = old or "old workers" in line
                continue
            words = line.split()
            if len(words) >= 3 and words[0].isdigit() and words[1] in {"master", "worker"}:  # noqa: PLR2004 - pid, kind, reloads
                failed = FAILED.search(line)
                counts = int(words[2]), old, int(failed.group(1)) if failed else 0
                found.append(Process(int(words[0]), words[1], *counts))
        return found

    def reload(self, *, timeout_s: float = 30.0) -> None:
        """Makes the master read its file again, and waits until a new worker answers.

        Raises:
            ProxyError: the master kept the old worker: its file is not valid.
            ChannelTimeoutError: no new worker in time.
        """
        before = self.processes()
        deadline = time.monotonic() + timeout_s
        said = _ask(self._master, "reload", timeout_s, silence_is_fine=True)
        while True:
            # The master executes itself anew: its sockets are away for a moment.
            with contextlib.suppress(UnreachableError):
                after = self.processes()
                if _reloads(after) != _reloads(before) and any(process.failed for process in after):
                    raise ProxyError(f"HAProxy kept its old worker: {said or 'its file is not valid'}")
                # The answer of the stats socket says which worker has taken it over.
                if (new := _workers(after)) and not new & _workers(before) and self.pid() in new:
                    return
            if time.monotonic() > deadline:
                raise ChannelTimeoutError("HAProxy did not start a new worker in time", hint="read its log")
            time.sleep(POLL_S)

    def _expect(self, command: str, answer: str = "") -> None:
        """A command whose success is silent, or has the given words."""
        said = self.command(command)
        if said != answer:
            raise ProxyError(f"HAProxy refused `{command}`: {said}")


def _ask(
    connect: Connect, said: str | Sequence[str], timeout_s: float, *, silence_is_fine: bool = False
) -> str:
    """One command, or several questions; what met a reload, which takes the sockets away, is asked again."""
    commands = [said] if isinstance(said, str) else said
    for text in commands:
        if FORBIDDEN.search(text):
            raise ProxyError(f"not one command for HAProxy: {text!r}")
    text = ";".join(commands)
    for _ in range(ASKED_AGAIN if text.startswith("show ") else 0):
        with contextlib.suppress(UnreachableError):
            return _ask_once(connect, text, timeout_s)
        time.sleep(POLL_S)
    return _ask_once(connect, text, timeout_s, silence_is_fine=silence_is_fine)


def _ask_once(connect: Connect, text: str, timeout_s: float, *, silence_is_fine: bool = False) -> str:
    answer = b""
    try:
        with connect(timeout_s) as link:
            link.sendall(text.encode() + b"\n")
            link.shutdown(socket.SHUT_WR)  # the master's socket answers nothing before
            while part := link.recv(65536):
                answer += part
    except TimeoutError as error:
        raise ChannelTimeoutError(f"HAProxy does not answer `{text}`") from error
    except OSError as error:
        if not silence_is_fine:
            raise UnreachableError(f"HAProxy's socket broke: {error.strerror or error}") from error
    said = answer.decode(errors="replace").strip()
    silent = not answer if text.startswith("show map ") else not said  # an empty map is an empty line
    if silent and text.startswith("show "):
        raise UnreachableError("HAProxy's socket gives no answer", hint="is HAProxy running on the host?")
    if said.startswith(("Unknown command", "Permission denied")):
        raise ProxyError(f"HAProxy refused `{text}`: {said.splitlines()[0]}")
    return said


def _workers(processes: list[Process]) -> set[int]:
    return {process.pid for process in processes if process.kind == "worker" and not process.old}


def _reloads(processes: list[Process]) -> list[int]:
    return [process.reloads for process in processes if process.kind == "master"]


def _place(backend: str, server: str) -> str:
    place = f"{backend}/{server}"
    if not NAME.fullmatch(place):
        raise ProxyError(f"not a server's name: {place!r}")
    return place


def _pairs(answer: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)


def _entries(answer: str) -> dict[str, str]:
    """The lines `0xADDRESS KEY VALUE` of a map; of a key that is there twice the first, as in a look-up."""
    found: dict[str, str] = {}
    for line in answer.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith("0x"):  # noqa: PLR2004 - address, key, value
            found.setdefault(words[1], words[2])
    return found


def _stats(answer: str) -> list[Stat]:
    return [_stat(row) for row in csv.DictReader(answer.removeprefix("# ").splitlines())]


def _stat(row: dict[str, str]) -> Stat:
    return Stat(
        proxy=row["pxname"],
        name=row["svname"],
        address=row.get("addr") or "",
        status=row.get("status") or "",
        check=(row.get("check_status") or "").removeprefix("* "),
        sessions=int(row.get("scur") or 0),
        queued=int(row.get("qcur") or 0),
        requests=int(row.get("stot") or 0),
        errors_5xx=int(row.get("hrsp_5xx") or 0),
        weight=int(row.get("uweight") or row.get("weight") or 1),
        answers=sum(int(row.get(f"hrsp_{kind}") or 0) for kind in _ANSWERS),
        failures=sum(int(row.get(key) or 0) for key in ("econ", "eresp", "wredis")),
        mean_ms=float(row.get("rtime") or 0),
    )
