"""The documentation, followed to the letter on a machine on which nothing of ours is installed yet: what each
page has for a site lets people in, and what it has for a shell is understood."""

import json
import re
import subprocess
import sys
import unittest

from harness.stack import ROOT

CONFIGURATIONS = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs/configuration").glob("*.md"))]
SITES = ["README.md", "docs/configuration.md", *CONFIGURATIONS]
PAGES = [*SITES, "docs/users-and-backends.md"]


class Documentation(unittest.TestCase):
    """With what `make` has built, installed as docs/install.md says, with Debian's nginx, Redis and
    registry."""

    def test_pages(self):
        namespaces = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork",
                      "--kill-child",
                      "--mount-proc"]
        ran = subprocess.run([*namespaces, sys.executable, ROOT / "e2e/harness/newcomer.py", *PAGES],
                             check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        seen = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"page"')]
        self.assertEqual([each["page"] for each in seen], PAGES, ran.stdout)
        for each in seen:
            with self.subTest(each["page"]):
                self.assertEqual(each["wrong"], [])

    def test_each_page_of_a_use_case_has_a_site(self):
        without = [page for page in SITES
                   if "server_name registry.example.com;" not in (ROOT / page).read_text(encoding="utf-8")]
        # These are about something else than a site: what differs in one, what backends share, which Redis.
        self.assertEqual(without, ["docs/configuration/redis.md", "docs/configuration/several-backends.md",
                                   "docs/configuration/web-pages.md"])

    def test_commands_are_found(self):
        text = (ROOT / "docs/configuration/teams-and-robots.md").read_text(encoding="utf-8")
        self.assertGreater(len(re.findall(r"^    registry-authctl ", text, flags=re.M)), 10)


if __name__ == "__main__":
    unittest.main()
