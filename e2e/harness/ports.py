"""Free ports of the loopback. Nothing here reserves one: whoever starts a server must be ready to lose the race."""

import socket


class Taken(Exception):
    """The port asked for is in use."""


def free():
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_free(port):
    with socket.socket() as probe:
        # As servers do: connections in TIME_WAIT don't make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def candidates(preferred, only):
    """The ports to try in turn: `preferred` first; unless `only` it will do, ten free ones after it."""
    yield preferred or free()
    if not only:
        for _ in range(10):
            yield free()
