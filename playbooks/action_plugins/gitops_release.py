"""Writes the release file: the commit that this host was last brought to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # the run folder carries its own copy of the package

from gitops.tasks import release  # noqa: E402 - found only after the line above
from gitops.tasks.action import Task  # noqa: E402 - as above
from gitops.tasks.outcome import Outcome  # noqa: E402 - as above


class ActionModule(Task):
    """The last task of a rollout: it says that the state before it is good."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.release."""
        return release.write(self.channel, (self.folder / args["file"]).read_bytes(), check=self.check)
