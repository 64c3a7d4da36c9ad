"""The requests of the distribution specification's conformance suite (1.1), under the names of its tests.

The suite itself is a program in Go, which is run outside (docs/development/testing.md). This asks the same of
a registry, so that what comes out can be compared: asked directly, and through the gate.
"""

import contextlib
import http.client
import json
import re
from dataclasses import dataclass, field

from . import image
from .wire import SECONDS, Answer, Wire, basic, bearer, digest, path_of

NOBODYS = digest(b"what nobody has pushed")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BYTES = {"Content-Type": "application/octet-stream"}


class Direct:
    """Speaks to the registry at `address` (host:port), which asks for no login."""

    def __init__(self, address):
        self._address = address

    def __call__(self, method, target, body=None, headers=()):
        connection = http.client.HTTPConnection(self._address, timeout=SECONDS)
        try:
            connection.request(method, target, body=body, headers=dict(headers))
            answer = connection.getresponse()
            found = [(key.lower(), value) for key, value in answer.getheaders()]
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


class Through:
    """Speaks to the gate of `stack` as `user`, by whatever challenge it is given, as the suite does."""

    def __init__(self, stack, user):
        self._wire = Wire(stack)
        self._login = basic(user, stack.passwords[user])

    def __call__(self, method, target, body=None, headers=()):
        answer = self._wire(method, target, body, headers)
        if answer.status == 401:
            (challenge,) = answer.header("www-authenticate")
            answer = self._wire(method, target, body, {**dict(headers), **self._credentials(challenge)})
        return answer

    def _credentials(self, challenge):
        if challenge.startswith("Basic "):
            return self._login
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        scopes = [f"scope={scope}" for scope in said.get("scope", "").split(" ") if scope]
        query = "&".join([f"service={said['service']}", *scopes])
        answer = self._wire("GET", f"{path_of(said['realm'])}?{query}", headers=self._login)
        assert answer.status == 200, answer
        return bearer(json.loads(answer.body)["token"])


@dataclass
class Outcome:
    """Of one test: whether it passed, and the statuses of its answers."""

    passed: bool = False
    statuses: list = field(default_factory=list)


class Suite:
    """Asks by `ask(method, target, body, headers)` about the repositories `name` and `other`, empty before.

    `outcomes`: what came out, by category and name."""

    def __init__(self, ask, name, other):
        self._ask = ask
        self._name = name
        self._other = other
        self._category = ""
        self.outcomes = {}
        for category in (self.pull, self.push, self.content_discovery, self.content_management):
            self._category = category.__name__
            category()

    @contextlib.contextmanager
    def test(self, name):
        """What follows has this name, in this category. It fails by an assertion, or by what an answer
        lacks."""
        self._current = self.outcomes[f"{self._category}: {name}"] = Outcome()
        try:
            yield
            self._current.passed = True
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError):
            pass

    def ask(self, method, path, body=None, headers=(), name=None):
        """A request below /v2/NAME/; or, when it begins with a slash, for that target."""
        target = path if path.startswith("/") else f"/v2/{name or self._name}/{path}"
        answer = self._ask(method, target, body, headers)
        self._current.statuses.append(answer.status)
        return answer

    def gives(self, status, *request, **options):
        """Sends a request, whose answer must have this status, and returns that."""
        answer = self.ask(*request, **options)
        assert answer.status == status, answer
        return answer

    def upload(self, data, query=""):
        """A blob in two requests."""
        begun = self.gives(202, "POST", "blobs/uploads/", headers={"Content-Length": "0"})
        at = path_of(begun.header("location")[0])
        done = self.gives(201, "PUT", f"{at}{'&' if '?' in at else '?'}digest={digest(data)}", data, BYTES)
        assert done.header("location")

    def put(self, manifest, reference, kind=MANIFEST):
        done = self.gives(201, "PUT", f"manifests/{reference}", manifest, {"Content-Type": kind})
        assert done.header("location")
        return done

    def tags(self, query=""):
        return json.loads(self.gives(200, "GET", f"tags/list{query}").body)["tags"]

    def delete(self, path, *allowed):
        """For a teardown: a registry may also refuse to delete."""
        assert self.ask("DELETE", path).status in {202, 404, 400, 405, *allowed}

    def pull(self):
        self.manifest, config, layer = parts = image.blobs({"pull": b"pull"})
        for number, data in enumerate((config, layer)):
            with self.test(f"Populate registry with test blob [{number}]"):
                self.upload(data)
        with self.test("Populate registry with test manifest"):
            self.put(self.manifest, "pulled")
        self._reads("blob", "blobs", NOBODYS, [("blob URL", digest(layer))], layer)
        some = [("manifest path (digest)", digest(self.manifest)), ("manifest path (tag)", "pulled")]
        self._reads("manifest", "manifests", ".INVALID_MANIFEST_NAME", some, self.manifest)
        with self.test("400 response body should contain OCI-conforming JSON message"):
            answer = self.ask("PUT", "manifests/sha256:totallywrong", b"blah", {"Content-Type": MANIFEST})
            assert answer.status in (400, 404), answer
            assert answer.status == 404 or json.loads(answer.body)["errors"][0]["code"]
        with self.test("Delete manifest created in setup"):
            self.delete(f"manifests/{digest(self.manifest)}")
        for number, data in enumerate(parts[1:]):
            with self.test(f"Delete blob created in setup [{number}]"):
                self.delete(f"blobs/{digest(data)}")

    def _reads(self, what, folder, none, some, content):
        accept = {"Accept": MANIFEST} if what == "manifest" else {}
        for method in ("HEAD", "GET"):
            with self.test(f"{method} nonexistent {what} should return 404"):
                self.gives(404, method, f"{folder}/{none}", headers=accept)
            for title, reference in some:
                with self.test(f"{method} request to {title} should yield 200 response"):
                    answer = self.gives(200, method, f"{folder}/{reference}", headers=accept)
                    assert answer.header("docker-content-digest") == [digest(content)], answer
                    assert method == "HEAD" or answer.body == content, answer

    def push(self):
        manifest, config, layer = image.blobs({"push": b"push"})
        first, second = b"the first chunk, ", b"and the second one"
        whole, streamed = first + second, b"sent as a stream"
        at = None
        stream = "Blob Upload Streamed: "
        with self.test(f"{stream}PATCH request with blob in body should yield 202 response"):
            at = self._begin()
            at = self._goes_on(self.gives(202, "PATCH", at, streamed, BYTES))
        with self.test(f"{stream}PUT request to session URL with digest should yield 201 response"):
            self._ends(at, streamed)
        monolithic = "Blob Upload Monolithic: "
        with self.test(f"{monolithic}GET nonexistent blob should result in 404 response"):
            self.gives(404, "GET", f"blobs/{NOBODYS}")
        status = None
        with self.test(f"{monolithic}POST request with digest and blob should yield a 201 or 202"):
            answer = self.ask("POST", f"blobs/uploads/?digest={digest(config)}", config, BYTES)
            assert answer.status in (201, 202) and answer.header("location"), answer
            status = answer.status
        with self.test(f"{monolithic}GET request to blob URL from prior request should yield 200 or 404"):
            self.gives({201: 200, 202: 404}[status], "GET", f"blobs/{digest(config)}")
        for title, data in (("blob", config), ("layer", layer)):
            with self.test(f"{monolithic}PUT upload of a {title} should yield a 201 Response"):
                self.upload(data)
            with self.test(f"{monolithic}GET request to existing {title} should yield 200 response"):
                assert self.gives(200, "GET", f"blobs/{digest(data)}").body == data
        self._chunks(first, second, whole)
        self._mounts(streamed)
        with self.test("Manifest Upload: GET nonexistent manifest should return 404"):
            self.gives(404, "GET", "manifests/.INVALID_MANIFEST_NAME")
        with self.test("Manifest Upload: PUT should accept a manifest upload"):
            for number in range(4):
                self.put(manifest, f"test{number}")
        empty = json.dumps({**json.loads(manifest), "layers": []}).encode()
        with self.test("Manifest Upload: Registry should accept a manifest upload with no layers"):
            self.put(empty, "emptylayer")
        with self.test("Manifest Upload: GET request to manifest URL (digest) should yield 200 response"):
            answer = self.gives(200, "GET", f"manifests/{digest(manifest)}", headers={"Accept": MANIFEST})
            assert answer.body == manifest, answer
        for data in (manifest, empty):
            with self.test(f"Delete manifest created in tests {digest(data)}"):
                self.delete(f"manifests/{digest(data)}")
        for data in (config, layer, whole, streamed):
            with self.test(f"Delete blob created in tests {digest(data)}"):
                self.delete(f"blobs/{digest(data)}")

    def _begin(self):
        """The target of an upload that has begun."""
        return self._goes_on(self.gives(202, "POST", "blobs/uploads/", headers={"Content-Length": "0"}))

    @staticmethod
    def _goes_on(answer):
        return path_of(answer.header("location")[0])

    def _ends(self, at, data, body=b""):
        done = self.gives(201, "PUT", f"{at}{'&' if '?' in at else '?'}digest={digest(data)}", body, BYTES)
        assert done.header("location")

    def _chunks(self, first, second, whole):
        chunked = "Blob Upload Chunked: "
        ranges = f"0-{len(first) - 1}", f"{len(first)}-{len(whole) - 1}"

        def chunk(at, data, place):
            return self.ask("PATCH", at, data, {**BYTES, "Content-Range": place})

        with self.test(f"{chunked}Out-of-order blob upload should return 416"):
            assert chunk(self._begin(), second, ranges[1]).status == 416
        earlier = later = None
        with self.test(f"{chunked}PATCH request with first chunk should return 202"):
            earlier = self._begin()
            answer = chunk(earlier, first, ranges[0])
            assert answer.status == 202 and answer.header("range") == [ranges[0]], answer
        with self.test(f"{chunked}Retry previous blob chunk should return 416"):
            assert chunk(earlier, first, ranges[0]).status == 416
        with self.test(f"{chunked}Get on stale blob upload should return 204 with a range and location"):
            answer = self.gives(204, "GET", earlier)
            later = self._goes_on(answer)
            assert answer.header("range") == [ranges[0]], answer
        with self.test(f"{chunked}PATCH request with second chunk should return 202"):
            answer = chunk(later, second, ranges[1])
            assert answer.status == 202, answer
            later = self._goes_on(answer)
        with self.test(f"{chunked}PUT request with digest should return 201"):
            self._ends(later, whole)

    def _mounts(self, data):
        mounting = "Cross-Repository Blob Mount: "

        def mount(query):
            nothing = {"Content-Length": "0"}
            return self.ask("POST", f"blobs/uploads/?{query}", headers=nothing, name=self._other)

        with self.test(f"{mounting}Cross-mounting of a blob without the "
                       "from argument should yield session id"):
            answer = mount(f"mount={NOBODYS}")
            assert answer.status == 202 and answer.header("location"), answer
        mounted = None
        with self.test(f"{mounting}POST request to mount another repository's blob should return 201 or 202"):
            mounted = mount(f"mount={digest(data)}&from={self._name}")
            assert mounted.status in (201, 202), mounted
        with self.test(f"{mounting}GET request to test digest within "
                       "cross-mount namespace should return 200"):
            at = self._goes_on(mounted)
            assert mounted.status == 201 and at == f"/v2/{self._other}/blobs/{digest(data)}", mounted
            assert self.gives(200, "GET", at).body == data
        with self.test(f"{mounting}Cross-mounting of nonexistent blob should yield session id"):
            answer = mount(f"mount={NOBODYS}&from={self._name}")
            assert answer.status == 202, answer
            assert self._goes_on(answer).startswith(f"/v2/{self._other}/blobs/uploads/"), answer
        discovery = "automatic content discovery disabled"
        with self.test(f"{mounting}Cross-mounting without from, and {discovery} should return a 202"):
            assert mount(f"mount={digest(data)}").status == 202

    def content_discovery(self):
        manifest, config, layer = image.blobs({"discovery": b"discovery"})
        with self.test("Populate registry with test blob"):
            self.upload(config)
        with self.test("Populate registry with test layer"):
            self.upload(layer)
        with self.test("Populate registry with test tags"):
            for tag in ("test0", "test1", "test2", "test3"):
                self.put(manifest, tag)
        with self.test("GET request to list tags should yield 200 response"):
            assert len(self.tags()) >= 4
        with self.test("GET number of tags should be limitable by `n` query parameter"):
            assert len(self.tags("?n=2")) == 2
        with self.test("GET start of tag is set by `last` query parameter"):
            assert self.tags("?n=2&last=test1")[:1] == ["test2"]
        self._references(manifest)
        with self.test("Delete created manifest & associated tags"):
            self.delete(f"manifests/{digest(manifest)}")
        for data in (config, layer):
            with self.test(f"Delete blob created in tests {digest(data)}"):
                self.delete(f"blobs/{digest(data)}")

    def _references(self, manifest):
        """Not with every registry: what is compared is whether it is the same through the gate."""
        subject = {"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest)}
        kinds = "application/vnd.example.a", "application/vnd.example.b"
        more = [{"artifactType": kind, "subject": subject} for kind in kinds]
        referring = [json.dumps({**json.loads(manifest), **each}).encode() for each in more]
        with self.test("References setup"):
            for each in referring:
                self.put(each, digest(each))
        filtered = f"{digest(manifest)}?artifactType={kinds[0]}"
        for title, target, count in (("nonexistent blob should result in empty 200 response", NOBODYS, 0),
                                     ("existing blob should yield 200", digest(manifest), 2),
                                     ("existing blob with filter should yield 200", filtered, 1)):
            with self.test(f"GET request to {title}"):
                answer = self.gives(200, "GET", f"referrers/{target}")
                assert answer.header("content-type") == [INDEX], answer
                found = len(json.loads(answer.body)["manifests"])
                assert found == count or "?" in target and not answer.header("oci-filters-applied"), answer
        with self.test("References teardown"):
            for each in referring:
                self.delete(f"manifests/{digest(each)}")

    def content_management(self):
        manifest, config, layer = image.blobs({"management": b"management"})
        with self.test("Populate registry with test config blob"):
            self.upload(config)
        with self.test("Populate registry with test layer"):
            self.upload(layer)
        with self.test("Populate registry with test tag"):
            self.put(manifest, "tagtest0")
        with self.test("Check how many tags there are before anything gets deleted"):
            assert "tagtest0" in self.tags()
        disallowed = "unless tag deletion is disallowed (400/405)"
        with self.test(f"DELETE request to manifest tag should return 202, {disallowed}"):
            assert self.ask("DELETE", "manifests/tagtest0").status in (202, 400, 405)
        with self.test("DELETE request to manifest (digest) should yield 202 response "
                       "unless already deleted"):
            assert self.ask("DELETE", f"manifests/{digest(manifest)}").status in (202, 404)
        disallowed = "unless delete is disallowed"
        with self.test(f"GET request to deleted manifest URL should yield 404 response, {disallowed}"):
            self.gives(404, "GET", f"manifests/{digest(manifest)}")
        with self.test("GET request to tags list should reflect manifest deletion"):
            answer = self.ask("GET", "tags/list")
            assert answer.status == 404 or "tagtest0" not in (json.loads(answer.body)["tags"] or []), answer
        for data in (config, layer):
            with self.test(f"DELETE request to blob URL should yield 202 response {digest(data)}"):
                self.gives(202, "DELETE", f"blobs/{digest(data)}")
            with self.test(f"GET request to deleted blob URL should yield 404 response {digest(data)}"):
                self.gives(404, "GET", f"blobs/{digest(data)}")
