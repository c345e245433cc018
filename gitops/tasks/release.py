"""The release file of an application on a host."""

from __future__ import annotations

import json

from gitops.channel import Channel
from gitops.tasks.edge_files import BASE
from gitops.tasks.outcome import Outcome


def write(channel: Channel, content: bytes, *, check: bool = False) -> Outcome:
    """Writes `/var/lib/gitops/APP/release.json`; only where it differs."""
    release = json.loads(content)
    path = f"{BASE}/{release['app']}/release.json"
    if check:
        return Outcome(changed=False, message=f"{path} would be written")
    changed = channel.write(path, content)
    return Outcome(changed, f"release {release['commit'][:12]} {'written' if changed else 'is recorded'}")
