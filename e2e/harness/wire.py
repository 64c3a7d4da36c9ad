"""Requests as one writes them oneself, for what no client would send. Each on a connection of its own."""

import base64
import hashlib
import http.client
import json
import ssl
from dataclasses import dataclass

from . import image

SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` keeps duplicates: a list of (lower-case name, value)."""

    status: int
    headers: list
    body: bytes

    def header(self, name):
        """All values of a header."""
        return [value for key, value in self.headers if key == name.lower()]

    def error(self):
        """(code, message) of the first OCI error; raises when the body is none."""
        first = json.loads(self.body)["errors"][0]
        return first["code"], first["message"]


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Wire:
    """Speaks to the nginx of `stack` as `user` (None: without credentials), with TLS unless `plain`.

    `port`: another one of its TLS ports."""

    def __init__(self, stack, user=None, plain=False, password=None, port=None):
        self._stack = stack
        self._port = port
        self._plain = plain
        self._credentials = basic(user, password or stack.passwords[user]) if user else {}

    def connection(self, seconds=SECONDS):
        nginx = self._stack.nginx
        if self._plain:
            return http.client.HTTPConnection("127.0.0.1", nginx.plain_port, timeout=seconds)
        trust = ssl.create_default_context(cafile=self._stack.certificates / "ca.crt")
        return http.client.HTTPSConnection("localhost", self._port or nginx.port, timeout=seconds,
                                           context=trust)

    def send(self, connection, method, target, body=None, headers=()):
        """Sends one request on `connection` and reads its answer."""
        connection.request(method, target, body=body, headers={**self._credentials, **dict(headers)})
        answer = connection.getresponse()
        found = [(key.lower(), value) for key, value in answer.getheaders()]
        return Answer(answer.status, found, answer.read())

    def __call__(self, method, target, body=None, headers=(), seconds=SECONDS):
        connection = self.connection(seconds)
        try:
            return self.send(connection, method, target, body, headers)
        finally:
            connection.close()

    def token(self, scope):
        """A token for `scope` from the token endpoint; raises AssertionError when there is none to be had."""
        answer = self("GET", f"/token?service=registry&scope={scope}")
        assert answer.status == 200, answer
        return json.loads(answer.body)["token"]

    def with_token(self, scope):
        """The same that sends a token for `scope` instead of the password, and always this one."""
        other = Wire(self._stack, plain=self._plain)
        other._credentials = bearer(self.token(scope))
        return other

    def start_upload(self, repository, query=""):
        return self("POST", f"/v2/{repository}/blobs/uploads/{query}", headers={"Content-Length": "0"})

    def finish_upload(self, location, data):
        """The PUT that ends the upload at `location` (as the registry gave it), with all its bytes."""
        target = path_of(location)
        joint = "&" if "?" in target else "?"
        return self("PUT", f"{target}{joint}digest={digest(data)}", body=data,
                    headers={"Content-Type": "application/octet-stream"})

    def push_blob(self, repository, data):
        """Uploads a blob and returns its digest; raises AssertionError when the registry does not take it."""
        started = self.start_upload(repository)
        assert started.status == 202, started
        finished = self.finish_upload(started.header("location")[0], data)
        assert finished.status == 201, finished
        return digest(data)

    def push_image(self, repository, files, tag="latest"):
        """Pushes an image of one layer; raises AssertionError when the registry does not take it."""
        manifest, *blobs = image.blobs(files)
        for blob in blobs:
            self.push_blob(repository, blob)
        kind = {"Content-Type": json.loads(manifest)["mediaType"]}
        put = self("PUT", f"/v2/{repository}/manifests/{tag}", body=manifest, headers=kind)
        assert put.status == 201, put


def path_of(location):
    """A Location without scheme and host."""
    return "/" + location.split("://", 1)[-1].split("/", 1)[1]
