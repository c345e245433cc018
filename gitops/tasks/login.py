"""Credentials of image registries, as `docker login` keeps them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from gitops.channel import Channel
from gitops.model.image import HUB, parse
from gitops.model.secret import Secret

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", HUB)  # what `docker login` calls it
_READ = 'cat "${DOCKER_CONFIG:-$HOME/.docker}/config.json"'


@dataclass(frozen=True)
class Login:
    """Who we are to one registry."""

    username: str
    password: Secret

    def header(self, registry: str) -> dict[str, str]:
        """What the engine is told, for the one call."""
        return {
            "username": self.username,
            "password": self.password.reveal(),
            "serveraddress": _HUB_KEYS[0] if registry == HUB else registry,
        }


def login_in(content: bytes, registry: str) -> Login | None:
    """The login to a registry in a `config.json` of Docker's, or None: also where a helper keeps it."""
    try:
        auths: dict[str, Any] = json.loads(content)["auths"]
        keys = _HUB_KEYS if registry == HUB else (registry, f"https://{registry}", f"https://{registry}/v2/")
        entry = next(auths[key] for key in keys if key in auths)
        username, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (ValueError, KeyError, TypeError, StopIteration):
        return None
    return Login(username, Secret(password)) if colon else None


def own_login(channel: Channel, reference: str) -> Login | None:
    """The login of the host's own user to an image's registry: an engine's API uses none by itself."""
    done = channel.run(_READ, become=False)
    return login_in(done.stdout, parse(reference).registry) if done.code == 0 else None
