"""Processes: each runs in a session of its own, is stopped by its pid, and ends with the Python process that
started it.

Everything that starts a server or a client uses this module. Ctrl-C in a terminal reaches only Python, which
then stops the processes in order.
"""

import os
import signal
import subprocess
import time


class Failed(Exception):
    """A process did not start in time, or answered wrongly; the text says which, and holds the end of its
    log."""


def bound(argv, cpus=None):
    """The command `argv`, made to end with Python whatever happens to that, and to stay on `cpus` (a set).

    By programs of util-linux, which become the command: a preexec_fn is not safe once Python has threads."""
    kept = ["taskset", "--cpu-list", ",".join(map(str, sorted(cpus)))] if cpus else []
    return ["setpriv", "--pdeathsig", "TERM", "--", *kept, *argv]


class Process:
    """One running server. The file `log` takes its output; it stays on `cpus`, if that is a set."""

    def __init__(self, name, argv, log, env=None, cwd=None, cpus=None):
        self.name = name
        self.log = log
        # A session of its own, so that a stray child can be found by its group. It also makes measurements
        # fair: Linux shares a busy CPU out by session (autogroup), and in one session for all, nginx would
        # get less of its CPU the fewer threads it has there, which no ratio cancels.
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                bound(argv, cpus),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
                cwd=cwd,
            )
        self.pid = self._popen.pid

    def running(self):
        return self._popen.poll() is None

    def exit_code(self):
        return self._popen.poll()

    def send(self, number):
        if self.running():
            os.kill(self.pid, number)

    def wait(self, seconds):
        """True when the process has ended within `seconds`."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends the process, politely first. A frozen one is woken, or it would never see the signal."""
        if self.running():
            self.send(number)
            self.send(signal.SIGCONT)
            if not self.wait(seconds):
                self.kill()
        # Children that outlive their parent (workers of a killed master) are still in its group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill(self):
        self.send(signal.SIGKILL)
        self._popen.wait()

    def children(self):
        """The pids of the direct children, such as nginx's workers."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        except FileNotFoundError:
            return []

    def log_text(self, last=4000):
        with open(self.log, "rb") as file:
            return file.read()[-last:].decode(errors="replace")

    def failed(self, what):
        return Failed(f"{self.name} {what}:\n{self.log_text()}")

    def await_ready(self, ready, seconds=30, stopped=lambda: False):
        """Waits until `ready()` is true and returns its value.

        Raises Failed when the process ends first or the time is up, and Interrupted when `stopped()` becomes
        true."""
        end = time.monotonic() + seconds
        while True:
            value = ready()
            if value:
                return value
            if stopped():
                raise Interrupted()
            if not self.running():
                raise self.failed(f"ended with status {self.exit_code()}")
            if time.monotonic() > end:
                raise self.failed(f"was not ready within {seconds} s")
            time.sleep(0.02)


class Interrupted(Exception):
    """A signal asked Python to stop while a process was being started."""


def run(argv, seconds=120, **options):
    """Runs a short command to its end and returns it; its output is text, both streams in one.

    In a session of its own: Python handles a Ctrl-C of the terminal, not the command."""
    return subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=None if "input" in options else subprocess.DEVNULL,
        text=True,
        errors="replace",
        timeout=seconds,
        start_new_session=True,
        check=False,
        **options,
    )


def must(argv, seconds=120, **options):
    """`run`, raising Failed unless the command succeeds."""
    done = run(argv, seconds, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def eventually(holds, seconds, step=0.02):
    """Waits until `holds()` is true, at most `seconds`; returns the seconds it took, or None."""
    start = time.monotonic()
    while True:
        if holds():
            return time.monotonic() - start
        if time.monotonic() - start > seconds:
            return None
        time.sleep(step)
