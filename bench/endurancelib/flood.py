"""A flood of made-up logins from one address, with `registry_auth_failures` on: it delays its sender, and
nobody else.

Three kinds of senders, each from an address of its own, all at the rate that they are to have whatever the
answers take: the flood; users whom the cache knows, with slow hashes and a `ttl` that ends now and then; and
logins, each of a user who never came before. Everybody's stored hash is argon2id as the tool makes it.
"""

import asyncio
import time
from collections import Counter

from benchlib import people

from .gate import PREFIX, Broken

# What the gate is given for this part.
TTL, DIRECTIVES = "30s", "registry_auth_failures 10 1m;"
FLOOD, KNOWN, COLD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
FLOOD_RATE, KNOWN_RATE, COLD_RATE = 200, 50, 2  # requests a second
KNOWN_USERS = 50
PASSWORD = people.password_of("model")
MUST = 2.0  # seconds, of cold logins' p99


def run(gate, args):
    _store(gate, args)
    seen = asyncio.run(_flood(gate, args.seconds))
    cold = sorted(seen[COLD].times)
    if not cold:
        raise Broken("nobody logged in")
    p50, p99 = (cold[min(len(cold) - 1, len(cold) * percent // 100)] for percent in (50, 99))
    print(f"{args.seconds} s with {FLOOD_RATE} made-up logins a second from one address: {_say(seen[FLOOD])}")
    print(f"users in the cache, {KNOWN_RATE} requests a second: {_say(seen[KNOWN])}")
    print(f"cold logins with argon2id, {COLD_RATE} a second: {_say(seen[COLD])}; p50 {p50 * 1e3:.0f} ms, "
          f"p99 {p99 * 1e3:.0f} ms, max {cold[-1] * 1e3:.0f} ms")
    if set(seen[FLOOD].statuses) != {401, 429}:
        raise Broken("the flood was not refused, or by no limit")
    for kind, title in ((KNOWN, "a user in the cache"), (COLD, "a cold login")):
        if set(seen[kind].statuses) != {200}:
            raise Broken(f"{title} was refused")
    if p99 >= MUST:
        raise Broken(f"a cold login takes {p99:.2f} s at p99")


def _store(gate, args):
    """Everybody's record: one hash that the tool made is good for all, as they share a password."""
    people.add_argon2id(args.tool, f"redis://127.0.0.1:{gate.redis.port}/0", PREFIX, "model")
    stored = gate.redis.command("HGET", f"{PREFIX}:user:model", "password")
    names = [f"known{number}" for number in range(KNOWN_USERS)]
    names += [f"cold{number}" for number in range(COLD_RATE * args.seconds + COLD_RATE)]
    for name in names:
        gate.redis.command("HSET", f"{PREFIX}:user:{name}", "password", stored)


class Seen:
    """What a kind of senders was answered."""

    def __init__(self):
        self.statuses, self.times = Counter(), []


def _say(seen):
    return ", ".join(f"{status} {count:,} times" for status, count in sorted(seen.statuses.items()))


async def _flood(gate, seconds):
    seen = {address: Seen() for address in (FLOOD, KNOWN, COLD)}
    for number in range(KNOWN_USERS):
        status = await _ask(gate.port, KNOWN, f"known{number}")
        if status != 200:
            raise Broken(f"{status} before the flood")
    kinds = (
        (FLOOD, FLOOD_RATE, lambda number: f"made-up{number}"),
        (KNOWN, KNOWN_RATE, lambda number: f"known{number % KNOWN_USERS}"),
        (COLD, COLD_RATE, lambda number: f"cold{number}"),
    )
    await asyncio.gather(*(_send(gate.port, seen[kind], seconds, kind, rate, name)
                           for kind, rate, name in kinds))
    return seen


async def _send(port, seen, seconds, address, rate, name):
    """So many requests a second for so long, and all answers."""
    began, tasks = time.monotonic(), []
    for number in range(rate * seconds):
        await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(_timed(port, seen, address, name(number))))
    await asyncio.gather(*tasks)


async def _timed(port, seen, address, name):
    began = time.monotonic()
    status = await _ask(port, address, name)
    seen.times.append(time.monotonic() - began)
    seen.statuses[status] += 1


async def _ask(port, address, name):
    """One request on a connection of its own; its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        request = ("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                   f"Authorization: {people.authorization(name, PASSWORD)}\r\n\r\n")
        writer.write(request.encode())
        answer = await reader.read(-1)
        return int(answer.split(b" ", 2)[1])
    finally:
        writer.close()
