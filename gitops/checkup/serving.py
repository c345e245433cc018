"""Whether a HAProxy runs what its files say, and the files are what its applications' parts make."""

from __future__ import annotations

from gitops.channel import Channel
from gitops.observe import files, haproxy
from gitops.render.edge import assembled


def difference(channel: Channel, *, edge: bool) -> tuple[str, str]:
    """What differs, or empty; and what is served, in words.

    Args:
        channel: of a host whose HAProxy answers.
        edge: whether it is a load balancer.

    Raises:
        GitopsError: the host or its HAProxy does not answer.
    """
    kept = files.read(channel)
    if not kept.fragments or kept.loading:
        return "", "serves no application" if not kept.fragments else "a deployment is loading its file"
    wanted = assembled(dict(kept.fragments), edge)
    if wanted is None or wanted.digest != kept.config:
        return "haproxy.cfg is not what its parts in /var/lib/gitops make", ""
    running, _ = haproxy.running(channel.proxy())
    if running.mark != wanted.mark:
        return "the running process has not loaded haproxy.cfg", ""
    there = dict(running.routing)
    for key in sorted({*there, *wanted.routing}):
        if there.get(key) != wanted.routing.get(key):
            leads, should = there.get(key, "nothing"), wanted.routing.get(key, "nothing")
            return f"its route {key} leads to {leads}, in the file to {should}", ""
    return "", f"runs its file, {len(there)} routes"
