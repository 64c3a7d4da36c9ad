"""What failovers do to logins: `make run REDIS=sentinel` tells of it.

alice logs in five times in a second, at nginx as shipped. The file master.pid has the process of the master.
A server that was killed is started again a few seconds later, and becomes a replica.
"""

import time

from .wire import Wire

# Longer than a failover takes on a busy machine: a master that is back before that stays the master, empty.
BACK = 10  # seconds


class Failovers:
    """To be asked for news ten times in a second."""

    def __init__(self, stack):
        self._stack, self._wire = stack, Wire(stack, "alice")
        self._master = stack.redis.master()
        self._logins = self._failed = 0
        self._next = 0.0
        self._gone = {}
        self._note_pid()

    def news(self):
        """Lines to print, each as something happens."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.2
            self._logins += 1
            self._failed += self._wire("GET", "/v2/").status != 200
        yield from self._bring_back(now)
        master = self._stack.redis.master()
        if master and master != self._master:
            yield (f"Failover: the master was 127.0.0.1:{self._master} and is 127.0.0.1:{master}. "
                   f"Of {self._logins} logins until now {self._failed} failed.")
            self._master = master
            self._note_pid()

    def _note_pid(self):
        of_master = [server for server in self._stack.redis.servers if server.port == self._master]
        text = "".join(f"{server.process.pid}\n" for server in of_master)
        (self._stack.directory / "master.pid").write_text(text, encoding="ascii")

    def _bring_back(self, now):
        for server in self._stack.redis.servers:
            if server.process.running():
                continue
            if server not in self._gone:
                self._gone[server] = now
                yield f"127.0.0.1:{server.port} is gone, and started again in {BACK} s."
            elif now > self._gone[server] + BACK:
                del self._gone[server]
                server.start()
                yield f"127.0.0.1:{server.port} is back."

    def is_expected(self, process):
        """Whether it may be gone: it is started again."""
        return any(server.process is process for server in self._stack.redis.servers)
