# Rules 7 and 23; registry_auth_token_key: a token holds
# in every worker while its account and its key are what they were, over reloads,
# restarts and dead workers, and ends with them in every worker at once.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;

our $OTHER  = Harness::Users::sha('correct horse');
our $SECRET = Harness::Users::sha('secret');
our $TAGS   = '/v2/team/a/tags/list';

# Tokens of the endpoint for what alice may by herself, by a grant, and by a group.
sub team_token { return token('alice:secret', 'repository:team/a:pull', 'repository:alice/a:pull') }

sub restart {
    my $text = nginx_server()->{running};
    nginx_server()->stop;
    nginx_server()->start($text);
    in_each_worker('warm:secret');
}

# Which of these keys has signed it.
sub signer {
    my ($token, @key) = @_;
    my ($header, $payload) = map { MIME::Base64::decode_base64url($_) } split /\./, $token;
    return join ' ', grep { compact($header, $payload, $key[$_]) eq $token } 0 .. $#key;
}

# How often Redis was asked about accounts since CONFIG RESETSTAT.
sub questions {
    my $sum = 0;
    $sum += $_ for redis('INFO commandstats') =~ /^cmdstat_(?:hgetall|hget|hmget|lrange):calls=(\d+)/mg;
    return $sum;
}

my $impatient =
    '    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_REDIS_PORT timeout=400ms connect_timeout=400ms;'
    . "\n";
$impatient =~ s/400/3000/g if Harness::Valgrind::wanted();
our $STALE = token_http('zone=auth:1m stale=60s') . $impatient;
our $ZONE_KEY = zone_http('zone=auth:1m');

defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "warm:secret\nalice:secret\nbob:secret\n",
    redis       =>
        "HSET docker-registry:user:alice groups crew\nHSET docker-registry:group:crew grant:team/* pull\n",
    restart     => '',    # an empty zone
);
my ($any, $two) = split /^# two workers only\n/m, join '', <DATA>;
my $only = "--- workers: 2\n--- skip_valgrind: one process there";
run_tests($any . $any =~ s/^(=== .*)$/$1, two workers\n$only/mgr . $two =~ s/^(=== .*)$/$1\n$only/mgr);

__DATA__
=== MISS, then HIT, and Redis is not asked again
--- init
in_each_worker('warm:secret');
--- more_headers eval
main::bearer(main::signed())
--- request eval
[ ("GET /v2/") x 4 ]
--- response_headers eval
[ "X-User: alice\nX-Result: granted", ("X-User: alice\nX-Result: granted") x 3 ]
--- after
my $token = signed(user => 'bob');
equal(asked_with($token), '200 MISS', 'the first of bob\'s');
soon('known', '200 HIT', sub { asked_with($token) });
in_each_worker('bob:secret');
soon('another one', '200 HIT', sub { asked_with(signed(user => 'bob', exp => time + 300)) });
redis('CONFIG RESETSTAT');
always('all of them', '200 HIT', sub { asked_with($token) });
equal(main::questions(), 0, 'Redis was not asked');

=== a token of an account is vouched for by its record: after a login it is a HIT, and no login is by a token
--- after
in_each_worker('alice:secret');
equal(asked_with(signed()), '200 HIT', 'the first');
equal(asked('alice:wrong') =~ s/ .*//r, 401, 'a wrong password');
equal(asked_with(signed(exp => time + 100)), '200 HIT', 'another');
soon('bob is known by his token', '200 HIT', sub { asked_with(signed(user => 'bob')) });
equal(asked("bob:$_") =~ s/ .*//r, 401, 'and his wrong password is wrong') for 'wrong', '';
equal(asked('bob:secret') =~ s/ .*//r, 200, 'his right one right');

=== without a zone a file of keys is enough: BYPASS
--- http_config eval
main::token_http('off')
--- after
my $token = main::team_token();
equal(asked_with($token, $TAGS), '200 BYPASS', 'a token of the endpoint') for 1, 2;
equal(asked_with("$token.x"), '401 ', 'none');
redis("HSET docker-registry:user:alice password $OTHER");
equal(asked_with($token, $TAGS), '401 BYPASS', 'a changed password');

=== stale=: while Redis is gone known users are let in, by tokens that are new, too, but by none that is wrong
--- http_config eval
$main::STALE
--- after
in_each_worker('alice:secret');
my $token = main::team_token();
soon('known', '200 HIT', sub { asked_with($token, $TAGS) });
redis_server()->stop;
soon('let in', '200 STALE', sub { asked_with($token, $TAGS) }, 5);
equal(asked_with(signed(exp => time + 200)), '200 STALE', 'another of hers');
equal(asked_with(signed(stored => 'x')) =~ s/ .*//r, 401, 'of another password');
equal(asked_with(signed(exp => time - 1)) =~ s/ .*//r, 401, 'expired');
equal(asked_with(signed(user => 'carol')) =~ s/ .*//r, 503, 'of somebody who is not known');
redis_server()->start;
redis("HSET docker-registry:user:alice password $OTHER");
soon('Redis is back, and knows better', '401', sub { asked_with($token) =~ s/ .*//r }, 10);

=== without stale= it is 503, never 401
--- http_config eval
$main::STALE =~ s/ stale=60s//r
--- after
in_each_worker('alice:secret');
redis_server()->stop;
soon('a good one', '503', sub { asked_with(signed()) =~ s/ .*//r }, 5);
equal(with_token(signed(user => 'carol'))->{status}, 503, 'of somebody else');
equal(with_token('x.y.z')->{status}, 401, 'what is no token needs no Redis');

=== rule 7: a changed password ends a token within 100 ms in every worker, and only hers
--- after
in_each_worker("$_:secret") for qw(alice bob);
my $token = main::team_token();
equal(everywhere_with($token, $TAGS), 200, 'at first');
redis("HSET docker-registry:user:alice password $OTHER");
soon('at once', 401, sub { everywhere_with($token, $TAGS) }, 0.1);
always('and stays so', 401, sub { everywhere_with($token) });
equal(json(with_token($token))->{errors}[0]{message}, 'the password has changed since the token was issued',
    'why');
equal(challenge_error(with_token($token)), 'invalid_token', 'the challenge');
equal(everywhere_with(signed(user => 'bob')), 200, 'bob');
redis("HSET docker-registry:user:alice password $SECRET");
soon('it is what it was', 200, sub { everywhere_with($token, $TAGS) });

=== rule 7: a lock, and a user who is gone
--- after
in_each_worker('alice:secret');
my ($token, $refresh) = (main::team_token(), signed(kind => 'refresh'));
equal(everywhere_with($token), 200, 'at first');
redis("HSET docker-registry:user:alice password !$SECRET");
soon('locked', 401, sub { everywhere_with($token) }, 0.1);
always('and stays so', 401, sub { everywhere_with($token, $TAGS) });
redis("HSET docker-registry:user:alice password $SECRET");
soon('unlocked', 200, sub { everywhere_with($token) });
redis('DEL docker-registry:user:alice');
soon('gone', 401, sub { everywhere_with($token) }, 0.1);
equal(http(form(grant_type => 'refresh_token', refresh_token => $refresh),
    headers => "Content-Type: application/x-www-form-urlencoded\n")->{status}, 401, 'the refresh token');

=== rule 7: a removed grant, group, and what a group may; a denial
--- redis
HSET docker-registry:user:alice groups crew grant:own/* pull
HSET docker-registry:group:crew grant:team/* pull
--- after
in_each_worker('alice:secret');
my $token = token('alice:secret', map {"repository:$_:pull"} 'own/a', 'team/a', 'alice/a');
my $asks = sub { my ($name) = @_; sub { everywhere_with($token, "/v2/$name/tags/list") } };
equal($asks->($_)->(), 200, $_) for 'own/a', 'team/a', 'alice/a';
redis('HDEL docker-registry:user:alice grant:own/*');
soon('the grant', 403, $asks->('own/a'), 0.1);
redis('HSET docker-registry:group:crew grant:!team/a *');
soon('a denial of the group', 403, $asks->('team/a'), 0.1);
redis('HDEL docker-registry:group:crew grant:!team/a');
soon('no denial', 200, $asks->('team/a'));
redis('DEL docker-registry:group:crew');
soon('the group', 403, $asks->('team/a'), 0.1);
redis('HSET docker-registry:group:crew grant:team/* pull');
soon('the group again', 200, $asks->('team/a'));
redis('HSET docker-registry:user:alice groups ""');
soon('her in the group', 403, $asks->('team/a'), 0.1);
redis('HSET docker-registry:user:alice grant:!alice/** *');
soon('a denial', 403, $asks->('alice/a'), 0.1);

=== rule 7: the 2014 gate's P:passwords is a password like any other
--- redis eval
"DEL docker-registry:user:alice\nHSET docker-registry:passwords alice $main::SECRET\n"
--- after
in_each_worker('alice:secret');
my $token = token('alice:secret', 'repository:alice/a:pull');
equal(everywhere_with($token, '/v2/alice/a/tags/list'), 200, 'at first');
redis("HSET docker-registry:passwords alice $OTHER");
soon('changed', 401, sub { everywhere_with($token) }, 0.1);

=== what is public no more is not pulled by an anonymous token
--- redis
HSET docker-registry:group:public grant:public/* pull
--- after
my $token = token('', 'repository:public/a:pull');
soon('at first', 200, sub { everywhere_with($token, '/v2/public/a/tags/list') });
in_each_worker('warm:secret');
equal(everywhere_with($token, '/v2/public/a/tags/list'), 200, 'in each worker');
redis('DEL docker-registry:group:public');
soon('no more', 401, sub { everywhere_with($token, '/v2/public/a/tags/list') }, 0.1);

# two workers only
=== a key in the zone: what one worker issues is good in the others, after reloads, but not after a restart
--- http_config eval
$main::ZONE_KEY
--- after
in_each_worker('alice:secret');
my @token = map { main::team_token() } 1 .. 8;
equal(everywhere_with($_, $TAGS), 200, 'everywhere') for @token;
equal(main::signer($token[0], $KEY), '', 'it is not the key of the file');
for my $round (1 .. 2) {
    main::reload();
    equal(everywhere_with($token[0], $TAGS), 200, "reload $round");
}
main::reload(sub { $_[0] =~ s/zone=auth:1m/zone=auth:1m ttl=30s/r });
equal(everywhere_with($token[0], $TAGS), 200, 'another configuration');
main::restart();
equal(everywhere_with($token[0], $TAGS), 401, 'a restart');
equal(everywhere_with(main::team_token(), $TAGS), 200, 'a new one');

=== a key in a file: good after a restart, in another zone and without one
--- after
in_each_worker('alice:secret');
my $token = main::team_token();
main::reload();
equal(everywhere_with($token, $TAGS), 200, 'a reload');
main::restart();
equal(everywhere_with($token, $TAGS), 200, 'a restart');
main::reload(sub { $_[0] =~ s/zone=auth:1m/zone=other:2m/r });
soon('another zone', 200, sub { everywhere_with($token, $TAGS) });
main::reload(sub { $_[0] =~ s/zone=auth:1m/off/r });
equal(everywhere_with($token, $TAGS), 200, 'no zone');

=== keys rotate: the first signs, all verify, and one that is taken out is good for nothing
--- after
in_each_worker('alice:secret');
my @key = ($KEY, 'the second key of the tests, longer than it needs to be', 'x' x 32);
my $first = main::team_token();
equal(main::signer($first, @key), 0, 'who has signed it');
key_file("\n  $key[1]  \r\n$key[0]\n\n");
equal(everywhere_with($first, $TAGS), 200, 'before the reload');
main::reload();
my $second = main::team_token();
equal(main::signer($second, @key), 1, 'the first line signs');
equal(everywhere_with($_, $TAGS), 200, 'both are good') for $first, $second;
equal(everywhere_with(signed(key => $key[2])), 401, 'a third is not');
key_file("$key[2]\n$key[1]\n");
main::reload();
equal(everywhere_with($first, $TAGS), 401, 'taken out');
equal(everywhere_with($second, $TAGS), 200, 'the second');
equal(main::signer(main::team_token(), @key), 2, 'the third signs');

=== a reload with keys that cannot be used changes nothing
--- after
in_each_worker('alice:secret');
my $token = main::team_token();
my @old = nginx_server()->workers;
key_file("short\n");
nginx_server()->reload;
soon('it is refused', 1, sub { nginx_server()->new_errors =~ /\[emerg\].*"registry_auth_token_key"/ ? 1 : 0 },
    5);
equal(join(' ', nginx_server()->workers), join(' ', @old), 'the workers stay');
equal(everywhere_with($token, $TAGS), 200, 'and their keys');
--- error_log
registry_auth_token_key

=== a reload that turns Bearer off, and one that names another service
--- after
in_each_worker('alice:secret');
my $token = main::team_token();
main::reload(
    sub { $_[
    0] =~ s{registry_auth_bearer \S+;}{registry_auth_bearer http://localhost/token service=other;}r });
equal(everywhere_with($token, $TAGS), 401, 'another service');
main::reload(sub { $_[0] =~ s{registry_auth_bearer \S+;}{}r =~ s{registry_auth_token [^;]+;}{}r });
equal(everywhere_with($token, $TAGS), 401, 'off');
equal(header(with_token($token), 'WWW-Authenticate'), 'Basic realm="Registry"', 'the challenge');
nginx_server()->write_configuration(nginx_server()->{running});
main::reload();
equal(everywhere_with($token, $TAGS), 200, 'on again');

=== a change in the middle of a reload
--- after
for my $round (1 .. 3) {
    redis("HSET docker-registry:user:alice password $SECRET");
    soon("round $round: known", 200, sub { everywhere('alice:secret') });
    in_each_worker('alice:secret');
    my $token = main::team_token();
    my @old = nginx_server()->workers;
    nginx_server()->reload;
    Time::HiRes::sleep(0.04 * $round);
    redis("HSET docker-registry:user:alice password $OTHER");
    soon("round $round: refused", 401, sub { everywhere_with($token, $TAGS) });
    renewed(@old);
    in_each_worker('warm:secret');
    always("round $round: and stays so", 401, sub { everywhere_with($token, $TAGS) });
}

=== rule 23: a worker that is killed: tokens hold, with a key in the zone, too, and end with their account
--- http_config eval
$main::ZONE_KEY
--- after
in_each_worker('alice:secret');
my $token = main::team_token();
for my $round (1 .. 2) {
    my ($victim) = nginx_server()->workers;
    kill 'KILL', $victim;
    renewed($victim);
    soon("round $round", 200, sub { everywhere_with($token, $TAGS) }, 5);
}
in_each_worker('alice:secret');
redis("HSET docker-registry:user:alice password $OTHER");
soon('a change', 401, sub { everywhere_with($token) });
always('and stays so', 401, sub { everywhere_with($token) });
--- error_log eval
qr/exited on signal 9|shared memory zone \S+ was locked by/

=== tokens are issued and used by many at once
--- after
in_each_worker('alice:secret');
my @answer = http_many(64, 'GET /token?scope=repository:alice/a:pull', login => 'alice:secret');
my %status = map { $_->{status} => 1 } @answer;
equal(join(' ', keys %status), 200, 'issued');
my %used = map { with_token(json($_)->{token}, 'GET /v2/alice/a/tags/list')->{status} => 1 } @answer;
equal(join(' ', keys %used), 200, 'used');
