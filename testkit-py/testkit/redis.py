"""A redis-server for tests and benchmarks to stop, kill, freeze and start again, and a connection to it."""

import secrets
import signal
import socket

from . import ports
from .process import Failed, Process

_PATIENCE = 120  # seconds for a reply


class Redis:
    """`directory` takes configuration, log and data. The module and the tool are given `url`.

    It has a random password unless `password` is false, or another text; `more` are further lines of its
    configuration. It saves nothing but by keep(), unless it is
    `durable`: then what it has acknowledged outlives a kill. `cpus`: as for Process. Not on a unix socket:
    nginx's workers run as another user, who need not reach the folder."""

    def __init__(self, directory, stopped=lambda: False, password=True, durable=False, cpus=None, more=()):
        self._directory = directory
        self._stopped = stopped
        self._password = secrets.token_hex(16) if password is True else password or None
        self._more = more
        self._durable = durable
        self._cpus = cpus
        self._connection = None
        self.process = None
        for port in ports.candidates(None, only=False):
            self._configure(port)
            try:
                return self.start()
            except Failed as failed:
                if "Address already in use" not in str(failed):
                    raise
        raise Failed("redis-server found no free port")

    def _configure(self, port):
        self.port = port
        login = f"default:{self._password}@" if self._password else ""
        self.url = f"redis://{login}127.0.0.1:{port}/0"
        lines = ["bind 127.0.0.1", f"port {port}", 'save ""', f"dir {self._directory}"]
        lines += ["appendonly yes", "appendfsync always"] if self._durable else ["appendonly no"]
        lines += [f"requirepass {self._password}"] if self._password else []
        lines += self._more
        # In a file: everybody on the machine can read the arguments of a process.
        self._configuration = self._directory / "redis.conf"
        self._configuration.write_text("\n".join([*lines, ""]), encoding="ascii")

    def start(self):
        """Starts the server on the same port: empty, unless keep() was called or it is durable."""
        self._disconnect()
        self.process = Process("redis-server", ["redis-server", str(self._configuration)],
                               self._directory / "redis.log", cpus=self._cpus)
        try:
            self.process.await_ready(self._answers, stopped=self._stopped)
        except BaseException:
            self.process.stop()
            raise
        (self._directory / "dump.rdb").unlink(missing_ok=True)

    def _answers(self):
        # A server that still loads its data answers with an error.
        try:
            return self.command("PING") == "PONG"
        except (OSError, Failed):
            self._disconnect()
            return False

    def processes(self):
        return [self.process]

    def stop(self):
        self._disconnect()
        self.process.stop()

    def kill(self):
        """Ends the server as kill -9 does."""
        self._disconnect()
        self.process.kill()

    def freeze(self):
        self.process.send(signal.SIGSTOP)

    def thaw(self):
        self.process.send(signal.SIGCONT)

    def keep(self):
        """Saves the data: the next start() has it, however this run ends."""
        self.command("SAVE")

    def stop_keeping(self):
        self.keep()
        self.stop()

    def kill_clients(self):
        """Closes every connection but this one, the tracking connections of nginx's workers among them."""
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # In RESP3 a connection that tracks may be of that type only once it is subscribed.
        self.command("CLIENT", "KILL", "TYPE", "pubsub")

    def command(self, *words):
        """The reply to one command: a text, a list, or None; raises Failed on an error reply."""
        return self.commands([words])[0]

    def commands(self, commands):
        """The replies to many commands, which are sent at once."""
        if self._connection is None:
            self._connection = self.connect()
        try:
            return self._connection.commands(commands)
        except OSError:
            self._disconnect()
            raise

    def connect(self):
        """A connection of the caller's own, for another thread."""
        return Connection(self.port, self._password)

    def _disconnect(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Connection:
    """A connection to a server on a port of 127.0.0.1."""

    def __init__(self, port, password=None):
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")
        if password:
            try:
                self.commands([("AUTH", password)])
            except BaseException:
                self.close()
                raise

    def close(self):
        self._reader.close()
        self._socket.close()

    def commands(self, commands):
        """The replies to commands that are sent at once; raises Failed on an error reply."""
        self._socket.sendall(b"".join(_encode(words) for words in commands))
        replies = [self._reply() for _ in commands]
        for reply in replies:
            if isinstance(reply, Failed):
                raise reply
        return replies

    def _reply(self):
        line = self._reader.readline().decode().rstrip("\r\n")
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[0], line[1:]
        if kind == "-":
            return Failed(f"Redis: {rest}")
        if kind == "$":
            return None if rest == "-1" else self._reader.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self._reply() for _ in range(int(rest))]
        return rest


def _encode(words):
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
