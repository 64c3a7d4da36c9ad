"""Free ports of the loopback. Nothing here reserves one: a caller that starts a server must be ready to lose
the race."""

import errno
import socket


class Taken(Exception):
    """The port that a caller wants is in use."""


def free():
    """A port on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port):
    """True when nobody listens on the port, over IPv6 neither: clients may try that first for `localhost`."""
    return _can_bind(socket.AF_INET, "127.0.0.1", port) and _can_bind(socket.AF_INET6, "::1", port)


def _can_bind(family, address, port):
    try:
        with socket.socket(family) as probe:
            # Servers do the same: connections in TIME_WAIT don't make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        # Any other error: this machine has no such address, so nobody listens on it.
        return error.errno != errno.EADDRINUSE
    return True


def candidates(preferred, only):
    """The ports to try in turn: `preferred` first; unless `only` that one will do, ten free ones after it."""
    yield preferred or free()
    if not only:
        for _ in range(10):
            yield free()


def accepts(port):
    """Connects to the port and closes the connection; true when a server accepted it."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
