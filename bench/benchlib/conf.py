"""nginx.conf of each gate in each frame, and of the backend.

`render` is pure text: ports, paths and limits come in by `Place`. A gate is three snippets:
for http {}, for the upstream, and for the location; everything else is the same for all.
"""

import os
from dataclasses import dataclass

from . import people, streams


@dataclass(frozen=True)
class Place:
    """Where this nginx lives; all paths absolute, all ports on 127.0.0.1."""

    root: str  # folder of its own for pid, logs, temporary files
    port: int
    backend: int
    redis: int = 0
    prefix: str = ""
    module: str = ""
    foreground: bool = False  # one process, for callgrind


# Where every nginx of the benchmarks writes: below its own folder. `{level}` is that of the error log.
FILES = "pid {root}/nginx.pid;\nerror_log {root}/error.log {level};\n"
PATHS = "".join(f"    {kind}_temp_path {{root}}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))


def fill(template, root, level, **values):
    """The template with its values, the folder, and the user as which nginx is started."""
    return template.format(
        root=root, files=FILES.format(root=root, level=level), paths=PATHS.format(root=root),
        user="user root;\n" if os.geteuid() == 0 else "", **values,
    )


MODULE_GATE = """\
    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=5s connect_timeout=5s;
    registry_auth_prefix {prefix};
"""
CACHE = "    registry_auth_cache zone=bench:32m ttl=1h;\n"
USAGE = "    registry_auth_usage zone=usage:1m;\n"
TOKENS = """\
    registry_auth_token_key {root}/../token.key;
    registry_auth_bearer http://127.0.0.1:{port}/token;
"""
HASHING = "    registry_auth_hashing threads=1 queue=256;\n"

ASKED = """\
    upstream asked {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}
"""

# name -> (http, upstream, location)
GATES = {
    "bare": ("", "", ""),
    "auth_basic": ("", "", "auth_basic registry; auth_basic_user_file {root}/htpasswd;"),
    "auth_request": (ASKED, "", "auth_request /asked;"),
    "ours": (MODULE_GATE, "registry_auth_backends;", "registry_auth registry;"),
    "ours_cached": (MODULE_GATE + CACHE, "registry_auth_backends;", "registry_auth registry;"),
    "ours_usage": (MODULE_GATE + CACHE + USAGE, "registry_auth_backends;", "registry_auth registry;"),
    "ours_bearer": (MODULE_GATE + CACHE + TOKENS, "registry_auth_backends;", "registry_auth registry;"),
    "ours_flooded": (MODULE_GATE + HASHING, "registry_auth_backends;", "registry_auth registry;"),
}

FRAME = """\
{load}{user}worker_processes {workers};
{files}{daemon}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
{paths}{http}    upstream registry {{
        {upstream}
        server 127.0.0.1:{backend};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port}{ssl};
        {certificate}
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Connection "";
        proxy_set_header Authorization "";
        {blobs}
        location /v2/ {{
            {location}
            proxy_pass http://registry;
        }}
        location = /asked {{
            internal;
            proxy_pass http://{asked};
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_set_header Authorization $http_authorization;
        }}
        location = /neighbour {{ proxy_pass http://neighbour; }}
        location = /token {{ {token} }}
    }}
    upstream neighbour {{
        server 127.0.0.1:{backend};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
}}
"""
# What answers by itself, and what it is compared to.
ENDPOINT = "registry_auth registry; registry_auth_token;"
PAGE = 'default_type application/json; return 200 "%s";' % ("x" * 1024)

BLOB_LINES = "client_max_body_size 0; proxy_request_buffering off; proxy_buffering off;"

BACKEND = """\
{user}worker_processes 1;
daemon off;
{files}events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_max_body_size 0;
{paths}    sendfile on;
    default_type application/vnd.docker.distribution.manifest.v2+json;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "{kib}"; }}
        location = /asked {{ return 204; }}
        location = /v2/alice/app/blobs/{digest} {{ alias {root}/blob; }}
        location = /v2/alice/app/blobs/uploads/3f0c9d52 {{
            client_body_buffer_size 5m; # read whole and thrown away; `return` alone would not read it
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/taken;
        }}
        location = /taken {{ return 202; }}
    }}
}}
"""


def render(scenario, place):
    """nginx.conf of a scenario's gate at a place."""
    frame, values = scenario.frame, vars(place)
    http, upstream, location = (part.format(**values) for part in GATES[scenario.gate])
    folder = f"{place.root}/../tls"
    tls = f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;"
    return fill(
        FRAME,
        level="error",
        **values,
        load=f"load_module {place.module};\n" if scenario.ours else "",
        daemon="daemon off; master_process off;" if place.foreground else "daemon off;",
        workers=frame.workers,
        ssl=" ssl" if frame.tls else "",
        certificate=tls if frame.tls else "",
        blobs=BLOB_LINES if frame.blobs else "",
        http=http,
        upstream=upstream,
        location=location,
        token=ENDPOINT if scenario.gate == "ours_bearer" else PAGE,
        asked="asked" if scenario.gate == "auth_request" else "registry",
    )


def htpasswd(scenario):
    """The password file, for gates that read one."""
    return people.htpasswd(scenario.users) if scenario.gate == "auth_basic" else None


def backend(root, port):
    """nginx.conf of the registry's stand-in: 1 KiB for a manifest, a file for a blob."""
    return fill(BACKEND, root, "error", port=port, kib="x" * 1024, digest=streams.DIGEST)
