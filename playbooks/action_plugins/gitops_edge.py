"""Brings one application's part of this load balancer to a fragment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import edge
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome


class ActionModule(Task):
    """The file is checked and swapped, HAProxy follows, and what leaves has ended its requests."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.tasks.edge."""
        here = self.folder / args["fragment"]
        later = [file.read_text() for file in here.parent.glob("*.cfg") if file.name > here.name]
        given = {key: args[key] for key in ("drain", "drain_s", "wait_s") if key in args}
        target = edge.Target(args["app"], here.read_text(), later, **given)
        return edge.apply(self.channel, target, check=self.check)
