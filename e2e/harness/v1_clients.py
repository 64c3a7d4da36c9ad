"""Dockers that speak V1 (1.4 to 1.7), by the requests they send, after what docker's registry/ and graph/ do.

None of them runs on a machine of today. What matters of them to a gate, and so is kept to here:

- The pings and the first request of a login carry no credentials; each request after them does, to any host.
- A /v2/ that is there makes them speak V2 for good: 1.5 takes any 401 for one, later ones want its header.
- `X-Docker-Endpoints` names the hosts of all further requests of a push or pull.
- A redirect of a GET is followed without the password, one of an index's PUT with it.
- No connection is used twice.
"""

import base64
import hashlib
import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import Callable, Iterable, Optional

VERSIONS = ((1, 4), (1, 5), (1, 6), (1, 7))
JSON = {"Content-Type": "application/json"}
TOKEN = {"X-Docker-Token": "true"}
SECONDS = 120
_PIECE = 64 * 1024
_REDIRECTS = 10


class Refused(Exception):
    """docker gave up; the text is what it prints. `status` is that of the last answer."""

    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


class SpeaksV2(Exception):
    """docker found a V2 registry there, and will never ask for V1."""


@dataclass(frozen=True)
class Asked:
    """One request. `user`: whose password went with it, "" for docker's empty credentials, None for none."""

    origin: str
    method: str
    path: str
    user: Optional[str]


@dataclass(frozen=True)
class Image:
    """What V1 calls an image: one layer, and a JSON with its name and its parent's.

    Each call of `content` yields the layer anew."""

    name: str
    json: bytes
    content: Callable[[], Iterable[bytes]]
    parent: Optional["Image"] = None

    def line(self):
        """The image and all below it, the lowest first: the order of a push."""
        return [*(self.parent.line() if self.parent else ()), self]

    def pulled(self):
        """What a pull must find: this image, then its parents."""
        return [Pulled(each.name, each.json, *_measure(each.content())) for each in reversed(self.line())]


@dataclass(frozen=True)
class Pulled:
    """An image as it came. Two are equal when their layers are, bit by bit."""

    name: str
    json: bytes
    size: int
    sha256: str


def image(seed, content, parent=None):
    """An image whose layer is `content`: bytes, or a function that yields them piece by piece.

    Its name is made from `seed`, a text."""
    name = hashlib.sha256(seed.encode()).hexdigest()
    about = {"id": name, "created": "2015-02-10T12:00:00Z", "os": "linux", "architecture": "amd64"}
    if parent:
        about["parent"] = parent.name
    pieces = content if callable(content) else lambda: (content,)
    return Image(name, json.dumps(about).encode(), pieces, parent)


def _measure(pieces):
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest()


class _Payload:
    """Passes a layer on, and knows afterwards what docker calls the payload's checksum."""

    def __init__(self, each):
        self._pieces = each.content()
        self._digest = hashlib.sha256(each.json + b"\n")

    def __iter__(self):
        for piece in self._pieces:
            self._digest.update(piece)
            yield piece

    def checksum(self):
        return "sha256:" + self._digest.hexdigest()


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def text(self):
        return self.body.decode(errors="replace")

    def wanted(self, statuses, complaint):
        """Itself, if the status is one of `statuses`; else docker's `complaint`, with the answer's words."""
        if self.status not in statuses:
            raise Refused(f"{complaint} (status {self.status}): {self.text()}", self.status)
        return self


class Docker:
    """A docker of `version` for the registry at `address` ("host:port"); `certificates` is its CA's folder.

    Without `user` nobody has logged in. `asked` notes the requests in their order."""

    def __init__(self, version, address, certificates, user=None, password=None):
        assert version in VERSIONS, version
        self.version = version
        self.origin = f"https://{address}"
        self.asked = []
        self._user, self._password = user or "", password or ""
        self._trust = ssl.create_default_context(cafile=certificates / "ca.crt")
        # Whether each request gets credentials: the ping's answer says so.
        self._always = False

    # --- the verbs ---

    def login(self):
        """Returns what docker prints of a success."""
        self._find_endpoint()
        account = {"username": self._user, "password": self._password, "auth": "", "email": "a@example.test"}
        body, kind = json.dumps(account).encode(), {"Content-Type": "application/json; charset=utf-8"}
        asked = self._ask(self.origin, "POST", "/v1/users/", body, kind, credentials=None)
        if asked.status == 201:
            return "Account created."
        if asked.body != b'"Username or email already exists"':
            asked.wanted((401,), "Unexpected status code")
        checked = self._ask(self.origin, "GET", "/v1/users/", credentials=True)
        if checked.status == 401:
            raise Refused("Wrong login/password, please try again", 401)
        checked.wanted((200,), "Login")
        return "Login Succeeded"

    def push(self, repository, tags):
        """Pushes `tags` (tag: Image) with all images below them."""
        self._start_session()
        images = [each for tagged in tags.values() for each in tagged.line()]
        images = list({each.name: each for each in images}.values())
        names = {each.name: [tag for tag in tags if tags[tag].name == each.name] for each in images}
        index = [{"id": name, "Tag": tag} for name, its in names.items() for tag in its or [""]]
        answer = self._put_index(f"/v1/repositories/{repository}/", index)
        answer.wanted((200, 201), f"Error trying to push repository {repository}")
        if self.version < (1, 7) and not answer.headers["X-Docker-Token"]:
            raise Refused("Index response didn't contain an access token", answer.status)
        origins = _endpoints(answer)
        if not origins:
            raise Refused("Index response didn't contain any endpoints", answer.status)
        for origin in origins:
            self._push_images(origin, repository, images, names)
        answer = self._put_index(f"/v1/repositories/{repository}/images", [],
                                 {"X-Docker-Endpoints": ",".join(f"{origin}/v1/" for origin in origins)})
        answer.wanted((204,), f"Error trying to push checksums {repository}")

    def pull(self, repository, tag=None):
        """Pulls `tag`, or all of them; returns {tag: [Pulled, ...]}: the image itself, then its parents."""
        self._start_session()
        answer = self._ask(self.origin, "GET", f"/v1/repositories/{repository}/images", headers=TOKEN,
                           credentials=bool(self._user))
        answer.wanted((200,), "Authentication is required" if answer.status == 401 else "HTTP error")
        json.loads(answer.body)
        origins = _endpoints(answer) or [self.origin]
        here = {}
        return {name: self._pull_image(origins, identity, here)
                for name, identity in self._tags(origins, repository, tag).items()}

    def search(self, words):
        """The names of the results."""
        self._start_session()
        path = f"/v1/search?q={urllib.parse.quote_plus(words)}"
        answer = self._ask(self.origin, "GET", path, headers=TOKEN, credentials=bool(self._user))
        answer.wanted((200,), "Unexpected status code")
        return [result["name"] for result in json.loads(answer.body)["results"]]

    # --- what they are made of ---

    def _find_endpoint(self):
        if self.version >= (1, 5):
            ping = self._ask(self.origin, "GET", "/v2/", credentials=None)
            named = "registry/2.0" in ping.headers.get("Docker-Distribution-Api-Version", "").split()
            if ping.status in (200, 401) and (named or self.version < (1, 6)):
                raise SpeaksV2()
        self._ping()

    def _start_session(self):
        """Pings twice: once for the address, once for the session."""
        self._find_endpoint()
        self._ping()

    def _ping(self):
        """Whatever the status. What calls itself standalone, or nothing, gets Basic with each request."""
        answer = self._ask(self.origin, "GET", "/v1/_ping", credentials=None)
        said = answer.headers.get("X-Docker-Registry-Standalone", "true")
        self._always = said == "1" or said.lower() == "true"

    def _put_index(self, path, index, headers=()):
        body, origin = json.dumps(index).encode(), self.origin
        for _ in range(_REDIRECTS):
            answer = self._ask(origin, "PUT", path, body, {**JSON, **TOKEN, **dict(headers)}, True)
            if not 300 <= answer.status < 400:
                return answer
            origin, path = _target(answer, origin)
        raise Refused("stopped after redirects", answer.status)

    def _push_images(self, origin, repository, images, names):
        there = {each.name for each in images
                 if self._ask(origin, "GET", f"/v1/images/{each.name}/json").status == 200}
        for each in images:
            if each.name not in there:
                self._push_image(origin, each)
            for tag in names[each.name]:
                body = json.dumps(each.name).encode()
                answer = self._ask(origin, "PUT", f"/v1/repositories/{repository}/tags/{tag}", body, JSON)
                answer.wanted((200, 201), f"Error trying to push tag {tag} on {repository}")

    def _push_image(self, origin, each):
        path = f"/v1/images/{each.name}"
        answer = self._ask(origin, "PUT", f"{path}/json", each.json, JSON)
        if b"Image already exists" in answer.body:
            return
        answer.wanted((200,), "HTTP error while uploading metadata")
        payload = _Payload(each)
        # An iterable: sent in chunks, without a length.
        kind = {"Content-Type": "application/octet-stream"}
        answer = self._ask(origin, "PUT", f"{path}/layer", iter(payload), kind)
        answer.wanted((200,), "HTTP error while uploading layer")
        checksums = {"X-Docker-Checksum": "tarsum+sha256:" + "0" * 64,
                     "X-Docker-Checksum-Payload": payload.checksum()}
        answer = self._ask(origin, "PUT", f"{path}/checksum", b"", checksums)
        answer.wanted((200,), "HTTP error while uploading metadata")

    def _tags(self, origins, repository, tag):
        """{tag: name of its image}, from the first host that has an answer."""
        path = f"/v1/repositories/{repository if '/' in repository else f'library/{repository}'}/tags"
        single = tag is not None and self.version >= (1, 7)
        for origin in origins:
            answer = self._ask(origin, "GET", f"{path}/{tag}" if single else path)
            if answer.status == 404:
                raise Refused("Repository not found", 404)
            if answer.status == 200:
                said = json.loads(answer.body)
                found = {tag: said} if single else said
                if tag not in (None, *found):
                    raise Refused(f"Tag {tag} not found in repository {repository}", answer.status)
                return {name: found[name] for name in found if tag in (None, name)}
        raise Refused("Could not reach any registry endpoint", answer.status)

    def _pull_image(self, origins, name, here):
        """`here` holds the images that need not be asked for again."""
        for origin in origins:
            answer = self._ask(origin, "GET", f"/v1/images/{name}/ancestry")
            if answer.status == 200:
                line = json.loads(answer.body)
                for each in reversed(line):
                    if each not in here:
                        here[each] = self._pull_layer(origin, each)
                return [here[each] for each in line]
        return answer.wanted((200,), f"Server error trying to fetch remote history for {name}")

    def _pull_layer(self, origin, name):
        about = self._ask(origin, "GET", f"/v1/images/{name}/json").wanted((200,), "HTTP error")
        measured = []
        layer = self._ask(origin, "GET", f"/v1/images/{name}/layer",
                          sink=lambda pieces: measured.extend(_measure(pieces)))
        layer.wanted((200,), f"Server error while fetching image layer ({name})")
        return Pulled(name, about.body, *measured)

    # --- one request ---

    def _ask(self, origin, method, path, body=None, headers=(), credentials=False, sink=None):
        """`credentials`: True, the login's; False, what the session sends with each request; None, none.

        `sink` takes the pieces of the body of a 200, which may be of any size."""
        sends = bool(credentials) or (credentials is False and self._always)
        for _ in range(_REDIRECTS):
            answer = self._send(origin, method, path, body, dict(headers), sends, sink)
            if method != "GET" or answer.status not in (301, 302, 303, 307):
                return answer
            origin, path = _target(answer, origin)
            sends = False
        raise Refused("stopped after redirects", answer.status)

    def _send(self, origin, method, path, body, headers, sends, sink):
        if sends:
            both = f"{self._user}:{self._password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(both).decode()
        headers["User-Agent"] = "docker/{}.{}.0 go/go1.4.1 os/linux arch/amd64".format(*self.version)
        self.asked.append(Asked(origin, method, path, self._user if sends else None))
        connection = self._connection(origin)
        try:
            try:
                connection.request(method, path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass    # it did not want all of the body; its answer may be there all the same
            answer = connection.getresponse()
            if sink and answer.status == 200:
                sink(iter(lambda: answer.read(_PIECE), b""))
            return _Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def _connection(self, origin):
        scheme, host = origin.split("://")
        if scheme == "http":
            return http.client.HTTPConnection(host, timeout=SECONDS)
        return http.client.HTTPSConnection(host, timeout=SECONDS, context=self._trust)


def _target(answer, origin):
    """(origin, path with its query) of a redirect."""
    parts = urllib.parse.urlsplit(urllib.parse.urljoin(origin, answer.headers["Location"]))
    return f"{parts.scheme}://{parts.netloc}", parts._replace(scheme="", netloc="").geturl()


def _endpoints(answer):
    """The origins that X-Docker-Endpoints means: hosts, in one line or several, with the index's scheme."""
    lines = answer.headers.get_all("X-Docker-Endpoints") or []
    return [f"https://{host.strip()}" for line in lines for host in line.split(",")]
