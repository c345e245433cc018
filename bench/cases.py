"""What is measured, and what this project is to reach against each peer (pure)."""

from __future__ import annotations

from dataclasses import dataclass

OURS = ("gitops", "sync", "cold")  # this project; the first one's figures are held against the peers'


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        title: for people.
        targets: by peer, the largest share of its time that we may take.
    """

    title: str
    targets: dict[str, float]


CASES = {
    "a": Case("4 replicas, one at a time", {"swarm": 0.35, "playbook": 0.3, "ssh": 1.2}),
    "b": Case("16 replicas, 4 at a time", {"swarm": 0.35, "playbook": 0.3, "ssh": 1.2}),
    "c": Case("back, after the third replica fails", {"swarm": 0.3}),
    "d": Case("nothing to do", {"playbook": 0.02, "ping": 0.05}),
    "e": Case("scale 4 to 12", {"swarm": 0.5, "playbook": 0.25}),
}
