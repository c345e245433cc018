"""The command line: thin. A command reads its arguments, calls one part, and prints what that returns.

Imports lie inside the commands: `gitops status` should not wait for what only `gitops serve` needs.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gitops import __version__
from gitops.collector import relax
from gitops.errors import GitopsError, PermanentError
from gitops.lab.cli import app as lab
from gitops.output.result import Output, print_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gitops.maintenance import Maintenance
    from gitops.reconcile import Request, Result
    from gitops.session import Session

EXIT = {"succeeded": 0, "nothing": 0, "rolled-back": 3}  # of sync and rollback; 1 for everything else

cli = typer.Typer(
    help="git push -> the fleet serves that commit; or it is back on the last one by itself, and says why.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cli.add_typer(lab, name="lab")

AppName = Annotated[str, typer.Argument(metavar="APP", help="Name of the application in gitops.yaml.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="gitops.yaml; default $GITOPS_CONFIG, ./ or /etc/gitops/."),
]
Out = Annotated[Output, typer.Option("--output", "-o", help="How to print the result.")]
HostName = Annotated[str, typer.Argument(metavar="HOST", help="By its inventory name.")]
Revision = Annotated[
    str, typer.Option("--commit", metavar="REV", help="Commit, branch or tag; default: the newest.")
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for another controller.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@cli.callback()
def options(
    context: typer.Context,
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options of every command."""
    del version  # its callback has done it
    context.obj = config


def main() -> None:
    """Runs the command line; a user's mistake ends with exit code 1 and a message, never a stack trace."""
    relax()
    try:
        cli()
    except GitopsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _session(context: typer.Context, config: Path | None) -> Session:
    from gitops.session import Session

    return Session.open(config or context.obj)


@cli.command()
def validate(
    path: Annotated[Path, typer.Argument(help="Folder with compose.yaml.")] = Path(),
    env: Annotated[str, typer.Option("--env", help="Values from .env.NAME and compose.NAME.yaml.")] = "",
    inventory: Annotated[Path | None, typer.Option(help="Inventory to check as well.")] = None,
    output: Out = "text",
) -> None:
    """Check Compose files, overlays and inventory; every error at once as file:line:column."""
    from gitops.checkup.files import check_files

    found = check_files(path, env=env, inventory=inventory)
    view = {
        "valid": not found.problems,
        "problems": [str(problem) for problem in found.problems],
        "notices": [str(notice) for notice in found.notices],
    }
    print_result(view, output, _validate_text)
    raise typer.Exit(1 if found.problems else 0)


def _validate_text(view: dict[str, Any]) -> str:
    notices = [f"notice: {notice}" for notice in view["notices"]]
    return "\n".join([*notices, *(view["problems"] or ["valid"])])


@cli.command()
def plan(
    context: typer.Context, app: AppName, config: Config = None, commit: Revision = "", output: Out = "text"
) -> None:
    """Show what a sync would do and why: steps, placement, haproxy.cfg diff. Exit 0 nothing, 2 changes."""
    from gitops.output.text import plan_text

    with _session(context, config) as session:
        view = session.plan(app, commit)
    print_result(view, output, plan_text)
    raise typer.Exit(2 if view["changes"] else 0)


@cli.command()
def render(
    context: typer.Context,
    app: AppName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder to write.")],
    config: Config = None,
    commit: Revision = "",
) -> None:
    """Write playbook, inventory and haproxy.cfg that stock ansible-playbook runs without any controller."""
    with _session(context, config) as session:
        session.render(app, commit, out)
    typer.echo(f"ansible-playbook -i {out}/inventory {out}/rollout.yml", err=True)


@cli.command()
def sync(
    context: typer.Context,
    app: AppName,
    config: Config = None,
    commit: Revision = "",
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Agree to removing most of the application.")
    ] = False,
    wait: Wait = 60.0,
    output: Out = "text",
) -> None:
    """Deploy now; a service that runs does it. Exit 0 deployed or nothing to do, 3 rolled back, 1 failed."""
    from gitops.control import Asked, Show, ask
    from gitops.output.text import result_text
    from gitops.places import find_config

    with ExitStack() as shown:

        def listen() -> Show:
            from gitops.output.progress import Progress  # takes long: the service works meanwhile

            return shown.enter_context(Progress(app)).show

        view = ask(find_config(config or context.obj), Asked(app, commit, confirm), listen)
    if view is not None:
        print_result(view, output, result_text)
        raise typer.Exit(EXIT.get(view["outcome"], 1))

    from gitops.reconcile import Request

    with _session(context, config) as session:
        revision = session.resolve(app, commit) if commit else ""
        if confirm:
            session.store.lift(app, revision or session.application(app).fetch())
        result = _pass(session, app, Request("manual", revision, confirmed=confirm), wait)
    _finish(result, output)


@cli.command()
def rollback(
    context: typer.Context,
    app: AppName,
    config: Config = None,
    to: Annotated[
        str, typer.Option("--to", metavar="REV", help="Default: the good commit before this one.")
    ] = "",
    wait: Wait = 60.0,
    output: Out = "text",
) -> None:
    """Go to the previous good commit, or the one named; newer ones are quarantined. Exit as sync."""
    with _session(context, config) as session:
        result = _pass(session, app, session.rollback(app, to), wait)
    _finish(result, output)


def _pass(session: Session, app: str, request: Request, wait: float) -> Result:
    """One pass, with live progress."""
    from gitops.output.progress import Progress

    with Progress(app) as progress:
        return session.reconcile(app, request, progress.show, wait_s=wait, say=progress.say)


def _finish(result: Result, output: Output) -> None:
    from gitops.output.text import result_text
    from gitops.views import result_view

    print_result(result_view(result), output, result_text)
    raise typer.Exit(EXIT.get(result.outcome, 1))


@cli.command()
def serve(context: typer.Context, config: Config = None) -> None:
    """Follow every application of gitops.yaml until SIGTERM."""
    from gitops.controller import Service
    from gitops.output.log import Lines
    from gitops.places import find_config

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    Service(find_config(config or context.obj)).run()


@cli.command()
def status(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="[APP]", help="Default: all applications.")] = "",
    config: Config = None,
    output: Out = "text",
) -> None:
    """Sync, health, commit, replicas and hosts, as the hosts report them now."""
    from gitops.output.text import status_text, statuses_text

    with _session(context, config) as session:
        if app:
            print_result(session.status(app), output, status_text)
            return
        views = [session.status(name) for name in session.settings.apps]
        strange = session.strangers(views)
    print_result({"apps": views, "not_in_config": strange}, output, statuses_text)


@cli.command()
def history(
    context: typer.Context,
    app: AppName,
    config: Config = None,
    limit: Annotated[int, typer.Option(help="How many deployments.")] = 20,
    output: Out = "text",
) -> None:
    """Deployments with outcome, reason and durations, newest first."""
    from gitops.output.text import history_text

    with _session(context, config) as session:
        view = session.history(app, limit)
    print_result(view, output, history_text)


@cli.command()
def pause(context: typer.Context, app: AppName, config: Config = None) -> None:
    """Hold an application: nothing is deployed until it is resumed."""
    with _session(context, config) as session:
        session.application(app)
        session.store.set_paused(app, paused=True)
    typer.echo(f"{app} is paused")


@cli.command()
def resume(context: typer.Context, app: AppName, config: Config = None) -> None:
    """Release an application that was paused, by hand or by a failed update."""
    with _session(context, config) as session:
        session.resume(app)
    typer.echo(f"{app} goes on at the next pass")


@cli.command()
def cancel(context: typer.Context, app: AppName, config: Config = None) -> None:
    """End the rollout that runs, and return to the last good commit."""
    with _session(context, config) as session:
        session.application(app)
        commit = session.store.ask(app, "cancel").commit
    typer.echo(f"{app}: {commit[:12]} ends when its present steps have, and returns to the last good commit")


@cli.command()
def promote(context: typer.Context, app: AppName, config: Config = None) -> None:
    """Let a rollout go on that waits at a manual pause."""
    with _session(context, config) as session:
        session.application(app)
        commit = session.store.ask(app, "promote").commit
    typer.echo(f"{app}: {commit[:12]} goes on")


@cli.command()
def retry(
    context: typer.Context,
    app: AppName,
    config: Config = None,
    commit: Annotated[
        str, typer.Option("--commit", metavar="REV", help="Default: every quarantined one.")
    ] = "",
) -> None:
    """Lift the quarantine, so that a failed commit is tried again."""
    with _session(context, config) as session:
        lifted = session.retry(app, commit)
    typer.echo(f"lifted: {', '.join(sha[:12] for sha in lifted) or 'nothing was quarantined'}")


@cli.command()
def logs(
    context: typer.Context,
    app: AppName,
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Default: every service.")] = "",
    config: Config = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option(help="Lines a container to begin with.")] = 100,
) -> None:
    """Container logs across hosts."""
    with _session(context, config) as session:
        for replica, line in session.logs(app, service, follow=follow, tail=tail):
            typer.echo(f"{replica} | {line}")


@cli.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write it.")] = Path(),
) -> None:
    """Write a working application repo: compose.yaml, .env, an inventory and gitops.yaml."""
    from gitops.scaffold import write_application

    for path in write_application(folder):
        typer.echo(f"wrote {path}")


@cli.command()
def bootstrap(
    context: typer.Context,
    config: Config = None,
    inventory: Annotated[Path | None, typer.Option(help="Default: the inventories of gitops.yaml.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would change, and change nothing.")
    ] = False,
) -> None:
    """Prepare hosts (engine, HAProxy, folders) by playbook; only this needs Python on the hosts."""
    from gitops.checkup.bootstrap import bootstrap_hosts, inventories_of
    from gitops.model.stack import SERVICE_NETWORK

    places = {inventory: SERVICE_NETWORK} if inventory else inventories_of(config or context.obj)
    raise typer.Exit(max(bootstrap_hosts(*place, check=check) for place in places.items()))


@cli.command()
def doctor(
    context: typer.Context,
    config: Config = None,
    inventory: Annotated[Path | None, typer.Option(help="Default: the inventories of gitops.yaml.")] = None,
    output: Out = "text",
) -> None:
    """Say what is missing on the controller and the hosts, and the command that mends it."""
    from gitops.checkup.doctor import examine
    from gitops.output.text import doctor_text

    view = examine(config or context.obj, inventory)
    print_result(view, output, doctor_text)
    raise typer.Exit(0 if view["ok"] else 1)


@cli.command()
def drain(
    context: typer.Context, host: HostName, config: Config = None, wait: Wait = 600.0, output: Out = "text"
) -> None:
    """Take a host out of service: what runs there is started elsewhere first, then goes."""
    _maintenance(context, config, wait, output, lambda each: each.drain(host))


@cli.command()
def undrain(
    context: typer.Context, host: HostName, config: Config = None, wait: Wait = 600.0, output: Out = "text"
) -> None:
    """Put a drained host back in service."""
    _maintenance(context, config, wait, output, lambda each: each.undrain(host))


@cli.command()
def maintain(
    context: typer.Context,
    playbook: Annotated[Path, typer.Option("--playbook", metavar="FILE", help="Runs on each host.")],
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST...]", help="Default: every container host.")
    ] = None,
    config: Config = None,
    wait: Wait = 600.0,
    output: Out = "text",
) -> None:
    """Host by host: drain, run a playbook, wait until it is well, put it back. Stops at the first failure."""
    _maintenance(
        context, config, wait, output, lambda maintenance: maintenance.maintain(playbook, hosts or [])
    )


def _maintenance(
    context: typer.Context,
    config: Path | None,
    wait: float,
    output: Output,
    act: Callable[[Maintenance], dict[str, Any]],
) -> None:
    """Runs one of the commands on hosts; exit code 0 where all went well, else 1."""
    from gitops.maintenance import Maintenance, went_well
    from gitops.output.progress import Progress
    from gitops.output.text import maintenance_text
    from gitops.places import find_config

    file = find_config(config or context.obj)
    with _session(context, file) as session, Progress("hosts") as progress:
        view = act(Maintenance(session, file, progress.show, progress.say, wait))
    print_result(view, output, maintenance_text)
    raise typer.Exit(0 if went_well(view) else 1)


@cli.command()
def remove(
    context: typer.Context,
    app: Annotated[str, typer.Argument(metavar="APP", help="It need not be in gitops.yaml any more.")],
    config: Config = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove its named volumes, too, WITH THEIR DATA.")
    ] = False,
    inventory: Annotated[
        Path | None, typer.Option(help="Its hosts; default: those of its latest deployments.")
    ] = None,
    confirm: Annotated[bool, typer.Option("--confirm", "-y", help="Do not ask.")] = False,
    wait: Wait = 60.0,
    output: Out = "text",
) -> None:
    """Remove an application from all hosts: containers, networks, routes, files; its data stays. It asks."""
    from gitops.output.text import removal_text
    from gitops.removal import Removal

    def say(text: str) -> None:
        typer.echo(text, err=True)

    with _session(context, config) as session:
        removal = Removal(session, app, inventory, say=say, wait_s=wait)
        if not confirm:
            say(removal_text(removal.look() | {"volumes_removed": volumes, "in_config": False}))
            if not sys.stdin.isatty():
                raise PermanentError(f"{app} is not removed: nobody has agreed", hint="--confirm agrees")
            typer.confirm(f"Remove {app}?", abort=True, err=True)
        view = removal.remove(volumes=volumes)
    print_result(view, output, removal_text)
    raise typer.Exit(0 if view["removed"] else 1)


@cli.command()
def unlock(
    context: typer.Context,
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="By inventory name.")],
    config: Config = None,
    inventory: Annotated[Path | None, typer.Option(help="Default: the inventories of gitops.yaml.")] = None,
    app: Annotated[str, typer.Option("--app", metavar="APP", help="Its inventory only.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Take the lock over: ends the connection of whoever holds it.")
    ] = False,
    output: Out = "text",
) -> None:
    """Say who holds a host's lock and since when; with --force, end the connection that holds it."""
    from gitops.output.text import unlock_text
    from gitops.unlock import unlock as unlock_hosts

    place = config or context.obj
    view = unlock_hosts(hosts, config=place, inventory=inventory, app=app, force=force)
    print_result(view, output, unlock_text)
    raise typer.Exit(1 if any(lock["error"] for lock in view["locks"]) else 0)


if __name__ == "__main__":
    main()
