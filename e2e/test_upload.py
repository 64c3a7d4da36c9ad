"""An upload's address: as the client knows this server, whatever the client says, and good for each step of
an upload."""

import unittest

from harness.case import StackCase
from harness.wire import Wire, digest, path_of

BYTES = {"Content-Type": "application/octet-stream"}


class Upload(StackCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.alice = Wire(cls.stack, "alice")
        cls.here = f"https://localhost:{cls.stack.nginx.port}/v2/alice/app/blobs/uploads/"

    def test_its_address_is_this_server(self):
        """Scheme, name and port are nginx's, not the registry's own."""
        location = self.alice.start_upload("alice/app").header("location")
        self.assertEqual(len(location), 1)
        self.assertTrue(location[0].startswith(self.here), location)

    def test_the_client_has_no_say_in_it(self):
        """Registries build addresses from these headers, which only we may set."""
        for name, value in (("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Proto", "http"),
                            ("X-Forwarded-Prefix", "/evil"), ("X-Forwarded-Port", "1"),
                            ("Forwarded", "host=evil.test;proto=http")):
            with self.subTest(header=name):
                answer = self.alice("POST", "/v2/alice/app/blobs/uploads/",
                                    headers={name: value, "Content-Length": "0"})
                self.assertTrue(answer.header("location")[0].startswith(self.here), answer)

    def test_in_pieces(self):
        """end-4a, 5, 13, 5, 6: the status in between and the query that must not be re-encoded."""
        data = b"one piece and another"
        at = path_of(self.alice.start_upload("alice/app").header("location")[0])
        for piece in (data[:9], data[9:]):
            answer = self.alice("PATCH", at, body=piece, headers=BYTES)
            self.assertEqual(answer.status, 202, answer)
            at = path_of(answer.header("location")[0])
            status = self.alice("GET", at)
            self.assertEqual(status.status, 204, status)
        self.assertEqual(status.header("range"), [f"0-{len(data) - 1}"])
        done = self.alice("PUT", f"{at}&digest={digest(data)}", body=b"", headers=BYTES)
        self.assertEqual(done.status, 201, done)
        self.assertEqual(self.alice("GET", f"/v2/alice/app/blobs/{digest(data)}").body, data)

    def test_cancelled(self):
        """end-14 needs push, and its upload is gone afterwards."""
        at = path_of(self.alice.start_upload("alice/app").header("location")[0])
        self.assertEqual(Wire(self.stack, "bob")("DELETE", at).status, 403)
        self.assertEqual(self.alice("DELETE", at).status, 204)
        self.assertEqual(self.alice("GET", at).status, 404)

    def test_a_part_of_a_blob(self):
        """A Range passes there and its 206 back: how clients resume a pull."""
        blob = self.alice.push_blob("alice/app", b"0123456789")
        answer = self.alice("GET", f"/v2/alice/app/blobs/{blob}", headers={"Range": "bytes=3-5"})
        self.assertEqual((answer.status, answer.body), (206, b"345"))


if __name__ == "__main__":
    unittest.main()
