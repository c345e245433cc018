"""Has images on a host before the first container is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gitops.channel.engine import Engine
from gitops.channel.failures import EngineError
from gitops.channel.faults import fault_of
from gitops.model.image import parse
from gitops.tasks.login import Login
from gitops.tasks.outcome import Outcome, TaskError, combined

LoginFor = Callable[[str], Login | None]
"""Who we are to the registry of an image; asked only where something is to be pulled."""


def pull(
    engine: Engine,
    rows: Sequence[Mapping[str, str]],
    machine: str,
    *,
    login_for: LoginFor = lambda _: None,
    check: bool = False,
) -> Outcome:
    """Pulls each image unless it is there, one after the other: the line to the registry is shared.

    Args:
        engine: of the host.
        rows: each an `image` and the first `service` that needs it.
        machine: what kind the host is, as images name it.
        login_for: gives the login to an image's registry.
        check: only say what would be pulled.

    Raises:
        TaskError: kind `pull`: not in the registry, no answer, or made for another kind of machine.
    """
    return combined([_pull(engine, row, machine, login_for, check=check) for row in rows])


def _pull(
    engine: Engine, row: Mapping[str, str], machine: str, login_for: LoginFor, *, check: bool
) -> Outcome:
    reference, service = row["image"], row["service"]
    there = engine.image(reference)
    if there is None and check:
        return Outcome(changed=True, message=f"{reference} would be pulled")
    pulled = there is None
    if there is None:
        login = login_for(reference)
        try:
            engine.pull(reference, auth=login.header(parse(reference).registry) if login else None)
            there = engine.image(reference)
        except EngineError as error:
            message = (
                error.message if reference in error.message else f"cannot pull {reference}: {error.message}"
            )
            raise TaskError(message, fault_of(error) or "pull", service=service) from error
    if there is None:
        message = f"cannot pull {reference}: the engine says that it has, and does not know it"
        raise TaskError(message, "pull", service=service)
    made_for = there.get("Architecture") or machine
    if made_for != machine:
        message = f"{reference} is made for {made_for}, the host is {machine}"
        raise TaskError(message, "pull", service=service)
    return Outcome(pulled, f"{reference} {'pulled' if pulled else 'is there'}")
