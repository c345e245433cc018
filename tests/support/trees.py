"""Files of a commit, held in memory."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.desired import load
from gitops.errors import InvalidInputError, PermanentError, Where
from gitops.model.stack import Service, Stack

COMMIT = "c0ffee" + "0" * 34


class MemoryTree:
    """A tree of texts and bytes by path."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}

    def read(self, path: str) -> bytes:
        try:
            return self._files[path]
        except KeyError:
            raise PermanentError("there is no such file", where=Where(file=path)) from None

    def exists(self, path: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for name in self._files)

    def names(self, folder: str = "") -> list[str]:
        prefix = f"{folder}/" if folder else ""
        inside = {name.removeprefix(prefix).split("/")[0] for name in self._files if name.startswith(prefix)}
        if folder and not inside:
            raise PermanentError("there is no such folder", where=Where(file=folder))
        return sorted(inside)


def stack(text: str | bytes, **files: str) -> Stack:
    """The stack of a Compose file; further files by name, with `dotenv` for `.env`."""
    named = {
        ".env" if name == "dotenv" else name.replace("__", "."): content for name, content in files.items()
    }
    return load(MemoryTree({"compose.yaml": text, **named}), app="shop", commit=COMMIT)


def service(keys: str, **files: str) -> Service:
    """The one service `web` with these keys, each on a line of its own, and an image."""
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    return stack(f"services:\n  web:\n    image: web\n{lines}volumes: {{data: }}\n", **files).services[0]


def problems(text: str | bytes, **files: str) -> list[str]:
    """What is wrong with a Compose file, one string a problem; fails where nothing is."""
    try:
        found = stack(text, **files)
    except InvalidInputError as error:
        return [str(problem) for problem in error.problems]
    raise AssertionError(f"accepted: {found}")


def service_problems(keys: str, **files: str) -> list[str]:
    """What is wrong with keys of the service `web`: they stand at line 4 and below, from column 5."""
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    return problems(f"services:\n  web:\n    image: web\n{lines}", **files)
