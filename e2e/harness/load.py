"""wrk against the stack's plain port, in the background of a fault."""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from testkit.process import Process

from .wire import basic

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Result:
    """`statuses`: answers by HTTP status. `broken`: connections that failed, were cut, or got no answer in
    time."""

    statuses: dict
    broken: int

    def failed(self):
        """All that was not a 200."""
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)


# No test takes this long; wrk wants to be told.
_LIMIT = 300


class Load:
    """`connections` clients that ask for `target` as `user`, one request after the other, until finish().

    `once`: each request on a connection of its own, so that a server which ends a keepalive connection while
    the client sends on it (as every server does now and then) is not taken for a failure."""

    def __init__(self, stack, target, user, connections=32, once=False):
        headers = basic(user, stack.passwords[user])
        if once:
            headers["Connection"] = "close"
        options = [word for key, value in headers.items() for word in ("-H", f"{key}: {value}")]
        self._log = stack.directory / "wrk.log"
        self._log.unlink(missing_ok=True)
        self._process = Process(
            "wrk", ["wrk", "--threads", "2", "--connections", str(connections), "--duration", f"{_LIMIT}s",
                    "--timeout", "20s", "--script", str(_SCRIPT), *options,
                    f"http://127.0.0.1:{stack.nginx.plain_port}{target}"],
            self._log)

    def finish(self):
        """Ends the load and returns the Result; raises process.Failed when it had ended by itself."""
        if not self._process.running():
            raise self._process.failed("had ended before its time")
        # Half a second more of it, so that what the last repair has led to counts, too.
        time.sleep(0.5)
        self._process.send(signal.SIGINT)
        if not self._process.wait(60):
            raise self._process.failed("did not end")
        found = re.search(r"^RESULT (.*)$", self._process.log_text(), re.MULTILINE)
        if not found:
            raise self._process.failed("gave no result")
        raw = json.loads(found.group(1))
        return Result({int(status): count for status, count in raw["statuses"].items()},
                      raw["connect"] + raw["read"] + raw["write"] + raw["timeout"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stop()
