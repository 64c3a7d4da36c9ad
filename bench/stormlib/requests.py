"""What the clients ask: requests of every kind that the module treats differently."""

import base64
from dataclasses import dataclass, field
from urllib.parse import urlencode

from benchlib import people


@dataclass
class Request:
    method: str
    path: str
    headers: dict = field(default_factory=dict)
    body: bytes = b""


class Requests:
    """Random ones, and those whose answers are known."""

    def __init__(self, gate, chance):
        self._gate, self._chance = gate, chance

    def right(self):
        """Requests with the status of their answers."""
        alice = {"authorization": people.authorization("alice")}
        yield Request("GET", "/v2/", alice), 200
        yield Request("GET", "/v2/alice/app/manifests/latest", alice), 200
        yield Request("GET", "/v2/alice/app/manifests/latest",
                      {"authorization": people.authorization("alice", "wrong")}), 401
        yield Request("GET", "/v2/bob/app/manifests/latest", alice), 403
        yield Request("PUT", "/v2/alice/app/manifests/latest", alice, b"x" * 100_000), 201
        yield Request("GET", "/v2/_catalog?n=20", alice), 200
        yield self._form("alice", people.password_of("alice")), 200
        yield Request("GET", "/token?service=registry&scope=repository:alice/app:pull", alice), 200
        yield Request("GET", "/status?format=json"), 200

    def any(self):
        """One of any kind."""
        chance = self._chance
        name = chance.choice(["alice", "alice", "bob", "slow", f"user{chance.randrange(500)}", "nobody",
                              "member"])
        password = None if chance.random() < 0.8 else f"wrong{chance.randrange(9)}"
        headers = {} if chance.random() < 0.1 else {"authorization": people.authorization(name, password)}
        repository = chance.choice([f"{name}/app", "shared/app00", "public/app", "bob/app"])
        kind = chance.randrange(10)
        if kind < 3:
            return Request(chance.choice(["GET", "HEAD"]), f"/v2/{repository}/manifests/latest", headers)
        if kind < 5:
            method = chance.choice(["PUT", "PATCH", "POST"])
            mounts = method == "POST" and chance.random() < 0.5
            query = "?mount=sha256:" + "0" * 64 + "&from=bob/app" if mounts else ""
            return Request(method, f"/v2/{repository}/blobs/uploads/{query}", headers,
                           b"x" * chance.randrange(200_000))
        if kind == 5:
            return Request("GET", f"/v2/_catalog?n={chance.choice([1, 5, 20, 100])}", headers)
        if kind == 6:
            return self._form(name, password or people.password_of(name))
        if kind == 7:
            scope = urlencode({"service": "registry", "scope": f"repository:{repository}:pull,push"})
            return Request("GET", f"/token?{scope}", headers)
        if kind == 8:
            return Request("GET", chance.choice(["/moved/v2/", "/mirrored/v2/alice/app/tags/list",
                                                 "/limited/v2/", "/status?format=json"]), headers)
        junk = base64.b64encode(chance.randbytes(chance.randrange(2_000))).decode()
        return Request("GET", f"/v2/{repository}/tags/list",
                       {"authorization": chance.choice(["Basic ", "Bearer ", "Negotiate "]) + junk})

    def _form(self, name, password):
        form = {"grant_type": "password", "service": "registry", "client_id": "storm", "username": name,
                "password": password,
                "access_type": "offline", "scope": f"repository:{name}/app:pull"}
        return Request("POST", "/token", {"content-type": "application/x-www-form-urlencoded"},
                       urlencode(form).encode())
