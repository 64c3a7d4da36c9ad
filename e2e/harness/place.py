"""Where a client runs: on this machine, or in a Debian whose clients are newer. For harness.client and
.daemon.

Either way in a mount namespace of its own, with a few files and folders of the test's in the places of
others: nothing of that is seen outside, and nothing stays.
"""

import os

# $1, $2: a file or folder, and what it is mounted over; as many pairs as there are, up to "--"; a command.
_MOUNTS = 'while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done; shift; '


def _in_a_namespace(script, mounts):
    pairs = [str(word) for pair in mounts for word in pair]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", *pairs, "--"]


class Here:
    """This machine's own system."""

    name = "this machine"
    # The client that Debian ships beside its dockerd; another one on the PATH may want a newer API.
    docker = "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else "docker"

    def enter(self, _directory, *mounts):
        """The words to put in front of a command; `mounts`: (what, over what) each. `_directory` is there."""
        return _in_a_namespace(f'root=; {_MOUNTS} exec "$@"', mounts)


class Root:
    """The system below `folder`, which is only read: /run, /tmp and /var/tmp are empty."""

    docker = "docker"

    def __init__(self, folder, name):
        self._folder = str(folder)
        self.name = name

    def enter(self, directory, *mounts):
        """As Here.enter; `directory` is where it is outside.

        The root is bound onto itself: dockerd unpacks layers after pivot_root, which wants a mount point."""
        return _in_a_namespace(
            f'root={self._folder}; mount --bind "$root" "$root"; '
            'for each in run tmp var/tmp; do mount -t tmpfs none "$root/$each"; done; '
            f'mkdir -p "$root{directory}"; mount --bind "{directory}" "$root{directory}"; '
            'for each in proc sys dev; do mount --rbind "/$each" "$root/$each"; done; '
            # Names are found in the test's own /etc/hosts alone.
            f'{_MOUNTS} mount -o remount,bind,ro "$root"; exec chroot "$root" "$@"', mounts)
