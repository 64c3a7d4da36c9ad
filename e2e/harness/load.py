"""wrk against the stack's plain port, in the background of a fault."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .process import Process
from .wire import basic

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True)
class Result:
    """`statuses`: answers by HTTP status. `broken`: connections that failed, were cut, or got no answer in time."""

    statuses: dict
    broken: int

    def failed(self):
        """All that was not a 200."""
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)


class Load:
    """Starts `connections` clients that ask for `target` as `user` for `seconds`; `with` ends them early.

    `once`: each request on a connection of its own, so that a server which ends a keepalive connection while the
    client sends on it (as every server does now and then) is not taken for a failure."""

    def __init__(self, stack, target, user, seconds, connections=32, once=False):
        headers = basic(user, stack.passwords[user])
        if once:
            headers["Connection"] = "close"
        options = [word for key, value in headers.items() for word in ("-H", f"{key}: {value}")]
        self._seconds = seconds
        self._process = Process(
            "wrk", ["wrk", "--threads", "2", "--connections", str(connections), "--duration", f"{seconds}s",
                    "--timeout", "20s", "--script", str(_SCRIPT), *options,
                    f"http://127.0.0.1:{stack.nginx.plain_port}{target}"],
            stack.directory / "wrk.log")
        self._before = self._process.log_text(1_000_000).count("RESULT")

    def running(self):
        return self._process.running()

    def finish(self):
        """Waits for the end and returns the Result."""
        if not self._process.wait(self._seconds + 60):
            raise self._process.failed("did not end")
        found = re.findall(r"^RESULT (.*)$", self._process.log_text(1_000_000), re.MULTILINE)
        if len(found) <= self._before:
            raise self._process.failed("gave no result")
        raw = json.loads(found[-1])
        return Result({int(status): count for status, count in raw["statuses"].items()},
                      raw["connect"] + raw["read"] + raw["write"] + raw["timeout"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stop()
