"""Starts, watches and removes containers of this host, side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import STOP, rows
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome, TaskError


class ActionModule(Task):
    """Each row's `state`: `healthy` (create and start unless there, then wait), `watched` or `absent`."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - rows() reads them
        """See gitops.tasks.rows."""
        mine = self.rows()
        if (self.folder / STOP).exists() and any(row["state"] == "healthy" for row in mine):
            raise TaskError("stopped before this batch, as asked", "stopped")
        return rows.carry_out(self.channel.engine(), self.folder, mine, check=self.check)
