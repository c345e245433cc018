"""Who the controller is to image registries, as gitops.yaml says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from gitops.channel import Channel
from gitops.config import RegistrySettings
from gitops.errors import TransientError
from gitops.images.registry import LoginFor
from gitops.model.image import parse
from gitops.model.secret import Secret
from gitops.tasks.login import Login, login_in, own_login

Registries = Mapping[str, RegistrySettings]


def logins(registries: Registries) -> LoginFor:
    """A host's login to an image's registry: the one of gitops.yaml, else the host's own."""
    return partial(_login, registries)


def _login(registries: Registries, channel: Channel, reference: str) -> Login | None:
    return configured(registries, reference) or own_login(channel, reference)


def configured(registries: Registries, reference: str) -> Login | None:
    """The login that gitops.yaml has for an image's registry, or None.

    The file is read each time, so that a new password needs no restart.

    Raises:
        TransientError: the file cannot be read, or does not have it: not the commit's fault.
    """
    registry = parse(reference).registry
    settings = registries.get(registry)
    if settings is None:
        return None
    file = Path(settings.password_file or settings.auth_file)
    try:
        content = file.read_bytes()
        if settings.password_file:
            return Login(settings.username, Secret(content.decode().rstrip("\r\n")))
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TransientError(f"the login to {registry} cannot be read from {file}: {words}") from error
    login = login_in(content, registry)
    if login is None:
        hint = "a login that a credential helper keeps is not in the file: use username and password_file"
        raise TransientError(f"{file} has no login to {registry}", hint=hint)
    return login
