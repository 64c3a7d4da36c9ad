# For tests of tokens: a gate with a Bearer challenge and its endpoint, tokens
# that are asked for there, tokens that are signed here (so that every claim can
# be wrong), and access tokens. What is signed here is not made by any code of
# the module: only RFC 7519 and what the module says of itself.
package Harness::Token;

use strict;
use warnings;

use Compress::Zlib ();
use Digest::SHA qw(hmac_sha256 sha256 sha256_hex);
use Exporter qw(import);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url decode_base64url);

use Harness::Users;
use Harness::Zone;

our @EXPORT = qw(
    $KEY $BEARER token_http token_config key_file
    ask token with_token asked_with everywhere_with bearer signed compact claims access account_tag json
    challenge_error
    access_token stored_token token_owner form query tool
);

# What the file of keys holds when a block begins, and has not said otherwise.
our $KEY = 'a key of the tests, of more than 32 bytes';

our $BEARER = 'Bearer realm="http://localhost/token",service="registry"';

my $HEADER = '{"typ":"JWT","alg":"HS256"}';
my $SECRET = Harness::Users::sha('secret');
my $JSON   = JSON::PP->new->utf8->canonical;

Harness::add_block_preprocessor(
    sub {
        my ($block) = @_;
        key_file($block->token_keys // "$KEY\n");
        $block->set_value(init => "Harness::Token::settle();\n" . ($block->init // ''));
    }
);

# What Redis told of the accounts' last change is heeded before what it answers later: so ask for somebody
# nobody knows. Then no block begins with what the zone knows from the one before.
my $stranger = 0;
sub settle { return Harness::http('GET /v2/', login => 'stranger' . ++$stranger . ':x') }

# Writes the file that registry_auth_token_key names.
sub key_file {
    my ($text, $mode, $path) = @_;
    $path //= Harness::expand('$TEST_NGINX_SERVROOT/keys');
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} $text;
    close $file;
    chmod $mode // 0600, $path;
}

# zone_http() with a file of keys.
sub token_http {
    my ($arguments) = @_;
    return zone_http($arguments // 'zone=auth:1m')
        . "    registry_auth_token_key \$TEST_NGINX_SERVROOT/keys;\n";
}

# The gate, with directives of its own, and the endpoint, with others.
sub token_config {
    my ($directives, $endpoint) = @_;
    $endpoint //= 'registry_auth_token ttl=60s;';
    my $headers = join "\n", map {"add_header $_ always;"}
        'X-Cache $registry_auth_cache', 'X-Result $registry_auth_result', 'X-User $registry_auth_user';
    my $gate = zone_config(join "\n", $directives // '', 'add_header X-User $registry_auth_user always;');
    return <<"EOC" . $gate;
        registry_auth_bearer http://localhost/token;
        location = /token {
            registry_auth "Registry";
            $endpoint
            $headers
        }
EOC
}

# scope => ..., as a query; several scopes as a list.
sub query {
    my (@pair) = @_;
    my @text;
    while (my ($name, $value) = splice @pair, 0, 2) {
        push @text, map { "$name=" . escaped($_) } ref $value ? @$value : $value;
    }
    return join '&', @text;
}

sub escaped { return $_[0] =~ s/([^A-Za-z0-9._~:\/,-])/sprintf '%%%02X', ord $1/ger }

# A request with a form to the endpoint.
sub form {
    my (@pair) = @_;
    return "POST /token\n" . query(@pair);
}

# The endpoint's answer to a GET.
sub ask {
    my ($login, @scope) = @_;
    return Harness::http('GET /token?' . query(service => 'registry', scope => \@scope), login => $login);
}

# The token of such an answer.
sub token {
    my $answer = ask(@_);
    die "the endpoint answers $answer->{status}: $answer->{body}\n" unless $answer->{status} == 200;
    return json($answer)->{token};
}

sub json { return $JSON->decode($_[0]{body}) }

sub bearer { return "Authorization: Bearer $_[0]\n" }

sub with_token {
    my ($token, $line) = @_;
    return Harness::http($line // 'GET /v2/', headers => bearer($token));
}

# "200 HIT", as asked() says it of a login.
sub asked_with {
    my ($token, $uri) = @_;
    return verdict(with_token($token, 'GET ' . ($uri // '/v2/')));
}

# The statuses of many requests at once, so that every worker gets some.
sub everywhere_with {
    my ($token, $uri) = @_;
    my %seen = map { $_->{status} => 1 } Harness::http_many(
        16, 'GET ' . ($uri // '/v2/'), headers => bearer($token));
    return join ' ', sort keys %seen;
}

# The `error` of the challenge in an answer; '' where it has none.
sub challenge_error { return header($_[0], 'WWW-Authenticate') =~ /,error="([^"]*)"$/ ? $1 : '' }

# `repository:a/b:pull` ... as the claim `access`.
sub access {
    return [
        map {
            my ($type, $name, $actions) = /^(\w+):(.*):([^:]*)$/ or die "access: $_\n";
            { type => $type, name => $name, actions => [ split /,/, $actions ] }
        } @_
    ];
}

# What stands in a token for the state of an account, and of the access token that it was issued for.
sub account_tag {
    my ($prefix, $user, $stored, $key, $secret) = @_;
    my $state = substr sha256($stored), 0, 16;
    $state = substr sha256($state . substr sha256(sha256($secret)), 0, 16), 0, 16 if defined $secret;
    return encode_base64url(substr hmac_sha256("account\0$prefix\0$user\0$state", $key), 0, 16);
}

# Claims of a good token of alice's, whose password is `secret`, for these scopes.
# Arguments: scope, user, stored (password), secret (an access token, whose id is `tok`), prefix, service,
# kind, key; and any claim by its name, undef for none.
sub claims {
    my (%arg) = @_;
    my $user   = delete $arg{user}    // 'alice';
    my $prefix = delete $arg{prefix}  // 'docker-registry';
    my $kind   = delete $arg{kind}    // 'access';
    my $stored = delete $arg{stored}  // (length $user ? $SECRET : '');
    my $key    = delete $arg{key}     // $KEY;
    my $scope  = delete $arg{scope}   // [];
    my $secret = delete $arg{secret};
    my %claim  = (
        iss    => "registry-auth/$kind/$prefix",
        aud    => delete $arg{service} // 'registry',
        sub    => $user,
        exp    => time + 600,
        nbf    => time,
        access => access(ref $scope ? @$scope : $scope),
        acc    => account_tag($prefix, $user, $stored, $key, $secret),
        %arg,
    );
    return { map { $_ => $claim{$_} } grep { defined $claim{$_} } keys %claim };
}

# header and payload as they are, signed by this key or (a function) by something else.
sub compact {
    my ($header, $payload, $key) = @_;
    my $text = join '.', map { encode_base64url($_) } $header, $payload;
    return "$text." . encode_base64url(ref $key ? $key->($text) : hmac_sha256($text, $key));
}

# Such a token; `header` besides.
sub signed {
    my (%arg) = @_;
    my $header = delete $arg{header} // $HEADER;
    return compact($header, $JSON->encode(claims(%arg)), $arg{key} // $KEY);
}

my @ALPHABET = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');

# An access token: what the tool prints.
sub access_token {
    my ($random) = @_;
    $random //= join '', map { $ALPHABET[ rand @ALPHABET ] } 1 .. 32;
    my ($head, $rest, $sum) = ("rga_$random", Compress::Zlib::crc32("rga_$random"), '');
    for (1 .. 6) {
        $sum  = $ALPHABET[ $rest % @ALPHABET ] . $sum;
        $rest = int $rest / @ALPHABET;
    }
    return $head . $sum;
}

# Such a token as it is stored, as a Redis command: of a user, by an id, with an end in so many seconds, for
# these scopes.
sub stored_token {
    my ($user, $id, $token, $seconds, @scope) = @_;
    my $value = join ' ', 'sha256=' . sha256_hex($token), 'expires=' . (time + $seconds),
        'created=' . (time - 60),
        map {"scope=$_"} @scope;
    return qq{HSET docker-registry:user:$user token:$id "$value"\n};
}

# The entry that says whose it is.
sub token_owner {
    my ($user, $token) = @_;
    return 'HSET docker-registry:token-owners ' . sha256_hex($token) . " $user\n";
}

# What the real registry-authctl prints.
sub tool {
    local $ENV{REGISTRY_AUTH_REDIS} = Harness::expand('redis://127.0.0.1:$TEST_NGINX_REDIS_PORT');
    my @argv = ($ENV{TEST_AUTHCTL} || "$Harness::ROOT/build/registry-authctl", @_);
    open my $from, '-|', 'sh', '-c', 'exec "$@" 2>/dev/null', 'sh', @argv or die "@argv: $!\n";
    my $text = do { local $/; <$from> } // '';
    close $from or die "registry-authctl @_: $?: $text\n";
    return $text;
}

1;
