# registry_auth_backends: the peers of the upstream are the user's backends,
# else P:backends, else the block's own servers; round robin, the next one on
# failure, kept connections, names, and the allow list (rule 14).
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\ncarol:secret\ndave:secret\nerin:secret\nfrank:secret\n",
    login       => 'alice:secret',
);
run_tests();

__DATA__
=== the user's own, then P:backends, then the block's servers
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- backend_received_by: C B C

=== without P:backends the block's own servers
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "bob:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- backend_received_by: A C

=== a ping of nobody goes to the default backends
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login:
--- request
GET /v1/_ping
--- backend_received_by: B

=== balance=turn: round robin over several
--- http_config
    upstream registry { registry_auth_backends balance=turn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT"
--- request eval
[ ("GET /v2/") x 6 ]
--- after
my @by = map { http("GET /v2/", login => "alice:secret")->{body} =~ /^backend: (\w)/ } 1 .. 9;
my %count;
$count{$_}++ for @by;
die "@by" if join(',', map { $count{$_} // 0 } qw(A B C)) ne '3,3,3';

=== balance=turn: round robin over the default ones
--- http_config
    upstream registry { registry_auth_backends balance=turn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- request
GET /v2/
--- after
my @by = map { http("GET /v2/", login => "bob:secret")->{body} =~ /^backend: (\w)/ } 1 .. 6;
my %count;
$count{$_}++ for @by;
die "@by" if join(',', map { $count{$_} // 0 } qw(A B C)) ne '0,3,3';

=== balance=turn: the next one when one does not answer
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- request eval
[ ("GET /v2/") x 4 ]
--- backend_received_by: B B B B
--- error_log
Connection refused

=== balance=turn: the next one when one closes without an answer
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
A => close
--- request eval
[ ("GET /v2/") x 4 ]

=== balance=turn: the next one by proxy_next_upstream http_503
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
--- config eval
Harness::gate_config('proxy_next_upstream error http_503;')
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
A => status: 503
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code: 200

=== an upload is not sent twice
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
close
--- request
POST /v2/alice/app/blobs/uploads/
--- error_code: 502
--- forwarded: 1

=== a push or a deletion that was sent to one is never repeated at another, whoever names them
--- http_config
    upstream registry { registry_auth_backends balance=turn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
--- config eval
Harness::gate_config('proxy_request_buffering off;
    proxy_next_upstream error timeout http_503 non_idempotent;')
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
close
--- login eval
[ "alice:secret", "alice:secret", "alice:secret", "alice:secret", ("bob:secret") x 2 ]
--- request eval
[ "PUT /v2/alice/app/manifests/v1\n" . 'm' x 600, "DELETE /v2/alice/app/manifests/v1",
    "POST /v2/alice/app/blobs/uploads/", "PUT /v1/repositories/alice/app/tags/v1\n\"x\"",
    "PUT /v2/bob/app/manifests/v1\n" . 'm' x 600, "DELETE /v2/bob/app/manifests/v1" ]
--- error_code: 502
--- after
my @by = map { $_->{backend} } @{ Harness::backend()->received };
die "@by" if @by != 6;

=== nor is one that was answered with 503, which the client gets
--- http_config
    upstream registry { registry_auth_backends balance=turn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
--- config eval
Harness::gate_config('proxy_next_upstream error timeout http_503;')
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
status: 503
header: X-Of: registry
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ map { "PUT /v2/$_/app/manifests/v1\n{}" } 'alice', 'bob' ]
--- error_code: 503
--- response_headers
X-Of: registry
--- after
my @by = map { $_->{backend} } @{ Harness::backend()->received };
die "@by" if @by != 2;

=== one that could not be sent goes to the next one
--- http_config
    upstream registry { registry_auth_backends balance=turn;
        server 127.0.0.1:$TEST_NGINX_DEAD_PORT max_fails=0; server 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- login eval
[ ("alice:secret") x 2, ("bob:secret") x 2 ]
--- request eval
[ map { ("PUT /v2/$_/app/manifests/v1\n{}") x 2 } 'alice', 'bob' ]
--- backend_received_by: B B B B
--- error_log
Connection refused

=== none answers: nginx's 502, each tried once
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT"
--- backend
close
--- request
GET /v2/
--- error_code: 502
--- after
my @by = sort map { $_->{backend} } @{ Harness::backend()->received };
die "@by" if "@by" ne 'A B C';

=== one dead backend alone: 502
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_DEAD_PORT
--- request
GET /v2/
--- error_code: 502
--- error_log
Connection refused

=== the default ones are not asked where the user has his own
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_DEAD_PORT
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 502
--- backend_not_received

=== keepalive after registry_auth_backends: connections are used again
--- http_config
    upstream registry { registry_auth_backends; keepalive 8; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request eval
[ ("GET /v2/") x 6 ]
--- backend_received_by: B B B B B B
--- backend_connections: 1

=== a kept connection of one user's backend is not another's
--- http_config
    upstream registry { registry_auth_backends; keepalive 8; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ ("alice:secret", "bob:secret") x 3 ]
--- request eval
[ ("GET /v2/") x 6 ]
--- backend_received_by: B C B C B C
--- backend_connections: 2

=== keepalive before registry_auth_backends, which nginx takes from 1.29.7 on
--- needs: nginx 1.29.7
--- http_config
    upstream registry { keepalive 8; registry_auth_backends; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ ("alice:secret", "bob:secret") x 3 ]
--- request eval
[ ("GET /v2/") x 6 ]
--- backend_received_by: B C B C B C
--- backend_connections: 2

=== keepalive before registry_auth_backends, which nginx refuses before 1.29.7
--- needs: nginx before 1.29.7
--- must_die
--- http_config
    upstream registry { keepalive 8; registry_auth_backends; }
--- error_log
"registry_auth_backends"
before any other balancer and keepalive

=== without keepalive: nginx keeps connections by itself from 1.29.7 on, and tells users' backends apart
--- needs: nginx 1.29.7
--- http_config
    upstream registry { registry_auth_backends; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ ("alice:secret", "bob:secret") x 3 ]
--- request eval
[ ("GET /v2/") x 6 ]
--- backend_received_by: B C B C B C
--- backend_connections: 2

=== keepalive with the block's own servers
--- http_config
    upstream registry { registry_auth_backends; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; keepalive 8; }
--- request eval
[ ("GET /v2/") x 4 ]
--- backend_connections: 1

=== names are resolved
--- redis
HSET docker-registry:user:alice backends localhost:$TEST_NGINX_BACKEND_B_PORT
--- request eval
[ ("GET /v2/") x 2 ]
--- backend_received_by: B B

=== the Host header is the client's, not the backend's
--- redis
HSET docker-registry:user:alice backends localhost:$TEST_NGINX_BACKEND_B_PORT
--- more_headers
Host: registry.example
--- request
GET /v2/
--- backend_received_like
^Host: registry.example$

=== a name that does not resolve: the next one
--- redis
HSET docker-registry:user:alice backends "no-such-host.invalid:80 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- request eval
[ ("GET /v2/") x 2 ]
--- backend_received_by: B B

=== no name resolves: 503, not the defaults
--- redis
HSET docker-registry:user:alice backends no-such-host.invalid:80
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- backend_not_received
--- error_log
no-such-host.invalid

=== no backend at all: 503 UNAVAILABLE with Retry-After
--- http_config
    upstream registry { registry_auth_backends; }
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE ^no registry is assigned to this account$
--- response_headers_like
Retry-After: [1-9]\d*
--- error_log
no backend

=== an emptied list is none: the defaults
--- redis
HSET docker-registry:user:alice backends ""
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- backend_received_by: B

=== a change in Redis holds for the next request
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- after
redis(Harness::expand('HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT'));
my $answer = http("GET /v2/", login => "alice:secret");
die $answer->{body} unless $answer->{body} =~ /^backend: C/;
--- backend_received_by: B C

=== rule 14: a backend outside of allow= is refused with 503 and a log line
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE ^the registry of this account cannot be used$
--- backend_not_received
--- error_log
127.0.0.1:$TEST_NGINX_BACKEND_B_PORT

=== rule 14: allow= with a port allows this port only
--- http_config
    upstream registry { registry_auth_backends allow=127.0.0.0/8:$TEST_NGINX_BACKEND_B_PORT; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 503 ]
--- backend_received_by: B

=== rule 14: several allow=
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8 allow=127.0.0.1/32; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 127.0.0.2:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 503 ]

=== rule 14: a name is judged by what it resolves to
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; }
--- redis
HSET docker-registry:user:alice backends localhost:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 503
--- backend_not_received

=== rule 14: of several only the allowed ones are asked
--- http_config
    upstream registry { registry_auth_backends allow=127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_C_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_D_PORT"
--- request eval
[ ("GET /v2/") x 4 ]
--- backend_received_by: B B B B

=== rule 14: other spellings of an address are that address
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; }
--- redis
HSET docker-registry:user:alice backends [::ffff:127.0.0.1]:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends 2130706433:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:carol backends 127.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:secret", "carol:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503
--- backend_not_received

=== rule 14: an IPv4-mapped address is judged as the IPv4 one
--- http_config
    upstream registry { registry_auth_backends allow=127.0.0.0/8; }
--- redis
HSET docker-registry:user:alice backends [::ffff:127.0.0.1]:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code_like: ^(?:200|502)$

=== rule 14: the default backends are held to it too
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; }
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 503
--- backend_not_received

=== rule 14: the block's own servers are the administrator's
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- request
GET /v2/
--- backend_received_by: A

=== rule 14: and no way out for a user whose own are refused
--- http_config
    upstream registry { registry_auth_backends allow=10.0.0.0/8; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- error_code: 503
--- backend_not_received

=== rule 14: no unix socket, no URL, no path, ever
--- redis
HSET docker-registry:user:alice backends unix:$TEST_NGINX_REDIS_SOCKET
HSET docker-registry:user:bob backends http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT/
HSET docker-registry:user:carol backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT/v2/bob
--- login eval
[ "alice:secret", "bob:secret", "carol:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503
--- oci_error: UNAVAILABLE
--- backend_not_received
--- error_log
docker-registry:user:alice
docker-registry:user:bob
docker-registry:user:carol

=== one bad entry of a list is skipped, with a line in the log, where there is a good one
--- redis
HSET docker-registry:user:dave backends "http://127.0.0.1:1 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT unix:/x"
RPUSH docker-registry:backends "not a backend"
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "dave:secret", "erin:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 200
--- backend_received_by: B C
--- error_log
record docker-registry:user:dave: the backend "
record docker-registry:backends: the backend "

=== a host without a port is port 80, as the 2014 gate had it
--- http_config
    upstream registry { registry_auth_backends allow=192.0.2.0/24; }
--- redis
HSET docker-registry:user:dave backends 127.0.0.1
RPUSH docker-registry:backends 127.0.0.2
--- login eval
[ "dave:secret", "erin:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503
--- error_log
backend "127.0.0.1" (127.0.0.1:80) is not permitted by "allow"
backend "127.0.0.2" (127.0.0.2:80) is not permitted by "allow"

=== where no entry is good, the record cannot be read: nobody is sent to the backends of others
--- redis
HSET docker-registry:user:dave backends 127.0.0.1:
HSET docker-registry:user:erin backends :5000
HSET docker-registry:user:frank backends 127.0.0.1:99999
--- login eval
[ "dave:secret", "erin:secret", "frank:secret" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 503
--- oci_error: UNAVAILABLE
--- backend_not_received
--- error_log
docker-registry:user:dave
docker-registry:user:erin
docker-registry:user:frank

=== a wrong line of P:backends names its key
--- redis
RPUSH docker-registry:backends "not a backend"
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- error_log
docker-registry:backends

=== backends are of no matter to who is not let in
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:wrong", "", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /v2/bob/x/tags/list" ]
--- error_code eval
[ 401, 401, 403 ]
--- backend_not_received

=== an https upstream
--- certificate
--- http_config
    upstream registry { registry_auth_backends; keepalive 4; }
    server {
        listen 127.0.0.1:$TEST_NGINX_TLS_PORT ssl;
        ssl_certificate $TEST_NGINX_SERVROOT/certificate.pem;
        ssl_certificate_key $TEST_NGINX_SERVROOT/key.pem;
        location / {
            proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
            proxy_set_header X-Scheme $scheme;
            proxy_set_header X-Reused $ssl_session_reused;
        }
    }
--- config
        location / {
            registry_auth "Registry";
            proxy_pass https://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_trusted_certificate $TEST_NGINX_SERVROOT/certificate.pem;
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
        }
--- redis
HSET docker-registry:user:alice backends localhost:$TEST_NGINX_TLS_PORT
--- request eval
[ "GET /v2/", "PATCH /v2/alice/app/blobs/uploads/1\nhello", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 200, 200, 403 ]
--- backend_received_like
^X-Scheme: https$
^hello

=== $registry_auth_backend is the peer that was asked last
--- config eval
Harness::gate_config('add_header X-Backend $registry_auth_backend always; proxy_next_upstream error;')
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:user:bob backends localhost:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "alice:secret", "bob:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code eval
[ 200, 200, 401 ]
--- response_headers_like eval
[ 'X-Backend: 127.0.0.1:\d+', 'X-Backend: (?:localhost|127.0.0.1|\[::1\]):\d+', undef ]

=== $upstream_addr tells the tries
--- config eval
Harness::gate_config('add_header X-Upstream $upstream_addr always;')
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/
--- response_headers
X-Upstream: 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT

=== the upstream used without the gate: the block's own servers
--- config
        location / { proxy_pass http://registry; }
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /anything
--- backend_received_by: A

=== and where it has none, 503
--- http_config
    upstream registry { registry_auth_backends; }
--- config
        location / { proxy_pass http://registry; }
--- request
GET /anything
--- error_code: 503

=== an upstream chosen by a variable
--- http_config eval
Harness::gate_http() . 'map $uri $where { default registry; }'
--- config eval
Harness::gate_config() =~ s{http://registry}{http://\$where}r
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- request
GET /v2/alice/app/tags/list?a=b
--- backend_received_by: B
--- forwarded: 1

=== weights, backups and down of the block's own servers are nginx's
--- http_config
    upstream registry {
        registry_auth_backends;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT down;
        server 127.0.0.1:$TEST_NGINX_DEAD_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT backup;
    }
--- request eval
[ ("GET /v2/") x 2 ]
--- backend_received_by: C C
--- error_log
Connection refused

=== many users with many backends at once
--- redis eval
CORE::join '', map { my $port = '$TEST_NGINX_BACKEND_' . ('', 'B_', 'C_', 'D_')[$_ % 4] . 'PORT';
    "HSET docker-registry:user:u$_ password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= backends 127.0.0.1:$port\n"
        } 1 .. 60
--- request
GET /v2/
--- after
my @answer = Harness::http_many(60, "GET /v2/", login => 'u%d:secret');
for my $i (1 .. 60) {
    my $want = ('A', 'B', 'C', 'D')[$i % 4];
    die "u$i: $answer[$i - 1]{status} $answer[$i - 1]{body}"
        unless $answer[$i - 1]{body} =~ /^backend: $want/;
}

=== a shared zone of the upstream, with servers and without a reload's confusion
--- restart
--- skip_valgrind: there is no master to reload
--- http_config
    upstream registry { zone registry 64k; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; registry_auth_backends;
        keepalive 4; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- after
nginx_server()->reload;
Time::HiRes::sleep(0.3);
for (['alice', 'B'], ['bob', 'A']) {
    my $answer = http('GET /v2/', login => "$_->[0]:secret");
    die "$_->[0]: $answer->{status} $answer->{body}" if $answer->{body} !~ /^backend: $_->[1]/;
}

=== a shared zone of an upstream without servers
--- restart
--- http_config
    upstream registry { registry_auth_backends; zone registry 64k; }
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 503 ]

=== two upstreams, each with its allow list
--- http_config
    upstream registry { registry_auth_backends allow=127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
    upstream other { registry_auth_backends allow=127.0.0.1:$TEST_NGINX_BACKEND_C_PORT; }
--- config eval
Harness::gate_config() . 'location /v1/ { registry_auth "R"; proxy_pass http://other; }'
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_B_PORT 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT"
--- request eval
[ ("GET /v2/", "GET /v1/users/") x 2 ]
--- backend_received_by: B C B C

=== V1: all requests of a user go to one backend of the default list, whatever its order
--- accounts eval
CORE::join '', map {"u$_:secret\n"} 1 .. 16
--- login: u1:secret
--- redis
RPUSH docker-registry:backends \
  127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT 127.0.0.1:$TEST_NGINX_BACKEND_D_PORT
--- request
GET /v1/users/
--- after
my %chosen;
my $push = sub {
    my ($user) = @_;
    my %by;
    for my $request ("PUT /v1/repositories/$user/app/\n[]", "GET /v1/images/0123abcd/json",
        "PUT /v1/images/0123abcd/json\n{}",
        "PUT /v1/images/0123abcd/layer\nx", "PUT /v1/repositories/$user/app/tags/latest\n\"x\"",
            "PUT /v1/repositories/$user/app/images\n[]") {
        my $answer = http($request, login => "$user:secret");
        my ($letter) = $answer->{body} =~ /^backend: (\w)/ or die "$request: $answer->{status}";
        $by{$letter}++;
    }
    return CORE::join ' ', sort keys %by;
};
my @users = map {"u$_"} 1 .. 16;
$chosen{$_} = $push->($_) for @users;
die "$_: $chosen{$_}" for grep { length $chosen{$_} != 1 } @users;
my %all = map { $_ => 1 } values %chosen;
die 'all went to one: ' . (values %chosen)[0] if keys %all < 2;
my @port = qw($TEST_NGINX_BACKEND_PORT $TEST_NGINX_BACKEND_B_PORT $TEST_NGINX_BACKEND_C_PORT
    $TEST_NGINX_BACKEND_D_PORT);
redis('DEL docker-registry:backends');
redis('RPUSH docker-registry:backends ' . CORE::join ' ', map {"127.0.0.1:$_"} reverse @port);
for my $user (@users) {
    my $now = $push->($user);
    die "$user: $now, before $chosen{$user}" if $now ne $chosen{$user};
}

=== V1: also where the user has several backends, and V2 takes turns
--- http_config
    upstream registry { registry_auth_backends balance=turn; server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT"
--- request
GET /v1/users/
--- after
my %by;
$by{v1}{ http("GET /v1/users/", login => "alice:secret")->{body} =~ /^backend: (\w)/ ? $1 : '-' }++
    for 1 .. 9;
$by{v2}{ http("GET /v2/", login => "alice:secret")->{body} =~ /^backend: (\w)/ ? $1 : '-' }++ for 1 .. 9;
die CORE::join ' ', %{ $by{v1} } if keys %{ $by{v1} } != 1 || $by{v1}{'-'};
die CORE::join ' ', %{ $by{v2} } if keys %{ $by{v2} } != 3;

=== V1: a backend that is down passes its users to the next one
--- redis
RPUSH docker-registry:backends \
  127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- request
GET /v1/users/
--- after
my %by;
for my $user (qw(alice bob carol dave erin frank)) {
    my @at = map { http("PUT /v1/images/0123abcd/json\n{}",
        login => "$user:secret")->{body} =~ /^backend: (\w)/ ? $1 : '-' } 1 .. 4;
    my %at = map { $_ => 1 } @at;
    die "$user: @at" if keys %at != 1 || $at{'-'};
}

=== V1: pings of nobody stay at one backend, too
--- redis
RPUSH docker-registry:backends \
  127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT \
  127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login:
--- request
GET /v1/_ping
--- after
my %by;
$by{ http("GET /v1/_ping")->{body} =~ /^backend: (\w)/ ? $1 : '-' }++ for 1 .. 9;
die CORE::join ' ', %by if keys %by != 1 || $by{'-'};
