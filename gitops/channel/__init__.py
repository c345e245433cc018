"""The channel: one connection a host that carries its engine, HAProxy and lock. Standard library only."""

from gitops.channel.channel import Channel
from gitops.channel.engine import Engine
from gitops.channel.facts import Facts
from gitops.channel.folder import controller_env, own_folder
from gitops.channel.holder import Held, Owner
from gitops.channel.lock import Lock
from gitops.channel.opening import HostLike, close_channels, open_channels
from gitops.channel.proxy import Proxy
from gitops.channel.transport import Completed

__all__ = [
    "Channel",
    "Completed",
    "Engine",
    "Facts",
    "Held",
    "HostLike",
    "Lock",
    "Owner",
    "Proxy",
    "close_channels",
    "controller_env",
    "open_channels",
    "own_folder",
]
