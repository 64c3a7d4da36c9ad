"""Today's clients (harness.today) by the rules of test_clients.py, in Basic and in Bearer mode. They word
refusals otherwise. What each prints, for those who look it up: docs/clients.md.
"""

import json
import re
import shutil
import sys
import unittest

import test_clients
from harness import client, today
from harness.case import StackCase
from harness.client import GREETING
from harness.wire import Wire
from test_clients import Bearer, Verbs
from testkit.process import Failed


def setUpModule():
    """Makes their system, the first time: two minutes and the network.

    Debian's unstable release cannot be installed on some days, which says nothing about the gate: then these
    tests are left out, and the reason is printed. `make e2e-clients` fails instead."""
    try:
        today.place()
    except Failed as failed:
        raise unittest.SkipTest(str(failed)) from failed


def version(made):
    """(numbers, as the client says them): docker 28.5.2+dfsg4 is (28, 5, 2)."""
    words = {"ctr": ("version",), "docker": ("--version",)}.get(made.name, (made.name, "--version"))
    said = made.call(*words).stdout
    found = re.search(r"(?i:version:?) +v?(\d+)\.(\d+)\.(\d+)\S*", said)
    return tuple(map(int, found.groups())), f"{made.name} {found.group().split()[-1]}"


class AccessToken:
    """A robot with an access token for pulls in the place of alice's password."""

    token_denied = "denied: the access token may not push alice/app"

    def test_an_access_token(self):
        Wire(self.stack, "alice").push_image("alice/app", GREETING)
        said = self.stack.tool("token", "create", "alice", "--scope", "alice/**:pull", "--expires", "90d")
        self.works(self.client.login("alice", re.search(r"^rga_\w+$", said, re.MULTILINE).group()))
        self.works(self.client.pull("alice/app"))
        self.fails(self.client.push("alice/app"), self.token_denied)


class Newer(AccessToken):
    """What all of them must hold beside the rules of test_clients.py."""

    def test_it_is_newer_than_this_machines(self):
        """Else nothing here is about today's clients. Names the version, for the log of the run."""
        ancient = self.kind.__mro__[2](self.stack, self.stack.directory / "old")
        self.addCleanup(ancient.close)
        numbers, name = version(self.client)
        print(f"{name} of {today.place().name}", file=sys.stderr, flush=True)
        self.assertGreater(numbers, version(ancient)[0])


class OneLibrary(Newer):
    """skopeo, podman and buildah are made of one library, and print what it does."""

    anonymous = "authentication required"
    stale = "unauthorized: incorrect username or password|authentication required"
    denied_push = "StatusCode: 403"


class OneLibraryBearer(Bearer):
    stale = test_clients.SkopeoBearer.stale


class Skopeo(OneLibrary, test_clients.Skopeo):
    kind = today.kind(client.Skopeo)


class SkopeoBearer(OneLibraryBearer, Skopeo):
    pass


class Podman(OneLibrary, test_clients.Podman):
    kind = today.kind(client.Podman)


class PodmanBearer(OneLibraryBearer, Podman):
    pass


class Buildah(OneLibrary, test_clients.Buildah):
    kind = today.kind(client.Buildah)


class BuildahBearer(OneLibraryBearer, Buildah):
    pass


class Docker(Newer, test_clients.Docker):
    kind = today.kind(client.Docker)
    # The last words of a login, too, are about the plain HTTP that it tries at an address of the loopback.
    wrong_password = "400 Bad Request|unauthorized: incorrect username or password"


    def test_buildx(self):
        """BuildKit of dockerd: a build that pulls what it is from and pushes what comes out."""
        self.login()
        Wire(self.stack, "alice").push_image("alice/base", GREETING)
        Wire(self.stack, "bob").push_image("bob/base", GREETING)
        self.addCleanup(self._remove, "bob")
        self.works(self.build("alice/base", "alice/built"))
        self.works(self.client.pull("alice/built"))
        self.fails(self.build("alice/base", "bob/built"), "denied: alice may not push bob/built")
        self.fails(self.build("bob/base", "alice/built"), self.denied_base)

    denied_base = "403 Forbidden"

    def build(self, base, repository):
        """It fetches tokens itself, for dockerd, and takes no certificates but the system's, or these."""
        context = self.client.directory / "context"
        context.mkdir(exist_ok=True)
        recipe = f"FROM {self.client.reference(base)}\nCOPY new.txt /\n"
        (context / "Dockerfile").write_text(recipe, encoding="ascii")
        (context / "new.txt").write_text(repository, encoding="ascii")
        environment = {**self.client.environment(), "SSL_CERT_FILE": f"{self.stack.certificates}/ca.crt"}
        return self.client.call("buildx", "build", "--push", "--tag", self.client.reference(repository),
                                context,
                                env=environment)


class DockerBearer(Bearer, Docker):
    anonymous = test_clients.DockerBearer.anonymous
    anonymous_push = test_clients.DockerBearer.anonymous_push
    test_anonymous_pull_of_what_is_public = test_clients.DockerBearer.test_anonymous_pull_of_what_is_public
    test_login_keeps_the_password = test_clients.DockerBearer.test_login_keeps_the_password


class DockerIdentity(StackCase):
    """With registry_auth_token_key docker keeps a refresh token, not the password; the others use that
    one."""

    options = {"bearer": True, "token_key": True}

    def test_a_refresh_token(self):
        docker = today.kind(client.Docker)(self.stack, self.stack.directory / "docker")
        self.addCleanup(docker.close)
        self.works(docker.login("alice", self.stack.passwords["alice"]))
        kept = json.loads(docker.auth.read_text())["auths"][self.stack.address]
        self.assertEqual(sorted(kept), ["auth", "identitytoken"])
        self.works(docker.push("alice/app"))
        self.works(docker.pull("alice/app"))
        for ancient in (client.Skopeo, client.Podman, client.Buildah):
            with self.subTest(client=ancient.name):
                made = today.kind(ancient)(self.stack, self.stack.directory / ancient.name)
                made.auth = docker.auth
                self.works(made.push(f"alice/of-{ancient.name}"))
                self.works(made.pull("alice/app"))
        ctr = today.kind(client.Ctr)(self.stack, self.stack.directory / "ctr")
        self.addCleanup(ctr.close)
        ctr.remember_refresh_token(kept["identitytoken"])
        self.works(ctr.push("alice/of-ctr"))
        self.works(docker.sign_out())
        done = docker.push("alice/again")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("unauthorized: authentication required", done.stdout)

    def test_podman_beside_docker(self):
        """It pushes by docker's login, and has one of its own only if its environment names the file."""
        docker = today.kind(client.Docker)(self.stack, self.stack.directory / "docker2")
        self.addCleanup(docker.close)
        self.works(docker.login("alice", self.stack.passwords["alice"]))
        podman = today.kind(client.Podman)(self.stack, self.stack.directory / "beside")
        self.works(podman.call("podman", "load", "--input", podman.archive))
        (podman.directory / ".docker").mkdir()
        shutil.copy(docker.auth, podman.directory / ".docker" / "config.json")
        image = podman.reference("alice/loaded")
        trust = ("--cert-dir", self.stack.certificates)
        self.works(podman.call("podman", "push", *trust, image, podman.reference("alice/beside")))
        refused = podman.call("podman", "login", *trust, "--username", "bob", "--password-stdin",
                              self.stack.address,
                              input=self.stack.passwords["bob"])
        self.assertNotEqual(refused.returncode, 0, refused.stdout)
        self.assertIn("currently logged in, auth file contains an Identity token", refused.stdout)
        self.works(podman.login("bob", self.stack.passwords["bob"]))
        self.works(podman.push("bob/own"))

    def works(self, done):
        self.assertEqual(done.returncode, 0, done.stdout)


class Ctr(Newer, test_clients.Ctr):
    kind = today.kind(client.Ctr)
    wrong_password = stale = "401 Unauthorized"
    anonymous = "no basic auth credentials"


class CtrBearer(Bearer, Ctr):
    anonymous = "401 Unauthorized"
    robots_pull = test_clients.CtrBearer.robots_pull
    wrong_password = stale = test_clients.CtrBearer.stale


class Crane(AccessToken, Verbs, StackCase):
    kind = today.kind(today.Crane)
    denied_push = "403 Forbidden"
    denied_pull = "DENIED: alice may not pull bob/"
    robots_pull = "DENIED: robot may not pull ci/app"
    token_denied = "DENIED: the access token may not push alice/app"
    anonymous = "UNAUTHORIZED: authentication required|401 Unauthorized"
    stale = "UNAUTHORIZED: incorrect username or password|401 Unauthorized"

    # Its login only notes the credentials: they show with the first use.
    def test_login_with_the_right_password(self):
        self.login()
        self.works(self.client.push("alice/app"))

    def test_login_with_a_wrong_password(self):
        self.works(self.client.login("alice", "not hers"))
        self.fails(self.client.pull("alice/app"), self.stale)

    def test_login_of_nobody(self):
        self.works(self.client.login("mallory", "anything"))
        self.fails(self.client.pull("alice/app"), self.stale)

    def test_mount_of_ones_own(self):
        """In one command, which names both repositories."""
        self.login()
        self.works(self.client.push("alice/first"))
        self.assertIn("mounted blob", self.works(self.client.copy("alice/first", "alice/copied")))
        self.fails(self.client.copy("alice/first", "bob/copied"), self.denied_push)

    def test_a_signature_of_cosign(self):
        """It is an image that refers to the signed one: pushed and found by the same rights."""
        self.login()
        self.works(self.client.push("alice/signed"))
        self.works(self.client.sign("alice/signed"))
        self.assertIn("signatures were verified", self.works(self.client.verify("alice/signed")))
        Wire(self.stack, "bob").push_image("bob/app", GREETING)
        self.addCleanup(self._remove, "bob")
        self.fails(self.client.sign("bob/app"), self.denied_pull)


class CraneBearer(Bearer, Crane):
    pass


class Oras(AccessToken, Verbs, StackCase):
    kind = today.kind(today.Oras)
    wrong_password = "unauthorized: incorrect username or password"
    denied_push = "403: Forbidden"
    denied_pull = "denied: alice may not pull bob/"
    anonymous = "basic credential not found"
    stale = "unauthorized: incorrect username or password|401: Unauthorized"
    stale_is_anonymous = True


class OrasBearer(Bearer, Oras):
    anonymous = "unauthorized: authentication required|401: Unauthorized"


if __name__ == "__main__":
    unittest.main()
