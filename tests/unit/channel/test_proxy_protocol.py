"""HAProxy's client: what it sends, and what it makes of the answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from gitops.channel.failures import ProxyError, UnreachableError
from gitops.channel.proxy import Proxy, Stat


class Runtime:
    """Answers one command a connection, as HAProxy does, from a table."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.seen: list[str] = []
        self._threads: list[threading.Thread] = []

    def connect(self, timeout_s: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout_s)
        self._threads.append(threading.Thread(target=self._answer, args=(theirs,)))
        self._threads[-1].start()
        return ours

    def _answer(self, link: socket.socket) -> None:
        with link, link.makefile("r") as commands:
            command = commands.read().rstrip("\n")  # to the half-close
            self.seen.append(command)
            link.sendall(self.answers.get(command, "").encode() + b"\n")

    def close(self) -> None:
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    running = Runtime()
    yield running
    running.close()


@pytest.fixture
def proxy(runtime: Runtime) -> Proxy:
    return Proxy(runtime.connect, runtime.connect)


@pytest.mark.parametrize("text", ["show info; disable server a/b", "show info\nshow stat", "x\ry", "a\0b"])
def test_more_than_one_command_is_refused_before_it_is_sent(
    proxy: Proxy, runtime: Runtime, text: str
) -> None:
    with pytest.raises(ProxyError, match="not one command"):
        proxy.command(text)
    assert runtime.seen == []


def test_counters(proxy: Proxy, runtime: Runtime) -> None:
    runtime.answers["show stat"] = (
        "# pxname,svname,qcur,scur,stot,status,check_status,hrsp_2xx,hrsp_5xx,addr,weight,uweight,"
        "econ,eresp,wretr,wredis,rtime,\n"
        "http,FRONTEND,,2,9,OPEN,,,1,,,,,,,,,\n"
        "shop.web.80,shop-web-1,0,1,7,UP,* L7OK,4,3,198.18.0.1:20000,1,0,1,2,9,4,12,\n"
    )
    frontend, server = proxy.stats()
    assert not frontend.server
    place = ("shop.web.80", "shop-web-1", "198.18.0.1:20000")
    assert server == Stat(*place, "UP", "L7OK", 1, 0, 7, 3, weight=0, answers=7, failures=7, mean_ms=12.0)
    assert server.server


def test_a_server_is_added_checked_and_enabled(proxy: Proxy, runtime: Runtime) -> None:
    runtime.answers["add server b/s 198.18.0.1:20000 check"] = "New server registered."
    proxy.add_server("b", "s", "198.18.0.1:20000 check")
    assert runtime.seen[1:] == ["enable health b/s", "enable server b/s"]


def test_a_refusal_has_haproxys_words(proxy: Proxy, runtime: Runtime) -> None:
    runtime.answers["add server b/s 198.18.0.1:1"] = "Backend must use a dynamic load balancing"
    with pytest.raises(ProxyError, match="must use a dynamic"):
        proxy.add_server("b", "s", "198.18.0.1:1")
    runtime.answers["del server b/s"] = "Server still has connections attached to it, cannot remove it."
    with pytest.raises(ProxyError, match="still has connections"):
        proxy.delete_server("b", "s")


def test_names_are_checked(proxy: Proxy, runtime: Runtime) -> None:
    with pytest.raises(ProxyError, match="not a server's name"):
        proxy.set_state("b", "s state ready", "drain")
    assert runtime.seen == []


def test_the_names_of_a_backends_servers(proxy: Proxy, runtime: Runtime) -> None:
    runtime.answers["show servers state b"] = (
        "1\n# be_id be_name srv_id srv_name srv_addr\n4 b 1 one 198.18.0.1\n4 b 2 two -"
    )
    assert proxy.servers("b") == ["one", "two"]


def test_processes(proxy: Proxy, runtime: Runtime) -> None:
    runtime.answers["show proc"] = (
        "#<PID> <type> <reloads> <uptime> <version>\n"
        "72 master 3 [failed: 1] 0d00h07m47s 2.6.12\n"
        "# workers\n147 worker 1 0d00h06m34s 2.6.12\n"
        "# old workers\n99 worker 2 0d00h08m34s 2.6.12\n# programs\n"
    )
    master, worker, old = proxy.processes()
    assert (master.kind, master.reloads, master.failed) == ("master", 3, 1)
    assert (worker.pid, worker.old) == (147, False)
    assert (old.pid, old.old) == (99, True)


def test_silence_of_a_question_means_that_it_does_not_run(proxy: Proxy) -> None:
    with pytest.raises(UnreachableError, match="no answer"):
        proxy.stats()
