"""Free ports of the loopback. Nothing here reserves one: whoever starts a server must be ready to lose the race."""

import errno
import socket


class Taken(Exception):
    """The port asked for is in use."""


def free():
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port):
    """Whether nobody listens on the port, for IPv6 neither: clients may try that first for `localhost`."""
    return _can_bind(socket.AF_INET, "127.0.0.1", port) and _can_bind(socket.AF_INET6, "::1", port)


def _can_bind(family, address, port):
    try:
        with socket.socket(family) as probe:
            # As servers do: connections in TIME_WAIT don't make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        # Any other error: there is no such address here, so nobody listens on it.
        return error.errno != errno.EADDRINUSE
    return True


def candidates(preferred, only):
    """The ports to try in turn: `preferred` first; unless `only` it will do, ten free ones after it."""
    yield preferred or free()
    if not only:
        for _ in range(10):
            yield free()
