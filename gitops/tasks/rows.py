"""What one stage of a rollout does with the containers of one host, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gitops.channel.engine import Engine
from gitops.tasks.container import Row, Service, read_service, remove, start, surroundings
from gitops.tasks.health import stand_monitor, wait_healthy
from gitops.tasks.outcome import Outcome, side_by_side


def carry_out(engine: Engine, folder: Path, rows: Sequence[Row], *, check: bool = False) -> Outcome:
    """Does what each row's `state` says.

    Args:
        engine: of the host.
        folder: the run folder; the rows' `spec` is relative to it.
        rows: `name` and `state` each; for `healthy` also `slot`, `spec` (a file), `ports`
            ([container port, host port] pairs) and `monitor_s`, for `watched` `monitor_s`, for
            `absent` `grace_s`.
        check: whether only to say what would be done.

    Raises:
        TaskError: the first failure in the order of the rows; the others are carried through.
    """
    services = {row["spec"]: read_service(folder / row["spec"]) for row in rows if row["state"] == "healthy"}
    made = [surroundings(engine, service) for service in services.values() if not check]
    outcome = side_by_side(partial(_one, engine, services, check=check), rows)
    return Outcome(outcome.changed or any(made), outcome.message)


def _one(engine: Engine, services: dict[str, Service], row: Row, *, check: bool) -> Outcome:
    if row["state"] == "absent":
        return remove(engine, row["name"], row["grace_s"], check=check)
    if row["state"] == "watched":
        return Outcome(changed=False, message="would be watched") if check else stand_monitor(engine, row)
    started = start(engine, services[row["spec"]], row, check=check)
    if check:
        return started
    healthy = wait_healthy(engine, row)
    return Outcome(
        started.changed, f"{started.message} and is healthy" if started.changed else healthy.message
    )
