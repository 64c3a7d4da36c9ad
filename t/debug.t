# nginx's debug log looks into what the module's events point to. Run under
# memcheck (`make valgrind`) and AddressSanitizer (`make asan`), too, which see
# what a plain run may not.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

defaults(
    http_config => zone_http('zone=auth:1m'),
    config      => zone_config(),
    accounts    => "warm:secret\nalice:secret\n",
    log_level   => 'debug',
    needs       => '--with-debug',
    restart     => '',
);
run_tests();

__DATA__
=== the timer of a waiting request, which is no connection's, is logged with no descriptor
--- login: alice:secret
--- request: GET /v2/
--- error_log eval
qr/event timer add: -1: (?:6|9)\d{4}:(\d+)\n.*event timer del: -1: \1\n/s

=== and so is that of the counters, which runs off
--- login: alice:secret
--- request: GET /v2/
--- wait: 1.2
--- error_log eval
qr/event timer add: -1: 1000:(\d+)\n.*event timer del: -1: \1\n/s
