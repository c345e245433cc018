"""What can go wrong between a controller and a host, each as its own type.

Whose trouble it is follows from the type. `ContainerError`, and `NotFoundError` of a container: that
container's alone. What `channel.faults.fault_of` knows: the host's, for every application that uses it.
Anything else is of the application whose deployment met it.
"""

from __future__ import annotations

from gitops.errors import ContendedError, PermanentError, TransientError, Where


class UnreachableError(TransientError):
    """The host does not answer, or its connection ended."""


class HostKeyError(PermanentError):
    """The host's key is unknown or has changed; it is never accepted by itself."""


class AuthenticationError(PermanentError):
    """The host does not accept the user's key or password."""


class HostSetupError(PermanentError):
    """The host answers but lacks something: an engine, a right, a folder."""


class LoginShellError(HostSetupError):
    """The user's login shell does not run commands as it should."""


class SessionLimitError(HostSetupError):
    """sshd allows no further session on the connection (`MaxSessions`)."""


class ForwardingRefusedError(PermanentError):
    """sshd does not forward a connection to a Unix socket of its host."""


class LockHeldError(ContendedError):
    """Another controller holds the host's lock."""


class LockLostError(TransientError):
    """The connection that held the host's lock ended, and with it the right to act."""


class ChannelTimeoutError(TransientError):
    """No answer within the time allowed."""


class EngineError(PermanentError):
    """The container engine refused a call.

    Attributes:
        status: the HTTP status, or 0 where the error came inside a stream that began well.
    """

    def __init__(self, message: str, *, status: int = 0, hint: str = "", where: Where | None = None) -> None:
        self.status = status
        super().__init__(message, hint=hint, where=where)


class NotFoundError(EngineError):
    """The engine knows no such container, image, network or volume."""


class ContainerError(EngineError):
    """The engine refused a call about one container: the trouble is that container's, not the host's."""


class DiskFullError(EngineError):
    """A file system of the host has no space left."""


class PoolExhaustedError(EngineError):
    """The engine has no addresses left for one more network or container."""


class PortTakenError(EngineError):
    """Another process of the host holds a port that a container publishes."""


class EngineBrokenError(TransientError):
    """The connection to the engine broke in the middle of a call."""


class EngineHangsError(ChannelTimeoutError):
    """The engine accepts connections and does not answer."""


class ProxyError(PermanentError):
    """HAProxy refused a command."""
