"""What nginx itself answers when the backend is down, slow, or a body too large: OCI JSON, the version header
once."""

import socket
import unittest

from harness.case import StackCase
from harness.wire import Wire
from testkit import ports

VERSION = "docker-distribution-api-version"


class Errors(StackCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.silent = socket.create_server(("127.0.0.1", 0))
        cls.addClassCleanup(cls.silent.close)
        silent = f"127.0.0.1:{cls.silent.getsockname()[1]}"
        for user, backend in (("dead", f"127.0.0.1:{ports.free()}"), ("silent", silent)):
            cls.stack.add_user(user, f"{user}-secret", backend)
        # A limit and an impatience that the shipped configuration does not have.
        proxy = cls.stack.configuration / "proxy.conf"
        text = proxy.read_text()
        for line, other in (("client_max_body_size 0;", "client_max_body_size 1k;"),
                            ("proxy_read_timeout 900s;", "proxy_read_timeout 1s;")):
            assert line in text
            text = text.replace(line, other)
        proxy.write_text(text)
        before = cls.stack.nginx.workers()
        cls.stack.nginx.reload()
        cls.stack.nginx.await_new_workers(before)

    def is_oci(self, answer, status, code):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.header("content-type"), ["application/json"])
        self.assertEqual(answer.header(VERSION), ["registry/2.0"])
        self.assertEqual(answer.error()[0], code)

    def test_502_backend_down(self):
        self.is_oci(Wire(self.stack, "dead")("GET", "/v2/dead/app/tags/list"), 502, "UNAVAILABLE")

    def test_504_backend_silent(self):
        self.is_oci(Wire(self.stack, "silent")("GET", "/v2/silent/app/tags/list"), 504, "UNAVAILABLE")

    def test_413_body_too_large(self):
        answer = Wire(self.stack, "alice")("PUT", "/v2/alice/app/manifests/latest", body=b"x" * 2000)
        self.is_oci(answer, 413, "SIZE_INVALID")

    def test_404_outside_the_api(self):
        answer = Wire(self.stack)("GET", "/index.html")
        self.assertEqual((answer.status, answer.error()[0]), (404, "UNSUPPORTED"))
        self.assertEqual(answer.header("content-type"), ["application/json"])

    def test_a_backends_own_answers_pass(self):
        """The registry's 404 is its own, and the version header comes once, from it."""
        answer = Wire(self.stack, "alice")("GET", "/v2/alice/nothing/manifests/latest")
        self.is_oci_like(answer)
        self.assertEqual((answer.status, answer.error()[0]), (404, "MANIFEST_UNKNOWN"))
        answer = Wire(self.stack, "alice")("GET", "/v2/")
        self.is_oci_like(answer)
        self.assertEqual(answer.status, 200)

    def test_the_gates_own_answers_pass(self):
        """401, 403, 400, 404 of the module: not replaced by nginx's pages, the version header once."""
        alice = Wire(self.stack, "alice")
        for answer, status, code in (
            (Wire(self.stack)("GET", "/v2/"), 401, "UNAUTHORIZED"),
            (alice("GET", "/v2/bob/app/tags/list"), 403, "DENIED"),
            (alice("GET", "/v2/_catalog?n=1&n=2"), 400, "PAGINATION_NUMBER_INVALID"),
            (alice("GET", "/v2/alice/../bob/tags/list"), 400, "NAME_INVALID"),
            (alice("PUT", "/v2/alice/App/manifests/latest", body=b"{}"), 400, "NAME_INVALID"),
            (alice("GET", "/v2/alice/a--/tags/list"), 404, "NAME_UNKNOWN"),
            (alice("GET", "/v2/alice/app/nonsense"), 404, "UNSUPPORTED"),
        ):
            with self.subTest(status=status):
                self.is_oci(answer, status, code)
        self.assertEqual(len(Wire(self.stack)("GET", "/v2/").header("www-authenticate")), 1)

    def test_v2_without_slash(self):
        """`/v2` is the API's root too: nginx must not redirect it."""
        self.assertEqual(Wire(self.stack)("GET", "/v2").status, 401)

    def is_oci_like(self, answer):
        self.assertEqual(answer.header(VERSION), ["registry/2.0"], answer)


if __name__ == "__main__":
    unittest.main()
