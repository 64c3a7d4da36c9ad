"""A registry that speaks the V1 protocol, as small as tests allow: it keeps what it is given and notes
requests.

It answers as docker-registry 0.9 does in standalone mode, and asks nobody for a password. As anybody's
backend may, it can lead its clients away."""

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request as it reached the backend."""

    method: str
    path: str
    headers: dict = field(repr=False)


def _whole(rest):
    """What follows /v1/repositories/, with the namespace that docker-registry reads into a name without
    one."""
    segments = rest.split("/")
    is_short = len(segments) == 2 or segments[1] == "tags"
    return f"library/{rest}" if is_short else rest


class V1Registry:
    """Listens on a port of its own from the start. `seen` holds the requests in order of arrival.

    `endpoints`: what X-Docker-Endpoints names; None is the host that the client has asked for, as
    docker-registry does. `redirect`: a function of method and path, which gives a URL for what is to be asked
    for there, else None. `certificates`: a folder with certificate.pem and key.pem, to speak TLS."""

    def __init__(self, endpoints=None, redirect=lambda method, path: None, certificates=None):
        self.endpoints = endpoints
        self.redirect = redirect
        self.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "certificate.pem", certificates / "key.pem")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def clear(self):
        """Forgets all that came."""
        self.seen = []
        self.kept = {}

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def arrived(self):
        """(method, path) of all that came."""
        return [(seen.method, seen.path) for seen in self.seen]

    def secrets(self):
        """The credentials that came with requests."""
        return [seen.headers["authorization"] for seen in self.seen if "authorization" in seen.headers]

    def answer(self, method, path, headers, body):
        """(status, headers, body)"""
        elsewhere = self.redirect(method, path)
        if elsewhere:
            return 307, {"Location": elsewhere}, b""
        if path.endswith("/_ping"):
            about = {"X-Docker-Registry-Version": "0.9.1", "X-Docker-Registry-Standalone": "True"}
            return 200, about, b"true"
        if path in ("/v1/users", "/v1/users/"):
            return (201, {}, b'"User Created"') if method == "POST" else (200, {}, b'"OK"')
        if path.startswith("/v1/repositories/"):
            return self._repository(method, path, headers, body)
        if method == "PUT":
            self.kept[path] = body
            return 200, {}, b"true"
        if path.endswith("/ancestry"):
            return self._ancestry(path.split("/")[3])
        return self._found(path)

    def _repository(self, method, path, headers, body):
        index = {"X-Docker-Token": "Token signature=abc", "WWW-Authenticate": "Token signature=abc",
                 "X-Docker-Endpoints": self.endpoints or headers["host"]}
        rest = path[len("/v1/repositories/"):]
        path = "/v1/repositories/" + _whole(rest)
        name, _, word = path.rpartition("/")
        if word in ("", "images"):
            if method == "PUT":
                before = json.loads(self.kept.get(f"{name}/images", b"[]"))
                self.kept[f"{name}/images"] = json.dumps(json.loads(body) + before).encode()
                return (204 if word else 200), index, b"" if word else b'""'
            if method == "DELETE":
                self.kept = {key: value for key, value in self.kept.items() if not key.startswith(f"{name}/")}
                return 200, {}, b"true"
            status, _, found = self._found(path)
            return status, index if status == 200 else {}, found
        if method == "PUT":
            self.kept[path] = body
            return 200, {}, b"true"
        if word == "tags":
            tags = {key.rsplit("/", 1)[1]: json.loads(value)
                    for key, value in self.kept.items() if key.startswith(path + "/")}
            return 200, {}, json.dumps(tags).encode()
        return self._found(path)

    def _ancestry(self, image):
        line = []
        while image:
            about = self.kept.get(f"/v1/images/{image}/json")
            if about is None:
                return 404, {}, b'{"error": "Image not found"}'
            line.append(image)
            image = json.loads(about).get("parent")
        return 200, {}, json.dumps(line).encode()

    def _found(self, path):
        if path in self.kept:
            return 200, {}, self.kept[path]
        return 404, {}, b'{"error": "not found"}'

    def _handler(self):
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self):
                body = self._body()
                headers = {key.lower(): value for key, value in self.headers.items()}
                backend.seen.append(Seen(self.command, self.path, headers))
                status, headers, text = backend.answer(self.command, self.path, headers, body)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Type", "application/json")
                if status != 204:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def _body(self):
                """The body, chunked or counted."""
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

            def log_message(self, *_):
                """The test's output is not ours."""

        return Handler
