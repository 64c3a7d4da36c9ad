"""Who logs in: users, their passwords and the stored forms of these.

Called by conf.py (htpasswd file), store.py (Redis) and streams.py (requests), which so agree.
Every user but the flood's has the password `password_of(user)`, in whatever form it is stored.
"""

import base64
import ctypes
import functools
import hashlib
import subprocess

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


def add_argon2id(tool, redis_url, prefix, name):
    """Has the project's own tool store the user: Python's library makes no argon2id."""
    command = [tool, "--redis", redis_url, "--prefix", prefix, "user", "add", name]
    command += ["--hash", "argon2id", "--password-stdin"]
    subprocess.run(command, input=password_of(name), text=True, check=True, stdout=subprocess.DEVNULL)


def htpasswd(users):
    """A password file of `users` others and then alice: nginx reads it up to the one it looks for."""
    names = [user(n) for n in range(users)] + [ALICE]
    return "".join(f"{name}:{sha(password_of(name))}\n" for name in names)
