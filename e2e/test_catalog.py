"""The catalogue of a real registry with a thousand repositories: each reader sees what is theirs to pull,
page by page, and no more."""

import http.client
import json
import re
import unittest

from harness import client
from harness.case import StackCase
from harness.wire import Wire, digest

REPOSITORIES = 1_000


class Catalog(StackCase):
    """alice may pull every seventh repository of team/, and has some of her own; bob may pull nothing
    there."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        registry = cls.stack.registries["alice"]
        cls.stack.tool("backend", "set", "default", registry.address)
        cls.stack.tool("backend", "set", "bob", registry.address)
        names = [f"{('team', 'secret', 'alice', 'zoo')[number % 4]}/r{number:04}"
                 for number in range(REPOSITORIES)]
        connection = http.client.HTTPConnection(registry.address, timeout=60)
        for name in names:
            cls.push_blob(connection, name, b"a blob that every repository has")
        connection.close()
        for name in names:
            if name.startswith("team/") and int(name[-4:]) % 7 == 0:
                cls.stack.redis.command("HSET", "docker-registry:user:alice", f"grant:{name}", "pull")
        cls.allowed = sorted(name for name in names if name.startswith("alice/") or name.startswith("team/")
                             and int(name[-4:]) % 7 == 0)

    @staticmethod
    def push_blob(connection, name, data):
        """Straight to the registry, so that nothing of the gate is in the way."""
        connection.request("POST", f"/v2/{name}/blobs/uploads/", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        location = re.sub(r"^https?://[^/]+", "", answer.getheader("Location"))
        joint = "&" if "?" in location else "?"
        connection.request("PUT", f"{location}{joint}digest={digest(data)}", body=data,
                           headers={"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201, answer.status

    def walk(self, user, target):
        """All names and the number of pages, by following the links."""
        wire, names, pages = Wire(self.stack, user), [], 0
        while target:
            answer = wire("GET", target)
            self.assertEqual(answer.status, 200, answer)
            shown = json.loads(answer.body)["repositories"]
            names += shown
            pages += 1
            links = answer.header("link")
            found = re.fullmatch(r'<(/v2/_catalog\?[^>]+)>; rel="next"', links[0]) if links else None
            self.assertEqual(bool(links), bool(found), links)
            target = found and found.group(1)
            for name in names[-1:]:
                self.assertTrue(not target or name in target, f"{target} after {name}")
        return names, pages

    def test_paging_shows_exactly_what_may_be_pulled(self):
        for n in (1, 2, 7, 100, 1_000, 5_000):
            with self.subTest(n=n):
                names, pages = self.walk("alice", f"/v2/_catalog?n={n}")
                self.assertEqual(names, self.allowed)
                self.assertEqual(pages, -(-len(self.allowed) // min(n, 1_000)))
        self.assertEqual(self.walk("alice", "/v2/_catalog"), (self.allowed, 1))

    def test_who_may_pull_nothing_sees_nothing(self):
        self.assertEqual(self.walk("bob", "/v2/_catalog?n=10"), ([], 1))

    def test_a_grant_shows_at_once(self):
        self.stack.tool("grant", "add", "bob", "zoo/r0003", "pull")
        self.addCleanup(self.stack.tool, "grant", "remove", "bob", "zoo/r0003")
        self.assertEqual(self.walk("bob", "/v2/_catalog?n=10"), (["zoo/r0003"], 1))

    def test_podman_search_and_skopeo(self):
        """podman search reads the catalogue, skopeo list-tags a repository."""
        podman = client.Podman(self.stack, self.stack.directory / "search-podman")
        self.addCleanup(podman.close)
        self.assertEqual(podman.login("alice", self.stack.passwords["alice"]).returncode, 0)
        found = podman.search("r0")
        self.assertEqual(found.returncode, 0, found.stdout)
        names = sorted(re.findall(r"(?:alice|team|secret|zoo)/r\d{4}", found.stdout))
        self.assertEqual(names, [name for name in self.allowed if "r0" in name])
        skopeo = client.Skopeo(self.stack, self.stack.directory / "search-skopeo")
        self.addCleanup(skopeo.close)
        self.assertEqual(skopeo.login("alice", self.stack.passwords["alice"]).returncode, 0)
        refused = skopeo.tags("secret/r0001")
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stdout, r"403 \(Forbidden\)")


if __name__ == "__main__":
    unittest.main()
