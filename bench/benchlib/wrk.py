"""One run of wrk with a stream, as numbers. Called by rounds.py, calls.py and neighbour.py."""

import json
import os
from dataclasses import dataclass

from testkit.process import Failed

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "stream.lua")


@dataclass(frozen=True)
class Run:
    """What wrk saw; times in microseconds."""

    requests: int
    bytes: int
    micros: int
    p50: int
    p99: int
    refused: int  # answers above 399
    broken: int  # connections or answers that failed

    @property
    def per_second(self):
        return self.requests * 1e6 / self.micros

    @property
    def bytes_per_second(self):
        return self.bytes * 1e6 / self.micros


def start(stage, port, stream_file, seconds, connections, tls=False, once=False):
    """Starts wrk in the background; `finish` waits for it. `once`: it sends each request of the stream once,
    for as many seconds at most."""
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", SCRIPT, url, "--",
            stream_file, *(["once"] if once else [])]
    return stage.load(argv)


def finish(process):
    output = process.communicate(timeout=120)[0]
    try:
        return Run(**json.loads(output.strip().splitlines()[-1]))
    except (ValueError, IndexError, TypeError) as error:
        raise Failed(f"wrk said:\n{output}") from error


def run(stage, port, stream_file, seconds, connections, tls=False, once=False):
    return finish(start(stage, port, stream_file, seconds, connections, tls, once))
