"""A Redis server with the users of the scenarios, and its command counters.

Invariant: one prefix a scenario, so that scenarios share a server without sharing a user. The
million users have a server of their own: a table of that size would slow the others down.
"""

import threading
from contextlib import contextmanager

from . import people, streams

BATCH = 2_000


class Store:
    """A running redis-server. The key layout is the project's public one (P:user:<name>)."""

    def __init__(self, stage, backend_port, name):
        self._redis = stage.redis(f"redis-{name}")
        self.port = self._redis.port
        self._peer = f"127.0.0.1:{backend_port}"

    def seed(self, scenario, tool):
        """Stores the users of a scenario under its prefix."""
        prefix = scenario.name
        names = [people.user(n) for n in range(scenario.users)]
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            self._redis.commands([self._user(prefix, name, people.sha(people.password_of(name)))
                                  for name in batch])
        alice = people.password_of(people.ALICE)
        stored = people.bcrypt(alice) if scenario.password == "bcrypt" else people.sha(alice)
        self._redis.commands([self._user(prefix, people.ALICE, stored, scenario.grants, scenario.groups)])
        for number in range(scenario.groups):
            pattern = "shared/**" if number == scenario.groups - 1 else f"squad{number}/**"
            self._redis.commands([["HSET", f"{prefix}:group:group{number}", f"grant:{pattern}", "pull,push"]])
        if scenario.password == "argon2id":
            self._redis.commands([["DEL", f"{prefix}:user:{people.ALICE}"]])
            people.add_argon2id(tool, self._redis.url, prefix, people.ALICE)
            self._redis.commands([["HSET", f"{prefix}:user:{people.ALICE}", "backends", self._peer]])

    def seed_flood(self, prefix):
        """Users with one bcrypt-12 hash between them: it is as dear to verify as many."""
        digest = people.bcrypt(streams.FLOOD_PASSWORD)
        self._redis.commands([self._user(prefix, people.user(n), digest) for n in range(BATCH)])

    @contextmanager
    def changes(self, scenario):
        """While entered, a user of the scenario whom nobody asks for changes again and again, as often a
        second as the scenario says."""
        if not scenario.changes:
            yield
            return
        connection, over = self._redis.connect(), threading.Event()

        def change():
            number = 0
            while not over.wait(1 / scenario.changes):
                number += 1
                connection.commands([["HSET", f"{scenario.name}:user:changing", "note", str(number)]])

        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            connection.close()

    def commands(self):
        """Commands processed so far, this connection's own INFO not counted."""
        self._asked = getattr(self, "_asked", 0) + 1
        for line in self._redis.command("INFO", "stats").splitlines():
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
