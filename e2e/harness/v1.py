"""A registry that speaks the V1 protocol, as small as tests allow: it keeps what it is given and notes each request."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request as it reached the backend."""

    method: str
    path: str
    headers: dict = field(repr=False)


class V1Registry:
    """Listens on a port of its own from the start. `seen` holds the requests in order of arrival."""

    def __init__(self):
        self.seen = []
        self.kept = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method, path, body):
        """(status, headers, body) as docker-registry 0.9 gives them in standalone mode."""
        if path.endswith("/_ping"):
            return 200, {"X-Docker-Registry-Version": "0.9.1", "X-Docker-Registry-Standalone": "True"}, b"{}"
        if path in ("/v1/users", "/v1/users/"):
            return 200, {}, b'"OK"'
        if method == "PUT":
            self.kept[path] = body
            if path.endswith("/"):
                return 200, {"X-Docker-Token": "signature=abc", "X-Docker-Endpoints": "registry.test"}, b'""'
            return (204, {}, b"") if path.endswith("/images") else (200, {}, b"true")
        if method == "DELETE":
            self.kept = {key: value for key, value in self.kept.items() if not key.startswith(path)}
            return 200, {}, b"true"
        if path.endswith("/tags"):
            tags = {key.rsplit("/", 1)[1]: json.loads(value)
                    for key, value in self.kept.items() if key.startswith(path + "/")}
            return 200, {}, json.dumps(tags).encode()
        if path.endswith("/ancestry"):
            return 200, {}, json.dumps([path.split("/")[3]]).encode()
        if path in self.kept:
            return 200, {}, self.kept[path]
        return 404, {}, b'{"error": "not found"}'

    def _handler(self):
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self):
                body = self._body()
                backend.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                status, headers, text = backend.answer(self.command, self.path, body)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Type", "application/json")
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
