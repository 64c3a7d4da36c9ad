"""A team's namespace, a public base image and a denied subtree, as real people use them: everything is set
with the tool."""

import itertools
import time
import unittest

from harness import client
from harness.case import StackCase
from harness.wire import Wire

# A changed group decides within this; the next request nearly always.
SECONDS = 2


class Teams(StackCase):
    """ann and ben push to team/**, but not to team/secret/**; a robot pulls; base/** is everybody's to
    pull."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        registry = cls.stack.registries["alice"]
        cls.registry = registry
        cls.stack.tool("backend", "set", "default", registry.address)
        for user in ("ann", "ben", "robot", "guest"):
            cls.stack.passwords[user] = f"{user}-secret"
            cls.stack.tool("user", "add", user, "--password-stdin", input=f"{user}-secret\n")
        cls.stack.tool("group", "add", "team")
        cls.stack.tool("grant", "add", "@team", "team/**", "pull,push")
        cls.stack.tool("grant", "add", "@team", "!team/secret/**", "*")
        for user in ("ann", "ben"):
            cls.stack.tool("group", "join", "team", user)
        cls.stack.tool("grant", "add", "robot", "team/**", "pull")
        cls.stack.tool("grant", "add", "public", "base/**", "pull")

    numbers = itertools.count()

    def client(self, kind):
        # Short: sockets lie below it.
        made = kind(self.stack, self.stack.directory / f"{kind.name}{next(self.numbers)}")
        self.addCleanup(made.close)
        return made

    def works(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def fails(self, done, pattern):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, pattern)

    def soon(self, wanted, ask):
        """Asks until the answer is `wanted`; fails once that takes too long."""
        deadline = time.monotonic() + SECONDS
        while (got := ask()) != wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(got, wanted)

    def base_image(self):
        """An image in base/, pushed by alice for the moment."""
        self.stack.tool("grant", "add", "alice", "base/**", "push,pull")
        self.addCleanup(self.stack.tool, "grant", "remove", "alice", "base/**")
        skopeo = self.client(client.Skopeo)
        self.works(skopeo.login("alice", self.stack.passwords["alice"]))
        deadline = time.monotonic() + SECONDS
        while (pushed := skopeo.push("base/os")).returncode != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.works(pushed)

    def test_two_push_and_a_robot_pulls(self):
        """docker and podman push for ann and ben, skopeo pulls for the robot, and the robot pushes
        nothing."""
        docker, podman, skopeo = (self.client(kind) for kind in (client.Docker, client.Podman, client.Skopeo))
        self.works(docker.login("ann", "ann-secret"))
        self.works(docker.push("team/of-ann"))
        self.works(podman.login("ben", "ben-secret"))
        self.works(podman.push("team/of-ben"))
        self.works(podman.pull("team/of-ann"))
        self.works(skopeo.login("robot", "robot-secret"))
        self.works(skopeo.pull("team/of-ann"))
        self.works(skopeo.pull("team/of-ben"))
        self.fails(skopeo.push("team/of-robot"),
                   r"denied: robot may not push team/of-robot|403 \(Forbidden\)")
        self.assertNotIn("team/of-robot", self.registry.repositories())

    def test_a_guest_sees_nothing_of_it(self):
        skopeo = self.client(client.Skopeo)
        self.works(skopeo.login("guest", "guest-secret"))
        self.fails(skopeo.pull("team/of-ann"), "denied: guest may not pull team/of-ann")
        self.fails(skopeo.tags("team/of-ann"), "denied|403")

    def test_a_denied_subtree(self):
        """A denial of the group wins over its right, for each action, and the answer says so in words."""
        ann = Wire(self.stack, "ann")
        self.assertEqual(ann("GET", "/v2/team/open/tags/list").status, 404)
        for method, target in (("GET", "/v2/team/secret/keys/tags/list"),
                               ("POST", "/v2/team/secret/keys/blobs/uploads/")):
            answer = ann(method, target, headers={"Content-Length": "0"} if method == "POST" else {})
            self.assertEqual(answer.status, 403, answer)
            code, message = answer.error()
            self.assertEqual(code, "DENIED")
            self.assertRegex(message, "^ann may not (pull|push) team/secret/keys$")
        podman = self.client(client.Podman)
        self.works(podman.login("ann", "ann-secret"))
        self.fails(podman.push("team/secret/keys"), r"denied: ann may not push|403 \(Forbidden\)")

    def test_a_public_image_without_login(self):
        """skopeo, podman and ctr pull it from a gate with a Basic challenge; nobody pushes to it without
        login."""
        self.base_image()
        for kind in (client.Skopeo, client.Podman, client.Ctr):
            with self.subTest(client=kind.name):
                anonymous = self.client(kind)
                self.works(anonymous.pull("base/os"))
                self.fails(anonymous.push("base/stolen"), "401|[Uu]nauthorized|authentication required")
                self.fails(anonymous.pull("team/of-ann"), "401|[Uu]nauthorized|authentication required")
        self.assertNotIn("base/stolen", self.registry.repositories())

    def test_a_wrong_password_is_not_anonymous(self):
        """A login with a wrong password is refused, even where everybody may pull."""
        self.base_image()
        stranger = Wire(self.stack, "ann", password="not hers")
        self.assertEqual(Wire(self.stack)("GET", "/v2/base/os/tags/list").status, 200)
        answer = stranger("GET", "/v2/base/os/tags/list")
        self.assertEqual(answer.status, 401, answer)
        self.assertEqual(len(answer.header("www-authenticate")), 1)

    def test_a_change_of_groups_decides_the_next_request(self):
        guest = Wire(self.stack, "guest")
        ask = lambda: guest("GET", "/v2/team/open/tags/list").status
        self.assertEqual(ask(), 403)
        self.stack.tool("group", "join", "team", "guest")
        self.soon(404, ask)
        self.stack.tool("grant", "remove", "@team", "team/**")
        self.addCleanup(self.stack.tool, "grant", "add", "@team", "team/**", "pull,push")
        self.soon(403, ask)
        self.stack.tool("grant", "add", "@team", "team/**", "pull,push")
        self.soon(404, ask)
        self.stack.tool("group", "leave", "team", "guest")
        self.soon(403, ask)


if __name__ == "__main__":
    unittest.main()
