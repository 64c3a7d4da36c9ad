# `balance=` of registry_auth_backends. By default all requests of a
# repository go to one backend of several; while that is down, to the next one, and
# then back. V1 goes by user, whatever is said.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use IO::Socket::INET;
use POSIX ();
use Test::More;

our $all = join ' ', map { '127.0.0.1:$TEST_NGINX_BACKEND_' . "${_}PORT" } '', 'B_', 'C_', 'D_';

# The backend that answers this request.
sub at {
    my ($request, $login, @more) = @_;
    my $answer = http($request, login => $login // 'alice:secret', @more);
    return $answer->{body} =~ /^backend: (\w)/ ? $1 : $answer->{status};
}

# All that clients ask of a repository.
sub requests {
    my ($name) = @_;
    my $digest = 'sha256:' . 'a' x 64;
    return ("HEAD /v2/$name/blobs/$digest", "POST /v2/$name/blobs/uploads/",
        "PATCH /v2/$name/blobs/uploads/1?_state=x\nhello",
        "PUT /v2/$name/blobs/uploads/1?digest=$digest", "GET /v2/$name/blobs/uploads/1",
        "DELETE /v2/$name/blobs/uploads/1",
        "POST /v2/$name/blobs/uploads/?mount=$digest&from=alice/other", "PUT /v2/$name/manifests/latest\n{}",
        "GET /v2/$name/manifests/latest", "GET /v2/$name/tags/list", "GET /v2/$name/referrers/$digest",
        "DELETE /v2/$name/manifests/$digest", "GET /v2/$name/blobs/$digest");
}

# The repositories alice/app1 … by the backend that each has.
sub homes {
    my ($count, $login) = @_;
    return map { $_ => at("GET /v2/alice/app$_/tags/list", $login) } 1 .. $count;
}

# A registry of its own process at the port where none answers, which is backend E. It serves a connection
# this often.
sub registry_at_dead_port {
    my ($most) = @_;
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => expand('$TEST_NGINX_DEAD_PORT'),
        ReuseAddr => 1, Listen => 64)
        or die "listen: $!";
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    local $SIG{PIPE} = 'IGNORE';
    while (my $peer = $socket->accept) {
        my ($count, $in) = (0, '');
        while (sysread $peer, $in, 65_536, length $in) {
            next if $in !~ /\r\n\r\n/;
            last if ++$count > $most;
            $in = '';
            syswrite $peer, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nbackend: E\n";
        }
        close $peer;
    }
    POSIX::_exit(0);
}

sub stop {
    my ($pid) = @_;
    kill 'KILL', $pid;
    waitpid $pid, 0;
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\ncarol:secret\n",
    login       => 'alice:secret',
    redis       => "HSET docker-registry:user:alice backends \"$all\"",
);
run_tests();

__DATA__
=== all requests of a repository go to one backend, and repositories to all
--- request
GET /v2/
--- after
my %used;
for my $number (1 .. 64) {
    my %by;
    http($_, login => 'alice:secret') for main::requests("alice/app$number");
    $by{ $_->{backend} }++
        for grep { $_->{raw} =~ m{ /v2/alice/app$number/} } @{ Harness::backend()->received };
    main::is(CORE::join(' ', values %by), 13, "app$number");
    $used{$_}++ for keys %by;
}
main::is(CORE::join(' ', sort keys %used), 'A B C D', 'all backends have some');

=== balance=repository says the same
--- http_config
    upstream registry { registry_auth_backends balance=repository allow=127.0.0.0/8; }
--- request
GET /v2/
--- after
my %used;
for my $number (1 .. 12) {
    my %by = map { main::at("GET /v2/alice/app$number/tags/list") => 1 } 1 .. 4;
    main::is(scalar(keys %by), 1, "app$number");
    %used = (%used, %by);
}
main::ok(keys %used > 1, 'not all to one');

=== every worker, and every nginx, chooses the same
--- workers: 4
--- request
GET /v2/
--- after
my %homes = main::homes(12);
main::is_deeply({ main::homes(12) }, \%homes, 'again') for 1 .. 4;
nginx_server()->reload;
main::is_deeply({ main::homes(12) }, \%homes, 'after a reload');

=== the order in which backends are stored does not matter
--- request
GET /v2/
--- after
my %homes = main::homes(12);
redis(Harness::expand('HSET docker-registry:user:alice backends "'
    . CORE::join(' ', reverse split / /, $main::all) . '"'));
main::is_deeply({ main::homes(12) }, \%homes, 'reversed');

=== a backend that is taken out moves its own repositories, and no others
--- request
GET /v2/
--- after
my %before = main::homes(24);
redis(Harness::expand('HSET docker-registry:user:alice backends "' . $main::all =~ s/ \S+$//r . '"'));
my %after = main::homes(24);
main::is($after{$_}, $before{$_}, "app$_") for grep { $before{$_} ne 'D' } keys %before;
main::isnt($after{$_}, 'D', "app$_ has moved") for grep { $before{$_} eq 'D' } keys %before;

=== people with the same backends find a repository at the same one, whosever list it is
--- redis eval
qq{HSET docker-registry:user:alice backends "$main::all"
HSET docker-registry:user:bob groups team grant:alice/** pull
HSET docker-registry:group:team backends "$main::all"
HSET docker-registry:user:carol grant:alice/** pull
RPUSH docker-registry:backends $main::all}
--- request
GET /v2/
--- after
my %homes = main::homes(12);
main::is_deeply({ main::homes(12, "$_:secret") }, \%homes, $_) for qw(bob carol);

=== the user's own set decides, not the group's, nor everybody's
--- redis eval
'HSET docker-registry:user:alice groups team \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
HSET docker-registry:group:team \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_C_PORT 127.0.0.1:$TEST_NGINX_BACKEND_D_PORT"
HSET docker-registry:user:bob groups team grant:alice/** pull
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT'
--- request
GET /v2/
--- after
my %homes = main::homes(16);
main::like($_, qr/^[AB]$/, 'of alice') for values %homes;
%homes = main::homes(16, 'bob:secret');
main::like($_, qr/^[CD]$/, 'of the team') for values %homes;

=== what names no repository goes by user
--- request
GET /v2/
--- after
for my $login (qw(alice:secret bob:secret)) {
    my %by = map { main::at('GET /v2/', $login) => 1 } 1 .. 6;
    main::is(scalar(keys %by), 1, $login);
}

=== balance=turn: the requests of a repository go to each backend in turn
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
--- request
GET /v2/
--- after
my %by;
$by{ main::at('GET /v2/alice/app/tags/list') }++ for 1 .. 8;
main::is_deeply([ values %by ], [ (2) x 4 ], 'each');

=== two upstreams, each with its balance
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
    upstream other { registry_auth_backends; }
--- config eval
Harness::gate_config() . 'location /v2/alice/one/ { registry_auth "R"; proxy_pass http://other; }'
--- request
GET /v2/
--- after
my %by = map { main::at('GET /v2/alice/app/tags/list') => 1 } 1 .. 8;
main::is(scalar(keys %by), 4, 'in turn');
%by = map { main::at('GET /v2/alice/one/tags/list') => 1 } 1 .. 8;
main::is(scalar(keys %by), 1, 'by repository');

=== the block's own servers are nginx's, whatever balance says: in turn
--- http_config
    upstream registry {
        registry_auth_backends balance=repository;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT;
    }
--- redis
HSET docker-registry:user:bob backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- request eval
[ ("GET /v2/alice/app/tags/list") x 4 ]
--- backend_received_by: A B A B

=== V1 goes by user, by repository or in turn: all of a push, and the search
--- http_config
    upstream registry { registry_auth_backends; }
    upstream other { registry_auth_backends balance=turn; }
--- config eval
Harness::gate_config('registry_auth_v1_search filter;')
    . 'location /turn/ { registry_auth "R"; rewrite ^/turn(/.*)$ $1 break; proxy_pass http://other; }'
--- backend
/v1/search => body: {"query":"","results":[]}
--- request
GET /v1/users/
--- after
for my $request ("PUT /v1/images/0123abcd/layer\nx", "PUT /v1/repositories/alice/app/\n[]",
    "PUT /v1/repositories/alice/lib/\n[]", "GET /v1/search?q=app") {
    http($request, login => 'alice:secret') for 1 .. 3;
}
my %by;
$by{ $_->{backend} }++ for @{ Harness::backend()->received };
main::is(CORE::join(' ', values %by), 13, 'one');

=== a repository whose backend is down goes to the next one, of all workers; the others stay
--- workers: 2
--- request
GET /v2/
--- after
my %before = main::homes(24);
redis(Harness::expand(
    "HSET docker-registry:user:alice backends \"$main::all 127.0.0.1:$TEST_NGINX_DEAD_PORT\""));
for (1 .. 4) {
    my %now = main::homes(24);
    main::is_deeply(\%now, \%before, 'as without it');
}
# Once it is known, it is left alone.
my $refused = () = nginx_server()->since('error') =~ /Connection refused/g;
main::cmp_ok($refused, '>=', 1, 'it was tried');
main::cmp_ok($refused, '<=', 3, 'and then no more');

=== and they come back when it does
--- timeout: 30
--- request
GET /v2/
--- after
redis(Harness::expand(
    "HSET docker-registry:user:alice backends \"$main::all 127.0.0.1:$TEST_NGINX_DEAD_PORT\""));
my %down = main::homes(24);
my $pid = main::registry_at_dead_port(1000);
Time::HiRes::sleep(10.5);
my %up = main::homes(24);
main::stop($pid);
my @moved = grep { $up{$_} ne $down{$_} } keys %up;
main::ok(@moved > 0, 'some are its own');
main::is($up{$_}, 'E', "app$_") for @moved;

=== a catalogue that its client breaks off keeps no backend away that is back
--- backend
A => /_catalog => delay: 5
--- timeout: 30
--- request
GET /v2/
--- after
my @pair = ('127.0.0.1:$TEST_NGINX_BACKEND_PORT', '127.0.0.1:$TEST_NGINX_DEAD_PORT');
redis("HSET docker-registry:user:alice backends \"@pair\"");
my %down = main::homes(12);
main::is(CORE::join(' ', sort { $a cmp $b } keys %{ { reverse %down } }), 'A', 'all at the other one');
my $pid = main::registry_at_dead_port(1000);
Time::HiRes::sleep(10.5);
eval { http('GET /v2/_catalog', login => 'alice:secret', timeout => 0.3) };
my %up = main::homes(12);
main::stop($pid);
main::ok((grep { $_ eq 'E' } values %up), 'some are back at their own');

=== where all are down, each is tried
--- redis
HSET docker-registry:user:alice backends "127.0.0.1:$TEST_NGINX_DEAD_PORT [::1]:$TEST_NGINX_DEAD_PORT"
--- request eval
[ ("GET /v2/alice/app/tags/list") x 3 ]
--- error_code: 502
--- after
my $tried = () = nginx_server()->since('error') =~ /connect\(\) (?:failed|to)/g;
main::is($tried, 6, 'each, each time');

=== an upload whose backend cannot be connected to goes to the next one
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- request eval
[ map { ("POST /v2/alice/app$_/blobs/uploads/", "PATCH /v2/alice/app$_/blobs/uploads/1\nhello") } 1 .. 4 ]
--- error_code: 200
--- after
main::is(CORE::join(' ', map { $_->{backend} } @{ Harness::backend()->received }), CORE::join(' ', ('B') x 8),
    'B');

=== proxy_next_upstream: the next one answers for one that answers with 503, which stays the first
--- config eval
Harness::gate_config('proxy_next_upstream error http_503;')
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend
A => status: 503
--- request eval
[ map { ("GET /v2/alice/app$_/tags/list") x 2 } 1 .. 12 ]
--- error_code: 200
--- after
my @received = @{ Harness::backend()->received };
my $by_a = grep { $_->{backend} eq 'A' } @received;
main::is(scalar(@received) - $by_a, 24, 'B answers all');
main::cmp_ok($by_a, '>=', 2, 'A is asked');
main::is($by_a % 2, 0, 'each time');

=== proxy_next_upstream off: no other one is asked, but what is down is known
--- config eval
Harness::gate_config('proxy_next_upstream off;')
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- request
GET /v2/alice/app/tags/list
--- error_code_like: ^(?:200|502)$
--- after
my @by = map { main::at("GET /v2/alice/app$_/tags/list") } 1 .. 24;
my $failed = grep { $_ eq '502' } @by;
main::cmp_ok($failed, '<=', 1, 'once');
main::is(scalar(grep { $_ eq 'B' } @by), 24 - $failed, 'B');

=== a kept connection that the backend has closed is no reason to ask another backend
--- http_config
    upstream registry { registry_auth_backends; keepalive 8; }
--- redis
HSET docker-registry:user:alice backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_DEAD_PORT"
--- request
GET /v2/
--- after
my $pid = main::registry_at_dead_port(1);
Time::HiRes::sleep(10.5) if nginx_server()->since('error') =~ /Connection refused/;
my @of_e = grep { main::at("GET /v2/alice/app$_/tags/list") eq 'E' } 1 .. 16;
my @again = map { main::at("GET /v2/alice/app$of_e[0]/tags/list") } 1 .. 6;
main::stop($pid);
main::is(CORE::join(' ', @again), 'E E E E E E', 'the same one');
main::like(nginx_server()->since('error'), qr/upstream prematurely closed|closed by|Connection reset/,
    'it was closed');

=== a push over a kept connection that its backend has closed is repeated there, and nowhere else
--- http_config
    upstream registry { registry_auth_backends balance=turn; keepalive 8;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
        server 127.0.0.1:$TEST_NGINX_DEAD_PORT max_fails=0; }
--- redis
HSET docker-registry:user:alice backends "127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_DEAD_PORT"
--- request
GET /v2/
--- after
for my $user ('alice', 'bob') {
    my $pid = main::registry_at_dead_port(1);
    Time::HiRes::sleep(10.5) if $user eq 'bob' && nginx_server()->since('error') =~ /Connection refused/;
    my @by = map { main::at("PUT /v2/$user/app/manifests/v1\n{}", "$user:secret") } 1 .. 12;
    main::stop($pid);
    main::is((scalar grep { $_ eq 'E' } @by), 6, "every other one: @by");
    main::is((scalar grep { $_ eq 'A' } @by), 6, 'A');
}
main::like(nginx_server()->since('error'), qr/upstream prematurely closed|closed by|Connection reset/,
    'it was closed');

=== a name that resolves to several addresses is one backend, which is asked at that which answers
--- redis
HSET docker-registry:user:alice \
  backends "localhost:$TEST_NGINX_BACKEND_B_PORT localhost:$TEST_NGINX_BACKEND_C_PORT"
--- request
GET /v2/
--- after
my %homes = main::homes(16);
main::is_deeply({ main::homes(16) }, \%homes, 'again');
main::like($_, qr/^[BC]$/, 'either') for values %homes;
main::ok((grep { $_ eq 'B' } values %homes) && (grep { $_ eq 'C' } values %homes), 'both');

=== balance= of nothing known is an error of the configuration
--- http_config
    upstream registry { registry_auth_backends balance=random; }
--- must_die
--- error_log
"registry_auth_backends"
balance=random
"repository" or "turn" is expected

=== balance= without a value
--- http_config
    upstream registry { registry_auth_backends balance=; }
--- must_die
--- error_log
"repository" or "turn" is expected

=== balance= twice
--- http_config
    upstream registry { registry_auth_backends balance=turn balance=turn; }
--- must_die
--- error_log
"balance" stands there twice
