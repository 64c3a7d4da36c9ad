"""A Redis server with the users of the scenarios, and its command counters.

Invariant: one prefix a scenario, so that scenarios share a server without sharing a user. The
million users have a server of their own: a table of that size would slow the others down.
"""

import socket

from . import people, streams
from .stage import free_port, wait_port

BATCH = 2_000


class Store:
    """A running redis-server. The key layout is the project's public one (P:user:<name>)."""

    def __init__(self, stage, backend_port, name):
        self.port = free_port()
        self._peer = f"127.0.0.1:{backend_port}"
        argv = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        process = stage.start(argv + ["--dir", stage.root], {stage.load_cpu}, f"redis-{name}.log")
        wait_port(self.port, process)
        self._socket = socket.create_connection(("127.0.0.1", self.port))
        self._reader = self._socket.makefile("rb")

    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def seed(self, scenario, tool):
        """Stores the users of a scenario under its prefix."""
        prefix = scenario.name
        names = [people.user(n) for n in range(scenario.users)]
        for start in range(0, len(names), BATCH):
            self._send([self._user(prefix, name, people.sha(people.password_of(name))) for name in names[start : start + BATCH]])
        alice = people.password_of(people.ALICE)
        stored = people.bcrypt(alice) if scenario.password == "bcrypt" else people.sha(alice)
        self._send([self._user(prefix, people.ALICE, stored, scenario.grants, scenario.groups)])
        for number in range(scenario.groups):
            pattern = "shared/**" if number == scenario.groups - 1 else f"squad{number}/**"
            self._send([["HSET", f"{prefix}:group:group{number}", f"grant:{pattern}", "pull,push"]])
        if scenario.password == "argon2id":
            self._send([["DEL", f"{prefix}:user:{people.ALICE}"]])
            people.add_argon2id(tool, self.url(), prefix, people.ALICE)
            self._send([["HSET", f"{prefix}:user:{people.ALICE}", "backends", self._peer]])

    def seed_flood(self, prefix):
        """Users with one bcrypt-12 hash between them: it is as dear to verify as many."""
        digest = people.bcrypt(streams.FLOOD_PASSWORD)
        self._send([self._user(prefix, people.user(n), digest) for n in range(BATCH)])

    def commands(self):
        """Commands processed so far, this connection's own INFO not counted."""
        self._asked = getattr(self, "_asked", 0) + 1
        for line in self._command(["INFO", "stats"]).splitlines():
            if line.startswith("total_commands_processed:"):
                return int(line.split(":")[1]) - self._asked
        return 0

    def _user(self, prefix, name, stored, grants=0, groups=0):
        fields = ["password", stored, "backends", self._peer]
        for number in range(grants - 1):
            fields += [f"grant:team{number}/**", "pull,push"]
        if groups:
            fields += ["groups", " ".join(f"group{number}" for number in range(groups))]
        elif grants:
            fields += ["grant:shared/**", "pull,push"]
        return ["HSET", f"{prefix}:user:{name}", *fields]

    def _command(self, words):
        return self._send([words])[0]

    def _send(self, commands):
        out = []
        for words in commands:
            out.append(f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words))
        self._socket.sendall("".join(out).encode())
        return [self._reply() for _ in commands]

    def _reply(self):
        line = self._reader.readline().decode().rstrip()
        if line.startswith("-"):
            raise RuntimeError(f"Redis: {line}")
        if line.startswith("$"):
            return self._reader.read(int(line[1:]) + 2).decode()
        return line[1:]
