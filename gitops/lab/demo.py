"""The main job, live: a lab fleet, the service, three pushes under a client that keeps asking.

make demo                      leaves it running until Ctrl-C
make demo DEMO_ARGS=--once     ends by itself; exit 0 only if all of it was seen
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gitops.assets import folder as assets
from gitops.errors import GitopsError, PermanentError
from gitops.lab.layout import DEFAULT_FOLDER
from gitops.lab.load import Load, Report

APP = "shop"
OUTCOME_S = 180  # for one push to have an outcome
AUTHOR = {
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
}


@dataclass(frozen=True)
class Push:
    """One push of the demo and what must come of it."""

    message: str
    values: dict[str, str]  # of .env
    outcome: str


PUSHES = (
    Push("v1: four replicas of web, two of api", {"WEB_VERSION": "1", "API_VERSION": "1"}, "succeeded"),
    Push("v2: a new web", {"WEB_VERSION": "2"}, "succeeded"),
    Push("v3: a web whose health check never passes", {"WEB_VERSION": "3"}, "rolled-back"),
)
IMAGES = (
    ("web", "1", ()),
    ("api", "1", ()),
    ("web", "2", ()),
    ("web", "3", ("DEFECT=unhealthy",)),
)


@dataclass(frozen=True)
class Stage:
    """Where the demo plays: a running lab, a checkout of the application's repo, a configuration."""

    folder: Path  # of the lab
    lab: dict[str, Any]  # as `gitops lab up -o json` printed it

    @property
    def checkout(self) -> Path:
        """The work tree that a developer pushes from."""
        return self.folder / "demo" / APP

    @property
    def config(self) -> Path:
        """gitops.yaml."""
        return self.folder / "demo" / "gitops.yaml"

    @property
    def address(self) -> str:
        """Where the application answers."""
        return str(self.lab["edges"][0]["address"])

    def gitops(self, *arguments: str) -> list[str]:
        """The argument list of a `gitops` command."""
        return [sys.executable, "-m", "gitops.cli", "--config", str(self.config), *arguments]

    def read(self, *arguments: str) -> dict[str, Any]:
        """What a `gitops` command reports."""
        view: dict[str, Any] = json.loads(_run([*self.gitops(*arguments), "-o", "json"]))
        return view


def main(
    once: Annotated[
        bool, typer.Option("--once", help="End by itself, with exit code 0 if all was seen.")
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", help="The lab's folder.")] = DEFAULT_FOLDER,
) -> None:
    """Play the demo."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the lab goes down then, too
    good = False
    try:
        with _fleet(folder) as lab:
            stage = Stage(folder, lab)
            _prepare(stage)
            with _service(stage):
                good = _play(stage)
                if not once:
                    _stay(stage)
    except KeyboardInterrupt:
        _say("stopped")
    except GitopsError as error:
        typer.echo(f"error: {error}", err=True)
    raise typer.Exit(0 if good else 1)


def _play(stage: Stage) -> bool:
    """The pushes, under load from the second one on; whether everything was as it should be."""
    seen = [_push(stage, PUSHES[0])]
    _say(f"a client keeps asking http://{stage.address}/version.json while the next two are pushed")
    with Load(stage.address, path="/version.json", pause_s=0.02) as load:
        seen += [_push(stage, push) for push in PUSHES[1:]]
    status = stage.read("status", APP)
    back = status["commit"] == _git(stage, "rev-parse", "HEAD~1") and status["health"] == "healthy"
    _say(f"the fleet is on v2 again by itself: {'yes' if back else 'NO'}")
    _told(load.report)
    subprocess.run(stage.gitops("history", APP), check=True)
    return all(seen) and back and load.report.requests > 0 and load.report.failed == 0


def _push(stage: Stage, push: Push) -> bool:
    """Pushes one commit and waits for what comes of it; whether it is what should."""
    environment = stage.checkout / ".env"
    values = dict(line.split("=", 1) for line in environment.read_text().splitlines() if "=" in line)
    values |= push.values
    environment.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    _git(stage, "add", "--all")
    _git(stage, "commit", "-q", "-m", push.message)
    _say(f"git push   {push.message}")
    _git(stage, "push", "-q", "origin", "HEAD:main")
    commit = _git(stage, "rev-parse", "HEAD")
    deadline = time.monotonic() + OUTCOME_S
    while time.monotonic() < deadline:
        for deployment in stage.read("history", APP)["deployments"]:
            if deployment["commit"] == commit and deployment["outcome"] != "running":
                took = f"{deployment['outcome']} in {deployment['duration_s']:.1f} s"
                _say(f"{took}  {deployment['reason']}".rstrip())
                return bool(deployment["outcome"] == push.outcome)
        time.sleep(0.3)
    _say(f"no outcome within {OUTCOME_S} s")
    return False


def _told(report: Report) -> None:
    _say(f"{report.requests} requests, {report.failed} failed")
    for failure, count in report.failures.items():
        _say(f"  {count} x {failure}")


def _stay(stage: Stage) -> None:
    """Leaves everything running until Ctrl-C."""
    _say("It goes on running. Try, in another terminal:")
    config = f"-c {stage.config}"
    for hint in (
        f"curl http://{stage.address}/",
        f"gitops {config} status {APP}",
        f"gitops {config} history {APP}",
        f"gitops {config} logs {APP} web -f",
        f"cd {stage.checkout} && edit .env && git commit -a && git push origin HEAD:main",
        f"gitops {config} rollback {APP}",
        f"gitops lab --help   (with --dir {stage.folder})",
    ):
        typer.echo(f"    {hint}")
    _say("Ctrl-C ends it and takes the lab down.")
    threading.Event().wait()


@contextmanager
def _fleet(folder: Path) -> Iterator[dict[str, Any]]:
    """The lab, up for the time of the block."""
    lab = [sys.executable, "-m", "gitops.lab"]
    at = ["--dir", str(folder)]
    try:
        done = subprocess.run([*lab, "up", *at, "-o", "json"], check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise PermanentError("the lab did not come up", hint="what stands above says why")
        yield json.loads(done.stdout)
    finally:
        subprocess.run([*lab, "down", *at], check=False)


@contextmanager
def _service(stage: Stage) -> Iterator[None]:
    """`gitops serve`, its log on this terminal."""
    _say("gitops serve")
    with subprocess.Popen(stage.gitops("serve"), start_new_session=True) as service:
        try:
            yield
        finally:
            service.terminate()
            service.wait()


def _prepare(stage: Stage) -> None:
    """Images in the lab's registry, a repo with the example application, a configuration."""
    stage.checkout.parent.mkdir(parents=True, exist_ok=True)
    example = assets("examples") / APP
    lab = [sys.executable, "-m", "gitops.lab"]
    at = ["--dir", str(stage.folder)]
    for service, version, arguments in IMAGES:
        _say(f"image      {APP}/{service}:{version}")
        build = [option for each in (f"VERSION={version}", *arguments) for option in ("--build-arg", each)]
        _run([*lab, "image", f"{APP}/{service}:{version}", str(example / "images" / service), *at, *build])
    repo = _run([*lab, "repo", APP, *at]).splitlines()[-1]
    shutil.copytree(example, stage.checkout, dirs_exist_ok=True, ignore=shutil.ignore_patterns("images"))
    values = f"REGISTRY={stage.lab['registry']}\nWEB_VERSION=1\nAPI_VERSION=1\n"
    (stage.checkout / ".env").write_text(values)
    _git(stage, "init", "-q", "-b", "main")
    _git(stage, "remote", "add", "origin", repo)
    stage.config.write_text(
        f"store: sqlite:///{stage.config.parent}/gitops.db\n"
        f"apps:\n"
        f"  {APP}:\n"
        f"    source: {{repo: {repo}, branch: main}}\n"
        f"    inventory: {stage.lab['inventory']}\n"
        f"    poll: 10s\n"
    )


def _git(stage: Stage, *arguments: str) -> str:
    return _run(["git", "-C", str(stage.checkout), *arguments], environment=AUTHOR)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if done.returncode not in {0, 2}:
        raise PermanentError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _say(text: str) -> None:
    typer.secho(f"== {text}", bold=True)


if __name__ == "__main__":
    typer.run(main)
