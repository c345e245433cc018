"""Why nothing answers at a forwarded socket: nobody listens there, or sshd does not forward.

The far end of a forwarded socket is opened late, and a refusal of sshd looks the same as a program
that has ended: the near end is closed, without a reason. So the host is asked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from gitops.channel.failures import EngineBrokenError, ForwardingRefusedError
from gitops.channel.reader import Question
from gitops.channel.transport import Completed
from gitops.errors import GitopsError, Where

ASK_S = 10.0
SETTINGS = ("AllowStreamLocalForwarding", "AllowTcpForwarding", "DisableForwarding")

# $1 a socket. Says whether a process listens there, then the lines by which sshd may not forward.
LOOK = r"""
real=$(readlink -f "$1") || real=$1
while read -r _ _ _ flags _ _ _ path; do
  if [ "$flags" = 00010000 ]; then
    # HAProxy listens under another name first, which the kernel goes on to show.
    case $path in "$1" | "$real" | "/var$real" | "$1".*.tmp | "$real".*.tmp) echo listens; break ;; esac
  fi
done < /proc/net/unix
for file in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do
  grep -HiE -e '^[[:space:]]*(AllowStreamLocalForwarding|AllowTcpForwarding)[[:space:]=]+"?(no|remote)' \
    -e '^[[:space:]]*DisableForwarding[[:space:]=]+"?yes' "$file" 2>/dev/null
done || :
"""
_LINE = re.compile(r"(/[^:]+):\s*(\w+)[\s=]+\"?(\w+)")


def why_closed(
    ask: Callable[[Question], Completed], path: str, host: str, *, certain: bool = False
) -> GitopsError | None:
    """The reason why a forwarded socket was closed at once, or None where the host cannot tell.

    Args:
        ask: puts a question to the host.
        path: the host's socket.
        host: inventory name.
        certain: only what a setting of sshd says: a program that is started anew closes its socket, too.
    """
    done = ask(Question(LOOK, (path,), timeout_s=ASK_S))
    if done.code != 0:
        return None
    return reason(path, done.stdout.decode(errors="replace"), host, certain=certain)


def reason(path: str, said: str, host: str, *, certain: bool = False) -> GitopsError | None:
    """The error that the answer to `LOOK` means. Pure."""
    where = Where(host=host)
    listens = said.startswith("listens\n")
    lines = [match.groups() for line in said.splitlines() if (match := _LINE.match(line))]
    if certain and not (listens and lines):
        return None
    if not listens:
        return EngineBrokenError(f"no process listens at {path}", hint="start it on the host", where=where)
    if not lines:
        return ForwardingRefusedError(
            f"sshd does not forward connections to {path}",
            hint=f"sudo sshd -T | grep -i forwarding   # {SETTINGS[0]} and {SETTINGS[1]} must be yes, "
            f"{SETTINGS[2]} no; no `restrict` or `no-port-forwarding` in authorized_keys",
            where=where,
        )
    found = ", ".join(f"{name} {value} in {file}" for file, name, value in lines)
    edits = "; ".join(_edit(file, name) for file, name, _ in lines)
    return ForwardingRefusedError(
        f"sshd does not forward connections to {path}: {found}",
        hint=f"{edits}; sudo systemctl reload ssh",
        where=where,
    )


def _edit(file: str, name: str) -> str:
    """The command that sets one setting as it must be."""
    value = "no" if name.lower() == "disableforwarding" else "yes"
    return f"sudo sed -i -E 's/^([[:space:]]*{name})[[:space:]=].*/\\1 {value}/' {shlex.quote(file)}"
