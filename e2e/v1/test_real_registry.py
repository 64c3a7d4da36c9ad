"""Dockers of 2014 and 2015, by their requests, through the gate to real docker-registries of their time.

Not in `make e2e`: `make e2e-v1` runs it, after making the registry's system.
"""

import hashlib
import random
import unittest

from harness.case import StackCase
from harness.v1_clients import VERSIONS, Asked, Docker, Refused, image
from v1.registry import RealRegistry

LARGE = 400
MEGABYTE = 1024 * 1024


def noise(seed, size):
    """That many bytes which nobody can compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def large(seed):
    """The pieces of a layer of LARGE megabytes, no two alike."""
    block = noise(seed, MEGABYTE - 8)
    for number in range(LARGE):
        yield number.to_bytes(8, "big") + block


def of_all_versions(test):
    """Runs a test once for each docker, with its version and a name for what it pushes."""
    def run(self):
        for version in VERSIONS:
            with self.subTest(docker="{}.{}".format(*version)):
                test(self, version, "of{}{}".format(*version))
    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


class RealCase(StackCase):
    """Two registries behind the V1 server. The second is configured to lead its clients elsewhere."""

    options = {"v1": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.first = RealRegistry(cls.stack.directory / "v1-first", "the first")
        cls.addClassCleanup(cls.first.stop)
        cls.second = RealRegistry(cls.stack.directory / "v1-second", "the second", "127.0.0.1:1")
        cls.addClassCleanup(cls.second.stop)
        cls.address = f"localhost:{cls.stack.nginx.v1_port}"
        cls.origin = f"https://{cls.address}"

    def docker(self, version, user=None, password=None):
        """A docker in which `user` has logged in."""
        password = password or self.stack.passwords.get(user)
        return Docker(version, self.address, self.stack.certificates, user, password)

    def pushed_and_pulled(self, version, user, repository, images):
        """Has a docker push `images` ({tag: Image}) and a new one pull them, each and all."""
        self.docker(version, user).push(repository, images)
        for tag, pushed in images.items():
            self.assertEqual(self.docker(version, user).pull(repository, tag), {tag: pushed.pulled()})
        pulled = self.docker(version, user).pull(repository)
        self.assertEqual(pulled, {tag: pushed.pulled() for tag, pushed in images.items()})

    def assert_refused(self, status, verb, *arguments):
        with self.assertRaises(Refused) as refused:
            verb(*arguments)
        self.assertEqual(refused.exception.status, status, refused.exception)
        return str(refused.exception)


class TwoUsers(RealCase):
    """anna's registry is the first, bert's the second."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for user, registry in (("anna", cls.first), ("bert", cls.second), ("library", cls.first)):
            cls.stack.add_user(user, f"{user}-secret", registry.address)
        # A ping comes without credentials: it goes to everybody's backend.
        cls.stack.tool("backend", "set", "default", cls.first.address)

    @of_all_versions
    def test_login(self, version, _):
        before = len(self.first.arrived())
        self.assertEqual(self.docker(version, "anna").login(), "Login Succeeded")
        words = "Wrong login/password, please try again"
        self.assertEqual(self.assert_refused(401, self.docker(version, "anna", "wrong").login), words)
        self.assertEqual(self.assert_refused(401, self.docker(version, "nobody", "anna-secret").login), words)
        # Of the three, the registry has seen the pings, and the one right password's request.
        self.assertEqual(sorted(self.first.arrived()[before:]),
                         [("GET", "/v1/_ping", 200)] * 3 + [("GET", "/v1/users/", 200)])

    @of_all_versions
    def test_several_tags(self, version, name):
        """Two images on one base, one of them with two tags."""
        base = image(f"base {name}", noise(f"base {name}", 300_000))
        old = image(f"old {name}", noise(f"old {name}", 70_001), base)
        new = image(f"new {name}", noise(f"new {name}", 1), base)
        self.pushed_and_pulled(version, "anna", f"anna/{name}", {"1.0": old, "1.1": new, "latest": new})
        for each in (base, old, new):
            with self.subTest(image=each.name):
                self.assertEqual(self.first.layer(each.name).read_bytes(), b"".join(each.content()))

    @of_all_versions
    def test_order(self, version, name):
        """A push and a pull, request by request: as docker sends them, and as they reach the registry."""
        each = image(f"order {name}", noise(name, 5000))
        repository, path = f"/v1/repositories/anna/{name}-order", f"/v1/images/{each.name}"
        start = [("GET", "/v1/_ping", 200)] * 2
        push = [*start, ("PUT", f"{repository}/", 200),
                ("GET", f"{path}/json", 404), ("PUT", f"{path}/json", 200), ("PUT", f"{path}/layer", 200),
                ("PUT", f"{path}/checksum", 200), ("PUT", f"{repository}/tags/v", 200),
                ("PUT", f"{repository}/images", 204)]
        tags = f"{repository}/tags/v" if version >= (1, 7) else f"{repository}/tags"
        pull = [*start, ("GET", f"{repository}/images", 200), ("GET", tags, 200),
                ("GET", f"{path}/ancestry", 200), ("GET", f"{path}/json", 200), ("GET", f"{path}/layer", 200)]
        before = len(self.first.arrived())
        docker = self.docker(version, "anna")
        docker.push(f"anna/{name}-order", {"v": each})
        docker.pull(f"anna/{name}-order", "v")
        self.assertEqual(self.first.arrived()[before:], push + pull)
        first = [] if version < (1, 5) else [("GET", "/v2/")]
        wanted = [*first, *(asked[:2] for asked in push), *first, *(asked[:2] for asked in pull)]
        whose = {"/v2/": None, "/v1/_ping": None}
        self.assertEqual(docker.asked, [Asked(self.origin, method, target, whose.get(target, "anna"))
                                        for method, target in wanted])

    @of_all_versions
    def test_two_registries(self, version, name):
        """Each user's images go to the user's own registry, and come from there; bert's leads nobody away."""
        for user, own, other in (("anna", self.first, self.second), ("bert", self.second, self.first)):
            with self.subTest(user=user):
                each = image(f"{user} {name}", noise(f"{user} {name}", 10_000))
                self.pushed_and_pulled(version, user, f"{user}/two-{name}", {"latest": each})
                self.assertTrue(own.layer(each.name).exists())
                self.assertFalse(other.layer(each.name).exists())

    @of_all_versions
    def test_namespaces(self, version, name):
        """No push or pull of another's repository passes, nor one without a login; nothing of it arrives."""
        each = image(f"own {name}", noise(name, 100))
        self.docker(version, "anna").push(f"anna/{name}-own", {"latest": each})
        before = len(self.first.arrived()), len(self.second.arrived())
        for user, status in (("bert", 403), ("nobody", 401), (None, 401)):
            with self.subTest(user=user):
                docker = self.docker(version, user)
                self.assert_refused(status, docker.push, f"anna/{name}-own", {"latest": each})
                self.assert_refused(status, docker.pull, f"anna/{name}-own", "latest")
        arrived = self.first.arrived()[before[0]:] + self.second.arrived()[before[1]:]
        self.assertEqual({request[:2] for request in arrived}, {("GET", "/v1/_ping")})

    @of_all_versions
    def test_one_segment(self, version, name):
        """`ubuntu` is library/ubuntu, which is the user's of that name."""
        each = image(f"ubuntu {name}", noise(name, 100))
        self.assert_refused(403, self.docker(version, "anna").push, f"ubuntu-{name}", {"latest": each})
        self.pushed_and_pulled(version, "library", f"ubuntu-{name}", {"latest": each})
        self.assertTrue(self.first.has(f"library/ubuntu-{name}"))

    def test_names(self):
        """Those that docker took before there was V2, words of the API among them."""
        for name in ("_app", "app_", "a..b", "a___b", "-app", "images", "json", "auth", "properties"):
            with self.subTest(name=name):
                each = image(f"named {name}", noise(name, 1000))
                self.pushed_and_pulled((1, 6), "anna", f"anna/{name}", {"latest": each})
                self.assertTrue(self.first.has(f"anna/{name}"))

    def test_names_with_two_readings(self):
        """What the gate refuses, for the registry reads some of its paths as another repository's."""
        each = image("two readings", b"of one")
        for repository in ("anna/tags", "anna/tags/app", "anna/app/tags", "tags"):
            with self.subTest(repository=repository):
                self.assert_refused(400, self.docker((1, 6), "anna").push, repository, {"latest": each})
                self.assertFalse(self.first.has(repository))
        for tag in ("images", "json", "properties", "auth", "tags"):
            with self.subTest(tag=tag):
                self.assert_refused(400, self.docker((1, 6), "anna").push, "anna/words", {tag: each})
                self.assertFalse(self.first.has("anna/words", f"tag_{tag}"))

    def test_large_layer(self):
        each = image("large", lambda: large("large"))
        self.docker((1, 6), "anna").push("anna/large", {"latest": each})
        self.assertEqual(self.docker((1, 6), "anna").pull("anna/large"), {"latest": each.pulled()})
        with open(self.first.layer(each.name), "rb") as stored:
            for piece in each.content():
                self.assertTrue(stored.read(len(piece)) == piece)
            self.assertEqual(stored.read(1), b"")


class Public(RealCase):
    """What everybody may pull, without a login: docker 1.4 and later send empty credentials then."""

    options = {"v1": True, "http": ("registry_auth_v1_images public;",)}

    @of_all_versions
    def test_pull(self, version, name):
        open_one, own = image(f"open {name}", noise(name, 9000)), image(f"own {name}", noise(name, 10))
        repository = f"anna/open-{name}"
        self.docker(version, "anna").push(repository, {"latest": open_one})
        self.docker(version, "anna").push(f"anna/own-{name}", {"latest": own})
        self.stack.tool("grant", "add", "public", repository, "pull")
        self.assertEqual(self.docker(version).pull(repository), {"latest": open_one.pulled()})
        self.assert_refused(401, self.docker(version).pull, f"anna/own-{name}")
        self.assert_refused(401, self.docker(version).push, repository, {"latest": own})

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack.add_user("anna", "anna-secret", cls.first.address)
        cls.stack.tool("backend", "set", "default", cls.first.address)


class GateOf2014(RealCase):
    """Redis as the 2014 gate left it: everybody's passwords, two backends for everybody, nothing else."""

    options = {"v1": True, "http": ("registry_auth_salt deadbeaf:;",)}
    users = ("carl", "dora", "emil", "fred")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command = cls.stack.redis.command
        command("flushall")
        for user in cls.users:
            cls.stack.passwords[user] = f"{user}-secret"
            digest = hashlib.sha1(f"deadbeaf:{user}-secret".encode()).hexdigest()
            command("hset", "docker-registry:passwords", user, digest)
        command("rpush", "docker-registry:backends", cls.first.address, cls.second.address)

    @classmethod
    def tearDownClass(cls):
        keys = cls.stack.redis.command("keys", "*")
        assert sorted(keys) == ["docker-registry:backends", "docker-registry:passwords"], keys
        super().tearDownClass()

    @of_all_versions
    def test_login(self, version, _):
        for user in self.users:
            self.assertEqual(self.docker(version, user).login(), "Login Succeeded")
        self.assert_refused(401, self.docker(version, "carl", "wrong").login)
        # The digest is no password, nor is the salted password.
        self.assert_refused(401, self.docker(version, "carl", "deadbeaf:carl-secret").login)

    @of_all_versions
    def test_push_and_pull(self, version, name):
        """Whichever of the two registries a user has: the whole push goes there, and each pull."""
        for user in self.users:
            with self.subTest(user=user):
                base = image(f"base {user} {name}", noise(f"base {user} {name}", 50_000))
                each = image(f"{user} {name}", noise(f"{user} {name}", 200_000), base)
                self.pushed_and_pulled(version, user, f"{user}/{name}", {"latest": each, "1": base})
                has = [[registry.layer(one.name).exists() for one in (base, each)]
                       for registry in (self.first, self.second)]
                self.assertCountEqual(has, [[True, True], [False, False]])

    def test_namespaces(self):
        each = image("carl's", b"carl's")
        self.docker((1, 5), "carl").push("carl/own", {"latest": each})
        self.assert_refused(403, self.docker((1, 5), "dora").pull, "carl/own")
        self.assert_refused(403, self.docker((1, 5), "dora").push, "carl/own", {"latest": each})


if __name__ == "__main__":
    unittest.main()
