"""How long the event loop works at a time, whatever a registry answers and a client asks: `bench/turns`.

One worker, one client, one request after the other, so that a turn of the loop is one callback of the module
and what nginx does around it. Measured is CPU time (`turns.c`), so that a busy machine changes little.
"""

import json
import os
import socket
import socketserver
import subprocess
import threading
import time
from dataclasses import dataclass

from testkit import ports
from testkit.process import Failed

from . import conf, gateway, people

PREFIX = "P"
AIM = 3.0  # milliseconds of CPU: a callback has 1 ms for lists, and nginx reads and sends in the same turn
REQUESTS = 3  # of each case
PATIENCE = 20  # seconds for a request; a longer one is hung up on
GRANTS = 1_000
REPOSITORIES = 100_000  # whose usage is counted
SHOWN = 10_000  # of them
BATCH = 500  # requests that are sent before an answer is read

CONFIGURATION = """\
load_module {module};
{user}worker_processes 1;
daemon off;
{files}env TURNS;
events {{ worker_connections 1024; }}
http {{
    access_log off;
{paths}    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=5s;
    registry_auth_prefix {prefix};
    registry_auth_cache zone=turns:16m ttl=1h;
    registry_auth_usage zone=usage:128m top={shown};
    keepalive_requests 1000000;
    upstream registry {{
        registry_auth_backends;
        server 127.0.0.1:{backend};
    }}
    server {{
        listen 127.0.0.1:{port};
        large_client_header_buffers 4 64k;
        proxy_buffer_size 64k;
        proxy_buffers 8 64k;
        proxy_busy_buffers_size 128k;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Authorization "";
        location / {{
            registry_auth registry;
            proxy_pass http://registry;
        }}
        location = /token {{
            registry_auth registry;
            registry_auth_bearer http://localhost:{port}/token service=registry;
            registry_auth_token;
        }}
        location = /usage {{ registry_auth_status usage; }}
        location /v2/used/ {{
            registry_auth registry;
            proxy_pass http://127.0.0.1:{port}/none/;
        }}
        location /none/ {{ return 204; }}
    }}
}}
"""


@dataclass(frozen=True)
class Case:
    """A request, who sends it, and what the registry answers."""

    name: str
    user: str
    path: str
    answer: bytes


def _answer(body, *lines):
    head = ["HTTP/1.1 200 OK", "Content-Type: application/json", *lines, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def _names(start, count):
    return ",".join(f'"team{number % 7}/{number:07}"' for number in range(start, start + count))


NEXT = 'Link: </v2/_catalog>; rel="next"'
PAGE = f'{{"repositories":[{_names(0, 55_000)}]}}'.encode()
RESULTS = ",".join(f'{{"name":"team/{number:07}","description":""}}' for number in range(20_000))
SCOPES = "&".join(f"scope=repository:team{number}/x/y/z/a/b/c:pull,push" for number in range(64))
CASES = [
    Case("catalogue: pages of 1 MiB without end", "plain", "/v2/_catalog", _answer(PAGE, NEXT)),
    Case("the same for 1,000 grants with several stars", "stars", "/v2/_catalog", _answer(PAGE, NEXT)),
    Case("catalogue: one name of 900 KiB", "plain", "/v2/_catalog",
         _answer(b'{"repositories":["' + b"a" * 900_000 + b'"]}')),
    Case("catalogue: brackets, 900 KiB", "plain", "/v2/_catalog",
         _answer(b'{"repositories":' + b"[" * 900_000)),
    Case("V1 search: results of 1 MiB", "stars", "/v1/search?q=a",
         _answer(f'{{"results":[{RESULTS}]}}'.encode())),
    Case("an answer with 1,000 header lines", "plain", "/v2/plain/app/manifests/1",
         _answer(b"{}", *(f"X-{n}: {n}" for n in range(1_000)))),
    Case("a token for 64 scopes, 1,000 grants with several stars", "stars",
         f"/token?service=registry&{SCOPES}", b""),
    *(Case(f"usage: {SHOWN:,} of {REPOSITORIES:,} repositories, {name}", "plain",
           f"/usage?format={form}", b"")
      for name, form in (("as JSON", "json"), ("for Prometheus", "prometheus"), ("as a page", "html"))),
]


def run(stage, nginx, module):
    """A row for each case; whether every turn keeps the aim."""
    counter = stage.path("turns.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "turns.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", counter, source, "-ldl"], check=True)
    backend = _Backend()
    port, worker_log = _start(stage, nginx, module, counter, backend.port), stage.path("turns.log")
    _use(port)
    met = True
    print(f"{'case':56}{'answer':>8}{'turns > 0.1 ms':>16}{'longest, ms':>13}{'aim':>5}")
    for case in CASES:
        backend.answer = case.answer
        _ask(port, "/v2/", case.user)  # the caches know the user
        open(worker_log, "w", encoding="ascii").close()
        statuses = {_ask(port, case.path, case.user) for _ in range(REQUESTS)}
        with open(worker_log, encoding="ascii") as file:
            turns = sorted(float(line) for line in file)
        longest = turns[-1] if turns else 0.0
        met &= longest <= AIM
        said = ",".join(map(str, sorted(statuses)))
        print(f"{case.name:56}{said:>8}{len(turns):>16}{longest:>13.2f}{AIM:>5.0f}", flush=True)
    return met


def _use(port):
    """A user pulls from each of many repositories, all of which are counted by then."""
    head = f"Host: localhost\r\nAuthorization: {people.authorization('plain')}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
        for start in range(0, REPOSITORIES, BATCH):
            lines = (f"GET /v2/used/{number:06}/manifests/1 HTTP/1.1\r\n{head}"
                     for number in range(start, start + BATCH))
            connection.sendall("".join(lines).encode())
            for _ in range(BATCH):
                status = reader.readline()
                while reader.readline() not in (b"\r\n", b""):
                    pass
                if b" 204 " not in status:
                    raise Failed(f"a repository is not used: {status.decode().strip()}")
    for _ in range(PATIENCE):
        if _counted(port) >= REPOSITORIES:
            return
        time.sleep(1)
    raise Failed("not all of what is used is counted")


def _counted(port):
    """Requests that the page of what is used has counted."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
        connection.sendall(b"GET /usage?format=json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return json.loads(reader.read().partition(b"\r\n\r\n")[2])["total"]["requests"]


class _Backend:
    """A registry that gives every request the same answer, and pages without end."""

    def __init__(self):
        self.answer = b""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                try:
                    self.wfile.write(outer.answer.replace(b"HTTP/1.1 200 OK",
                                                          b"HTTP/1.1 200 OK\r\nConnection: close", 1))
                except OSError:
                    pass

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()


def _start(stage, nginx, module, counter, backend):
    redis, port = stage.redis("redis"), ports.free()
    stars = [word for n in range(GRANTS) for word in (f"grant:team*{n}/**/x*y{n}/**/z*", "pull")]
    for user, grants in (("plain", ["grant:**", "pull"]), ("stars", stars)):
        redis.command("HSET", f"{PREFIX}:user:{user}", "password", people.sha(people.password_of(user)),
                      *grants)
    text = conf.fill(CONFIGURATION, stage.path("gate"), "notice", module=module, redis=redis.port,
                     prefix=PREFIX,
                     backend=backend, port=port, shown=SHOWN)
    before = ["env", f"LD_PRELOAD={counter}", f"TURNS={stage.path('turns.log')}"]
    gateway.start(stage, nginx, "gate", text, port, {stage.nginx_cpu}, before)
    return port


def _ask(port, path, user):
    """The answer's status; 0 where there is none in time."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE)
        head = (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Authorization: {people.authorization(user)}\r\n\r\n")
        connection.sendall(head.encode())
        try:
            with connection.makefile("rb") as reader:
                status = reader.readline().split(b" ")
                while reader.read(65_536):
                    pass
        except TimeoutError:
            return 0
        return int(status[1]) if len(status) > 1 else 0
