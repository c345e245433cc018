"""Which failures are a host's: by the words that engines of several versions have for them."""

from __future__ import annotations

import pytest

from gitops.channel.failures import (
    ChannelTimeoutError,
    DiskFullError,
    EngineBrokenError,
    EngineError,
    EngineHangsError,
    HostSetupError,
    LockLostError,
    NotFoundError,
    PoolExhaustedError,
    PortTakenError,
    ProxyError,
    UnreachableError,
)
from gitops.channel.faults import fault_of, named_ports, refusal

TAKEN = "driver failed programming external connectivity on endpoint web (f00): "


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"{TAKEN}Bind for 0.0.0.0:20000 failed: port is already allocated", PortTakenError),
        (
            f"{TAKEN}Error starting userland proxy: listen tcp4 0.0.0.0:20000: bind: address already in use",
            PortTakenError,
        ),
        (
            "failed to bind host port for 0.0.0.0:20000:172.17.0.2:80/tcp: address already in use",
            PortTakenError,
        ),
        ("cannot listen on the TCP port: listen tcp4 :20000: bind: address already in use", PortTakenError),
        ("mkdir /var/lib/docker/overlay2/f00: no space left on device", DiskFullError),
        ("writing blob: storing blob to file: write /var/tmp/1: no space left on device", DiskFullError),
        ("mkdir: cannot create directory '/var/lib/gitops/shop': No space left on device", DiskFullError),
        (
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign",
            PoolExhaustedError,
        ),
        ("all predefined address pools have been fully subnetted", PoolExhaustedError),
        ("could not find free subnet from subnet pools", PoolExhaustedError),
        ("no available IPv4 addresses on this network's address pools: gitops-shop", PoolExhaustedError),
        ('OCI runtime create failed: exec: "/nope": no such file or directory', EngineError),
        ("No such image: shop/web:3", EngineError),
        ("Conflict. The container name is in use already: address book", EngineError),
    ],
)
def test_an_engine_s_refusal_has_the_type_that_its_words_mean(words: str, kind: type[EngineError]) -> None:
    found = refusal(words, status=500)
    assert type(found) is kind
    assert (found.message, found.status) == (words, 500)


def test_what_is_not_there_stays_so() -> None:
    assert type(refusal("No such container: web", status=404)) is NotFoundError


def test_the_type_says_whether_a_host_is_at_fault() -> None:
    assert fault_of(refusal("no space left on device")) == "disk"
    assert fault_of(PortTakenError("taken")) == "port"
    assert fault_of(PoolExhaustedError("none left")) == "pool"
    assert fault_of(EngineHangsError("no answer")) == fault_of(EngineBrokenError("broke")) == "engine"
    assert fault_of(LockLostError("lost")) == "lock"
    hosts = (UnreachableError("gone"), ChannelTimeoutError("late"), HostSetupError("no engine"))
    assert {fault_of(error) for error in hosts} == {"unreachable"}
    assert [fault_of(error) for error in (EngineError("no"), NotFoundError("no"), ProxyError("no"))] == [
        None
    ] * 3


def test_the_ports_that_a_refusal_names() -> None:
    words = "listen tcp4 0.0.0.0:20001: bind: address already in use"
    assert named_ports(words, (20000, 20001)) == (20001,)
    assert named_ports("address already in use", (20000, 20001)) == (20000, 20001)
    assert named_ports("container 1:20 on 10.0.0.1:2000", (20000,)) == (20000,)
