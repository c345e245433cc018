"""The folder of one deployment: all that stock `ansible-playbook` needs, and nothing of the controller."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gitops.assets import folder
from gitops.model.fleet import CONTAINER_HOSTS, LOAD_BALANCERS, Fleet, Host
from gitops.model.plan import Plan
from gitops.plan.discovery import found
from gitops.render.container import service_file
from gitops.render.environment import environment
from gitops.render.graph import graph
from gitops.render.haproxy import fragment
from gitops.render.playbook import playbook
from gitops.render.work import Judging, Switch

_PACKAGE = Path(__file__).resolve().parent.parent
_COPIED = (
    "__init__.py",
    "errors.py",
    "places.py",
    "assets.py",
    "channel/*.py",
    "model/__init__.py",
    "model/edge.py",
    "model/image.py",
    "model/machine.py",
    "model/secret.py",
    "model/size.py",
    "tasks/*.py",
    "render/environment.py",
    "render/edge.py",
    "render/fragment.py",
)
"""What the action plugins import: the folder carries its own copy."""

_README = """# Deployment of {app}, commit {commit}

Run it from this folder, with nothing but ansible-core: `ansible-playbook -i inventory rollout.yml`
A second run changes nothing. Passwords are not kept here: where the inventory has them, give `--ask-pass` or
`--ask-become-pass`.
"""


def deployment(plan: Plan, *, deployment_id: str) -> dict[str, bytes]:
    """All files of the run folder: relative path -> content.

    Args:
        plan: what is to be done.
        deployment_id: goes into the release file.

    Raises:
        PermanentError: a name that must not reach a playbook or haproxy.cfg.
    """
    release: dict[str, Any] = {"app": plan.app, "commit": plan.commit, "deployment": deployment_id}
    if services := [asdict(each) for each in found(plan.stack)]:
        release["services"] = services
    files = {
        "rollout.yml": playbook(plan),
        "release.json": (json.dumps(release, sort_keys=True) + "\n").encode(),
        "ansible.cfg": ansible_cfg(forks=len(plan.fleet.hosts)),
        "README.md": _README.format(app=plan.app, commit=plan.commit).encode(),
        **inventory_files(plan.fleet),
        **_machinery(),
    }
    started = {start.service for start in plan.starts}
    for service in plan.stack.services:
        if service.name in started:
            files[f"services/{service.name}.json"] = service_file(plan.stack, service)
    files |= {file: text.encode() for file, text in fragments(plan).items()}
    return dict(sorted(files.items()))


def fragments(plan: Plan) -> dict[str, str]:
    """What each place serves after each change of it, and what undoes a trial there, by file."""
    steps = [step.work for step in graph(plan)]
    switches = [work for work in steps if isinstance(work, Switch)]
    last = {place: work.number for work in switches for place in work.places}
    files: dict[str, str] = {}
    for work in switches:
        for place in work.places:
            # The last one is what a plan compares a place with: the desired state alone.
            final = work.number == last[place]
            previous, role = (None, place.after) if final else (plan.previous, place.role)
            files[work.file(place)] = fragment(plan.stack, previous, work.backends, role)
    for trial in (work for work in steps if isinstance(work, Judging)):
        for place in trial.places:
            files[trial.file(place)] = fragment(plan.stack, plan.previous, trial.backends, place.role)
    return files


def ansible_cfg(*, forks: int) -> bytes:
    """The content of `ansible.cfg`."""
    template = environment().get_template("ansible.cfg.j2")
    return template.render(forks=max(1, forks)).encode()


def inventory_files(fleet: Fleet) -> dict[str, bytes]:
    """The hosts without variables, and a file of connection variables each."""
    others = tuple(host for host in fleet.hosts if not host.runs_containers and not host.balances)
    groups = {
        CONTAINER_HOSTS: fleet.container_hosts,
        LOAD_BALANCERS: fleet.load_balancers,
        "ungrouped": others,
    }
    lines = ["# managed by ansible-gitops", "---"]
    for group, hosts in groups.items():
        if hosts:
            lines += [f"{group}:", "  hosts:", *(f"    {host.name}:" for host in hosts)]
    files = {"inventory/hosts.yml": ("\n".join(lines) + "\n").encode()}
    return files | {f"inventory/host_vars/{host.name}.yml": _host_vars(host) for host in fleet.hosts}


def _host_vars(host: Host) -> bytes:
    """Connection variables, marked so that Ansible takes them as text and nothing more.

    Passwords stay out: a run of the controller goes over a connection that is there
    already, and a folder that somebody hands on must hold no secret.
    """
    lines = ["# managed by ansible-gitops", "---"]
    for name, value in host.variables:
        if "pass" not in name:
            text = json.dumps(value, ensure_ascii=False)
            lines.append(f"{name}: !unsafe {text}" if isinstance(value, str) else f"{name}: {text}")
    return ("\n".join(lines) + "\n").encode()


def _machinery() -> dict[str, bytes]:
    """The action plugins, the part of the package that they import, and the edge's template."""
    files = {
        f"gitops/{path.relative_to(_PACKAGE)}": path for pattern in _COPIED for path in _PACKAGE.glob(pattern)
    }
    files |= {f"action_plugins/{path.name}": path for path in folder("playbooks").glob("action_plugins/*.py")}
    files["templates/haproxy.cfg.j2"] = folder("templates") / "haproxy.cfg.j2"
    contents = {name: path.read_bytes() for name, path in files.items()}
    return contents | {
        "gitops/render/__init__.py": b'"""The part of the renderer that a load balancer needs."""\n'
    }
