"""The entrypoint of the image, without one: as root, as Kubernetes runs it, with what people set and mount.

Each start is one of a script on a copy of this machine's /etc, /usr and /var (nothing of it stays), in which
nginx only checks the configuration that it is started with.
"""

import os
import re
import subprocess
import unittest

from harness.stack import ROOT

RUN, KEPT, SHIPPED = "/run/registry-auth", "/var/lib/registry-auth", "/etc/nginx/registry-auth"
# Kubernetes's `net.ipv4.ip_unprivileged_port_start`, and folders as the Dockerfile makes them.
_PREPARE = f"""
mount -t tmpfs none /mnt
for each in etc usr var; do
    mkdir -p /mnt/$each/upper /mnt/$each/work
    mount -t overlay -o lowerdir=/$each,upperdir=/mnt/$each/upper,workdir=/mnt/$each/work none /$each
done
mount -t tmpfs none /run
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
ip link set lo up
install -D -m 644 {ROOT}/build/ngx_http_registry_auth_module.so -t /usr/lib/nginx/modules
install -D -m 644 {ROOT}/nginx/*.conf -t {SHIPPED}
install -m 755 {ROOT}/packaging/image/entrypoint /usr/local/bin/entrypoint
install -d -o www-data -g www-data {RUN} {KEPT}
mkdir -p /usr/local/bin/checked
printf '#!/bin/sh\\nexec /usr/sbin/nginx -t "$@" 2>&1\\n' >/usr/local/bin/checked/nginx
chmod 755 /usr/local/bin/checked/nginx
export PATH=/usr/local/bin/checked:$PATH
# With a pipe of its own, which it may open again as /dev/stderr.
pod() {{ setpriv --reuid 33 --regid 33 --clear-groups sh -c '"$@" 2>&1 | cat' sh "$@"; }}
names() {{ openssl x509 -in {KEPT}/certificate.pem -noout -ext subjectAltName | tail -1 | tr -d ' \\n'; }}
"""


def start(script, **variables):
    """What is printed by `script`, in which `entrypoint` starts the gate."""
    environment = {"PATH": os.environ["PATH"], "REGISTRY_AUTH_REDIS": "redis://127.0.0.1:6379/0",
                   "REGISTRY_AUTH_BACKEND": "127.0.0.1:5000", **variables}
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "--net", "bash", "-euc",
                           _PREPARE + script], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    return done.stdout


class Entrypoint(unittest.TestCase):
    """With what `make` has built."""

    def starts(self, said, times=1):
        self.assertEqual(len(re.findall(r"nginx\.conf test is successful", said)), times, said)
        self.assertNotRegex(said, r"\[(emerg|alert|crit|warn)\]")

    def refuses(self, words, **variables):
        said = start("entrypoint", **variables)
        self.assertRegex(said, words)
        self.assertNotIn("nginx.conf", said, "nginx was started")

    def test_a_volume_whose_files_kubernetes_opens_to_the_group(self):
        said = start(f"""
pod entrypoint
find {KEPT} -type f -exec chmod u+rw,g+rw {{}} +    # fsGroup, as kubelet does it
pod entrypoint
stat -c '%n %a' {KEPT}/token-key {KEPT}/key.pem {RUN}/token-key
cmp {KEPT}/token-key {RUN}/token-key
""")
        self.starts(said, 2)
        for file in (f"{KEPT}/token-key", f"{KEPT}/key.pem", f"{RUN}/token-key"):
            self.assertIn(f"{file} 600\n", said)

    def test_a_token_key_of_a_secret(self):
        said = start(f"""
(umask 077 && openssl rand -hex 32 >{SHIPPED}/token-key)
chown root:www-data {SHIPPED}/token-key
chmod 440 {SHIPPED}/token-key
pod entrypoint
cmp {SHIPPED}/token-key {RUN}/token-key && stat -c '%U %a' {RUN}/token-key
""")
        self.starts(said)
        self.assertIn("www-data 600\n", said)

    def test_as_root_workers_own_only_their_temporary_folders_and_read_no_secret(self):
        script = f"""
pod sh -c 'ln -s /etc/passwd {RUN}/nginx.conf; ln -s /etc/passwd {KEPT}/token-key.new'
sum=$(sha256sum /etc/passwd)
for each in 1 2; do entrypoint; done
[ "$sum" = "$(sha256sum /etc/passwd)" ] && echo untouched
find {RUN} {KEPT} -user www-data
echo secrets:
pod sh -c 'cat {RUN}/nginx.conf {RUN}/token-key {KEPT}/key.pem {KEPT}/token-key 2>/dev/null'
"""
        said = start(script, REGISTRY_AUTH_REDIS="redis://:s3cret@127.0.0.1:6379/0")
        self.starts(said, 2)
        owned = said.partition("untouched\n")[2].partition("secrets:\n")
        self.assertEqual(sorted(owned[0].split()), [f"{RUN}/temp/{name}" for name in
                                                   ("body", "fastcgi", "proxy", "scgi", "uwsgi")], said)
        self.assertEqual(owned[2], "")

    def test_a_certificate_for_what_clients_ask(self):
        long = f"{'a' * 60}.elb.eu-central-1.amazonaws.com"
        own = ",DNS:localhost,IPAddress:127.0.0.1"
        for name, named, known in (
                ("localhost", "DNS:localhost,IPAddress:127.0.0.1", "localhost"),
                ("registry.example.com", f"DNS:registry.example.com{own}", "registry.example.com"),
                ("192.0.2.10", f"IPAddress:192.0.2.10{own}", "192.0.2.10"),
                ("[fd00::1]", f"IPAddress:FD00:0:0:0:0:0:0:1{own}", "[fd00::1]"),
                ("fd00::1", f"IPAddress:FD00:0:0:0:0:0:0:1{own}", "[fd00::1]"),
                ("*.example.com", f"DNS:*.example.com{own}", "*.example.com"),
                (long, f"DNS:{long}{own}", long)):
            with self.subTest(name):
                said = start(f"entrypoint && names && grep server_name {RUN}/server.conf", SERVER_NAME=name)
                self.starts(said)
                self.assertIn(f"{named}    server_name {known};", said)
                self.assertNotIn("clients will refuse", said)

    def test_a_name_that_is_none_starts_nothing(self):
        names = ["a|b", "a&b", "a,IP:203.0.113.9", "a/O=Evil", "~^a", "registry.example.com:5000", "a..b",
                 "a*", "https://registry.example.com", "a[b]", "[a", ".example.com", "-a", f"{'a' * 64}.com",
                 ".".join(["a" * 60] * 5)]
        said = start("set -f; for each in $NAMES; do SERVER_NAME=$each entrypoint || true; done",
                     NAMES=" ".join(names))
        refused = re.findall(r"SERVER_NAME is a host name or an address, .*: not (\S+)", said)
        self.assertEqual(refused, names, said)
        self.assertNotIn("nginx.conf", said, "nginx was started")
        self.refuses("(?s)bad ip address.*openssl makes no certificate", SERVER_NAME="192.0.2.300")
        self.refuses("no quotes, semicolons", SERVER_NAME="a;b")

    def test_a_certificate_for_another_name_is_remarked(self):
        said = start("SERVER_NAME=a.example.com entrypoint; SERVER_NAME=b.example.com entrypoint;"
                     "SERVER_NAME=192.0.2.1 entrypoint")
        self.starts(said, 3)
        remarks = re.findall(r"clients will refuse (\S+): it is not for SERVER_NAME (\S+)", said)
        self.assertEqual(remarks, [(f"{KEPT}/certificate.pem", "b.example.com"),
                                   (f"{KEPT}/certificate.pem", "192.0.2.1")])

    def test_networks(self):
        line = f"entrypoint; grep registry_auth_backends {RUN}/nginx.conf"
        self.assertIn("registry_auth_backends allow=10.0.0.0/8 allow=172.16.0.0/12 allow=192.168.0.0/16 "
                      "allow=fd00::/8;", start(line))
        self.assertIn("registry_auth_backends allow=10.1.0.0/16 allow=10.2.0.0/16;",
                      start(line, REGISTRY_AUTH_ALLOW=" 10.1.0.0/16\t10.2.0.0/16 "))
        for none in ("", " "):
            self.refuses("REGISTRY_AUTH_ALLOW names no network", REGISTRY_AUTH_ALLOW=none)
        # No name of a file.
        self.assertRegex(start(line, REGISTRY_AUTH_ALLOW="*"), r'\[emerg\].*"allow=\*"')

    def test_the_password_file_is_called_as_registry_authctl_calls_it(self):
        password = f"{KEPT}/redis-password"
        said = start(f"install -m 600 /etc/hostname {password}; entrypoint; grep password {RUN}/nginx.conf",
                     REGISTRY_AUTH_REDIS_PASSWORD_FILE=password)
        self.starts(said)
        self.assertIn(f"registry_auth_redis_password_file {password};", said)
        self.refuses("is called REGISTRY_AUTH_REDIS_PASSWORD_FILE",
                     REGISTRY_AUTH_PASSWORD_FILE="/etc/hostname")

    def test_health_and_metrics_listen_on_ipv6_where_there_is_one(self):
        said = start(f"entrypoint; grep -h '8080' {RUN}/nginx.conf; test ! -e /proc/net/if_inet6 || echo six")
        self.starts(said)
        self.assertIn("listen 8080;", said)
        self.assertEqual("listen [::]:8080;" in said, "six\n" in said)

    def test_a_command_is_run_in_its_place(self):
        self.assertEqual(start("umask 022; entrypoint sh -c 'umask; echo ran'"), "0022\nran\n")


if __name__ == "__main__":
    unittest.main()
