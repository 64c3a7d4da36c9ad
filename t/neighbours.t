# The gate beside nginx's other modules: a matrix, made from the table in
# t/lib/Harness/Neighbours.pm. Each cell is a connection: one request, and an
# ordinary one after it. The body is as long as was announced, the next answer is
# right, status and log are those of the decision, no identity crosses a prefix.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Neighbours;
use Harness::Token;

# What nginx can do is known when it is there.
add_block_preprocessor(
    sub {
        my ($block) = @_;
        $block->set_value(http_config => Harness::Neighbours::http_config(
            $block->zone // '', defined $block->certificate));
    }
);

defaults(
    config     => Harness::Neighbours::config(),
    redis      => Harness::Neighbours::accounts(),
    backend    => Harness::Neighbours::backend(),
    user_files => Harness::Neighbours::files(),
);
run_tests();

__DATA__
=== HTTP/1.1, where each request asks Redis
--- after
Harness::Neighbours::holes();
Harness::Neighbours::run('HTTP/1.1, asked', \&Harness::Neighbours::http1);

=== HTTP/1.1, HTTP/2 and HTTP/3, with a cache
--- certificate
--- zone: zone=auth:1m ttl=300s
--- after
Harness::Neighbours::run('HTTP/1.1, cached', \&Harness::Neighbours::http1);
Harness::Neighbours::run('HTTP/2', \&Harness::Neighbours::http2);
Harness::Neighbours::run('HTTP/3', \&Harness::Neighbours::http3);
