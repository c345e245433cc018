"""What may be asked of Git at all: an allow-list of repository addresses and of names in them.

Git runs programs for some addresses (`ext::`), and takes others for options.
Both are refused here, before any process starts.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gitops.errors import PermanentError

SCHEMES = frozenset({"file", "git", "http", "https", "ssh"})
_HOST = re.compile(r"(?!-)[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"(?!-)[A-Za-z0-9_.@+-]+")
_SCP = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>\[[^\]]*\]|[^:/\[\]]+):(?P<path>.+)")
_REF_PART = re.compile(r"(?![.-])[^\x00-\x20\x7f~^:?*\[\\/]+(?<![.])")
_NAME_LIMIT = 255  # bytes; a ref is a file name on the Git server
_FORMS = "use https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, git://HOST/PATH or /PATH"


def check_url(url: str) -> str:
    """Return the address as Git is given it, or refuse it.

    Args:
        url: an `https`, `http`, `ssh`, `git` or `file` URL, the short form
            `user@host:path`, or an absolute path on this machine.

    Returns:
        The same address; an absolute path becomes a `file://` URL, so that
        Git treats it as a remote one.

    Raises:
        PermanentError: for any other form, for a host or user that a program
            could take for an option, and for a password inside the address.
    """
    if not url:
        raise PermanentError("the repository address is empty", hint=_FORMS)
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in url) or " " in url:  # noqa: PLR2004 - ASCII controls
        raise PermanentError("the repository address has a space or a control character", hint=_FORMS)
    if url.startswith("-"):
        raise PermanentError(f"the repository address {url!r} would be an option of git", hint=_FORMS)
    if url.startswith("/"):
        return f"file://{url}"
    if "::" in url.split("/", 1)[0].split("[", 1)[0]:
        raise PermanentError(f"the repository address {url!r} names a program to run", hint=_FORMS)
    if "://" in url:
        _check_parts(url)
        return url
    short = _SCP.fullmatch(url)
    if short is None:
        raise PermanentError(f"{url!r} is not a repository address", hint=_FORMS)
    _check_machine(short["user"] or "", short["host"])
    if short["path"].startswith("-"):
        raise PermanentError("the path of the repository address would be an option", hint=_FORMS)
    return url


def _check_parts(url: str) -> None:
    """Refuse a URL whose scheme, user, host or port is not one that we know."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise PermanentError(f"the repository address cannot be read: {error}", hint=_FORMS) from error
    if parts.scheme not in SCHEMES:
        raise PermanentError(f"the repository address has the scheme {parts.scheme!r}", hint=_FORMS)
    if parts.password is not None:
        # Not echoed; and it would show in the process list of every fetch.
        raise PermanentError(
            "the repository address has a password in it",
            hint="use an SSH key or a Git credential helper, and take the password out",
        )
    if not parts.path.strip("/"):
        raise PermanentError(f"the repository address {url!r} has no path", hint=_FORMS)
    if parts.scheme == "file":
        if parts.netloc:
            raise PermanentError("a file address names a host", hint="file:///PATH has three slashes")
        return
    if port == 0:
        raise PermanentError("the repository address has the port 0", hint=_FORMS)
    machine = parts.netloc.rpartition("@")[2]
    host = machine if machine.endswith("]") or ":" not in machine else machine.rpartition(":")[0]
    _check_machine(parts.username or "", host)


def _check_machine(user: str, host: str) -> None:
    """Refuse what ssh could take for an option, or a shell for more than a name."""
    if not _HOST.fullmatch(host):
        raise PermanentError(f"the repository address has the host {host!r}", hint=_FORMS)
    if user and not _USER.fullmatch(user):
        raise PermanentError(f"the repository address has the user {user!r}", hint=_FORMS)


def check_ref(ref: str) -> str:
    """Return the name of a branch or tag, or refuse it by Git's own rules for names.

    Args:
        ref: a short name such as `main` or `v1.4`, or a full one such as `refs/tags/v1.4`.

    Raises:
        PermanentError: where Git could take it for an option, a range or a pattern.
    """
    parts = ref.split("/")
    bad = (
        not ref
        or len(ref.encode(errors="replace")) > _NAME_LIMIT
        or ".." in ref
        or "@{" in ref
        or ref == "@"
        or any(not _REF_PART.fullmatch(part) or part.endswith(".lock") for part in parts)
    )
    if bad:
        raise PermanentError(f"{ref!r} is not the name of a branch or tag", hint="such as main or v1.4")
    return ref
