"""Whether a host takes what a deployment writes: a file is written where it writes, and removed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gitops.channel import Channel
from gitops.errors import GitopsError, TransientError, Where
from gitops.model.edge import CONFIG
from gitops.observe.files import FOLDER

PROXY_FOLDER = CONFIG.rpartition("/")[0]
ASK_S = 15.0
SIDE_BY_SIDE = 32

# $1 an application, or empty for all of them, without a look at programs; then folders. For each a line
# `BYTES FREE WORDS`: how much could be written of what was tried, KiB that are free on its file system, and
# why not all of it. What another user has left of an application cannot be replaced either.
TRY = r"""
app=$1
shift
umask 077
missing=
if [ -n "$app" ]; then
  for program in PROGRAMS; do
    command -v "$program" > /dev/null 2>&1 || missing="$missing $program"
  done
fi
for folder do
  made=
  said=${missing:+"no program$missing on the host"}
  if [ -z "$said" ] && [ ! -d "$folder" ]; then said=$(mkdir -p "$folder" 2>&1) && made=yes; fi
  new=$folder/.gitops-trial.$$
  [ -n "$said" ] || said=$( { head -c 65536 /dev/zero > "$new"; } 2>&1)
  for file in "$folder"/${app:-*}/release.json "$folder"/${app:-*}/haproxy.cfg; do
    one=${file%/*}/
    [ -n "$said" ] || [ ! -f "$file" ] || [ -w "$one" ] || said="$one: Permission denied"
  done
  size=0
  if [ -f "$new" ]; then size=$(wc -c < "$new"); rm -f "$new"; fi
  free=$(df -Pk "$folder" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)
  [ -z "$made" ] || rmdir "$folder"
  printf '%s %s %s\n' "$size" "${free:-0}" "$(printf '%s' "$said" | tr '\n' ' ')"
done
"""
TRIED = 65536
PROGRAMS = ("tar", "cksum", "sha256sum", "cmp", "base64")
"""What scripts of ours run on hosts, beside what every shell script does."""
TRY = TRY.replace("PROGRAMS", " ".join(PROGRAMS))
# $1 and further: programs. Prints those that are not there.
MISSING = 'for program do command -v "$program" >/dev/null 2>&1 || echo "$program"; done'
# $1 a folder that the user may not read, perhaps not even reach: the nearest one above that it can.
FREE = r"""
folder=$1
while [ ! -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
df -Pk "$folder" | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4
"""


class NoRoomError(TransientError):
    """A host does not take what a deployment writes; nothing was touched."""


@dataclass(frozen=True)
class Trial:
    """What came of writing to a folder.

    Attributes:
        folder: its path.
        problem: why it failed; empty where it went well.
        free: bytes that are free on its file system.
    """

    folder: str
    problem: str
    free: int


def try_to_write(channel: Channel, folders: Iterable[str], app: str = "") -> list[Trial]:
    """Writes a file to each folder, as a deployment does, and removes it.

    Args:
        channel: to the host.
        folders: where to.
        app: the application whose files are to be replaced; empty for all that are there.

    Raises:
        GitopsError: the host cannot be asked.
    """
    wanted = list(folders)
    done = channel.run(TRY, args=(app, *wanted), timeout_s=ASK_S)
    lines = done.stdout.decode(errors="replace").splitlines()
    if len(lines) != len(wanted):
        raise NoRoomError(f"the host's shell failed: {done.words}", where=Where(host=channel.name))
    return [_trial(folder, line) for folder, line in zip(wanted, lines, strict=True)]


def _trial(folder: str, line: str) -> Trial:
    size, free, words = [*line.split(" ", 2), "", ""][:3]
    complete = size.isdigit() and int(size) == TRIED and not words.strip()
    # The shell says before it its own name, the line, the file; a folder below stays.
    file, _, why = words.strip().rpartition(": ")
    place = f"{file}: " if file.endswith("/") else ""
    problem = "" if complete else place + (why or "it takes less than was written")
    return Trial(folder, problem, int(free) * 1024 if free.isdigit() else 0)


def free_bytes(channel: Channel, folder: str) -> int:
    """Bytes that are free where a folder lies.

    Raises:
        GitopsError: the host cannot be asked.
    """
    text = channel.run(FREE, args=(folder,), timeout_s=ASK_S).stdout.strip()
    return int(text) * 1024 if text.isdigit() else 0


def must_take(app: str, channels: Mapping[str, Channel], proxies: Mapping[str, bool]) -> None:
    """Insists that hosts take what a deployment writes; asked before the first container is touched.

    Args:
        app: the application.
        channels: by host name.
        proxies: the hosts to ask, and whether the deployment writes the HAProxy of each.

    Raises:
        NoRoomError: naming each host and folder that does not.
    """

    def look(name: str) -> list[str]:
        try:
            folders = [FOLDER, PROXY_FOLDER] if proxies[name] else [FOLDER]
            trials = try_to_write(channels[name], folders, app)
        except GitopsError as error:
            return [str(error)]
        return [
            f"{name}: cannot write to {trial.folder}: {trial.problem}" for trial in trials if trial.problem
        ]

    with ThreadPoolExecutor(max_workers=min(SIDE_BY_SIDE, max(1, len(proxies)))) as pool:
        problems = [problem for found in pool.map(look, proxies) for problem in found]
    if problems:
        raise NoRoomError(
            "\n".join([*problems, "no container was touched"]),
            hint="gitops doctor names the command that mends it",
        )
