"""The status page in a real browser (headless Chromium): on a wide screen and a phone's, light and dark."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness.case import StackCase
from harness.wire import Wire
from testkit.tls import TEST_HOST

# What the browser makes of the page, put where --dump-dom shows it. The page itself has no script, and its
# Content-Security-Policy forbids any: so this is asked of a copy.
PROBE = """<script>
const style = element => getComputedStyle(document.querySelector(element));
parent.postMessage(JSON.stringify({
    width: document.documentElement.scrollWidth, screen: innerWidth, text: style("body").color,
    bar: style(".b").width, heading: document.querySelector("h1").textContent}), "*");
</script>"""
# A window is never narrower than 500 pixels, a frame is.
FRAME = """<!DOCTYPE html><title>none</title>
<script>addEventListener("message", event => { document.title = event.data; });</script>
<iframe src="status.html" width="WIDTH" height="900" style="border: 0"></iframe>"""


@unittest.skipUnless(shutil.which("chromium"), "chromium is not installed")
class StatusPage(StackCase):
    """A registry that has decided a few requests."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = cls.stack
        stack.tool("backend", "set", "default", stack.registries["alice"].address)
        server = stack.configuration / "registry.conf"
        server.write_text(server.read_text().replace(
            'registry_auth "Registry";',
            'location = /status { registry_auth_status; }\n    registry_auth "Registry";', 1))
        before = stack.nginx.workers()
        stack.nginx.reload()
        stack.nginx.await_new_workers(before)
        Wire(stack, "alice").push_image("alice/app", {"file": b"of the status page"})

    def browser(self, *arguments):
        """What Chromium prints."""
        profile = Path(tempfile.mkdtemp(prefix="chromium-", dir=self.stack.directory))
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--hide-scrollbars", "--disable-background-networking",
                   f"--user-data-dir={profile}", "--ignore-certificate-errors",
                   f"--host-resolver-rules=MAP {TEST_HOST} 127.0.0.1", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False,
                             env={**os.environ, "HOME": str(profile)})
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_a_browser_gets_the_page_by_its_own_accept_header(self):
        page = self.browser("--dump-dom", f"https://{self.stack.address}/status")
        self.assertRegex(page, r"<h1>registry auth \d")
        self.assertRegex(page, r'<th scope="row">granted</th><td class="n">[1-9]')

    def test_it_fits_the_screen_in_light_and_in_dark(self):
        answer = Wire(self.stack, "alice")("GET", "/status")
        self.assertEqual(answer.status, 200)
        copy = self.stack.directory / "status.html"
        copy.write_bytes(answer.body.replace(b"</body>", PROBE.encode() + b"</body>"))
        for width in (1280, 400):
            for scheme, number in (("light", 1), ("dark", 0)):
                with self.subTest(width=width, scheme=scheme):
                    frame = self.stack.directory / "frame.html"
                    frame.write_text(FRAME.replace("WIDTH", str(width)))
                    dom = self.browser("--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=5000",
                                       f"--blink-settings=preferredColorScheme={number}", frame.as_uri())
                    title = re.search(r"<title>(\{.*?\})</title>", dom)
                    self.assertIsNotNone(title, dom)
                    seen = json.loads(html.unescape(title[1]))
                    self.assertEqual(seen["screen"], width)
                    self.assertLessEqual(seen["width"], width, seen)
                    self.assertGreater(float(seen["bar"].removesuffix("px")), 1, seen)
                    red = int(re.match(r"rgb\((\d+)", seen["text"])[1])
                    self.assertEqual("dark" if red > 127 else "light", scheme, seen)


if __name__ == "__main__":
    unittest.main()
