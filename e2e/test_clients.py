"""Each real client against the whole stack: login, push and pull of one's own, and what it says about another's."""

import unittest

from harness import client
from harness.case import StackCase
from harness.wire import Wire


class Verbs:
    """The same rules for every client. What each prints when refused is what its users search the web for."""

    kind = None
    wrong_password = denied_push = denied_pull = ""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = cls.kind(cls.stack, cls.stack.directory / cls.kind.name)
        cls.addClassCleanup(cls.client.close)

    def works(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def fails(self, done, pattern):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, pattern)

    def login(self, user="alice"):
        return self.works(self.client.login(user, self.stack.passwords[user]))

    def test_login_with_the_right_password(self):
        self.assertIn("Login Succeeded", self.login())

    def test_login_with_a_wrong_password(self):
        self.fails(self.client.login("alice", "not hers"), self.wrong_password)

    def test_login_of_nobody(self):
        self.fails(self.client.login("mallory", "anything"), self.wrong_password)

    def test_push_and_pull_of_ones_own(self):
        """An image of alice's lies in alice's registry, and not in bob's."""
        self.login()
        self.works(self.client.push("alice/app"))
        self.works(self.client.pull("alice/app"))
        self.assertIn("alice/app", self.stack.registries["alice"].repositories())
        self.assertEqual(self.stack.registries["bob"].repositories(), [])

    def test_push_to_anothers(self):
        self.login()
        self.fails(self.client.push("bob/stolen"), self.denied_push)
        for registry in self.stack.registries.values():
            self.assertNotIn("bob/stolen", registry.repositories())

    def test_pull_of_anothers(self):
        """Neither what exists nor what doesn't: the same words for both."""
        self.login()
        Wire(self.stack, "bob").push_blob("bob/app", b"of bob")
        self.addCleanup(self._remove, "bob")
        self.fails(self.client.pull("bob/app"), self.denied_pull)
        self.fails(self.client.pull("bob/nothing"), self.denied_pull)

    def _remove(self, user):
        """Takes back what the other tests must not find in this user's registry."""
        self.stack.registries[user].forget()

    def test_pull_of_what_is_not_there(self):
        """A registry's own 404 passes."""
        self.login()
        self.fails(self.client.pull("alice/nothing"), "manifest unknown|not found")


class Skopeo(Verbs, StackCase):
    kind = client.Skopeo
    wrong_password = "invalid username/password"
    denied_push = r"403 \(Forbidden\)"
    denied_pull = "denied: alice may not pull bob/"

    def test_delete(self):
        """end-9: of one's own it works, of another's it doesn't."""
        self.login("bob")
        self.works(self.client.push("bob/kept"))
        self.login()
        self.works(self.client.push("alice/doomed"))
        self.works(self.client.delete("alice/doomed"))
        self.fails(self.client.pull("alice/doomed"), "manifest unknown")
        self.fails(self.client.delete("bob/kept"), "denied|403")
        self.login("bob")
        self.works(self.client.pull("bob/kept"))
        self._remove("bob")

    def test_tags(self):
        self.login()
        self.works(self.client.push("alice/tagged"))
        self.assertIn('"latest"', self.works(self.client.tags("alice/tagged")))
        self.fails(self.client.tags("bob/tagged"), "denied|403")


class Podman(Verbs, StackCase):
    kind = client.Podman
    wrong_password = "invalid username/password"
    denied_push = r"403 \(Forbidden\)"
    denied_pull = "denied: alice may not pull bob/"


class Buildah(Verbs, StackCase):
    kind = client.Buildah
    wrong_password = "invalid username/password"
    denied_push = r"403 \(Forbidden\)"
    denied_pull = "denied: alice may not pull bob/"


class Docker(Verbs, StackCase):
    kind = client.Docker
    wrong_password = "401 Unauthorized|incorrect username or password"
    denied_push = "denied: alice may not push bob/"
    denied_pull = "pull access denied for .*denied: alice may not pull bob/"

    def fails(self, done, pattern):
        """Docker tries again for 50 s whatever it takes for passing trouble. A denial is final."""
        super().fails(done, pattern)
        self.assertNotIn("Retrying", done.stdout)


class Ctr(Verbs, StackCase):
    kind = client.Ctr
    wrong_password = "401 Unauthorized"
    denied_push = "403 Forbidden"
    denied_pull = "403 Forbidden"

    # ctr has no login: the credentials show with the first use.
    def test_login_with_the_right_password(self):
        self.login()
        self.works(self.client.push("alice/app"))

    def test_login_with_a_wrong_password(self):
        self.client.login("alice", "not hers")
        self.fails(self.client.pull("alice/app"), self.wrong_password)

    def test_login_of_nobody(self):
        self.client.login("mallory", "anything")
        self.fails(self.client.pull("alice/app"), self.wrong_password)


if __name__ == "__main__":
    unittest.main()
