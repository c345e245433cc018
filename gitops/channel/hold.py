"""Holds a host's lock for a playbook that runs without a controller.

The task that takes the lock runs in a worker that ends with the task, so this
small process stays: it ends, and with it the lock, when `ansible-playbook` does.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

FAILED = 3


def start(host: str, kind: str, place: str, who: Any, holder: int, *, sudo: bool) -> None:
    """Starts a holder and waits until it has the lock.

    Args:
        host: inventory name, for errors.
        kind: `ssh` or `local`.
        place: the control path, or the folder of the local record.
        who: the lock's Owner.
        holder: process that the lock is for.
        sudo: whether to take it as root.

    Raises:
        LockHeldError: another controller has the lock.
        HostSetupError: the host lacks something.
    """
    from gitops.channel import failures  # noqa: PLC0415 - see main: no import before the path is set
    from gitops.errors import Where  # noqa: PLC0415 - as above

    asked = {"host": host, "kind": kind, "place": place, "who": asdict(who), "holder": holder, "sudo": sudo}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise failures.LockLostError("the lock's holder has no pipes")  # cannot be: both were asked for
    with process.stdin as given, process.stdout as said:
        given.write(json.dumps(asked).encode())
        given.close()
        line = said.readline()
    answer = json.loads(line) if line.strip() else {"error": "LockLostError", "message": "its holder ended"}
    if "error" not in answer:
        process.returncode = 0  # it stays on purpose: do not warn that it still runs
        return
    process.wait()
    named = (
        failures.LockHeldError,
        failures.HostSetupError,
        failures.LoginShellError,
        failures.SessionLimitError,
    )
    kinds = {kind.__name__: kind for kind in named}
    raise kinds.get(answer["error"], failures.LockLostError)(
        answer["message"], hint=answer.get("hint", ""), where=Where(host=host)
    )


def main() -> int:
    """Takes the lock that standard input asks for, says so, and holds it."""
    # Started by path, out of a rendered folder as well as out of the installed package.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from gitops.channel import lock  # noqa: PLC0415 - only now can it be found
    from gitops.channel.holder import Owner  # noqa: PLC0415 - as above
    from gitops.channel.local import LocalTransport  # noqa: PLC0415 - as above
    from gitops.channel.ssh import SshTransport  # noqa: PLC0415 - as above
    from gitops.errors import GitopsError  # noqa: PLC0415 - as above

    asked = json.load(sys.stdin)
    host, ssh, holder = asked["host"], asked["kind"] == "ssh", asked["holder"]
    transport = SshTransport(host, asked["place"]) if ssh else LocalTransport(Path(asked["place"]))
    try:
        watched = os.pidfd_open(holder)
        held = lock.take(transport, host, Owner(**asked["who"]), holder, ssh=ssh, sudo=asked["sudo"])
    except (GitopsError, OSError) as error:
        answer = {"error": type(error).__name__, "message": getattr(error, "message", str(error))}
        sys.stdout.write(json.dumps({**answer, "hint": getattr(error, "hint", "")}) + "\n")
        return FAILED
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever started it reads to the end

    poller = select.poll()
    poller.register(watched, select.POLLIN)
    poller.register(held.fileno(), select.POLLIN)
    poller.poll()
    # Ending without a release ends the connection: what the playbook may have left behind cannot act.
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
