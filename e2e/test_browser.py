"""A web page of another origin in a real browser (headless Chromium): what the shipped cors.conf lets it do,
and whom it keeps out."""

import http.server
import json
import os
import queue
import re
import shutil
import tempfile
import threading
import unittest
from pathlib import Path

from harness.case import StackCase
from harness.wire import Wire
from testkit import ports
from testkit.process import Process
from testkit.tls import TEST_HOST

# Lists the catalogue by a password, reads a refusal, gets a token from where that says, and lists it again;
# what comes of each it tells the server that it came from.
PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>another origin</title><script>
const registry = REGISTRY, basic = "Basic " + btoa("alice:" + PASSWORD);
async function ask(path, headers) {
    try {
        const answer = await fetch(registry + path, {headers: headers || {}});
        const challenge = answer.headers.get("WWW-Authenticate");
        return {status: answer.status, challenge, body: await answer.json()};
    } catch (error) {
        return {failed: String(error)};
    }
}
async function run() {
    const seen = {};
    seen.password = await ask("/v2/_catalog", {Authorization: basic});
    seen.wrong = await ask("/v2/_catalog", {Authorization: "Basic " + btoa("alice:wrong")});
    seen.nobody = await ask("/v2/_catalog");
    seen.denied = await ask("/v2/bob/app/tags/list", {Authorization: basic});
    const challenge = /realm="([^"]+)",service="([^"]+)",scope="([^"]+)"/.exec(seen.nobody.challenge || "");
    if (challenge) {
        const query = new URLSearchParams({service: challenge[2], scope: challenge[3]});
        const path = new URL(challenge[1]).pathname;
        const issued = await ask(path + "?" + query, {Authorization: basic});
        seen.issued = {realm: challenge[1], status: issued.status};
        seen.token = await ask("/v2/_catalog", {Authorization: "Bearer " + (issued.body || {}).token});
    }
    await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
}
run();
</script></html>
"""


class Site:
    """A web server of its own origin, whose one page tells it what it has seen."""

    def __init__(self, registry, password):
        page = PAGE.replace("REGISTRY", json.dumps(registry)).replace("PASSWORD",
                                                                      json.dumps(password)).encode()
        self.seen = seen = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            """The page, and what it tells."""

            def do_GET(self):  # pylint: disable=invalid-name
                """The page at any path."""
                self._answer(page)

            def do_POST(self):  # pylint: disable=invalid-name
                """What the page has seen."""
                seen.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(b"")

            def _answer(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):  # pylint: disable=arguments-differ
                """Nothing is logged."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", ports.free()), Handler)
        self.origin = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """Stops it."""
        self._server.shutdown()
        self._server.server_close()


@unittest.skipUnless(shutil.which("chromium"), "chromium is not installed")
class Browser(StackCase):
    """A registry with tokens, cors.conf with one origin in it, and two sites."""

    options = {"bearer": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = cls.stack
        stack.tool("backend", "set", "default", stack.registries["alice"].address)
        Wire(stack, "alice").push_image("alice/app", {"file": b"of the browser"})
        stack.tool("grant", "add", "alice", "team/*", "pull")
        registry = f"https://{stack.address}"
        cls.listed, cls.other = (Site(registry, stack.passwords["alice"]) for _ in range(2))
        for site in (cls.listed, cls.other):
            cls.addClassCleanup(site.close)
        # What an administrator does: a copy of cors.conf with the own origin, included before the locations.
        cors = stack.configuration / "cors.conf"
        text, count = re.subn(r'(\$http_origin ~ )"[^"]*"', rf'\1"^{re.escape(cls.listed.origin)}$"',
                              cors.read_text())
        assert count == 1, "cors.conf lists its origins elsewhere"
        cors.write_text(text)
        server = stack.configuration / "registry-bearer.conf"
        server.write_text(server.read_text().replace('registry_auth "Registry";',
                                                     f'include {cors};\n    registry_auth "Registry";'))
        before = stack.nginx.workers()
        stack.nginx.reload()
        stack.nginx.await_new_workers(before)

    def visit(self, site):
        """What the page of a site sees in the browser."""
        profile = Path(tempfile.mkdtemp(prefix="chromium-", dir=self.stack.directory))
        browser = Process("chromium", [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={profile}", "--ignore-certificate-errors",
            f"--host-resolver-rules=MAP {TEST_HOST} 127.0.0.1", "--remote-debugging-port=0",
            site.origin + "/",
        ], self.stack.directory / "chromium.log", env={**os.environ, "HOME": str(profile)})
        self.addCleanup(browser.stop)
        try:
            return site.seen.get(timeout=120)
        except queue.Empty:
            self.fail(f"the page told nothing: {browser.log_text()}")

    def test_listed_origin_lists_the_catalogue_with_a_password_and_with_a_token(self):
        seen = self.visit(self.listed)
        catalog = {"repositories": ["alice/app"]}
        self.assertEqual((seen["password"].get("status"), seen["password"].get("body")), (200, catalog), seen)
        self.assertEqual(seen["issued"], {"realm": f"https://{self.stack.address}/token", "status": 200})
        self.assertEqual((seen["token"].get("status"), seen["token"].get("body")), (200, catalog), seen)

    def test_refusals_can_be_read(self):
        seen = self.visit(self.listed)
        codes = {what: (seen[what].get("status"), seen[what]["body"]["errors"][0]["code"])
                 for what in ("wrong", "nobody", "denied")}
        self.assertEqual(codes, {"wrong": (401, "UNAUTHORIZED"), "nobody": (401, "UNAUTHORIZED"),
                                 "denied": (403, "DENIED")})

    def test_another_origin_sees_nothing(self):
        seen = self.visit(self.other)
        for what in ("password", "wrong", "nobody", "denied"):
            self.assertIn("Failed to fetch", seen[what].get("failed", ""), seen)
        self.assertNotIn("token", seen)


if __name__ == "__main__":
    unittest.main()
