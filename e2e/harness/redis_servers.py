"""Redis 8 and Valkey 8 beside this machine's own server: from Debian trixie, made once below build/.

They run where they lie, by that system's own loader: files, sockets and ports are this machine's.
REDIS_MIRROR chooses where the packages come from.
"""

import functools
import shutil

from . import debian

SUITE = "trixie"
PACKAGES = ("redis-server", "valkey-server")
SECONDS = 600
# Where this machine's own are; they are called as any program.
OURS = "redis 7"


@functools.cache
def place():
    """The folder of that system, made if it is not there yet."""
    return debian.kept(f"redis-{SUITE}", (SUITE, PACKAGES), _make)


def program(server):
    """The words that begin the command line of a server: "redis 7", "redis 8" or "valkey 8"."""
    if server == OURS:
        return ["redis-server"]
    return _foreign({"redis 8": "redis-check-rdb", "valkey 8": "valkey-check-rdb"}[server])


def _foreign(binary):
    root = place()
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--argv0", binary.replace("check-rdb", "server"),
            "--library-path", str(libraries), str(root / "usr/bin" / binary)]


def _make(folder):
    debian.debootstrap(folder, SUITE, debian.mirror("REDIS_MIRROR"), seconds=SECONDS)
    services = folder / "usr/sbin/policy-rc.d"
    services.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    services.chmod(0o755)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    debian.bounded(["sh", "-euc", 'mount -t proc none "$0/proc"; exec chroot "$0" "$@"', str(folder),
                    "apt-get", "-y", "--no-install-recommends", "-o", "Acquire::http::Timeout=30",
                    "-o", "Acquire::Retries=2", "install", *PACKAGES], SECONDS)
    debian.bounded(["chroot", str(folder), "apt-get", "clean"], SECONDS)


if __name__ == "__main__":
    print(place())
