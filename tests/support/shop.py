"""An application of two services on a lab: its images, its repo, and the commands that act on it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml
from support.labs import Lab, digest_of
from support.warm import WARM, Command

from gitops.model.deployment import Deployment
from gitops.store.records import Store

DOCKERFILE = """\
FROM busybox
ARG VERSION
RUN mkdir -p /www && echo "$VERSION" > /www/index.html
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""
Found = TypeVar("Found")

HEALTHY = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]
NEVER_HEALTHY = ["CMD", "false"]
# It ends the answers that it has begun: what is lost when a program crashes in one nobody can save.
DIES_AFTER_3_S = [
    "sh", "-c", "httpd -f -p 80 -h /www & sleep 3; kill $$!; sleep 0.2; echo out of luck; exit 7",
]  # fmt: skip


@dataclass
class Shop:
    """A checkout of the application's repo, and `gitops` with its configuration.

    Attributes:
        lab: the fleet it runs on.
        name: of the application.
        folder: everything of this test.
        compose: the content of compose.yaml; change it and `push`.
        settings: what gitops.yaml says of it besides its source.
        store: file of the store, in `folder`.
        digests: of the images that this test has built -> their references.
        repo: its name in the lab's folder of repositories.
        images: the repository of its images in the registry; those of `shop` are built once a lab.
        warm: whether commands run in processes that have imported the program already.
    """

    lab: Lab
    name: str
    folder: Path
    compose: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    store: str = "gitops.db"
    digests: dict[str, str] = field(default_factory=dict)
    repo: str = ""
    images: str = "shop"
    warm: bool = True
    _open: dict[Path, Store] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Two tests may call their applications alike: each has a repository of its own."""
        self.repo = self.repo or f"{self.name}-{secrets.token_hex(4)}"

    @classmethod
    def create(
        cls, lab: Lab, name: str, folder: Path, *, replicas: int = 4, images: str = "shop", **settings: Any
    ) -> Shop:
        """Makes repo, configuration and a first compose.yaml of `web` and `api` that is not pushed yet."""
        shop = cls(lab, name, folder, settings=settings, images=images)
        folder.mkdir(parents=True, exist_ok=True)
        repo = lab.run("repo", shop.repo).splitlines()[-1]
        shop.git("init", "-q", "-b", "main", str(shop.checkout))
        shop.git("-C", str(shop.checkout), "remote", "add", "origin", repo)
        shop.compose = {
            "services": {
                "web": {
                    "image": shop.image("1"),
                    "init": True,
                    "stop_grace_period": "5s",
                    "healthcheck": {"test": HEALTHY, "interval": "30s", "timeout": "2s", "retries": 3},
                    "x-ingress": {"host": f"{name}.test", "port": 80},
                    "deploy": {
                        "replicas": replicas,
                        "update_config": {"parallelism": 1, "monitor": "1s"},
                    },
                },
                "api": {
                    "image": shop.image("1"),
                    "init": True,
                    "healthcheck": {"test": HEALTHY, "interval": "30s"},
                    "x-ingress": {"host": f"{name}.test", "path": "/api", "port": 80},
                    "deploy": {"replicas": 1, "update_config": {"monitor": "1s"}},
                },
            }
        }
        shop.configure()
        return shop

    def with_another_controller(self, folder: Path) -> Shop:
        """The same application, with a configuration and a store of its own in `folder`."""
        folder.mkdir()
        other = replace(self, folder=folder)
        other.configure()
        return other

    @property
    def checkout(self) -> Path:
        """The work tree."""
        return self.folder / "checkout"

    @property
    def config(self) -> Path:
        """gitops.yaml."""
        return self.folder / "gitops.yaml"

    def configure(self) -> None:
        """Writes gitops.yaml."""
        app = {
            "source": {"repo": f"{self.lab.data['git']}/{self.repo}.git", "branch": "main"},
            "inventory": self.lab.data["inventory"],
            "poll": "2s",
            **self.settings,
        }
        content = {"store": f"sqlite:///{self.folder / self.store}", "apps": {self.name: app}}
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))

    def image(self, version: str) -> str:
        """Builds and pushes the image of that version, once; returns its reference."""
        image = f"{self.images}:{version}"
        if image not in self.lab.built:
            self.lab.built[image] = self._build(version)
        reference = self.lab.built[image]
        self.digests[digest_of(reference)] = reference
        return reference

    def _build(self, version: str) -> str:
        context = self.folder / "image"
        context.mkdir(parents=True, exist_ok=True)
        (context / "Dockerfile").write_text(DOCKERFILE.replace("ARG VERSION", f"ENV VERSION={version}"))
        return self.lab.run("image", f"{self.images}:{version}", str(context)).splitlines()[-1]

    def git(self, *arguments: str) -> str:
        """Runs git; returns what it printed."""
        environment = {
            **os.environ,
            "GIT_AUTHOR_NAME": "Test",
            "GIT_AUTHOR_EMAIL": "test@example.test",
            "GIT_COMMITTER_NAME": "Test",
            "GIT_COMMITTER_EMAIL": "test@example.test",
        }
        done = subprocess.run(
            ["git", *arguments], check=True, capture_output=True, text=True, env=environment, timeout=60
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commits compose.yaml as it stands now; returns the full SHA."""
        (self.checkout / "compose.yaml").write_text(yaml.safe_dump(self.compose, sort_keys=False))
        at = ("-C", str(self.checkout))
        self.git(*at, "add", "--all")
        self.git(*at, "commit", "-q", "--allow-empty", "-m", message)
        return self.git(*at, "rev-parse", "HEAD")

    def push(self, message: str) -> str:
        """Commits compose.yaml as it stands now and pushes it; returns the full SHA."""
        commit = self.commit(message)
        self.push_commits()
        return commit

    def push_commits(self) -> None:
        """Pushes what is committed."""
        self.git("-C", str(self.checkout), "push", "-q", "origin", "HEAD:main")

    def command(self, *arguments: str) -> list[str]:
        """The argument list of a `gitops` command with this configuration."""
        return [sys.executable, "-m", "gitops.cli", "--config", str(self.config), *arguments]

    def gitops(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a `gitops` command to its end."""
        command = self.command(*arguments)
        if self.warm:
            return WARM.run(*command[2:], timeout_s=300)  # without `python -m`
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    def read(self, *arguments: str) -> dict[str, Any]:
        """Runs a `gitops` command that reports, and returns its JSON."""
        done = self.gitops(*arguments, "-o", "json")
        assert done.stdout, f"{arguments}: {done.returncode}\n{done.stderr}"
        view: dict[str, Any] = json.loads(done.stdout)
        return view

    def sync(self) -> dict[str, Any]:
        """`gitops sync`, with its exit code as `exit`."""
        done = self.gitops("sync", self.name, "-o", "json")
        assert done.stdout, f"sync: {done.returncode}\n{done.stderr}"
        return {**json.loads(done.stdout), "exit": done.returncode, "stderr": done.stderr}

    def deploy(self, version: str) -> str:
        """Gives both services the image of that version and deploys it by hand; returns its commit."""
        for service in self.compose["services"].values():
            service["image"] = self.image(version)
        commit = self.push(f"version {version}")
        result = self.sync()
        assert result["outcome"] == "succeeded", result
        return commit

    def history(self) -> list[dict[str, Any]]:
        """The deployments as `gitops history` reports them, newest first."""
        deployments: list[dict[str, Any]] = self.read("history", self.name)["deployments"]
        return deployments

    def deployments(self) -> list[Deployment]:
        """The same from the store itself: quick, for waiting."""
        return self.records.history(self.name) if (self.folder / self.store).exists() else []

    def chosen(self, service: str) -> int:
        """How many replicas the load has asked for, as recorded once they serve; quick, for waiting."""
        return self.records.replicas.counts(self.name).get(service, 0)

    @property
    def records(self) -> Store:
        """The store itself, opened once."""
        file = self.folder / self.store
        if file not in self._open:
            self._open[file] = Store(f"sqlite:///{file}")
        return self._open[file]

    def ended(self, commit: str, within_s: float = 180) -> dict[str, Any]:
        """Waits until a deployment of the commit has an outcome; returns what `gitops history` says."""

        def look() -> bool:
            return any(d.commit == commit and d.outcome != "running" for d in self.deployments())

        self.until(look, within_s, f"an outcome of {commit[:12]}")
        return next(d for d in self.history() if d["commit"] == commit and d["outcome"] != "running")

    def until(self, look: Callable[[], Found | None], within_s: float, what: str) -> Found:
        """`until`; what is not there in time is told with what the service has logged by then."""
        try:
            return until(look, within_s, what)
        except AssertionError as late:
            raise AssertionError(f"{late}; the service said:\n{self.service_log[-5000:]}") from None

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str] | Command]:
        """Runs `gitops serve` for the time of the block, and ends it in order if it still runs."""
        with (self.folder / "serve.log").open("a") as log, self._service(log) as service:
            try:
                yield service
            finally:
                if service.poll() is None:
                    service.terminate()
                    try:
                        service.wait(timeout=60)
                    finally:
                        service.kill()

    def _service(self, log: IO[str]) -> subprocess.Popen[str] | Command:
        command = self.command("serve")
        if self.warm:
            return WARM.start(*command[2:], out=log, err=log)
        return subprocess.Popen(command, stderr=log, stdout=log, text=True)

    @property
    def service_log(self) -> str:
        """What the service has logged."""
        log = self.folder / "serve.log"
        return log.read_text() if log.exists() else ""

    def containers(self) -> dict[str, str]:
        """Every container of the application by name, with id, `Up` or not, and image, as the engines say.

        A host without power has none. An image that this test has built is named by its tag: Podman
        shows the digest alone.
        """
        found = {}
        for host in (host for host in self.lab.data["hosts"] if self.lab.up(host["name"])):
            for each in self.lab.containers(host["name"], f"gitops.app={self.name}"):
                name, up = each["Names"][0].removeprefix("/"), each["Status"].partition(" ")[0]
                up = "Up" if each["State"] == "running" else up or each["State"]
                image = self.digests.get(each["Image"].partition("@")[2], each["Image"])
                found[f"{host['name']}/{name}"] = f"{each['Id']} {up} {image}"
        return found

    def servers(self) -> list[list[str]]:
        """What the load balancer e1 reports of its servers: a list of the columns of `show stat` for each."""
        return [line.split(",") for line in self.lab.haproxy("show stat").splitlines() if line]

    def haproxy_cfg(self, edge: str = "e1") -> str:
        """haproxy.cfg as it lies on the edge."""
        return self.lab.on(edge, "cat", "/etc/haproxy/haproxy.cfg")

    def remove(self) -> None:
        """Takes the application's containers and its fragment away, so that the lab serves the next test."""
        while self._open:
            self._open.popitem()[1].close()
        hosts = self.lab.data["hosts"]
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(self._clear, hosts))
        for edge in self.lab.data["edges"]:
            self.lab.on(edge["name"], "rm", "-rf", f"/var/lib/gitops/{self.name}")

    def _clear(self, host: dict[str, Any]) -> None:
        if self.lab.up(host["name"]):
            there = [each["Id"] for each in self.lab.containers(host["name"], f"gitops.app={self.name}")]
            if there:
                self.lab.on(host["name"], host["engine"], "rm", "-f", *there)
            self.lab.on(host["name"], "rm", "-rf", f"/var/lib/gitops/{self.name}")


MakeShop = Callable[..., Shop]
"""The fixture `make_shop`: `make_shop(NAME, replicas=4, **settings of gitops.yaml)`."""


def until(look: Callable[[], Found | None], within_s: float, what: str) -> Found:
    """Looks until something is there, every 100 ms, for at most `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.1)
