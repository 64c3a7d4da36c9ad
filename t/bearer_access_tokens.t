# An access token sent as `Bearer rga_...`, without its user's name: it decides as
# the same token sent as the password of its user, on every route, in both modes
# and at the endpoint. P:token-owners only says in whose record to look.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;

our $DAY = 86_400;
our $TOKEN = access_token();
our ($OTHER, $NOBODYS) = (access_token(), access_token());

# How often Redis was asked for a user's record, and for the owner of a token.
sub questions {
    my ($stats) = redis('INFO commandstats');
    my %calls = $stats =~ /cmdstat_(\w+):calls=(\d+)/g;
    return join ' ', map { $_ . ' ' . ($calls{$_} // 0) } qw(hgetall hmget);
}

# What the same token gets by Basic and by Bearer: "200 200".
sub both {
    my ($line, $user, $token) = @_;
    my ($basic, $bearer) = (http($line, login => "$user:$token"), with_token($token, $line));
    my ($first, $second) = map { $_->{body} . header($_, 'WWW-Authenticate') } $basic, $bearer;
    return "$basic->{status} $bearer->{status}" . ($first eq $second ? '' : " but $first and $second");
}

# A token in its user's record and its entry, as Redis commands.
sub owned {
    my ($user, $id, $token, @rest) = @_;
    return stored_token($user, $id, $token, @rest) . token_owner($user, $token);
}

sub store { redis($_) for split /\n/, owned(@_) }

sub why { return json($_[0])->{errors}[0]{message} }

our $ROBOT = owned('robot', 'ci', $TOKEN, 90 * $DAY, 'team/*:pull,push', 'alice/**:*');
my $spec = join '', <DATA>;
my $basic_mode = $spec =~ s/^(=== .*)$/$1, in Basic mode\n--- config eval: main::basic_config()/mgr;
$basic_mode =~ s/^=== [^\n]*exchange.*?(?=^=== |\z)//msg;

sub basic_config { return zone_config('add_header X-User $registry_auth_user always;') }

defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "warm:secret\nalice:secret\n",
    redis       => "HSET docker-registry:user:robot grant:team/* *\n" . $ROBOT,
);
my $workers = "--- workers: 2\n--- skip_valgrind: one process there";
my $two_workers = $spec =~ s/^(=== .*)$/$1, two workers\n$workers/mgr;
run_tests($spec . $basic_mode . $two_workers);

__DATA__
=== it decides as the same token sent as a password, on every kind of route
--- after
my $digest = 'sha256:' . 'ab' x 32;
for (
    [ '200 200', 'GET /v2/' ],
    [ '200 200', 'GET /v2/team/a/tags/list', 'HEAD /v2/team/a/manifests/x', "GET /v2/team/a/blobs/$digest" ],
    [ '200 200', 'PUT /v2/team/a/manifests/x', 'POST /v2/team/a/blobs/uploads/' ],
    [ '200 200', 'PATCH /v2/team/a/blobs/uploads/1' ],
    [ '403 403', 'DELETE /v2/team/a/manifests/x' ],
    [ '403 403', 'GET /v2/alice/a/tags/list', 'GET /v2/robot/a/tags/list' ],
    [ '200 200', 'PUT /v1/repositories/team/a/', 'GET /v1/users' ],
) {
    my ($expected, @line) = @$_;
    equal(main::both($_, 'robot', $TOKEN), $expected, $_) for @line;
}

=== its user and its id are known, its scopes hold, and the user's name is not to be had otherwise
--- after
my $answer = with_token($TOKEN);
equal(header($answer, 'X-User'), 'robot', '$registry_auth_user');
my $refused = main::why(with_token($TOKEN, 'DELETE /v2/team/a/manifests/x'));
equal($refused, 'the access token may not delete team/a', 'its scopes');
equal(header(with_token($NOBODYS), 'X-User'), '', 'of an unknown one');

=== the catalogue shows what the token and its user may pull
--- backend
GET /v2/_catalog => body: {"repositories":["alice/a","robot/y","team/a","team/b/c"]}
--- after
equal(join(' ', @{ json(with_token($TOKEN, 'GET /v2/_catalog'))->{repositories} }), 'team/a', 'Bearer');

=== an unknown one, and one whose owner has it no more, are answered as a wrong password of Basic
--- redis eval
main::token_owner('alice', $main::OTHER) . main::token_owner('gone', $main::NOBODYS)
--- after
for my $token ($OTHER, $NOBODYS, access_token()) {
    equal(main::both($_, 'alice', $token), '401 401', $_) for 'GET /v2/', 'GET /v2/team/a/tags/list';
}

=== what begins as an access token and is none is refused without a question to Redis
--- after
redis('CONFIG RESETSTAT');
my $wrong = $TOKEN =~ s/(.)$/$1 eq '0' ? '1' : '0'/er;
equal(with_token($_)->{status}, 401, $_)
    for $wrong, "${TOKEN}0", substr($TOKEN, 0, 41), 'rga_', "rga_$TOKEN", 'rga_a.b.c';
equal(main::questions(), 'hgetall 0 hmget 0', 'nothing was asked');

=== once known it costs Redis no more questions, nor does the same token by Basic
--- after
in_each_worker(undef, headers => bearer($TOKEN));
redis('CONFIG RESETSTAT');
equal(main::with_token($TOKEN, 'GET /v2/team/a/tags/list')->{status}, 200, 'again') for 1 .. 20;
equal(asked("robot:$TOKEN", '/v2/'), '200 HIT', 'Basic');
equal(asked_with($TOKEN), '200 HIT', 'Bearer');
equal(main::questions(), 'hgetall 0 hmget 0', 'nothing was asked');

=== of a user who is known already only the owner is asked
--- after
my $other = access_token();
main::store('robot', 'other', $other, 999, '**:*');
in_each_worker("robot:$other");
redis('CONFIG RESETSTAT');
equal(asked_with($other), '200 MISS', 'first');
equal(asked_with($other), '200 HIT', 'then');
equal(main::questions(), 'hgetall 0 hmget 1', 'once');
equal(everywhere_with($other), 200, 'in every worker');
equal(main::questions(), 'hgetall 0 hmget 1', 'still once');

=== a token of somebody else that is created or revoked costs nobody a question
--- after
in_each_worker(undef, headers => bearer($TOKEN));
main::store('alice', 'x', $OTHER, 999, '**:*');
equal(asked_with($OTHER) =~ s/ .*//r, 200, 'the new one');
redis('CONFIG RESETSTAT');
equal(everywhere_with($TOKEN), 200, 'the old one');
equal(main::questions(), 'hgetall 0 hmget 0', 'nothing was asked');

=== revoked it ends at once in every worker, and a new one is good at once
--- after
in_each_worker(undef, headers => bearer($TOKEN));
equal(with_token($OTHER)->{status}, 401, 'not there yet');
redis('HDEL docker-registry:user:robot token:ci');
soon('revoked', 401, sub { everywhere_with($TOKEN) }, 0.1);
always('and stays so', 401, sub { everywhere_with($TOKEN) });
main::store('robot', 'new', $OTHER, 999, 'team/*:pull');
soon('the new one', 200, sub { everywhere_with($OTHER) }, 0.1);

=== narrowed, locked and unlocked it changes at once
--- redis eval
"HSET docker-registry:user:robot grant:team/* * password " . Harness::Users::sha('secret') . "\n"
    . $main::ROBOT
--- after
in_each_worker(undef, headers => bearer($TOKEN));
redis(main::stored_token('robot', 'ci', $TOKEN, 999, 'team/b:*') =~ s/\n//r);
soon('narrowed', 403, sub { everywhere_with($TOKEN, '/v2/team/a/tags/list') }, 0.1);
redis('HSET docker-registry:user:robot password !' . Harness::Users::sha('secret'));
soon('locked', 401, sub { everywhere_with($TOKEN) }, 0.1);
always('and stays so', 401, sub { everywhere_with($TOKEN) });
redis('HSET docker-registry:user:robot password ' . Harness::Users::sha('secret'));
soon('unlocked', 200, sub { everywhere_with($TOKEN) }, 0.1);

=== a renamed user keeps it under the new name at once, while somebody tries the old name
--- after
in_each_worker(undef, headers => bearer($TOKEN));
main::tool('user', 'rename', 'robot', 'droid');
http('GET /v2/', login => 'robot:wrong') for 1 .. 3;
soon('it goes on', 200, sub { everywhere_with($TOKEN, '/v2/team/a/tags/list') }, 0.1);
equal(header(with_token($TOKEN), 'X-User'), 'droid', 'as the new user');
equal(main::both('GET /v2/', 'droid', $TOKEN), '200 200', 'Basic, too');
equal(asked("robot:$TOKEN") =~ s/ .*//r, 401, 'the old name');

=== what the tool creates is good, and what it revokes or removes is not
--- after
my $made = main::tool('token', 'create', 'robot', '--scope', 'team/*:pull') =~ s/\n//r;
equal(main::both('GET /v2/team/a/tags/list', 'robot', $made), '200 200', 'created');
my ($id) = main::tool('token', 'list', 'robot', '--json') =~ /"id":\s*"((?!ci")[^"]+)"/;
main::tool('token', 'revoke', 'robot', $id);
soon('revoked', 401, sub { everywhere_with($made) }, 0.1);
main::tool('user', 'remove', 'robot');
soon('removed', 401, sub { everywhere_with($TOKEN) }, 0.1);
equal(redis('HLEN docker-registry:token-owners'), 0, 'nothing is left');

=== expired: refused with its reason, first and again, as by Basic
--- redis eval
main::owned('alice', 'old', $main::TOKEN, -1, '**:*')
--- after
equal(main::both('GET /v2/', 'alice', $TOKEN), '401 401', $_) for 1 .. 2;
equal(main::why(with_token($TOKEN)), 'access token old has expired', 'why');

=== Warning: 299 in the last week
--- redis eval
main::owned('alice', 'week', $main::TOKEN, 7 * $main::DAY - 60, '**:*')
--- after
my $week = '299 - "access token week expires in 7 days"';
equal(join('|', Harness::Response::values_of(with_token($TOKEN), 'Warning')), $week, $_) for 1 .. 2;

=== without the entry the token is good by Basic only; the entry alone lets nobody in
--- redis eval
main::stored_token('robot', 'ci', $main::TOKEN, 999, '**:*') . main::token_owner('robot', $main::OTHER)
--- after
equal(asked("robot:$TOKEN") =~ s/ .*//r, 200, 'Basic');
# It was somebody's in the block before.
soon('Bearer', 401, sub { asked_with($TOKEN) =~ s/ .*//r });
equal(asked_with($OTHER) =~ s/ .*//r, 401, 'the entry alone');

=== a key of another type, or a name that is none, fails closed and is logged
--- redis eval
main::stored_token('robot', 'ci', $main::TOKEN, 999, '**:*') . main::token_owner('rob:ot', $main::TOKEN)
--- after
equal(with_token($TOKEN)->{status}, 503, 'an illegal name');
redis('DEL docker-registry:token-owners');
redis('SET docker-registry:token-owners x');
equal(with_token($TOKEN)->{status}, 503, 'no hash');
equal(asked("robot:$TOKEN") =~ s/ .*//r, 200, 'Basic is not concerned');
--- error_log
docker-registry:token-owners

=== without a cache its owner and its user are asked for each time
--- http_config eval
main::token_http('')
--- restart
--- after
equal(asked_with($TOKEN), '200 BYPASS', $_) for 1 .. 2;
redis('CONFIG RESETSTAT');
equal(asked_with($TOKEN), '200 BYPASS', 'once more');
equal(asked_with($OTHER), '401 BYPASS', 'an unknown one');
equal(main::questions() =~ s/hgetall \d+ //r, 'hmget 3', 'twice for the owner, once for the password');

=== Redis is gone: who is known goes on where stale= bears it, all others get 503, never 401
--- http_config eval
main::token_http('zone=auth:1m stale=20s') =~ s/timeout=\S+/timeout=300ms/gr
--- restart
--- after
in_each_worker(undef, headers => bearer($TOKEN));
redis_server()->stop;
soon('the known one', '200 STALE', sub { asked_with($TOKEN) }, 5);
equal(everywhere_with($TOKEN, '/v2/team/a/tags/list'), 200, 'in every worker');
equal(everywhere_with($TOKEN, '/v2/alice/a/tags/list'), 403, 'with its rights');
equal(everywhere_with(access_token()), 503, 'an unknown one');
redis_server()->start;
main::store('robot', 'ci', $TOKEN, 999, 'team/*:pull');
soon('Redis is back', '200 HIT', sub { asked_with($TOKEN) }, 10);

=== wrong ones are not counted as wrong passwords, as by Basic
--- http_config eval
main::token_http() . "    registry_auth_failures 3 60s;\n"
--- restart
--- after
equal(with_token(access_token())->{status}, 401, 'wrong') for 1 .. 6;
equal(with_token($TOKEN)->{status}, 200, 'the right one');

=== an exchange at the endpoint: as by Basic; as a refresh token it is refused
--- after
my $issued = with_token($TOKEN, 'GET /token?service=registry&scope=repository:team/a:pull,push');
equal($issued->{status}, 200, 'exchanged');
my $token = json($issued)->{token};
equal(with_token($token, 'PUT /v2/team/a/manifests/x')->{status}, 200, 'what was issued');
equal(with_token($token, 'GET /v2/team/b/tags/list')->{status}, 401, 'for no more than was asked for');
my $endpoint = 'GET /token?service=registry';
equal(with_token($_, $endpoint)->{status}, 401, 'wrong') for access_token(), 'rga_', $token;
my $form = form(grant_type => 'refresh_token', service => 'registry', refresh_token => $TOKEN);
my $type = "Content-Type: application/x-www-form-urlencoded\n";
equal(http($form, headers => $type)->{status}, 401, 'a refresh token') for 1 .. 2;
redis('HDEL docker-registry:user:robot token:ci');
soon('revoked', 401, sub { everywhere_with($token) }, 0.1);
