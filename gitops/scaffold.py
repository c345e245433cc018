"""`gitops init`: a working application repository to begin with."""

from __future__ import annotations

from pathlib import Path

from gitops import assets
from gitops.errors import PermanentError


def write_application(folder: Path) -> list[Path]:
    """Writes compose.yaml, .env, an inventory, gitops.yaml and a README into a folder.

    All or nothing: where one of the files exists already, none is written.

    Returns:
        The files that were written, sorted.

    Raises:
        PermanentError: a file exists, or the folder cannot be written to.
    """
    starter = assets.folder("examples") / "starter"
    sources = sorted(path for path in starter.rglob("*") if path.is_file())
    targets = [folder / source.relative_to(starter) for source in sources]
    present = [str(target) for target in targets if target.exists() or target.is_symlink()]
    if present:
        raise PermanentError(
            f"nothing written: {', '.join(present)} is there already",
            hint="name a new folder: gitops init DIR",
        )
    written: list[Path] = []
    try:
        for source, target in zip(sources, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:  # never follows or replaces what came meanwhile
                written.append(target)
                file.write(source.read_bytes())
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise PermanentError(f"cannot write into {folder}: {error.strerror}") from error
    return written
