"""A redis-server with a password, for tests to stop, freeze and start again. It saves only when told to."""

import os
import secrets

from . import ports
from .process import Failed, Process, must, run


class Redis:
    """`directory` takes configuration, log and data. `url` is what the module and the tool are given.

    Not on a unix socket: nginx's workers are another user, who need not reach our folder."""

    def __init__(self, directory, stopped=lambda: False):
        self._directory = directory
        self._stopped = stopped
        self._password = secrets.token_hex(16)
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
        self.url = f"redis://default:{self._password}@127.0.0.1:{port}/0"
        self._cli = ["redis-cli", "-p", str(port)]
        # In a file: the arguments of a process are for everybody to see.
        self._configuration = self._directory / "redis.conf"
        self._configuration.write_text(f"bind 127.0.0.1\nport {port}\nrequirepass {self._password}\n"
                                       f'save ""\nappendonly no\ndir {self._directory}\n', encoding="ascii")

    def _environment(self):
        return {**os.environ, "REDISCLI_AUTH": self._password}

    def start(self):
        """Starts the server where it was before: empty, unless keep() was called."""
        self.process = Process("redis-server", ["redis-server", str(self._configuration)],
                               self._directory / "redis.log")
        try:
            self.process.await_ready(self._answers, stopped=self._stopped)
        except BaseException:
            self.process.stop()
            raise
        (self._directory / "dump.rdb").unlink(missing_ok=True)

    def _answers(self):
        return run([*self._cli, "ping"], env=self._environment()).stdout.strip() == "PONG"

    def stop(self):
        self.process.stop()

    def keep(self):
        """Saves the data: the next start(), however this run ends, has it."""
        self.command("save")

    def stop_keeping(self):
        self.keep()
        self.stop()

    def command(self, *words):
        """Runs one command and returns redis-cli's text; raises Failed on an error reply."""
        return must([*self._cli, "-e", *words], env=self._environment()).strip()
