"""FAULTS 1: an address or a name that would make Git run a program is refused before Git starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.errors import PermanentError
from gitops.source.git import Clone, check_ref, check_url


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com/ops/shop.git",
        "https://ann@git.example.com:8443/ops/shop.git",
        "http://198.18.0.1/shop",
        "ssh://git@git.example.com:2222/ops/shop.git",
        "ssh://git@[::1]:2222/shop.git",
        "git@git.example.com:ops/shop.git",
        "git.example.com:ops/shop.git",
        "git@[::1]:ops/shop.git",
        "git://127.0.0.1:9418/shop.git",
        "file:///srv/git/shop.git",
    ],
)
def test_an_ordinary_address_is_taken_as_it_is(url: str) -> None:
    assert check_url(url) == url


def test_a_path_on_this_machine_is_a_file_address() -> None:
    assert check_url("/srv/git/shop.git") == "file:///srv/git/shop.git"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "http::https://example.com/x",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=touch",
        "ssh://-oProxyCommand=touch/x",
        "ssh://git@-oProxyCommand=touch/x",
        "ssh://-oProxyCommand=touch@example.com/x",
        "ssh://%2doProxyCommand=touch/x",
        "-oProxyCommand=touch:x",
        "git@-oProxyCommand=touch:x",
        "-x@example.com:shop",
        "git@example.com:-x",
        "ssh://git@host;touch/x",
        "ssh://git@$(touch)/x",
        "git@`touch`:x",
        "ftp://example.com/x",
        "file://host/x",
        "https://example.com",
        "https:///x",
        "https://example.com:0/x",
        "https://example.com:port/x",
        "https://[::1/x",
        "relative/path",
        "https://example.com/a\nb",
        "https://example.com/a b",
        "\x00",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(PermanentError):
        check_url(url)


def test_a_password_is_refused_and_not_echoed() -> None:
    with pytest.raises(PermanentError, match="has a password") as refused:
        check_url("https://ann:hunter2@git.example.com/shop.git")
    assert "hunter2" not in str(refused.value)


def test_a_clone_refuses_the_address_before_anything_starts() -> None:
    with pytest.raises(PermanentError, match="names a program to run"):
        Clone(Path("/nowhere"), "ext::sh")


@pytest.mark.parametrize("ref", ["main", "v1.4.2", "release/2026-11", "refs/tags/v1", "feature/ünï", "a@b"])
def test_an_ordinary_name_is_taken(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        "", "-x", "--upload-pack=touch", "a/-x", "a b", "a\nb", "a..b", "a@{1}", "@", "a^", "a~1", "a:b",
        "a?b", "a*", "a[b", "a\\b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "\x7f",
        "x" * 256,
    ],
)  # fmt: skip
def test_a_name_that_git_could_take_for_more_is_refused(ref: str) -> None:
    with pytest.raises(PermanentError, match="not the name of a branch or tag"):
        check_ref(ref)
