"""Images for a lab that reaches no public registry: a busybox base, and what is built on it."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from gitops.errors import PermanentError
from gitops.lab.system import clean_environment, run, succeeds

BASE = "busybox:latest"
_BUILD_SECONDS = 600
_EMPTY_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}


def base_archive(busybox: bytes, applets: Sequence[str]) -> bytes:
    """A root file system of busybox alone, as a tar archive (pure).

    Args:
        busybox: the static program.
        applets: paths without a leading slash, e.g. `bin/sh`, that shall be it.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755), ("root", 0o700), ("var", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        files = {"bin/busybox": (busybox, 0o755)}
        files.update({path: (text.encode(), 0o644) for path, text in _EMPTY_ETC.items()})
        for path, (content, mode) in files.items():
            file = tarfile.TarInfo(path)
            file.size, file.mode = len(content), mode
            archive.addfile(file, io.BytesIO(content))
        for applet in sorted(set(applets) - set(files)):
            link = tarfile.TarInfo(applet)
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            archive.addfile(link)
    return buffer.getvalue()


def ensure_base(socket: str, registry: str) -> None:
    """Sees to it that the engine behind `socket` has `busybox:latest`, and the registry too."""
    reference = f"{registry}/{BASE}"
    if reference in docker(socket, "images", "--format", "{{.Repository}}:{{.Tag}}").split():
        return
    if not succeeds(*_command(socket, "pull", "--quiet", reference)):
        _make_base(socket, reference)
    docker(socket, "tag", reference, BASE)


def _make_base(socket: str, reference: str) -> None:
    """Imports the machine's own busybox and pushes it."""
    program = Path(run("sh", "-c", "command -v busybox").strip())
    archive = base_archive(program.read_bytes(), run(str(program), "--list-full").split())
    docker(socket, "import", "--change", 'CMD ["sh"]', "-", reference, stdin=archive)
    docker(socket, "push", "--quiet", reference)


def build(socket: str, registry: str, name: str, folder: Path, arguments: Sequence[str] = ()) -> str:
    """Builds a Dockerfile folder and pushes the image; what the engine has cached is quick.

    Args:
        socket: path of the engine's socket.
        registry: the lab's registry.
        name: `NAME:TAG` within the registry.
        folder: holds the Dockerfile; `FROM busybox` needs no network.
        arguments: build arguments, `KEY=VALUE` each.

    Returns:
        the image's reference in the registry.

    Raises:
        PermanentError: no Dockerfile there, or the engine refused.
    """
    if not (folder / "Dockerfile").is_file():
        raise PermanentError(f"{folder} has no Dockerfile", hint="give the folder that holds it")
    ensure_base(socket, registry)
    reference = f"{registry}/{name}"
    values = [part for argument in arguments for part in ("--build-arg", argument)]
    command = _command(socket, "build", *values, "--tag", reference, str(folder))
    # Its progress goes to standard error: standard output is for the reference.
    done = subprocess.run(command, check=False, env=_environment(), stdout=sys.stderr, timeout=_BUILD_SECONDS)
    if done.returncode != 0:
        raise PermanentError(f"building {name} from {folder} failed", hint="the builder's words are above")
    docker(socket, "push", "--quiet", reference)
    return reference


def docker(socket: str, *arguments: str, stdin: bytes = b"") -> str:
    """Runs the docker command against one engine and returns its output."""
    return run(*_command(socket, *arguments), stdin=stdin, timeout=_BUILD_SECONDS, environment=_environment())


def _command(socket: str, *arguments: str) -> tuple[str, ...]:
    if not stat.S_ISSOCK(Path(socket).stat().st_mode):
        raise PermanentError(f"{socket} is no socket")
    return ("docker", "--host", f"unix://{socket}", *arguments)


def _environment() -> dict[str, str]:
    # The classic builder is in every engine; BuildKit needs a plugin that packages do not always bring.
    # No configuration of the machine's user: neither credentials nor contexts have a place in a lab.
    return clean_environment(DOCKER_BUILDKIT="0", DOCKER_CONFIG="/nonexistent")
