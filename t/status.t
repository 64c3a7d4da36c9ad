# registry_auth_status: the zone's counters as HTML, JSON and for
# Prometheus; they are all workers', and live over a reload.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use JSON::PP qw(decode_json);

sub numbers { return decode_json(http('GET /status?format=json', login => '')->{body}) }

# The status location within a server where the gate is on.
our $CONFIG = zone_config() . <<'EOC';
        registry_auth "Registry";
        location = /status { registry_auth_status; }
EOC

defaults(
    http_config => zone_http('zone=auth:1m'),
    config      => $CONFIG,
    accounts    => "warm:secret\nalice:secret\n",
    restart     => '',    # an empty zone
);
my $spec = join '', <DATA>;
my $two = "two workers\n--- workers: 2\n--- skip_valgrind: one process there";
run_tests($spec . $spec =~ s/^(=== .*)$/$1, $two/mgr);

__DATA__
=== each decision is counted once, by its result and by whether it asked the zone, whichever worker made it
--- login eval
[ "alice:secret", "alice:secret", "alice:wrong", "", "alice:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 4, "GET /v2/bob/app/tags/list", "GET /v2/alice/../x/tags/list" ]
--- error_code eval
[ 200, 200, 401, 401, 403, 400 ]
--- after
my %expected = (granted => 2, unauthenticated => 2, denied => 1, invalid => 1, throttled => 0,
    unavailable => 0, anonymous => 0);
soon('by result', join(' ', map {"$_=$expected{$_}"} sort keys %expected), sub {
    my $now = main::numbers();
    join ' ', map {"$_=$now->{requests}{$_}"} sort keys %expected;
}, 10);
my $cache = main::numbers()->{cache};
equal($cache->{HIT} + $cache->{MISS}, 4, 'the zone was asked by those who sent a password and a legal path');
equal($cache->{STALE} + $cache->{BYPASS}, 0, 'nothing was stale, nor without a zone');

=== what the zone holds, and how much of it is free
--- init
in_each_worker('warm:secret');
--- login: alice:secret
--- request
GET /v2/
--- after
my $numbers = main::numbers();
# warm, alice, the group public and the defaults
equal($numbers->{records}, 4, 'records');
equal($numbers->{tracking}, 1, 'Redis tells of changes');
equal($numbers->{zone_bytes} > 900_000 && $numbers->{zone_bytes} <= 1_048_576 ? 'so' : $numbers->{zone_bytes},
    'so', 'size');
equal($numbers->{zone_free_bytes} > 500_000 && $numbers->{zone_free_bytes} < $numbers->{zone_bytes} ? 'so'
    : $numbers->{zone_free_bytes}, 'so', 'free');

=== the numbers live over a reload
--- skip_valgrind: one process does not reload
--- init
in_each_worker('warm:secret');
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 3 ]
--- after
my $before;
soon('all are counted', 'so',
    sub { $before = main::numbers()->{requests}{granted}; $before >= 3 ? 'so' : $before }, 5);
my @old = nginx_server()->workers;
nginx_server()->reload;
renewed(@old);
my $now = main::numbers()->{requests}{granted};
equal($now >= $before ? 'so' : "$now < $before", 'so', 'not fewer than before');

=== a page for people, JSON, text for Prometheus, an error for another form or method
--- login:
--- request eval
[ "GET /status", "GET /status?format=prometheus", "GET /status?format=json", "GET /status?format=openmetrics",
    "GET /status?format=xml", "POST /status", "HEAD /status" ]
--- error_code eval
[ 200, 200, 200, 200, 400, 405, 200 ]
--- response_headers eval
[ "Content-Type: text/html; charset=utf-8", "Content-Type: text/plain; version=0.0.4",
    "Content-Type: application/json",
    "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8",
    "Content-Type: text/html", "Content-Type: text/html", "Content-Type: text/html; charset=utf-8" ]
--- response_body_like eval
[ qr{<th scope="row">granted</th><td class="n">\d+</td>}, qr{^# TYPE registry_auth_requests_total counter$}m,
    qr{"requests":\{}, qr{^# EOF\n\z}m, qr{400 Bad Request}, qr{405 Not Allowed}, qr{^$} ]

=== Accept chooses the form; without one, or with any, it is the page
--- after
my $form = sub {
    my ($accept, $query) = @_;
    my $answer = http('GET /status' . ($query // ''), headers => defined $accept ? "Accept: $accept" : '');
    equal(header($answer, 'Vary'), 'Accept', 'caches know');
    return header($answer, 'Content-Type') =~ s/;.*//r;
};
equal($form->($_), 'text/html', $_ // 'none')
    for undef, '*/*', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'image/png';
equal($form->('application/json'), 'application/json', 'JSON');
equal($form->('text/plain;version=0.0.4;q=1,*/*;q=0.1'), 'text/plain', 'an old Prometheus');
equal($form->('application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'),
    'application/openmetrics-text', 'Prometheus');
equal($form->("text/html\nAccept: application/json;q=0.9"), 'text/html', 'two headers are one');
equal($form->('text/html', '?format=json'), 'application/json', 'the query is stronger');

=== the page: what runs, since when, which Redis, and no script
--- init
in_each_worker('warm:secret');
--- login:
--- request
GET /status
--- response_body_like eval
qr{^<!DOCTYPE html>.*<h1>registry auth \d+\.\d+\.\d+</h1>
<p>nginx 1\.\d+\.\d+ · \d+ workers? · counting since 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(\d+ s\)</p>
.*<b class="ok">reachable</b><small>redis://127\.0\.0\.1:\d+/0<br>tells of changes</small>.*
<h2>Cache zone “auth”</h2>}s
--- response_headers_like
Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; .*
Cache-Control: no-store

=== promtool finds nothing to complain about
--- after
my $file = expand('$TEST_NGINX_SERVROOT/metrics.txt');
open my $out, '>', $file or die $!;
print {$out} http('GET /status?format=prometheus')->{body};
close $out;
my $said = `promtool check metrics <$file 2>&1`;
equal("$? $said", '0 ', 'promtool check metrics');

=== requests by route and action
--- login: alice:secret
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "GET /v2/alice/app/manifests/v1", "HEAD /v2/alice/app/manifests/v1", "PUT /v2/alice/app/manifests/v1",
    "GET /v2/alice/app/blobs/$d", "POST /v2/alice/app/blobs/uploads/", "DELETE /v2/bob/app/manifests/v1",
    "GET /nothing" ]
--- error_code eval
[ 200, 200, 200, 200, 200, 403, 404 ]
--- after
my $routes = sub {
    my @count;
    for my $row (grep { $_->{route} ne 'login' } @{ main::numbers()->{routes} }) {
        my $what = "$row->{route}/" . ($row->{action} // '-');
        push @count, map {"$what/$_=$row->{requests}{$_}"} keys %{ $row->{requests} };
    }
    return join ' ', sort @count;
};
soon('counts', 'blob/pull/granted=1 manifest/delete/denied=1 manifest/pull/granted=2 '
    . 'manifest/push/granted=1 none/-/invalid=1 upload/push/granted=1', $routes, 5);

=== how long lookups and hashes took, how many workers there are, and connections to Redis
--- users
alice:secret hash=bcrypt
--- login: alice:secret
--- request
GET /v2/
--- after
my $now;
soon('one slow hash', 1, sub { $now = main::numbers(); $now->{hashing_duration_seconds}{count} }, 5);
equal($now->{lookup_duration_seconds}{count} >= 1 ? 'so' : 0, 'so', 'a lookup');
my $sum = $now->{hashing_duration_seconds}{sum};
equal($sum > 0.001 ? 'so' : $sum, 'so', 'its time');
soon('nothing is left to be done', '0 0 0 0',
    sub { join ' ', @{ main::numbers() }{qw(hashing_queued hashing_running requests_waiting lists)} }, 5);
my $apart = sub { my $now = main::numbers(); $now->{workers} - $now->{redis_connected_workers} };
soon('all workers are connected', 0, $apart, 5);
equal($now->{redis_outages}, 0, 'no outage');

=== an outage of Redis is counted, and seen
--- users
alice:secret
--- init
in_each_worker('alice:secret');
--- after
my $workers = main::numbers()->{workers};
redis_server()->stop;
soon('outages', $workers, sub { main::numbers()->{redis_outages} }, 5);
equal(http('GET /v2/', login => 'alice:secret')->{status}, 503, 'refused');
my $page = http('GET /status')->{body};
equal($page =~ /<b class="bad">unreachable</ ? 'so' : $page, 'so', 'the page');
soon('failed lookups', 'so', sub { main::numbers()->{lookups_failed} >= 1 ? 'so' : 'none' }, 5);
soon('nobody is connected', 0, sub { main::numbers()->{redis_connected_workers} }, 5);

=== pages of the catalogue are counted
--- backend
body: {"repositories":["alice/app"]}
header: Content-Type: application/json
--- login: alice:secret
--- request
GET /v2/_catalog
--- after
soon('pages', 1, sub { main::numbers()->{catalog_pages} }, 5);

=== a worker that was killed is no worker any more
--- skip_valgrind: one process there
--- workers: 2
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/
--- after
soon('two', 2, sub { main::numbers()->{workers} }, 5);
kill KILL => (nginx_server()->workers)[0];
soon('two again', 2, sub { my $now = eval { main::numbers() }; $now ? $now->{workers} : 'none' }, 5);

=== the page asks for no account, being no registry's route; who may see it is said by allow and deny
--- config eval
$main::CONFIG =~ s/registry_auth_status;/registry_auth_status; deny all;/r
--- login: alice:secret
--- request
GET /status
--- error_code: 403
