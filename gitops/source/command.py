"""One way to run Git: a clean environment, no prompt, no hook, a time limit that ends all it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitops.errors import PermanentError, TransientError

LOCAL_TIMEOUT_S = 60.0
"""For commands that stay on this machine."""
_NET_S = 5.0  # how much later than ours the time limit comes that also works when this process was killed

_KEPT = frozenset(
    {
        "GIT_ASKPASS",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSH_VARIANT",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "GIT_SSL_CERT",
        "GIT_SSL_KEY",
        "GIT_PROXY_COMMAND",
        "GIT_HTTP_USER_AGENT",
    },
)
"""What an operator sets to reach a server. All else, such as a hook's GIT_DIR, would point Git elsewhere."""

_OPTIONS: tuple[str, ...] = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "gc.autoDetach=false",  # nothing goes on behind our back
        "maintenance.auto=false",
        "protocol.ext.allow=never",
        "push.gpgSign=false",
        "fetch.recurseSubmodules=false",
        "advice.detachedHead=false",
    )
    for word in ("-c", setting)
)


def environment(surroundings: Mapping[str, str], *, settings: Path | None = None) -> dict[str, str]:
    """Return the environment that Git runs in.

    Args:
        surroundings: this process's environment.
        settings: a Git configuration file to use instead of the user's own (it may include that).
    """
    env = {
        name: value
        for name, value in surroundings.items()
        if name in _KEPT or not name.startswith(("GIT_", "SSH_ASKPASS"))
    }
    env |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",  # a commit's content is what its SHA says
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
    if settings is not None:
        env["GIT_CONFIG_GLOBAL"] = str(settings)
    return env


@dataclass(frozen=True)
class Finished:
    """What a Git command left behind."""

    code: int
    out: bytes
    err: bytes

    @property
    def reason(self) -> str:
        """Git's own last words: one line, at most 300 characters."""
        lines = [line.strip() for line in self.err.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))] or lines
        return errors[0].split(":", 1)[-1].strip()[:300] if errors else f"git ended with {self.code}"


def run_git(
    arguments: Sequence[str],
    *,
    folder: Path | None = None,
    env: Mapping[str, str],
    timeout_s: float = LOCAL_TIMEOUT_S,
    stdin: bytes = b"",
    hold: int | None = None,
) -> Finished:
    """Run one Git command to its end.

    Args:
        arguments: the verb and its arguments, user text only after `--`.
        folder: the bare repository it acts on.
        env: as `environment` makes it.
        timeout_s: after this many seconds the command and all it started are killed.
        stdin: what it reads.
        hold: a file descriptor to hand down, so that a lock is held for as long as the command lives.

    Raises:
        TransientError: the time was over.
        PermanentError: there is no git on this machine.
    """
    place = () if folder is None else (f"--git-dir={folder}",)
    # `timeout` bounds the command also when this process is killed and can no longer do so.
    argv = ["timeout", "--signal=KILL", f"{timeout_s + _NET_S:g}", "git", *place, *_OPTIONS, *arguments]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd="/",
            start_new_session=True,  # no terminal to prompt on, and one group to end
            pass_fds=() if hold is None else (hold,),
        )
    except FileNotFoundError as error:
        raise PermanentError("the program `timeout` is missing", hint="apt-get install coreutils") from error
    with process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise TransientError(
                f"git {arguments[0]} took longer than {timeout_s:g} s",
                hint="is the Git server reachable from here?",
            ) from error
        except BaseException:
            _end(process)  # also on Ctrl-C: nothing is left behind
            raise
    if process.returncode == 127:  # noqa: PLR2004 - what `timeout` says of a missing program
        raise PermanentError("there is no git on this machine", hint="apt-get install git")
    return Finished(process.returncode, out, err)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group and collect its leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def write_settings(file: Path, trusted: Sequence[Path]) -> None:
    """Write a Git configuration that includes the user's own and trusts some local repositories.

    Git refuses to serve a repository of another user (such as `git`) unless a
    file says otherwise: the serving side drops settings from the command line
    and the environment. Naming the repository in gitops.yaml is the trust.

    Args:
        file: what to write; left alone where it says the same already.
        trusted: the repositories' folders.
    """
    config = os.environ.get("XDG_CONFIG_HOME", "~/.config")
    lines = ["# Written by gitops.", "[include]"]
    lines += [f"\tpath = {_quoted(path)}" for path in (f"{config}/git/config", "~/.gitconfig")]
    lines += ["[safe]", *(f"\tdirectory = {_quoted(str(path))}" for path in trusted)]
    text = "\n".join(lines) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _quoted(text: str) -> str:
    """Return a value as a Git configuration file has it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mend(done: Finished) -> str:
    """Return what may mend a failed exchange, by what Git said; no decision depends on it."""
    said = done.err.decode(errors="replace").lower()
    if "host key verification failed" in said:
        return "add the Git server's host key to known_hosts of the user that runs gitops"
    if "permission denied" in said or "authentication failed" in said or "could not read username" in said:
        return "give the user that runs gitops a key or credential helper for this repository"
    if (
        "not found" in said
        or "does not appear to be a git repository" in said
        or "not a git repository" in said
    ):
        return "is the address right, and may this user read it?"
    if "no space left" in said:
        return "make room on this machine's disk"
    return "is the Git server reachable from here?"
