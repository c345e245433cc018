"""A lab as a whole: up, down, and what can be done to it in between."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gitops.errors import PermanentError
from gitops.lab import cgroups, host, image, inventory, network, packages, registry
from gitops.lab.layout import Layout, Member, Shape
from gitops.lab.state import LabState, load, load_whole, locked, save
from gitops.lab.system import run

Say = Callable[[str], None]


def up(layout: Layout, shape: Shape, say: Say, *, python: bool = False) -> LabState:
    """Brings a lab up; one that runs already in this shape is left alone, a leftover is taken down first.

    Args:
        layout: where.
        shape: how many hosts.
        say: takes progress, a line each.
        python: leave Python usable in the hosts.

    Raises:
        PermanentError: the machine cannot run it, or the folder holds something else or another lab.
        TransientError: a host or the registry did not start.
    """
    packages.check_machine()
    shape.members(0)
    _make_folder(layout)
    with locked(layout):
        current = _running(layout)
        if current is not None:
            if (current.shape, current.python) != (shape, python):
                message = f"a lab of another shape runs in {layout.folder}"
                raise PermanentError(message, hint="gitops lab down, or another --dir")
            say(f"the lab in {layout.folder} is up already")
            return current
        packages.ensure(shape, say)
        if layout.state.exists():
            say(f"clearing what is left of an earlier lab in {layout.folder}")
        _sweep(layout)
        for entry in layout.folder.iterdir():
            _delete(entry)
        try:
            return _build(layout, LabState(shape, python), say)
        except BaseException:
            _sweep(layout)  # the folder stays, for its logs; the next `up` or `down` clears it
            raise


def _make_folder(layout: Layout) -> None:
    folder = layout.folder
    if folder.exists() and not _is_ours(folder):
        raise PermanentError(f"{folder} exists and is not a lab's", hint="choose an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # it holds private keys


def _is_ours(folder: Path) -> bool:
    """Whether a folder may be filled, and emptied again: a lab's, or empty."""
    return folder.is_dir() and (Layout(folder).state.exists() or not any(folder.iterdir()))


def _running(layout: Layout) -> LabState | None:
    """The lab's state if it is whole and its registry runs, else None."""
    try:
        state = load(layout)
    except PermanentError:
        return None
    return state if state.complete and host.is_running(state.registry) else None


def _build(layout: Layout, state: LabState, say: Say) -> LabState:
    started = time.monotonic()
    save(layout, state)  # from here on `down` knows that the folder is a lab's
    state.subnet = network.claim(layout)
    save(layout, state)
    members = state.members
    layout.key.parent.mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gitops-lab", "-f", str(layout.key))
    layout.git.mkdir()
    state.registry = registry.start(layout, state.subnet)
    save(layout, state)
    taken = host.machine()
    address = registry.reference(state.subnet)

    def furnish(member: Member) -> None:
        host.furnish(layout, member, members, address, taken)

    _each(members, furnish)
    inventory.write(layout, members)
    _boot(layout, state, members, say)
    registry.wait_for(layout, state.subnet)
    builder = next((member for member in members if member.has_engine), None)
    if builder is not None:
        image.ensure_base(host.socket_path(builder, state.hosts[builder.name]), address)
    state.complete = True
    save(layout, state)
    say(f"{len(members)} hosts are up in {time.monotonic() - started:.1f} s")
    return state


def _boot(layout: Layout, state: LabState, members: Sequence[Member], say: Say) -> None:
    """Powers hosts on side by side and waits until all serve."""

    def boot(member: Member) -> None:
        process = host.power_on(layout, member, state.subnet, python=state.python)
        state.hosts[member.name] = process
        host.wait_for_services(layout, member, process)
        say(f"{member.name} {member.address} is up ({member.kind})")

    _each(members, boot)
    save(layout, state)


def _each(members: Sequence[Member], action: Callable[[Member], None]) -> None:
    """Does something to all hosts side by side; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, min(len(members), 16))) as pool:
        for done in [pool.submit(action, member) for member in members]:
            done.result()


def down(layout: Layout, say: Say, *, keep: bool = False) -> None:
    """Takes a lab down, whole or half, running or crashed; without a lab it does nothing.

    Args:
        layout: where.
        say: takes progress, a line each.
        keep: leave the folder with logs and data.

    Raises:
        PermanentError: the folder holds something that is not a lab's.
        TransientError: a process does not end.
    """
    packages.check_machine()
    if not layout.folder.exists():
        _sweep(layout)  # its folder may have been deleted by hand
        say(f"there is no lab in {layout.folder}")
        return
    if not _is_ours(layout.folder):
        message = f"{layout.folder} is not a lab's folder"
        raise PermanentError(message, hint="give the --dir of `gitops lab up`")
    with locked(layout):
        _sweep(layout)
        if not keep:
            shutil.rmtree(layout.folder)
    say(f"the lab in {layout.folder} is down")


def _sweep(layout: Layout) -> None:
    """Ends and removes everything that bears the lab's mark; needs no state file."""
    cgroups.end(layout.group)
    if shutil.which("ip"):
        network.remove(layout)


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def report(layout: Layout, state: LabState) -> dict[str, Any]:
    """What `up` and `status` print: where everything is."""
    hosts = [member for member in state.members if member.has_engine]
    edges = [member for member in state.members if not member.has_engine]
    return {
        "hosts": [{"name": host.name, "address": host.address, "engine": host.kind} for host in hosts],
        "edges": [{"name": edge.name, "address": edge.address} for edge in edges],
        "registry": registry.reference(state.subnet),
        "git": str(layout.git),
        "inventory": str(layout.inventory),
        "ssh_key": str(layout.key),
        "known_hosts": str(layout.known_hosts),
    }


def condition(state: LabState, member: Member) -> str:
    """`up`, `cut` or `off`."""
    if not host.is_running(state.hosts.get(member.name)):
        return "off"
    return "cut" if member.name in state.cut else "up"


def stop(layout: Layout, name: str) -> None:
    """Cuts a host's power. Its data stays; a host that is off stays off."""
    with locked(layout):
        state = load_whole(layout)
        member = state.member(name)
        host.power_off(layout, member)
        network.unplug(state.subnet, member)
        state.hosts.pop(name, None)
        save(layout, state)


def start(layout: Layout, name: str, say: Say) -> None:
    """Boots a host that is off; one that runs is left alone. A cut cable stays cut."""
    with locked(layout):
        state = load_whole(layout)
        member = state.member(name)
        if host.is_running(state.hosts.get(name)):
            return
        host.power_off(layout, member)
        _boot(layout, state, [member], say)
        if name in state.cut:
            network.set_cable(state.subnet, member, up=False)


def set_cable(layout: Layout, name: str, *, up: bool) -> None:
    """Cuts or mends a host's network cable."""
    with locked(layout):
        state = load_whole(layout)
        member = state.member(name)
        if host.is_running(state.hosts.get(name)):
            network.set_cable(state.subnet, member, up=up)
        state.cut = sorted({*state.cut, name} - ({name} if up else set()))
        save(layout, state)


def execute(layout: Layout, name: str, command: Sequence[str]) -> int:
    """Runs a command as root on a host, on this terminal; returns its exit code.

    Raises:
        PermanentError: there is no such host, or it is off.
    """
    state = load_whole(layout)
    state.member(name)
    process = state.hosts.get(name)
    if process is None or not host.is_running(process):
        raise PermanentError(f"{name} is off", hint=f"gitops lab start {name}")
    return host.execute(process, command)


def build_image(layout: Layout, name: str, folder: Path, arguments: Sequence[str]) -> str:
    """Builds a Dockerfile folder on one of the hosts and pushes it.

    Returns:
        the image's reference in the lab's registry.

    Raises:
        PermanentError: no host with an engine runs, or the build failed.
    """
    state = load_whole(layout)
    for member in state.members:
        process = state.hosts.get(member.name)
        if member.has_engine and process is not None and host.engine_answers(member, process):
            socket = host.socket_path(member, process)
            return image.build(socket, registry.reference(state.subnet), name, folder, arguments)
    raise PermanentError("no host of the lab has a running engine to build with", hint="gitops lab status")


def make_repository(layout: Layout, name: str) -> Path:
    """Makes a bare Git repository with the branch main, if there is none of that name; returns its path."""
    load_whole(layout)
    if not name or "/" in name or name.startswith((".", "-")):
        raise PermanentError(f"{name!r} is no name for a repository", hint="use letters, digits and -")
    path = layout.git / f"{name.removesuffix('.git')}.git"
    if not path.exists():
        run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(path))
    return path
