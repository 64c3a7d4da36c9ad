"""Requests for content by digest, generated: names, digests, users, methods, ranges, conditions and path
tricks in all combinations that chance gives. The same seed gives the same ones.

Used by test_disk.py, which sends each of them to several gates and compares the answers."""

import random
from dataclasses import dataclass

# Ranges and validators that every server answers in the same way, and such as each reads in its own.
RANGES = ("bytes=0-", "bytes=0-0", "bytes=5-9", "bytes=1000-", "bytes=-7", "bytes=-99999999",
          "bytes=0-999999999")
ODD_RANGES = ("bytes=0-1,4-5", "bytes=99999999-", "bytes=5-4", "bytes=-0", "bytes=", "items=0-1", "bytes=a-b",
              "BYTES=0-1", "bytes= 0-1", "bytes=0-1,", "bytes=0-18446744073709551616", "0-1")
ODD_CONDITIONS = (
    ("If-Match", '"x"'), ("If-Match", "*"), ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
    ("If-Unmodified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"), ("If-None-Match", "x"), ("If-None-Match", '"x'),
    ("If-Range", "Sat, 29 Oct 1994 19:43:31 GMT"),
)
# What becomes of the path: {name}, {digest}, and the two parts of the name and of the digest.
TRICKS = (
    "/v2/{name}/blobs/{algorithm}%3A{hex}", "/v2/{name}/blobs/{algorithm}%3a{hex}",
    "/v2//{name}/blobs/{digest}",
    "/v2/{name}//blobs/{digest}", "/v2/{name}/blobs//{digest}", "/v2/{name}/./blobs/{digest}",
    "/v2/alice/x/../../{name}/blobs/{digest}", "/v2/{name}/blobs/../blobs/{digest}",
    "/v2/{name}/blobs/{digest}/", "/v2/{name}/blobs/{digest}/.", "/v2/{name}/blobs/{digest}/../{digest}",
    "/v2/{name}/blobs/{digest};x", "/v2/{name}/blobs/{digest}%00", "/v2/{name}/blobs/{digest}%20",
    "/v2/{name}%2fblobs/{digest}", "/v2/{first}%2f{rest}/blobs/{digest}", "/v2/{name}/%62lobs/{digest}",
    "/v2/{name}/blobs/%73ha256:{hex}", "/v2/{name}/blobs/{upper}", "/v2/{name}/blobs/{digest}?a=b",
    "/v2/{name}/blobs/{digest}?", "/v2/{name}/blobs/{digest}?ns=docker.io", "/v2/{name}/blobs/{hex}",
    "/v2/{name}/blobs/sha512:{hex}{hex}", "/v2/{name}/blobs/uploads/{hex}", "/v2/{name}/manifests/{digest}",
    "/v2/{name}/referrers/{digest}", "/v2/{name}/_layers/sha256/{hex}/link", "/V2/{name}/blobs/{digest}",
    "/v2/{name}/blobs/{digest}%2f..%2f{digest}", "/v2/{name}/blobs/{digest}\\..\\{digest}",
)


@dataclass(frozen=True)
class Question:
    """One request. `is_odd`: servers may answer it differently, and both be right."""

    user: str
    method: str
    target: str
    headers: tuple
    is_odd: bool


def generate(count, names, digests, there, users, harmless, seed):
    """`count` requests, half of them for what is `there`, in pairs of a name and a digest. Only `harmless`
    users, who may change nothing, send methods that change things."""
    chance = random.Random(seed)
    for _ in range(count):
        user = chance.choice(users)
        pair = chance.choice(names), chance.choice(digests)
        name, digest = chance.choice(there) if chance.random() < 0.5 else pair
        method = chance.choice(("GET", "GET", "GET", "HEAD"))
        if user in harmless and chance.random() < 0.3:
            method = chance.choice(("DELETE", "PUT", "POST", "PATCH", "OPTIONS", "TRACE", "get"))
        headers, is_odd = _headers(chance, digest)
        yield Question(user, method, _target(chance, name, digest), headers, is_odd)


def _target(chance, name, digest):
    shape = "/v2/{name}/blobs/{digest}" if chance.random() < 0.7 else chance.choice(TRICKS)
    algorithm, _, digits = digest.partition(":")
    first, _, rest = name.partition("/")
    return shape.format(name=name, first=first, rest=rest, digest=digest, algorithm=algorithm, hex=digits,
                        upper=f"{algorithm}:{digits.upper()}")


def _headers(chance, digest):
    headers, is_odd = [("Accept", "*/*")], False
    if chance.random() < 0.3:
        is_odd = chance.random() < 0.4
        headers.append(("Range", chance.choice(ODD_RANGES if is_odd else RANGES)))
        if chance.random() < 0.3:
            headers.append(("If-Range", chance.choice((f'"{digest}"', '"x"'))))
    if chance.random() < 0.2:
        tags = (f'"{digest}"', f'W/"{digest}"', '"x"', f'"x", "{digest}"', "*")
        headers.append(("If-None-Match", chance.choice(tags)))
    if chance.random() < 0.1:
        headers.append(chance.choice(ODD_CONDITIONS))
        is_odd = True
    return tuple(headers), is_odd
