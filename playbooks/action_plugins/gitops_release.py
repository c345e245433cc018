"""Writes the release file: the commit that this host was last brought to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import release
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome


class ActionModule(Task):
    """The last task of a rollout: it says that the state before it is good."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.release."""
        return release.write(self.channel, (self.folder / args["file"]).read_bytes(), check=self.check)
