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
run_tests($spec . $spec =~ s/^(=== .*)$/$1, two workers\n--- workers: 2\n--- skip_valgrind: one process there/mgr);

__DATA__
=== each decision is counted once, by its result and by whether it asked the zone, whichever worker made it
--- login eval
[ "alice:secret", "alice:secret", "alice:wrong", "", "alice:secret", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /v2/", "GET /v2/", "GET /v2/bob/app/tags/list", "GET /v2/alice/../x/tags/list" ]
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

=== HTML for people, text for Prometheus, an error for another format or method
--- login:
--- request eval
[ "GET /status", "GET /status?format=prometheus", "GET /status?format=json", "GET /status?format=xml", "POST /status", "HEAD /status" ]
--- error_code eval
[ 200, 200, 200, 400, 405, 200 ]
--- response_headers eval
[ "Content-Type: text/html", "Content-Type: text/plain; version=0.0.4", "Content-Type: application/json", "Content-Type: text/html", "Content-Type: text/html", "Content-Type: text/html" ]
--- response_body_like eval
[ qr{<th scope="row">requests granted</th><td>\d+</td>}, qr{^# TYPE registry_auth_requests_total counter\nregistry_auth_requests_total\{result="granted"\} \d+$}m, qr{"requests":\{}, qr{400 Bad Request}, qr{405 Not Allowed}, qr{^$} ]

=== the page asks for no account, being no registry's route; who may see it is said by allow and deny
--- config eval
$main::CONFIG =~ s/registry_auth_status;/registry_auth_status; deny all;/r
--- login: alice:secret
--- request
GET /status
--- error_code: 403
