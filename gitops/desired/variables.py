"""Which variables of an inventory are taken, and with which values.

Variables end up on ssh's command line. What an inventory from an application's
repo may say there is an allow-list: `ProxyCommand`, another ssh executable or a
local connection would run its author's commands on the controller.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from gitops.desired.problems import quoted
from gitops.errors import PermanentError

HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9])?")
_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+(?:%\w+)?\]?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,100}\$?")
_SECRET = re.compile(r"ansible_\w*(?:pass|password|passwd|passphrase)")
_REFERENCE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}", re.ASCII)
_TEMPLATE = ("{{", "{%", "{#")
_MAX_DEPTH = 20  # variables that refer to variables
_MAX_TEXT = 10_000  # characters of a value

_ADDRESSES = frozenset({"ansible_host", "ansible_ssh_host", "gitops_address"})
_USERS = frozenset({"ansible_user", "ansible_ssh_user", "ansible_become_user"})
_PORTS = frozenset({"ansible_port", "ansible_ssh_port"})
_SSH_OPTIONS = frozenset({"ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"})

_UNTRUSTED = (
    _ADDRESSES
    | _USERS
    | _PORTS
    | _SSH_OPTIONS
    | {
        "ansible_become",
        "ansible_become_exe",
        "ansible_become_flags",
        "ansible_become_method",
        "ansible_connection",
        "ansible_host_key_checking",
        "ansible_pipelining",
        "ansible_private_key_file",
        "ansible_python_interpreter",
        "ansible_remote_tmp",
        "ansible_shell_executable",
        "ansible_shell_type",
        "ansible_ssh_host_key_checking",
        "ansible_ssh_pipelining",
        "ansible_ssh_private_key_file",
        "ansible_ssh_retries",
        "ansible_ssh_timeout",
        "ansible_timeout",
    }
)
_HARMLESS = re.compile(
    r"(?:Compression|ConnectTimeout|ConnectionAttempts|IdentitiesOnly|IdentityFile|Port|ProxyJump"
    r"|ServerAliveCountMax|ServerAliveInterval|StrictHostKeyChecking|User|UserKnownHostsFile)"
    r"=(?P<value>[A-Za-z0-9_/~.\[][A-Za-z0-9_/~.,:@\[\]%+-]*)",
    re.IGNORECASE,
)


def is_secret(key: str) -> bool:
    """Whether a connection variable holds a password."""
    return _SECRET.fullmatch(key) is not None


def check_kept(key: str, value: object) -> None:
    """Checks a resolved variable of any inventory: nothing may pass for an option of ssh.

    Raises:
        PermanentError: the value is refused.
    """
    text = str(value)
    if key in _ADDRESSES and not _ADDRESS.fullmatch(text):
        raise PermanentError(f"{key}: {quoted(text)} is no address")
    if key in _USERS and not _USER.fullmatch(text):
        raise PermanentError(f"{key}: {quoted(text)} is no user name")
    if key in _PORTS and not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 65535):  # noqa: PLR2004 - the last port
        raise PermanentError(f"{key}: {quoted(text)} is no port")
    if "\n" in text or "\0" in text:
        raise PermanentError(f"{key}: a line break is not allowed")


def check_untrusted(key: str, value: object) -> None:
    """Checks a resolved variable of an inventory whose author may not run programs on the controller.

    Raises:
        PermanentError: the variable or its value is refused.
    """
    outside = "or keep the inventory outside the repo and name it by its absolute path"
    if key.startswith("gitops_"):
        return
    if key not in _UNTRUSTED:
        raise PermanentError(
            f"{key} is not taken from an inventory in a repo", hint=f"leave it out, {outside}"
        )
    if key == "ansible_connection" and value not in {"ssh", "smart"}:
        raise PermanentError(
            f"{key}: {quoted(str(value))} would act on the controller", hint=f"use ssh, {outside}"
        )
    if key.endswith("host_key_checking") and str(value).lower() not in {"true", "yes", "1"}:
        raise PermanentError(f"{key}: host keys are always checked", hint="leave it out")
    if key in _SSH_OPTIONS:
        _check_ssh_options(key, str(value), outside)


def _check_ssh_options(key: str, text: str, outside: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError:
        raise PermanentError(f"{key}: {quoted(text)} cannot be split into words") from None
    while words:
        word = words.pop(0)
        if word in {"-o", "-J"}:
            word += words.pop(0) if words else ""
        option = f"ProxyJump={word[2:]}" if word.startswith("-J") else word.removeprefix("-o")
        match = _HARMLESS.fullmatch(option) if word[:2] in {"-o", "-J"} else None
        name = option.partition("=")[0].lower()
        if match is None or (name == "stricthostkeychecking" and match["value"].lower() != "yes"):
            raise PermanentError(
                f"{key}: {quoted(word)} is not taken from an inventory in a repo",
                hint=f"leave it out, {outside}",
            )


def expand(variables: Mapping[str, Any], key: str) -> Any:
    """The value of a variable with `{{ name }}` replaced, and no other template: nothing is evaluated.

    Raises:
        PermanentError: for any other template, a name that is not set, and names that lead in a circle.
    """
    return _expand(variables, key, {}, 0)


def _expand(variables: Mapping[str, Any], key: str, done: dict[str, Any], depth: int) -> Any:
    if key in done:
        return done[key]
    value = variables[key]
    if isinstance(value, str) and any(mark in value for mark in _TEMPLATE):
        value = _replace(variables, key, value, done, depth)
    done[key] = value
    return value


def _replace(variables: Mapping[str, Any], key: str, text: str, done: dict[str, Any], depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise PermanentError(f"{key}: variables refer to each other in a circle")
    parts = _REFERENCE.split(text)
    if any(mark in plain for plain in parts[::2] for mark in _TEMPLATE):
        hint = "write `{{ name }}`, or keep the inventory outside the repo"
        raise PermanentError(f"{key}: a template may only name a variable", hint=hint)
    size = len(text)
    for index in range(1, len(parts), 2):
        name = parts[index]
        if name not in variables:
            raise PermanentError(f"{key}: variable {name} is not set")
        value = _expand(variables, name, done, depth + 1)
        if isinstance(value, list | dict | tuple):
            raise PermanentError(f"{key}: variable {name} is no plain value")
        parts[index] = str(value)
        size += len(parts[index])
        if size > _MAX_TEXT:
            raise PermanentError(f"{key}: longer than {_MAX_TEXT:,} characters")
    return "".join(parts)
