"""Takes the lock of this host, or finds it held by a process that this one descends from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A run folder carries its own copy of the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gitops.channel import Channel
from gitops.tasks.action import Task
from gitops.tasks.outcome import Outcome


class ActionModule(Task):
    """Held until ansible-playbook ends, however it ends; says in the run folder how the host is reached."""

    def act(self, args: Mapping[str, Any]) -> Outcome:  # noqa: ARG002 - it has none
        """See gitops.channel."""
        channel = Channel.from_connection(self._connection, variables=self.variables, need_lock=False)
        if self.check:
            channel.connect()
        taken = not self.check and channel.lock_for(os.getppid(), "ansible-playbook")
        self.note_way(channel)
        if self.check:
            return Outcome(changed=False, message="would take the lock")
        return Outcome(changed=False, message="the lock is taken" if taken else "the lock is held already")
