"""Blobs from the registry's own disk (`registry_auth_store`) and out of nginx's cache (`blob-cache.conf`):
nobody is sent what the registry would not have sent, whatever is asked and whatever becomes of the disk."""

import hashlib
import http.client
import os
import random
import re
import shutil
import subprocess
import threading
import time
import unittest
from collections import Counter
from pathlib import Path

from harness import image, wire
from harness.case import StackCase
from harness.client import Ctr, Docker, Podman, Skopeo
from harness.questions import generate
from harness.stack import Stack
from harness.wire import Wire
from testkit.process import must

# Requests that are compared, and what they are made from.
COUNT = int(os.environ.get("E2E_DISK_REQUESTS", "10000"))
SEED = os.environ.get("E2E_DISK_SEED", "17")
TREE = Path("docker") / "registry" / "v2"
MIB = 1 << 20
# What two answers to the same question need not share.
PASSING = {"date", "connection", "keep-alive"}
# And what is otherwise where nginx answers: (by, header, status). It says that it serves ranges where it was
# asked for none.
DIFFERING = {("store", "accept-ranges", 206), ("cache", "accept-ranges", 206)}


class Gate:
    """One nginx of a stack, asked over a connection that is kept."""

    def __init__(self, stack, nginx):
        self._stack, self._nginx = stack, nginx
        self._connection = None

    def ask(self, question):
        """(status, headers, body) of the answer."""
        for attempt in (1, 2):
            try:
                return self._ask(question)
            except (http.client.HTTPException, ConnectionError):
                # A connection that nginx has closed meanwhile, as after a refusal.
                self.close()
                if attempt == 2:
                    raise
        return None

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, question):
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._nginx.plain_port, timeout=30)
        connection = self._connection
        connection.putrequest(question.method, question.target, skip_accept_encoding=True)
        if question.user == "wrong":
            headers = wire.basic("alice", "guess")
        else:
            headers = wire.basic(question.user, self._stack.passwords[question.user]) if question.user else {}
        for name, value in (*headers.items(), *question.headers):
            connection.putheader(name, value)
        if question.method in ("PUT", "POST", "PATCH"):
            connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders() if name.lower() not in PASSING}
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            # What a registry itself does with some ranges.
            body = b"cut after " + cut.partial
            self.close()
        if found.get("content-type", "").startswith("multipart/byteranges"):
            # Each answer has a boundary of its own.
            boundary = found["content-type"].split("boundary=")[1]
            body = body.replace(boundary.encode(), b"boundary")
            found["content-type"] = "multipart/byteranges"
        if answer.will_close:
            self.close()
        # The port by which it was asked.
        port = str(self._nginx.plain_port)
        found = {name: value.replace(port, "PORT") for name, value in found.items()}
        return answer.status, found, body.replace(port.encode(), b"PORT")


class Compared(unittest.TestCase):
    """The same questions to a gate with the store, one with the cache, and one with neither."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(plain=True, stores=("alice", "bob"))
        cls.addClassCleanup(cls.stack.stop)
        cls.bare = cls.stack.beside("bare", plain=True)
        cls.cached = cls.stack.beside("cached", plain=True, blob_cache=True)
        cls.fill()

    @classmethod
    def fill(cls):
        stack = cls.stack
        address = {user: stack.registries[user].address for user in ("alice", "bob")}
        for user in ("alice", "bob"):
            # Argon2 would take longer than all the rest.
            stack.add_fast_user(user, stack.passwords[user], address[user])
            stack.tool("grant", "add", user, "shared/**", "pull,push")
        stack.add_fast_user("carol", "carol-secret", f"{address['alice']} {address['bob']}")
        stack.tool("grant", "add", "carol", "*/**", "pull")
        stack.add_fast_user("dora", "dora-secret", address["bob"])
        stack.tool("grant", "add", "dora", "*/**", "pull")
        alice, bob = Wire(stack, "alice", plain=True), Wire(stack, "bob", plain=True)
        small = [os.urandom(length) for length in (1, 10, 2000, 300_000)]
        cls.digests, cls.there = [], []
        for wires, repository, blobs in (
            (alice, "alice/x", small), (alice, "alice/y", small[:1]), (alice, "alice/deep/er", small[1:2]),
            (alice, "shared/r", [b"of alice"]), (bob, "shared/r", [b"of bob"]),
            (bob, "bob/x", [small[2], b"b"]),
        ):
            cls.there += [(repository, wires.push_blob(repository, blob)) for blob in blobs]
        alice.push_image("alice/x", {"a": b"a"})
        manifest, *parts = image.blobs({"a": b"a"})
        cls.there += [("alice/x", wire.digest(part)) for part in (manifest, *parts)]
        public = stack.publish("hello", {"a": b"public"})
        cls.there += [(public, wire.digest(part)) for part in image.blobs({"a": b"public"})]
        # Never pushed; deleted; in an upload that is not finished.
        cls.digests += [wire.digest(b"never"), cls.delete(alice), cls.leave_unfinished(alice)]
        planted = cls.plant(alice)
        cls.there += [("alice/planted", digest) for digest in planted]
        cls.digests += [digest for _, digest in cls.there]
        cls.names = ["alice/x", "alice/y", "alice/deep/er", "shared/r", "bob/x", "alice/planted",
                     "alice/none", "alice/public/hello", "bob/none", "alice", "x/y/z", "alice/x/blobs"]

    @classmethod
    def delete(cls, alice):
        deleted = alice.push_blob("alice/x", b"deleted")
        answer = alice("DELETE", f"/v2/alice/x/blobs/{deleted}")
        assert answer.status == 202, answer
        return deleted

    @classmethod
    def leave_unfinished(cls, alice):
        started = alice.start_upload("alice/x")
        sent = alice("PATCH", wire.path_of(started.header("location")[0]), body=b"unfinished",
                     headers={"Content-Type": "application/octet-stream"})
        assert sent.status == 202, sent
        return wire.digest(b"unfinished")

    @classmethod
    def plant(cls, alice):
        """Puts into alice's storage what no registry makes; the digests of that."""
        root = cls.stack.registries["alice"].storage / TREE
        digests = []

        def planted(content, repository="alice/planted"):
            digest = alice.push_blob(repository, content)
            digests.append(digest)
            digits = digest.split(":")[1]
            return (root / "repositories" / repository / "_layers" / "sha256" / digits / "link",
                    root / "blobs" / "sha256" / digits[:2] / digits / "data")

        secret = cls.stack.directory / "secret"
        secret.write_bytes(b"a secret of this machine")
        _, data = planted(b"a symbolic link")
        data.unlink()
        data.symlink_to(secret)
        link, _ = planted(b"a link that is a symbolic link")
        other, _ = planted(b"the link that it leads to")
        link.unlink()
        link.symlink_to(other)
        link, _ = planted(b"a link to another digest")
        link.write_text(wire.digest(b"b"))
        link, _ = planted(b"a link to a path")
        link.write_text("../../../../../bob/x")
        link, _ = planted(b"a link with a line's end")
        link.write_text(f"{digests[-1]}\n")
        link, _ = planted(b"an empty link")
        link.write_bytes(b"")
        _, data = planted(b"a folder")
        data.unlink()
        data.mkdir()
        _, data = planted(b"unreadable for nginx")
        data.chmod(0)
        link, _ = planted(b"a link that nginx cannot read")
        link.chmod(0)
        _, data = planted(b"a folder behind a symbolic link")
        moved = cls.stack.directory / "moved"
        shutil.move(data.parent, moved)
        data.parent.symlink_to(moved)
        _, data = planted(b"gone")
        data.unlink()
        return digests

    def test_answers_are_equal(self):
        users = ["alice", "alice", "alice", "bob", "carol", "dora", "", "wrong"]
        gates = {name: Gate(self.stack, nginx) for name, nginx in
                 (("store", self.stack.nginx), ("cache", self.cached), ("bare", self.bare))}
        statuses, differing = Counter(), Counter()
        for question in generate(COUNT, self.names, self.digests, self.there, users, {"", "wrong"}, SEED):
            answers = {name: gate.ask(question) for name, gate in gates.items()}
            expected = answers["bare"]
            statuses[expected[0]] += 1
            for name in ("store", "cache"):
                if name == "cache" and question.is_odd:
                    continue
                got = answers[name]
                if name == "cache" and got[0] == expected[0] == 416:
                    # The page is nginx's; the registry's ends too early.
                    continue
                if name == "cache" and expected[0] == 304 and "/manifests/" in question.target:
                    # distribution calls a manifest unchanged that it does not have; nginx asks for it whole.
                    continue
                self.assertEqual((got[0], got[2]), (expected[0], expected[2]),
                                 (name, question, got, expected))
                for header in set(got[1]) | set(expected[1]):
                    if got[1].get(header) != expected[1].get(header):
                        differing[name, header, got[0]] += 1
        for gate in gates.values():
            gate.close()
        # Of everything there was enough.
        for status in (200, 206, 304, 400, 401, 403, 404, 416):
            self.assertGreater(statuses[status], COUNT // 1000, statuses)
        self.assertLessEqual(set(differing), DIFFERING, differing)

    def test_the_store_and_the_cache_are_used(self):
        """Else nothing was compared: the registry is asked for a blob of its disk not once, for one that is
        kept once."""
        blob = self.there[3][1]
        target = f"/v2/alice/x/blobs/{blob}"
        for nginx, expected in ((self.stack.nginx, "store"), (self.cached, "cache"), (self.bare, "backend")):
            answers = []
            for _ in range(2):
                connection = http.client.HTTPConnection("127.0.0.1", nginx.plain_port, timeout=30)
                connection.request("GET", target, headers=wire.basic("alice", self.stack.passwords["alice"]))
                answer = connection.getresponse()
                self.assertEqual(wire.digest(answer.read()), blob)
                answers.append(answer)
                connection.close()
            self.assertRegex(nginx.access_log().splitlines()[-1], rf' {expected} \w+ [\d.]+ "')


class Deletions(StackCase):
    """What is pulled is deleted meanwhile, collected, and pushed again."""

    options = {"stores": ("alice",), "plain": True}

    def test_no_wrong_byte_and_no_hang(self):
        stack = self.stack
        registry = stack.registries["alice"]
        stack.add_fast_user("alice", stack.passwords["alice"], registry.address)
        alice = Wire(stack, "alice", plain=True)
        chance = random.Random(17)
        blobs = {}
        for _ in range(6):
            content = chance.randbytes(4 * MIB)
            blobs[alice.push_blob("alice/gone", content)] = content
        wrong, statuses, over = [], Counter(), threading.Event()

        def pull():
            mine = random.Random()
            while not over.is_set():
                digest = mine.choice(sorted(blobs))
                try:
                    answer = alice("GET", f"/v2/alice/gone/blobs/{digest}", seconds=60)
                except (OSError, http.client.HTTPException) as error:
                    wrong.append(f"{digest}: {error!r}")
                    continue
                statuses[answer.status] += 1
                if answer.status == 200 and wire.digest(answer.body) != digest:
                    wrong.append(f"{digest}: other bytes, {len(answer.body)} of them")

        pullers = [threading.Thread(target=pull) for _ in range(4)]
        for puller in pullers:
            puller.start()
        try:
            environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
            collect = ["docker-registry", "garbage-collect", str(registry.storage.parent / "registry.yml")]
            for turn in range(6):
                digest = sorted(blobs)[turn % len(blobs)]
                deleted = alice("DELETE", f"/v2/alice/gone/blobs/{digest}")
                self.assertEqual(deleted.status, 202, deleted)
                # At once.
                self.assertEqual(alice("GET", f"/v2/alice/gone/blobs/{digest}").status, 404)
                # No manifest names any of them, so that all are collected.
                must(collect, env=environment)
                for digest, content in blobs.items():
                    self.assertEqual(alice.push_blob("alice/gone", content), digest)
                time.sleep(0.5)
        finally:
            over.set()
            for puller in pullers:
                puller.join(90)
        self.assertFalse([puller for puller in pullers if puller.is_alive()])
        self.assertEqual(wrong, [])
        self.assertGreater(statuses[200], 20, statuses)
        self.assertEqual(set(statuses) - {200, 404, 500, 503}, set(), statuses)


# As much as one layer has: of noise, so that it is as large when it is packed.
SIZE = int(os.environ.get("E2E_DISK_IMAGE", str(256 * MIB)))


class _Large:
    """Clients pull an image with a large layer, and one of them is interrupted."""

    source = ""

    def test_clients(self):
        stack = self.stack
        pusher = Skopeo(stack, stack.directory / "pusher")
        self.assertEqual(pusher.login("alice", stack.passwords["alice"]).returncode, 0)
        layout = stack.directory / "large"
        layer = image.layout(layout, {"noise": os.urandom(SIZE)})
        pushed = pusher.push("alice/large", layout)
        self.assertEqual(pushed.returncode, 0, pushed.stdout)
        shutil.rmtree(layout)
        for kind in (Skopeo, Podman, Docker, Ctr):
            with self.subTest(client=kind.name):
                client = kind(stack, stack.directory / kind.name)
                self.addCleanup(client.close)
                login = client.login("alice", stack.passwords["alice"])
                self.assertEqual(login.returncode, 0, login.stdout)
                pulled = client.pull("alice/large")
                self.assertEqual(pulled.returncode, 0, pulled.stdout)
                client.close()
                shutil.rmtree(client.directory, ignore_errors=True)
        self._interrupted(layer)
        lines = [line for line in stack.nginx.access_log().splitlines()
                 if f"GET /v2/alice/large/blobs/{layer}" in line and re.search(r'" 20[06] ', line)]
        sources = Counter(re.search(r' ([\w-]+) \w+ [\d.]+ "[^"]*"$', line).group(1) for line in lines)
        # A cache has to be filled once.
        self.assertLessEqual(sources["backend"], 1 if self.source == "cache" else 0, lines)
        self.assertGreaterEqual(sources[self.source], 5, lines)

    def _interrupted(self, layer):
        """A client that loses its connection goes on where it was; one that is killed begins anew."""
        stack = self.stack
        alice = Wire(stack, "alice")
        target = f"/v2/alice/large/blobs/{layer}"
        client = Skopeo(stack, stack.directory / "killed")
        # The host is in the key of the cache: that of the other clients.
        host = client.reference("alice/large").split("/")[0]
        token = {"Authorization": alice._credentials["Authorization"], "Host": host}
        digest = hashlib.sha256()
        connection = alice.connection()
        connection.request("GET", target, headers=token)
        answer = connection.getresponse()
        whole = int(answer.getheader("Content-Length"))
        self.assertGreater(whole, SIZE)
        taken = 0
        while taken < whole // 3:
            part = answer.read(MIB)
            digest.update(part)
            taken += len(part)
        etag = answer.getheader("ETag")
        connection.close()
        connection = alice.connection()
        connection.request("GET", target, headers={**token, "Range": f"bytes={taken}-", "If-Range": etag})
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("Content-Range")),
                         (206, f"bytes {taken}-{whole - 1}/{whole}"))
        while part := answer.read(MIB):
            digest.update(part)
        self.assertEqual(f"sha256:{digest.hexdigest()}", layer)
        connection.close()

        client.login("alice", stack.passwords["alice"])
        # It writes as it pulls: once some is there, it dies.
        into = client.directory / "pulled"
        entered = client._place.enter(client._visible, *client.mounts())
        process = subprocess.Popen(
            [*map(str, entered), "skopeo", "--insecure-policy", "copy", "--authfile", str(client.auth),
             "--src-cert-dir", str(stack.certificates), f"docker://{client.reference('alice/large')}",
             f"oci:{into}:latest"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=client.environment())
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if any(path.is_file() and path.stat().st_size > MIB for path in into.rglob("*")):
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        pulled = client.pull("alice/large")
        self.assertEqual(pulled.returncode, 0, pulled.stdout)


class FromTheStore(_Large, StackCase):
    options = {"stores": ("alice",)}
    source = "store"


class FromTheCache(_Large, StackCase):
    options = {"blob_cache": True}
    source = "cache"


if __name__ == "__main__":
    unittest.main()
