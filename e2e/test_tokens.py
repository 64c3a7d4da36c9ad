"""Tokens in the hands of real clients: what docker keeps of a login, access tokens of robots, pushes that
outlive a token."""

import itertools
import json
import re
import unittest

from harness import client
from harness.case import StackCase
from harness.client import GREETING
from harness.longpush import CLIENTS, LIFE, LongPushes
from harness.wire import Wire
from testkit.process import eventually

# A change takes effect within 100 ms; a machine may be slow.
SECONDS = 5
pushes = None


def setUpModule():
    """Begins what takes more than a minute; the other tests run meanwhile."""
    global pushes
    pushes = LongPushes()
    unittest.addModuleCleanup(pushes.stop)


def load_tests(loader, *_):
    """LongPush last: by then its pushes are almost through."""
    cases = (Identity, AccessTokens, AccessTokensBearer, LongPush)
    return unittest.TestSuite(map(loader.loadTestsFromTestCase, cases))


class Clients:
    """Clients of a test's own, and what is expected of them."""

    numbers = itertools.count()

    def client(self, kind):
        made = kind(self.stack, self.stack.directory / f"{kind.name}{next(self.numbers)}")
        self.addCleanup(made.close)
        return made

    def works(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def fails(self, done, pattern):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, pattern)

    def soon(self, status, wire, target):
        """Waits until nginx has heard of a change."""
        self.assertIsNotNone(eventually(lambda: wire("GET", target).status == status, SECONDS))

    def set_password(self, password):
        self.stack.tool("user", "passwd", "alice", "--password-stdin", input=password + "\n")
        self.soon(200, Wire(self.stack, "alice", password=password), "/v2/")


class Identity(Clients, StackCase):
    """With a key file, `docker login` keeps a refresh token in the place of the password."""

    options = {"bearer": True, "token_key": True}

    def setUp(self):
        self.docker = self.client(client.Docker)
        self.works(self.docker.login("alice", self.stack.passwords["alice"]))
        kept = json.loads(self.docker.auth.read_text())["auths"][self.stack.address]
        self.token = kept.pop("identitytoken")
        # "alice:", without a password.
        self.assertEqual(kept, {"auth": "YWxpY2U6"})

    def test_it_outlives_a_restart(self):
        self.works(self.docker.push("alice/app"))
        self.stack.nginx.stop()
        self.stack.nginx.start()
        self.works(self.docker.push("alice/again"))
        self.works(self.docker.pull("alice/app"))

    def test_it_ends_with_its_key(self):
        """A new key is put in front of it; then it is removed."""
        key = self.stack.configuration / "token-key"
        old = key.read_text()
        self.addCleanup(self.set_keys, old)
        self.set_keys("0123456789abcdef" * 4 + "\n" + old)
        self.works(self.docker.push("alice/app"))
        self.set_keys("0123456789abcdef" * 4 + "\n")
        self.fails(self.docker.push("alice/app"), "unauthorized: the token is not valid")

    def set_keys(self, text):
        nginx = self.stack.nginx
        (self.stack.configuration / "token-key").write_text(text, encoding="ascii")
        before = nginx.workers()
        nginx.reload()
        nginx.await_new_workers(before)

    def test_a_new_password_ends_it(self):
        self.works(self.docker.push("alice/app"))
        old = Wire(self.stack, "alice")
        self.addCleanup(self.set_password, self.stack.passwords["alice"])
        self.set_password("another one")
        self.soon(401, old, "/v2/")
        self.fails(self.docker.push("alice/later"),
                   "unauthorized: the password has changed since the token was issued")
        self.fails(self.docker.pull("alice/app"),
                   "unauthorized: the password has changed since the token was issued")
        skopeo = self.client(client.Skopeo)
        skopeo.auth = self.docker.auth
        self.fails(skopeo.pull("alice/app"),
                   "unauthorized: the password has changed since the token was issued")
        self.works(self.docker.login("alice", "another one"))
        self.works(self.docker.push("alice/later"))

    def test_a_lock_ends_it_until_it_is_lifted(self):
        alice = Wire(self.stack, "alice")
        self.addCleanup(self.unlock)
        self.stack.tool("user", "lock", "alice")
        self.soon(401, alice, "/v2/")
        self.fails(self.docker.push("alice/app"), "unauthorized: the account of the token is locked or gone")
        self.unlock()
        self.works(self.docker.push("alice/app"))

    def unlock(self):
        self.stack.tool("user", "unlock", "alice")
        self.soon(200, Wire(self.stack, "alice"), "/v2/")

    def test_ctr_takes_it(self):
        ctr = self.client(client.Ctr)
        ctr.remember_refresh_token(self.token)
        self.works(ctr.push("alice/of-ctr"))
        self.works(ctr.pull("alice/of-ctr"))

    def test_the_others_read_dockers_login(self):
        """They send their form in chunks."""
        self.works(self.docker.push("alice/app"))
        for kind in (client.Skopeo, client.Podman, client.Buildah):
            with self.subTest(client=kind.name):
                made = self.client(kind)
                made.auth = self.docker.auth
                self.works(made.push(f"alice/of-{kind.name}"))
                self.works(made.pull("alice/app"))

    def test_podman_keeps_the_password(self):
        """It does not ask for a refresh token; searching is by a token for the catalogue."""
        Wire(self.stack, "alice").push_image("alice/found", GREETING)
        podman = self.client(client.Podman)
        self.works(podman.login("alice", self.stack.passwords["alice"]))
        self.assertNotIn("identitytoken", podman.auth.read_text())
        self.assertIn("alice/found", self.works(podman.search("found")))


class AccessTokens(Clients, StackCase):
    """A robot with an access token of alice's for pulls: the password of a gate in Basic mode."""

    revoked = "unauthorized: incorrect username or password"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        Wire(cls.stack, "alice").push_image("alice/app", GREETING)

    def create(self, scope="alice/**:pull"):
        """(token, id)"""
        said = self.stack.tool("token", "create", "alice", "--scope", scope, "--expires", "90d")
        token = re.search(r"^rga_\w+$", said, re.MULTILINE).group()
        return token, re.search(r"^token (\S+) of alice", said, re.MULTILINE).group(1)

    def test_each_client(self):
        token, _ = self.create()
        for kind in client.ALL:
            with self.subTest(client=kind.name):
                robot = self.client(kind)
                self.works(robot.login("alice", token))
                self.works(robot.pull("alice/app"))
                self.fails(robot.push("alice/app"),
                           r"denied: the access token may not push alice/app|403 Forbidden")

    def test_alone(self):
        """As a Bearer token, without its user's name."""
        token, identity = self.create()
        bearer = {"Authorization": f"Bearer {token}"}
        wire = Wire(self.stack)
        self.assertEqual(wire("GET", "/v2/alice/app/tags/list", headers=bearer).status, 200)
        self.assertEqual(wire("DELETE", "/v2/alice/app/manifests/latest", headers=bearer).status, 403)
        self.stack.tool("token", "revoke", "alice", identity)
        self.assertIsNotNone(eventually(lambda: wire("GET", "/v2/", headers=bearer).status == 401, SECONDS))

    def test_of_another_user(self):
        token, _ = self.create()
        self.fails(self.client(client.Skopeo).login("bob", token), "invalid username/password")

    def test_a_new_password_does_not_end_it(self):
        """Nor what docker keeps of it, where it is exchanged for a refresh token."""
        token, _ = self.create()
        robot = self.client(client.Docker)
        self.works(robot.login("alice", token))
        self.addCleanup(self.set_password, self.stack.passwords["alice"])
        self.set_password("another one")
        self.works(robot.pull("alice/app"))

    def test_that_is_revoked(self):
        token, identity = self.create()
        robot = self.client(client.Docker)
        self.works(robot.login("alice", token))
        self.works(robot.pull("alice/app"))
        self.stack.tool("token", "revoke", "alice", identity)
        self.soon(401, Wire(self.stack, "alice", password=token), "/v2/")
        self.fails(robot.pull("alice/app"), self.revoked)

    def test_that_has_expired(self):
        token, identity = self.create()
        robot = Wire(self.stack, "alice", password=token)
        self.assertEqual(robot("GET", "/v2/").status, 200)
        field = ("docker-registry:user:alice", f"token:{identity}")
        stored = self.stack.redis.command("hget", *field)
        self.stack.redis.command("hset", *field, re.sub(r"expires=\d+", "expires=1", stored))
        self.soon(401, robot, "/v2/")
        self.fails(self.client(client.Docker).login("alice", token),
                   f"access token {identity} has expired|401 Unauthorized")
        skopeo = self.client(client.Skopeo)
        skopeo.remember("alice", token)
        self.fails(skopeo.pull("alice/app"), f"unauthorized: access token {identity} has expired")


class AccessTokensBearer(AccessTokens):
    """The same where it is exchanged for tokens, which end with it."""

    options = {"bearer": True, "token_key": True}
    revoked = "unauthorized: the access token behind the token was revoked"

    def test_skopeo_sends_it_alone(self):
        """Only after a challenge for Bearer: to one for Basic it has nothing to say."""
        token, identity = self.create()
        robot = self.client(client.Skopeo)
        self.works(robot.inspect_with(token, "alice/app"))
        self.stack.tool("token", "revoke", "alice", identity)
        gone = lambda: robot.inspect_with(token, "alice/app").returncode != 0
        self.assertIsNotNone(eventually(gone, SECONDS))
        self.fails(robot.inspect_with(token, "alice/app"), "unauthorized|401")


class LongPush(Clients, unittest.TestCase):
    """Pushes that take longer than a token lives, and locks in the middle of one."""

    def test_real_clients(self):
        """The line is slow: the upload begins with one token and ends with another, or in its grace."""
        for kind in CLIENTS:
            with self.subTest(client=kind.name):
                pushed = pushes.result(kind.name)
                self.works(pushed.done)
                self.assertGreater(pushed.seconds, LIFE,
                                   "it was over before the token's end: nothing is proven")

    def test_by_hand(self):
        """What has begun goes on with the expired token; nothing else does."""
        answers = pushes.result("by hand")
        for name, status in (("start", 202), ("first", 202), ("second", 202), ("finish", 201)):
            self.assertEqual(answers[name].status, status, (name, answers[name]))
        for name in ("manifest", "another", "pull"):
            answer = answers[name]
            self.assertEqual((answer.status, answer.error()),
                             (401, ("UNAUTHORIZED", "the token has expired")), name)
            self.assertRegex(answer.header("www-authenticate")[0], ',error="invalid_token"$')

    def test_a_lock_ends_a_push(self):
        self.fails(pushes.result("locked").done, "[Uu]nauthorized|401")
        self.assertNotIn("carol/app", pushes.stack.registries["alice"].repositories())

    def test_a_lock_ends_an_upload(self):
        before, after, took = pushes.result("locked by hand")
        self.assertEqual(before.status, 202, before)
        self.assertIsNotNone(took, "still let in")
        self.assertEqual((after.status, after.error()[1]),
                         (401, "the account of the token is locked or gone"))

    def test_nginx_did_not_complain(self):
        self.assertEqual(pushes.stack.nginx.complaints(), [])


if __name__ == "__main__":
    unittest.main()
