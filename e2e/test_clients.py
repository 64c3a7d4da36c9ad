"""Each real client against the whole stack, in Basic and in Bearer mode: with a login, without one, with a
wrong one.

What each prints when refused is what its users search the web for: docs/clients.md.
"""

import re
import unittest

from harness import client
from harness.case import StackCase
from harness.client import GREETING
from harness.wire import Wire


class Verbs:
    """The same rules for every client, here for a gate in Basic mode. What a client reads is seen by what it
    does then.

    `wrong_password`: at a login; `stale`: of a stored login that is not right any more; `denied_…`: with a
    login, and no right; `anonymous`: without a login, and something that is not public."""

    kind = None
    wrong_password = stale = denied_push = denied_pull = ""
    anonymous = "unauthorized: authentication required"
    # Of a pull by whoever may only push: HEAD is theirs, so that it fails later than another's.
    robots_pull = "denied: robot may not pull ci/app"
    # Whether it is known to mount blobs that it has seen in another repository, so as not to send them again.
    mounts = False
    # Whether what is public can be pulled with a wrong password, as the client only sends one that it is
    # asked for.
    stale_is_anonymous = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = cls.kind(cls.stack, cls.stack.directory / cls.kind.name)
        cls.addClassCleanup(cls.client.close)
        cls.public = cls.stack.publish("os", GREETING)
        cls.stack.add_user("robot", "robot-secret", cls.stack.registries["alice"].address)
        cls.stack.tool("grant", "add", "robot", "ci/**", "push")

    def setUp(self):
        self.client.logout()

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

    def test_sign_out(self):
        """With the client's own command; nothing of the login is left."""
        self.login()
        self.works(self.client.push("alice/app"))
        self.works(self.client.sign_out())
        self.fails(self.client.push("alice/app"), self.anonymous_push())

    def test_a_robot_that_may_only_push(self):
        """It pushes, twice over, as clients first ask what is there; and pulls nothing, not even its own."""
        self.login("robot")
        self.works(self.client.push("ci/app"))
        self.works(self.client.push("ci/app"))
        self.assertIn("ci/app", self.stack.registries["alice"].repositories())
        self.fails(self.client.pull("ci/app"), self.robots_pull)
        denied_push = self.denied_push.replace("alice", "robot").replace("bob/", "other/")
        self.fails(self.client.push("other/app"), denied_push)

    def test_mount_of_ones_own(self):
        """What was pushed to one repository is mounted in another one: no byte of it is sent again."""
        self.login()
        self.works(self.client.push("alice/first"))
        self.works(self.client.push("alice/second"))
        mounted = re.findall(r'"POST /v2/alice/second/blobs/uploads/\?\S*mount=\S* HTTP/1.1" (\d+)',
                             self.stack.nginx.access_log())
        if self.mounts:
            self.assertIn("201", mounted)
        self.works(self.client.pull("alice/second"))

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

    def test_pull_of_what_is_public(self):
        """With a login, as without one."""
        self.login()
        self.works(self.client.pull(self.public))

    def test_anonymous_pull_of_what_is_public(self):
        self.works(self.client.pull(self.public))
        self.fails(self.client.pull("alice/public/nothing"), "manifest unknown|not found")

    def test_anonymous_pull_of_what_is_not(self):
        """Neither what exists nor what doesn't: the same words for both."""
        Wire(self.stack, "alice").push_image("alice/private", GREETING)
        self.fails(self.client.pull("alice/private"), self.anonymous)
        self.fails(self.client.pull("alice/nothing"), self.anonymous)

    def test_anonymous_push(self):
        """To what is public for pulls, and to what is not."""
        for repository in ("alice/public/stolen", "alice/stolen"):
            self.fails(self.client.push(repository), self.anonymous_push())
            self.assertNotIn(repository, self.stack.registries["alice"].repositories())

    def anonymous_push(self):
        return self.anonymous

    def test_a_stored_login_that_is_not_right_any_more(self):
        """A login with a wrong password is refused, even where everybody may pull."""
        self.client.remember("alice", "her last one")
        self.fails(self.client.push("alice/app"), self.stale)
        pulled = self.client.pull(self.public)
        if self.stale_is_anonymous:
            self.works(pulled)
        else:
            self.fails(pulled, self.stale)


class Bearer:
    """What is different in Bearer mode: how a login is refused that is not right any more. The rest must be
    the same."""

    options = {"bearer": True}


class Skopeo(Verbs, StackCase):
    kind = client.Skopeo
    mounts = True
    wrong_password = "invalid username/password"
    stale = "unauthorized: (incorrect username or password|authentication required)"
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


class SkopeoBearer(Bearer, Skopeo):
    stale = ("unable to retrieve auth token: invalid username/password: "
             "unauthorized: incorrect username or password")


class Podman(Verbs, StackCase):
    kind = client.Podman
    mounts = True
    wrong_password = Skopeo.wrong_password
    stale = Skopeo.stale
    denied_push = Skopeo.denied_push
    denied_pull = Skopeo.denied_pull


class PodmanBearer(Bearer, Podman):
    stale = SkopeoBearer.stale


class Buildah(Verbs, StackCase):
    kind = client.Buildah
    wrong_password = Skopeo.wrong_password
    stale = Skopeo.stale
    denied_push = Skopeo.denied_push
    denied_pull = Skopeo.denied_pull


class BuildahBearer(Bearer, Buildah):
    stale = SkopeoBearer.stale


class Docker(Verbs, StackCase):
    kind = client.Docker
    wrong_password = "401 Unauthorized|unauthorized: incorrect username or password"
    stale = "unauthorized: incorrect username or password"
    denied_push = "denied: alice may not push bob/"
    denied_pull = "pull access denied for .*denied: alice may not pull bob/"
    mounts = True
    # For a pull docker then tries plain HTTP, as this registry is on the loopback: its last words are about
    # that.
    anonymous = "no basic auth credentials|plain HTTP request was sent to HTTPS port"

    def fails(self, done, pattern):
        """Docker tries again for 50 s whatever it takes for passing trouble. A denial is final."""
        super().fails(done, pattern)
        self.assertNotIn("Retrying", done.stdout)

    def anonymous_push(self):
        return "no basic auth credentials"

    def test_anonymous_pull_of_what_is_public(self):
        """The one thing that cannot be had in Basic mode: docker wants a login before it asks at all."""
        self.fails(self.client.pull(self.public), self.anonymous)
        self.assertRegex(self.client.daemon.process.log_text(), "no basic auth credentials")


class DockerBearer(Bearer, Docker):
    anonymous = "unauthorized: authentication required"

    def anonymous_push(self):
        return self.anonymous

    def test_anonymous_pull_of_what_is_public(self):
        Verbs.test_anonymous_pull_of_what_is_public(self)

    def test_login_keeps_the_password(self):
        """Without registry_auth_token_key there is no refresh token: its key would not outlive a restart, as
        the login does."""
        self.login()
        self.assertNotIn("identitytoken", self.client.auth.read_text())
        self.stack.nginx.stop()
        self.stack.nginx.start()
        self.works(self.client.push("alice/app"))


class Ctr(Verbs, StackCase):
    kind = client.Ctr
    wrong_password = stale = anonymous = "401 Unauthorized"
    denied_push = denied_pull = robots_pull = "403 Forbidden"
    stale_is_anonymous = True

    # ctr has no login: the credentials show with the first use.
    def test_login_with_the_right_password(self):
        self.login()
        self.works(self.client.push("alice/app"))

    def test_login_with_a_wrong_password(self):
        self.client.login("alice", "not hers")
        self.fails(self.client.pull("alice/app"), self.wrong_password)

    def test_sign_out(self):
        """There is nothing to sign out of: without --user it is nobody."""
        self.login()
        self.works(self.client.push("alice/app"))
        self.client.logout()
        self.fails(self.client.push("alice/app"), self.anonymous)

    def test_login_of_nobody(self):
        self.client.login("mallory", "anything")
        self.fails(self.client.pull("alice/app"), self.wrong_password)


class CtrBearer(Bearer, Ctr):
    # The token that it gets is for pushes alone.
    robots_pull = "insufficient_scope: authorization failed"
    wrong_password = stale = "failed to fetch oauth token: .*401 Unauthorized"


if __name__ == "__main__":
    unittest.main()
