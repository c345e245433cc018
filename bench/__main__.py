"""Measures this project and its peers in one go; prints, and writes docs/performance.* after a whole run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from support.labs import running_lab

from bench import ROOT, chart, machine, report
from bench.cases import CASES
from bench.contenders import CONTENDERS
from bench.figures import Client, Figures
from bench.fleet import EDGES, HOSTS, Fleet
from bench.judge import Judge
from bench.runner import Sample, rounds
from gitops.lab.load import Report

DOCS = ROOT / "docs"
KEYS = [each.key for each in CONTENDERS]
T = TypeVar("T")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    count: Annotated[int, typer.Option("--rounds", min=1, help="How often each case is measured.")] = 3,
    cases: Annotated[str, typer.Option(help=f"Of {','.join(CASES)}.")] = ",".join(CASES),
    only: Annotated[str, typer.Option(help=f"Of {','.join(KEYS)}.")] = ",".join(KEYS),
    out: Annotated[Path | None, typer.Option(help="Where to write; docs after a whole run.")] = None,
    again: Annotated[
        bool, typer.Option("--report", help="Measure nothing: write page and chart anew.")
    ] = False,
) -> None:
    """Measure."""
    wanted = _names(cases, list(CASES)), _names(only, KEYS)
    whole = wanted == (list(CASES), KEYS)
    place = out or (DOCS if whole else None)
    figures = Figures.from_json((DOCS / "performance.json").read_text()) if again else measure(*wanted, count)
    print(report.markdown(figures))
    if place:
        write(figures, place)


def measure(cases: list[str], keys: list[str], count: int) -> Figures:
    """Brings a lab up, measures on it, takes it down."""
    at, commit, load = datetime.now(UTC).isoformat(timespec="seconds"), machine.commit(), machine.load()
    with (
        tempfile.TemporaryDirectory(prefix="bench") as folder,
        running_lab("bench", hosts=HOSTS, edges=EDGES, python=True) as lab,
        Judge(lab.registry.partition(":")[0]) as judge,
    ):
        fleet = Fleet.furnish(lab, Path(folder), judge)
        contenders = [each(fleet) for each in CONTENDERS if each.key in keys]
        facts = {**machine.facts(fleet), "load before": load}
        samples = list(_told(rounds(fleet, contenders, cases, count)))
    return Figures(
        at=at,
        commit=commit,
        machine=facts,
        titles={each.key: each.title for each in contenders},
        seconds=_by_case(samples, lambda found: [each.seconds for each in found]),
        clients=_by_case([each for each in samples if each.client], _seen),
    )


def write(figures: Figures, folder: Path) -> None:
    """Writes JSON and chart, and the figures into the page if one is there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "performance.json").write_text(figures.to_json())
    (folder / "performance.svg").write_text(chart.svg(figures))
    page = folder / "performance.md"
    if page.exists():
        page.write_text(report.refresh(page.read_text(), figures))
    print(f"written to {folder}")


def _told(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Prints each as it comes."""
    for sample in samples:
        failed = (
            f", {sample.client.failed} of {sample.client.requests} requests failed" if sample.client else ""
        )
        print(f"({sample.case}) {sample.contender:10} {sample.seconds:7.2f} s{failed}", flush=True)
        yield sample


def _by_case(samples: Iterable[Sample], sum_up: Callable[[list[Sample]], T]) -> dict[str, dict[str, T]]:
    """The samples of each case and contender, summed up."""
    found: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        found.setdefault(sample.case, {}).setdefault(sample.contender, []).append(sample)
    return {
        case: {contender: sum_up(each) for contender, each in done.items()}
        for case, done in sorted(found.items())
    }


def _seen(samples: list[Sample]) -> Client:
    """All rounds of one client together."""
    reports = [each.client for each in samples if each.client]
    whole = Report(latencies_s=[took for each in reports for took in each.latencies_s])
    requests, failed = sum(each.requests for each in reports), sum(each.failed for each in reports)
    return Client(requests, failed, round(whole.p99_s * 1000, 1))


def _names(asked: str, known: list[str]) -> list[str]:
    """The names of a comma-separated list, in the order in which they are known."""
    names = asked.split(",")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(known)}")
    return [name for name in known if name in names]


if __name__ == "__main__":
    app()
