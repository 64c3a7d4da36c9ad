"""The requests of each stream, as stream.lua and client.py read them.

One line a request: method, path, Authorization, bytes of body; separated by tabs.
"""

from . import people

EVERYONE = 10_000
BLOB_BYTES = 4 << 20
# Tokens are for the users of one prefix: that of the scenario with these requests.
BEARER_PREFIX = "cached_bearer"
DIGEST = "sha256:" + "5d" * 32


def lines(stream):
    return list(_STREAMS[stream]())


def warm_up(scenario, least):
    """How many requests come before those that count: where users are to have come before, each one twice,
    first for the zone, then for the worker to remember."""
    return 2 * len(lines(scenario.stream)) if scenario.warm else least


def _line(path, name=people.ALICE, password=None, method="GET", body=0):
    return f"{method}\t{path}\t{people.authorization(name, password)}\t{body}"


def _alice():
    yield _line("/v2/alice/app/manifests/latest")


def _everyone():
    for number in range(EVERYONE):
        name = people.user(number)
        yield _line(f"/v2/{name}/app/manifests/latest", name)


def _shared():
    yield _line("/v2/shared/app/manifests/latest")


def _bearer():
    token = people.token(BEARER_PREFIX, people.ALICE, "alice/app")
    yield f"GET\t/v2/alice/app/manifests/latest\tBearer {token}\t0"


def _token():
    yield _line("/token?service=registry&scope=repository:alice/app:pull,push")


def _pull():
    yield _line(f"/v2/alice/app/blobs/{DIGEST}")


def _push():
    yield _line("/v2/alice/app/blobs/uploads/3f0c9d52", method="PATCH", body=BLOB_BYTES)


def _neighbour():
    yield _line("/neighbour")


def _flood():
    """Logins nobody has seen: three wrong passwords to a right one, each user once a password."""
    for number in range(2_000):
        for attempt in range(4):
            name = people.user(number)
            password = FLOOD_PASSWORD if attempt == 0 else f"wrong {attempt}"
            yield _line(f"/v2/{name}/app/manifests/latest", name, password)


FLOOD_PASSWORD = "one for all, hashed once"

_STREAMS = {
    "alice": _alice,
    "everyone": _everyone,
    "shared": _shared,
    "bearer": _bearer,
    "token": _token,
    "pull": _pull,
    "push": _push,
    "neighbour": _neighbour,
    "flood": _flood,
}
