# The runner itself, on plain nginx without the module: each kind of
# expectation holds where it should and fails where it should. A test that
# cannot fail is none.
use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;

plan skip_all => 'it is not about the module' if $ENV{TEST_NGINX_VALGRIND};

my $folder = tempdir(CLEANUP => 1);

# Runs blocks in a process of their own; returns its TAP.
sub tap {
    my ($blocks) = @_;
    my $file = "$folder/inner.t";
    open my $out, '>', $file or die "$file: $!\n";
    print {$out} <<'EOT', $blocks;
use lib 't/lib';
use Harness;
defaults(
    config => 'location / { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT$request_uri; }
        location /no { return 403 "no\n"; }
        location /denied { deny all; }',
);
run_tests();
__DATA__

EOT
    close $out;
    local $ENV{TEST_NGINX_MODULE} = 'none';
    return scalar qx($^X $file 2>&1);
}

# What each section is tried with: right, wrong.
my @CASE = (
    [ 'error_code',            "--- error_code: 200",             "--- error_code: 201" ],
    [ 'error_code unsaid',     "",                                "", "GET /no" ],
    [ 'error_code_like',       "--- error_code_like: ^2",         "--- error_code_like: ^4" ],
    [ 'response_headers',      "--- response_headers\nContent-Type: text/plain",
      "--- response_headers\nContent-Type: text/html" ],
    [ 'response_headers once', "--- response_headers\nX-Twice: a, b", "--- response_headers\nX-Twice: a" ],
    [ 'response_headers none', "--- response_headers\n!X-None",   "--- response_headers\n!Content-Type" ],
    [ 'response_headers_like', "--- response_headers_like\nContent-Type: text/.*",
      "--- response_headers_like\nContent-Type: text" ],
    [ 'response_body_like',    "--- response_body_like: ^backend: A", "--- response_body_like: ^backend: B" ],
    [ 'response_body_unlike',  "--- response_body_unlike: ^nothing",
      "--- response_body_unlike: ^backend: A" ],
    [ 'forwarded 1',           "--- forwarded: 1",                "--- forwarded: 0" ],
    [ 'forwarded a line',      "--- forwarded: GET /x?y",         "--- forwarded: GET /x" ],
    [ 'backend_received_like', "--- backend_received_like\n^GET /x\\?y HTTP/1\\.[01]\$",
      "--- backend_received_like\n^POST" ],
    [ 'backend_not_received',  "--- backend_not_received\nX-None", "--- backend_not_received\nHost" ],
    [ 'backend_not_received, nothing', "--- backend_not_received\n--- error_code: 403",
      "--- backend_not_received", "GET /no", "GET /x?y" ],
    [ 'backend_received_by',   "--- backend_received_by: A",      "--- backend_received_by: B" ],
    [ 'backend_connections',   "--- backend_connections: 1",      "--- backend_connections: 2" ],
    [ 'access_log',            "--- access_log\nGET /x?y",        "--- access_log\nGET /z" ],
    [ 'no_access_log',         "--- no_access_log\nGET /z",       "--- no_access_log\nGET /x" ],
    [ 'error_log',             "--- error_code: 403\n--- error_log\nforbidden by rule",
      "--- error_log\nnothing", 'GET /denied', 'GET /denied' ],
    [ 'no_error_log',          "--- no_error_log\nnothing",
      "--- error_code: 403\n--- no_error_log\nforbidden by rule", 'GET /x?y', 'GET /denied' ],
    [ 'after',                 "--- after\nredis('PING')",        "--- after\ndie 'no'" ],
    [ 'redis',                 "--- redis\nSET a b\n--- after\ndie if redis('GET a') ne 'b'",
      "--- redis\nNOSUCHCOMMAND" ],
    [ 'a line goes on',        "--- redis\nSET a \\\n  b\n--- after\ndie if redis('GET a') ne 'b'",
      "--- redis\nSET a \\\n  b\n--- after\ndie if redis('GET a') ne 'c'" ],
    [ 'redis is emptied',      "--- after\ndie if defined redis('GET a')",
      "--- after\ndie if !defined redis('GET a')" ],
    [ 'must_die',              "--- config\nnonsense;\n--- must_die\n--- error_log\nunknown directive",
      "--- must_die" ],
    [ 'config_ok',             "--- config_ok",                   "--- config\nnonsense;\n--- config_ok" ],
    [ 'http2',                 "--- http2\n--- forwarded: 1",     "--- http2\n--- error_code: 404" ],
    [ 'http2 with a body',     "--- http2\n--- forwarded: 1\n--- backend_received_like\n^hello",
      "--- http2\n--- response_body_like: ^method: GET",
        "PUT /x\nhello", "PUT /x\nhello" ],
    [ 'an alert fails',
      "--- config\nlocation / { return 200; }\n--- error_log\n[alert]\n--- after\n"
          . "kill 'KILL', nginx_server()->workers; Time::HiRes::sleep(0.3)",
        "--- config\nlocation / { return 200; }\n--- after\n"
            . "kill 'KILL', nginx_server()->workers; Time::HiRes::sleep(0.3)" ],
);

my ($right, $wrong) = ('', '');
for my $case (@CASE) {
    my ($title, $good, $bad, $request, $other) = @$case;
    my $backend = "--- backend\nheader: X-Twice: a\nheader: X-Twice: b";
    $right .= "=== $title\n$backend\n--- request\n"
        . ($title eq 'error_code unsaid' ? 'GET /x?y' : $request // 'GET /x?y') . "\n$good\n\n";
    $wrong .= "=== $title\n$backend\n--- request\n" . ($other // $request // 'GET /x?y') . "\n$bad\n\n";
}

my $tap = tap($right);
unlike($tap, qr/^not ok/m, 'what is right holds') or diag($tap);
like($tap, qr/^ok/m, 'and was looked at');

$tap = tap($wrong);
for my $case (@CASE) {
    like($tap, qr/^not ok \d+ - \Q$case->[0]\E(?: |$)/m, "what is wrong fails: $case->[0]");
}
like($tap, qr/^1\.\.\d+$/m, 'to the end');

done_testing();
