"""A master, its replica and three sentinels, for tests and for the demo."""

import secrets

from . import ports
from .process import Failed, Process, eventually
from .redis import Connection, Redis

MASTER = "registry"
COUNT = 3
# A server that says nothing for so long is taken for dead.
DOWN_AFTER = 800
_PATIENCE = 30


class Group:
    """In the place of one Redis: `url` is what the module and the tool are given. Below `directory`, all."""

    def __init__(self, directory, stopped=lambda: False):
        self._directory, self._stopped = directory, stopped
        self._password = secrets.token_hex(16)
        self.servers, self.sentinels, self.ports = [], [], []
        try:
            for number in (1, 2):
                self.servers.append(self._server(number))
            self.servers[1].command("REPLICAOF", "127.0.0.1", str(self.servers[0].port))
            for number in range(1, COUNT + 1):
                self._sentinel(number)
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"redis+sentinel://default:{self._password}@{hosts}/{MASTER}/0"

    def _server(self, number):
        folder = self._directory / f"redis-{number}"
        folder.mkdir()
        more = [f"masterauth {self._password}", f"pidfile {folder}/pid", "repl-diskless-sync-delay 0"]
        return Redis(folder, self._stopped, password=self._password, more=more)

    def _sentinel(self, number):
        folder = self._directory / f"sentinel-{number}"
        folder.mkdir()
        for port in ports.candidates(None, only=False):
            configuration = folder / "sentinel.conf"
            configuration.write_text("\n".join([
                "bind 127.0.0.1", f"port {port}", f"dir {folder}",
                f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} {COUNT // 2 + 1}",
                f"sentinel auth-pass {MASTER} {self._password}",
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}",
                f"sentinel failover-timeout {MASTER} 4000", ""]), encoding="ascii")
            process = Process("redis-sentinel", ["redis-server", str(configuration), "--sentinel"],
                              folder / "sentinel.log")
            try:
                process.await_ready(lambda port=port: ports.accepts(port), stopped=self._stopped)
            except Failed as failed:
                process.stop()
                if "Address already in use" not in str(failed):
                    raise
            except BaseException:
                process.stop()
                raise
            else:
                self.sentinels.append(process)
                self.ports.append(port)
                return
        raise Failed("redis-sentinel found no free port")

    def _await_ready(self):
        """Each of them knows the others and the replica, or the first failover would find nobody."""
        def is_ready(port):
            said = self._fields(port)
            return (said.get("num-slaves"), said.get("num-other-sentinels")) == ("1", str(COUNT - 1))
        if eventually(lambda: self._stopped() or all(map(is_ready, self.ports)), _PATIENCE) is None:
            raise Failed("the sentinels do not find each other")

    @staticmethod
    def _fields(port):
        try:
            connection = Connection(port)
        except OSError:
            return {}
        try:
            said = connection.commands([("SENTINEL", "MASTER", MASTER)])[0]
        except (OSError, Failed):
            return {}
        finally:
            connection.close()
        return dict(zip(said[::2], said[1::2]))

    def master(self):
        """The port of the master that most sentinels name, if they agree."""
        named = [self._fields(port).get("port") for port in self.ports]
        best = max(set(named), key=named.count)
        return int(best) if best and named.count(best) > COUNT // 2 else None

    def processes(self):
        return [*self.sentinels, *(server.process for server in self.servers)]

    def command(self, *words):
        """Asks the master."""
        return next(server for server in self.servers if server.port == self.master()).command(*words)

    def stop(self):
        for process in self.sentinels:
            process.stop()
        for server in self.servers:
            server.stop()
