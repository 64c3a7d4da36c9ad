# What nginx itself refuses, with the shipped errors.conf: each is OCI JSON, and
# what the module refuses with 400 stays the module's.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use IO::Socket::INET;

# The answer to these bytes at the port with TLS.
sub raw_tls {
    my ($text) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => expand('$TEST_NGINX_TLS_PORT'),
        Timeout => 5) or die "no socket: $!";
    print {$socket} $text;
    local $/;
    return scalar <$socket>;
}

sub curl {
    my (@args) = @_;
    my $url = 'https://127.0.0.1:' . expand('$TEST_NGINX_TLS_PORT') . '/v2/';
    open my $pipe, '-|', 'curl', '-sik', '--http1.1', '--max-time', 5, @args, $url or die "curl: $!";
    local $/;
    return scalar <$pipe>;
}

our $CONFIG = <<'EOC';
        registry_auth "Registry";
        listen 127.0.0.1:$TEST_NGINX_TLS_PORT ssl;
        ssl_certificate $TEST_NGINX_SERVROOT/certificate.pem;
        ssl_certificate_key $TEST_NGINX_SERVROOT/key.pem;
        include $TEST_NGINX_ROOT/nginx/errors.conf;
        location / { proxy_pass http://registry; proxy_set_header Authorization ""; }
EOC

defaults(
    http_config => gate_http(),
    config      => $CONFIG,
    certificate => '',
    accounts    => "alice:secret\n",
);

# One connection each: nginx closes it.
my $spec = '';
my $rest = "Connection: close\r\n\r\n";
for (
    [ '400: a host that is none',       "GET /v2/ HTTP/1.1\r\nHost: a b\r\n$rest",                      400,
      'UNSUPPORTED this is no request of HTTP' ],
    [ '400: no host',                   "GET /v2/ HTTP/1.1\r\n$rest",                                   400,
      'UNSUPPORTED this is no request of HTTP' ],
    [ '400: a method that is none, so that there is no path', "g\@t /v2/ HTTP/1.1\r\nHost: a\r\n$rest", 400,
      'UNSUPPORTED this is no request of HTTP' ],
    [ '400: a length that is none',     "GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n$rest",  400,
      'UNSUPPORTED this is no request of HTTP' ],
    [ '414: a path that is too long',   'GET /v2/' . 'a' x 9000 . " HTTP/1.1\r\nHost: a\r\n$rest",      414,
      'NAME_INVALID the path is longer' ],
    [ '494: headers that are too large', "GET /v2/ HTTP/1.1\r\nHost: a\r\nX-A: " . 'a' x 9000 . "\r\n$rest",
      400, 'UNSUPPORTED the headers are larger' ],
) {
    my ($title, $request, $status, $error) = @$_;
    # Quoted, or the runner would cut off the line ends.
    my $quoted = $request =~ s/\r\n/\\r\\n/gr =~ s/\@/\\@/gr;
    $spec .= spec_block($title, 'raw_request eval' => "\"$quoted\"", error_code => $status,
        oci_error => $error, forwarded => 0,
        response_headers => "Docker-Distribution-Api-Version: registry/2.0\nContent-Type: application/json");
}
run_tests($spec . join '', <DATA>);

__DATA__
=== 400 of the module stays its own
--- login: alice:secret
--- request eval
[ "GET /v2/alice//app/tags/list", "GET /v2/_catalog?n=1&n=2" ]
--- error_code: 400
--- oci_error eval
[ "NAME_INVALID path or name is not canonical", "PAGINATION_NUMBER_INVALID" ]
--- response_headers
Docker-Distribution-Api-Version: registry/2.0

=== 497: plain HTTP at a port that speaks https
--- request
GET /v2/
--- error_code: 401
--- after
my $answer = main::raw_tls("GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
equal((split /\r\n/, $answer)[0], 'HTTP/1.1 400 Bad Request', 'status');
equal(scalar($answer =~ /"code":"UNSUPPORTED","message":"the plain HTTP request was sent to HTTPS port/), 1,
    'body');
equal(scalar(() = $answer =~ /^Docker-Distribution-Api-Version: registry\/2\.0\r$/mg), 1, 'one api version');

=== 496, 495: no client certificate, and one that is not valid here
--- config eval
"$main::CONFIG        ssl_verify_client on;\n        ssl_client_certificate "
    . "\$TEST_NGINX_SERVROOT/certificate.pem;\n"
--- request
GET /v2/
--- error_code: 401
--- after
my $folder = expand('$TEST_NGINX_SERVROOT');
system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=stranger -days 1 -keyout $folder/other.key -out "
    . "$folder/other.pem 2>/dev/null") == 0 or die "openssl failed\n";
my $none = main::curl();
equal(scalar($none =~ m{^HTTP/1.1 400 .*"code":"UNAUTHORIZED","message":"a client certificate is required"}s),
    1, 'none');
my $other = main::curl('--cert', "$folder/other.pem", '--key', "$folder/other.key");
equal(scalar(
    $other =~ m{^HTTP/1.1 400 .*"code":"UNAUTHORIZED","message":"the client certificate is not valid here"}s),
    1, 'another');

=== no client reaches the pages by their paths
--- login: alice:secret
--- request eval
[ map {"GET /registry-auth/$_"} 400, 414, 494, 497 ]
--- error_code: 404

=== $registry_auth_error is empty where the module has refused nothing
--- config
        registry_auth "Registry";
        location / { proxy_pass http://registry; proxy_set_header X-Error "<$registry_auth_error>"; }
--- login: alice:secret
--- request
GET /v2/
--- backend_received_like
^X-Error: <>$
