"""The gate in the storm: nginx with two workers over HTTP/1, 2 and 3, its Redis, and what changes meanwhile.

With an nginx that is built with AddressSanitizer, a report of it is a file in the stage's folder.
"""

import glob
import os
import signal
import time
from pathlib import Path

from benchlib import conf, gateway, people
from endurancelib.gate import PATIENCE, Broken
from testkit import ports, tls

WORKERS = 2
CONFIGURATION = """\
load_module {module};
{user}worker_processes {workers};
daemon off;
{files}worker_shutdown_timeout 5s;
events {{ worker_connections 2048; }}
http {{
    access_log {root}/access.log combined;
    log_format gate '$registry_auth_user $registry_auth_repository $registry_auth_action '
                    '$registry_auth_result $registry_auth_backend';
{paths}    client_header_timeout 5s;
    client_body_timeout 5s;
    limit_req_zone $binary_remote_addr zone=slow:1m rate=20r/s;
    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=500ms connect_timeout=300ms;
    registry_auth_hashing threads=1 queue=8;
    registry_auth_prefix P;
    registry_auth_cache zone=storm:{zone} ttl=2s;
    upstream registry {{
        registry_auth_backends;
        server 127.0.0.1:{backend};
        keepalive 8;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Authorization "";
    proxy_read_timeout 5s;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{port_h2};
        listen 127.0.0.1:{port_h3} quic reuseport;
        listen 127.0.0.1:{port_h3} ssl;
        http2 on;
        ssl_certificate {root}/certificate.pem;
        ssl_certificate_key {root}/key.pem;
        client_max_body_size 1m;
        access_log {root}/gate.log gate;
        location /v2/ {{
            registry_auth registry;
            proxy_pass http://registry;
        }}
        location = /token {{
            registry_auth registry;
            registry_auth_bearer https://127.0.0.1:{port_h3}/token service=registry;
            registry_auth_token;
        }}
        location /moved/ {{
            registry_auth registry;
            rewrite ^/moved(/.*) $1 break;
            proxy_pass http://registry;
            error_page 401 403 503 = /v2/;
            post_action /mirrored/after;
        }}
        location /mirrored/ {{
            registry_auth registry;
            rewrite ^/mirrored(/.*) $1 break;
            mirror /mirror;
            proxy_pass http://registry;
        }}
        location = /mirror {{
            internal;
            proxy_pass http://127.0.0.1:{backend}/v2/;
        }}
        location /limited/ {{
            registry_auth registry;
            limit_req zone=slow burst=5;
            rewrite ^/limited(/.*) $1 break;
            proxy_pass http://registry;
        }}
        location = /status {{ registry_auth_status; }}
    }}
}}
"""


class Gate:
    """The running whole. `weather` are functions that change something, given random numbers."""

    def __init__(self, stage, nginx, module):
        self.redis = stage.redis("redis", durable=True)
        self.backend_port, self.port, self.port_h2, self.port_h3 = (ports.free() for _ in range(4))
        self._root = Path(stage.path("gate"))
        self._root.mkdir()
        tls.make(self._root)
        self.authority = str(self._root / "ca.crt")
        self.seed()
        text = conf.fill(
            CONFIGURATION, self._root, "debug", module=module, workers=WORKERS, redis=self.redis.port,
            zone="256k",
            backend=self.backend_port, port=self.port, port_h2=self.port_h2, port_h3=self.port_h3,
        )
        # What it finds before a stop is a file; the stop itself must not look for leaks in what nginx never
        # frees.
        os.environ["ASAN_OPTIONS"] = (f"log_path={self._root}/asan:detect_leaks=0:abort_on_error=1"
                                      ":disable_coredump=1:detect_odr_violation=0")
        self.master = gateway.start(stage, nginx, "gate", text, self.port, {stage.nginx_cpu, stage.load_cpu})
        self.weather = [self.change, self.change, self.change, self.flush, self.break_connections,
                        self.freeze,
                        self.reload]

    def seed(self):
        commands = [["HSET", f"P:user:user{number}", "password",
                     people.sha(people.password_of(f"user{number}"))] for number in range(500)]
        for name in ("alice", "bob"):
            commands.append(["HSET", f"P:user:{name}", "password", people.sha(people.password_of(name)),
                             "groups", "team", "grant:shared/**", "*"])
        commands.append(["HSET", "P:user:member", "password", people.sha(people.password_of("member")),
                         "groups", "team other more",
                         "backends", f"127.0.0.1:{self.backend_port} 127.0.0.1:1"])
        commands.append(["HSET", "P:user:slow", "password", people.bcrypt(people.password_of("slow"), 8)])
        commands += [["HSET", f"P:group:{group}", f"grant:{group}/**", "pull"]
                     for group in ("team", "other", "more")]
        commands.append(["HSET", "P:group:public", "grant:public/**", "pull"])
        self.redis.commands(commands)

    def change(self, chance):
        """A user comes, goes or changes."""
        name = f"user{chance.randrange(500)}"
        if chance.random() < 0.5:
            self.redis.command("DEL", f"P:user:{name}")
        else:
            self.redis.command("HSET", f"P:user:{name}", "password", people.sha(people.password_of(name)),
                               f"grant:x{chance.randrange(99)}/**", "pull")
        self.redis.command("HSET", "P:group:team", f"grant:team{chance.randrange(9)}/**", "pull,push")

    def flush(self, _):
        self.redis.command("FLUSHALL")
        self.seed()

    def break_connections(self, _):
        self.redis.kill_clients()

    def freeze(self, chance):
        """Redis answers nothing for a while, for longer than the gate waits now and then."""
        self.redis.freeze()
        time.sleep(chance.uniform(0.05, 0.9))
        self.redis.thaw()

    def reload(self, _):
        self.master.send(signal.SIGHUP)

    def settle(self):
        """What it was at the beginning."""
        self.flush(None)
        self._alive()

    def _alive(self):
        if not self.master.running():
            raise Broken(f"nginx has ended with {self.master.exit_code()}")

    def stop(self):
        """Ends nginx gracefully."""
        self._alive()
        self.master.send(signal.SIGQUIT)
        if not self.master.wait(6 * PATIENCE):
            raise Broken(f"nginx does not end within {6 * PATIENCE} s")

    def reports(self):
        """AddressSanitizer's."""
        texts = []
        for path in sorted(glob.glob(str(self._root / "asan.*"))):
            with open(path, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return texts

    def check_logs(self):
        """No report, no worker that died, no alert."""
        if reports := self.reports():
            raise Broken(f"AddressSanitizer: {len(reports)} reports, the first:\n{reports[0][:6000]}")
        if bad := self.bad_lines():
            raise Broken("nginx logged:\n" + "\n".join(bad[:12]))

    def bad_lines(self):
        with open(self._root / "error.log", encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip() for line in file if "[alert]" in line or "[emerg]" in line
                     or "panicked" in line or "exited on signal" in line]
        # Connections that worker_shutdown_timeout or QUIC leave at the end of a worker, which nginx itself
        # tells so.
        return [line for line in lines if "open socket #" not in line and "aborting" not in line]

    def log(self):
        """What may explain a failure."""
        return "\n".join([*self.reports()[:1], *self.bad_lines()[-12:]])[:8000]
