"""Probes: connections that are each known to belong to one worker, and changes whose effect they watch.

Used by every part. A change counts from the moment Redis has acknowledged it.
"""

import itertools
import socket
import time

from benchlib import people

from .gate import PATIENCE, PREFIX, Broken

WORKER = b"x-worker: "


class Lost(Exception):
    """The connection was closed: the worker is gone, or about to go."""


class Connection:
    """Keepalive; `worker` is the process that answers on it."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.worker = 0

    def ask(self, path, authorization):
        """The status of one request."""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\r\n"
        try:
            self._socket.sendall(head.encode())
            return self._answer()
        except socket.timeout as error:
            raise Broken(f"worker {self.worker} did not answer within {PATIENCE} s") from error
        except OSError as error:
            raise Lost from error

    def close(self):
        self._socket.close()

    def _answer(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, body = data.split(b"\r\n\r\n", 1)
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._more()
        self.worker = next(int(line[len(WORKER):]) for line in lines if line.startswith(WORKER))
        return int(lines[0].split(b" ")[1])

    def _more(self):
        data = self._socket.recv(1 << 16)
        if not data:
            raise Lost
        return data


class Probes:
    """A connection to each of some workers."""

    def __init__(self, gate, wanted):
        self._gate, self.by_worker = gate, {}
        until = time.monotonic() + PATIENCE
        while set(self.by_worker) != set(wanted):
            if time.monotonic() > until:
                raise Broken(f"of the workers {sorted(wanted)} only {sorted(self.by_worker)} accept "
                             f"connections")
            connection = Connection(gate.port)
            try:
                connection.ask("/v2/", "Basic Og==")
            except Lost:
                continue
            if connection.worker in wanted and connection.worker not in self.by_worker:
                self.by_worker[connection.worker] = connection
            else:
                connection.close()

    def __iter__(self):
        return iter(self.by_worker.values())

    def close(self):
        for connection in self:
            connection.close()


class Changes:
    """Changes of one user in turn, each with what it makes of the same request: 200, or 401, or 403."""

    PATH = "/v2/team/app/manifests/latest"

    def __init__(self, gate, name):
        self._redis, key = gate.redis, f"{PREFIX}:user:{name}"
        self.authorization = people.authorization(name)
        record = gate.record(name, None, "grant:team/**", "pull")
        stored = record[2]
        self._redis.command("HSET", *record)
        self.state = 200
        self._turn = itertools.cycle([
            (("HSET", key, "password", people.sha("other")), 401),
            (("HSET", key, "password", stored), 200),
            (("HSET", key, "password", "!" + stored), 401),
            (("HSET", key, "password", stored), 200),
            (("HDEL", key, "grant:team/**"), 403),
            (("HSET", key, "grant:team/**", "pull"), 200),
            (("HSET", key, "grant:!team/app", "pull"), 403),
            (("HDEL", key, "grant:!team/app"), 200),
            (("DEL", key), 401),
            (("HSET", *record), 200),
        ])

    def next(self):
        """Makes the next change; the moment of its acknowledgement, what was true before it, and what is
        since."""
        words, after = next(self._turn)
        before, self.state = self.state, after
        reply = self._redis.command(*words)
        if not str(reply).isdigit():
            raise Broken(f"Redis refused {words[0]}: {reply}")
        return time.monotonic(), before, after
