# registry_auth_redis where Redis is one of several: by their addresses, by Sentinel, and a Cluster.
use strict;
use warnings;
use lib 't/lib';
use File::Temp;
use Harness;
use Test::More;
use Harness::Process;
use Harness::Zone;

our $folder = File::Temp->newdir;

sub redis_http {
    my ($url) = @_;
    return gate_http() . "    registry_auth_redis $url timeout=2s connect_timeout=2s;\n";
}

my $sentinel;

sub start_sentinel {
    my ($more) = @_;
    my $file = "$folder/sentinel.conf";
    open my $out, '>', $file or die $!;
    print {$out} Harness::expand("port \$TEST_NGINX_EXTRA_PORT\nbind 127.0.0.1\n$more\n"
            . "sentinel monitor main 127.0.0.1 \$TEST_NGINX_REDIS_PORT 1\n");
    close $out;
    my @command = ('redis-server', $file, '--sentinel');
    $sentinel = Harness::Process::start('sentinel', "$folder/sentinel.out", @command);
    sleep 2;    # nginx was there first, and tries again within a second
}

sub cluster_http {
    my ($prefix) = @_;
    return gate_http()
        . '    registry_auth_redis redis+cluster://127.0.0.1:$TEST_NGINX_EXTRA_PORT '
        . "timeout=2s connect_timeout=2s;\n"
        . "    registry_auth_prefix $prefix;\n";
}

# A Cluster of one node, with the account carol.
sub start_cluster {
    my $port = Harness::expand('$TEST_NGINX_EXTRA_PORT');
    my @options = ('--port', $port, qw(--bind 127.0.0.1 --cluster-enabled yes --save), '', '--cluster-port');
    push @options, Harness::expand('$TEST_NGINX_FAKE_REDIS_PORT'), '--dir', "$folder";
    $sentinel = Harness::Process::start('cluster', "$folder/cluster.out", 'redis-server', @options);
    sleep 1;
    system("redis-cli -p $port CLUSTER ADDSLOTSRANGE 0 16383 >/dev/null");
    my $tool = $ENV{TEST_AUTHCTL} || "$Harness::ROOT/build/registry-authctl";
    my $url = "redis+cluster://127.0.0.1:$port";
    system("printf secret | '$tool' --redis $url --prefix '{docker-registry}' user add carol "
            . "--password-stdin --allow-weak >/dev/null");
    sleep 1;
}

sub stop_sentinel { Harness::Process::stop($sentinel, 'KILL', 5) if $sentinel; undef $sentinel }

run_tests(join '', map { s/^(=== .*\n)/$1--- accounts: alice:secret\n/r } <DATA>);

__DATA__
=== of several addresses the one with a master is asked
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_DEAD_PORT,127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- config eval
Harness::gate_config()
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== a replica is not read, and the log says why
--- http_config eval
main::redis_http('redis://127.0.0.1:$TEST_NGINX_DEAD_PORT,127.0.0.1:$TEST_NGINX_REDIS_PORT')
--- config eval
Harness::gate_config()
--- restart
--- init
redis('REPLICAOF 127.0.0.1 1');
sleep 3;
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
it is a replica
none of them is a master that answers
--- after
redis('REPLICAOF NO ONE');

=== a login at the master that Sentinel names
--- http_config eval
main::redis_http('redis+sentinel://127.0.0.1:$TEST_NGINX_EXTRA_PORT/main/0')
--- config eval
Harness::gate_config()
--- restart
--- init
start_sentinel('');
--- login: alice:secret
--- request
GET /v2/
--- after
stop_sentinel();

=== the log, the status page and its other forms say which server Sentinel has named
--- http_config eval
main::redis_http('redis+sentinel://127.0.0.1:$TEST_NGINX_EXTRA_PORT/main/0')
    . "registry_auth_cache zone=auth:1m;\n"
--- config eval
Harness::gate_config() . <<'EOC'
        location = /status { registry_auth_status; }
EOC
--- restart
--- init
start_sentinel('');
--- login: alice:secret
--- request
GET /v2/
--- after
my $address = Harness::expand('127.0.0.1:$TEST_NGINX_REDIS_PORT');
my %form = (
    html       => "<br>connected to $address<br>",
    json       => qq{"address":"$address"},
    prometheus => qq{address="$address"},
);
for my $form (sort keys %form) {
    soon($form, 1, sub { 0 <= index http("GET /status?format=$form", login => '')->{body}, $form{$form} });
}
main::like(nginx_server()->since('error'),
    qr{(?:connected to \S+/main/0|/main/0 is reachable again), at \Q$address\E$}m, 'the log');
stop_sentinel();

=== Sentinel with a password of its own
--- http_config eval
main::redis_http('redis+sentinel://127.0.0.1:$TEST_NGINX_EXTRA_PORT/main/0') . <<'EOC'
    registry_auth_redis_sentinel_user gate;
    registry_auth_redis_sentinel_password_file $TEST_NGINX_HTML_DIR/password;
EOC
--- config eval
Harness::gate_config()
--- restart
--- user_files
>>> password
old
hunter2
--- init
start_sentinel('user gate on >hunter2 resetkeys +sentinel|master +sentinel|myid +ping +hello');
--- login: alice:secret
--- request
GET /v2/
--- no_error_log
hunter2
--- after
stop_sentinel();

=== the log has a name that Sentinel does not know
--- http_config eval
main::redis_http('redis+sentinel://127.0.0.1:$TEST_NGINX_EXTRA_PORT/other/0')
--- config eval
Harness::gate_config()
--- restart
--- init
start_sentinel('');
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
0 of 1 sentinels name the same master
No such master with that name
--- after
# A sentinel that is slow at first is asked again.
soon('what it says', 1, sub {
    Harness::slurp(Harness::expand('$TEST_NGINX_SERVROOT/logs/error.log')) =~ /No such master/ ? 1 : 0;
}, 10);
stop_sentinel();

=== a login at the node of a Cluster that has the slot
--- http_config eval
main::cluster_http('"{docker-registry}"')
--- config eval
Harness::gate_config()
--- restart
--- init
start_cluster();
--- login eval
[ "carol:secret", "carol:wrong" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]
--- after
stop_sentinel();
