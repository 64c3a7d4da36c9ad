"""Who logs in: users, their passwords and the stored forms of these.

Called by conf.py (htpasswd file), store.py (Redis) and streams.py (requests), which so agree.
Every user but the flood's has the password `password_of(user)`, in whatever form it is stored.
"""

import base64
import ctypes
import functools
import hashlib
import hmac
import json
import subprocess
import time

ALICE = "alice"


def password_of(user):
    return f"{user}:s password is no secret"


def user(number):
    return f"user{number}"


def authorization(name, password=None):
    """The value of the Authorization header."""
    pair = f"{name}:{password_of(name) if password is None else password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def sha(password):
    """htpasswd's {SHA}."""
    return "{SHA}" + base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()


@functools.lru_cache
def bcrypt(password, cost=12):
    """crypt(3)'s $2b$, from the system's libcrypt. The salt is fixed: only the cost matters here."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    digest = crypt(password.encode(), b"$2b$%02d$abcdefghijklmnopqrstuu" % cost)
    if not digest or not digest.startswith(b"$2b$"):
        raise RuntimeError("libcrypt makes no bcrypt hash")
    return digest.decode()


# What tokens are signed with; the same for all gates.
TOKEN_KEY = "a key for the benchmark that is no secret at all"


@functools.lru_cache
def token(prefix, name, repository):
    """A token as the endpoint issues them (crates/registry-auth/src/token.rs), good for hours, so that none
    ends in a run."""
    now, state = int(time.time()), hashlib.sha256(sha(password_of(name)).encode()).digest()[:16]
    account = _mac(b"account\0" + b"\0".join([prefix.encode(), name.encode(), state]))[:16]
    access = [{"type": "repository", "name": repository, "actions": ["pull", "push"]}]
    claims = {"iss": f"registry-auth/access/{prefix}", "aud": "registry", "sub": name, "exp": now + 12 * 3600,
              "nbf": now,
              "access": access, "acc": _url64(account)}
    parts = (json.dumps(part, separators=(",", ":")).encode()
             for part in ({"typ": "JWT", "alg": "HS256"}, claims))
    text = ".".join(map(_url64, parts))
    return f"{text}.{_url64(_mac(text.encode()))}"


def _mac(text):
    return hmac.new(TOKEN_KEY.encode(), text, hashlib.sha256).digest()


def _url64(text):
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def add_argon2id(tool, redis_url, prefix, name):
    """Has the project's own tool store the user: Python's library makes no argon2id."""
    command = [tool, "--redis", redis_url, "--prefix", prefix, "user", "add", name]
    command += ["--hash", "argon2id", "--password-stdin"]
    subprocess.run(command, input=password_of(name), text=True, check=True, stdout=subprocess.DEVNULL)


def htpasswd(users):
    """A password file of `users` others and then alice: nginx reads it up to the one it looks for."""
    names = [user(n) for n in range(users)] + [ALICE]
    return "".join(f"{name}:{sha(password_of(name))}\n" for name in names)
