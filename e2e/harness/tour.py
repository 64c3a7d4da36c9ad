"""The commands that `make run` prints. Each works as printed in a shell; e2e/test_run.py types every one of
them.

Used by demo/run (to print) and the test (to run). They write only below the demo's folder and, for docker and
podman, into those programs' own image storage.
"""

import shutil
from dataclasses import dataclass

from . import image

ARCHIVE = "hello.tar"
AUTH = "auth.json"


@dataclass(frozen=True)
class Command:
    """One line to type. `refused`: it ends with a refusal, for this reason, and that is the point of it."""

    text: str
    refused: str = ""

    def __str__(self):
        return self.text + (f"    # denied: {self.refused}" if self.refused else "")


@dataclass(frozen=True)
class Chapter:
    """The commands of one client. `needs` is the program without which there is no point in printing them."""

    title: str
    needs: str
    commands: tuple

    def possible(self):
        return shutil.which(self.needs) is not None


def prepare(stack):
    """Puts the image that the commands push into the demo's folder, and one into alice's registry for
    everybody."""
    stack.publish("hello", {"hello.txt": b"hello, everybody\n"})
    # podman wants it to be there before the first login.
    (stack.directory / AUTH).write_text('{"auths": {}}', encoding="ascii")
    tags = [f"{stack.address}/{user}/hello:latest" for user in stack.passwords]
    image.archive(stack.directory / ARCHIVE, {"hello.txt": b"hello\n"}, tags)


def first(stack):
    """To be typed before any other, in each terminal."""
    folder = stack.directory
    return Command(f"cd {folder} && export DOCKER_CONFIG={folder}/docker REGISTRY_AUTH_FILE={folder}/{AUTH} "
                   f"REGISTRY_AUTH_REDIS='{stack.redis.url}'")


def failovers(stack):
    """One that is planned, and a crash."""
    return (
        Command(f"redis-cli -p {stack.redis.ports[0]} SENTINEL FAILOVER registry"),
        Command(f"kill -9 $(cat {stack.directory}/master.pid)"),
    )


def chapters(stack, tool):
    """What to type, client by client; each begins without a login."""
    at = stack.address
    word = stack.passwords["alice"]
    mine, foreign, public = f"{at}/alice/hello", f"{at}/bob/hello", f"{at}/alice/public/hello"
    theirs = "that is bob's"
    ca, robot = "--cert-dir ca", "--authfile robot.json"
    return (
        Chapter("docker (in a shell that reaches a docker daemon of this machine)", "docker", (
            Command(f"docker pull {public}"),
            Command(f"echo {word} | docker login --username alice --password-stdin {at}"),
            Command(f"docker load --input {ARCHIVE}"),
            Command(f"docker push {mine}"),
            Command(f"docker pull {mine}"),
            Command(f"docker push {foreign}", theirs),
        )),
        Chapter("podman", "podman", (
            Command(f"podman pull {ca} {public}"),
            Command(f"echo {word} | podman login {ca} --username alice --password-stdin {at}"),
            Command(f"podman load --input {ARCHIVE}"),
            Command(f"podman push {ca} {mine}"),
            Command(f"podman pull {ca} {mine}"),
            Command(f"podman push {ca} {foreign}", theirs),
        )),
        Chapter("skopeo", "skopeo", (
            Command(f"skopeo inspect {ca} docker://{public}"),
            Command(f"echo {word} | skopeo login {ca} --username alice --password-stdin {at}"),
            Command(f"skopeo copy --dest-cert-dir ca docker-archive:{ARCHIVE} docker://{mine}"),
            Command(f"skopeo list-tags {ca} docker://{mine}"),
            Command(f"skopeo copy --src-cert-dir ca docker://{mine} oci:pulled:latest"),
            Command(f"skopeo copy --dest-cert-dir ca docker-archive:{ARCHIVE} docker://{foreign}", theirs),
        )),
        Chapter("A robot, with an access token of alice's in the place of her password", "skopeo", (
            Command(f"{tool} token create alice --scope 'alice/**:pull' --expires 90d | "
                    f"skopeo login {ca} {robot} --username alice --password-stdin {at}"),
            Command(f"skopeo inspect {ca} {robot} docker://{public}"),
            Command(f"skopeo copy --dest-cert-dir ca {robot} docker-archive:{ARCHIVE} docker://{mine}",
                    "the token is for pulls"),
        )),
        Chapter("The accounts", str(tool), (
            Command(f"{tool} user list"),
            Command(f"{tool} backend list alice"),
            Command(f"{tool} grant list public"),
        )),
        Chapter("By hand", "curl", (
            Command(f"curl --include --cacert ca/ca.crt --user alice:{word} "
                    f"https://{at}/v2/alice/hello/tags/list"),
            Command(f"curl --include --cacert ca/ca.crt --user alice:{word} "
                    f"'https://{at}/token?service=registry&scope=repository:alice/hello:pull'"),
            Command("tail nginx/access.log nginx/error.log"),
        )),
    )
