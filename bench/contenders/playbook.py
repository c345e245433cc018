"""A stock playbook as an experienced user writes it, in bench/playbook; and `ansible -m ping`."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from bench import FOLDER, ROOT
from bench.compose import CHECK, INTERVAL_S, RETRIES, TIMEOUT_S
from bench.contender import Contender, Release, timed
from bench.fleet import HOSTS, PATIENCE_S, Entry, Fleet

EDGE = "e2"
PROGRAMS = ROOT / ".venv" / "bench" / "bin"  # the packages of bench/requirements.lock
PLAYBOOKS = FOLDER / "playbook"
OTHER = {"blue": "green", "green": "blue"}
PORTS = {"blue": 21000, "green": 22000}


class Ansible:
    """Ansible's commands on the lab, with an inventory that has one edge."""

    def __init__(self, fleet: Fleet) -> None:
        self._inventory = fleet.inventory(
            "playbook-inventory", EDGE, ansible_python_interpreter="/usr/bin/python3"
        )
        self._sockets = fleet.folder / "cp"
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
            "ANSIBLE_HOME": str(fleet.folder / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
        }

    def run(self, program: str, *arguments: str) -> None:
        """Runs a command to its end.

        Raises:
            RuntimeError: it failed.
        """
        command = [str(PROGRAMS / program), "--inventory", str(self._inventory), *arguments]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=PLAYBOOKS,
            env=self._environment,
            timeout=PATIENCE_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stdout[-3000:]}{done.stderr[-1000:]}")

    def close(self) -> None:
        """Ends the connections that Ansible has left standing."""
        for path in self._sockets.glob("*"):
            end = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "any"]
            subprocess.run(end, check=False, capture_output=True, timeout=PATIENCE_S)


class Playbook(Contender):
    """`ansible-playbook`: the two colours of a replica take turns, HAProxy is reloaded in between."""

    key = "playbook"
    title = "stock playbook"
    cases = frozenset("abde")

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.entry: Entry | None = Entry(fleet.lab.address(EDGE))
        self._release = Release("", 0)
        self._color = "blue"  # that serves

    def prepare(self) -> None:
        """Writes the inventory."""
        self._ansible = Ansible(self.fleet)

    def begin(self, release: Release) -> None:
        """Starts all replicas; by that all connections stand."""
        self.scale(release)

    def deploy(self, release: Release) -> float:
        """Brings another version under the other colour."""
        color, self._release = OTHER[self._color], release
        took = timed(lambda: self._play("site.yml", color))
        self._color = color
        return took

    def scale(self, release: Release) -> float:
        """Starts the replicas that are missing."""
        self._release = release
        return timed(lambda: self._play("scale.yml", self._color))

    def nothing(self) -> float:
        """The same playbook again."""
        return timed(lambda: self._play("site.yml", self._color))

    def remove(self) -> None:
        """Ends the connections."""
        self._ansible.close()

    def _play(self, playbook: str, color: str) -> None:
        variables: dict[str, Any] = {
            "image": self.fleet.images[self._release.version],
            "color": color,
            "live_color": self._color,
            "ports": PORTS,
            "slots": self._release.replicas // HOSTS,
            "batch": self._release.parallelism,
            "healthcheck": {
                "test": ["CMD", CHECK],
                "interval": f"{INTERVAL_S}s",
                "timeout": f"{TIMEOUT_S}s",
                "retries": RETRIES,
            },
        }
        self._ansible.run("ansible-playbook", playbook, "--extra-vars", json.dumps(variables))


class Ping(Playbook):
    """`ansible -m ping` of the same hosts under the same containers: what it costs Ansible to say hello."""

    key = "ping"
    title = "ansible -m ping"
    cases = frozenset("d")

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self.entry = None

    def nothing(self) -> float:
        """One ping of all hosts, over connections that stand."""
        return timed(lambda: self._ansible.run("ansible", "all", "-m", "ping"))
