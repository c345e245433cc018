"""One stage of a rollout on this host: its containers, and its part of the edge where it balances."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import STOP, edge, rows
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome, TaskError, side_by_side


class ActionModule(Task):
    """`containers`: rows with a `state` each; `edge`: the fragment that its `hosts` are brought to."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.rows and gitops.tasks.edge."""
        channel, mine = self.channel, self.rows()
        if (self.folder / STOP).exists() and any(row["state"] == "healthy" for row in mine):
            raise TaskError("stopped before this stage, as asked", "stopped")
        work = []
        if mine:
            work.append(lambda: rows.carry_out(channel.engine(), self.folder, mine, check=self.check))
        if "edge" in args and self.host in args["edge"]["hosts"]:
            target = edge.read_target(self.folder, args["edge"])
            work.append(lambda: edge.apply(channel, target, check=self.check))
        return side_by_side(lambda part: part(), work)
