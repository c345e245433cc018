"""Takes the lock of this host, then pulls the images that it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.channel import Channel
from gitops.tasks import image
from gitops.tasks.action import Task
from gitops.tasks.login import own_login
from gitops.tasks.outcome import Outcome, combined


class ActionModule(Task):
    """The lock is held until ansible-playbook ends, however it ends; an image that is there is not pulled."""

    def act(self, args: Mapping[str, Any]) -> Outcome:
        """See gitops.channel and gitops.tasks.image."""
        if self.check:
            locked = Outcome(changed=False, message="the lock would be taken")
        else:
            channel = Channel.from_connection(self._connection, variables=self.variables, need_lock=False)
            taken = channel.lock_for(os.getppid(), "ansible-playbook")
            locked = Outcome(changed=False, message="lock taken" if taken else "lock held already")
        wanted = [row for row in args["pulls"] if row["host"] == self.host]
        if not wanted:
            return locked
        channel = self.channel
        pulled = image.pull(channel.engine(), wanted, login_for=partial(own_login, channel), check=self.check)
        return combined([locked, pulled])
