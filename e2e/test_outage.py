"""Redis goes away in the middle: who was let in before goes on, as shipped; without stale=, 503 and never
401, no login is lost, and everything goes on once it is back."""

import unittest

from harness.case import StackCase
from harness.client import Docker, Podman, Skopeo
from harness.wire import Wire, path_of
from testkit.process import eventually

# The spec says 2 s; a machine may be slow.
RECOVERY = 10


class Outages(StackCase):
    def setUp(self):
        self.addCleanup(self.redis_back)

    def redis_back(self):
        if not self.stack.redis.process.running():
            self.stack.redis.start()
        # Each worker finds out by itself, and which of them gets a connection is chance.
        took = eventually(self.stack.nginx.is_connected, RECOVERY)
        self.assertIsNotNone(took, self.stack.nginx.error_log())
        self.assertEqual(self.in_time("GET", "/v2/").status, 200)

    def in_time(self, *question, wire=None, **more):
        """The answer that a client gets that asks again after 503, as clients do: on a busy machine a lookup
        may run out of time once more."""
        wire = wire or Wire(self.stack, "alice")
        answers = []

        def is_answered():
            answers.append(wire(*question, **more))
            return answers[-1].status != 503

        eventually(is_answered, RECOVERY)
        return answers[-1]


class Bridged(Outages):
    """As shipped."""

    def test_who_was_let_in_goes_on(self):
        alice, data = Wire(self.stack, "alice"), b"first half, second half"
        location = alice.start_upload("alice/halves").header("location")[0]
        kind = {"Content-Type": "application/octet-stream"}
        first = alice("PATCH", path_of(location), body=data[:10], headers=kind)
        self.assertEqual(first.status, 202, first)
        self.stack.redis.stop_keeping()
        target = path_of(first.header("location")[0])
        self.assertEqual(alice("PATCH", target, body=data[10:], headers=kind).status, 202)
        for password in ("wrong", self.stack.passwords["alice"] + "x"):
            self.assertEqual(Wire(self.stack, "alice", password=password)("GET", "/v2/").status, 503)


class Outage(Outages):
    options = {"stale": False}

    def client(self, kind):
        client = kind(self.stack, self.stack.directory / kind.name)
        self.addCleanup(client.close)
        done = client.login("alice", self.stack.passwords["alice"])
        self.assertEqual(done.returncode, 0, done.stdout)
        return client

    def login_survives(self, kind, says):
        """Push works, fails while Redis is off, and works again without another login."""
        client = self.client(kind)
        self.assertEqual(client.push("alice/app").returncode, 0)
        self.stack.redis.stop_keeping()
        off = client.pull("alice/app")
        self.assertNotEqual(off.returncode, 0, off.stdout)
        self.assertRegex(off.stdout, says)
        self.assertNotRegex(off.stdout, "(?i)unauthorized|401|invalid username")
        self.redis_back()
        again = client.push("alice/app")
        self.assertEqual(again.returncode, 0, again.stdout)
        self.assertEqual(client.pull("alice/app").returncode, 0)

    def test_skopeo(self):
        self.login_survives(Skopeo, "503")

    def test_podman(self):
        self.login_survives(Podman, "503")

    def test_docker(self):
        self.login_survives(Docker, "(?i)503|unavailable")

    def test_answer(self):
        """503 with Retry-After and OCI JSON, with and without credentials that would be right."""
        self.stack.redis.stop_keeping()
        for password in (None, "wrong"):
            answer = Wire(self.stack, "alice", password=password)("GET", "/v2/")
            self.assertEqual(answer.status, 503, answer)
            self.assertEqual(answer.error()[0], "UNAVAILABLE")
            self.assertEqual(len(answer.header("retry-after")), 1)
            self.assertEqual(answer.header("docker-distribution-api-version"), ["registry/2.0"])
            self.assertEqual(answer.header("www-authenticate"), [])
        # Who brings no credentials needs none looked up.
        self.assertEqual(Wire(self.stack)("GET", "/v2/").status, 401)

    def test_upload_goes_on(self):
        """An upload that Redis' absence interrupted is taken up where it was."""
        alice, data = Wire(self.stack, "alice"), b"first half, second half"
        location = alice.start_upload("alice/halves").header("location")[0]
        kind = {"Content-Type": "application/octet-stream"}
        first = alice("PATCH", path_of(location), body=data[:10], headers=kind)
        self.assertEqual(first.status, 202, first)
        target = path_of(first.header("location")[0])
        self.stack.redis.stop_keeping()
        self.assertEqual(alice("PATCH", target, body=data[10:], headers=kind).status, 503)
        self.redis_back()
        second = self.in_time("PATCH", target, body=data[10:], headers=kind)
        self.assertEqual(second.status, 202, second)
        self.assertEqual(second.header("range"), [f"0-{len(data) - 1}"])


class OutageBearer(Outage):
    """With tokens: neither the token endpoint nor a token that is still good says 401; docker has a refresh
    token."""

    options = {"bearer": True, "token_key": True, "stale": False}

    def test_token(self):
        alice = Wire(self.stack, "alice")
        robot = alice.with_token("repository:alice/robot:pull")
        self.assertEqual(robot("GET", "/v2/alice/robot/tags/list").status, 404)
        self.stack.redis.stop_keeping()
        for answer in (robot("GET", "/v2/alice/robot/tags/list"), alice("GET", "/token?service=registry"),
                       Wire(self.stack)("GET", "/token")):
            self.assertEqual((answer.status, answer.error()[0]), (503, "UNAVAILABLE"), answer)
            self.assertEqual(len(answer.header("retry-after")), 1)
        self.redis_back()
        self.assertEqual(self.in_time("GET", "/v2/alice/robot/tags/list", wire=robot).status, 404)


if __name__ == "__main__":
    unittest.main()
