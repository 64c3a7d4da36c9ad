"""A Debian of another release, made once below build/, in which packages are built and tried.

Nothing that runs in one changes it: what is written there goes to memory, and is gone at the end. What shall
stay is a folder that is mounted into it. Rust is this machine's own, mounted as well, where it is rustup's:
the module's crates ask for a newer one than some releases have. Else it is what tools/prerequisites installs
there.
"""

import filecmp
import os
import shutil
import subprocess
from pathlib import Path

from harness import debian
from testkit.process import Failed, must

from . import ROOT

# What one nginx release of those that people run is called there.
SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "sid": "Debian unstable"}
# Where it is on this machine, too: cargo builds anew what it finds in another place.
CARGO_HOME = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
RUSTUP_HOME = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
RUSTUP = Path(CARGO_HOME, "bin/cargo").exists() and Path(RUSTUP_HOME).is_dir()
RUST = (CARGO_HOME, RUSTUP_HOME) if RUSTUP else ()
ENVIRONMENT = {
    "PATH": f"{CARGO_HOME}/bin:{debian.PATH}",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "CARGO_HOME": CARGO_HOME,
    "RUSTUP_HOME": RUSTUP_HOME,
}
# As quick to compile as an optimised build can be: to try whether something fits, not how fast it is.
QUICK = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
         "CARGO_PROFILE_RELEASE_DEBUG": "0", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1"}
# The system is the lower half of a file system whose upper half is in memory. $1: the system; then pairs of
# what is mounted over what, up to "--"; then a command.
_ENTER = """
lower=$1; shift
scratch=$(mktemp -d)
mount -t tmpfs none "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
root=$scratch/root
mount -t overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" none "$root"
for each in proc sys dev; do mount --rbind "/$each" "$root/$each"; done
for each in run tmp; do mount -t tmpfs none "$root/$each"; done
cp /etc/resolv.conf "$root/etc/resolv.conf"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root$(dirname "$2")"; touch "$root$2"; fi
    mount --rbind "$1" "$root$2"; shift 2
done
shift
# Not chroot: what docker executes in a container would see the root of the mount namespace.
mkdir "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
rmdir /.outside
exec "$@"
"""


class System:
    """One release, with what the groups of tools/prerequisites name, and with `packages`."""

    def __init__(self, suite, groups=(), packages=(), rust=True):
        self.suite = suite
        self.name = SUITES[suite]
        self._rust = rust
        recipe = (suite, packages)
        if groups:
            recipe += (groups, RUSTUP, (ROOT / "tools/prerequisites").read_text(encoding="utf-8"))
        self.folder = debian.kept(f"system-{suite}", recipe,
                                  lambda folder: self._make(folder, groups, packages))

    def _make(self, folder, groups, packages):
        debian.debootstrap(folder, self.suite, debian.mirror("SYSTEMS_MIRROR"))
        if self._rust and not RUSTUP and self.suite != "sid":
            # Debian 12 has a Rust that is new enough there only.
            (folder / "etc/apt/sources.list.d/security.list").write_text(
                "".join(f"deb {each} {self.suite}-security main\n" for each in debian.security()),
                encoding="ascii")
        (folder / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n", encoding="ascii")
        services = folder / "usr/sbin/policy-rc.d"
        services.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        services.chmod(0o755)
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        for place in RUST:
            (folder / place[1:]).mkdir(parents=True)
        shutil.copy(ROOT / "tools/prerequisites", folder / "usr/local/bin/prerequisites")
        mounts = "".join(f'mount --rbind "{place}" "$0{place}"; ' for place in RUST)
        inside = ["sh", "-euc", f'mount -t proc none "$0/proc"; {mounts} exec chroot "$0" "$@"', str(folder),
                  "env", *(f"{name}={value}" for name, value in ENVIRONMENT.items())]
        if groups:
            debian.bounded([*inside, "prerequisites", *groups], 1800)
        if packages:
            debian.bounded([*inside, "apt-get", "-y", "--no-install-recommends", "install", *packages], 1800)
        debian.bounded([*inside, "apt-get", "clean"], 60)

    def words(self, command, mounts=(), directory="/", environment=None):
        """The command line that runs `command` in `directory` there; `mounts`: (what, over what) each."""
        pairs = [*mounts, *((place, place) for place in RUST if self._rust)]
        variables = {**ENVIRONMENT, **(environment or {})}
        return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _ENTER, "sh",
                str(self.folder), *(str(word) for pair in pairs for word in pair), "--",
                "env", "-i", f"--chdir={directory}",
                *(f"{name}={value}" for name, value in variables.items()), *command]

    def run(self, command, log=None, **options):
        """Its status; what it prints goes to the file `log`, or to where this program's goes."""
        with open(log or os.devnull, "ab") as output:
            return subprocess.run(self.words(command, **options), stdin=subprocess.DEVNULL,
                                  stdout=output if log else None, stderr=subprocess.STDOUT if log else None,
                                  check=False).returncode

    def must(self, command, log=None, **options):
        """Raises Failed, with the end of the log, unless the command succeeds."""
        status = self.run(command, log, **options)
        if status != 0:
            tail = Path(log).read_text(encoding="utf-8", errors="replace")[-3000:] if log else ""
            raise Failed(f"{self.name}: {' '.join(map(str, command))}: status {status}\n{tail}")

    def output(self, command, **options):
        """What the command prints; raises Failed unless it succeeds."""
        return must(self.words(command, **options)).strip()


def sources(folder):
    """This repository's files, those of git and those that are not yet, in `folder`, which keeps what a build
    has left there. What is as it was keeps its time; what is not is newer than any build, for cargo goes by
    times."""
    listed = must(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in {"build", "target"} and path.is_file() and str(name) not in names:
            path.unlink()
    for name in names:
        target = folder / name
        source = ROOT / name
        if target.exists() and filecmp.cmp(source, target, shallow=False):
            shutil.copymode(source, target)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
