"""What the action plugins share: from a task to a channel, and from an outcome to Ansible's result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from gitops.channel import Channel
from gitops.channel.failures import EngineError, LockHeldError
from gitops.channel.faults import fault_of
from gitops.errors import GitopsError
from gitops.tasks.outcome import Kind, Outcome, TaskError
from gitops.tasks.story import line
from gitops.tasks.ways import read_way, write_way


class Task(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """One action plugin. Runs on the controller, in Ansible's worker of one host.

    Attributes:
        host: the host's inventory name.
        folder: the run folder, where the playbook lies.
        check: whether only to say what would be done; needs no lock.
        variables: Ansible's variables of the host.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True

    host: str
    folder: Path
    check: bool
    variables: Mapping[str, Any]

    @abstractmethod
    def act(self, args: Mapping[str, Any]) -> Outcome:
        """Does the task's work on its host.

        Raises:
            GitopsError: why it could not.
        """

    @property
    def channel(self) -> Channel:
        """The channel of the host, over Ansible's own connection, under the host's lock."""
        return Channel.from_connection(self._connection, variables=self.variables, need_lock=not self.check)

    def channels(self, hosts: Iterable[str]) -> Mapping[str, Channel]:
        """The channels of these hosts, over the connections that stand, under their locks.

        Raises:
            LockLostError: a host's lock is not held by what this task descends from.
        """
        found = {}
        for host in hosts:
            way = read_way(self.folder, host)
            found[host] = Channel.over(host, way, need_lock=not self.check)
        return found

    def note_way(self, channel: Channel) -> None:
        """Writes down how this host is reached, for a task that acts on many hosts."""
        write_way(self.folder, channel)

    def tell(self, mark: str, host: str, message: str) -> None:
        """One line for whoever watches the playbook run."""
        self._display.display(line(mark, host, message))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What Ansible calls. A failure is a result with the field `gitops`, never an exception."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.variables = task_vars or {}
        self.host = self.variables["inventory_hostname"]
        self.folder = Path(self._loader.get_basedir())
        self.check = self._task.check_mode
        try:
            outcome = self.act(self._task.args)
        except GitopsError as error:
            return result | failed(error, self.host)
        return result | {"changed": outcome.changed, "msg": outcome.message}


def failed(error: GitopsError, host: str) -> dict[str, Any]:
    """Ansible's result of a failure: one message for people, and the fields that the controller reads."""
    problem = (
        error if isinstance(error, TaskError) else TaskError(error.message, _kind(error), hint=error.hint)
    )
    host = error.where.host if error.where and error.where.host else host
    data = problem.data(host)
    hint = f" ({problem.hint})" if problem.hint else ""
    message = "\n".join([f"{host}: {problem.message}{hint}", *(f"    {line}" for line in problem.logs)])
    return {"failed": True, "changed": False, "msg": message, "gitops": data}


def _kind(error: GitopsError) -> Kind:
    if isinstance(error, LockHeldError):
        return "lock"
    if fault := fault_of(error):
        return fault
    return "create" if isinstance(error, EngineError) else "unreachable"
