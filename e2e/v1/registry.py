"""A real docker-registry 0.9.1, the V1 registry of 2014, in a Debian 11, the last with Python 2.7.

That system is made once, below build/, by debootstrap and pip (minutes, and the network), and kept under a
name that changes with its recipe. Registries only read it: each has a mount namespace of its own, with its
storage at /srv.
"""

import json
import os
import re
import secrets
import shutil
import urllib.request
from pathlib import Path

from harness import debian
from testkit.process import Process, must

HERE = Path(__file__).resolve().parent
SUITE = "bullseye"
# python-pip-whl is pip 20.3.4, the last for Python 2.
PACKAGES = ("python2.7", "python-setuptools", "python-pip-whl", "ca-certificates")
PIP = "/usr/share/python-wheels/pip-20.3.4-py2.py3-none-any.whl/pip"
STAND_INS = "/opt/stand_ins"
NOBODY = 65534
_IN_A_NAMESPACE = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")


def system():
    """The folder of the system; made if it is not there yet."""
    files = (HERE / "requirements.txt", *sorted((HERE / "stand_ins").rglob("*.py")))
    return debian.kept("registry-v1", (SUITE, PACKAGES, PIP, [file.read_bytes() for file in files]), _make)


def _make(folder):
    debian.debootstrap(folder, SUITE, debian.mirror("REGISTRY_V1_MIRROR"), PACKAGES)
    shutil.copytree(HERE / "stand_ins", folder / STAND_INS[1:], ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "requirements.txt", folder / "opt")
    # With this machine's resolver, certificates and pip.conf: PyPI is wherever this machine's pip finds it.
    must([*_IN_A_NAMESPACE,
          'for each in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs; do'
          '  [ ! -e "$each" ] || { [ -d "$each" ] || : >>"$0$each"; mount --bind "$each" "$0$each"; }; '
          'done; exec chroot "$0" "$@"',
          str(folder), "python2.7", PIP, "install", "--no-cache-dir", "--no-deps", "--require-hashes",
          "--requirement", "/opt/requirements.txt"], seconds=1800, env={**os.environ, "PATH": debian.PATH})


class RealRegistry:
    """One docker-registry of its own, with search; `directory` is made, and takes log and storage.

    `endpoints`: whom it names in X-Docker-Endpoints, if not the host of the request."""

    def __init__(self, directory, name, endpoints=None):
        directory.mkdir()
        self.storage = directory / "storage"
        self.storage.mkdir()
        os.chown(self.storage, NOBODY, NOBODY)
        # JSON is YAML.
        (self.storage / "config.yml").write_text(json.dumps({"prod": {
            "issue": "docker-registry of the test", "loglevel": "info", "standalone": True,
            "storage": "local", "storage_path": "/srv/data",
            "search_backend": "sqlalchemy", "sqlalchemy_index_database": "sqlite:////srv/index.db",
            "registry_endpoints": endpoints,
        }}), encoding="ascii")
        environment = {
            "PATH": debian.PATH, "PYTHONPATH": STAND_INS, "PYTHONWARNINGS": "ignore", "HOME": "/srv",
            "DOCKER_REGISTRY_CONFIG": "/srv/config.yml", "SETTINGS_FLAVOR": "prod",
            # Port 0: the kernel chooses, and gunicorn's log tells.
            "REGISTRY_HOST": "127.0.0.1", "REGISTRY_PORT": "0",
            # One worker: several make the search's database at the same time, and fail.
            "GUNICORN_WORKERS": "1", "GUNICORN_GRACEFUL_TIMEOUT": "5",
        }
        mounts = 'mount --bind "$1" "$0/srv"; mount -t tmpfs none "$0/tmp"; mount -t proc none "$0/proc"'
        # The kernel forgets the death signal when the user changes: setpriv sets it once more. Not the script
        # docker-registry, which insists on the exact versions of 2014; it does no more than this.
        run = "import docker_registry.run as module; module.run_gunicorn()"
        inside = f"cd /srv && exec setpriv --pdeathsig TERM python2.7 -c '{run}'"
        self.process = Process(
            f"docker-registry 0.9.1 of {name}",
            [*_IN_A_NAMESPACE, f'{mounts}; exec chroot --userspec="$2" "$0" sh -c "$3"',
             str(system()), str(self.storage), f"{NOBODY}:{NOBODY}", inside],
            directory / "registry.log", env=environment)
        try:
            self.address = self.process.await_ready(self._listening)
            self.process.await_ready(self._answers)
        except BaseException:
            self.process.stop()
            raise

    def _listening(self):
        found = re.search(r"Listening at: http://(127\.0\.0\.1:\d+)", self.log())
        return found and found.group(1)

    def _answers(self):
        try:
            return self._ask("/v1/_ping") == 200
        except OSError:
            return False

    def _ask(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
            return answer.status

    def log(self):
        return self.process.log.read_text(errors="replace")

    def arrived(self):
        """(method, path, status) of each request that has been answered, but for our own pings."""
        # The line of a request comes after its answer, but before the next request's.
        mark = f"/v1/_ping?{secrets.token_hex(8)}"
        self._ask(mark)
        self.process.await_ready(lambda: mark in self.log())
        lines = re.findall(r'"([A-Z]+) (\S+) HTTP/1\.\d" (\d{3}) .* "(.*)"$', self.log(), re.MULTILINE)
        return [(method, path, int(status)) for method, path, status, agent in lines if "urllib" not in agent]

    def layer(self, name):
        """The file that holds an image's layer."""
        return self.storage / "data" / "images" / name / "layer"

    def has(self, repository, file=""):
        """Whether it keeps something of a repository (namespace/name), or that file of it."""
        return (self.storage / "data" / "repositories" / repository / file).exists()

    def stop(self):
        self.process.stop()


if __name__ == "__main__":
    # What `make e2e-v1` does first, so that minutes of it are not a test's.
    print(system())
