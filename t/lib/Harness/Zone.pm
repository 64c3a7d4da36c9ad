# For tests of the shared zone (cache.t, failures.t, reload.t): the gate with
# headers that tell where a decision came from, and waiting for an effect.
# What Redis pushes arrives a moment later, so that each effect of a change is
# waited for with a generous bound; nothing here sleeps for a fixed time.
package Harness::Zone;

use strict;
use warnings;

use Exporter qw(import);
use Test::More;
use Time::HiRes qw(sleep time);

use Harness::Valgrind;

our @EXPORT = qw(zone_http zone_config asked verdict everywhere equal soon always in_each_worker
    renewed reload header);

# The block that runs, for the names of its tests.
my $block = '';
Harness::add_block_preprocessor(sub { $block = $_[0]->name });

sub equal {
    my ($got, $expected, $name) = @_;
    is($got, $expected, "$block - $name");
}

# The upstream and the zone: zone_http('zone=auth:1m ttl=5s').
sub zone_http {
    my ($arguments) = @_;
    return Harness::gate_http() . ($arguments ? "    registry_auth_cache $arguments;\n" : '');
}

sub zone_config {
    my ($directives) = @_;
    return Harness::gate_config(join "\n", $directives // '', map {"add_header $_ always;"}
        'X-Cache $registry_auth_cache', 'X-Backend $registry_auth_backend',
        'X-Result $registry_auth_result', 'X-Worker $pid');
}

sub header {
    my ($answer, $name) = @_;
    return (Harness::Response::values_of($answer, $name))[0] // '';
}

# "200 HIT": the status and where it came from.
sub verdict { return join ' ', $_[0]{status}, header($_[0], 'X-Cache') }

sub asked {
    my ($login, $uri, %arg) = @_;
    return verdict(Harness::http('GET ' . ($uri // '/v2/'), login => $login, %arg));
}

# The statuses of many requests at once, so that every worker gets some.
sub everywhere {
    my ($login, $uri) = @_;
    my %seen = map { $_->{status} => 1 } Harness::http_many(16, 'GET ' . ($uri // '/v2/'), login => $login);
    return join ' ', sort keys %seen;
}

# That the code gives this value soon.
sub soon {
    my ($name, $expected, $code, $limit) = @_;
    my $deadline = time + Harness::Valgrind::timeout($limit // 2);
    my $got = $code->();
    while ($got ne $expected && time < $deadline) {
        sleep 0.01;
        $got = $code->();
    }
    equal($got, $expected, $name);
}

# That it gives nothing else for some time.
sub always {
    my ($name, $expected, $code) = @_;
    my %seen = map { $code->() => 1 } 1 .. 20;
    equal(join(', ', sort keys %seen), $expected, $name);
}

# Waits until every worker answers this user from the zone: from then on Redis
# tells each of them of changes. The user must exist in Redis. In place of the
# login, undef, there may be headers.
sub in_each_worker {
    my ($login, %arg) = @_;
    my %seen;
    my $deadline = time + Harness::Valgrind::timeout(10);
    while (time < $deadline) {
        my @worker = Harness::nginx_server()->workers;
        $seen{ header($_, 'X-Worker') } = 1
            for grep { verdict($_) eq '200 HIT' } Harness::http_many(8, 'GET /v2/', login => $login, %arg);
        return 1 unless grep { !$seen{$_} } @worker;
        sleep 0.01;
    }
    die "not every worker answers " . ($login // 'them') . " from the zone\n";
}

# Waits until none of these workers runs, but others do.
sub renewed {
    my (@old) = @_;
    my $deadline = time + Harness::Valgrind::timeout(10);
    while (time < $deadline) {
        my %now = map { $_ => 1 } Harness::nginx_server()->workers;
        return 1 unless grep { $now{$_} } @old;
        sleep 0.01;
    }
    die "workers @old are still there\n";
}

# Has nginx read its configuration again, after `$change` (a function of its
# text), if there is one; returns when the old workers are gone.
sub reload {
    my ($change) = @_;
    my @old = Harness::nginx_server()->workers;
    if ($change) {
        my $text = $change->(Harness::nginx_server()->{running});
        die "the configuration is the same\n" if $text eq Harness::nginx_server()->{running};
        Harness::nginx_server()->write_configuration($text);
    }
    Harness::nginx_server()->reload;
    return renewed(@old);
}

1;
