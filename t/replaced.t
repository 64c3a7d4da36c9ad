# What takes the place of a registry's answer is sent when the headers are, and whole: whatever comes of the
# body that it replaces, and whenever. The client's connection goes on, or says that it does not.
use strict;
use warnings;
use lib 't/lib';
use Harness;

my $AWAY = 'HTTP/1.1 302 F\r\nLocation: http://evil.example/\r\n';
my $BIG  = 'y' x 300_000;

# The answer that is replaced, and whether its connection stays open.
my @ANSWERS = (
    [ 'no body yet',           "$AWAY" . 'Content-Length: 5\r\n\r\n',                                  1 ],
    [ 'a part of a body',      "$AWAY" . 'Content-Length: 5\r\n\r\nab',                                1 ],
    [ 'chunks without an end', "$AWAY" . 'Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n',           1 ],
    [ 'no chunk yet',          "$AWAY" . 'Transfer-Encoding: chunked\r\n\r\n',                         1 ],
    [ 'a body up to the end of the connection', $AWAY . '\r\nabc',                                     1 ],
    [ 'an empty body',         "$AWAY" . 'Content-Length: 0\r\n\r\n',                                  1 ],
    [ 'a small body',          "$AWAY" . 'Content-Length: 5\r\n\r\nabcde',                             1 ],
    [ 'a body that breaks off', "$AWAY" . 'Content-Length: 5\r\n\r\nab',                               0 ],
    [ 'a large body',          "$AWAY" . "Content-Length: 300000\\r\\n\\r\\n$BIG",                     1 ],
);

# How it is read.
my @READERS = (
    [ 'buffered',   '' ],
    [ 'unbuffered', 'proxy_buffering off;' ],
    [ 'kept',
      'proxy_cache kept; proxy_cache_key "$registry_auth_user $request_uri"; proxy_cache_valid any 1m;' ],
    [ 'stored',
      'proxy_store $TEST_NGINX_SERVROOT/stored/$registry_auth_user$uri; proxy_store_access all:rw;' ],
    [ 'compressed', 'gzip on; gzip_types *; gzip_min_length 1;' ],
);

my $spec = '';
for my $answer (@ANSWERS) {
    for my $reader (@READERS) {
        my ($title, $raw, $open) = @$answer;
        $spec .= spec_block(
            "$title, $reader->[0]",
            config     => gate_config("proxy_read_timeout 30s; $reader->[1]"),
            backend    => "/v1/ => raw: $raw\n" . ($open ? "/v1/ => open\n" : ''),
            pipelined_requests => [ 'GET /v1/repositories/alice/app/images', 'GET /v2/alice/app/tags/list',
                'GET /v1/repositories/alice/app/images', 'HEAD /v1/_ping', 'GET /v2/bob/app/tags/list' ],
            error_code => [ 502, 200, 502, 502, 403 ],
            oci_error  => [ 'UNKNOWN another host', undef, 'UNKNOWN another host', undef, 'DENIED' ],
            raw_response_headers_unlike => 'evil',
        );
    }
}

defaults(
    http_config => gate_http() . "    proxy_cache_path \$TEST_NGINX_SERVROOT/cache keys_zone=kept:1m;\n",
    accounts    => "alice:secret\n",
    login       => 'alice:secret',
);
run_tests($spec . join '', <DATA>);

__DATA__
=== over HTTP/2
--- http2
--- config eval
Harness::gate_config('proxy_read_timeout 30s;')
--- backend
/v1/ => raw: HTTP/1.1 302 F\r\nLocation: http://evil.example/\r\nContent-Length: 5\r\n\r\n
/v1/ => open
--- request eval
[ "GET /v1/repositories/alice/app/images", "HEAD /v1/_ping", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 502, 502, 200 ]
--- oci_error eval
[ "UNKNOWN another host" ]

=== where the client still sends its body when the registry answers, the connection ends
--- config eval
Harness::gate_config('proxy_read_timeout 30s; proxy_request_buffering off;')
--- backend
images => raw: HTTP/1.1 302 F\r\nLocation: http://evil.example/\r\nContent-Length: 5\r\n\r\n
images => open
images => early
--- raw_request eval
"PUT /v1/repositories/alice/app/images HTTP/1.1\r\nHost: localhost\r\n"
    . "Authorization: Basic YWxpY2U6c2VjcmV0\r\nContent-Length: 3000\r\n\r\n{}"
--- error_code: 502
--- oci_error: UNKNOWN another host
--- response_headers
Connection: close

=== what the gate keeps back is not kept for others
--- config eval
Harness::gate_config(
    'proxy_read_timeout 30s; proxy_cache kept; proxy_cache_key "$registry_auth_user $request_uri"; '
        . 'proxy_cache_valid any 1m; add_header X-Kept $upstream_cache_status always;')
--- backend
images => raw: HTTP/1.1 302 F\r\nLocation: http://evil.example/\r\nContent-Length: 5\r\n\r\nabcde
images => open
--- request eval
[ ("GET /v1/repositories/alice/app/images") x 2 ]
--- error_code: 502
--- backend_received_by: A A

=== what is logged of it
--- http_config eval
Harness::gate_http()
    . 'log_format of_gate "result=$registry_auth_result status=$status sent=$body_bytes_sent";'
--- config eval
Harness::gate_config('proxy_read_timeout 30s; access_log logs/access.log of_gate;')
--- backend
images => raw: HTTP/1.1 302 F\r\nLocation: http://evil.example/\r\nContent-Length: 5\r\n\r\n
images => open
--- request
GET /v1/repositories/alice/app/images
--- error_code: 502
--- access_log eval
qr/result=unavailable status=502 sent=[1-9]/
