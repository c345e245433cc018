"""Waits until the containers of this host have stood their monitor window."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks.action import Task
from gitops.tasks.health import stand_monitor
from gitops.tasks.outcome import Outcome, side_by_side


class ActionModule(Task):
    """Running, never restarted, not unhealthy, for that long since their start."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - rows() reads them
        """See gitops.tasks.health."""
        if self.check:
            return Outcome(changed=False, message="would watch")
        rows = self.rows()
        if not rows:
            return Outcome(changed=False, message="no container here")
        engine = self.channel.engine()
        return side_by_side(lambda row: stand_monitor(engine, row), rows)
