# The shipped audit.conf: one line of JSON for each decision that matters, to a
# file or to syslog, and the variables that it is made of.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use IO::Socket::INET;
use JSON::PP ();

our $DIGEST = 'sha256:' . 'ab' x 32;
our $TOKEN  = access_token();
our $SYSLOG = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1') or die $!;
our $HTTP   = gate_http() . <<'EOC';
    include $TEST_NGINX_ROOT/nginx/audit.conf;
    access_log $TEST_NGINX_SERVROOT/logs/audit.log registry_audit if=$registry_audit_event;
EOC

# The lines of the log.
sub lines {
    my $file = expand('$TEST_NGINX_SERVROOT/logs/audit.log');
    return -e $file ? split /\n/, slurp($file) : ();
}

# Those that were written since the last call, as soon as there are so many; each has to be JSON in UTF-8.
our $seen = 0;

sub audited {
    my ($count) = @_;
    soon("$count lines", $count, sub { my @all = lines(); @all - $seen });
    my @all = lines();
    my @new = splice @all, $seen;
    $seen += @new;
    return map { JSON::PP->new->utf8->decode($_) } @new;
}

# That a line has these fields.
sub says {
    my ($name, $line, %expected) = @_;
    equal(join(' ', map {"$_=$line->{$_}"} sort keys %expected),
        join(' ', map {"$_=$expected{$_}"} sort keys %expected), $name);
}

defaults(
    http_config => $HTTP,
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    init        => '$main::seen = () = main::lines()',
    redis       => "HSET docker-registry:user:bob grant:team/* pull,push grant:!team/secret *\n"
        . stored_token('bob', 'ci', $TOKEN, 90 * 86_400, 'team/*:pull,push'),
);
run_tests();

__DATA__
=== a push is a line for its manifest and one for each blob, with digest and rule; a pull is none
--- backend
status: 201
header: Docker-Content-Digest: sha256:abababababababababababababababababababababababababababababababab
--- after
my ($login, $none) = ('alice:secret', 'HEAD /v2/alice/app/manifests/v1');
http($_, login => $login) for $none, 'GET /v2/alice/app/manifests/v1', 'PATCH /v2/alice/app/blobs/uploads/1';
http('PUT /v2/alice/app/blobs/uploads/1?digest=' . $main::DIGEST, login => $login);
http('PUT /v2/alice/app/manifests/v1', login => $login);
my ($blob, $manifest) = main::audited(2);
main::says('the blob', $blob, event => 'push', user => 'alice', action => 'push',
    repository => 'alice/app', reference => '', digest => $main::DIGEST, rule => 'own namespace',
    status => '201');
main::says('the manifest', $manifest, event => 'push', result => 'granted', user => 'alice',
    token => '', reference => 'v1', digest => $main::DIGEST, method => 'PUT', address => '127.0.0.1');

=== a push of a blob has the digest that the client says, whatever its registry says
--- backend
status: 201
header: Docker-Content-Digest: sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
--- after
http("$_?_state=x&digest=" . $main::DIGEST =~ s/:/%3A/r, login => 'alice:secret')
    for 'PUT /v2/alice/app/blobs/uploads/1', 'POST /v2/alice/app/blobs/uploads/';
main::says($_->{method}, $_, event => 'push', digest => $main::DIGEST, status => '201')
    for main::audited(2);

=== a push or a deletion whose answer the registry has made odd is in it all the same
--- backend
/app/ => raw: HTTP/1.1 201\x01\r\nContent-Length: 0\r\n\r\n
DELETE => raw: HTTP/1.1 0202 Accepted\r\nContent-Length: 0\r\n\r\n
/mounts/ => raw: HTTP/1.1 201 O\x01K\r\nContent-Length: 0\r\n\r\n
/failed/ => status: 500
/other/ => status: 200
/away/ => raw: HTTP/1.1 201 Created\r\nLocation: http://evil.example/x\r\nContent-Length: 0\r\n\r\n
--- after
my $uploads = 'blobs/uploads/';
my @requests = ('PUT /v2/alice/app/manifests/v1', "POST /v2/alice/app/$uploads?digest=$main::DIGEST",
    "POST /v2/alice/mounts/$uploads?mount=$main::DIGEST&from=alice/app", "POST /v2/alice/failed/$uploads",
    "POST /v2/alice/other/$uploads?digest=$main::DIGEST", 'PUT /v2/alice/away/manifests/v1');
http($_, login => 'alice:secret') for @requests, "DELETE /v2/alice/app/manifests/$main::DIGEST";
my @lines = main::audited(scalar @requests + 1);
equal(join(' ', map {"$_->{event}:$_->{status}"} @lines),
    'push:502 push:502 push:502 push:500 push:200 push:502 delete:502', 'events');

=== a push by a grant of a group is in it, whatever the group is called
--- redis
HSET docker-registry:user:alice groups "te|am ci|PUT"
HSET docker-registry:group:te|am grant:team/* push
HSET docker-registry:group:ci|PUT grant:ci/* *
--- after
http("PUT /v2/$_/app/manifests/v1", login => 'alice:secret') for qw(team ci);
http('GET /v2/ci/app/manifests/v1', login => 'alice:secret');
my @lines = main::audited(2);
equal(join('; ', map {"$_->{event}: $_->{rule}"} @lines), 'push: grant team/* push of the group te|am; '
    . 'push: grant ci/* * of the group ci|PUT', 'the lines');

=== a request that begins an upload is none
--- backend
status: 202
--- after
http('POST /v2/alice/app/blobs/uploads/', login => 'alice:secret');
http('PUT /v2/alice/app/manifests/last', login => 'alice:secret');
my ($line) = main::audited(1);
main::says('the push alone', $line, event => 'push', reference => 'last');
=== a push or deletion that was let through has its line, also where the answer was replaced
--- backend
manifests/v1 => raw: nonsense\r\n\r\n
manifests/v2 => raw: HTTP/1.1 150 Odd\r\nContent-Length: 0\r\n\r\n
DELETE => header: Location: http://evil.example/
uploads => header: Location: http://evil.example/
--- after
my $path = '/v2/alice/app';
http($_, login => 'alice:secret')
    for "PUT $path/manifests/v1", "PUT $path/manifests/v2", "DELETE $path/manifests/$main::DIGEST",
    "PUT $path/blobs/uploads/1?digest=$main::DIGEST",
    "POST $path/blobs/uploads/?mount=$main::DIGEST&from=alice/b";
my @lines = main::audited(5);
main::says('line', $_, result => 'unavailable', status => '502', user => 'alice', repository => 'alice/app')
    for @lines;
equal(join(' ', map { $_->{event} } @lines), 'push push delete push push', 'events');

=== a mount without an answer has its line; a started upload has none
--- backend
mount= => close
uploads/ => status: 202
--- after
my $uploads = 'POST /v2/alice/app/blobs/uploads/';
http($_, login => 'alice:secret')
    for $uploads, "$uploads?digest-algorithm=sha256", "$uploads?mount=$main::DIGEST&from=alice/b";
my ($line) = main::audited(1);
main::says('line', $line, event => 'push', status => '502', method => 'POST');

=== more blanks than one in the request line hide no push, and make no attempt of a first request
--- backend
status: 404
--- after
my $uploads = '/v2/alice/app/blobs/uploads/';
my $login   = 'Authorization: ' . Harness::Client::basic('alice:secret') . "\r\n";
sub sent {
    my ($line, $headers) = @_;
    Harness::Client::raw(expand('$TEST_NGINX_SERVER_PORT'),
        ["$line\r\nHost: localhost\r\nConnection: close\r\n$headers\r\n"], 5);
}
my @queries = ("digest=$main::DIGEST", "mount=$main::DIGEST&from=alice/b", "moun%74=$main::DIGEST");
sent("POST  $uploads?$_   HTTP/1.1  ", "${login}Content-Length: 0\r\n") for @queries;
main::says('push', $_, event => 'push', status => '404', method => 'POST', user => 'alice')
    for main::audited(3);
sent($_, '') for 'GET  /v2/ HTTP/1.1', 'GET /v2/   HTTP/1.1', 'GET /v2/ HTTP/1.1 ';
http('PUT /v2/alice/app/manifests/last', login => 'alice:secret');
my ($line) = main::audited(1);
main::says('no attempt', $line, event => 'push', reference => 'last');

=== no request line keeps nginx from its work, nor from its line
--- after
my $login = 'Authorization: ' . Harness::Client::basic('alice:wrong');
my ($all, $half, $third) = map { ' ' x int(7900 / $_) } 1 .. 3;
my @line = ("GET$all/v2/ HTTP/1.1", "GET$half/v2/${half}HTTP/1.1", "GET$third/v2/${third}HTTP/1.1$third",
    'GET /v2/?' . 'x' x 7800 . ' HTTP/1.1',
    'POST /v2/alice/app/blobs/uploads/?' . 'digest' x 1300 . ' HTTP/1.1');
my $cpu = sub {
    my $stat = 0;
    $stat += (split / /, slurp("/proc/$_/stat") =~ s/^.*\) //sr)[11] for nginx_server()->workers;
    return $stat;
};
my $before = $cpu->();
Harness::Client::raw(expand('$TEST_NGINX_SERVER_PORT'),
    ["$_\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n$login\r\n\r\n"], 60) for @line;
main::says('line', $_, event => 'login_failed') for main::audited(scalar @line);
# Hundredths of a second of CPU time; each of the first took ten seconds and more.
my $spent = $cpu->() - $before;
equal($spent < Harness::Valgrind::timeout(100) ? 'little' : $spent, 'little', 'CPU time');
--- no_error_log
pcre2_match
pcre_exec

=== the digest of a manifest is the registry's, and that of an upload one that the client names once
--- backend
status: 201
header: Docker-Content-Digest: sha256:abababababababababababababababababababababababababababababababab
--- after
my $other = 'sha256:' . 'ef' x 32;
my $upload = 'PUT /v2/alice/app/blobs/uploads/1';
http($_, login => 'alice:secret') for "PUT /v2/alice/app/manifests/v1?digest=$other",
    "$upload?%64igest=$main::DIGEST&digest=$other", "$upload?d%69gest=$other",
    'POST /v2/alice/app/blobs/uploads/?from=alice/b&mount=' . $other,
    "POST /v2/alice/app/blobs/uploads/?mount=$main::DIGEST&from=alice/b&digest=$other",
    "POST /v2/alice/app/blobs/uploads/?moun%74=$main::DIGEST&digest=$other";
# Registries read a form's body before the query.
http("$upload?digest=$other\ndigest=$main::DIGEST", login => 'alice:secret',
    headers => "Content-Type: $_")
    for 'application/x-www-form-urlencoded', 'Application/X-WWW-Form-URLencoded; a=b';
my @digest = map { $_->{digest} } main::audited(8);
# Of the last query the gate leaves its digest alone: nobody knows what else it names.
equal(join(' ', @digest), join(' ', ($main::DIGEST) x 2, ($other) x 2, $main::DIGEST, $other,
    ($main::DIGEST) x 2), 'digests');

=== what was uploaded, or was to be mounted, has its digest also where the registry is gone
--- config eval
Harness::gate_config('error_page 502 /sorry?digest=none;')
    . "location = /sorry { internal; return 502 sorry; }\n"
--- backend
uploads => close
--- after
my $path = '/v2/alice/app/blobs/uploads/';
http($_, login => 'alice:secret')
    for "PUT ${path}1?digest=$main::DIGEST", "POST $path?mount=$main::DIGEST&from=alice/b";
main::says('line', $_, event => 'push', status => '502', digest => $main::DIGEST) for main::audited(2);

=== a form's login that its client leaves before it is decided has a line
--- config eval
Harness::Token::token_config()
--- http_config eval
Harness::Token::token_http() . substr($main::HTTP, length Harness::gate_http())
--- init
$main::seen = () = main::lines();
redis_server()->freeze;
--- abort
--- timeout: 0.2
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- request
POST /token
grant_type=password&service=registry&username=alice&password=wrong&client_id=x
--- after
my ($line) = main::audited(1);
redis_server()->thaw;
main::says('line', $line, event => 'login_aborted', status => '499', user => '');

=== a client that goes away before its password is decided has a line, for each guess
--- init
$main::seen = () = main::lines();
redis_server()->freeze;
--- login: alice:wrong
--- abort
--- timeout: 0.2
--- request
GET /v2/
--- after
my ($line) = main::audited(1);
redis_server()->thaw;
main::says('line', $line, event => 'login_aborted', status => '499', user => '', result => '');

=== an expired token is no failed login, and one for something else is an event of its own
--- config eval
Harness::Token::token_config()
--- http_config eval
Harness::Token::token_http() . substr($main::HTTP, length Harness::gate_http())
--- after
my $with = sub { http($_[0], headers => 'Authorization: Bearer ' . $_[1]) };
my $short = token('alice:secret', scope => 'repository:alice/app:pull');
$with->('GET /v2/alice/app/tags/list', signed(sub => 'alice', exp => time - 100));
$with->('PUT /v2/alice/app/manifests/v1', $short);
$with->('GET /v2/alice/app/tags/list', 'x.y.z');
my ($scope, $forged) = main::audited(2);
main::says('scope', $scope, event => 'insufficient_scope', user => 'alice', status => '401');
main::says('forged', $forged, event => 'login_failed', user => '');

=== a deletion has the digest that was asked for
--- backend
status: 202
--- after
http("DELETE /v2/alice/app/manifests/$main::DIGEST", login => 'alice:secret');
my ($line) = main::audited(1);
main::says('line', $line, event => 'delete', action => 'delete', reference => $main::DIGEST,
    digest => '', status => '202');

=== denied: what decided is the denial, or that there is no grant
--- after
http('GET /v2/team/secret/manifests/v1', login => 'bob:secret');
http('DELETE /v2/team/app/manifests/v1', login => 'bob:secret');
my ($denial, $missing) = main::audited(2);
main::says('a denial', $denial, event => 'denied', user => 'bob', repository => 'team/secret',
    reference => 'v1', rule => 'denial !team/secret * of the user', status => '403');
main::says('no grant', $missing, event => 'denied', action => 'delete', rule => 'no grant allows it');

=== the rule of a group names it, whatever groups without grants come before it; public is one, too
--- redis
HSET docker-registry:user:bob groups "empty nowhere crew last"
HSET docker-registry:group:empty backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT
HSET docker-registry:group:crew grant:crew/* push
HSET docker-registry:group:last grant:!crew/secret *
HSET docker-registry:user:alice groups "crew last"
HSET docker-registry:group:public grant:shared/* push grant:!shared/secret *
--- backend
status: 201
--- after
for my $user ('bob', 'alice') {
    http("PUT /v2/$_/manifests/v1", login => "$user:secret")
        for 'crew/app', 'crew/secret', 'shared/app', 'shared/secret';
    my @rules = map { $_->{rule} } main::audited(4);
    equal(join('; ', @rules), 'grant crew/* push of the group crew; denial !crew/secret * of the group last; '
        . 'grant shared/* push of the group public; denial !shared/secret * of the group public', $user);
}

=== by an access token: its id, and the grant that allowed it
--- backend
status: 201
--- after
http('PUT /v2/team/app/manifests/v1', login => "bob:$main::TOKEN");
my ($line) = main::audited(1);
main::says('line', $line, event => 'push', user => 'bob', token => 'ci',
    rule => 'grant team/* pull,push of the user');

=== a login that failed names nobody; a request without one is no attempt
--- after
http('GET /v2/', login => '');
http('GET /v2/', login => 'alice:wrong');
http('GET /v2/alice/app/tags/list', login => 'nobody":wrong');
my ($wrong, $unknown) = main::audited(2);
main::says('line', $_, event => 'login_failed', result => 'unauthenticated', user => '',
    rule => 'incorrect username or password', status => '401')
    for $wrong, $unknown;

=== a hostile client breaks no line: each is JSON whatever it sends
--- after
my @agents = ('"},{"event":"push"', 'a\\', "\xff\xfe", "\xc3\xa4", "tab\there", 'x' x 300,
    '$registry_auth_user');
http('GET /v2/', login => 'alice:wrong', headers => "User-Agent: $_") for @agents;
http('GET /v2/bob/a%0a%22/tags/list', login => 'alice:secret');
http('GET /v2/bob/app/tags/list?"},{', login => 'alice:secret', headers => q{User-Agent: "});
my @lines = main::audited(scalar @agents + 1);
my $clients = join '|', map { $_->{client} } @lines;
equal($clients, '"},{"event":"push"|a\\|||||$registry_auth_user|"', 'what of it is text');
equal(join(' ', map { $_->{event} } @lines), join(' ', ('login_failed') x @agents, 'denied'), 'events');

=== a backend's digest that is none is left out
--- backend
status: 201
header: Docker-Content-Digest: sha256:ab", "user": "root
--- after
http('PUT /v2/alice/app/manifests/v1', login => 'alice:secret');
my ($line) = main::audited(1);
main::says('line', $line, user => 'alice', digest => '');

=== an error page of a backend's refusal loses neither reference nor rule
--- config eval
Harness::gate_config('proxy_intercept_errors on; error_page 400 403 /sorry;')
    . "location = /sorry { internal; return 200 sorry; }\n"
--- backend
status: 400
--- after
http('PUT /v2/alice/app/manifests/v1', login => 'alice:secret');
http('PUT /v2/team/app/manifests/v2', login => 'alice:secret');
my ($pushed, $denied) = main::audited(2);
main::says('pushed', $pushed, event => 'push', reference => 'v1', rule => 'own namespace');
main::says('denied', $denied, event => 'denied', reference => 'v2', rule => 'no grant allows it');

=== V1: a tag is the reference, also of a name that has no namespace in the path
--- redis
HSET docker-registry:user:bob grant:library/* push
--- after
http('PUT /v1/repositories/alice/app/tags/v1', login => 'alice:secret');
http('PUT /v1/repositories/app/tags/v2', login => 'bob:secret');
my ($own, $library) = main::audited(2);
main::says('with one', $own, event => 'push', repository => 'alice/app', reference => 'v1');
main::says('without', $library, event => 'push', repository => 'library/app', reference => 'v2');

=== to syslog
--- init
--- http_config eval
Harness::gate_http() . <<"EOC"
    include \$TEST_NGINX_ROOT/nginx/audit.conf;
    access_log syslog:server=127.0.0.1:@{[$main::SYSLOG->sockport]},facility=authpriv,tag=registry,nohostname
        registry_audit if=\$registry_audit_event;
EOC
--- after
http('DELETE /v2/bob/app/manifests/v1', login => 'alice:secret');
my ($packet, $ready) = ('', '');
vec($ready, fileno $main::SYSLOG, 1) = 1;
# The first one is about the request by which the harness knows that nginx is up.
while ($packet !~ /bob/ && select(my $readable = $ready, undef, undef, 10) > 0) {
    $main::SYSLOG->recv($packet, 65_536);
}
my ($json) = $packet =~ /registry: (\{.*\})$/ or equal($packet, '{...}', 'a packet of syslog');
equal(JSON::PP->new->utf8->decode($json // '{}')->{event}, 'denied', 'its event');
