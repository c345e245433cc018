"""Carries out the steps of a rollout on all hosts, each as soon as what it waits for is done."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome
from gitops.tasks.rollout import Rollout, roll_out


class ActionModule(Task):
    """One process for the whole fleet: no host waits for another one's task to end."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.rollout."""
        rollout = Rollout(
            folder=self.folder,
            app=args["app"],
            release=args["release"],
            channels=self.channels(args["hosts"]),
            balancers=args["balancers"],
            tell=self.tell,
            check=self.check,
            judged=args.get("judged", ()),
        )
        return roll_out(rollout, args["steps"])
