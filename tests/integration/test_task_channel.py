"""The channel inside `ansible-playbook`: an action plugin over Ansible's own connection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.controllers import machine, opened, this_machine
from support.labs import Lab

from gitops.channel import controller_env, own_folder
from gitops.channel.failures import LockHeldError

pytestmark = pytest.mark.lab

PLUGIN = """
import os
from ansible.plugins.action import ActionBase
from gitops.channel import Channel

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        lock = self._task.args.get("lock", False)
        channel = Channel.from_connection(self._connection, variables=task_vars, need_lock=not lock)
        if lock:
            return result | {"taken": channel.lock_for(os.getppid(), "a playbook")}
        engine = channel.engine()
        seen = {"podman": engine.podman, "containers": len(engine.containers())}
        engine.close()
        return result | seen | {"user": channel.run("id -un").stdout.decode().strip()}
"""
RESULTS = """
import json
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "results"

    def v2_runner_on_ok(self, result, **_):
        print(json.dumps([result.task.get_path(), result.host.get_name(), result.result]))

    def v2_runner_on_failed(self, result, **_):
        self.v2_runner_on_ok(result)
"""
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - probe: {lock: true}
    - probe: {lock: true}
    - probe: {}
"""
REFUSED = """
- hosts: all
  gather_facts: false
  tasks:
    - probe: {}
"""
HOSTS = {
    "h1": {},
    "p1": {},
    "h2": {"ansible_user": "ops", "ansible_become": True},
}


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "probe.py").write_text(PLUGIN)
    (tmp_path / "callback_plugins").mkdir()
    (tmp_path / "callback_plugins" / "results.py").write_text(RESULTS)
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "refused.yml").write_text(REFUSED)
    hosts = {name: dict(machine(lab, name, **changes).variables) for name, changes in HOSTS.items()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    return tmp_path


def test_a_playbook_takes_the_lock_uses_the_engine_and_gives_it_back(folder: Path) -> None:
    for _ in range(2):  # the second finds the end of the first behind it
        results = _play(folder, "play.yml")
        for host in HOSTS:
            first, again, seen = (task[host] for task in results)
            assert first["taken"] is True
            assert again["taken"] is False
            assert seen["podman"] is (host == "p1")
            assert seen["user"] == ("root" if host == "h2" else "deploy")


def test_without_the_lock_a_task_does_nothing(folder: Path) -> None:
    (results,) = _play(folder, "refused.yml", fails=True)
    assert all("lock" in results[host]["msg"] for host in HOSTS)


def test_a_playbook_of_a_controller_works_under_its_lock(lab: Lab, folder: Path) -> None:
    machines = [machine(lab, name, **changes) for name, changes in HOSTS.items()]
    with opened(*machines) as channels:
        locks = [channel.lock("a controller") for channel in channels.values()]
        place = Path(next(iter(channels.values()))._transport.record).parent
        first, _, seen = _play(folder, "play.yml", **controller_env(place))
        assert all(first[host]["taken"] is False for host in HOSTS)
        assert all("containers" in seen[host] for host in HOSTS)
        # A playbook that does not descend from the controller is refused.
        results = _play(folder, "play.yml", fails=True)
        assert all("a controller" in results[0][host]["msg"] for host in HOSTS)
        for lock in locks:
            lock.release()


def test_a_playbook_cannot_outlive_its_controllers_lock(lab: Lab, folder: Path) -> None:
    host = machine(lab, "h1")
    with opened(host) as channels, opened(host) as others:
        lock = channels["h1"].lock("a controller")
        with pytest.raises(LockHeldError):
            others["h1"].lock("another")
        others["h1"].take_over()
        place = Path(channels["h1"]._transport.record).parent
        results = _play(folder, "refused.yml", "--limit", "h1", fails=True, **controller_env(place))
        assert "the host's lock has ended" in results[0]["h1"]["msg"]
        lock.release()
        # Nor does it take one of its own: what it does was planned under the controller's.
        results = _play(folder, "play.yml", "--limit", "h1", fails=True, **controller_env(place))
        assert "the host's lock has ended" in results[0]["h1"]["msg"]


def test_a_playbook_on_this_machine_itself(lab: Lab, folder: Path) -> None:
    with this_machine(gitops_engine_socket=lab.engine_socket("h1")) as here:
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"here": dict(here.variables)}}}))
        first, again, seen = _play(folder, "play.yml", HOME=str(folder))
        assert (first["here"]["taken"], again["here"]["taken"]) == (True, False)
        assert "containers" in seen["here"]
        with opened(here) as channels:
            lock = channels["here"].lock("a controller")
            place = Path(channels["here"]._transport.record).parent
            first, _, seen = _play(folder, "play.yml", **controller_env(place))
            assert first["here"]["taken"] is False
            assert "containers" in seen["here"]
            lock.release()


def _play(
    folder: Path, playbook: str, *arguments: str, fails: bool = False, **env: str
) -> list[dict[str, Any]]:
    """Runs stock `ansible-playbook`; the results of its tasks by host."""
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "hosts.json",
        playbook,
        *arguments,
    ]
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "results",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(own_folder() / "stock"),
        "ANSIBLE_FORKS": "5",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **settings, **env},
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    tasks: dict[str, dict[str, Any]] = {}
    for line in done.stdout.splitlines():
        task, host, result = json.loads(line)
        tasks.setdefault(task, {})[host] = result
    return list(tasks.values())
