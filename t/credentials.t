# Rules 10, 11 and 12: what is no credential is 401 and nothing else;
# nothing is cut, guessed or picked.
use strict;
use warnings;
use lib 't/lib';
use Harness;

use MIME::Base64 qw(encode_base64);

# The median time of a wrong password against that of an unknown user: within
# the noise of a machine that does other things too, hence three attempts.
sub compare_times {
    my $ratio;
    for my $attempt (1 .. 3) {
        my %time;
        for my $round (1 .. 15) {
            for my $user (qw(alice nobody)) {
                my $start  = Time::HiRes::time();
                my $answer = http('GET /v2/', login => "$user:wrong$round");
                push @{ $time{$user} }, Time::HiRes::time() - $start;
                die "$user: $answer->{status}" if $answer->{status} != 401;
            }
        }
        my %median = map { $_ => (sort { $a <=> $b } @{ $time{$_} })[7] } keys %time;
        $ratio = $median{nobody} / $median{alice};
        return if $ratio > 0.6 && $ratio < 1.6;
    }
    die "unknown user / wrong password: $ratio";
}

sub b64   { return encode_base64($_[0], '') }
sub basic { return 'Authorization: Basic ' . b64($_[0]) }

my $GOOD = basic('alice:secret');

# rule => Authorization headers; each is answered with 401
my @REFUSED = (
    'rule 10: a password is not cut at NUL' => [
        map { basic($_) } "alice:secret\0junk", "alice:secret\0", "alice:\0secret", "alice\0:secret",
        "\0alice:secret" ],
    'rule 10: control bytes are in no user and no password' => [
        map { basic($_) } "alice:secret\n", "alice:secret\r\n", "alice:sec\tret", "alice\n:secret",
            "alice:secret\x7f", "alice:\x01secret", "al\x1bice:secret" ],
    'rule 10: an empty password is none'    => [ basic('alice:'), basic('empty:'), basic('nobody:') ],
    'rule 10: an empty user is nobody'      => [ basic(':secret') ],
    'rule 10: no colon'                     =>
        [ basic('alice'), basic('alicesecret'), 'Authorization: Basic' . ' ' . b64('') ],
    'rule 10: no base64'                    => [
        map {"Authorization: Basic $_"} '!!!!', 'YWxpY2U6c2VjcmV0!', 'YWxp Y2U6c2VjcmV0',
        'YWxpY2U6c2VjcmV0 x', 'YWxpY2U6c2Vj-_V0', '=', 'YWxpY2U6c2VjcmV0====',
        'YWxpY2U6c2VjcmV0,', 'alice:secret' ],
    'rule 10: no credentials after the scheme' =>
        [ 'Authorization: Basic', 'Authorization: Basic ', 'Authorization:' ],
    'rule 10: a header over 4 KiB'             =>
        [ basic('alice:' . 's' x 4096), basic('a' x 4096 . ':secret'), 'Authorization: Basic ' . 'A' x 5000 ],
    'rule 10: a user that is not UTF-8'        =>
        [ basic("ali\xffce:secret"), basic("\xc0\xafalice:secret"), basic("\xed\xa0\x80:secret") ],
    'a user holds no slash, and is at most 255 bytes' =>
        [ basic('alice/app:secret'), basic('../alice:secret'), basic('a' x 256 . ':secret') ],
    'an unknown scheme is none' => [
        'Authorization: Bearer abc', 'Authorization: Digest username="alice"',
        'Authorization: Negotiate ' . b64('alice:secret'),
        'Authorization: ' . b64('alice:secret'), 'Authorization: BasicX ' . b64('alice:secret'),
        'Authorization: Basic' . b64('alice:secret') ],
    'a wrong password, user or case of either' => [
        map { basic($_) } 'alice:wrong', 'alice:Secret', 'alice:secret ', 'alice: secret', 'alice:secre',
        'alice:secrett', 'Alice:secret', ' alice:secret', 'nobody:secret',
        'bob:secret' ],
    'a stored hash is no password' => [ basic('alice:' . Harness::Users::sha('secret')) ],
);

my $spec = '';
my @rule = @REFUSED;
while (my ($rule, $headers) = splice @rule, 0, 2) {
    $spec .= spec_block(
        $rule,
        request      => [ map {'GET /v2/'} @$headers ],
        more_headers => $headers,
        error_code   => 401,
        oci_error    => 'UNAUTHORIZED',
        forwarded    => 0,
        response_headers =>
            "WWW-Authenticate: Basic realm=\"Registry\"\nDocker-Distribution-Api-Version: registry/2.0\n",
    );
}

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    redis       => 'HSET docker-registry:user:empty password ' . Harness::Users::sha('') . "\n",
    accounts    => "alice:secret\nbob:other\ncolon:se:cret\nzo\xc3\xab:secret\nspacey:a b  c\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== the right password of a known user
--- request
GET /v2/
--- login: alice:secret
--- forwarded: 1

=== the scheme's case does not matter
--- request eval
[ ("GET /v2/") x 3 ]
--- more_headers eval
[ map { "Authorization: $_ YWxpY2U6c2VjcmV0" } qw(basic BASIC bAsIc) ]
--- forwarded: 1

=== a password may hold colons and spaces
--- request eval
[ ("GET /v2/") x 4 ]
--- login eval
[ "colon:se:cret", "spacey:a b  c", "colon:se", "spacey:a b c" ]
--- error_code eval
[ 200, 200, 401, 401 ]

=== a user may be any UTF-8, but then has no namespace
--- request eval
[ "GET /v2/", "GET /v2/zo/app/tags/list" ]
--- login eval
"zo\xc3\xab:secret"
--- error_code eval
[ 200, 403 ]

=== Basic Og== means anonymous: nothing is open to it that is not public
--- request eval
[ "GET /v2/", "GET /v2/alice/app/tags/list", "PUT /v2/alice/app/manifests/v1", "GET /v2/_catalog",
  "GET /v1/_ping" ]
--- more_headers
Authorization: Basic Og==
--- error_code eval
[ 401, 401, 401, 401, 200 ]

=== Basic Og== does not ask Redis for a user
--- init
redis('CONFIG RESETSTAT');
--- request
GET /v2/
--- more_headers
Authorization: Basic Og==
--- error_code: 401
--- after
my $stat = redis('INFO commandstats');
die "asked for a user: $stat" if $stat =~ /cmdstat_hgetall/;

=== rule 11: of two Authorization headers none is picked
--- request eval
[ ("GET /v2/") x 4 ]
--- more_headers eval
my ($good, $bad) = ("Authorization: Basic YWxpY2U6c2VjcmV0", "Authorization: Basic YWxpY2U6d3Jvbmc=");
[ "$good\n$bad", "$bad\n$good", "$good\n$good", "$good\nAuthorization: Basic Og==" ]
--- error_code_like: ^40[01]$
--- forwarded: 0

=== rule 11: nor over HTTP/2
--- http2
--- request eval
[ ("GET /v2/") x 2 ]
--- more_headers eval
my ($good, $bad) = ("Authorization: Basic YWxpY2U6c2VjcmV0", "Authorization: Basic YWxpY2U6d3Jvbmc=");
[ "$good\n$bad", "$bad\n$good" ]
--- error_code_like: ^40[01]$
--- forwarded: 0

=== rule 12: an unknown user and a wrong password are answered alike
--- request eval
[ ("GET /v2/") x 2 ]
--- login eval
[ "alice:wrong", "nobody:wrong" ]
--- error_code: 401
--- after
my @answer = map { http("GET /v2/", login => $_) } "alice:wrong", "nobody:wrong", "alice:";
my %seen;
for (@answer) { (my $head = $_->{head}) =~ s/\r\nDate:[^\r]*//; $seen{"$head\n$_->{body}"}++ }
die "answers differ: " . join("\n---\n", keys %seen) if keys %seen != 1;

=== rule 12: an unknown user costs the same time as a wrong password (argon2id by the tool)
--- users
alice:secret
carol:secret
--- restart
--- skip_valgrind: it is about time
--- request eval
[ ("GET /v2/") x 2 ]
--- login eval
[ "alice:secret", "carol:secret" ]
--- after
main::compare_times();

=== rule 12: an unknown user costs the same time as a wrong password (bcrypt by the tool)
--- users
alice:secret hash=bcrypt
carol:secret hash=bcrypt
--- restart
--- skip_valgrind: it is about time
--- request eval
[ ("GET /v2/") x 2 ]
--- login eval
[ "alice:secret", "carol:secret" ]
--- after
main::compare_times();

=== rule 12: an unknown user costs the same time as a wrong password ({SHA})
--- accounts
alice:secret
carol:secret
--- restart
--- skip_valgrind: it is about time
--- request eval
[ ("GET /v2/") x 2 ]
--- login eval
[ "alice:secret", "carol:secret" ]
--- after
main::compare_times();

=== rule 12: an unknown user costs the same time as a wrong password (the 2014 gate's)
--- accounts
--- redis
HSET docker-registry:passwords \
  alice e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4 carol e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4
--- restart
--- skip_valgrind: it is about time
--- request eval
[ ("GET /v2/") x 2 ]
--- login eval
[ "alice:secret", "carol:secret" ]
--- after
main::compare_times();

=== the Authorization header of nobody reaches a backend on an open route
--- request
GET /v1/_ping
--- login: alice:secret
--- backend_not_received
Authorization
--- forwarded: 1
