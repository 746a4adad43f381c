"""Ports for servers that are started as processes of their own and must be told where to listen."""

from __future__ import annotations

import socket
import sys

__all__ = ["reserved_port"]


def reserved_port() -> int:
    """A free port of loopback, on Linux one that nobody else is given before this process ends.

    A port that was merely found free may be another server's by the time at which a process is ready to listen on it. One that
    a socket is bound to is given to nobody who asks for any, and a server that is told to may listen on it all the same, since
    servers set SO_REUSEADDR.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        if sys.platform == "linux":
            probe.detach()  # it stays bound
    return port
