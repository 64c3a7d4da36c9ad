"""What a worker takes in memory after so many users have asked: `bench/memory`.

Each user asks a few times, over connections that go through all of them in turn, so that no cache is spared.
Counted is what is the worker's own (RssAnon and RssFile of /proc); the zone, which the workers share, is
shown beside it.
"""

import json
import socket
from dataclasses import dataclass

from testkit import ports
from testkit.process import Failed

from . import conf, gateway, people

PREFIX = "P"
CONNECTIONS = 32
ROUNDS = 3  # from Redis, from the zone or Redis, and once more

CONFIGURATION = """\
load_module {module};
{user}worker_processes 1;
daemon off;
{files}events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
{paths}    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=5s;
    registry_auth_prefix {prefix};
    registry_auth_cache zone=memory:64m ttl=1h;
{usage}    upstream registry {{
        registry_auth_backends;
        server 127.0.0.1:{backend};
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Authorization "";
        location /v2/ {{
            registry_auth registry;
            proxy_pass http://registry;
        }}
{page}    }}
}}
"""
USAGE = "    registry_auth_usage zone=usage:{size}m;\n"
PAGE = "        location = /usage { registry_auth_status usage; }\n"
FORMS = ("json", "prometheus", "html")


@dataclass(frozen=True)
class Kind:
    """Users of one size, and the most MB that a worker may take after so many of them. `usage` is the MB of
    the zone in which it is counted what they use, where it is: a thousand repositories, whose names and
    theirs are then shown as often as they have asked."""

    name: str
    grants: int
    groups: int
    group_grants: int
    aims: dict
    usage: int = 0


# A large group is a megabyte with a hundred users' own copies of it.
KINDS = [
    Kind("small: a grant, a group", 1, 1, 1, {10_000: 40, 100_000: 60}),
    Kind("small, with registry_auth_usage", 1, 1, 1, {10_000: 40, 100_000: 60}, usage=1),
    Kind("large: 100 grants, 3 groups of 50", 100, 3, 50, {10_000: 40, 100_000: 60}),
]
# As many as are shown by default, and as many users.
REPOSITORIES = 1_000
GROUPS = 200


def _redis(stage, kind, users, backend, name):
    """A redis-server with users of one kind."""
    redis = stage.redis(name)
    for start in range(0, GROUPS + users, 500):
        redis.commands([_record(kind, number, backend)
                        for number in range(start, min(start + 500, GROUPS + users))])
    return redis


def _record(kind, number, backend):
    if number < GROUPS:
        grants = [word for n in range(kind.group_grants)
                  for word in (f"grant:group{number}/project{n}/**", "pull")]
        return ["HSET", f"{PREFIX}:group:group{number}", *grants]
    user = people.user(number - GROUPS)
    grants = [word for n in range(kind.grants) for word in (f"grant:team{n}/{user}/*", "pull,push")]
    groups = " ".join(f"group{(number + n) % GROUPS}" for n in range(kind.groups))
    stored = people.sha(people.password_of(user))
    return ["HSET", f"{PREFIX}:user:{user}", "password", stored, "groups", groups, "backends",
            f"127.0.0.1:{backend}", *grants]


def run(stage, nginx, module, sizes):
    """A row for each kind and number of users; whether all aims are met."""
    backend = gateway.start_backend(stage, nginx)
    print(f"{'users':36}{'number':>9}{'MB at first':>13}{'MB own':>9}"
          f"{'of heap':>9}{'with zone':>11}{'aim':>6}")
    met = True
    for kind in KINDS:
        for users in sizes:
            first, own, heap, everything = _measure(stage, nginx, module, kind, users, backend)
            aim = kind.aims.get(users)
            met &= aim is None or own <= aim
            print(f"{kind.name:36}{users:>9,}{first:>13.1f}{own:>9.1f}"
                  f"{heap:>9.1f}{everything:>11.1f}{aim or '':>6}", flush=True)
    return met


def _measure(stage, nginx, module, kind, users, backend):
    name = f"memory-{kind.grants}-{kind.usage}-{users}"
    redis = _redis(stage, kind, users, backend, f"{name}-redis")
    port = ports.free()
    text = conf.fill(CONFIGURATION, stage.path(name), "notice", module=module, redis=redis.port,
                     prefix=PREFIX, backend=backend, port=port,
                     usage=USAGE.format(size=kind.usage) if kind.usage else "",
                     page=PAGE if kind.usage else "")
    server = gateway.start(stage, nginx, name, text, port, {stage.nginx_cpu})
    try:
        (worker,) = server.children()
        _ask(port, 1, _repository(kind))
        first, _, _ = _resident(worker)
        most = (0, 0, 0)
        for _ in range(ROUNDS):
            _ask(port, users, _repository(kind))
            if kind.usage:
                _show_usage(port)
            most = max(most, _resident(worker))
        if kind.usage:
            _check_usage(port, 1 + ROUNDS * users)
    finally:
        stage.stop(server)
        stage.stop(redis)
    return first, *most


def _repository(kind):
    """By a user's number, which repository they ask for; a thousand, where what is used is counted."""
    if not kind.usage:
        return lambda number: f"{people.user(number)}/app"
    # What a grant of their first group leads to.
    of_group = REPOSITORIES // GROUPS
    return lambda number: f"group{number % GROUPS}/project0/{number // GROUPS % of_group}"


def _page(port, form):
    """The page of what is used, in a form."""
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
        request = f"GET /usage?format={form} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        head, _, body = reader.read().partition(b"\r\n\r\n")
    if b" 200 " not in head:
        raise Failed(f"/usage: {head.decode()}")
    return body


def _show_usage(port):
    for form in FORMS:
        _page(port, form)


def _check_usage(port, requests):
    """The total is exact, and so is each repository, however many users have passed through the zone."""
    page = json.loads(_page(port, "json"))
    repositories = page["repositories"]
    counted = (page["total"]["requests"], sum(row["requests"] for row in repositories))
    if counted != (requests, requests) or len(page["users"]) != REPOSITORIES:
        raise Failed(f"usage: {counted} requests, {len(page['users'])} users; {requests} requests were sent")


def _ask(port, users, repository):
    """Every user asks once; each is let in."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    readers = [connection.makefile("rb") for connection in connections]
    for start in range(0, users, CONNECTIONS):
        numbers = range(start, min(start + CONNECTIONS, users))
        names = [people.user(number) for number in numbers]
        for name, number, connection in zip(names, numbers, connections):
            line = (f"GET /v2/{repository(number)}/manifests/latest HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: {people.authorization(name)}\r\n\r\n")
            connection.sendall(line.encode())
        for name, reader in zip(names, readers):
            status = reader.readline()
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            reader.read(length)
            if b" 200 " not in status:
                raise Failed(f"{name}: {status.decode().strip()}")
    for reader, connection in zip(readers, connections):
        reader.close()
        connection.close()


def _resident(pid):
    """MB of a process: its own, of that its heap and stacks, and all with what it shares."""
    sizes = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssFile", "RssShmem"):
                sizes[name] = int(value.split()[0]) / 1024
    own = sizes["RssAnon"] + sizes["RssFile"]
    return own, sizes["RssAnon"], own + sizes["RssShmem"]
