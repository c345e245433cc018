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
from gitops.tasks.health import wait_healthy
from gitops.tasks.outcome import Outcome, TaskError, side_by_side


class ActionModule(Task):
    """`state: healthy` (create and start unless there, then wait) or `absent` (stop and remove)."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.container and gitops.tasks.health."""
        rows = self.rows()
        if args["state"] == "absent":
            return container.remove(self.channel.engine(), rows, check=self.check)
        if (self.folder / STOP).exists():
            raise TaskError("stopped before this batch, as asked", "stopped")
        engine = self.channel.engine()
        started = container.start(engine, self.folder, rows, check=self.check)
        if self.check:
            return started
        healthy = side_by_side(lambda row: wait_healthy(engine, row), rows)
        return Outcome(started.changed, f"{started.message}; {healthy.message}")
