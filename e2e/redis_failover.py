#!/usr/bin/env python3
"""`make failover`: a push of 2 GB and 32 pulls, while the master of Redis is killed; nginx is as shipped.

Of all requests none may fail: who was let in before goes on (stale=), and then the new master is asked.
FAILOVER_BYTES is another size of the push.
"""

import hashlib
import os
import sys
import threading
import time

from harness.stack import Stack
from harness.wire import Wire, path_of
from testkit.process import eventually
from testkit.sentinel import Group

BYTES = int(os.environ.get("FAILOVER_BYTES") or 2 << 30)
LAYERS, PULLS = 8, 32
PULLED = 8 << 20
PATIENCE = 60
OCI = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
BINARY = {"Content-Type": "application/octet-stream"}


class Count:
    """Requests, and what was wrong with those that failed."""

    def __init__(self):
        self._lock = threading.Lock()
        self.sent, self.failed = 0, []

    def check(self, what, answer, wanted):
        with self._lock:
            self.sent += 1
            if answer.status != wanted:
                self.failed.append(f"{what}: {answer.status} {answer.body[:200]}")
        return answer


def push(wire, count):
    """Layers, each as docker sends one: is it there, begin, all bytes, end."""
    piece = os.urandom(1 << 20)
    for layer in range(LAYERS):
        size = BYTES // LAYERS // len(piece)
        digest = hashlib.sha256(bytes([layer]) * len(piece))
        for _ in range(size):
            digest.update(piece)
        name = f"sha256:{digest.hexdigest()}"

        def content(layer=layer, size=size):
            yield bytes([layer]) * len(piece)
            for _ in range(size):
                yield piece
        count.check("HEAD", wire("HEAD", f"/v2/alice/big/blobs/{name}"), 404)
        begun = count.check("POST", wire.start_upload("alice/big"), 202)
        length = {"Content-Length": str((size + 1) * len(piece))}
        sent = count.check("PATCH", wire("PATCH", path_of(begun.header("location")[0]), content(),
                                         {**BINARY, **length}, PATIENCE), 202)
        target = path_of(sent.header("location")[0])
        joint = "&" if "?" in target else "?"
        count.check("PUT", wire("PUT", f"{target}{joint}digest={name}", seconds=PATIENCE,
                                headers={"Content-Length": "0"}), 201)


def pull(stack, blob, is_over, count):
    """The same image again and again, each time whole, as a node of a cluster does at its start."""
    wire = Wire(stack, "alice")
    while True:
        manifest = wire("GET", "/v2/alice/app/manifests/latest", headers=OCI, seconds=PATIENCE)
        count.check("manifest", manifest, 200)
        got = count.check("blob", wire("GET", f"/v2/alice/app/blobs/{blob}", seconds=PATIENCE), 200)
        if got.status == 200 and len(got.body) != PULLED:
            count.failed.append(f"a blob of {len(got.body)} bytes")
        if is_over.is_set():
            return
        time.sleep(0.5)


def main():
    count, is_over = Count(), threading.Event()
    with Stack(redis=Group) as stack:
        alice = Wire(stack, "alice")
        alice.push_image("alice/app", {"hello": b"hello\n"})
        blob = alice.push_blob("alice/app", os.urandom(PULLED))
        threads = [threading.Thread(target=pull, args=(stack, blob, is_over, count)) for _ in range(PULLS)]
        pushing = threading.Thread(target=push, args=(alice, count))
        begun = time.monotonic()
        for thread in [*threads, pushing]:
            thread.start()
        time.sleep(2)
        old = stack.redis.master()
        next(server for server in stack.redis.servers if server.port == old).kill()
        killed = time.monotonic()
        took = eventually(lambda: stack.redis.master() not in (None, old), PATIENCE)
        pushed_on = pushing.is_alive()
        pushing.join()
        # The new master is asked: what it says counts.
        time.sleep(2)
        is_over.set()
        for thread in threads:
            thread.join()
        stack.tool("user", "lock", "alice")
        is_told = eventually(lambda: alice("GET", "/v2/").status == 401, PATIENCE)
        print(f"{BYTES >> 20} MB pushed and {PULLS} pullers, {count.sent} requests in "
              f"{time.monotonic() - begun:.0f} s; the master was killed after {killed - begun:.0f} s, there "
              f"was another one {took or 0:.1f} s later; {len(count.failed)} requests failed.")
        for line in count.failed[:10]:
            print(f"    {line}")
        if not pushed_on:
            print("The push was over before the failover: FAILOVER_BYTES has to be greater.")
        complaints = stack.nginx.complaints()
        print("\n".join(complaints))
        holds = took and pushed_on and is_told is not None and not count.failed and not complaints
        return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
