"""Processes of the stack: started in a session of their own, stopped by pid, dying with us whatever happens to us.

Used by everything that starts a part. A terminal's Ctrl-C reaches only Python, which then stops the parts in order.
"""

import os
import signal
import subprocess
import time


class Failed(Exception):
    """A part did not start, or not in time; the text holds the end of its log."""


class Process:
    """One running part. `log` is the file that takes its output."""

    def __init__(self, name, argv, log, env=None, cwd=None):
        self.name = name
        self.log = log
        # A session of its own, so that a stray child can be found by its group; setpriv (util-linux) rather than a
        # preexec_fn, which is not safe once there are threads.
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *argv],
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
        """Returns whether the process has ended within `seconds`."""
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

        Raises Failed when the process ends first or the time is up, Interrupted when `stopped()` becomes true."""
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
    """Somebody asked us to stop while a part was being started."""


def run(argv, seconds=120, **options):
    """Runs a short command to its end and returns it; its output is text, both streams in one.

    In a session of its own: a Ctrl-C of the terminal is ours to handle, not its."""
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
