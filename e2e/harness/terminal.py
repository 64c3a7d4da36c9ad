"""A command in a terminal of its own, to press Ctrl-C in and to hang up."""

import os
import pty
import select
import signal
import threading
import time


class Terminal:
    """Runs `argv` as the foreground job of a new terminal. `text` is what it has printed so far."""

    def __init__(self, argv, env):
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            try:
                # As a new window's shell would: what a nohup around the tests ignores is not ignored in
                # there.
                for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self._output = []
        self._closing = False
        self._status = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        # Never blocked in read(): that would keep the terminal open beyond our close.
        while not self._closing:
            if select.select([self._master], [], [], 0.02)[0]:
                try:
                    self._output.append(os.read(self._master, 65536))
                except OSError:
                    return              # the other side is gone

    @property
    def text(self):
        return b"".join(self._output).decode(errors="replace").replace("\r\n", "\n")

    def await_text(self, wanted, seconds=60):
        """Waits until `wanted` has been printed; raises AssertionError with all that was."""
        end = time.monotonic() + seconds
        while wanted not in self.text:
            if time.monotonic() > end or self.exit_status(0) is not None:
                raise AssertionError(f"no {wanted!r} in:\n{self.text}")
            time.sleep(0.02)

    def press_ctrl_c(self):
        os.write(self._master, b"\x03")

    def hang_up(self):
        """What closing the window does: the kernel sends SIGHUP, and nothing can be printed any more."""
        self._close_terminal()

    def _close_terminal(self):
        self._closing = True
        self._reader.join()
        os.close(self._master)
        self._master = None

    def send(self, number):
        os.kill(self.pid, number)

    def exit_status(self, seconds):
        """The exit status (negative: the signal), or None when it still runs after `seconds`."""
        end = time.monotonic() + seconds
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() >= end:
                break
            time.sleep(0.02)
        return self._status

    def close(self):
        """Ends it, for the cleanup of a test."""
        if self.exit_status(0) is None:
            self.send(signal.SIGTERM)
            if self.exit_status(20) is None:
                self.send(signal.SIGKILL)
                self.exit_status(5)
        if self._master is not None:
            self._close_terminal()
