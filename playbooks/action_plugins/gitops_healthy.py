"""Waits until the containers of this host are healthy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks.action import Task
from gitops.tasks.health import wait_healthy
from gitops.tasks.outcome import Outcome, side_by_side


class ActionModule(Task):
    """Their own health checks pass, or they stand the monitor window where they have none."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - rows() reads them
        """See gitops.tasks.health."""
        if self.check:
            return Outcome(changed=False, message="would wait until healthy")
        rows = self.rows()
        if not rows:
            return Outcome(changed=False, message="no container here")
        engine = self.channel.engine()
        return side_by_side(lambda row: wait_healthy(engine, row), rows)
