"""Debians of other releases, for programs that this one has not: made below build/, and kept there.

Nothing is ever mounted in them but in a mount namespace that ends, so that `make clean` removes nothing else.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from testkit.process import Failed, must, run

BUILD = Path(__file__).resolve().parents[2] / "build"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def kept(name, recipe, make):
    """The folder build/NAME-…, which `make(folder)` fills the first time, and again when `recipe` changes."""
    folder = BUILD / f"{name}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
    if not folder.exists():
        BUILD.mkdir(exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-unfinished-", dir=BUILD))
        try:
            unfinished.chmod(0o755)
            make(unfinished)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return folder


def mirror(variable):
    """[The mirror of this machine's apt], or [] for debootstrap's own; or what the environment's `variable`
    says."""
    chosen = os.environ.get(variable)
    return [chosen] if chosen else _mirrors("Debian")


def security():
    """[The mirror of this machine's apt for the security suites], or []."""
    return _mirrors("Debian-Security")


def _mirrors(label):
    form = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    lines = must(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    return [line.split(" ")[2] for line in lines if line.startswith(f"Debian {label} ")][:1]


def bounded(words, seconds):
    """Runs `words` in a mount namespace that ends with them; raises Failed unless they succeed within
    `seconds`.

    When the time is over, their children end with them, whatever the network does to those."""
    environment = {**os.environ, "PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    namespace = ["unshare", "--mount", "--propagation", "private"]
    done = run(["timeout", "--kill-after=10", str(seconds), *namespace, *words], seconds + 60,
               env=environment)
    if done.returncode == 124:
        raise Failed(f"{' '.join(words)}: not done within {seconds} s\n{done.stdout[-1000:]}")
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: status {done.returncode}\n{done.stdout[-2000:]}")


def debootstrap(folder, suite, at, packages=(), seconds=1800):
    """A smallest system of that suite in `folder`, with `packages`, from the mirrors `at`."""
    included = [f"--include={','.join(packages)}"] if packages else []
    bounded(["debootstrap", "--variant=minbase", *included, suite, str(folder), *at], seconds)
