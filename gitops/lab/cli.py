"""`gitops lab`: the commands, thin.

Imports lie inside them, as in `gitops.cli`: no other command should wait for what only a lab needs.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gitops.errors import GitopsError
from gitops.lab.layout import DEFAULT_FOLDER, Layout, Shape
from gitops.lab.state import LabState, load_whole


class Output(StrEnum):
    """How a command reports."""

    text = "text"
    json = "json"


Folder = Annotated[Path, typer.Option("--dir", help="The lab's folder; every folder is a lab of its own.")]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="h1.. (Docker), p1.. (Podman), e1.. (edges).")]
Format = Annotated[Output, typer.Option("--output", "-o", help="Text for people, JSON for programs.")]

app = typer.Typer(
    name="lab",
    help="A real fleet on this machine: hosts with their own sshd and engine, edges, a registry, Git.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    hosts: Annotated[int, typer.Option(help="Hosts with Docker.")] = 3,
    podman: Annotated[int, typer.Option(help="Hosts with Podman.")] = 0,
    edges: Annotated[int, typer.Option(help="Load-balancer hosts.")] = 1,
    folder: Folder = DEFAULT_FOLDER,
    output: Format = Output.text,
    *,
    python: Annotated[bool, typer.Option(help="Leave Python usable on the hosts.")] = False,
) -> None:
    """Bring a fleet up; installs missing Debian packages."""
    from gitops.lab import fleet

    layout = Layout.of(folder)
    _report(layout, fleet.up(layout, Shape(hosts, podman, edges), say, python=python), output)


@app.command()
def down(
    folder: Folder = DEFAULT_FOLDER,
    *,
    keep: Annotated[bool, typer.Option(help="Leave the folder with logs and data.")] = False,
) -> None:
    """Take the fleet down, whatever is left of it."""
    from gitops.lab import fleet

    fleet.down(Layout.of(folder), say, keep=keep)


@app.command()
def status(folder: Folder = DEFAULT_FOLDER, output: Format = Output.text) -> None:
    """Tell where everything is, and which hosts are up."""
    layout = Layout.of(folder)
    _report(layout, load_whole(layout), output)


@app.command(name="exec")
def execute(
    name: HostName,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="The command and its arguments.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Run a command as root on a host; ends with its exit code."""
    from gitops.lab import fleet

    raise typer.Exit(fleet.execute(Layout.of(folder), name, command))


@app.command()
def stop(name: HostName, folder: Folder = DEFAULT_FOLDER) -> None:
    """Cut a host's power."""
    from gitops.lab import fleet

    fleet.stop(Layout.of(folder), name)


@app.command()
def start(name: HostName, folder: Folder = DEFAULT_FOLDER) -> None:
    """Boot a host that is off; its data is as the power cut left it."""
    from gitops.lab import fleet

    fleet.start(Layout.of(folder), name, say)


@app.command()
def cut(name: HostName, folder: Folder = DEFAULT_FOLDER) -> None:
    """Unplug a host's network cable."""
    from gitops.lab import fleet

    fleet.set_cable(Layout.of(folder), name, up=False)


@app.command()
def mend(name: HostName, folder: Folder = DEFAULT_FOLDER) -> None:
    """Plug a host's network cable in again."""
    from gitops.lab import fleet

    fleet.set_cable(Layout.of(folder), name, up=True)


@app.command()
def image(
    name: Annotated[str, typer.Argument(metavar="NAME:TAG", help="The image's name in the lab's registry.")],
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="Holds the Dockerfile; FROM busybox is there.")
    ],
    folder: Folder = DEFAULT_FOLDER,
    build_arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the Dockerfile's ARG.")] = None,
) -> None:
    """Build an image and push it; the last line is its reference."""
    from gitops.lab import fleet

    typer.echo(fleet.build_image(Layout.of(folder), name, source.resolve(), build_arg or []))


@app.command()
def repo(
    name: Annotated[str, typer.Argument(help="The repository's name.")], folder: Folder = DEFAULT_FOLDER
) -> None:
    """Make a bare Git repository; the last line is its path."""
    from gitops.lab import fleet

    typer.echo(str(fleet.make_repository(Layout.of(folder), name)))


def say(line: str) -> None:
    """Progress goes to standard error: standard output is for results."""
    typer.echo(line, err=True)


def _report(layout: Layout, state: LabState, output: Output) -> None:
    from gitops.lab import fleet

    facts = fleet.report(layout, state)
    if output is Output.json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for member in state.members:
        typer.echo(f"{member.name:5} {member.address:15} {member.kind:7} {fleet.condition(state, member)}")
    for name in ("registry", "git", "inventory", "ssh_key", "known_hosts"):
        typer.echo(f"{name:12} {facts[name]}")


def main() -> None:
    """Runs the lab's commands by themselves; an error is told in one line."""
    try:
        app()
    except GitopsError as error:
        say(f"error: {error}")
        sys.exit(1)
