"""The figures of a run: medians, ratios, and their JSON (pure)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.cases import CASES, OURS


@dataclass(frozen=True)
class Client:
    """What the constant client saw of one contender in one case, over all rounds."""

    requests: int
    failed: int
    p99_ms: float


@dataclass(frozen=True)
class Verdict:
    """One target and what was reached.

    Attributes:
        case: its key.
        peer: key of the contender that we are held against.
        target: the largest ratio of our time to the peer's.
        reached: the median of the ratios of each round.
    """

    case: str
    peer: str
    target: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether it is as small as asked."""
        return self.reached <= self.target


@dataclass(frozen=True)
class Figures:
    """A run.

    Attributes:
        at: when it began, ISO 8601.
        commit: of this project.
        machine: what it ran on and with, by name.
        titles: of the contenders that took part, by key, in their order.
        seconds: by case and contender, one for each round.
        clients: by case and contender.
    """

    at: str
    commit: str
    machine: Mapping[str, str]
    titles: Mapping[str, str]
    seconds: Mapping[str, Mapping[str, list[float]]]
    clients: Mapping[str, Mapping[str, Client]]

    @property
    def rounds(self) -> int:
        """How many there were."""
        return max((len(each) for case in self.seconds.values() for each in case.values()), default=0)

    def median(self, case: str, contender: str) -> float | None:
        """Seconds; None where that was not measured."""
        found = self.seconds.get(case, {}).get(contender)
        return statistics.median(found) if found else None

    def ratio(self, case: str, contender: str, peer: str) -> float | None:
        """The contender's time as a share of the peer's, compared round by round, then the median."""
        measured = self.seconds.get(case, {})
        pairs = list(zip(measured.get(contender, []), measured.get(peer, []), strict=False))
        return statistics.median(mine / theirs for mine, theirs in pairs) if pairs else None

    def verdicts(self) -> list[Verdict]:
        """What can be said of the targets."""
        return [
            Verdict(key, peer, target, reached)
            for key, case in CASES.items()
            for peer, target in case.targets.items()
            if (reached := self.ratio(key, OURS[0], peer)) is not None
        ]

    def to_json(self) -> str:
        """Everything, with medians and verdicts for whoever reads only those."""
        derived = {
            "rounds": self.rounds,
            "medians": {
                case: {contender: self.median(case, contender) for contender in measured}
                for case, measured in self.seconds.items()
            },
            "targets": [{**asdict(verdict), "met": verdict.met} for verdict in self.verdicts()],
        }
        return json.dumps({**asdict(self), **derived}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        clients = {
            case: {contender: Client(**each) for contender, each in seen.items()}
            for case, seen in data["clients"].items()
        }
        return cls(data["at"], data["commit"], data["machine"], data["titles"], data["seconds"], clients)
