# Where a user has several backends, each of them has a part of the
# repositories: the catalogue is the union of their lists, in order, each name once, in
# pages that lose nothing, and within the bounds of catalog.t.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;

our $both = '127.0.0.1:$TEST_NGINX_BACKEND_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT';

sub names { return '{"repositories":[' . join(',', map {"\"$_\""} @_) . ']}' }

# distribution's order: what lies in `a` comes before `a-b`.
sub by_path { return $_[0] =~ tr{/}{\0}r }

# Registries of a process of their own, by port, that have these names, so many to a page. Tells the process.
sub serve {
    my ($page, %names) = @_;
    my %listener = map {
        $_ => IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $_, ReuseAddr => 1, Listen => 64)
            || die "listen: $!"
    } keys %names;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    local $SIG{PIPE} = 'IGNORE';
    my $select = IO::Select->new(values %listener);
    while (my @ready = $select->can_read) {
        for my $listener (@ready) {
            my $peer = $listener->accept or next;
            my $in = '';
            1 while $in !~ /\r\n\r\n/ && sysread $peer, $in, 65_536, length $in;
            my ($last) = $in =~ m{^GET \S*[?&]last=([^& ]*)};
            $last = by_path(($last // '') =~ s/%(..)/chr hex $1/ger);
            my @left = grep { by_path($_) gt $last } sort { by_path($a) cmp by_path($b) } @{
                $names{ $listener->sockport } };
            my @shown = splice @left, 0, $page;
            my $body = names(@shown);
            my $link = @left ? "Link: </v2/_catalog?last=$shown[-1]&n=1000>; rel=\"next\"\r\n" : '';
            syswrite $peer, "HTTP/1.1 200 OK\r\nConnection: close\r\n${link}Content-Length: " . length($body)
                . "\r\n\r\n$body";
            close $peer;
        }
    }
    POSIX::_exit(0);
}

sub stop {
    my ($pid) = @_;
    kill 'KILL', $pid;
    waitpid $pid, 0;
}

# What a client sees that goes from link to link.
sub walk {
    my ($n, $login) = @_;
    my ($query, @names, $pages) = ("?n=$n");
    while (defined $query && ++$pages < 200) {
        my $answer = http("GET /v2/_catalog$query", login => $login // 'alice:secret');
        die "$answer->{status} $answer->{body}" if $answer->{status} != 200;
        push @names, map { split /","/ } $answer->{body} =~ /\["(.*)"\]/;
        ($query) = $answer->{head} =~ m{^Link: </v2/_catalog(\?[^>]*)>; rel="next"}m;
    }
    return @names;
}

defaults(
    http_config => "upstream registry { registry_auth_backends; keepalive 4; }\n",
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    redis       => "HSET docker-registry:user:alice backends \"$both\"",
    login       => 'alice:secret',
);
run_tests();

__DATA__
=== the lists of all backends, in order, each name once
--- backend eval
"A => body: " . main::names('alice/app', 'alice/web', 'bob/app') . "\nB => body: "
    . main::names('alice/app', 'alice/lib', 'alice/z')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/app","alice/lib","alice/web","alice/z"]}
--- response_headers
!Link
!Warning
--- backend_received_by: A B

=== what lies in a folder comes before what only begins like it, as distribution has it
--- backend eval
"A => body: " . main::names('alice/a/x', 'alice/a-b') . "\nB => body: "
    . main::names('alice/a', 'alice/a/b', 'alice/ab')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/a","alice/a/b","alice/a/x","alice/a-b","alice/ab"]}

=== n cuts the union, and the link goes on after the last name that was shown
--- backend eval
"A => body: " . main::names('alice/app', 'alice/web') . "\nB => body: "
    . main::names('alice/app', 'alice/lib')
--- request eval
[ map {"GET /v2/_catalog?n=$_"} 0, 1, 2, 3 ]
--- response_body eval
[ map { main::names(@$_) . "\n" } [], ['alice/app'], ['alice/app', 'alice/lib'],
  ['alice/app', 'alice/lib', 'alice/web'] ]
--- response_headers eval
[ '!Link', 'Link: </v2/_catalog?last=alice/app&n=1>; rel="next"',
  'Link: </v2/_catalog?last=alice/lib&n=2>; rel="next"', '!Link' ]

=== each backend is asked for what comes after `last`, and sent nothing before it
--- backend eval
"A => body: " . main::names('alice/app', 'alice/web') . "\nB => body: " . main::names('alice/lib', 'alice/z')
--- request
GET /v2/_catalog?last=alice/lib
--- response_body
{"repositories":["alice/web","alice/z"]}
--- backend_received_by: A B
--- backend_received_like
^GET /v2/_catalog\?n=1000&last=alice/lib HTTP

=== from link to link: the union, whatever the pages of registries are like
--- request
GET /v2/
--- after
my %names = (
    $TEST_NGINX_EXTRA_PORT => [ map { ("alice/a$_", "alice/both/$_", "bob/x$_") } 10 .. 40 ],
    $TEST_NGINX_DEAD_PORT => [ map { ("alice/b/$_", "alice/both/$_", "alice/a/$_") } 10 .. 30 ],
    $TEST_NGINX_FAKE_REDIS_PORT => [ map {"alice/c-$_"} 10 .. 12 ],
);
redis('HSET docker-registry:user:alice backends "' . CORE::join(' ', map {"127.0.0.1:$_"} sort keys %names)
    . '"');
my %all = map { $_ => 1 } grep {m{^alice/}} map {@$_} values %names;
my @all = sort { main::by_path($a) cmp main::by_path($b) } keys %all;
for my $page (3, 7, 1000) {
    my $pid = main::serve($page, %names);
    for my $n (1, 10, 1000) {
        next if $page * $n == 3;
        main::is_deeply([ main::walk($n) ], \@all, "pages of $page, n=$n");
    }
    main::stop($pid);
}

=== the backends are asked 50 times at most, all together; a link goes on
--- request
GET /v2/
--- after
my %names = ($TEST_NGINX_EXTRA_PORT => [ map {"bob/a$_"} 100 .. 200 ],
    $TEST_NGINX_DEAD_PORT => [ (map {"bob/b$_"} 100 .. 200), 'bob/zoo' ]);
redis('HSET docker-registry:user:alice backends "' . CORE::join(' ', map {"127.0.0.1:$_"} sort keys %names)
    . '" grant:bob/zoo pull');
my $pid = main::serve(1, %names);
my $answer = http('GET /v2/_catalog?n=5', login => 'alice:secret');
main::like($answer->{body}, qr/^\{"repositories":\[\]\}$/, 'none yet');
main::like($answer->{head}, qr{^Link: </v2/_catalog\?last=%7E[A-Za-z0-9_-]{100,300}&n=5>; rel="next"}m,
    'sealed');
main::is_deeply([ main::walk(5) ], ['bob/zoo'], 'it gets there');
main::stop($pid);

=== a backend that cannot be reached is left out, and the client is warned
--- redis
HSET docker-registry:user:alice \
  backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT"
--- backend eval
"B => body: " . main::names('alice/lib')
--- request eval
[ ("GET /v2/_catalog") x 3 ]
--- response_body
{"repositories":["alice/lib"]}
--- response_headers
Warning: 299 - "the list is incomplete: a registry cannot be reached"
--- after
my $refused = () = nginx_server()->since('error') =~ /Connection refused/g;
main::is($refused, 1, 'and not asked again for a while');

=== so is one that answers with 500
--- backend eval
"A => status: 500\nB => body: " . main::names('alice/lib')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/lib"]}
--- response_headers
Warning: 299 - "the list is incomplete: a registry cannot be reached"

=== none of them can be reached: nginx's 502
--- redis
HSET docker-registry:user:alice backends "127.0.0.1:$TEST_NGINX_DEAD_PORT 127.0.0.2:$TEST_NGINX_DEAD_PORT"
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- error_code: 502
--- response_body_unlike: repositories

=== all of them refuse: the first one's refusal
--- backend
A => status: 503
A => body: not now
B => status: 500
B => body: never
--- request
GET /v2/_catalog
--- error_code: 503
--- response_body: not now

=== one that has no catalogue is none to be left out: 502
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => status: 404"
--- request
GET /v2/_catalog
--- error_code: 502
--- oci_error: UNKNOWN
--- error_log
registry_auth: the registry's catalog: a page after the first was refused

=== what one says that is no catalogue: 502, nothing of it gets out
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => body: {\"repositories\":[\"bob/secret\""
--- request
GET /v2/_catalog
--- error_code: 502
--- response_body_unlike: secret

=== a list in another order is merged, and the log says what may come of it
--- backend eval
"A => body: " . main::names('alice/z', 'alice/a') . "\nB => body: " . main::names('alice/lib')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/a","alice/lib","alice/z"]}
--- error_log
registry_auth: a backend's catalog is not in the order of paths

=== a name with several addresses is one backend: that one of them is closed is no loss
--- redis
HSET docker-registry:user:alice \
  backends "localhost:$TEST_NGINX_BACKEND_PORT localhost:$TEST_NGINX_BACKEND_B_PORT"
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => body: " . main::names('alice/lib')
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- response_body
{"repositories":["alice/app","alice/lib"]}
--- response_headers
!Warning

=== a backend outside of allow= is not asked
--- http_config
    upstream registry { registry_auth_backends allow=127.0.0.1:$TEST_NGINX_BACKEND_B_PORT; }
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => body: " . main::names('alice/lib')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/lib"]}
--- backend_received_by: B

=== more than 50 addresses are not merged: 502
--- redis eval
'HSET docker-registry:user:alice backends "'
    . CORE::join(' ', map {"127.0.0.$_:" . '$TEST_NGINX_DEAD_PORT'} 1 .. 51) . '"'
--- request
GET /v2/_catalog
--- error_code: 502
--- error_log
it is to be merged of more than 50 addresses of backends

=== over HTTP/2, unbuffered
--- config eval
Harness::gate_config('proxy_buffering off;')
--- http2
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => body: " . main::names('alice/lib')
--- request
GET /v2/_catalog
--- response_body
{"repositories":["alice/app","alice/lib"]}

=== balance=turn: the first that answers, which has what all have
--- http_config
    upstream registry { registry_auth_backends balance=turn; }
--- backend eval
"A => body: " . main::names('alice/app') . "\nB => body: " . main::names('alice/lib')
--- request eval
[ ("GET /v2/_catalog") x 2 ]
--- response_body
{"repositories":["alice/app"]}
--- backend_received_by: A A
