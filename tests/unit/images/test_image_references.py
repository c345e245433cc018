"""Image references and secrets: taken apart, made short, never shown."""

from __future__ import annotations

import base64
import json
import pickle

import pytest

from gitops.model.image import Reference, parse, short
from gitops.model.secret import Secret
from gitops.tasks.login import Login, login_in

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("redis", Reference("docker.io", "library/redis")),
        ("redis:7", Reference("docker.io", "library/redis", "7")),
        ("docker.io/library/redis:7", Reference("docker.io", "library/redis", "7")),
        ("ann/web:1", Reference("docker.io", "ann/web", "1")),
        ("localhost/web", Reference("localhost", "web")),
        ("host:5000/web", Reference("host:5000", "web")),
        ("reg.example.com/a/b:1", Reference("reg.example.com", "a/b", "1")),
        (f"host:5000/web:1@{DIGEST}", Reference("host:5000", "web", "1", DIGEST)),
        (f"redis@{DIGEST}", Reference("docker.io", "library/redis", "", DIGEST)),
    ],
)
def test_a_reference_is_what_engines_take_it_for(text: str, reference: Reference) -> None:
    assert parse(text) == reference


def test_a_digest_is_short_for_people() -> None:
    assert short(f"web:1@{DIGEST}") == "web:1@sha256:0123456789ab"
    assert short("web:1") == "web:1"


def test_a_secret_prints_as_stars_however_it_is_formatted() -> None:
    secret = Secret("hunter2")
    login = Login("ann", secret)
    texts = [str(secret), f"{secret}", f"{secret!r}", f"{[secret]}", repr(login), repr({1: login})]
    assert not [text for text in texts if "hunter2" in text]
    with pytest.raises(TypeError):
        pickle.dumps(login)
    assert secret.reveal() == "hunter2"


def test_a_login_is_found_as_docker_wrote_it() -> None:
    def auth(text: str) -> dict[str, str]:
        return {"auth": base64.b64encode(text.encode()).decode()}

    auths = {
        "https://index.docker.io/v1/": auth("ann:a:b"),
        "host:5000": auth("bob:secret"),
        "https://old.example.com/v2/": auth("carol:old"),
        "helper.example.com": {},
    }
    content = json.dumps({"auths": auths}).encode()
    hub = login_in(content, "docker.io")
    assert hub is not None
    assert hub.header("docker.io") == {
        "username": "ann",
        "password": "a:b",
        "serveraddress": "https://index.docker.io/v1/",
    }
    assert login_in(content, "host:5000") == Login("bob", Secret("secret"))
    assert login_in(content, "old.example.com") == Login("carol", Secret("old"))
    assert login_in(content, "helper.example.com") is None
    assert login_in(content, "host:5001") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"auths": []}', b'{"auths": {"r": 1}}', b'{"auths": {"r": {"auth": "/w=="}}}'],
)
def test_a_file_that_is_none_of_docker_s_holds_no_login(content: bytes) -> None:
    assert login_in(content, "r") is None
