# Access tokens of robots, as the password of Basic and exchanged at the
# endpoint: their scopes and their user's rights, both; an end that is announced
# in the last week; and revoked is over at once, for what was issued for it, too.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use Time::HiRes ();

our $DAY = 86_400;
our $TOKEN = access_token();
our ($OTHER, $SOON) = (access_token(), access_token());
# Far slower than any answer here may take.
our $SLOW = '$2y$14$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK';

sub warning { return join '|', Harness::Response::values_of($_[0], 'Warning') }

# A request by the token as a password, one by a token that it was exchanged for: "200 200".
sub both {
    my ($line, $user, $token) = @_;
    $user  //= 'robot';
    $token //= $TOKEN;
    my ($path) = $line =~ m{^\w+ (\S+)};
    my $challenge = header(http($line), 'WWW-Authenticate');
    # V1's challenge is Basic and names no scope: its clients know no tokens.
    my @scope
        = $challenge =~ /scope="([^"]*)"/            ? split / /, $1
        : $path =~ m{^/v1/repositories/(\S+)/$}      ? "repository:$1:pull,push"
        : $path =~ m{^/v1/images/}                   ? 'registry:images:pull,push'
        :                                              ();
    my $basic = http($line, login => "$user:$token");
    my $answer = ask("$user:$token", @scope);
    my $exchanged = $answer->{status} == 200 ? with_token(json($answer)->{token}, $line)->{status}
        : "($answer->{status})";
    return "$basic->{status} $exchanged";
}

# Whether a request took less than a hash of these users' takes.
sub quickly {
    my ($name, $expected, @login) = @_;
    my $begin = Time::HiRes::time();
    equal(asked($_) =~ s/ .*//r, $expected, $name) for @login;
    equal(Time::HiRes::time() - $begin < Harness::Valgrind::timeout(0.5) ? 1 : 0, 1,
        "$name: nothing is hashed");
}

my $spec = join '', <DATA>;
defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "warm:secret\nalice:secret\n",
    redis       => "HSET docker-registry:user:robot password $SLOW grant:team/* * groups crew\n"
        . "HSET docker-registry:group:crew grant:crew/** pull,push\n"
        . stored_token('robot', 'ci', $TOKEN, 90 * $DAY, 'team/*:pull,push', 'crew/a:*', 'robot/x/**:delete',
    'alice/**:*'),
);
run_tests(
    $spec . $spec =~ s/^(=== .*)$/$1, two workers\n--- workers: 2\n--- skip_valgrind: one process there/mgr);

__DATA__
=== what its scopes and its user's rights both allow, each action, by password and by exchange
--- after
my $digest = 'sha256:' . 'ab' x 32;
for (
    [ '200 200', 'GET /v2/' ],
    [ '200 200', 'GET /v2/team/a/tags/list',        'HEAD /v2/team/a/manifests/x',
      "GET /v2/team/a/blobs/$digest" ],
    [ '200 200', 'PUT /v2/team/a/manifests/x',      'POST /v2/team/a/blobs/uploads/',
      'PATCH /v2/team/a/blobs/uploads/1' ],
    [ '403 403', 'DELETE /v2/team/a/manifests/x' ],
    [ '200 200', 'GET /v2/crew/a/tags/list',        'PUT /v2/crew/a/manifests/x' ],
    [ '403 403', 'DELETE /v2/crew/a/manifests/x' ],
    [ '403 403', 'GET /v2/crew/b/tags/list' ],
    [ '200 200', 'DELETE /v2/robot/x/y/manifests/x' ],
    [ '403 403', 'GET /v2/robot/x/y/tags/list',     'GET /v2/robot/y/tags/list' ],
    [ '403 403', 'GET /v2/alice/a/tags/list',       'PUT /v2/alice/a/manifests/x' ],
    [ '200 200', 'PUT /v1/repositories/team/a/',    'GET /v1/users' ],
) {
    my ($expected, @line) = @$_;
    equal(main::both($_), $expected, $_) for @line;
}

=== why not: the access token, not the user, may not
--- login eval
[ "robot:$main::TOKEN", "robot:$main::TOKEN" ]
--- request eval
[ "GET /v2/crew/b/tags/list", "GET /v2/alice/a/tags/list" ]
--- error_code: 403
--- oci_error eval
[ "DENIED the access token may not pull crew/b", "DENIED robot may not pull alice/a" ]
--- forwarded: 0

=== a mount whose source is outside its scopes is stripped
--- redis eval
"HSET docker-registry:user:robot grant:team/* * grant:other/* pull\n"
    . main::stored_token('robot', 'ci', $main::TOKEN, 999_999, 'team/*:pull,push')
--- login eval
"robot:$main::TOKEN"
--- request eval
[ map { 'POST /v2/team/a/blobs/uploads/?mount=sha256:' . 'ab' x 32 . "&from=$_" } 'team/b', 'other/b' ]
--- forwarded eval
[ 1, "POST /v2/team/a/blobs/uploads/" ]

=== the catalogue shows what both allow
--- backend
GET /v2/_catalog => body: {"repositories":["alice/a","crew/a","crew/b","robot/x/y","robot/y","team/a","team/b/c","zoo"]}
--- after
my $names = sub { join ' ', @{ json($_[0])->{repositories} } };
equal($names->(http('GET /v2/_catalog', login => "robot:$TOKEN")), 'crew/a team/a', 'by password');
equal($names->(with_token(token("robot:$TOKEN", 'registry:catalog:*'), 'GET /v2/_catalog')), 'crew/a team/a',
    'by exchange');

=== V1's images are for who may do that to every repository
--- redis eval
main::stored_token('alice', 'most', $main::TOKEN, 999_999, '*/**:*')
    . main::stored_token('alice', 'all', $main::OTHER, 999_999, '**:pull', '*:push')
--- after
for (
    [ 'GET /v1/images/0123abcd/layer', '403 403', '200 200' ],
    [ 'PUT /v1/images/0123abcd/layer', '403 403', '403 403' ],
) {
    my ($line, @expected) = @$_;
    equal(main::both($line, 'alice', $_), shift @expected, $line) for $TOKEN, $OTHER;
}

=== several of one user are distinguished; one of another user, and one that nobody has, is a wrong password
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/a:pull')
    . main::stored_token('alice', 'two', $main::OTHER, 999_999, 'alice/b:pull')
--- login eval
[ map {( "alice:$_" ) x 2} $main::TOKEN, $main::OTHER, main::access_token(), 'secret' ]
--- request eval
[ map {"GET /v2/alice/$_/tags/list"} (qw(a b)) x 4 ]
--- error_code eval
[ 200, 403, 403, 200, 401, 401, 200, 200 ]
--- oci_error eval
[ undef, "DENIED", "DENIED", undef, ("UNAUTHORIZED incorrect username or password") x 2 ]

=== what is not quite a token is a password, and a wrong one
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, '**:*')
--- login eval
my $wrong = $main::TOKEN =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/er;
[ map {"alice:$_"} $wrong, substr($main::TOKEN, 0, -1), "${main::TOKEN}a", substr($main::TOKEN, 4),
  lc $main::TOKEN, ucfirst $main::TOKEN, " $main::TOKEN", "$main::TOKEN " ]
--- request eval
[ ("GET /v2/") x 8 ]
--- error_code: 401
--- oci_error: UNAUTHORIZED incorrect username or password

=== the digest that is stored is no password, nor is a password a token
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, '**:*') . "HSET docker-registry:user:bob password "
    . Harness::Users::sha($main::TOKEN)
--- login eval
[ "alice:" . Digest::SHA::sha256_hex($main::TOKEN), "alice:sha256=" . Digest::SHA::sha256_hex($main::TOKEN),
  "bob:$main::TOKEN" ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 401

=== as a Bearer token it is none
--- more_headers eval
main::bearer($main::TOKEN)
--- request eval
[ "GET /v2/", "GET /token" ]
--- error_code: 401

=== nothing is hashed for one, of whatever user
--- init
in_each_worker('warm:secret');
--- after
main::quickly('right', 200, ("robot:$TOKEN") x 3);
main::quickly('unknown', 401, map { 'robot:' . access_token() } 1 .. 3);
main::quickly('of an unknown user', 401, map { "nobody$_:" . access_token() } 1 .. 3);

=== nor for a token that was issued for one, or for the password
--- init
in_each_worker('warm:secret');
--- after
my $begin = Time::HiRes::time();
equal(with_token($_)->{status}, 200, 'right') for token("robot:$TOKEN"),
    signed(user => 'robot', stored => $SLOW);
equal(with_token($_)->{status}, 401, 'wrong') for signed(user => 'robot', stored => 'x'),
    signed(user => 'nobody'), signed(user => 'robot', tok => 'none');
equal(Time::HiRes::time() - $begin < Harness::Valgrind::timeout(0.5) ? 1 : 0, 1, 'nothing is hashed');

=== made, listed and revoked by the tool
--- after
my $secret = main::tool('token', 'create', 'alice', '--scope', 'alice/**:pull', '--expires', '5d') =~ s/\n//r;
equal($secret =~ /^rga_\w{38}$/ ? 1 : 0, 1, 'its form');
equal(access_token(substr $secret, 4, 32), $secret, 'its checksum');
equal(main::both('GET /v2/alice/a/tags/list', 'alice', $secret), '200 200', 'pull');
equal(main::both('PUT /v2/alice/a/manifests/x', 'alice', $secret), '403 403', 'push');
equal(main::warning(http('GET /v2/', login => "alice:$secret")) =~ /expires in [45] days"$/ ? 1 : 0, 1,
    'its end');
my $token = token("alice:$secret");
my ($id) = main::tool('token', 'list', 'alice') =~ /^(\w+)/m;
in_each_worker("alice:$secret");
equal(everywhere_with($token), 200, 'exchanged');
main::tool('token', 'revoke', 'alice', $id);
soon('revoked', 401, sub { everywhere("alice:$secret") }, 0.1);
soon('what was issued for it', 401, sub { everywhere_with($token) }, 0.1);

=== a user without a password has them, and nothing else
--- redis eval
main::stored_token('ghost', 'ci', $main::TOKEN, 999_999, 'ghost/**:pull')
--- after
equal(main::both('GET /v2/ghost/a/tags/list', 'ghost'), '200 200', 'pull');
equal(main::both('PUT /v2/ghost/a/manifests/x', 'ghost'), '403 403', 'push');
equal(asked("ghost:$_") =~ s/ .*//r, 401, "'$_'") for '', 'x', '!';

=== revoked: the token itself, and what was issued for it, within 100 ms in every worker; the others stay
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/**:pull')
    . main::stored_token('alice', 'two', $main::OTHER, 999_999, 'alice/**:pull')
--- after
in_each_worker("alice:$_") for $TOKEN, $OTHER, 'secret';
my ($first, $second, $own) = map { token("alice:$_", 'repository:alice/a:pull') } $TOKEN, $OTHER, 'secret';
equal(everywhere_with($_, '/v2/alice/a/tags/list'), 200, 'exchanged') for $first, $second, $own;
redis('HDEL docker-registry:user:alice token:one');
soon('itself', 401, sub { everywhere("alice:$TOKEN") }, 0.1);
soon('what was issued for it', 401, sub { everywhere_with($first, '/v2/alice/a/tags/list') }, 0.1);
always('and stays so', 401, sub { everywhere_with($first) });
equal(json(with_token($first))->{errors}[0]{message}, 'the access token behind the token was revoked', 'why');
equal(challenge_error(with_token($first)), 'invalid_token', 'the challenge');
equal(everywhere_with($_, '/v2/alice/a/tags/list'), 200, 'another') for $second, $own;
equal(everywhere("alice:$_"), 200, 'another') for $OTHER, 'secret';

=== another secret under the same id: what was issued for the earlier one ends, in every worker
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/**:pull')
--- after
in_each_worker("alice:$TOKEN");
my $token = token("alice:$TOKEN", 'repository:alice/a:pull');
equal(everywhere_with($token, '/v2/alice/a/tags/list'), 200, 'at first');
redis(stored_token('alice', 'one', $OTHER, 999_999, 'alice/**:pull') =~ s/\n//r);
soon('the earlier secret', 401, sub { everywhere("alice:$TOKEN") }, 0.1);
soon('what was issued for it', 401, sub { everywhere_with($token, '/v2/alice/a/tags/list') }, 0.1);
always('and stays so', 401, sub { everywhere_with($token) });
equal(json(with_token($token))->{errors}[0]{message},
    'the password or the access token has changed since the token was issued', 'why');
equal(everywhere_with(token("alice:$OTHER", 'repository:alice/a:pull'), '/v2/alice/a/tags/list'), 200,
    'for the new one');
redis('HDEL docker-registry:user:alice token:one');
redis(stored_token('alice', 'one', $TOKEN, 999_999, 'alice/**:pull') =~ s/\n//r);
soon('it is what it was', 200, sub { everywhere_with($token, '/v2/alice/a/tags/list') });

=== narrowed scopes, another user's lock: at once, too
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/**:*')
--- after
in_each_worker("alice:$TOKEN");
my $token = token("alice:$TOKEN", 'repository:alice/a:pull,push');
equal(everywhere_with($token, '/v2/alice/a/tags/list'), 200, 'at first');
redis(stored_token('alice', 'one', $TOKEN, 999_999, 'alice/b:*') =~ s/\n//r);
soon('narrowed: itself', 403, sub { everywhere("alice:$TOKEN", '/v2/alice/a/tags/list') }, 0.1);
soon('narrowed: exchanged', 403, sub { everywhere_with($token, '/v2/alice/a/tags/list') }, 0.1);
redis('HSET docker-registry:user:alice password !' . Harness::Users::sha('secret'));
soon('locked: itself', 401, sub { everywhere("alice:$TOKEN") }, 0.1);
soon('locked: exchanged', 401, sub { everywhere_with($token) }, 0.1);
always('locked, and stays so', 401, sub { everywhere("alice:$TOKEN") });

=== a changed password: the access token stays, what was issued for it is to be had again
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/**:*')
--- after
in_each_worker("alice:$TOKEN");
my $token = token("alice:$TOKEN");
redis('HSET docker-registry:user:alice password ' . Harness::Users::sha('other'));
soon('the old password', 401, sub { everywhere('alice:secret') }, 0.1);
equal(everywhere("alice:$TOKEN"), 200, 'itself');
equal(everywhere_with(token("alice:$TOKEN")), 200, 'a new one');
equal(everywhere_with($token), 401, 'the old one');

=== a new password does not end the refresh token of an access token, whose secret is the same
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, 'alice/**:*')
--- after
in_each_worker("alice:$TOKEN");
my $refresh = sub {
    json(http('GET /token?service=registry&offline_token=true', login => "alice:$_[0]"))->{refresh_token} };
my ($of_token, $of_password) = map { $refresh->($_) } $TOKEN, 'secret';
my $exchange = sub { http(form(grant_type => 'refresh_token', refresh_token => $_[0]),
    headers => "Content-Type: application/x-www-form-urlencoded\n")->{status} };
equal($exchange->($_), 200, 'exchanged') for $of_token, $of_password;
redis('HSET docker-registry:user:alice password ' . Harness::Users::sha('other'));
soon("the password's", 401, sub { $exchange->($of_password) }, 0.1);
equal($exchange->($of_token), 200, "the access token's");
redis('HDEL docker-registry:user:alice token:one');
soon('without the access token', 401, sub { $exchange->($of_token) }, 0.1);

=== expired: refused with its reason, first and again, and so is what was issued for it
--- redis eval
main::stored_token('alice', 'old', $main::TOKEN, -1, '**:*')
--- login eval
[ ("alice:$main::TOKEN") x 3, ("") x 2 ]
--- more_headers eval
[ (undef) x 3, (main::bearer(main::signed(tok => 'old', secret => $main::TOKEN))) x 2 ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /token", "GET /v2/", "GET /v2/" ]
--- error_code: 401
--- oci_error eval
[ ("UNAUTHORIZED access token old has expired") x 3,
  ("UNAUTHORIZED the access token behind the token has expired") x 2 ]
--- response_headers_like eval
[ ("WWW-Authenticate: Bearer [^:]*://localhost/token\",service=\"registry\"") x 2,
  "WWW-Authenticate: Basic.*", ('WWW-Authenticate: .*,error="invalid_token"') x 2 ]
--- response_headers
!Warning

=== it ends at its second, though it is known, and with it what was issued for it, an upload under way, too
--- after
redis(stored_token('alice', 'one', $TOKEN, 2, '**:*') =~ s/\n//r);
equal(asked("alice:$TOKEN") =~ s/ .*//r, 200, 'itself, at first');
my $token = token("alice:$TOKEN", 'repository:alice/a:pull,push');
equal(with_token($token, 'PATCH /v2/alice/a/blobs/uploads/1')->{status}, 200, 'exchanged, at first');
soon('itself', 401, sub { asked("alice:$TOKEN") =~ s/ .*//r }, 5);
equal(with_token($token, 'PATCH /v2/alice/a/blobs/uploads/1')->{status}, 401, 'exchanged');

=== it ends at its second, in whichever part of a second a worker got to know it
--- after
# Most of that would be added to its life, if only whole seconds were counted.
Time::HiRes::sleep(0.01) until (Time::HiRes::time() =~ /(\.\d+)/)[0] > 0.5;
my $stored = stored_token('alice', 'one', $TOKEN, 2, '**:*') =~ s/\n//r;
my ($end) = $stored =~ /expires=(\d+)/;
redis($stored);
my $token = token("alice:$TOKEN", 'repository:alice/a:pull,push');
my @known = (asked("alice:$TOKEN"), with_token($token, 'PATCH /v2/alice/a/blobs/uploads/1')->{status});
Time::HiRes::sleep(0.01) until Time::HiRes::time() > $end + 0.02;
equal(asked("alice:$TOKEN") =~ s/ .*//r, 401, "itself, after @known");
equal(with_token($token, 'PATCH /v2/alice/a/blobs/uploads/1')->{status}, 401, 'exchanged');

=== Warning: 299 comes in the last week, once, also for what was issued for the token; else never
--- redis eval
CORE::join '', map { main::stored_token('alice', @$_, '**:*') } [ 'week', $main::TOKEN, 7 * $main::DAY - 60 ],
    [ 'year', $main::OTHER, 7 * $main::DAY + 3600 ],
    [ 'day', $main::SOON, $main::DAY ];
--- backend
GET /v2/_catalog => body: {"repositories":[]}
--- after
my $week = '299 - "access token week expires in 7 days"';
for (1 .. 2) {
    equal(main::warning(http($_, login => "alice:$TOKEN")), $week, $_)
        for 'GET /v2/', 'GET /v2/alice/a/tags/list', 'PUT /v2/alice/a/manifests/x', 'HEAD /v2/', 'GET /token',
            'GET /v2/_catalog', 'GET /v1/users';
    my $token = token("alice:$TOKEN");
    equal(main::warning(with_token($token)), $week, 'exchanged');
}
equal(main::warning(http('GET /v2/', login => "alice:$main::SOON")),
    '299 - "access token day expires in 24 hours"', 'the last day');
equal(main::warning(http('GET /v2/', login => "alice:$OTHER")), '', 'more than a week');
equal(main::warning(with_token(token("alice:$OTHER"))), '', 'exchanged');
equal(main::warning(http('GET /v2/', login => 'alice:secret')), '', 'a password');
equal(main::warning(with_token(token('alice:secret'))), '', 'exchanged');

=== wrong ones are not counted as wrong passwords: what has 190 random bits is not guessed
--- http_config eval
main::token_http() . "    registry_auth_failures 3 60s;\n"
--- redis eval
# Its wrong passwords are hashed, so by a form that takes no time.
"HSET docker-registry:user:robot password " . Harness::Users::sha('secret') . "\n"
    . main::stored_token('robot', 'ci', $main::TOKEN, 90 * $main::DAY, '**:*')
--- restart
--- after
equal(asked("robot:$TOKEN") =~ s/ .*//r, 200, 'the right one') for 1 .. 8;
my @wrong = map { 'robot:' . access_token() } 1 .. 4;
equal(join(' ', map { asked($_) =~ s/ .*//r } @wrong), '401 401 401 401', 'wrong ones');
equal(join(' ', map { asked("robot:wrong$_") =~ s/ .*//r } 1 .. 4), '401 401 401 429', 'wrong passwords');
equal(asked("robot:$TOKEN") =~ s/ .*//r, 200, 'the right one goes on');

=== a wrong access token learns nothing of the record, and is asked for again each time
--- redis eval
main::stored_token('dora', 'one', $main::TOKEN, 999_999, '**:*')
    . "HSET docker-registry:user:dora grant:x fly\nSET docker-registry:user:carol x\n"
--- after
my $wrong = access_token();
equal(asked("$_:$wrong"), '401 MISS', $_) for ('dora', 'robot', 'carol', 'nobody') x 2;
equal(asked("dora:$TOKEN") =~ s/ .*//r, 503, 'the right one');

=== a token that cannot be read makes the record unreadable: it might have said less
--- redis eval
main::stored_token('alice', 'one', $main::TOKEN, 999_999, '**:*')
    . 'HSET docker-registry:user:alice token:two "sha256=00 expires=1 scope=**:*"'
--- login eval
[ "alice:$main::TOKEN", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 503
--- error_log
docker-registry:user:alice
