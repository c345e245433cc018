"""Starts or removes the containers of this host."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import STOP, container
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome, TaskError


class ActionModule(Task):
    """`state: started` (create and start unless there) or `absent` (stop and remove)."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.container."""
        rows = self.rows()
        if args["state"] == "absent":
            return container.remove(self.channel.engine(), rows, check=self.check)
        if (self.folder / STOP).exists():
            raise TaskError("stopped before this batch, as asked", "stopped")
        return container.start(self.channel.engine(), self.folder, rows, check=self.check)
