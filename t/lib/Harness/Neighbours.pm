# The matrix of t/neighbours.t: what nginx's other modules do beside the gate,
# times what the gate may answer. One row is one server{} with a gated location
# and a token endpoint, chosen by the Host header, so that all rows live in one
# nginx. One cell is a connection: the row's request for the case, then an
# ordinary one, which has to be answered rightly after it.
#
# Of each cell: status and body are those expected (the client reads exactly what
# is announced, so that a body of another length spoils the next answer); the
# access log has one line for it, with the variables of the decision; and what a
# backend learns of the user is nothing where the location is one of another
# prefix.
package Harness::Neighbours;

use strict;
use warnings;

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use Harness::Client;
use Harness::Http2;
use Harness::Http3;
use Harness::Response;
use Harness::Valgrind;

my $PAGE  = '<center>nginx';        # one of nginx's own pages
my $CHUNK = 'x' x 100_000;

# --- the cases: one answer of the gate each -----------------------------------------------------------------

# request, login; status; body: strings that are in it; log: user, result, backend's letter, repository,
# action;
my @CASE = (
    [ granted => 'GET /v2/alice/x/tags/list', 'alice:secret', 200,
      [ 'backend: A', 'uri: /v2/alice/x/tags/list' ], 'alice granted A alice/x pull' ],
    [ head        => 'HEAD /v2/alice/x/manifests/v1',                'alice:secret', 200, [],
      'alice granted A alice/x pull' ],
    [ put         => "PUT /v2/alice/x/manifests/v1\n{}",             'alice:secret', 200, ['backend: A'],
      'alice granted A alice/x push' ],
    [ wrong       => 'GET /v2/alice/x/tags/list',                    'alice:wrong',  401, ['UNAUTHORIZED'],
      '- unauthenticated - alice/x pull' ],
    [ nobody      => 'GET /v2/alice/x/tags/list',                    '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - alice/x pull' ],
    [ denied      => 'GET /v2/bob/x/tags/list',                      'alice:secret', 403, ['DENIED'],
      'alice denied - bob/x pull' ],
    [ denied_head => 'HEAD /v2/bob/x/manifests/v1',                  'alice:secret', 403, [],
      'alice denied - bob/x pull' ],
    [ denied_put  => "PUT /v2/bob/x/manifests/v1\n$CHUNK",           'alice:secret', 403, ['DENIED'],
      'alice denied - bob/x push' ],
    [ unreadable  => 'GET /v2/carol/x/tags/list',                    'carol:secret', 503, ['UNAVAILABLE'],
      '- unavailable - carol/x pull' ],
    [ no_backend  => 'GET /v2/dave/x/tags/list',                     'dave:secret',  503, ['UNAVAILABLE'],
      'dave unavailable - dave/x pull' ],
    [ missing     => 'GET /v2/erin/x/tags/list',                     'erin:secret',  404, ['backend: C'],
      'erin granted C erin/x pull' ],
    [ no_route    => 'GET /v2/alice/x/what',                         'alice:secret', 404, ['UNSUPPORTED'],
      '- invalid - - -' ],
    [ catalog     => 'GET /v2/_catalog',                             'alice:secret', 200,
      ['{"repositories":["alice/x"]}'], 'alice granted A - -' ],
    [ catalog_denied  => 'GET /v2/_catalog',                         '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
    [ catalog_missing => 'GET /v2/_catalog',                         'erin:secret',  404, ['backend: C'],
      'erin granted C - -' ],
    [ token       => 'GET /token?service=here',                      'alice:secret', 200, ['"access_token"'],
      'alice granted - - -' ],
    [ token_wrong => 'GET /token?service=here',                      'alice:wrong',  401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
    [ token_other => 'GET /token?service=elsewhere',                 'alice:secret', 400, ['UNSUPPORTED'],
      '- invalid - - -' ],
    [ ping        => 'GET /v2/',                                     'alice:secret', 200,
      [ 'backend: A', "uri: /v2/\n" ], 'alice granted A - -' ],
    [ ping_nobody => 'GET /v2/',                                     '',             401, ['UNAUTHORIZED'],
      '- unauthenticated - - -' ],
);

# Those that reach a backend, and those that the gate answers by itself after letting the request in.
my @PROXIED  = qw(granted head put missing catalog_missing ping);
my @PASSED   = (@PROXIED, qw(catalog no_backend));
my @REFUSED  = qw(wrong nobody denied denied_head denied_put unreadable no_route catalog_denied ping_nobody);

# --- the rows: one neighbour each ---------------------------------------------------------------------------

# needs: an option of ./configure; http: text in http{}; server: in the row's server{}; gate: in its gated
# location;
# token: in its token endpoint (else what `gate` says); headers: sent along; hole: case => why it is not
# there;
# expect: case => { status, body, log, ... } in place of the case's own; change: what becomes of every
# expectation; prime: cases that are asked for before the matrix runs, whose answers are cached.
my $OWN = 'proxy_set_header X-Seen "$registry_auth_user:"; proxy_set_header X-Where here;';
my $OTHER =
    'registry_auth "Other"; registry_auth_prefix other; proxy_set_header X-Seen "$registry_auth_user:"; '
        . 'proxy_set_header X-Where other;';
# The administrator's registry may steer nginx, unlike those of users.
my $STEERING = 'location /v2/alice/accel/ { registry_auth "R"; '
    . 'proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }';

sub same { my ($value, @case) = @_; return map { $_ => $value } @case }

# Without the body of the request, which may be gone by then: nginx would announce it all the same.
my $TO_B =
    "proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT; proxy_pass_request_body off; "
        . "proxy_set_header Content-Length '';";

my $NOT_ITS_OWN = 'the endpoint answers itself: there is nothing to proxy, cache or cut';
my @TOKEN = qw(token token_wrong token_other);
sub no_token { return (token => '', hole => { same($_[0] // $NOT_ITS_OWN, @TOKEN) }) }

my @ROW = (
    { name => 'plain' },
    {
        # Early, as one request a minute is let through.
        name => 'limit_req_refuses', http => 'limit_req_zone $server_name zone=refuses:1m rate=1r/m;',
            gate => 'limit_req zone=refuses;',
        prime => [ 'ping' ],
        change => sub {
            my ($case, $e) = @_;
            @$e{qw(status body user result backend repository action)} = (503, $case =~ /head/ ? [] : [$PAGE],
                ('-') x 5);
        },
        next => { status => 503, body => [$PAGE] },
    },
    {
        name => 'auth_request_return', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;', server => 'location = /check { internal; return 204; }',
    },
    {
        name => 'auth_request_refuses', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;', server => 'location = /check { internal; return 403; }',
        expect => {
            (map { $_ => { status => 403, body => [$PAGE],
                backend => '-' } } qw(granted put missing no_backend ping token)),
            head    => { status => 403, backend => '-' },
            catalog => { status => 403, body => [$PAGE] },
            catalog_missing => { status => 403, body => [$PAGE] },
            no_backend => { status => 403, body => [$PAGE], result => 'granted' },
        },
        next => { status => 403, body => [$PAGE] },
    },
    {
        name => 'auth_request_proxied', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;',
        server => "location = /check { internal; $TO_B }",
    },
    {
        # The service is asked where the user's registry is, and is refused as that is.
        name => 'auth_request_to_the_users_backend', needs => '--with-http_auth_request_module',
        gate => 'auth_request /check;',
        server =>
            "location = /check { internal; proxy_pass http://registry; proxy_pass_request_body off; "
                . "proxy_set_header Content-Length ''; $OWN }",
        expect => {
            missing         => { status => 500, body => [$PAGE], backend => '-' },
            catalog_missing => { status => 500, body => [$PAGE] },
            no_backend      => { status => 500, body => [$PAGE], result => 'granted' },
        },
    },
    {
        name => 'mirror_proxied', gate => 'mirror /copy;',
        server => 'location = /copy { internal; '
            . 'proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_B_PORT$request_uri; }',
    },
    {
        name => 'mirror_to_the_users_backend', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OWN }",
    },
    {
        name => 'mirror_without_body', gate => 'mirror /copy; mirror_request_body off;',
        server =>
            "location = /copy { internal; proxy_pass http://registry\$request_uri; "
                . "proxy_pass_request_body off; proxy_set_header Content-Length ''; $OWN }",
    },
    {
        name => 'mirror_to_another_prefix', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OTHER }",
    },
    {
        name => 'mirror_to_nobodys_backend', gate => 'mirror /copy;',
        server => "location = /copy { internal; proxy_pass http://nobodys; $OTHER }",
    },
    {
        name => 'slice', needs => '--with-http_slice_module',
        gate => 'slice 300; proxy_set_header Range $slice_range;', no_token(),
        expect => { granted => {
            request => 'GET /v2/sue/x/blobs/sha256:' . 'a' x 64, login => 'sue:secret',
                body => [ join ' ', 1 .. 300 ],
            log => 'sue granted E sue/x pull',
        } },
    },
    {
        name => 'slice_of_another_prefix_beside', needs => '--with-http_slice_module',
        gate => 'slice 300; proxy_set_header Range $slice_range; mirror /copy;', no_token(),
        server => "location = /copy { internal; proxy_pass http://registry\$request_uri; $OTHER }",
        expect => { granted => {
            request => 'GET /v2/sue/x/blobs/sha256:' . 'a' x 64, login => 'sue:secret',
                body => [ join ' ', 1 .. 300 ],
            log => 'sue granted E sue/x pull',
        } },
    },
    {
        # What a user's registry writes is no command, whatever nginx does elsewhere.
        name => 'ssi', gate => 'ssi on; ssi_types *;',
        server => "location = /part { internal; proxy_pass http://registry; $OWN }",
        expect => { granted => { request => 'GET /v2/alice/ssi/tags/list',
            body => ['before <!--# include virtual="/part" --> after'],
            log => 'alice granted A alice/ssi pull' } },
    },
    {
        name => 'addition', needs => '--with-http_addition_module',
        gate => 'add_before_body /part; add_after_body /part; addition_types *;',
        server => "location = /part { internal; proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT; }",
        change => sub { my ($case, $e) = @_;
            push @{ $e->{body} }, 'backend: B' if $e->{status} == 200 && $case ne 'head' },
    },
    {
        name => 'addition_of_another_prefix', needs => '--with-http_addition_module',
        gate => 'add_after_body /part; addition_types *;',
        server => "location = /part { internal; proxy_pass http://registry; $OTHER }",
        change => sub { my ($case, $e) = @_;
            push @{ $e->{body} }, '403 Forbidden' if $e->{status} == 200 && $case ne 'head' },
    },
    {
        # A subrequest has no access phase, and so there is nobody to issue a token to.
        name => 'addition_of_a_token', needs => '--with-http_addition_module',
        gate => 'add_after_body /part; addition_types *;',
        server =>
            'location = /part { internal; registry_auth "Other"; registry_auth_prefix other; '
                . 'registry_auth_bearer http://localhost/token service=here; registry_auth_token; }',
        change => sub { my ($case, $e) = @_;
            push @{ $e->{body} }, '403 Forbidden' if $e->{status} == 200 && $case ne 'head' },
    },
    {
        name => 'sub_filter', needs => '--with-http_sub_module',
        gate => "sub_filter_types *; sub_filter_once off; sub_filter UNAUTHORIZED who; sub_filter DENIED no; "
            . "sub_filter 'backend: ' 'from the registry '; "
            . "sub_filter UNAVAILABLE gone; sub_filter UNSUPPORTED what; sub_filter access_token pass; "
            . "sub_filter repositories all;",
        change => sub {
            my ($case, $e) = @_;
            my %to = (UNAUTHORIZED => 'who', DENIED => 'no', 'backend: ' => 'from the registry ',
                UNAVAILABLE => 'gone',
                UNSUPPORTED => 'what', access_token => 'pass', repositories => 'all');
            for my $body (@{ $e->{body} }) { $body =~ s/\Q$_\E/$to{$_}/ for keys %to }
        },
    },
    {
        # nginx logs a request after its action, whose status takes the place of a backend's.
        name => 'post_action_name', gate => 'post_action @done;',
            expect => { same({ logged => 200 }, qw(missing catalog_missing)) },
        server => "location \@done { $TO_B }",
    },
    {
        name => 'post_action_uri', gate => 'post_action /done;',
            expect => { same({ logged => 200 }, qw(missing catalog_missing)) },
        server => "location = /done { internal; $TO_B }",
    },
    {
        # What is logged is what was decided there.
        http3_hole => {
            denied_put =>
                'nginx 1.28 does the same without a gate, by deny: where the action is refused, too, '
                    . 'the stream stays open' },
        name => 'post_action_in_another_prefix', gate => 'post_action @done;',
        server => "location \@done { proxy_pass http://registry; $OTHER }",
        change => sub { my ($case, $e) = @_;
            @$e{qw(user result backend repository action logged)} = ('*') x 6 },
    },
    {
        name => 'error_page_name', gate => 'error_page 401 403 503 @page;',
            server => 'location @page { return 200 "the page\n"; }',
        change => \&the_page,
    },
    {
        name => 'error_page_name_with_variables', gate => 'error_page 401 403 503 @page;',
        server =>
            'location @page { add_header X-User "$registry_auth_user"; '
                . 'return 200 "the page of <$registry_auth_user:$registry_auth_result>\n"; }',
        change => \&the_page,
    },
    {
        name => 'error_page_uri', gate => 'error_page 401 403 503 /page;',
            server => 'location = /page { internal; return 200 "the page\n"; }',
        change => \&the_page,
    },
    {
        name => 'error_page_uri_with_variables', gate => 'error_page 401 403 503 /page;',
        server =>
            'location = /page { internal; add_header X-User "$registry_auth_user" always; '
                . 'return 200 "the page of <$registry_auth_user:$registry_auth_result>\n"; }',
        change => \&the_page,
    },
    {
        name => 'error_page_of_the_same_status',
            gate => 'error_page 401 @page401; error_page 403 @page403; error_page 503 @page503;',
        server => join(' ',
            map {"location \@page$_ { return $_ \"the page of <\$registry_auth_user>\\n\"; }"} 401, 403, 503),
        change => \&the_page,
    },
    {
        name => 'error_page_proxied', gate => 'error_page 401 403 503 = @page;',
        server => "location \@page { proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT; }",
        change => sub {
            my ($case, $e) = @_;
            return if $case eq 'no_backend' || $e->{status} !~ /^(?:401|403|503)$/;
            $e->{status} = 200;
            $e->{body}   = $case =~ /head/ ? [] : ['backend: B'];
            $e->{body}   = ['{"repositories"'] if $case eq 'catalog_denied';
        },
    },
    {
        # For a missing backend nginx knows 500 only: that page is ours all the same.
        name => 'error_page_of_500', gate => 'error_page 500 @page;',
            server => 'location @page { return 200 "the page\n"; }',
    },
    {
        name => 'try_files_to_no_gate', gate => 'try_files /none @go;',
            no_token('try_files would take the request from the endpoint'),
        server => "location \@go { registry_auth off; proxy_pass http://registry; $OWN }",
        expect => { catalog => { status => 502, body => ['"UNKNOWN"'], log => 'alice unavailable A - -' } },
    },
    {
        name => 'try_files_to_the_gate', gate => 'try_files /none @go;',
            no_token('try_files would take the request from the endpoint'),
        server => "location \@go { registry_auth R; proxy_pass http://registry; $OWN }",
    },
    {
        name => 'try_files_to_another_prefix', gate => 'try_files /none @go;',
            no_token('try_files would take the request from the endpoint'),
        server => "location \@go { proxy_pass http://registry; $OTHER }",
        # The catalogue is asked for where the request would go, and that is no business of these accounts.
        expect => { same({ status => 502, body => ['"UNKNOWN"'], result => 'unavailable', backend => '-' },
            qw(catalog catalog_missing)) },
        change => \&unknown_there,
        next => { status => 401, body => ['UNAUTHORIZED'] },
    },
    {
        name => 'intercept_to_a_name', gate => 'proxy_intercept_errors on; error_page 404 @page;',
        server => 'location @page { return 200 "the page of $registry_auth_user\n"; }',
        expect => { missing => { body => ['the page of erin'] }, no_route => { body => ['the page of '] },
            catalog_missing => { body => ['the page of erin'] } },
    },
    {
        name => 'intercept_to_a_uri', gate => 'proxy_intercept_errors on; error_page 404 /page;',
        server => 'location = /page { internal; return 200 "the page\n"; }',
        expect => { missing => { body => ['the page'] }, no_route => { body => ['the page'] },
            catalog_missing => { body => ['the page'] } },
    },
    {
        name => 'redirect_to_another_prefix', gate => 'proxy_intercept_errors on; error_page 404 = @other;',
        server => "location \@other { proxy_pass http://registry; $OTHER }",
        expect => {
            missing         => { status => 401, body => ['UNAUTHORIZED'],
                log => '- unauthenticated C erin/x pull' },
            catalog_missing => { status => 401, body => ['UNAUTHORIZED'], log => '- unauthenticated C - -' },
        },
    },
    {
        name => 'denied_to_another_prefix', gate => 'error_page 403 = /other$uri;',
        server => "location /other/ { rewrite ^/other(.*)\$ \$1 break; proxy_pass http://registry; $OTHER }",
        expect => {
            same({ status => 401, body => ['UNAUTHORIZED'], log => '- unauthenticated - bob/x pull' },
                qw(denied)),
            denied_head => { status => 401, log => '- unauthenticated - bob/x pull' },
            # nginx makes GET of it.
            denied_put => { status => 401, body => ['UNAUTHORIZED'],
                log => '- unauthenticated - bob/x pull' },
        },
    },
    {
        name => 'redirect_to_no_gate', gate => 'proxy_intercept_errors on; error_page 404 = @off;',
        server => "location \@off { registry_auth off; proxy_pass http://registry; $OWN }",
        expect => { no_route => { status => 200, body => ['backend: A'] } },
    },
    {
        name => 'redirect_to_the_token_endpoint', gate => 'error_page 403 = /token?service=here;',
        token => '',
        expect => {
            denied => { status => 200, body => ['"access_token"'], log => 'alice granted - - -' },
            # A body of any length is more than nginx takes there.
            denied_put => { status => 413, body => [$PAGE] },
            denied_head => { status => 200, log => 'alice granted - - -' },
        },
    },
    {
        name => 'redirect_to_the_token_endpoint_of_another_prefix',
            gate => 'error_page 403 = /issue?service=here;',
        token => '',
        server =>
            'location = /issue { registry_auth "Other"; registry_auth_prefix other; '
                . 'registry_auth_bearer http://localhost/token service=here; registry_auth_token; }',
        expect => {
            denied => { status => 401, body => ['UNAUTHORIZED'], log => '- unauthenticated - - -' },
            denied_put => { status => 413, body => [$PAGE], user => '-' },
            denied_head => { status => 401, log => '- unauthenticated - - -' },
        },
    },
    {
        name => 'accel_to_another_prefix', no_token(),
        server => "$STEERING location /inner/ { rewrite ^/inner(.*)\$ \$1 break; "
            . "proxy_pass http://registry; $OTHER }",
        expect => { granted => { request => 'GET /v2/alice/accel/tags/list', status => 401,
            body => ['UNAUTHORIZED'], log => '- unauthenticated - alice/x pull' } },
    },
    {
        name => 'accel_to_no_gate', no_token(),
        server =>
            "$STEERING location /inner/ { internal; registry_auth off; "
                . "proxy_pass http://127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT; $OWN }",
        expect => { granted => { request => 'GET /v2/alice/accel/tags/list',
            body => [ 'backend: B', 'X-Seen: alice:' ], log => 'alice granted - alice/accel pull' } },
    },
    {
        name => 'proxy_cache_hit',
            gate => 'proxy_cache c; proxy_cache_key "$host $registry_auth_user $request_uri $args"; '
                . 'proxy_cache_valid 200 1h;', no_token(),
        prime => [qw(granted head catalog ping)],
        expect => { same({ backend => '-' }, qw(granted head catalog ping)) },
    },
    {
        name => 'proxy_cache_stale',
        gate => 'proxy_cache c; proxy_cache_key "$host $registry_auth_user $request_uri $args"; '
            . 'proxy_cache_valid 200 1s; proxy_cache_use_stale http_500;', no_token(),
        prime => [qw(granted)],
        expect => { granted => { request => 'GET /v2/alice/stale/tags/list',
            log => 'alice granted A alice/stale pull', body => [ 'backend: A', 'uri: /v2/alice/stale/' ] } },
    },
    {
        name => 'proxy_cache_background_update',
        gate => 'proxy_cache c; proxy_cache_key "$host $registry_auth_user $request_uri $args"; '
            . 'proxy_cache_valid 200 1s; proxy_cache_background_update on; proxy_cache_use_stale updating;',
        no_token(),
        prime => [qw(granted head catalog ping)],
        expect => { same({ backend => '-' }, qw(granted head catalog ping)) },
    },
    {
        # Pages of the catalogue are asked for without compression, and so is what comes of them.
        name => 'gzip', gate => 'gzip on; gzip_types *; gzip_min_length 0; gzip_http_version 1.0;',
            headers => "Accept-Encoding: gzip\n", gzip => qr/^(?!catalog)/,
    },
    {
        name => 'realip', needs => '--with-http_realip_module',
        server => 'set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;',
            headers => "X-Real-IP: 192.0.2.7\n", address => '192.0.2.7',
    },
    {
        name => 'limit_req_delays', http => 'limit_req_zone $server_name zone=delays:1m rate=200r/s;',
            gate => 'limit_req zone=delays burst=1000;',
    },
    {
        # Let in by another, the request goes where its user's go, or everybody's; to the block's own servers
        # with a wrong password.
        name => 'satisfy_any', needs => '--with-http_auth_request_module',
        gate => 'satisfy any; auth_request /check;', server => 'location = /check { internal; return 204; }',
        token => '',
        expect => {
            (map { $_ => { status => 200,
                body => ['backend: A'] } } qw(wrong nobody denied denied_put ping_nobody)),
            denied_head    => { status => 200 },
            catalog_denied => { status => 200, body => ['{"repositories":["alice/x","bob/y"]}'] },
        },
        change => sub { my ($case, $e) = @_; $e->{backend} = 'A' if $case =~ /^(?:nobody|denied)/ },
    },
    {
        name => 'all_together', needs => '--with-http_addition_module',
        gate => 'auth_request /check; mirror /copy; add_after_body /part; addition_types *; gzip on; '
            . 'gzip_types *; gzip_min_length 0; ssi on; ssi_types *; '
            . "sub_filter_types *; sub_filter DENIED no; post_action \@done; error_page 401 \@page; "
            . "limit_req zone=together burst=1000;",
        http => 'limit_req_zone $server_name zone=together:1m rate=500r/s;',
        server => "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP; location \@done { $TO_B }"
            . "location = /check { internal; $TO_B }"
            . "location = /copy { internal; proxy_pass http://registry\$request_uri; $OTHER } "
            . "location = /part { internal; proxy_pass http://registry; $OTHER }"
            . 'location @page { return 401 "the page of <$registry_auth_user>\n"; }',
        headers => "Accept-Encoding: gzip\nX-Real-IP: 192.0.2.7\n", address => '192.0.2.7',
            gzip => qr/^(?!catalog)/,
        # nginx forgets post_action where a client of HTTP/2 has left by then.
        expect => { same({ logged => '*' }, qw(missing catalog_missing)) },
        change => sub {
            my ($case, $e) = @_;
            push @{ $e->{body} }, '403 Forbidden' if $e->{status} == 200 && $case ne 'head';
            $e->{body} = ['the page of <'] if $e->{status} == 401;
            s/DENIED/no/ for @{ $e->{body} };
        },
    },
);

# What error_page sends for a refusal, with its status.
sub the_page {
    my ($case, $e) = @_;
    return if $case eq 'no_backend' || $e->{status} !~ /^(?:401|403|503)$/;
    $e->{body} = $case =~ /head/ ? [] : ['the page'];
}

# Whoever was let in is not known to the accounts of the other prefix.
sub unknown_there {
    my ($case, $e) = @_;
    return if $e->{result} ne 'granted' && $case ne 'no_backend';
    @$e{qw(status body user result backend)} = (401, $case eq 'head' ? [] : ['UNAUTHORIZED'], '-',
        'unauthenticated', '-');
}

# --- configuration ------------------------------------------------------------------------------------------

sub rows {
    return grep { !defined $_->{needs} || Harness::nginx_server()->built_with($_->{needs}) } @ROW;
}

# Not every client takes an underscore in the name of a host.
sub host { return $_[0]{name} =~ tr/_/-/r }

# Every part of http{} but the store.
sub http_config {
    my ($cache, $tls) = @_;
    my $h2   = Harness::nginx_server()->{version} >= 1_025_001 ? 'http2 on;' : '';
    my @part = (
        'server_names_hash_bucket_size 128;',
        ($cache ? "registry_auth_cache $cache;" : ''), 'registry_auth_token_key $TEST_NGINX_SERVROOT/keys;',
        'upstream registry { registry_auth_backends allow=127.0.0.0/8; '
            . 'server 127.0.0.1:$TEST_NGINX_BACKEND_PORT; }',
        'upstream nobodys { registry_auth_backends allow=192.0.2.0/24; }',
        'proxy_cache_path $TEST_NGINX_SERVROOT/proxy_cache' . ($tls ? 2 : 1) . ' keys_zone=c:1m;',
        'log_format cells "$http_x_cell|$remote_addr|$status|$registry_auth_user|$registry_auth_result|$registry_auth_backend|'
            . '$registry_auth_repository|$registry_auth_action";',
        'access_log $TEST_NGINX_SERVROOT/logs/access.log cells;',
    );
    push @part,
        'ssl_certificate $TEST_NGINX_SERVROOT/certificate.pem; '
            . 'ssl_certificate_key $TEST_NGINX_SERVROOT/key.pem;' if $tls;
    # A registry of files: it knows ranges.
    push @part,
        'server { listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT; '
            . 'root $TEST_NGINX_HTML_DIR/files; access_log off; }';
    for my $row (rows()) {
        push @part, $row->{http} if $row->{http};
        my $listen = 'listen 127.0.0.1:$TEST_NGINX_SERVER_PORT; ';
        $listen .= 'listen 127.0.0.1:$TEST_NGINX_TLS_PORT ssl' . ($h2 ? ';' : ' http2;') if $tls;
        $listen .= 'listen 127.0.0.1:$TEST_NGINX_TLS_PORT quic;' if $tls
            && Harness::nginx_server()->built_with('--with-http_v3_module');
        my $token = $row->{token} // $row->{gate} // '';
        my $gate  = $row->{gate} // '';
        my $range = $gate =~ /slice/ ? '' : $OWN;
        push @part, <<"EOC";
server {
    $listen
    $h2
    server_name @{[ host($row) ]};
    @{[ $row->{server} // '' ]}
    location /v2/ {
        registry_auth "R";
        $gate
        $range
        proxy_pass http://registry;
        proxy_http_version 1.1;
        # nginx knows no \$http_host in HTTP/3.
        proxy_set_header Host \$host;
        proxy_set_header Connection "";
    }
    location = /token {
        registry_auth "R";
        registry_auth_bearer http://localhost/token service=here;
        registry_auth_token;
        $token
    }
}
EOC
    }
    return join("\n", @part) . "\n";
}

# The server that is asked whether another prefix has learned anything.
sub config {
    return <<'EOC';
        location / { registry_auth "Other"; registry_auth_prefix other; proxy_pass http://registry; }
EOC
}

sub accounts {
    my $secret = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=';
    return join '', map {"$_\n"}
        "HSET docker-registry:user:alice password $secret", "HSET docker-registry:user:bob password $secret",
        "HSET docker-registry:user:carol password $secret grant:Not-A-Name pull",
        "HSET docker-registry:user:dave password $secret backends 192.0.2.1:5000",
        "HSET docker-registry:user:erin password $secret backends 127.0.0.1:\$TEST_NGINX_BACKEND_C_PORT",
        "HSET docker-registry:user:sue password $secret backends 127.0.0.1:\$TEST_NGINX_EXTRA_PORT",
        'RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT',
            "HSET other:user:zoe password $secret";
}

sub files { return '>>> files/v2/sue/x/blobs/sha256:' . 'a' x 64 . "\n" . join(' ', 1 .. 300) . "\n" }

# What the backends say; later lines win.
sub backend {
    my ($later) = @_;
    return <<'EOC' . ($later ? "/v2/alice/stale/ => status: 500\n" : '');
GET /v2/_catalog => body: {"repositories":["alice/x","bob/y"]}
/v2/alice/ssi/ => body: before <!--# include virtual="/part" --> after
/v2/alice/accel/ => header: X-Accel-Redirect: /inner/v2/alice/x/tags/list
C => status: 404
C => body: backend: C
EOC
}

# --- running ------------------------------------------------------------------------------------------------

my %LETTER = (A => 'BACKEND_PORT', B => 'BACKEND_B_PORT', C => 'BACKEND_C_PORT', E => 'EXTRA_PORT');

my @FIELD = qw(user result backend repository action);

# What is expected of a cell, as a hash.
sub expectation {
    my ($row, $case) = @_;
    my ($name, $request, $login, $status, $body, $log) = @$case;
    my $own = $row->{expect}{$name} // {};
    my %e = (request => $request, login => $login, status => $status, %$own,
        body => [ @{ $own->{body} // $body } ]);
    my %field;
    @field{@FIELD} = split ' ', $own->{log} // $log;
    $e{$_} //= $field{$_} for @FIELD;
    $row->{change}->($name, \%e) if $row->{change};
    $e{logged} //= $e{status};
    return \%e;
}

my $NEXT = 'GET /v2/alice/next/tags/list';

# All cells by a transport, which puts `answers` into each, or gives the reason why it cannot.
sub run {
    my ($title, $transport) = @_;

    prime();
    Harness::backend()->begin(Harness::expand(backend('later')));
    my (@cell, $count);
    for my $row (rows()) {
        for my $case (@CASE) {
            next if $row->{hole}{ $case->[0] } || $title eq 'HTTP/3' && $row->{http3_hole}{ $case->[0] };
            push @cell, cell($row, $case, join '.', $title =~ s/\W+/-/gr, ++$count);
        }
    }
    if (my $why = $transport->(\@cell)) {
        SKIP: { skip "$title: $why", 1 }
        return;
    }
    my $logged = logged(\@cell);
    for my $cell (@cell) {
        my @bad = (answered($cell), in_log($cell, $logged));
        ok(!@bad, "$title: $cell->{row}{name}: $cell->{case}") or diag(join "\n", @bad);
    }
    crossed($title);
    return;
}

# Fills caches and limits before a matrix; what is to be stale is so when this returns.
sub prime {
    my %case = map { $_->[0] => $_ } @CASE;
    my @cell = map { my $row = $_; map { cell($row, $case{$_}, 'prime') } @{ $row->{prime} // [] } } rows();
    http1(\@cell);
    # nginx counts whole seconds, and has what is valid for one in the second after the next.
    sleep 2.1;
}

sub cell {
    my ($row, $case, $mark) = @_;
    my $e = expectation($row, $case);
    my $headers = "Host: " . host($row) . "\n" . ($row->{headers} // '') . "X-Cell: $mark";
    return {
        row  => $row,
        case => $case->[0],
        mark => $mark,
        e    => $e,
        request => [
            Harness::Client::parse_request($e->{request}, $headers, $e->{login}, 1),
            Harness::Client::parse_request($NEXT, "$headers.next", 'alice:secret', 0),
        ],
    };
}

sub http1 {
    my ($cells) = @_;
    my $port = Harness::expand('$TEST_NGINX_SERVER_PORT');
    for my $cell (@$cells) {
        $cell->{answers} = [ Harness::Client::pipelined($port, $cell->{request},
            Harness::Valgrind::timeout(5)) ];
    }
    return;
}

sub http2 {
    my ($cells) = @_;
    Harness::Http2::many(Harness::expand('$TEST_NGINX_TLS_PORT'), $cells, Harness::Valgrind::timeout(5),
        Harness::expand('$TEST_NGINX_SERVROOT'));
    return;
}

sub http3 {
    my ($cells) = @_;
    my $option = '--with-http_v3_module';
    my $why = Harness::nginx_server()->built_with($option) ? Harness::Http3::why_not()
        : "nginx is built without $option";
    return $why if defined $why;
    Harness::Http3::many(Harness::expand('$TEST_NGINX_TLS_PORT'), $cells,
        Harness::expand('$TEST_NGINX_SERVROOT'));
    return;
}

sub answered {
    my ($cell) = @_;
    my ($row, $e, $answers) = @$cell{qw(row e answers)};
    my @bad = map {"answer: $_"} differences($row, $cell->{case}, $e, $answers->[0],
        $cell->{request}[0]{method});
    # nginx ends a connection after 400, 413 and 500, and says so; ours for a missing backend is its 500.
    return @bad if !$answers->[1] || Harness::Client::closes($answers->[0])
        && ($answers->[0]{status} =~ /^(?:400|413|500)$/ || $cell->{case} eq 'no_backend');
    my %next = (status => 200, body => [ 'backend: A', "uri: /v2/alice/next/tags/list" ],
        %{ $row->{next} // {} });
    if (!$row->{next}{status} && $row->{change}) {
        my %as = (%next, user => 'alice', result => 'granted', backend => 'A');
        $row->{change}->('next', \%as);
        $next{body} = $as{body};
    }
    return @bad, map {"next answer: $_"} differences($row, 'next', \%next, $answers->[1], 'GET');
}

sub differences {
    my ($row, $case, $e, $answer, $method) = @_;
    return $answer->{error} if $answer->{error};
    my $body = $answer->{body};
    my @bad;
    push @bad, "status $answer->{status}, not $e->{status}" if $answer->{status} != $e->{status};
    if ($method ne 'HEAD' && Harness::Response::values_of($answer, 'Content-Encoding')) {
        my $plain;
        push @bad, "not gzip: $GunzipError" if !gunzip(\$body => \$plain);
        $body = $plain // '';
    }
    elsif ($row->{gzip} && $case =~ $row->{gzip} && !$answer->{identity} && $method ne 'HEAD'
        && $answer->{status} =~ /^(?:200|403|404)$/) {
        push @bad, 'it is not compressed';
    }
    my ($length) = Harness::Response::values_of($answer, 'Content-Length');
    push @bad, "announced $length, came " . length $answer->{body}
        if defined $length && $method ne 'HEAD' && $length != length $answer->{body};
    push @bad, 'a body after HEAD' if $method eq 'HEAD' && length $body;
    push @bad, "something follows: $answer->{rest}" if length($answer->{rest} // '');
    push @bad, "no '$_'" for grep { index($body, $_) < 0 } @{ $e->{body} };
    push @bad, 'not one JSON document'
        if $body =~ /\A\{"(?:errors|token)"/ && @{ $e->{body} } == 1
            && !eval { JSON::PP->new->utf8->decode($body) };
    return map {"$_\n$answer->{head}\n\n" . substr $body, 0, 600} @bad;
}

# The lines of the access log, by the marks of the requests.
sub logged {
    my ($cells) = @_;
    my $deadline = time + Harness::Valgrind::timeout(5);
    my %line;
    while (1) {
        %line = ();
        for my $line (split /\n/, Harness::nginx_server()->new_access) {
            my ($mark, @field) = split /\|/, $line, -1;
            push @{ $line{$mark} }, \@field;
        }
        last if time > $deadline || !grep { !$line{ $_->{mark} } } @$cells;
        sleep 0.05;
    }
    return \%line;
}

sub in_log {
    my ($cell, $logged) = @_;
    my ($row, $e) = @$cell{qw(row e)};
    my @line = @{ $logged->{ $cell->{mark} } // [] };
    return 'it was logged ' . @line . ' times' if @line != 1;
    my $backend = $e->{backend};
    $backend = '127.0.0.1:' . Harness::expand("\$TEST_NGINX_$LETTER{$backend}") if $LETTER{$backend};
    my @want = ($row->{address} // '127.0.0.1', $e->{logged}, $e->{user}, $e->{result}, $backend,
        $e->{repository}, $e->{action});
    my @bad = grep { $want[$_] ne '*' && $want[$_] ne $line[0][$_] } 0 .. $#want;
    return @bad ? "logged: @{ $line[0] }\nnot:    @want" : ();
}

# No backend has learned of a user where the accounts are others, and those have learned nothing.
sub crossed {
    my ($title) = @_;
    my @told = grep { $_->{text} =~ /^X-Where: other$/m && $_->{text} !~ /^X-Seen: :$/m } @{
        Harness::backend()->received };
    is(join("\n", map { $_->{text} } @told), '', "$title: no identity crosses a prefix");
    for my $login (qw(alice:secret erin:secret dave:secret)) {
        my $answer = Harness::http('GET /v2/', login => $login);
        is($answer->{status}, 401, "$title: $login is nobody where the prefix is another");
    }
}

# What the table leaves out, and why.
sub holes {
    for my $row (@ROW) {
        note("hole: $row->{name}: nginx is built without $row->{needs}") if !grep { $_ == $row } rows();
        my %why;
        push @{ $why{ $row->{hole}{$_} } }, $_ for sort keys %{ $row->{hole} // {} };
        note("hole: $row->{name}: @{ $why{$_} }: $_") for sort keys %why;
        note("hole: HTTP/3: $row->{name}: $_: $row->{http3_hole}{$_}")
            for sort keys %{ $row->{http3_hole} // {} };
    }
}

1;
