"""The commands that `make run` prints. Each works as printed in a shell; e2e/test_run.py types every one of them.

Used by run.py (to print) and the test (to run). They write only below the demo's folder and, for docker and podman,
into those programs' own image storage.
"""

import shutil
from dataclasses import dataclass

from . import image

ARCHIVE = "hello.tar"


@dataclass(frozen=True)
class Command:
    """One line to type. `refused`: it ends with a refusal, which is the point of it."""

    text: str
    refused: bool = False

    def __str__(self):
        return self.text + ("    # denied: that is bob's" if self.refused else "")


@dataclass(frozen=True)
class Chapter:
    """The commands of one client. `needs` is the program without which there is no point in printing them."""

    title: str
    needs: str
    commands: tuple

    def possible(self):
        return shutil.which(self.needs) is not None


def prepare(stack):
    """Puts the image that the commands push into the demo's folder."""
    tags = [f"{stack.address}/{user}/hello:latest" for user in stack.passwords]
    image.archive(stack.directory / ARCHIVE, {"hello.txt": b"hello\n"}, tags)


def first(stack):
    """To be typed before any other, in each terminal."""
    folder = stack.directory
    return Command(f"cd {folder} && export DOCKER_CONFIG={folder}/docker REGISTRY_AUTH_FILE={folder}/auth.json "
                   f"REGISTRY_AUTH_REDIS='{stack.redis.url}'")


def chapters(stack, tool):
    """What to type, client by client."""
    at = stack.address
    word = stack.passwords["alice"]
    mine, foreign = f"{at}/alice/hello", f"{at}/bob/hello"
    return (
        Chapter("docker (in a shell that reaches a docker daemon of this machine)", "docker", (
            Command(f"echo {word} | docker login --username alice --password-stdin {at}"),
            Command(f"docker load --input {ARCHIVE}"),
            Command(f"docker push {mine}"),
            Command(f"docker pull {mine}"),
            Command(f"docker push {foreign}", refused=True),
        )),
        Chapter("podman", "podman", (
            Command(f"echo {word} | podman login --cert-dir ca --username alice --password-stdin {at}"),
            Command(f"podman load --input {ARCHIVE}"),
            Command(f"podman push --cert-dir ca {mine}"),
            Command(f"podman pull --cert-dir ca {mine}"),
            Command(f"podman push --cert-dir ca {foreign}", refused=True),
        )),
        Chapter("skopeo", "skopeo", (
            Command(f"echo {word} | skopeo login --cert-dir ca --username alice --password-stdin {at}"),
            Command(f"skopeo copy --dest-cert-dir ca docker-archive:{ARCHIVE} docker://{mine}"),
            Command(f"skopeo list-tags --cert-dir ca docker://{mine}"),
            Command(f"skopeo copy --src-cert-dir ca docker://{mine} oci:pulled:latest"),
            Command(f"skopeo copy --dest-cert-dir ca docker-archive:{ARCHIVE} docker://{foreign}", refused=True),
        )),
        Chapter("The accounts", str(tool), (
            Command(f"{tool} user list"),
            Command(f"{tool} backend list alice"),
        )),
        Chapter("By hand", "curl", (
            Command(f"curl --include --cacert ca/ca.crt --user alice:{word} https://{at}/v2/alice/hello/tags/list"),
            Command("tail nginx/access.log nginx/error.log"),
        )),
    )
