"""What a newcomer does who follows the documentation, on a machine on which nothing of ours is installed yet.

Run by test_docs.py as root, in mount, network and process namespaces of its own: what is installed here lies
on top of the machine's own files, in memory, and is gone with the namespace. Prints one line of JSON for each
page.
"""

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "registry.example.com"
PASSWORD = "correct horse"
CONFIGURATION = Path("/etc/nginx/registry-auth")
SITE = Path("/etc/nginx/conf.d/registry.conf")
# Of linux/sockios.h and linux/if.h.
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40


def do(*words, check=True, **more):
    ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120, **more)
    if check and ran.returncode != 0:
        raise SystemExit(f"{words}: {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran


def isolate():
    """A writable layer over the machine's folders, and a network of our own."""
    layers = Path("/mnt")
    do("mount", "-t", "tmpfs", "none", layers)
    for folder in ("/etc", "/usr", "/var", "/root"):
        for part in ("upper", "work"):
            (layers / folder[1:] / part).mkdir(parents=True)
        layer = f"lowerdir={folder},upperdir={layers}{folder}/upper,workdir={layers}{folder}/work"
        do("mount", "-t", "overlay", "overlay", "-o", layer, folder)
    for folder in ("/run", "/tmp"):
        do("mount", "-t", "tmpfs", "none", folder)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))
    with open("/etc/hosts", "a", encoding="ascii") as hosts:
        hosts.write(f"127.0.0.1 {HOST}\n")


def install():
    """docs/install.md, after `make`, and the registry of docs/users-and-backends.md."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    do("make", "-C", ROOT, "NO_INSTALL=1", "install", env=clean)
    do("ln", "-s", "/usr/share/nginx/modules-available/mod-registry-auth.conf",
       "/etc/nginx/modules-enabled/60-mod-registry-auth.conf")
    do("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
       "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", CONFIGURATION / "key.pem",
       "-out", CONFIGURATION / "certificate.pem")
    key = CONFIGURATION / "token-key"
    key.touch(mode=0o600)
    key.write_text(f"{os.urandom(32).hex()}\n", encoding="ascii")
    page = (ROOT / "docs/users-and-backends.md").read_text(encoding="utf-8")
    config = Path("/etc/docker/registry/config.yml")
    do("bash", "-c", re.search(rf"^    (sed .* {config})$", page, flags=re.M)[1])
    for name, *words in (("registry", "docker-registry", "serve", config),
                         ("redis", "redis-server", "--save", "", "--dir", "/tmp")):
        with open(f"/tmp/{name}.log", "wb") as log:
            subprocess.Popen(words, stdout=log, stderr=log)
    wait_for(lambda: do("redis-cli", "PING", check=False).stdout == "PONG\n", "Redis")
    wait_for(lambda: curl("http://127.0.0.1:5001/v2/")[0] == 200, "the registry")


def wait_for(seen, what):
    end = time.monotonic() + 30
    while not seen():
        if time.monotonic() > end:
            raise SystemExit(f"{what} does not come up")
        time.sleep(0.05)


def curl(url, *words):
    """Status and body."""
    ran = do("curl", "--silent", "--cacert", CONFIGURATION / "certificate.pem", "--write-out",
             "\n%{http_code}",
             *words, url, check=False)
    body, _, status = ran.stdout.rpartition("\n")
    return int(status or 0), body


def site_of(text):
    """The first example of a page that is a whole site, or a whole nginx.conf."""
    for block in re.findall(r"^```nginx\n(.*?)^```", text, flags=re.M | re.S):
        if f"server_name {HOST};" in block:
            return block
    return None


def commands_of(text):
    """The page's commands of the tool, as lines of a shell. Questions of `user add` are answered."""
    for line in re.findall(r"^    ((?:(?:printf|openssl) [^|]*\| )?registry-authctl .*)$", text, flags=re.M):
        if re.search(r"registry-authctl (?:import-|user add \S+ *(?:#.*)?$)", line) is None:
            yield line
        elif "user add" in line:
            yield re.sub(r"(user add \S+)", rf"printf %s '{PASSWORD}' | registry-authctl \1 --password-stdin",
                         line.replace("registry-authctl ", "", 1))


def follow(page):
    """One page: its commands, and requests to its site. What does not hold is said in words."""
    text = page.read_text(encoding="utf-8")
    do("redis-cli", "FLUSHALL")
    # Whom no page of a use case adds: docs/users-and-backends.md has done that.
    for user in ("alice", "bob"):
        if f"user add {user}" not in text:
            add(user)
    wrong = []
    for command in commands_of(text):
        ran = do("bash", "-c", command, check=False, cwd="/tmp", env={**os.environ, "PASSWORD": PASSWORD})
        if "token create" in command and ran.returncode == 0 and Path("/tmp/token").exists():
            Path("/tmp/leaked").write_bytes(Path("/tmp/token").read_bytes())
        # 1 is `explain`'s answer "refused".
        if ran.returncode not in ((0, 1) if " explain " in command else (0,)):
            wrong.append(f"{command}: {ran.returncode}: {ran.stderr}")
    site = site_of(text)
    if site:
        wrong += visit(site)
    return wrong


def add(user):
    do("registry-authctl", "user", "add", user, "--password-stdin", input=PASSWORD)


def visit(site):
    """Whether people can log in at this site, push to their own namespace, and to no other."""
    do("redis-cli", "FLUSHALL")
    add("alice")
    do("registry-authctl", "backend", "set", "default", "127.0.0.1:5001")
    main = Path("/etc/nginx/nginx.conf")
    before = main.read_text(encoding="utf-8")
    is_whole = re.search(r"^events\b", site, flags=re.M)
    (main if is_whole else SITE).write_text(site, encoding="utf-8")
    checked = do("nginx", "-t", check=False)
    try:
        if checked.returncode != 0 or "[warn]" in checked.stderr:
            return [f"nginx -t: {checked.stderr}"]
        do("nginx")
        return requests("http" if "listen 80;" in site else "https")
    finally:
        stop_nginx()
        SITE.unlink(missing_ok=True)
        main.write_text(before, encoding="utf-8")


def requests(scheme):
    at = f"{scheme}://{HOST}"
    login = ("--user", f"alice:{PASSWORD}")
    wait_for(lambda: curl(f"{at}/v2/")[0] == 401, f"{at}/v2/")
    wrong = []
    for what, expected, path, *words in (
        ("a login", 200, "/v2/", *login),
        ("a wrong password", 401, "/v2/", "--user", "alice:wrong"),
        ("a push to one's own", 202, "/v2/alice/app/blobs/uploads/", "--request", "POST", *login),
        ("a push to another's", 403, "/v2/bob/app/blobs/uploads/", "--request", "POST", *login),
    ):
        status, body = curl(at + path, *words)
        if status != expected:
            wrong.append(f"{what}: {status} in place of {expected}: {body}")
    return wrong


def stop_nginx():
    pid = Path("/run/nginx.pid")
    if pid.exists():
        number = int(pid.read_text(encoding="ascii"))
        os.kill(number, signal.SIGTERM)
        wait_for(lambda: not pid.exists(), "the end of nginx")


def main():
    isolate()
    install()
    for page in sys.argv[1:]:
        print(json.dumps({"page": page, "wrong": follow(ROOT / page)}), flush=True)


if __name__ == "__main__":
    main()
