"""The stage of a benchmark: one temporary folder, two CPUs, and the processes of a run.

Every part that starts a server does it through `Stage.start` or `Stage.redis`. Invariant: whatever way the
program ends, each process started here is ended by its pid and the folder is gone.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from testkit import ports
from testkit.process import Process, bound
from testkit.redis import Redis


def _cpus():
    """The CPU of nginx, and the CPU of everything else. On a machine with one CPU the two are the same."""
    have = sorted(os.sched_getaffinity(0))
    return have[0], have[1 % len(have)]


class Stage:
    """Context manager; `path(name)` names a file in the folder, `start()` runs a server."""

    def __init__(self):
        self.nginx_cpu, self.load_cpu = _cpus()
        self._parts = []

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="registry-auth-bench-")
        return self

    def __exit__(self, *_):
        for part in reversed(self._parts):
            part.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.root, *names)

    def write(self, name, text):
        """Writes a file of the folder and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, argv, cpus, log, port=None):
        """Starts a server on `cpus` (a set) and waits until it accepts connections on `port`; the file `log`
        of the folder takes its output."""
        process = Process(os.path.basename(argv[0]), argv, self.path(log), cpus=cpus)
        self._parts.append(process)
        if port:
            process.await_ready(lambda: ports.accepts(port))
        return process

    def redis(self, name, durable=False):
        """Starts a redis-server without a password, beside the load."""
        folder = Path(self.path(name))
        folder.mkdir()
        redis = Redis(folder, password=False, durable=durable, cpus={self.load_cpu})
        self._parts.append(redis)
        return redis

    def keep(self, part):
        """Ends a server that was started elsewhere when the stage ends."""
        self._parts.append(part)

    def stop(self, part):
        """Ends a server before the stage does."""
        self._parts.remove(part)
        part.stop()

    def load(self, argv):
        """Starts a client beside the load; its output is to be read from the Popen's `stdout`."""
        return subprocess.Popen(bound(argv, {self.load_cpu}), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT,
                                text=True, start_new_session=True)

    def remove(self, path):
        """Removes a file of the folder."""
        if os.path.commonpath([self.root, path]) == self.root:
            os.remove(path)

    def tail(self, log, lines=8):
        """The last lines of a log, for error messages."""
        try:
            with open(self.path(log), encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""


def end(client, patience=10):
    """Ends a client that Stage.load started: SIGTERM, then SIGKILL once `patience` seconds are over."""
    if client.poll() is None:
        client.send_signal(signal.SIGTERM)
        try:
            client.wait(patience)
        except subprocess.TimeoutExpired:
            client.kill()
    client.wait()
