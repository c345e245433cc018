"""What a route may match and lead to: one rule for whoever reads it and for whoever prints it for HAProxy."""

from __future__ import annotations

import re

HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
"""A host name or an IPv4 address, without a closing dot."""

PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&()*+,=:@/-]|%(?:[2-689A-Fa-f][0-9A-Fa-f]|7[0-9A-Ea-e])){0,200}")
"""A path as requests have it: slashes, and what RFC 3986 allows in a segment but `'` and `;`, which
would begin a string in haproxy.cfg and end a command of its socket. No control character as `%XX`.
"""

ADDRESS = re.compile(r"[A-Za-z0-9_.:-]+")
"""Where the edge reaches a host: a name, or an address without brackets and zone."""
