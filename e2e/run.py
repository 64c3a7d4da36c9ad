#!/usr/bin/env python3
"""`make run`: the whole thing on this machine, for looking at. Ctrl-C ends it and leaves nothing behind.

nginx with the module (TLS, by a CA made for the occasion; Bearer, so that every client works, also without a login), Redis
and two registries, all below one temporary folder and on the loopback only; accounts alice and bob, each with a registry
of their own, and an image that everybody may pull. PORT= chooses nginx's port.
"""

import argparse
import os
import secrets
import signal
import sys
import time

from harness import tour
from harness.ports import Taken
from harness.process import Failed, Interrupted
from harness.stack import MODULE, TOOL, USERS, Stack

DEFAULT_PORT = 5000


class Stop:
    """Whether somebody asked us to end: Ctrl-C, a kill, the terminal going away. Later requests change nothing."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # What nohup (or a shell, for its background jobs) has us ignore stays ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, *_):
        self.asked = True

    def __call__(self):
        return self.asked


def say(text=""):
    """Prints, unless the terminal is gone: nothing shall keep us from cleaning up."""
    try:
        print(text, flush=True)
    except OSError:
        # Nor shall Python's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def options():
    parser = argparse.ArgumentParser(description="Run nginx registry auth with real parts, to try it out.")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or None,
                        help=f"nginx's port (default: $PORT, else {DEFAULT_PORT} or, if that is in use, a free one)")
    chosen = parser.parse_args()
    if chosen.port is not None and not 0 < chosen.port < 65536:
        parser.error(f"--port {chosen.port}: not a port")
    return chosen


def introduce(stack):
    """Tells the address, the accounts and what to type."""
    say(f"nginx registry auth runs at https://{stack.address}/ (all of it in {stack.directory})")
    say()
    for user in USERS:
        say(f"    {user:8} password {stack.passwords[user]:16} registry {stack.registries[user].address}")
    say()
    say("In another terminal, first:")
    say()
    say(f"    {tour.first(stack)}")
    for chapter in tour.chapters(stack, TOOL):
        say()
        if not chapter.possible():
            say(f"{chapter.title}: {chapter.needs} is not installed here.")
            continue
        say(f"{chapter.title}:")
        say()
        for command in chapter.commands:
            say(f"    {command}")
    say()
    say("Ctrl-C stops everything and removes the folder.")


def watch(stack, stop):
    """Waits for the end; returns the exit status. A part that dies ends the whole, and is named."""
    while not stop():
        for process in stack.processes():
            if not process.running():
                say(f"{process.failed(f'ended with status {process.exit_code()}')}")
                return 1
        time.sleep(0.1)
    say("Stopping.")
    return 0


def main():
    chosen = options()
    for built in (MODULE, TOOL):
        if not built.exists():
            say(f"{built} is missing: run `make` first")
            return 1
    stop = Stop()
    passwords = {user: secrets.token_hex(6) for user in USERS}
    try:
        with Stack(host="localhost", passwords=passwords, port=chosen.port or DEFAULT_PORT, only=bool(chosen.port),
                   stopped=stop, bearer=True, token_key=True) as stack:
            tour.prepare(stack)
            introduce(stack)
            return watch(stack, stop)
    except Interrupted:
        return 0
    except Taken as taken:
        say(f"{taken}; choose another one with PORT=")
    except Failed as failed:
        say(f"{failed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
