"""Removes one application from this host, part by part."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import teardown
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome


class ActionModule(Task):
    """`part`: `edge` (`edge`: is it one), `containers` (`volumes`: do they go, too) or `records`."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.teardown."""
        if args["part"] == "edge":
            edge = bool(args["edge"])
            return teardown.off_haproxy(self.channel, args["app"], edge=edge, check=self.check)
        if args["part"] == "containers":
            return teardown.containers(self.channel, args["app"], volumes=args["volumes"], check=self.check)
        return teardown.records(self.channel, args["app"], check=self.check)
