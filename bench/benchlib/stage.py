"""The stage: one temporary folder, free loopback ports, and the processes of a run.

Every part that starts a server does it through `Stage.start`. Invariant: whatever way
the program ends, each process started here is ended by its pid and the folder is gone.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StageError(Exception):
    """A server did not start, or a check before measuring failed: nothing can be said."""


def _cpus():
    """CPU of nginx, CPU of everything else. One CPU alone: the two are the same."""
    have = sorted(os.sched_getaffinity(0))
    return have[0], have[1 % len(have)]


class Stage:
    """Context manager; `path(name)` names a file in the folder, `start()` runs a server."""

    def __init__(self):
        self.nginx_cpu, self.load_cpu = _cpus()
        self._processes = []

    def __enter__(self):
        self.root = tempfile.mkdtemp(prefix="registry-auth-bench-")
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            end(process)
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

    def start(self, argv, cpus, log):
        """Starts a server on `cpus` (a set); its output goes to the file `log` of the folder."""
        with open(self.path(log), "ab") as out:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=pinned(cpus)
            )
        self._processes.append(process)
        return process

    def stop(self, process):
        """Ends a server before the stage does."""
        self._processes.remove(process)
        end(process)

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


def pinned(cpus):
    """preexec_fn: stay on these CPUs, and die with the benchmark even if it is killed -9.

    A session of its own: Linux shares a busy CPU out by session (autogroup), and one for all would get
    the less on nginx's CPU the fewer threads it has there, which no ratio cancels.
    """

    def before_exec():
        os.setsid()
        os.sched_setaffinity(0, cpus)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return before_exec


def end(process, patience=10):
    """SIGTERM by pid, then SIGKILL if it has not ended after `patience` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def knock(port):
    """Connects and closes; whether somebody accepted."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_port(port, process, seconds=30):
    """Returns once something accepts on the port; raises when the process ended or time is up."""
    for _ in range(seconds * 20):
        if process.poll() is not None:
            raise StageError(f"{process.args[0]} ended with {process.returncode}")
        if knock(port):
            return
        time.sleep(0.05)
    raise StageError(f"nothing answers on port {port} after {seconds} s")
