"""Has images on a host before the first container is touched."""

from __future__ import annotations

from collections.abc import Sequence

from gitops.channel.engine import Engine
from gitops.channel.failures import EngineError
from gitops.tasks.outcome import Outcome, TaskError, combined


def pull(engine: Engine, references: Sequence[str], *, check: bool = False) -> Outcome:
    """Pulls each image unless it is there, one after the other: the line to the registry is shared.

    Raises:
        TaskError: kind `pull`: not in the registry, no answer, or made for another kind of machine.
    """
    machine = engine.version()["Arch"] if references else ""
    return combined([_pull(engine, reference, machine, check=check) for reference in references])


def _pull(engine: Engine, reference: str, machine: str, *, check: bool) -> Outcome:
    there = engine.image(reference)
    if there is None and check:
        return Outcome(changed=True, message=f"{reference} would be pulled")
    pulled = there is None
    if there is None:
        try:
            engine.pull(reference)
            there = engine.image(reference)
        except EngineError as error:
            message = (
                error.message if reference in error.message else f"cannot pull {reference}: {error.message}"
            )
            raise TaskError(message, "pull") from error
    if there is None:
        raise TaskError(f"cannot pull {reference}: the engine says that it has, and does not know it", "pull")
    made_for = there.get("Architecture") or machine
    if made_for != machine:
        raise TaskError(f"{reference} is made for {made_for}, the host is {machine}", "pull")
    return Outcome(pulled, f"{reference} {'pulled' if pulled else 'is there'}")
