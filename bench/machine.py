"""What the bench ran on and with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench import ROOT
from bench.contenders.playbook import PROGRAMS
from bench.fleet import Fleet
from gitops.channel.engine import Engine

_VERSION = re.compile(r"\d+\.\d+[^\s,\]]*")
_GIB = 1024**2  # in the kilobytes of /proc/meminfo


def facts(fleet: Fleet) -> dict[str, str]:
    """By name, in the order to print."""
    engine = Engine(fleet.connect(fleet.hosts[0]))
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    found = {
        "CPU": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / _GIB:.0f} GiB" if memory else "",
        "kernel": platform.release(),
        "Docker Engine": engine.about.version,
        "docker command": _version_of("docker", "--version"),
        "HAProxy": _version_of("haproxy", "-v"),
        "Python": platform.python_version(),
        "ansible-core of this project": version("ansible-core"),
        "ansible-core of the stock playbook": _version_of(str(PROGRAMS / "ansible"), "--version"),
        "community.docker": _collection("community/docker"),
    }
    engine.close()
    return found


def load() -> str:
    """The load average of the last minute: what others do on the machine."""
    return f"{os.getloadavg()[0]:.1f}"


def commit() -> str:
    """What is checked out, and whether it was changed since."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _version_of(*command: str) -> str:
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = _VERSION.search(said)
    return found[0] if found else said.strip()


def _collection(path: str) -> str:
    manifests = PROGRAMS.parent.glob(f"lib/python*/site-packages/ansible_collections/{path}/MANIFEST.json")
    return str(json.loads(next(manifests).read_text())["collection_info"]["version"])
