"""What a lab consists of, and what everything in it is called (pure).

Every name follows from the lab's folder, so that a lab can be found and
taken down even when its state file is lost: the bridge carries the folder's
mark as its hardware address, the control groups carry it in their name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gitops.errors import PermanentError

DEFAULT_FOLDER = Path("/var/lib/gitops-lab")
STATE_FILE = "lab.json"
BRIDGE_PREFIX = "gitops-br"
RANGE = "198.18.0.0/15"  # set aside for tests of networks (RFC 2544): never routed on the Internet
# Service networks: the default of gitops.yaml, and what is left of RANGE. They never leave a host.
NETWORKS = ("10.96.0.0/16", "198.19.0.0/16")
REGISTRY_PORT = 5000
DEPLOY_USER = "deploy"  # not root, may use the engine's and HAProxy's sockets
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPS_USER = "ops"  # not root, may not use the sockets, but `sudo` without a password
MAX_DOCKER, MAX_PODMAN, MAX_EDGES = 80, 50, 20
_FIRST_ADDRESS = {"docker": 11, "podman": 101, "edge": 201}
_SAFE_PATH = re.compile(r"/[A-Za-z0-9/._+-]*")


@dataclass(frozen=True)
class Member:
    """One host of a lab.

    Attributes:
        name: h1..hN (Docker), p1..pK (Podman), e1..eM (edges).
        kind: `docker`, `podman` or `edge`.
        index: counts all members of the lab from 0; gives its container networks.
        address: its IPv4 address on the lab's bridge.
    """

    name: str
    kind: str
    index: int
    address: str

    @property
    def has_engine(self) -> bool:
        """Whether containers run here."""
        return self.kind != "edge"

    @property
    def hardware_address(self) -> str:
        """MAC address of its network card: were it new at every boot, neighbours would lose it a while."""
        numbers = [int(part) for part in self.address.split(".")]
        return ":".join(["02", "67", *(f"{number:02x}" for number in numbers)])

    @property
    def socket(self) -> str:
        """Path of the engine's socket on the host."""
        return "/run/podman/podman.sock" if self.kind == "podman" else "/run/docker.sock"

    @property
    def bridge_address(self) -> str:
        """The container bridge's address and length; differs on every host of a lab."""
        return f"10.{100 + self.index}.0.1/24"

    @property
    def bridge_subnet(self) -> str:
        """The container bridge's subnet."""
        return f"10.{100 + self.index}.0.0/24"

    @property
    def network_pool(self) -> str:
        """Where the engine takes subnets for further networks from, /24 each."""
        return f"10.{100 + self.index}.128.0/17"


@dataclass(frozen=True)
class Shape:
    """How many hosts of each kind a lab has."""

    docker: int = 3
    podman: int = 0
    edges: int = 1

    def members(self, subnet: int) -> tuple[Member, ...]:
        """The hosts of a lab of this shape in 198.18.`subnet`.0/24.

        Raises:
            PermanentError: a count is negative or above what one lab holds.
        """
        counts = (
            ("docker", "h", self.docker, MAX_DOCKER),
            ("podman", "p", self.podman, MAX_PODMAN),
            ("edge", "e", self.edges, MAX_EDGES),
        )
        found: list[Member] = []
        for kind, letter, count, most in counts:
            if not 0 <= count <= most:
                raise PermanentError(
                    f"{count} {kind} hosts are not possible", hint=f"give a number from 0 to {most}"
                )
            first = _FIRST_ADDRESS[kind]
            for number in range(count):
                address = f"198.18.{subnet}.{first + number}"
                found.append(Member(f"{letter}{number + 1}", kind, len(found), address))
        return tuple(found)


@dataclass(frozen=True)
class Layout:
    """Paths and names of the lab in one folder."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Layout:
        """The layout for `folder`, made absolute.

        Raises:
            PermanentError: the path holds characters that mount options cannot carry.
        """
        absolute = folder.resolve()
        if not _SAFE_PATH.fullmatch(str(absolute)) or len(absolute.parts) < 3:  # noqa: PLR2004 - "/", a folder, the lab
            raise PermanentError(
                f"a lab cannot live in {str(absolute)!r}",
                hint="use letters, digits and . _ + - only, at least two levels below /",
            )
        return cls(absolute)

    @property
    def mark(self) -> str:
        """Ten hexadecimal digits that stand for the folder."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]

    @property
    def hardware_address(self) -> str:
        """The bridge's MAC address: locally administered, then the mark."""
        return ":".join(["02", *(self.mark[i : i + 2] for i in range(0, 10, 2))])

    @property
    def group(self) -> str:
        """Name of the lab's control group in every hierarchy."""
        return f"gitops-lab-{self.mark}"

    @property
    def state(self) -> Path:
        """The state file; it also marks the folder as a lab's."""
        return self.folder / STATE_FILE

    @property
    def key(self) -> Path:
        """The private SSH key that every user of the lab's hosts accepts."""
        return self.folder / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys by name and address."""
        return self.folder / "ssh" / "known_hosts"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory folder."""
        return self.folder / "inventory"

    @property
    def git(self) -> Path:
        """The folder of bare repositories."""
        return self.folder / "git"

    @property
    def registry(self) -> Path:
        """The registry's configuration, log and images."""
        return self.folder / "registry"

    def host(self, name: str) -> Path:
        """A host's folder: its root file system, its part of /etc, its logs."""
        return self.folder / "hosts" / name


def bridge(subnet: int) -> str:
    """The bridge of 198.18.`subnet`.0/24."""
    return f"{BRIDGE_PREFIX}{subnet}"


def gateway(subnet: int) -> str:
    """The machine's own address in the lab; the registry listens there."""
    return f"198.18.{subnet}.1"


def cable(subnet: int, name: str) -> str:
    """The machine's end of a host's network cable (at most 15 characters)."""
    return f"gl{subnet}-{name}"
