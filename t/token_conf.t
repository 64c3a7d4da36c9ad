# registry_auth_bearer, registry_auth_token and
# registry_auth_token_key together: what each needs of the others, what is a file
# of keys and what is none. Wrong values and contexts are in conf.t.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use Test::More;

my $KEYS = '$TEST_NGINX_SERVROOT/keys';

# A block about such a file: text, mode, and what is said of it; nothing where it will do.
sub file {
    my ($title, $text, $mode, @said) = @_;
    return spec_block(
        "a file of keys: $title",
        token_keys  => $text,
        keys_mode   => sprintf('%o', $mode),
        http_config => "    registry_auth_token_key $KEYS;\n",
        config      => '',
        no_redis    => '',
        @said
        ? (must_die => '', error_log => [ '"registry_auth_token_key"', '$TEST_NGINX_SERVROOT/keys', @said ],
            no_error_log => [ grep { length > 5 } split /\n/, $text ])
        : (config_ok => ''),
    );
}

add_block_preprocessor(sub { key_file($_[0]->token_keys, oct $_[0]->keys_mode) if defined $_[0]->keys_mode });

my $key  = 'k' x 32;
my $spec = join '',
    file('one line',                        "$key\n",                  0600),
    file('without a line end',              $key,                      0600),
    file('readable only',                   "$key\n",                  0400),
    file('sixteen, and empty lines',        "$key\n\n" x 16,           0600),
    file('blanks around them, CR LF',       "  $key\t\r\n $key\r\n",   0600),
    file('a long one, of any characters',   "\xff # \0 \" {};" . 'k' x 5000, 0600),
    file('others may read it',              "$key\n",                  0644, '644', '600'),
    file('others may write it',             "$key\n",                  0602, '602'),
    file('the group may read it',           "$key\n",                  0640, '640'),
    file('too short',                       "1234567890123456789012345678901\n", 0600, 'key 1', '32'),
    file('blanks do not make it longer',    '  short' . ' ' x 40 . "\n", 0600, 'key 1', '32'),
    file('the second is too short',         "$key\nshorter\n",         0600, 'key 2', '32'),
    file('an empty one',                    '',                        0600, 'no key'),
    file('empty lines',                     "\n \n\t\r\n",             0600, 'no key'),
    file('seventeen',                       "$key\n" x 17,             0600, '16');

# The server's directives, and what is wrong with them.
my $gate     = 'registry_auth "Registry";';
my $bearer   = 'registry_auth_bearer http://localhost/token;';
my $endpoint = 'location = /token { registry_auth_token; }';
my $zone     = '    registry_auth_cache zone=auth:1m;';
my $file     = "    registry_auth_token_key $KEYS;";
for (
    [ 'the endpoint needs registry_auth to be on',  $zone, "$bearer $endpoint",
      'registry_auth_token', 'registry_auth' ],
    [ 'registry_auth off is not on',                $zone,
      "$bearer location = /token { registry_auth off; registry_auth_token; }", 'registry_auth_token',
      '"registry_auth"' ],
    [ 'the endpoint needs a service for its tokens', $zone, "$gate $endpoint",
      'registry_auth_token', 'registry_auth_bearer' ],
    [ 'registry_auth_bearer off is none',           $zone,
      "$gate $bearer location = /token { registry_auth_bearer off; registry_auth_token; }",
      'registry_auth_token', 'registry_auth_bearer' ],
    [ 'Bearer needs a key, or a zone for one',      '',    "$gate $bearer",
      'registry_auth_bearer', 'registry_auth_token_key', 'registry_auth_cache' ],
    [ 'registry_auth_cache off is no zone',         '    registry_auth_cache off;', "$gate $bearer",
      'registry_auth_bearer', 'registry_auth_token_key', 'registry_auth_cache' ],
    [ 'another answer in its place',                $zone,
      "$gate $bearer location = /token { registry_auth_token; registry_auth_token ttl=60s; }",
      'registry_auth_token', 'duplicate' ],
    [ 'two files',                                  "$file\n$file", '',
      'registry_auth_token_key', 'duplicate' ],
    [ 'two services',                               $zone, "$gate $bearer $bearer",
      'registry_auth_bearer', 'duplicate' ],
) {
    my ($title, $http, $server, @said) = @$_;
    $spec .= spec_block($title, no_redis => '', must_die => '', http_config => "$http\n",
        config => "        $server\n", error_log => \@said);
}
for (
    [ 'a zone',                      $zone, "$gate $bearer $endpoint" ],
    [ 'a file of keys',              $file, "$gate $bearer $endpoint" ],
    [ 'both',                        "$zone\n$file", "$gate $bearer $endpoint" ],
    [ 'a file without any token',    $file, $gate ],
    [ 'Bearer where the gate is off', '',   $bearer ],
    [ 'each ttl',                    $zone, "$gate $bearer " . join ' ',
      map {"location = /$_ { registry_auth_token ttl=$_; }"} qw(60s 60 1m 61s 1h 12h 24h 1d 86400s 60000ms) ],
    [ 'addresses',                   $zone, $gate . join ' ',
      map {"location /" . length($_) . " { registry_auth_bearer $_; }"}
        'https://a', 'http://[::1]:5000/t', '$scheme://$http_host/token', 'https://$host/token?a=b',
            '${scheme}://$host:5/t', '$arg_a/token', '$arg_url', 'off' ],
    [ 'services',                    $zone, $gate . join ' ',
      map {"location /" . length($_) . " { registry_auth_bearer https://a \"service=$_\"; }"}
        'a', 'registry.example:5000', 'a=b', '{x}/@:;,', 'Our Registry' ],
) {
    my ($title, $http, $server) = @$_;
    $spec .= spec_block("accepted: $title", no_redis => '', config_ok => '', http_config => "$http\n",
        config => "        $server\n");
}

defaults(accounts => "alice:secret\n");
run_tests($spec . join '', <DATA>);

__DATA__
=== a relative path is that of the configuration
--- no_redis
--- config_ok
--- http_config
    registry_auth_token_key keys;

=== no error quotes a key
--- no_redis
--- must_die
--- token_keys
a key that nobody may see, and short
short and secret
--- http_config
    registry_auth_token_key $TEST_NGINX_SERVROOT/keys;
--- error_log
key 2
--- no_error_log
nobody may see
short and secret

=== registry_auth_bearer is inherited, and an inner one wins
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m') . "    registry_auth_bearer https://outer/token service=outer;\n"
--- config
        registry_auth "Registry";
        location / { proxy_pass http://registry; }
        location = /v2 { registry_auth_bearer http://inner/token; proxy_pass http://registry; }
        location = /v2/_catalog { registry_auth_bearer off; proxy_pass http://registry; }
--- request eval
[ "GET /v2/", "GET /v2", "GET /v2/_catalog" ]
--- error_code: 401
--- response_headers eval
[ map {"WWW-Authenticate: $_"} 'Bearer realm="https://outer/token",service="outer"',
  'Bearer realm="http://inner/token",service="registry"', 'Basic realm="Registry"' ]

=== any variable may begin the URL, which is checked when it is used: without a scheme nobody is sent anywhere
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config
        registry_auth "Registry";
        registry_auth_bearer $arg_url/token;
        location / { proxy_pass http://registry; }
--- request eval
[ "GET /v2/?url=https://a.example:5000", "GET /v2/?url=HTTP://b", "GET /v2/?url=ftp://b", "GET /v2/?url=//b",
  "GET /v2/", "GET /v2/?url=http://" ]
--- error_code eval
[ 401, 401, 500, 500, 500, 500 ]
--- response_headers eval
[ (map {"WWW-Authenticate: Bearer realm=\"$_/token\",service=\"registry\""} 'https://a.example:5000',
  'HTTP://b'), ('!WWW-Authenticate') x 4 ]
--- error_log
the variables of "registry_auth_bearer" come to no URL: "ftp://b/token"
come to no URL: "/token"
--- forwarded: 0

=== registry_auth_token is not inherited: a location inside has a gate
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config
        registry_auth "Registry";
        registry_auth_bearer http://localhost/token;
        location /token { registry_auth_token; location /token/v2/ { proxy_pass http://registry/v2/; } }
        location / { proxy_pass http://registry; }
--- login: alice:secret
--- request eval
[ "GET /token", "GET /token/x", "GET /token/v2/", "GET /v2/" ]
--- error_code_like eval
[ 200, 200, 404, 200 ]

=== each endpoint issues for its own service and prefix
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config
        registry_auth "Registry";
        registry_auth_bearer http://localhost/token;
        location = /token { registry_auth_token; }
        location / { proxy_pass http://registry; }
        location /v1/ { registry_auth_bearer http://localhost/other service=other; registry_auth_prefix other;
            proxy_pass http://registry; }
        location = /other { registry_auth_bearer http://localhost/other service=other;
            registry_auth_prefix other; registry_auth_token; }
--- redis
HSET other:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- after
my @token = map { json(http("GET $_", login => 'alice:secret'))->{token} } '/token', '/other';
equal(join(' ', map { my $token = $_; map { with_token($token, "GET $_")->{status} } '/v2/',
    '/v1/users' } @token), '200 401 401 200', 'each is good where it is for');
