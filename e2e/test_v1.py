"""V1, the 2014 gate's protocol: the dockers that spoke it, by the requests they send, against V1 backends.

Through registry-v1.conf, and through the servers of V2, where docker 1.4 alone asks for V1. `make e2e-v1`
does the same with a real docker-registry."""

import unittest

from harness.case import StackCase
from harness.v1 import V1Registry
from harness.v1_clients import VERSIONS, Docker, Refused, SpeaksV2, image
from harness.wire import Wire

BASE = image("base", b"the bytes of a layer " * 1000)
APP = image("app", b"", parent=BASE)
OTHER = image("other", b"another layer" * 50_000, parent=BASE)
ASKS_V2 = {version: version >= (1, 5) for version in VERSIONS}


class V1Case(StackCase):
    """anna and `library` have the default backend, bob has one of his own."""

    options = {"v1": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.backend, cls.other = V1Registry(), V1Registry()
        for backend in (cls.backend, cls.other):
            cls.addClassCleanup(backend.stop)
        for user in ("anna", "library", "ubuntu"):
            cls.stack.add_user(user, f"{user}-secret", cls.backend.address)
        cls.stack.tool("backend", "set", "bob", cls.other.address)
        # A ping comes without credentials: it goes to everybody's backend.
        cls.stack.tool("backend", "set", "default", cls.backend.address)

    def setUp(self):
        self.backend.clear()
        self.other.clear()

    def port(self):
        return self.stack.nginx.v1_port

    def versions(self):
        """The dockers that speak V1 here."""
        return VERSIONS

    def docker(self, version, user=None, password=None):
        password = password or self.stack.passwords.get(user)
        return Docker(version, f"localhost:{self.port()}", self.stack.certificates, user, password)

    def each(self, user=None, password=None):
        """A docker of each version, with nothing in the backends."""
        for version in self.versions():
            self.setUp()
            yield self.docker(version, user, password)

    def wire(self, user=None, password=None):
        return Wire(self.stack, user, password=password, port=self.port())

    def assert_order(self, docker, *expected):
        """`docker` has asked for exactly this: (method, path, user); before it for /v2/, if its version
        does."""
        asked = [(each.method, each.path, each.user) for each in docker.asked if each.path != "/v2/"]
        self.assertEqual(asked, list(expected))
        self.assertTrue(all(each.user is None for each in docker.asked if each.path == "/v2/"))
        self.assertEqual(any(each.path == "/v2/" for each in docker.asked), ASKS_V2[docker.version])

    def assert_arrived(self, docker, backend):
        """All that `docker` asked has reached `backend`, pings the default one, but for what the gate
        answers.

        No password has."""
        own = [(each.method, each.path) for each in docker.asked
               if each.path != "/v2/" and (each.method, each.path) != ("POST", "/v1/users/")]
        pings = [each for each in own if each[1].endswith("_ping")]
        if backend is self.backend:
            self.assertEqual(backend.arrived(), own)
        else:
            self.assertEqual(backend.arrived(), [each for each in own if each not in pings])
            self.assertEqual(self.backend.arrived(), pings)
        self.assertEqual(self.backend.secrets() + self.other.secrets(), [])

    def assert_refused(self, status, text, call, *arguments):
        with self.assertRaises(Refused) as refused:
            call(*arguments)
        self.assertEqual(refused.exception.status, status, refused.exception)
        self.assertIn(text, str(refused.exception))


class Orders:
    """What holds at each server at which a docker speaks V1."""

    def test_login(self):
        for docker in self.each("anna"):
            self.assertEqual(docker.login(), "Login Succeeded")
            self.assert_order(
                docker,
                ("GET", "/v1/_ping", None),
                ("POST", "/v1/users/", None),
                ("GET", "/v1/users/", "anna"),
            )
            self.assert_arrived(docker, self.backend)

    def test_login_at_a_backend_of_ones_own(self):
        for docker in self.each("bob"):
            self.assertEqual(docker.login(), "Login Succeeded")
            self.assert_arrived(docker, self.other)

    def test_login_with_a_wrong_password(self):
        for docker in self.each("anna", "wrong"):
            self.assert_refused(401, "Wrong login/password", docker.login)
            self.assertEqual(self.backend.arrived(), [("GET", "/v1/_ping")])

    def test_login_without_an_account(self):
        """Nobody signs up: the same with a name that there is not."""
        for docker in self.each("mallory", "secret"):
            self.assert_refused(401, "Wrong login/password", docker.login)
            self.assertEqual(self.backend.arrived(), [("GET", "/v1/_ping")])

    def test_push(self):
        for docker in self.each("anna"):
            docker.push("anna/app", {"latest": APP})
            self.assert_order(
                docker,
                ("GET", "/v1/_ping", None),
                ("GET", "/v1/_ping", None),
                ("PUT", "/v1/repositories/anna/app/", "anna"),
                ("GET", f"/v1/images/{BASE.name}/json", "anna"),
                ("GET", f"/v1/images/{APP.name}/json", "anna"),
                ("PUT", f"/v1/images/{BASE.name}/json", "anna"),
                ("PUT", f"/v1/images/{BASE.name}/layer", "anna"),
                ("PUT", f"/v1/images/{BASE.name}/checksum", "anna"),
                ("PUT", f"/v1/images/{APP.name}/json", "anna"),
                ("PUT", f"/v1/images/{APP.name}/layer", "anna"),
                ("PUT", f"/v1/images/{APP.name}/checksum", "anna"),
                ("PUT", "/v1/repositories/anna/app/tags/latest", "anna"),
                ("PUT", "/v1/repositories/anna/app/images", "anna"),
            )
            self.assert_arrived(docker, self.backend)
            index = self.backend.seen[2].headers
            self.assertEqual(index["x-docker-token"], "true")
            self.assertEqual(index["x-forwarded-proto"], "https")
            self.assertEqual(index["host"], f"localhost:{self.port()}")

    def test_pull(self):
        for docker in self.each("anna"):
            docker.push("anna/app", {"latest": APP})
            self.backend.seen.clear()
            docker.asked.clear()
            self.assertEqual(docker.pull("anna/app", "latest"), {"latest": APP.pulled()})
            tags = "/v1/repositories/anna/app/tags"
            self.assert_order(
                docker,
                ("GET", "/v1/_ping", None),
                ("GET", "/v1/_ping", None),
                ("GET", "/v1/repositories/anna/app/images", "anna"),
                ("GET", tags + ("/latest" if docker.version >= (1, 7) else ""), "anna"),
                ("GET", f"/v1/images/{APP.name}/ancestry", "anna"),
                *(("GET", f"/v1/images/{each.name}/{word}", "anna")
                  for each in (BASE, APP) for word in ("json", "layer")),
            )
            self.assert_arrived(docker, self.backend)

    def test_several_tags(self):
        tags = {"1.0": BASE, "1.1": APP, "other": OTHER}
        for docker in self.each("anna"):
            docker.push("anna/app", tags)
            self.assertEqual(docker.pull("anna/app"), {tag: its.pulled() for tag, its in tags.items()})
            # The second time nothing but tags is sent.
            self.backend.seen.clear()
            docker.push("anna/app", tags)
            sent = [path for method, path in self.backend.arrived() if method == "PUT"]
            self.assertFalse([path for path in sent if path.startswith("/v1/images/")], sent)

    def test_names_of_the_time(self):
        """Of which the OCI's grammar knows nothing."""
        for docker in self.each("anna"):
            for name in ("anna/_app", "anna/app_", "anna/a..b", "anna/images"):
                docker.push(name, {"latest": BASE})
                self.assertEqual(docker.pull(name, "latest"), {"latest": BASE.pulled()}, name)

    def test_of_anothers(self):
        """Nothing but the ping reaches a backend."""
        for docker in self.each("anna"):
            self.assert_refused(403, "anna may not push bob/app", docker.push, "bob/app", {"latest": BASE})
            self.assert_refused(403, "", docker.pull, "bob/app", "latest")
            self.assertEqual(set(self.backend.arrived()), {("GET", "/v1/_ping")})
            self.assertEqual(self.other.arrived(), [])

    def test_one_segment_is_the_library(self):
        """`ubuntu` means library/ubuntu, which belongs to a user called library, and not to one called
        ubuntu."""
        for user in ("anna", "ubuntu"):
            for docker in self.each(user):
                words = f"{user} may not push library/ubuntu"
                self.assert_refused(403, words, docker.push, "ubuntu", {"latest": BASE})
                self.assertEqual(set(self.backend.arrived()), {("GET", "/v1/_ping")})
        for docker in self.each("library"):
            docker.push("ubuntu", {"latest": BASE})
            self.assertEqual(docker.pull("ubuntu", "latest"), {"latest": BASE.pulled()})

    def test_two_users_at_two_registries(self):
        """Each finds the own layers, and none of the other's, though images belong to nobody by name."""
        for anna in self.each("anna"):
            bob = self.docker(anna.version, "bob")
            anna.push("anna/app", {"latest": APP})
            bob.push("bob/app", {"latest": OTHER})
            self.assertEqual(anna.pull("anna/app", "latest"), {"latest": APP.pulled()})
            self.assertEqual(bob.pull("bob/app", "latest"), {"latest": OTHER.pulled()})
            self.assertEqual(self.wire("bob")("GET", f"/v1/images/{APP.name}/layer").status, 404)
            self.assertEqual(self.wire("anna")("GET", f"/v1/images/{OTHER.name}/layer").status, 404)

    def test_without_a_login(self):
        for docker in self.each():
            self.assert_refused(401, "Authentication is required", docker.pull, "anna/app", "latest")
            self.assert_refused(401, "", docker.push, "anna/app", {"latest": BASE})
            self.assertEqual(set(self.backend.arrived()), {("GET", "/v1/_ping")})

    def test_a_password_that_is_wrong(self):
        for docker in self.each("anna", "wrong"):
            self.assert_refused(401, "", docker.pull, "anna/app", "latest")
            self.assert_refused(401, "", docker.push, "anna/app", {"latest": BASE})
            self.assertEqual(set(self.backend.arrived()), {("GET", "/v1/_ping")})

    def test_challenges_are_basic(self):
        """docker's V1 knows no tokens."""
        for method, path in (("POST", "/v1/users/"), ("POST", "/v1/users"), ("GET", "/v1/users/"),
                             ("PUT", "/v1/repositories/anna/app/"), ("GET", f"/v1/images/{BASE.name}/json")):
            with self.subTest(method=method, path=path):
                answer = self.wire()(method, path, body=b"[]" if method != "GET" else None)
                self.assertEqual(answer.status, 401, answer)
                self.assertEqual(answer.header("www-authenticate"), ['Basic realm="Registry"'])
        self.assertEqual(self.backend.seen, [])

    def test_signing_up(self):
        """401 with whatever credentials: there is no account to be had."""
        for wire in (self.wire(), self.wire("anna"), self.wire("anna", password="wrong")):
            self.assertEqual(wire("POST", "/v1/users/", body=b'{"username":"x"}').status, 401)
        self.assertEqual(self.backend.seen, [])

    def test_ping(self):
        """Without credentials, and with the header that tells docker to send Basic on each call."""
        for method in ("GET", "HEAD"):
            for path in ("/v1/_ping", "/_ping"):
                answer = self.wire()(method, path)
                self.assertEqual(answer.status, 200, answer)
                self.assertEqual(answer.header("x-docker-registry-standalone"), ["True"])

    def test_delete(self):
        for docker in self.each("anna"):
            docker.push("anna/app", {"latest": BASE})
            self.assertEqual(self.wire("bob")("DELETE", "/v1/repositories/anna/app/").status, 403)
            self.assertEqual(self.wire("anna")("DELETE", "/v1/repositories/anna/app/").status, 200)
            self.assertNotIn("/v1/repositories/anna/app/tags/latest", self.backend.kept)


class Basic(Orders, V1Case):
    """registry-v1.conf, beside registry.conf."""

    def test_no_v2(self):
        """What makes docker go on with V1: no answer of the V2 API, with whatever credentials."""
        for wire in (self.wire(), self.wire("anna"), self.wire("anna", password="wrong")):
            for path in ("/v2/", "/v2", "/v2/anna/app/manifests/latest"):
                answer = wire("GET", path)
                self.assertEqual(answer.status, 404, answer)
                self.assertEqual(answer.header("docker-distribution-api-version"), [])
                self.assertEqual(answer.header("www-authenticate"), [])

    def test_several_default_backends(self):
        """All requests of a push stay at one: at the other there is nothing of it."""
        self.stack.tool("backend", "set", "default", self.backend.address, self.other.address)
        self.addCleanup(self.stack.tool, "backend", "set", "default", self.backend.address)
        for number in range(6):
            user = f"default{number}"
            if user not in self.stack.passwords:
                self.stack.passwords[user] = f"{user}-secret"
                self.stack.tool("user", "add", user, "--password-stdin", input=f"{user}-secret\n")
            for docker in self.each(user):
                docker.push(f"{user}/app", {"latest": APP, "other": OTHER})
                expected = {"latest": APP.pulled(), "other": OTHER.pulled()}
                self.assertEqual(docker.pull(f"{user}/app"), expected)
                self.assertEqual(sum(1 for backend in (self.backend, self.other) if backend.kept), 1)


class Bearer(Basic):
    """registry-v1.conf, beside registry-bearer.conf."""

    options = {"v1": True, "bearer": True}


class BesideV2(Orders, V1Case):
    """registry.conf, where V2 is as well: good for dockers that do not ask for it."""

    def port(self):
        return self.stack.nginx.port

    def versions(self):
        return [version for version in VERSIONS if not ASKS_V2[version]]

    def test_later_dockers_find_v2(self):
        """For good: whatever they are asked to do, not one request of V1 is sent."""
        for version in (version for version in VERSIONS if ASKS_V2[version]):
            docker = self.docker(version, "anna")
            self.assertRaises(SpeaksV2, docker.login)
            self.assertRaises(SpeaksV2, docker.pull, "anna/app")
            self.assertRaises(SpeaksV2, docker.push, "anna/app", {"latest": BASE})
            self.assertEqual({each.path for each in docker.asked}, {"/v2/"})


class BesideV2Bearer(BesideV2):
    """registry-bearer.conf: V1 clients know nothing of tokens. They send their password, and that is
    taken."""

    options = {"v1": True, "bearer": True}


class Hostile(V1Case):
    """A backend that leads its clients to a registry of its own, whose certificate they trust."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.elsewhere = V1Registry(certificates=cls.stack.configuration)
        cls.addClassCleanup(cls.elsewhere.stop)
        cls.away = "localhost:" + cls.elsewhere.address.split(":")[1]
        cls.stack.tool("backend", "set", "bob", cls.backend.address)

    def setUp(self):
        super().setUp()
        self.elsewhere.clear()
        self.backend.endpoints, self.backend.redirect = None, lambda method, path: None

    def verbs(self, docker):
        """Tries all that docker can do; what it says does not matter here."""
        for verb, *arguments in ((docker.login,), (docker.push, "anna/app", {"latest": APP}),
                                 (docker.pull, "anna/app"), (docker.pull, "anna/app", "latest")):
            try:
                verb(*arguments)
            except Refused:
                pass

    def directly(self, version):
        """A docker that speaks to such a backend without the gate."""
        backend = V1Registry(self.backend.endpoints, self.backend.redirect, self.stack.configuration)
        self.addCleanup(backend.stop)
        address = "localhost:" + backend.address.split(":")[1]
        return Docker(version, address, self.stack.certificates, "anna", "anna-secret")

    def assert_kept_here(self, leaks):
        """`leaks`: whether the password would have gone without the gate; else the test would show
        nothing."""
        for docker in self.each("anna"):
            self.elsewhere.clear()
            endpoints, redirect = self.hostile
            self.backend.endpoints, self.backend.redirect = endpoints, redirect
            self.verbs(docker)
            self.assertEqual(self.elsewhere.arrived(), [])
            self.assertEqual({each.origin for each in docker.asked}, {docker.origin})
            self.verbs(self.directly(docker.version))
            self.assertEqual(bool(self.elsewhere.secrets()), leaks)

    def test_endpoints(self):
        self.hostile = self.away, lambda method, path: None
        self.assert_kept_here(leaks=True)

    def test_several_endpoints(self):
        self.hostile = f"{self.away}, {self.away}", lambda method, path: None
        self.assert_kept_here(leaks=True)

    def test_redirects_of_the_index(self):
        self.hostile = None, lambda method, path: \
            f"https://{self.away}{path}" if path.startswith("/v1/repositories/") else None
        self.assert_kept_here(leaks=True)

    def test_redirects_without_a_scheme(self):
        self.hostile = None, lambda method, path: \
            f"//{self.away}{path}" if path.startswith("/v1/repositories/") else None
        self.assert_kept_here(leaks=True)

    def test_redirects_of_pings_and_logins(self):
        """No version sends its password after these, but there is nothing to be found elsewhere."""
        self.hostile = None, lambda method, path: \
            f"https://{self.away}{path}" if path.startswith(("/v1/users", "/v1/_ping")) else None
        self.assert_kept_here(leaks=False)

    def test_layers_at_a_storage_service(self):
        """Reading an image may be redirected, as docker-registry does, to where the administrator says; no
        password goes there."""
        nginx = self.stack.nginx
        text, before = nginx.configuration.read_text(encoding="utf-8"), nginx.workers()
        self.assertIn("http {", text)
        text = text.replace("http {", f"http {{\n    registry_auth_redirects {self.away};", 1)
        nginx.configuration.write_text(text, encoding="utf-8")
        nginx.reload()
        nginx.await_new_workers(before)
        for docker in self.each("anna"):
            self.elsewhere.clear()
            docker.push("anna/app", {"latest": APP})
            self.elsewhere.kept.update(self.backend.kept)
            self.backend.redirect = lambda method, path: \
                f"https://{self.away}{path}" if method == "GET" and path.endswith("/layer") else None
            self.assertEqual(docker.pull("anna/app", "latest"), {"latest": APP.pulled()})
            layers = [("GET", f"/v1/images/{each.name}/layer") for each in (BASE, APP)]
            self.assertEqual(self.elsewhere.arrived(), layers)
            self.assertEqual(self.elsewhere.secrets(), [])


if __name__ == "__main__":
    unittest.main()
