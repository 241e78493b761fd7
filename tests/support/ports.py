"""Ports for servers that want to be told theirs."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port on which a server may listen, and which the system gives to nobody else meanwhile.

    A socket that is bound and does not listen keeps it. Servers can listen beside it where they allow its address to be
    used again, as they do so that they can be restarted.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", 0))
        yield holder.getsockname()[1]
