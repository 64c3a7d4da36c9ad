"""A redis-server on a TCP port or a unix socket, for tests to stop, freeze and start again. It saves only when told to."""

from . import ports
from .process import Failed, Process, must, run


class Redis:
    """`directory` takes the log and, with `unix`, the socket. `url` is what the module and the tool are given."""

    def __init__(self, directory, unix=False, stopped=lambda: False):
        self._directory = directory
        self._stopped = stopped
        self.process = None
        if unix:
            socket = directory / "redis.sock"
            self._listen = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "777"]
            self._cli = ["redis-cli", "-s", str(socket)]
            self.url = f"redis+unix://{socket}?db=0"
            self.start()
        else:
            self._start_on_a_free_port()

    def _start_on_a_free_port(self):
        for port in ports.candidates(None, only=False):
            self._listen = ["--bind", "127.0.0.1", "--port", str(port)]
            self._cli = ["redis-cli", "-p", str(port)]
            self.url = f"redis://127.0.0.1:{port}/0"
            try:
                return self.start()
            except Failed as failed:
                if "Address already in use" not in str(failed):
                    raise
        raise Failed("redis-server found no free port")

    def start(self):
        """Starts the server where it was before: empty, unless stop_keeping() ended it."""
        self.process = Process(
            "redis-server",
            ["redis-server", *self._listen, "--save", "", "--appendonly", "no", "--daemonize", "no",
             "--dir", str(self._directory)],
            self._directory / "redis.log",
        )
        try:
            self.process.await_ready(lambda: run([*self._cli, "ping"]).stdout.strip() == "PONG", stopped=self._stopped)
        except BaseException:
            self.process.stop()
            raise
        (self._directory / "dump.rdb").unlink(missing_ok=True)

    def stop(self):
        if self.process:
            self.process.stop()

    def stop_keeping(self):
        """Stops the server; its next start() has the data of now."""
        run([*self._cli, "shutdown", "save"])
        self.process.stop()

    def command(self, *words):
        """Runs one command and returns redis-cli's text; raises Failed on an error reply."""
        text = must([*self._cli, "-e", *words])
        return text.strip()
