"""The ways to deploy that are measured, in the order of their turns."""

from __future__ import annotations

from bench.contender import Contender
from bench.contenders.gitops import Cold, Serve, Sync
from bench.contenders.playbook import Ping, Playbook
from bench.contenders.ssh import Ssh
from bench.contenders.swarm import Swarm

CONTENDERS: tuple[type[Contender], ...] = (Serve, Sync, Cold, Swarm, Playbook, Ping, Ssh)
