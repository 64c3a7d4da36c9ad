"""The scenarios as a table: what stands in front of the registry, and what is asked of it.

A scenario is a gate (conf.py) in a frame, under a stream of requests, with a store behind.
Its neighbour in time is the bare proxy in the same frame under the same stream, so that
only the gate differs. To add one, add a row; one whose directives the module does not know
yet is left out by itself, with a note.
"""

from dataclasses import dataclass

TIME, INSTRUCTIONS, CALLS = "time", "instructions", "calls"
EVERYTHING = (TIME, INSTRUCTIONS, CALLS)


@dataclass(frozen=True)
class Frame:
    """What surrounds the gate; equal for a scenario and its bare neighbour."""

    name: str
    tls: bool = False
    workers: int = 1
    blobs: bool = False  # bodies pass unbuffered both ways
    connections: int = 64


PLAIN = Frame("plain")
TLS = Frame("tls", tls=True)
TWO_WORKERS = Frame("2 workers", workers=2)
BLOBS = Frame("blobs", tls=True, blobs=True, connections=4)
FRAMES = (PLAIN, TLS, TWO_WORKERS, BLOBS)


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `stream` names a file of requests (streams.py); `password` is the stored form of every user of
    the row; `users` is how many there are besides alice; `grants` how many alice holds,
    `groups` in how many groups she is, the last of which grants what she asks for.
    `requests` bounds the counted requests where one costs millions of instructions. `pause` is how many
    seconds lie between the warm-up and the requests whose instructions are counted, and between two runs that
    are timed, in which then each request of the stream is sent once; `changes` how often a second another
    user changes while requests are timed.
    """

    name: str
    title: str
    gate: str
    stream: str = "alice"
    frame: Frame = PLAIN
    password: str = "sha"
    users: int = 0
    grants: int = 0
    groups: int = 0
    full: bool = False  # left out by --quick
    parts: tuple = EVERYTHING
    requests: int = 1 << 20
    warm: bool = False  # the warm-up has to reach each user of the stream
    pause: int = 0
    changes: int = 0

    @property
    def ours(self):
        return self.gate.startswith("ours")


def bare(scenario):
    """The neighbour of every scenario with this frame and this stream, whose runs are of this shape."""
    frame, stream, pause = scenario.frame, scenario.stream, scenario.pause
    title = "bare proxy" + ("" if frame is PLAIN else f", {frame.name}")
    name = f"bare/{frame.name}/{stream}"
    if pause:
        title, name = f"{title}, each request once", f"{name}/once"
    return Scenario(name, title, "bare", stream, frame, pause=pause)


ASKS, CACHED, BEARER = "ours", "ours_cached", "ours_bearer"

SCENARIOS = (
    Scenario("auth_basic", "auth_basic {SHA}, one user", "auth_basic"),
    Scenario("auth_basic_10k", "auth_basic {SHA}, 10,000 users in the file", "auth_basic", users=10_000,
             full=True, requests=64),
    Scenario("auth_request", "auth_request to another location", "auth_request"),
    # Users in turn: of equal questions that wait together, the store asks one.
    Scenario("asks", "ours, each request asks Redis", ASKS, "everyone", users=10_000, warm=True),
    Scenario("asks_first", "ours, asks, users who never came before", ASKS, "everyone", users=10_000,
             full=True, parts=(INSTRUCTIONS,)),
    Scenario("asks_one", "ours, asks, always the same user", ASKS, full=True),
    Scenario("asks_1m", "ours, asks, 1 M users in Redis", ASKS, "everyone", users=1_000_000, full=True,
             parts=(TIME,)),
    Scenario("asks_grants_1", "ours, asks, 1 grant", ASKS, "shared", grants=1, full=True),
    Scenario("asks_grants_10", "ours, asks, 10 grants", ASKS, "shared", grants=10, full=True),
    Scenario("asks_grants_1k", "ours, asks, 1,000 grants", ASKS, "shared", grants=1_000, full=True,
             requests=256),
    Scenario("asks_groups_50", "ours, asks, 1,000 grants and 50 groups", ASKS, "shared", grants=1_000,
             groups=50, full=True, requests=256),
    Scenario("asks_tls", "ours, asks, TLS", ASKS, frame=TLS, full=True, parts=(TIME,)),
    Scenario("asks_2w", "ours, asks, 2 workers", ASKS, frame=TWO_WORKERS, full=True, parts=(TIME,)),
    Scenario("pull", "ours, asks, 4 MiB blobs pulled, TLS", ASKS, "pull", BLOBS, full=True, parts=(TIME,)),
    Scenario("push", "ours, asks, 4 MiB blobs pushed, TLS", ASKS, "push", BLOBS, full=True, parts=(TIME,)),
    Scenario("cached", "ours, cached", CACHED, warm=True),
    Scenario("cached_10k", "ours, cached, 10,000 users in turn", CACHED, "everyone", users=10_000, warm=True),
    # Of what a worker remembers, the zone has to note the use after 10 seconds, and to confirm it after each
    # change.
    Scenario("cached_expired", "ours, cached, 10,000 users in turn, seen 10 s ago", CACHED, "everyone",
             users=10_000, warm=True, parts=(TIME, INSTRUCTIONS), pause=11),
    Scenario("cached_changes", "ours, cached, 10,000 users in turn, 100 changes a second", CACHED, "everyone",
             users=10_000, warm=True, parts=(TIME,), changes=100),
    Scenario("cached_changes_2w", "ours, cached, 10,000 users, 100 changes a second, 2 workers", CACHED,
             "everyone", TWO_WORKERS, users=10_000, full=True, warm=True, parts=(TIME,), changes=100),
    Scenario("cached_bcrypt", "ours, cached, bcrypt-12", CACHED, password="bcrypt", warm=True),
    Scenario("cached_argon2id", "ours, cached, argon2id", CACHED, password="argon2id", warm=True),
    Scenario("cached_usage", "ours, cached, registry_auth_usage", "ours_usage", warm=True,
             parts=(INSTRUCTIONS,)),
    Scenario("cached_bearer", "ours, cached, a token", BEARER, "bearer", warm=True),
    Scenario("token", "ours, cached, tokens issued", BEARER, "token", warm=True),
    Scenario("cached_1m", "ours, cached, 1 M users in Redis", CACHED, users=1_000_000, full=True, warm=True,
             parts=(TIME,)),
    Scenario("cached_grants_1", "ours, cached, 1 grant", CACHED, "shared", grants=1, full=True, warm=True),
    Scenario("cached_grants_10", "ours, cached, 10 grants", CACHED, "shared", grants=10, full=True,
             warm=True),
    Scenario("cached_grants_1k", "ours, cached, 1,000 grants", CACHED, "shared", grants=1_000, full=True,
             warm=True, requests=512),
    Scenario("cached_groups_50", "ours, cached, 1,000 grants and 50 groups", CACHED, "shared", grants=1_000,
             groups=50, full=True, warm=True, requests=512),
    Scenario("cached_tls", "ours, cached, TLS", CACHED, frame=TLS, full=True, warm=True, parts=(TIME,)),
    Scenario("cached_2w", "ours, cached, 2 workers", CACHED, frame=TWO_WORKERS, full=True, warm=True,
             parts=(TIME,)),
    Scenario("cached_pull", "ours, cached, 4 MiB blobs pulled, TLS", CACHED, "pull", BLOBS, full=True,
             warm=True, parts=(TIME,)),
    Scenario("cached_push", "ours, cached, 4 MiB blobs pushed, TLS", CACHED, "push", BLOBS, full=True,
             warm=True, parts=(TIME,)),
)
