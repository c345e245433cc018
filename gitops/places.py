"""Where things are on this machine; standard library only, so that a command may look before it imports."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gitops.errors import PermanentError

CONFIG_PLACES = (Path("gitops.yaml"), Path("/etc/gitops/gitops.yaml"))


def runtime_folder() -> Path:
    """The folder of this user's sockets. Its path is short: a Unix socket's has at most 107 bytes."""
    if os.getuid() == 0:
        return Path("/run/gitops")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "gitops" if runtime else Path(f"/tmp/gitops-{os.getuid()}")  # noqa: S108 - owner and mode are checked


def service_socket(config: Path) -> Path:
    """Where the service of a configuration file hears commands."""
    return runtime_folder() / f"s{hashlib.sha256(os.fsencode(config.resolve())).hexdigest()[:16]}"


def find_config(given: Path | None) -> Path:
    """The configuration file: as given, from `$GITOPS_CONFIG`, or at its usual places.

    Raises:
        PermanentError: there is none.
    """
    named = given or (Path(os.environ["GITOPS_CONFIG"]) if os.environ.get("GITOPS_CONFIG") else None)
    places = (named,) if named else CONFIG_PLACES
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise PermanentError(
        f"no configuration at {looked}", hint="gitops init writes one; or name it with -c FILE"
    )
