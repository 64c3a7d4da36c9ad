"""A hostile backend asks for a password, or redirects to a host that does: neither containerd, which heeds
the challenge of any answer, nor the others give it one."""

import base64
import hashlib
import json
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import client
from harness.case import StackCase
from harness.wire import Wire

PASSWORD = "alice-secret"


class Recorder(ThreadingHTTPServer):
    """Answers every request with `status` and `headers`, and keeps what it was sent. `pages`: another answer,
    as status, headers and body, for paths with a part."""

    daemon_threads = True

    def __init__(self, status, headers, pages=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.headers, self.pages, self.seen = status, headers, pages or {}, []
        self.address = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode(errors="replace")
        self.server.seen.append(f"{self.requestline}\n{self.headers}\n{body}")
        pages = (page for part, page in self.server.pages.items() if part in self.path)
        status, headers, body = next(pages, (self.server.status, self.server.headers, b""))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_):
        """What it was sent is in `seen`."""


class Challenge(StackCase):
    """alice pulls what is public, from everybody's backend, which is not the administrator's."""

    kind = "Basic"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.elsewhere = Recorder(200, [("Content-Type", "application/json")])
        cls.addClassCleanup(cls.elsewhere.close)
        cls.hostile = Recorder(401, [
            ("Docker-Distribution-Api-Version", "registry/2.0"),
            ("WWW-Authenticate",
             f'Bearer realm="http://{cls.elsewhere.address}/token",service="registry",'
             'scope="repository:public/os:pull"'),
            ("WWW-Authenticate", f'Basic realm="http://{cls.elsewhere.address}"'),
            ("Set-Cookie", "tracked=yes"),
        ])
        cls.addClassCleanup(cls.hostile.close)
        cls.stack.tool("grant", "add", "public", "public/**", "pull")
        cls.stack.tool("backend", "set", "default", cls.hostile.address)
        cls.stack.tool("backend", "set", "alice", cls.hostile.address)

    def is_safe(self):
        self.assertEqual(self.elsewhere.seen, [])
        self.assertNotEqual(self.hostile.seen, [], "the backend was not asked: nothing was tried")
        encoded = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        for request in self.hostile.seen:
            self.assertNotIn("authorization", request.lower())
            self.assertNotIn(PASSWORD, request)
            self.assertNotIn(encoded, request)

    def pull(self, kind):
        puller = kind(self.stack, self.stack.directory / kind.name)
        self.addCleanup(puller.close)
        self.addCleanup(self.hostile.seen.clear)
        self.assertEqual(puller.login("alice", PASSWORD).returncode, 0)
        self.hostile.seen.clear()
        pulled = puller.pull("public/os")
        self.assertNotEqual(pulled.returncode, 0, pulled.stdout)
        self.is_safe()

    def test_ctr(self):
        self.pull(client.Ctr)

    def test_what_reaches_a_client(self):
        for user in (None, "alice"):
            answer = Wire(self.stack, user)("GET", "/v2/public/os/manifests/latest")
            self.assertEqual(answer.status, 401, answer)
            challenges = answer.header("www-authenticate")
            self.assertEqual(len(challenges), 1, challenges)
            self.assertTrue(challenges[0].startswith(self.kind), challenges)
            self.assertNotIn(self.elsewhere.address, str(answer.headers))
            self.assertEqual(answer.header("set-cookie"), [])


class BearerChallenge(Challenge):
    kind = "Bearer"
    options = {"bearer": True}


class Redirect(StackCase):
    """The backend asks for nothing itself: it redirects to a host that asks for a password in its own name,
    which containerd would post to the address in the challenge."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.elsewhere = Recorder(200, [("Content-Type", "application/json")])
        cls.addClassCleanup(cls.elsewhere.close)
        cls.trap = Recorder(401, [
            ("WWW-Authenticate", f'Bearer realm="http://{cls.elsewhere.address}/token",service="registry"')])
        cls.addClassCleanup(cls.trap.close)
        cls.stack.tool("grant", "add", "public", "public/**", "pull")

    def pull_from(self, hostile, name):
        self.addCleanup(hostile.close)
        self.stack.tool("backend", "set", "default", hostile.address)
        self.stack.tool("backend", "set", "alice", hostile.address)
        puller = client.Ctr(self.stack, self.stack.directory / name)
        self.addCleanup(puller.close)
        self.assertEqual(puller.login("alice", PASSWORD).returncode, 0)
        pulled = puller.pull("public/os")
        self.assertNotEqual(pulled.returncode, 0, pulled.stdout)
        self.assertEqual((self.trap.seen, self.elsewhere.seen), ([], []))

    def redirect(self):
        return 307, [("Location", f"http://{self.trap.address}/v2/public/os")], b""

    def test_of_a_manifest(self):
        status, headers, _ = self.redirect()
        hostile = Recorder(status, headers)
        self.pull_from(hostile, "manifest")
        self.assertNotEqual(hostile.seen, [], "the backend was not asked: nothing was tried")

    def test_of_a_blob(self):
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": kind, "layers": [],
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 3,
                       "digest": "sha256:" + "a" * 64}}).encode()
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        hostile = Recorder(404, [], {
            "/manifests/": (200, [("Content-Type", kind), ("Docker-Content-Digest", digest)], manifest),
            "/blobs/": self.redirect()})
        self.pull_from(hostile, "blob")
        self.assertTrue(any("/blobs/" in request for request in hostile.seen), hostile.seen)


if __name__ == "__main__":
    unittest.main()
