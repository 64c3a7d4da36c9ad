"""V1, the 2014 gate's protocol: the requests of a real docker 1.5 push and pull, in their order, against a V1 backend.

No docker of today speaks V1 any more; the order is that of docker 1.5 registry/session.go and graph/push.go, pull.go.
"""

import json
import unittest

from harness.case import StackCase
from harness.v1 import V1Registry
from harness.wire import Wire

IMAGE = "a" * 64
LAYER = b"the bytes of a layer " * 1000
TOKEN = {"X-Docker-Token": "true"}


class V1(StackCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.backend = V1Registry()
        cls.addClassCleanup(cls.backend.stop)
        for user in ("anna", "library"):
            cls.stack.add_user(user, f"{user}-secret", cls.backend.address)
        # A ping comes without credentials: it goes to everybody's backend.
        cls.stack.tool("backend", "set", "default", cls.backend.address)
        cls.anna = Wire(cls.stack, "anna")

    def setUp(self):
        self.backend.seen.clear()
        self.backend.kept.clear()

    def arrived(self):
        return [(seen.method, seen.path) for seen in self.backend.seen]

    def in_order(self, requests):
        """Sends each (method, path, status, body, headers); all of them, and nothing else, must arrive as sent."""
        for method, path, status, body, headers in requests:
            answer = self.anna(method, path, body=body, headers=headers)
            self.assertEqual(answer.status, status, (method, path, answer))
        self.assertEqual(self.arrived(), [(method, path) for method, path, *_ in requests])
        for seen in self.backend.seen:
            self.assertNotIn("authorization", seen.headers)

    def push(self):
        repository, image = "/v1/repositories/anna/app", f"/v1/images/{IMAGE}"
        index = json.dumps([{"id": IMAGE, "Tag": "latest"}])
        checksums = json.dumps([{"id": IMAGE, "checksum": "tarsum+sha256:0"}])
        self.in_order((
            ("GET", "/v1/_ping", 200, None, {}),
            ("PUT", f"{repository}/", 200, index, TOKEN),
            ("GET", f"{image}/json", 404, None, {}),
            ("PUT", f"{image}/json", 200, json.dumps({"id": IMAGE}), {}),
            # An iterator: sent in chunks, without a length, as docker does.
            ("PUT", f"{image}/layer", 200, (LAYER[at:at + 4096] for at in range(0, len(LAYER), 4096)), {}),
            ("PUT", f"{image}/checksum", 200, b"", {"X-Docker-Checksum-Payload": "sha256:0"}),
            ("PUT", f"{repository}/tags/latest", 200, json.dumps(IMAGE), {}),
            ("PUT", f"{repository}/images", 204, checksums, {"X-Docker-Endpoints": "registry.test"}),
        ))

    def test_ping(self):
        """Without credentials, and with the header that tells docker to send Basic on each call."""
        for path in ("/v1/_ping", "/_ping"):
            answer = Wire(self.stack)("GET", path)
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.header("x-docker-registry-standalone"), ["True"])

    def test_login(self):
        """`docker login` of V1; signing up is not for the gate's users."""
        self.assertEqual(self.anna("GET", "/v1/users/").status, 200)
        self.assertEqual(Wire(self.stack)("GET", "/v1/users/").status, 401)
        self.assertEqual(Wire(self.stack, "anna", password="wrong")("GET", "/v1/users/").status, 401)
        self.backend.seen.clear()
        self.assertIn(self.anna("POST", "/v1/users/", body=b"{}").status, (403, 404))
        self.assertEqual(self.backend.seen, [])

    def test_push(self):
        self.push()
        self.assertEqual(self.backend.kept[f"/v1/images/{IMAGE}/layer"], LAYER)
        token = self.backend.seen[1].headers
        self.assertEqual(token["x-docker-token"], "true")
        self.assertEqual(token["x-forwarded-proto"], "https")
        self.assertEqual(token["host"], f"localhost:{self.stack.nginx.port}")

    def test_pull(self):
        self.push()
        self.backend.seen.clear()
        repository, image = "/v1/repositories/anna/app", f"/v1/images/{IMAGE}"
        self.in_order((
            ("GET", "/v1/_ping", 200, None, {}),
            ("GET", f"{repository}/images", 200, None, TOKEN),
            ("GET", f"{repository}/tags", 200, None, {}),
            ("GET", f"{image}/ancestry", 200, None, {}),
            ("GET", f"{image}/json", 200, None, {}),
            ("GET", f"{image}/layer", 200, None, {}),
        ))
        self.assertEqual(self.anna("GET", f"{image}/layer").body, LAYER)

    def test_delete(self):
        self.push()
        self.assertEqual(self.anna("DELETE", "/v1/repositories/anna/app/").status, 200)
        self.assertNotIn("/v1/repositories/anna/app/tags/latest", self.backend.kept)

    def test_of_anothers(self):
        """Nothing of it reaches the backend."""
        for method, path in (("PUT", "/"), ("PUT", "/images"), ("GET", "/images"), ("GET", "/tags"),
                             ("PUT", "/tags/latest"), ("DELETE", "/"), ("DELETE", "/tags/latest")):
            with self.subTest(method=method, path=path):
                answer = self.anna(method, f"/v1/repositories/bob/app{path}", body=b"" if method == "PUT" else None)
                self.assertEqual(answer.status, 403, answer)
        self.assertEqual(self.backend.seen, [])

    def test_one_segment_is_the_library(self):
        """`ubuntu` means library/ubuntu: whoever is called so owns it, and nobody else."""
        self.assertEqual(self.anna("PUT", "/v1/repositories/anna/", body=b"[]").status, 403)
        self.assertEqual(Wire(self.stack, "library")("PUT", "/v1/repositories/ubuntu/", body=b"[]").status, 200)

    def test_search_is_off(self):
        """It would list everybody's names."""
        self.assertIn(self.anna("GET", "/v1/search?q=a").status, (403, 404))
        self.assertEqual(self.backend.seen, [])


class V1Bearer(V1):
    """Its clients know nothing of tokens: they send their password, and that is taken."""

    options = {"bearer": True}


if __name__ == "__main__":
    unittest.main()
