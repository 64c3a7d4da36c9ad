"""Pushes that take longer than their token lives, all at once and in the background, since each needs more
than a minute."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

from testkit.process import eventually

from . import client
from .stack import Stack
from .throttle import Throttle
from .wire import Wire, digest, path_of

# The shortest life that the module allows.
LIFE = 60
SLOW = 25_000
SIZE = SLOW * 72
BYTES = {"Content-Type": "application/octet-stream"}
CLIENTS = (client.Docker, client.Skopeo, client.Podman, client.Ctr)


@dataclass(frozen=True)
class Pushed:
    """How a push ended: the client's finished process, and how long that took."""

    done: object
    seconds: float


class LongPushes:
    """Starts everything in the constructor; `result` waits. Tokens live for LIFE seconds."""

    def __init__(self):
        self.stack = Stack(bearer=True, ttl=f"{LIFE}s")
        self._clients = []
        self._pool = ThreadPoolExecutor(len(CLIENTS) + 4)
        for user in ("carol", "dave", "erin"):
            self.stack.add_user(user, f"{user}-secret", self.stack.registries["alice"].address)
        self._results = {kind.name: self._pool.submit(self._push, kind) for kind in CLIENTS}
        self._results["by hand"] = self._pool.submit(self._by_hand)
        self._results["locked"] = self._pool.submit(self._locked)
        self._results["locked by hand"] = self._pool.submit(self._locked_by_hand)

    def result(self, name):
        """What that push came to; raises what it raised."""
        return self._results[name].result(180)

    def stop(self):
        for one in self._clients:
            one.close()
        self.stack.stop()
        self._pool.shutdown(cancel_futures=True)

    def _client(self, kind, line, name, size):
        """A client at the other end of a slow line."""
        address = f"{self.stack.address.split(':')[0]}:{line.port}"
        far = SimpleNamespace(address=address, certificates=self.stack.certificates)
        made = kind(far, self.stack.directory / name, {"noise": os.urandom(size)})
        self._clients.append(made)
        return made

    def _push(self, kind):
        with Throttle(self.stack.nginx.port, SLOW) as line:
            made = self._client(kind, line, kind.name, SIZE)
            made.login("alice", self.stack.passwords["alice"])
            start = time.monotonic()
            done = made.push(f"alice/long-{kind.name}")
            return Pushed(done, time.monotonic() - start)

    def _locked(self):
        """skopeo pushing for carol, who is locked in the middle of it."""
        with Throttle(self.stack.nginx.port, SLOW * 4) as line:
            made = self._client(client.Skopeo, line, "locked", SLOW * 40)
            made.login("carol", self.stack.passwords["carol"])
            push = self._pool.submit(made.push, "carol/app")
            assert eventually(lambda: line.passed > SLOW * 10, 60) is not None, "nothing arrives"
            self.stack.tool("user", "lock", "carol")
            assert not push.done(), "the push was over before the lock: nothing is proven"
            return Pushed(push.result(120), 0)

    def _by_hand(self):
        """An upload that begins with a token and goes on after its end: the answers, by what was asked."""
        data = b"the first half, the second half"
        robot = Wire(self.stack, "dave").with_token("repository:dave/app:pull,push")
        issued = time.monotonic()
        answers = {"start": robot.start_upload("dave/app")}
        at = path_of(answers["start"].header("location")[0])
        answers["first"] = robot("PATCH", at, body=data[:15], headers=BYTES)
        at = path_of(answers["first"].header("location")[0])
        time.sleep(LIFE + 1 - (time.monotonic() - issued))
        answers["second"] = robot("PATCH", at, body=data[15:], headers=BYTES)
        at = path_of(answers["second"].header("location")[0])
        answers["finish"] = robot("PUT", f"{at}&digest={digest(data)}", body=b"", headers=BYTES)
        answers["manifest"] = robot("PUT", "/v2/dave/app/manifests/latest", body=b"{}")
        answers["another"] = robot.start_upload("dave/app")
        answers["pull"] = robot("GET", f"/v2/dave/app/blobs/{digest(data)}")
        return answers

    def _locked_by_hand(self):
        """An upload whose user is locked: the answers before and after, and the seconds until it was
        refused."""
        robot = Wire(self.stack, "erin").with_token("repository:erin/app:pull,push")
        at = path_of(robot.start_upload("erin/app").header("location")[0])
        before = robot("PATCH", at, body=b"half", headers=BYTES)
        at = path_of(before.header("location")[0])
        self.stack.tool("user", "lock", "erin")
        took = eventually(lambda: robot("GET", at).status == 401, 5)
        return before, robot("PATCH", at, body=b"half", headers=BYTES), took
