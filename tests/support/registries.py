"""A registry of a test's own beside the lab's: it wants a password, and it can be down."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.labs import Lab
from support.shop import until

USERNAME = "deploy"
PASSWORD = "canary-4f1c9e"  # looked for in everything that is left behind
PORT = 5001
_CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
http: {{addr: "{address}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


@dataclass
class Registry:
    """A private registry at the address of the lab's own, which every host trusts."""

    lab: Lab
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As image references name it."""
        return f"{self.lab.registry.partition(':')[0]}:{PORT}"

    @property
    def login(self) -> str:
        """What `docker login` writes."""
        auth = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        return json.dumps({"auths": {self.address: {"auth": auth}}})

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")],
                stdout=log,
                stderr=log,
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            )
        until(self._listens, 20, f"a registry at {self.address}")

    def stop(self) -> None:
        """Ends it; its images stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def take(self, image: str) -> str:
        """Pushes an image of the lab's registry under the same name; returns its reference here."""
        reference = f"{self.address}/{image.partition('/')[2]}"
        self.lab.on("h1", "docker", "pull", "-q", image)
        self.lab.on("h1", "docker", "tag", image, reference)
        script = (
            'umask 077; mkdir -p /run/login && printf %s "$1" > /run/login/config.json'
            ' && docker --config /run/login push -q "$2" && rm -r /run/login'
        )
        self.lab.on("h1", "sh", "-c", script, "sh", self.login, reference)
        self.lab.on("h1", "docker", "rmi", reference)
        return reference

    def _listens(self) -> bool:
        host, _, port = self.address.partition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def private_registry(lab: Lab, folder: Path) -> Iterator[Registry]:
    """A registry that runs, ended at the end."""
    folder.mkdir()
    registry = Registry(lab, folder)
    (folder / "config.yml").write_text(_CONFIGURATION.format(folder=folder, address=registry.address))
    (folder / "htpasswd").write_text(f"{USERNAME}:{_bcrypt(PASSWORD)}\n")
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


def _bcrypt(password: str) -> str:
    """The only hash that the registry takes, by the C library: Python has none of its own."""
    script = "chomp($p = <STDIN>); print crypt($p, q($2y$05$abcdefghijklmnopqrstuu))"
    done = subprocess.run(
        ["perl", "-e", script], input=password, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout
