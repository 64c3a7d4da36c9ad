# A credential that was right is not hashed again as
# long as the stored hash is the same, and the hashing queue is shared fairly
# between addresses. Whether something is hashed shows where the queue is full:
# then what has to be hashed is 429.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use MIME::Base64 qw(encode_base64);
use Time::HiRes ();

our $BCRYPT = '$2y$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';    # correct horse
# A cost that keeps a thread for long enough to look at the rest.
our $SLOW = '$2y$13$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';
our $REALIP = "        set_real_ip_from 127.0.0.1;\n        real_ip_header X-Real-IP;\n";

sub with_queue {
    my ($queue, $zone) = @_;
    return zone_http($zone // 'zone=auth:1m') . "    registry_auth_hashing threads=1 queue=$queue;\n";
}

# Requests that nobody waits for, from this address: their sockets.
sub flood {
    my ($count, $login, $address) = @_;
    my $port = Harness::expand('$TEST_NGINX_SERVER_PORT');
    return map {
        my $socket = Harness::Client::connect_to($port);
        my $headers = $address ? "X-Real-IP: $address\n" : '';
        my $request = Harness::Client::parse_request('GET /v2/', $headers, $login =~ s/%d/$_/r, 0);
        Harness::Client::write_all($socket, Harness::Client::bytes($request));
        $socket;
    } 1 .. $count;
}

# Fills the queue, so that whatever has to be hashed is 429 for a while.
my $guess = 0;

sub filled {
    my @socket;
    # The one that looks may be looked up before those that fill it: then they are gone when it is answered.
    for (1 .. 20) {
        $guess++;
        push @socket, main::flood(4, "slow:$guess-%d");
        return \@socket if asked('fresh:wrong' . $guess++) =~ /^429/;
    }
    die "the queue was never full\n";
}

# A login now is refused. The request that looks may overtake those that fill the queue, and is then
# answered when they are gone: so they are sent anew.
sub refused {
    my ($title, $fill, $ask) = @_;
    my ($got, @held) = ('');
    for (1 .. 20) {
        push @held, $fill->();
        last if ($got = $ask->()) eq '429';
    }
    equal($got, '429', $title);
    return @held;
}

# All that is answered until this is, with the queue full all the time.
sub until {
    my ($expected, $code) = @_;
    my ($deadline, %seen) = (Time::HiRes::time() + 4);
    my (@held, $refill);
    while (!$seen{$expected} && Time::HiRes::time() < $deadline) {
        (@held, $refill) = (main::filled(), Time::HiRes::time() + 0.2)
            if Time::HiRes::time() > ($refill // 0);
        $seen{ $code->() } = 1;
        Time::HiRes::sleep(0.02);
    }
    return join ', ', sort keys %seen;
}

sub status { return asked(@_) =~ s/ .*//r }

defaults(
    http_config => with_queue(1),
    config      => zone_config(),
    accounts    => "warm:secret\n",
    restart     => '',    # an empty zone
    redis       => "HSET docker-registry:user:dave password $BCRYPT\n"
        . "HSET docker-registry:user:fresh password $BCRYPT\n"
        . "HSET docker-registry:passwords erin $BCRYPT frank $BCRYPT\n"
        . "HSET docker-registry:user:slow password $SLOW\n",
);
run_tests();

__DATA__
=== a change of the record: it is read again, and the password not hashed
--- after
in_each_worker('dave:correct horse');
equal(main::status('dave:correct horse', '/v2/team/x/tags/list'), '403', 'before');
my $held = main::filled();
redis('HSET docker-registry:user:dave grant:team/x pull');
my $seen = main::until('200', sub { main::status('dave:correct horse', '/v2/team/x/tags/list') });
equal($seen =~ /^(?:200, 403|200)$/ ? 1 : 0, 1, "the change decides, and never 429: $seen");
my $again = main::filled();
equal(main::status('dave:wrong'), '429', 'another password has to be hashed');

=== the end of ttl
--- http_config eval
main::with_queue(1, 'zone=auth:1m ttl=1s')
--- after
in_each_worker('dave:correct horse');
my $seen = main::until('200 MISS', sub { asked('dave:correct horse') });
equal($seen =~ /^(?:200 HIT, )?200 MISS$/ ? 1 : 0, 1, "never 429: $seen");

=== a new user among all passwords
--- after
in_each_worker($_) for 'erin:correct horse', 'frank:correct horse';
my $held = main::filled();
redis("HSET docker-registry:passwords gina $main::BCRYPT");
my $seen = main::until('200 MISS', sub { asked('erin:correct horse') });
equal($seen =~ /^(?:200 HIT, )?200 MISS$/ ? 1 : 0, 1, "asked again, and never 429: $seen");
equal(main::status('frank:correct horse'), '200', 'another one');
my $again = main::filled();
equal(main::status('gina:correct horse'), '429', 'the new one has to be hashed');
equal(main::status('frank:correct horse'), '200', 'who was not new has not');

=== another stored hash of the same password is another one
--- after
in_each_worker('dave:correct horse');
redis("HSET docker-registry:user:dave password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
soon('the old password', '401', sub { everywhere('dave:correct horse') });
equal(main::status('dave:secret'), '200', 'the new one');
redis("HSET docker-registry:user:dave password $main::BCRYPT");
soon('and back', '401', sub { everywhere('dave:secret') });
equal(main::status('dave:correct horse'), '200', 'the first one');
redis("HSET docker-registry:user:dave password !$main::BCRYPT");
soon('locked', '401', sub { everywhere('dave:correct horse') });

=== a user who was removed, and comes back with another password
--- after
in_each_worker('dave:correct horse');
redis('DEL docker-registry:user:dave');
soon('removed', '401', sub { everywhere('dave:correct horse') });
redis("HSET docker-registry:user:dave password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=");
soon('back', '200', sub { main::status('dave:secret') });
equal(main::status('dave:correct horse'), '401', 'the old password');

=== a credential is a user and a password, however the header spells them
--- after
in_each_worker('dave:correct horse');
my $base64 = encode_base64('dave:correct horse', '');
my $held = main::filled();
for my $header ("basic $base64", "BASIC $base64", "Basic   $base64") {
    my $answer = http('GET /v2/', headers => "Authorization: $header\n");
    equal(verdict($answer), '200 HIT', $header);
}

=== the queue is shared fairly: a flood of one address delays that address
--- needs: --with-http_realip_module
--- http_config eval
main::with_queue(8)
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
in_each_worker('warm:secret');
# Unknown users cost what the users of this prefix cost.
equal(main::status("$_:correct horse"), '200', "$_: bcrypt") for 'fresh', 'erin', 'frank';
# A busy machine takes its time to hash.
my $from = sub { asked($_[1], '/v2/', headers => "X-Real-IP: $_[0]\n", timeout => 60) =~ s/ .*//r };
my $guess = 0;
my $flood = sub { $guess++; main::flood(6, "slow:guess$guess-%d", '192.0.2.1') };
my @flood = main::refused('its own share is full', $flood,
    sub { $from->('192.0.2.1', 'dave:wrong' . $guess++) });
push @flood,
    main::refused('for whatever name', $flood, sub { $from->('192.0.2.1', 'made-up:wrong' . $guess++) });
equal($from->('192.0.2.2', 'dave:correct horse'), '200', 'another address is let in');
equal($from->('2001:db8::1', 'nobody:wrong'), '401', 'and another one');

=== what clients that hung up have left behind is not hashed, and makes room
--- needs: --with-http_realip_module
--- http_config eval
main::with_queue(64)
--- config eval
$main::REALIP . Harness::Zone::zone_config()
--- after
in_each_worker('warm:secret');
# A busy machine takes its time to hash.
my $from = sub { asked($_[1], '/v2/', headers => "X-Real-IP: $_[0]\n", timeout => 60) =~ s/ .*//r };
my $begin = Time::HiRes::time();
equal($from->('192.0.2.2', 'slow:wrong'), '401', 'one slow hash');
my $one = Time::HiRes::time() - $begin;
my $guess = 0;
my $flood = sub { $guess++; main::flood(20, "slow:left$guess-%d", '192.0.2.1') };
my @flood = main::refused('its share is full of slow ones', $flood,
    sub { $from->('192.0.2.1', 'fresh:wrong' . $guess++) });
close $_ for @flood;
my $since = Time::HiRes::time();
soon('there is room', '200', sub { $from->('192.0.2.1', 'fresh:correct horse') }, 60);
my $took = Time::HiRes::time() - $since;
# Sixteen of them would take twice as long.
equal($took < 8 * $one ? 1 : 0, 1, "nobody waited for those: $took s, one takes $one s");
