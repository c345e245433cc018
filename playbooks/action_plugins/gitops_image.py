"""Pulls the images that this host needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # the run folder carries its own copy of the package

from gitops.tasks import image  # noqa: E402 - found only after the line above
from gitops.tasks.action import Task  # noqa: E402 - as above
from gitops.tasks.outcome import Outcome  # noqa: E402 - as above


class ActionModule(Task):
    """An image that is there is not asked for again."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - rows() reads them
        """See gitops.tasks.image."""
        wanted = [row["image"] for row in self.rows("pulls")]
        if not wanted:
            return Outcome(changed=False, message="no image needed")
        return image.pull(self.channel.engine(), wanted, check=self.check)
