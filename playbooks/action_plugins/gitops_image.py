"""Pulls the images that this host needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.tasks import image
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome


class ActionModule(Task):
    """An image that is there is not asked for again."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - rows() reads them
        """See gitops.tasks.image."""
        wanted = self.rows("pulls")
        if not wanted:
            return Outcome(changed=False, message="no image needed")
        return image.pull(self.channel.engine(), wanted, check=self.check)
