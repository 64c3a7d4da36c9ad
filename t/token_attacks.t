# Rules 5, 6, 8 and 18: nothing but a token of our own, signed by our
# key, for this service, now, and for this is any good; what is wrong with one is
# 401 with the challenge, never a 5xx, and nothing secret gets into a log.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use Harness::Routes;
use Digest::SHA qw(hmac_sha256 hmac_sha384 hmac_sha512);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url decode_base64url encode_base64);

our $SCOPE = [ 'repository:alice/app:pull,push,delete', 'registry:catalog:*' ];
our $GOOD  = signed(scope => $SCOPE);
my $JSON   = JSON::PP->new->utf8->canonical;

sub b64 { return encode_base64url($_[0]) }

# Signed by the key, with such a header.
sub with_header { return signed(scope => $SCOPE, header => ref $_[0] ? $JSON->encode($_[0]) : $_[0],
    @_[ 1 .. $#_ ]) }

# Such claims, with one that is JSON as it stands here.
sub with_raw {
    my ($text) = @_;
    my $payload = $JSON->encode(claims(scope => $SCOPE));
    $payload =~ s/\}$/,$text}/;
    return payload($payload);
}

sub payload { return compact('{"typ":"JWT","alg":"HS256"}', $_[0], $_[1] // $KEY) }

sub with { return signed(scope => $SCOPE, @_) }

my $OWN  = { typ => 'JWT', alg => 'HS256' };
my $EVIL = 'an attacker has this key, and knows it';
my $JWK  = { kty => 'oct', k => b64($EVIL), alg => 'HS256' };
my ($H, $P, $S) = split /\./, $GOOD;
my $NOW = time;

# What the header says is not heard, whoever has signed it.
my @HEADER = map {
    my ($how, $key) = @$_;
    map { [ "$how $_->[0]", with_header({ %$OWN, %{ $_->[1] } }, key => $key) ] }
        [ 'jwk', { jwk => $JWK } ], [ 'jku', { jku => 'http://127.0.0.1:1/jwks' } ],
            [ 'x5u', { x5u => 'http://127.0.0.1:1/x' } ],
        [ 'x5c', { x5c => [ encode_base64($EVIL, '') ] } ], [ 'kid', { kid => '0' } ],
        [ 'kid path', { kid => '../../../../dev/null' } ],
        [ 'kid sql', { kid => "x' UNION SELECT 'key" } ], [ 'crit', { crit => ['exp'] } ],
        [ 'zip', { zip => 'DEF' } ], [ 'cty', { cty => 'JWT' } ]
} [ 'signed by the attacker with', $EVIL ], [ 'signed by the key with', $KEY ];

my %ATTACKS = (
    'alg none' => [
        map({ [ "alg $_, no signature", join '.', b64($JSON->encode({ %$OWN, alg => $_ })), $P, '' ],
            [ "alg $_, a signature", with_header({ %$OWN, alg => $_ }) ],
              [ "alg $_, ours", join '.', b64($JSON->encode({ %$OWN, alg => $_ })), $P, $S ]
                  } qw(none None NONE nOnE), ''),
        [ 'no alg', with_header({ typ => 'JWT' }) ], [ 'alg null', with_header('{"typ":"JWT","alg":null}') ],
        [ 'two algs', with_header('{"typ":"JWT","alg":"HS256","alg":"none"}') ],
        [ 'no signature', "$H.$P." ], [ 'no third part', "$H.$P" ],
    ],
    'alg swaps' => [
        [ 'HS384', with_header({ %$OWN, alg => 'HS384' }, key => sub { hmac_sha384($_[0], $KEY) }) ],
        [ 'HS512', with_header({ %$OWN, alg => 'HS512' }, key => sub { hmac_sha512($_[0], $KEY) }) ],
        map { [ $_, with_header({ %$OWN, alg => $_ }) ] } qw(RS256 PS256 ES256 EdDSA hs256 HS256x A128KW),
    ],
    'HS256 in name only' => [
        [ 'SHA-384', with(key => sub { hmac_sha384($_[0], $KEY) }) ],
        [ 'SHA-512', with(key => sub { hmac_sha512($_[0], $KEY) }) ],
        [ 'half of the signature', with(key => sub { substr hmac_sha256($_[0], $KEY), 0, 16 }) ],
        [ 'one byte of it', with(key => sub { substr hmac_sha256($_[0], $KEY), 0, 1 }) ],
        [ 'more than it', with(key => sub { hmac_sha256($_[0], $KEY) . "\0" }) ],
        [ 'twice', with(key => sub { hmac_sha256($_[0], $KEY) x 2 }) ],
    ],
    'other spellings of the header' => [
        [ 'order', with_header('{"alg":"HS256","typ":"JWT"}') ],
        [ 'blanks', with_header('{"typ":"JWT", "alg":"HS256"}') ],
        [ 'no typ', with_header('{"alg":"HS256"}') ],
        [ 'refresh+jwt', with_header({ %$OWN, typ => 'refresh+jwt' }) ], [ 'a list', with_header('[]') ],
        [ 'no JSON', with_header('x') ], [ 'nothing', with_header('') ],
    ],
    'keys and addresses in the header' => \@HEADER,
    'wrong keys' => [ map { [ "key '$_'", with(key => $_) ] } '', "$KEY\n", substr($KEY, 0, -1), uc $KEY,
        b64($KEY), 'registry', 'secret', 'x' x 32 ],
    'another service, prefix or kind' => [
        [ 'service', with(service => 'other') ], [ 'no aud', with(aud => undef) ],
        [ 'aud empty', with(aud => '') ], [ 'aud list', with(aud => ['registry']) ],
        [ 'aud case', with(aud => 'Registry') ],
        [ 'prefix', with(prefix => 'other') ], [ 'refresh', with(kind => 'refresh') ],
        map({ [ "iss '$_'", with(iss => $_) ] } '', 'registry-auth/access/',
        'registry-auth/access/docker-registry/', 'x'),
        [ 'no iss', with(iss => undef) ],
        [ 'iss list', with(iss => ['registry-auth/access/docker-registry']) ],
    ],
    'times' => [
        [ 'expired', with(exp => $NOW - 1) ], [ 'expired long ago', with(exp => 1) ],
        [ 'exp 0', with(exp => 0) ], [ 'exp negative', with(exp => -1) ], [ 'no exp', with(exp => undef) ],
        [ 'far future', with(exp => $NOW + 3 * 86_400) ], [ 'farther', with(exp => 4_000_000_000) ],
        map({ my $text = $JSON->encode(claims(scope => $SCOPE)); $text =~ s/"exp":\d+/"exp":$_/;
            [ "exp $_", payload($text) ] }
            '18446744073709551615', '18446744073709551616', '9223372036854775807', '1e400', '4e9',
                '4000000000.5', '"4000000000"', 'null', 'true', '[]', '-0'),
        [ 'nbf in the future', with(nbf => $NOW + 300) ], [ 'no nbf', with(nbf => undef) ],
        [ 'nbf text', with(nbf => "$NOW") ], [ 'nbf far', with(nbf => 4_000_000_000) ],
    ],
    'who' => [
        [ 'nobody known', with(user => 'nobody') ], [ "another one's account", with(sub => 'bob') ],
        [ 'no sub', with(sub => undef) ], [ 'a list', with(sub => ['alice']) ],
        map({ [ "sub '$_'", with(user => $_) ] } 'alice:x', '../alice', 'alice/app', "alice\0", "alice\n",
            'Alice', ' alice', 'public', '*', 'x' x 300),
    ],
    'the state of the account' => [
        [ 'none', with(acc => undef) ], [ 'empty', with(acc => '') ],
        [ 'of another password', with(stored => 'x') ], [ 'of no password', with(stored => '') ],
        [ 'of another key', with(acc => account_tag(
        'docker-registry', 'alice', Harness::Users::sha('secret'), $EVIL)) ],
        [ 'more than it', with(acc => claims()->{acc} . 'A') ],
        [ 'less', with(acc => substr claims()->{acc}, 0, -1) ],
        [ 'an access token that is not there', with(tok => 'ci') ], [ 'one without a name', with(tok => '') ],
        [ 'a list', with(tok => []) ],
    ],
    'what for' => [
        map({ [ "access $_", payload($JSON->encode(claims()) =~ s/"access":\[\]/"access":$_/r) ] } 'null',
            '{}', '"repository:alice/app:pull"', '[[]]', '[null]', '[{}]',
            map { "[{\"type\":\"repository\",\"name\":$_}]" } '"alice/app"',
            map({ qq("$_","actions":["pull"]) } '', '*', '**', 'alice/*', 'Alice/app', '../alice/app',
            'alice/app/'), '"alice/app","actions":[]',
            '"alice/app","actions":"pull"', '"alice/app","actions":["all"]', '"alice/app","actions":[""]',
            '"alice/app","actions":["pull"],"more":1'),
        map({ [ "access of type $_", with(access => access($_)) ] } 'registry:everything:*',
            'plugin:alice/app:pull'),
    ],
    'claims that are not understood, and twice the same' => [
        map({ [ $_, with_raw($_) ] } '"admin":true', '"scope":"**:*"', '"jti":"1"', '"iat":1',
            '"sub":"alice"', '"exp":4000000000', '"access":[]', '"tok":null,"tok":null'),
    ],
    'what is no JSON' => [ map { [ substr($_, 0, 20), payload($_) ] } '', 'x', '[]', 'null', '1', '"a"', '{',
        '{}', '[' x 3000, '{"a":' x 800, "\xff\xfe", "{\"iss\":\"\\ud800\"}",
        $JSON->encode(claims()) . ' x' ],
    'not quite three parts' => [
        map { [ $_, $_ ] } '.', '..', '...', 'x', "$GOOD.", "$GOOD.$S", "$GOOD.x", ".$GOOD", "$H..$S", "..$S",
        "$H.$P.$S.$P.$S", "$GOOD,$GOOD", "$GOOD=", "$H=.$P.$S", "$H.$P=.$S", "$H.$P.$S==",
        "$GOOD $GOOD", "$H $P $S", "$H. $P.$S", "$H.$P. $S", "$GOOD\tx", "\"$GOOD\"", "<$GOOD>",
        "Bearer $GOOD", "token=$GOOD", "$GOOD;x", "$GOOD\xc3\xa9", $GOOD =~ s/\./%2E/gr,
        $GOOD =~ tr{-_}{+/}r . '+', uc $GOOD, scalar reverse $GOOD
    ],
);
# Each cut and each flipped bit, as one request each.
for my $i (1 .. length($GOOD) - 1) {
    push @{ $ATTACKS{'bit flips'} },
    [ "at $i", substr($GOOD, 0, $i) . chr(ord(substr $GOOD, $i, 1) ^ 1 << $i % 3) . substr $GOOD, $i + 1 ];
    push @{ $ATTACKS{'truncated'} }, [ "at $i", substr $GOOD, 0, $i ]
        if $i % 4 == 0 || $i > length($GOOD) - 8;
}

my $spec = '';
for my $name (sort keys %ATTACKS) {
    my @attack = @{ $ATTACKS{$name} };
    my $where = 'GET /v2/alice/app/tags/list';
    # Twice: what is remembered of a token must not be good, either.
    $spec .= spec_block(
        "rule 8: $name",
        request      => [ map { ("$where?" . ($_->[0] =~ s/[^\w-]+/_/gr)) x 2 } @attack ],
        more_headers => [ map { (bearer($_->[1] =~ s/[\r\n]//gr)) x 2 } @attack ],
        error_code   => 401,
        oci_error    => 'UNAUTHORIZED',
        forwarded    => 0,
        response_headers_like => "WWW-Authenticate: Bearer realm=\"http://localhost/token\",service=\"registry\",scope=\"repository:alice/app:pull\",error=\"(?:invalid_token|insufficient_scope)\"\n",
    );
}

# Over the route table, for who may do everything.
our (@WRONG, @LESS, @RIGHT, @PULL);
for my $row (map { @{ $_->[1] } } routes()) {
    next if !$row->{action} || !$row->{has_token} || length $row->{repository} > 100;
    push @WRONG, $row;
    push @{ $row->{action} =~ /^(?:pull|exists)$/ ? \@RIGHT : \@LESS }, $row;
    push @PULL, $row if $row->{action} eq 'pull';
}
my %SCOPES = (
    'scope of another repository on every route' =>
        [ \@WRONG, 401, sub { 'repository:alice/other:pull,push,delete' } ],
    'of one whose name begins or ends alike'     =>
        [ \@WRONG, 401, sub { map {"repository:$_:pull,push,delete"} "$_[0]/x", "$_[0]x", "x/$_[0]",
        "library/$_[0]" } ],
    'pull is neither push nor delete'            => [ \@LESS,  401, sub {"repository:$_[0]:pull"} ],
    'push and delete are not pull'               => [ \@PULL,  401, sub {"repository:$_[0]:push,delete"} ],
    'catalogue and images are no repository'     =>
        [ \@WRONG, 401, sub { ('registry:catalog:*', 'registry:images:pull,push') } ],
    'and the right one is right'                 => [ \@RIGHT, 200, sub {"repository:$_[0]:pull"} ],
);
for my $name (sort keys %SCOPES) {
    my ($rows, $status, $scope) = @{ $SCOPES{$name} };
    $spec .= spec_block(
        "rule 6: $name",
        redis        => "HSET docker-registry:user:alice grant:** *\n",
        request      => [ map { $_->{line} } @$rows ],
        more_headers => [ map { $_->{headers} . bearer(signed(scope => [ $scope->($_->{repository}) ]))
            } @$rows ],
        error_code   => $status,
        $status == 401
        ? (forwarded => 0, raw_response_headers_like =>
            [ map { $_->{is_v1} ? 'WWW-Authenticate: Basic ' : 'error="insufficient_scope"' } @$rows ])
        : (),
    );
}

# As in secrets.t: the lines of nginx at debug level quote the request.
sub search {
    my ($log, @secret) = @_;
    my $quoting = qr/http header: "|http header line: |http2 header: |http proxy header|"\w+: |posted:/;
    my @line = grep { !/$quoting|http header done/ } split /\n/, $log;
    for my $secret (grep { length > 7 } @secret) {
        my ($bad) = grep { index($_, $secret) >= 0 } @line;
        die "'$secret' is in the log: $bad\n" if defined $bad;
    }
}

defaults(
    http_config => token_http(),
    config      => token_config(),
    accounts    => "alice:secret\nbob:secret\nwarm:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== all of them begin with one that is good
--- more_headers eval
main::bearer($main::GOOD)
--- request eval
[ ("GET /v2/alice/app/tags/list") x 3 ]
--- forwarded: 1

=== what is too long is refused, too
--- more_headers eval
[ map { main::bearer("$main::GOOD." . 'x' x $_) } 4000, 7500, 20_000 ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code_like: ^40[01]$
--- forwarded: 0

=== a token where none is looked for is none: query, form, cookie, other headers
--- request eval
[ "GET /v2/alice/app/tags/list?access_token=$main::GOOD",
  "GET /v2/alice/app/tags/list?token=$main::GOOD&access_token=$main::GOOD",
  map({"PUT /v2/alice/app/manifests/x\naccess_token=$main::GOOD"} 1 .. 2), ("GET /v2/alice/app/tags/list") x 4, "POST /v2/alice/app/blobs/uploads/?access_token=$main::GOOD\naccess_token=$main::GOOD" ]
--- more_headers eval
[ undef, undef, undef, "Content-Type: application/x-www-form-urlencoded",
  map({"$_: $main::GOOD"} 'Cookie', 'X-Access-Token', 'Access-Token'),
  "Proxy-Authorization: Bearer $main::GOOD", undef ]
--- error_code: 401
--- forwarded: 0
--- response_headers_like
WWW-Authenticate: [^=]+=[^=]+=[^=]+=[^=]+

=== nor beside the Basic header of somebody else
--- login: bob:secret
--- request eval
[ "GET /v2/alice/app/tags/list?access_token=$main::GOOD", "GET /v2/alice/app/tags/list" ]
--- more_headers eval
[ undef, "Cookie: access_token=$main::GOOD" ]
--- error_code: 403

=== as a password, or a user, it is a wrong one
--- login eval
[ map {( "alice:$_", "$_:secret", "$_:" )} $main::GOOD ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code: 401
--- no_error_log
[error]

=== rule 18: at debug level: neither password, access token, token nor key
--- log_level: debug
--- workers: 2
--- skip_valgrind: there is no master to reload
--- after
my $robot = access_token();
redis(stored_token('alice', 'ci', $robot, 999_999, '**:*') =~ s/\n//r);
my $type = "Content-Type: application/x-www-form-urlencoded\n";
my @login = (grant_type => 'password', username => 'alice', access_type => 'offline');
my @form = map { http(form(@login, password => $_), headers => $type) } 'secret', 'Wrong-Passw0rd', $robot;
my $refresh = json($form[0])->{refresh_token};
my @token = (token('alice:secret', 'repository:alice/app:pull'),
    token("alice:$robot", 'repository:alice/app:pull'), json($form[0])->{token}, $refresh, $GOOD,
    signed(exp => 1), signed(key => 'x'));
http(form(grant_type => 'refresh_token', refresh_token => $_), headers => $type) for @token, 'Wrong-Passw0rd';
http(form(@login, refresh_token => $refresh), headers => $type);
for my $line ('GET /v2/', 'GET /v2/alice/app/tags/list', 'GET /v2/bob/x/tags/list', 'GET /v2/_catalog',
    'GET /token') {
    with_token($_, $line) for @token, "$GOOD.x", substr $GOOD, 0, -1;
    http($line, login => "alice:$_") for $robot, access_token(), 'Wrong-Passw0rd';
}
nginx_server()->reload;
Time::HiRes::sleep(0.2);
http('GET /v2/', login => "alice:$robot");
my $log = nginx_server()->new_errors;
main::search($log . nginx_server()->new_access, $KEY, $robot, substr($robot, 4, 20), 'Wrong-Passw0rd',
    map { ($_, split /\./) } @token);
main::search($log, map { MIME::Base64::encode_base64("alice:$_", '') } $robot, 'secret', 'Wrong-Passw0rd');
main::search($log, Digest::SHA::sha256_hex($robot));
--- error_log
registry_auth
