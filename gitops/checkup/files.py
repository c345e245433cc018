"""`gitops validate`: everything that is wrong with an application's files, at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gitops import desired
from gitops.desired import inventory as inventories
from gitops.desired.placement import check_placement
from gitops.desired.problems import Problems
from gitops.errors import GitopsError, InvalidInputError
from gitops.model.stack import Stack
from gitops.source.git import FolderTree

NAME = "application"  # stands for the application's name, which gitops.yaml knows and the files do not
COMMIT = "0" * 40  # stands for the commit that these files may become


@dataclass(frozen=True)
class Findings:
    """What the files of an application show, each with its place."""

    problems: list[GitopsError]
    notices: list[GitopsError]  # what is no error, and may still not be what was meant


def problems_of(path: Path, *, env: str = "", inventory: Path | None = None) -> list[GitopsError]:
    """Everything that is wrong with the files of an application, as `check_files` finds it."""
    return check_files(path, env=env, inventory=inventory).problems


def check_files(path: Path, *, env: str = "", inventory: Path | None = None) -> Findings:
    """Everything that is wrong with the files of an application.

    Args:
        path: the folder with the Compose file.
        env: selects `.env.ENV` and `compose.ENV.yaml`, as the application's `env` does.
        inventory: one to check too. One that lies in the folder is part of the repository, and is
            read as such: what may not come from there is a problem.
    """
    problems: list[GitopsError] = []
    found = Problems()
    stack: Stack | None = None
    try:
        stack = desired.load(FolderTree(path), app=NAME, commit=COMMIT, env=env, problems=found)
    except InvalidInputError as invalid:
        problems += invalid.problems
    except GitopsError as problem:
        problems.append(problem)
    if inventory is not None:
        inside = inventory.resolve().is_relative_to(path.resolve())
        try:
            fleet = inventories.load(inventory, trusted=not inside)
            if stack is not None:
                check_placement(stack, fleet)
        except InvalidInputError as invalid:
            problems += invalid.problems
        except GitopsError as problem:
            problems.append(problem)
    return Findings(problems, found.notices)
