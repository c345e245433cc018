"""The settings of an application that decide what a commit of it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from gitops.model.stack import SERVICE_NETWORK


@dataclass(frozen=True)
class CommitSettings:
    """How a commit is read. The same commit read with other settings is another desired state.

    They are recorded with each deployment, and a commit that was deployed is read again with the
    settings of then: as the last good one, the way back, the target of a rollback.

    Attributes:
        path: the folder of the Compose file in the repository.
        env: selects `.env.ENV` and `compose.ENV.yaml`.
        overlays: further Compose files.
        profiles: Compose profiles that are switched on.
        inventory: a path in the repository, or an absolute one on the controller.
        service_network: where services have their addresses.
    """

    path: str = ""
    env: str = ""
    overlays: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    inventory: str = ""
    service_network: str = SERVICE_NETWORK

    @property
    def inventory_in_repo(self) -> bool:
        """Whether the inventory is part of the commit."""
        return not self.inventory.startswith("/")

    @property
    def text(self) -> str:
        """As it is recorded."""
        return json.dumps(asdict(self), sort_keys=True)

    def recorded(self, text: str) -> CommitSettings:
        """What was recorded; these settings fill in what it does not say, as where a key is newer.

        Args:
            text: as `text` made it; empty where nothing was recorded.
        """
        found = json.loads(text) if text else {}
        known = {field.name for field in fields(self)} & found.keys()
        said: dict[str, Any] = {
            name: tuple(found[name]) if isinstance(found[name], list) else found[name] for name in known
        }
        return replace(self, **said)

    def differences(self, before: CommitSettings) -> Iterator[str]:
        """Each key that has changed: `path: deploy -> ops`."""
        for field in fields(self):
            was, now = getattr(before, field.name), getattr(self, field.name)
            if was != now:
                yield f"{field.name}: {_shown(was)} -> {_shown(now)}"


DEFAULT_SETTINGS = CommitSettings()


def _shown(value: str | tuple[str, ...]) -> str:
    return (value if isinstance(value, str) else ", ".join(value)) or "(none)"
