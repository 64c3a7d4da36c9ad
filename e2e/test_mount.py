"""A mount from a foreign repository: whatever it is spelled like, the bytes are not reachable afterwards
(end-11).

alice and carol share one registry, so that only the gate stands between carol and alice's blobs.
"""

import unittest

from harness.case import StackCase
from harness.wire import Wire, digest


class Mount(StackCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack.add_user("carol", "carol-secret", cls.stack.registries["alice"].address)
        cls.alice, cls.carol = Wire(cls.stack, "alice"), Wire(cls.stack, "carol")
        cls.secret = b"a layer of alice's"
        cls.blob = cls.alice.push_blob("alice/app", cls.secret)

    def nothing_of_alice(self, repository):
        """The blob must not be there, neither for HEAD nor for GET."""
        for method in ("HEAD", "GET"):
            answer = self.carol(method, f"/v2/{repository}/blobs/{self.blob}")
            self.assertEqual(answer.status, 404, answer)

    def test_of_ones_own(self):
        """The shortcut works where it may: 201, and the blob is in the other repository at once."""
        mounted = self.alice.start_upload("alice/other", f"?mount={self.blob}&from=alice/app")
        self.assertEqual(mounted.status, 201, mounted)
        self.assertEqual(self.alice("GET", f"/v2/alice/other/blobs/{self.blob}").body, self.secret)

    def test_of_anothers(self):
        """Goes on without its mount: the registry answers 202 and waits for the bytes, whatever the
        spelling."""
        spellings = (
            f"?mount={self.blob}&from=alice/app",
            f"?from=alice/app&mount={self.blob}",
            f"?mount={self.blob}",
            f"?mount={self.blob.replace(':', '%3A')}&from=alice%2Fapp",
            f"?%6dount={self.blob}&%66rom=alice/app",
            f"?mount={self.blob}&from=carol/app&from=alice/app",
            f"?mount={self.blob}&from=alice/app&from=carol/app",
            f"?mount={self.blob}&mount={self.blob}&from=alice/app",
            f"?Mount={self.blob}&From=alice/app",
            f"?mount={self.blob};from=alice/app",
            f"?from=alice/app;mount={self.blob}",
            f"?x=1&mount={self.blob}&from=alice/app&y=2",
        )
        for number, query in enumerate(spellings):
            with self.subTest(query=query):
                repository = f"carol/mounted{number}"
                started = self.carol.start_upload(repository, query)
                self.assertEqual(started.status, 202, started)
                self.nothing_of_alice(repository)

    def test_in_a_form(self):
        """distribution reads `mount` and `from` out of a form body too: such a body is refused."""
        forms = (
            ("application/x-www-form-urlencoded", f"mount={self.blob}&from=alice/app"),
            ("multipart/form-data; boundary=b",
             f'--b\r\nContent-Disposition: form-data; name="mount"\r\n\r\n{self.blob}\r\n'
             '--b\r\nContent-Disposition: form-data; name="from"\r\n\r\nalice/app\r\n--b--\r\n'),
        )
        for kind, body in forms:
            with self.subTest(kind=kind):
                answer = self.carol("POST", "/v2/carol/form/blobs/uploads/", body=body.encode(),
                                    headers={"Content-Type": kind})
                self.assertEqual(answer.status, 400, answer)
                self.nothing_of_alice("carol/form")

    def test_the_bytes_themselves_may_be_pushed(self):
        """After the refused shortcut a client uploads, and that is its right: it has the bytes."""
        started = self.carol.start_upload("carol/own", f"?mount={self.blob}&from=alice/app")
        finished = self.carol.finish_upload(started.header("location")[0], self.secret)
        self.assertEqual(finished.status, 201, finished)
        self.assertEqual(digest(self.carol("GET", f"/v2/carol/own/blobs/{self.blob}").body), self.blob)

    def test_an_upload_cannot_be_taken_to_another_repository(self):
        """The state in an upload's address is the registry's; the name before it is what the gate decides
        about."""
        location = self.carol.start_upload("carol/own").header("location")[0]
        answer = self.carol("PATCH", "/" + location.split("/", 3)[3].replace("carol/own", "alice/app", 1),
                            body=b"x",
                            headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(answer.status, 403, answer)


if __name__ == "__main__":
    unittest.main()
