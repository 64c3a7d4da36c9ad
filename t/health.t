# registry_auth_health: 200 while logins can be decided, else 503;
# nobody is asked for a login.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

our $CONFIG = zone_config() . <<'EOC';
        registry_auth "Registry";
        location = /health { registry_auth_health; }
EOC

defaults(
    http_config => zone_http('zone=auth:1m'),
    config      => $CONFIG,
    accounts    => "alice:secret\n",
);

my $spec = '';
my $gate = 'registry_auth R;';
for (
    [ 'where the gate is off',             'location = /health { registry_auth_health; }',
      '"registry_auth_health" needs "registry_auth"' ],
    [ 'where it is turned off',
      "$gate location = /health { registry_auth off; registry_auth_health; }",
      '"registry_auth_health" needs "registry_auth"' ],
    [ 'beside proxy_pass',
      "$gate location = /health { registry_auth_health; proxy_pass http://127.0.0.1:1; }",
      '"proxy_pass" and "registry_auth_health"' ],
    [ 'beside return',                     "$gate location = /health { registry_auth_health; return 200; }",
      '"return" and "registry_auth_health"' ],
    [ 'beside the page with the counters',
      "$gate location = /health { registry_auth_health; registry_auth_status; }",
      '"registry_auth_status" and "registry_auth_health"' ],
    [ 'twice',
      "$gate location = /health { registry_auth_health; registry_auth_health; }", 'duplicate' ],
    [ 'in a server',                       "$gate registry_auth_health;", 'not allowed here' ],
    [ 'with a value',                      "$gate location = /health { registry_auth_health on; }",
      'invalid number of arguments' ],
) {
    my ($title, $config, $said) = @$_;
    $spec .= spec_block("an error of nginx -t: $title", no_redis => '', must_die => '',
        config => "        $config\n", error_log => $said);
}
run_tests($spec . join '', <DATA>);

__DATA__
=== 200 while Redis answers, without a login or with any; nothing goes to a registry
--- login eval
[ "", "alice:secret", "alice:wrong", "mallory:x", "" ]
--- request eval
[ ("GET /health") x 4, "HEAD /health" ]
--- error_code: 200
--- response_headers
Content-Type: application/json
Cache-Control: no-store
!WWW-Authenticate
--- response_body eval
[ ("{\"status\":\"ok\"}\n") x 4, '' ]
--- forwarded: 0

=== another method is no route
--- request eval
[ "POST /health\nx", "DELETE /health" ]
--- error_code: 404
--- oci_error: UNSUPPORTED

=== a health check is no decision: it counts for nothing
--- config eval
"$main::CONFIG        location = /status { registry_auth_status; }\n"
--- restart
--- after
http('GET /health') for 1 .. 5;
http('GET /v2/', login => 'alice:secret');
my $granted = sub { (http('GET /status?format=json')->{body} =~ /"granted":(\d+)/)[0] };
soon('one was counted', 1, $granted, 5);
equal((http('GET /status?format=json')->{body} =~ /"anonymous":(\d+)/)[0], 0, 'none is anonymous');

=== 503 while Redis is down, whatever the cache knows, and 200 again after that
--- restart
--- init
http('GET /v2/', login => 'alice:secret');
http('GET /health');
redis_server()->stop;
--- request
GET /health
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
!WWW-Authenticate
--- response_headers_like
Retry-After: \d+
--- after
redis_server()->start;
soon('it is well again', 200, sub { http('GET /health')->{status} }, 10);

=== what everybody needs cannot be read: no login can be decided
--- redis
SET docker-registry:group:public x
--- request
GET /health
--- error_code: 503
--- oci_error: UNAVAILABLE
--- error_log
record docker-registry:group:public cannot be read

=== who may see it is said by allow and deny
--- config eval
$main::CONFIG =~ s/registry_auth_health;/registry_auth_health; deny all;/r
--- request
GET /health
--- error_code: 403

=== satisfy any does not make it well without having asked
--- config eval
$main::CONFIG =~ s/registry_auth_health;/registry_auth_health; satisfy any; allow all;/r
--- request
GET /health
--- error_code: 503
