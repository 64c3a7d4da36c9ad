# What users copy must load: each `nginx` code block of README.md and of each
# page of docs/, and each file of nginx/, with only paths and ports replaced. And
# the shipped nginx.conf must answer as docs/reference/answers.md says.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;

use File::Find qw(find);
use File::Temp ();
use FindBin ();

our $ROOT = "$FindBin::Bin/..";
# Made with mode 600, as `umask 077` does it.
my $TOKEN_KEY = File::Temp->new;
print {$TOKEN_KEY} '0123456789abcdef' x 4, "\n";
$TOKEN_KEY->flush;
my $PASSWORD = File::Temp->new;
print {$PASSWORD} "hunter2\n";
$PASSWORD->flush;

# The same text with this run's paths and ports. No TLS where the test's own
# client, which speaks none, is to talk to it.
sub here {
    my ($text, $plain) = @_;
    $text =~ s{^\s*load_module\s.*$}{load_module \$TEST_NGINX_MODULE;}mg;
    $text =~ s{^user\s.*$}{}mg if $> != 0;
    $text =~ s{^user\s.*$}{user root;}mg;
    $text =~ s{/etc/nginx/registry-auth/([\w-]+\.conf)}{\$TEST_NGINX_SERVROOT/html/registry-auth/$1}g;
    $text =~ s{/etc/nginx/registry-auth/(certificate|key)\.pem}{\$TEST_NGINX_SERVROOT/$1.pem}g;
    $text =~ s{/etc/nginx/registry-auth/token-key}{$TOKEN_KEY}g;
    $text =~ s{/etc/nginx/registry-auth/redis-(?:sentinel-)?password}{$PASSWORD}g;
    $text =~ s{/etc/nginx/registry-auth/redis-(?:ca|client)\.pem}{\$TEST_NGINX_SERVROOT/certificate.pem}g;
    $text =~ s{/etc/nginx/registry-auth/redis-client\.key}{\$TEST_NGINX_SERVROOT/key.pem}g;
    $text =~ s{/etc/ssl/certs/ca-certificates\.crt}{\$TEST_NGINX_SERVROOT/certificate.pem}g;
    $text =~ s{/var/log/nginx/(?:registry/)?}{\$TEST_NGINX_SERVROOT/logs/}g;
    $text =~ s{/var/lib/docker-registry|/srv/registry-[ab]\b}{\$TEST_NGINX_HTML_DIR/disk}g;
    $text =~ s{/var/cache/nginx/}{\$TEST_NGINX_SERVROOT/}g;
    $text =~ s{/run/nginx\.pid}{\$TEST_NGINX_SERVROOT/logs/nginx.pid}g;
    $text =~ s{redis://127\.0\.0\.1:6379/0(?: timeout=\S+ connect_timeout=\S+(?=;))?}
        {redis://127.0.0.1:\$TEST_NGINX_REDIS_PORT/0 timeout=2s}g;
    $text =~ s{^worker_processes auto;}{worker_processes 1;}mg;
    my $listen = $plain ? '127.0.0.1:$TEST_NGINX_SERVER_PORT' : '127.0.0.1:$TEST_NGINX_TLS_PORT ssl';
    $text =~ s{^\s*listen \[::\]:(?:80|443|5443)(?: ssl)?;\n}{}mg;
    $text =~ s{listen (?:443|5443) ssl;}{listen $listen;}g;
    $text =~ s{listen 80;}{listen 127.0.0.1:\$TEST_NGINX_SERVER_PORT;}g;
    return $text;
}

# Files of nginx/ as they would be installed, for `user_files`.
sub installed {
    my ($plain) = @_;
    # And a folder that looks like a registry's.
    my $text = ">>> disk/docker/registry/v2/blobs/none\n\n";
    for my $file (glob "$ROOT/nginx/*.conf") {
        my ($name) = $file =~ m{([^/]+)$};
        $text .= ">>> registry-auth/$name\n" . here(Harness::slurp($file), $plain);
    }
    # The copy that docs/configuration/one-shared-registry.md has somebody make.
    $text .= ">>> registry-auth/locations-tls.conf\n"
        . here(Harness::slurp("$ROOT/nginx/locations.conf") =~ s{http://registries}{https://registries}gr);
    return $text;
}

sub whole {
    my ($text, $plain) = @_;
    my $whole = here($text, $plain);
    return "daemon off;\n$whole" if !Harness::Valgrind::wanted();
    $whole =~ s/^worker_processes.*//mg;
    return "daemon off;\nmaster_process off;\n$whole";
}

# The blocks of a Markdown file in this language: [ line, text ], ...
sub blocks_of {
    my ($file) = @_;
    my ($line, @block, $open) = (0);
    for (split /^/, Harness::slurp($file)) {
        $line++;
        if    (/^```nginx\s*$/)        { push @block, $open = [ $line, '' ] }
        elsif (/^```/)                 { undef $open }
        elsif ($open)                  { $open->[1] .= $_ }
    }
    return @block;
}

# Its context is what its first comment says, or what it looks like.
sub context_of {
    my ($text) = @_;
    return 'whole' if $text =~ /^\s*events\b/m;
    return $1      if $text =~ /^# in (http|server|location|upstream)\b/m;
    return $text =~ /^\s*location\b/ ? 'server' : 'http';
}

my $UPSTREAM =
    "upstream registries { registry_auth_backends; }\nupstream registry { registry_auth_backends; }\n";

sub example {
    my ($title, $context, $text) = @_;
    # Nothing that is shown as an example may be warned of.
    my @section = (no_redis => '', config_ok => '', certificate => '', user_files => installed(),
        no_error_log => '[warn]');
    if ($context eq 'whole') {
        push @section, whole_config => whole($text);
    }
    else {
        my ($name) = $text =~ /^upstream (\w+)/m;
        my $upstream = $UPSTREAM;
        $upstream =~ s/^upstream $name .*\n//m if defined $name;
        # What examples of a server or location take for granted of http{}.
        my $log = $text =~ /^log_format registry /m ? '' : "log_format registry '\$remote_addr';\n";
        $log .= "registry_auth_cache zone=example:1m;\n"
            if $context =~ /^(?:server|location)$/ || $text =~ /^\s*registry_auth_bearer\b/m
                && $text !~ /^\s*registry_auth_(?:cache|token_key)\b/m;
        my $body = here($text);
        $log .= "proxy_cache_path \$TEST_NGINX_SERVROOT/blobs keys_zone=registry_blobs:1m;\n"
            if $body =~ m{/blob-cache\.conf;|^proxy_cache registry_blobs;}m;
        $log .= "include \$TEST_NGINX_SERVROOT/html/registry-auth/direct.conf;\n"
            if $body !~ m{/direct\.conf;|\$registry_host \{};
        $body = "include \$TEST_NGINX_SERVROOT/html/registry-auth/proxy.conf;\n$body"
            if $context =~ /^(?:server|location)$/
                && $body !~ m{registry-auth/(?:proxy|locations(?:-tls)?)\.conf} && $body !~ /^proxy_/m;
        # It tells of the gate's health, and is included where that is on.
        $body = "registry_auth \"Registry\";\n$body"     if $title =~ m{/locations\.conf$};
        $body = "location / {\n$body}\n"                 if $context eq 'location';
        $body = "upstream u { $body }\n"                 if $context eq 'upstream';
        $context = $context =~ /^(?:http|upstream)$/ ? 'http' : 'server';
        push @section, http_config => $upstream . $log . ($context eq 'http' ? $body : ''),
            config => $context eq 'server' ? "$body" : "\n";
    }
    return spec_block("$title loads", @section);
}

# behind-balancer.conf lists each balancer twice, also in its comments.
my $balancer = Harness::slurp("$ROOT/nginx/behind-balancer.conf");
my $in_geo   = join ' ', $balancer =~ m{^\s*(?:# )?([0-9a-f.:]+/\d+) +balancer;}mg;
my $in_realip = join ' ', $balancer =~ m{^(?:# )?set_real_ip_from (\S+);}mg;
die "behind-balancer.conf has two lists: $in_geo, and $in_realip\n" if $in_geo ne $in_realip || !$in_geo;

my $spec = '';
my @pages;
find({ no_chdir => 1, wanted => sub { push @pages, $_ if /\.md$/ } }, "$ROOT/docs");
die "docs/ has no pages\n" if !@pages;
for my $page ("$ROOT/README.md", sort @pages) {
    my $name = $page =~ s{^\Q$ROOT\E/}{}r;
    $spec .= example("$name, line $_->[0]", context_of($_->[1]), $_->[1]) for blocks_of($page);
}

$spec .= example('nginx/sites-available/registry', 'http',
    Harness::slurp("$ROOT/nginx/sites-available/registry"));
my %CONTEXT = ('nginx.conf' => 'whole', 'audit.conf' => 'http', 'direct.conf' => 'http',
    'behind-balancer.conf' => 'http', 'registry.conf' => 'http',
    'registry-bearer.conf' => 'http', 'registry-v1.conf' => 'http');
for my $file (glob "$ROOT/nginx/*.conf") {
    my ($name) = $file =~ m{([^/]+)$};
    $spec .= example("nginx/$name", $CONTEXT{$name} || 'server', Harness::slurp($file));
}

# With the line that is commented out in them: also beside what they include.
for my $name (qw(registry.conf registry-bearer.conf)) {
    my $text = Harness::slurp("$ROOT/nginx/$name");
    $text =~ s{^(\s*)# (include \S+/blob-cache\.conf;)}{$1$2}m or die "$name has no blob-cache.conf\n";
    $spec .= example("nginx/$name with blob-cache.conf", 'http', $text);
}

# The site for V1, whose registry is the test's.
sub v1_site {
    my $text = Harness::slurp("$ROOT/nginx/sites-available/registry-v1");
    $text =~ s/127\.0\.0\.1:5002/127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT/
        or die "registry-v1 has no upstream\n";
    return $text;
}

defaults(
    accounts     => "alice:secret\nbob:secret\n",
    certificate  => '',
);
add_block_preprocessor(sub {
    my ($block) = @_;
    return if defined $block->config_ok;
    my $text = Harness::slurp("$ROOT/nginx/nginx.conf");
    if (defined $block->bearer) {
        $text =~ s{^(\s*include \S+/)registry\.conf;}{$1registry-bearer.conf;}m
            or die "nginx.conf includes no registry.conf\n";
        $text =~ s{^(\s*)# (registry_auth_token_key )}{$1$2}m
            or die "nginx.conf has no token key\n";
    }
    if (defined $block->v1) {
        $text =~ s{^\s*include \S+/registry\.conf;}{}m
            or die "nginx.conf includes no registry.conf\n";
        $text =~ s{^(\s*)# (include \S+/registry-v1\.conf;)}{$1$2}m
            or die "nginx.conf has no registry-v1.conf\n";
    }
    if (defined $block->balancer) {
        $text =~ s{^(\s*include \S+/)direct\.conf;}{$1behind-balancer.conf;}m
            or die "nginx.conf includes no direct.conf\n";
    }
    my $files = installed(1);
    if (defined $block->acme) {
        $files =~ s{^(# location ~ \S+well-known.*\n(?:# .*\n)*?# \}\n)}{$1 =~ s/^# //mgr}me
            or die "locations.conf has no ACME\n";
        $files =~ s{/var/www/acme}{\$TEST_NGINX_SERVROOT/html/acme};
        $text = "# with ACME\n$text";
    }
    if (defined $block->site) {
        # As Debian's nginx.conf has it, which logs errors only, with a site that was there before.
        my $site = here(Harness::slurp("$ROOT/nginx/sites-available/registry"), 1);
        if ($block->site =~ /v1/) {
            my $v1 = v1_site();
            # Alone, with the lines that the other site has; beside it, under another name on the same port.
            $block->site =~ /alone/ ? $v1 =~ s{^# (?=registry_auth_|include |log_format |    +')}{}mg
                : $v1 =~ s/server_name .*;/server_name v1.example.com;/;
            $v1 = here($v1, 1);
            $site = $block->site =~ /alone/ ? $v1 : "$site$v1";
        }
        $text = <<"EOC";
load_module modules/ngx_http_registry_auth_module.so;
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log error;
events {}
http {
    access_log /var/log/nginx/access.log;
    server { listen 443 ssl; server_name www.example.com; location / { return 200 "the other site\\n"; } }
$site}
EOC
    }
    if (($block->balancer // '') eq 'elsewhere') {
        # The test's client is no balancer then.
        $files =~ s{^\s*127\.0\.0\.1/32 +balancer;\n}{}m
            && $files =~ s{^set_real_ip_from 127\.0\.0\.1/32;\n}{}m
            or die "behind-balancer.conf does not list 127.0.0.1\n";
        # Its text alone tells the runner that nginx has to be restarted.
        $text = "# another list of balancers\n$text";
    }
    $block->set_value(user_files   => $files);
    $block->set_value(whole_config => whole($text, 1));
});
run_tests($spec . join '', <DATA>);

__DATA__
=== nginx.conf: a push and a pull pass, a foreign one does not
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login: alice:secret
--- request eval
[ "GET /v2/", "GET /v2", "PUT /v2/alice/app/manifests/v1\n{}", "GET /v2/bob/app/manifests/v1",
  "GET /v1/_ping", "GET /_ping", "GET /v2/alice/../bob/tags/list" ]
--- error_code eval
[ 200, 200, 200, 403, 503, 503, 400 ]
--- backend_received_by: B B B

=== nginx.conf: each answer is OCI JSON with one api-version and, where due, one challenge
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "", "alice:secret", "alice:secret", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v2/bob/app/manifests/v1", "GET /v2/alice//app/tags/list", "GET /v2/alice/app/nothing" ]
--- error_code eval
[ 401, 403, 400, 404 ]
--- oci_error eval
[ "UNAUTHORIZED", "DENIED", "NAME_INVALID", "UNSUPPORTED" ]
--- response_headers eval
[ "Docker-Distribution-Api-Version: registry/2.0\nWWW-Authenticate: Basic realm=\"Registry\"",
  ("Docker-Distribution-Api-Version: registry/2.0\n!WWW-Authenticate") x 3 ]

=== nginx.conf: no backend is 503 UNAVAILABLE with one Retry-After
--- restart
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
Docker-Distribution-Api-Version: registry/2.0
--- response_headers_like
Retry-After: \d+

=== nginx.conf: nginx's own 502 is OCI JSON
--- restart
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_DEAD_PORT
--- login: alice:secret
--- request
GET /v2/alice/app/tags/list
--- error_code: 502
--- oci_error: UNAVAILABLE
--- response_headers
Docker-Distribution-Api-Version: registry/2.0
--- access_log
alice

=== nginx.conf: what no location serves is gated, then 404
--- login eval
[ "", "alice:secret" ]
--- request eval
[ ("GET /metrics") x 2 ]
--- error_code: 404

=== locations.conf: the page at / says what this is and how to log in, as JSON where that is accepted
--- more_headers eval
[ "Accept: text/html,*/*;q=0.8", "Accept: application/json",
  "Host: registry.example.com:5000\nAccept: application/json", "Host: a&lt;x", "" ]
--- request eval
[ ("GET /") x 4, "HEAD /" ]
--- error_code: 200
--- response_headers eval
[ "Content-Type: text/html", ("Content-Type: application/json") x 2, ("Content-Type: text/html") x 2 ]
--- response_body_like eval
[ qr{^<!DOCTYPE html>.*\ndocker pull localhost/name/of/image:tag</pre>}s,
  qr{^\{"what":"[^"]+","api":"/v2/","login":"docker login localhost"\}\n$},
  qr{"login":"docker login registry\.example\.com:5000"\}}, qr{docker login this-address\n}, qr{^$} ]
--- forwarded: 0

=== locations.conf: the health of the gate is readable without a login
--- request
GET /health
--- error_code: 200
--- response_body
{"status":"ok"}
--- forwarded: 0

=== locations.conf: no path of ACME ends a line of nginx's own error log
--- acme
--- request eval
[ map {"GET /.well-known/acme-challenge/$_"} 'x%0Aregistry_auth:%20forged', 'none', 'a/b', '.x' ]
--- error_code: 404
--- no_error_log
forged
open()

=== locations.conf: ACME's files are fetched without a login, once the location is turned on
--- acme
--- init
my $files = main::expand('$TEST_NGINX_SERVROOT/html/acme/.well-known/acme-challenge');
system('mkdir', '-p', $files) == 0 && open(my $file, '>', "$files/token") or die "$files: $!";
print {$file} "the answer\n";
--- request eval
[ "GET /.well-known/acme-challenge/token", "GET /.well-known/acme-challenge/none",
  "GET /.well-known/acme-challenge/../../v2/" ]
--- error_code eval
[ 200, 404, 400 ]
--- response_body_like eval
[ qr{^the answer\n$}, qr{.}, qr{NAME_INVALID} ]

=== sites-available/registry: another site on the port keeps its answers, and those to unknown names
--- site
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login: alice:secret
--- more_headers eval
[ map {"Host: $_"} "www.example.com", "unknown.example.com", "registry.example.com", "registry.example.com" ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /v2/", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 200, 200, 200, 403 ]
--- response_body_like eval
[ ("^the other site\$") x 2, ".", "DENIED" ]
--- backend_received_by: B

=== sites-available/registry: a wrong password is logged, though the other sites log errors only
--- site
--- more_headers: Host: registry.example.com
--- login: alice:wrong
--- request
GET /v2/
--- error_code: 401
--- after
my $log = Harness::slurp(main::expand('$TEST_NGINX_SERVROOT/logs/registry-error.log'));
equal(scalar($log =~ /incorrect username or password \(UNAUTHORIZED\)/), 1, 'registry-error.log');

=== sites-available/registry: guessing is limited: the eleventh wrong password of a user is 429
--- restart
--- site
--- more_headers: Host: registry.example.com
--- login eval
[ map {"alice:wrong$_"} 1 .. 11 ]
--- request eval
[ ("GET /v2/") x 11 ]
--- error_code eval
[ (401) x 10, 429 ]

=== sites-available/registry-v1 beside it: other names stay as they are, and V1 has its own registries
--- site: v1
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login: alice:secret
--- more_headers eval
[ map {"Host: $_"} "unknown.example.com", ("v1.example.com") x 4, "registry.example.com" ]
--- request eval
[ "GET /v1/_ping", "GET /v1/_ping", "GET /v1/users/", "GET /v1/repositories/bob/app/images", "GET /v2/",
  "GET /v2/" ]
--- error_code eval
[ 200, 200, 200, 403, 404, 200 ]
--- response_body_like eval
[ "^the other site\$", ("^backend: B") x 2, "DENIED", "no such registry route", "^backend: C" ]

=== sites-available/registry-v1 alone, with the lines that the other site has
--- site: v1 alone
--- more_headers: Host: registry.example.com
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v1/users/") x 2 ]
--- error_code eval
[ 200, 401 ]
--- after
my $log = Harness::slurp(main::expand('$TEST_NGINX_SERVROOT/logs/registry-error.log'));
equal(scalar($log =~ /incorrect username or password \(UNAUTHORIZED\)/), 1, 'registry-error.log');

=== nginx.conf: a backend's own answers pass as they are
--- restart
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- backend
manifests/a => status: 404
manifests/b => status: 502
manifests/c => status: 413
body: {"errors":[{"code":"MANIFEST_UNKNOWN"}]}
--- login: alice:secret
--- request eval
[ map {"GET /v2/alice/app/manifests/$_"} qw(a b c) ]
--- error_code eval
[ 404, 502, 413 ]
--- response_body chomp
{"errors":[{"code":"MANIFEST_UNKNOWN"}]}
--- response_headers
Docker-Distribution-Api-Version: registry/2.0

=== nginx.conf: the access log names the verified user, the repository and the backend
--- restart
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "alice:secret", "bob:wrong" ]
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/" ]
--- error_code eval
[ 200, 401 ]
--- access_log
"alice"
granted pull "alice/app" "127.0.0.1:$TEST_NGINX_BACKEND_B_PORT" backend MISS
unauthenticated
--- no_access_log
bob

=== nginx.conf: Redis is down: 503 UNAVAILABLE, one Retry-After, no challenge
--- init
redis_server()->stop;
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- oci_error: UNAVAILABLE
--- response_headers
Docker-Distribution-Api-Version: registry/2.0
!WWW-Authenticate
--- response_headers_like
Retry-After: \d+

=== registry-bearer.conf: one Bearer challenge, with this server's token endpoint and the scope
--- bearer
--- request eval
[ "GET /v2/", "GET /v2/alice/app/manifests/v1", "POST /v2/alice/app/blobs/uploads/" ]
--- error_code: 401
--- oci_error: UNAUTHORIZED
--- response_headers eval
my $challenge = 'WWW-Authenticate: Bearer realm="http://localhost/token",service="registry"';
[ map {"Docker-Distribution-Api-Version: registry/2.0\n$challenge$_"} '',
  ',scope="repository:alice/app:pull"', ',scope="repository:alice/app:pull,push"' ]

=== registry-bearer.conf: passwords are taken as well, and tokens are issued
--- bearer
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login: alice:secret
--- request eval
[ "GET /v2/", "GET /v2/bob/app/manifests/v1", "GET /token?service=registry&scope=repository:alice/app:pull,push&offline_token=true" ]
--- error_code eval
[ 200, 403, 200 ]
--- response_body_like eval
[ '', 'DENIED', '^\{"token":"[^"]+","access_token":"[^"]+","expires_in":3600,"issued_at":"[^"]+","refresh_token":"[^"]+"\}$' ]
--- backend_received_by: B

=== registry-bearer.conf: the token endpoint refuses a large form
--- bearer
--- more_headers
Content-Type: application/x-www-form-urlencoded
--- request eval
[ map { "POST /token\n" . 'x' x $_ } 9000, 20_000 ]
--- error_code eval
[ 400, 413 ]
--- oci_error eval
[ "UNSUPPORTED", "SIZE_INVALID" ]

=== behind-balancer.conf: registries and clients get what a listed balancer says, and the log its client
--- balancer
--- bearer
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- more_headers
X-Forwarded-Proto: https
X-Forwarded-Host: registry.example.com:8443
X-Forwarded-For: 192.0.2.7
--- login eval
[ "", "alice:secret" ]
--- request eval
[ "GET /v2/", "POST /v2/alice/app/blobs/uploads/" ]
--- error_code eval
[ 401, 200 ]
--- response_headers eval
[ 'WWW-Authenticate: Bearer realm="https://registry.example.com:8443/token",service="registry"', undef ]
--- backend_received_like eval
my $host = qr{registry\.example\.com:8443};
my $address = qr{192\.0\.2\.7};
qr{^Host: $host\nX-Forwarded-Proto: https\nX-Forwarded-Host: $host\n}m
    . qr{X-Forwarded-For: $address, $address\nX-Real-IP: $address$}m
--- access_log
192.0.2.7 "alice"

=== behind-balancer.conf: nobody else is believed
--- balancer: elsewhere
--- bearer
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- more_headers
X-Forwarded-Proto: https
X-Forwarded-Host: evil.example
X-Forwarded-For: 192.0.2.7
--- login eval
[ "", "alice:secret" ]
--- request eval
[ "GET /v2/", "POST /v2/alice/app/blobs/uploads/" ]
--- error_code eval
[ 401, 200 ]
--- response_headers eval
[ 'WWW-Authenticate: Bearer realm="http://localhost/token",service="registry"', undef ]
--- backend_received_like eval
my $address = qr{127\.0\.0\.1};
qr{^Host: localhost\nX-Forwarded-Proto: http\nX-Forwarded-Host: localhost\n}m
    . qr{X-Forwarded-For: 192\.0\.2\.7, $address\nX-Real-IP: $address$}m
--- backend_not_received
evil.example

=== behind-balancer.conf: of a listed balancer nothing is taken that is no scheme or host
--- balancer
--- bearer
--- more_headers eval
[ "X-Forwarded-Proto: ftp\nX-Forwarded-Host: a, b", "X-Forwarded-Proto: https, http\nX-Forwarded-Host: a/b",
  "X-Forwarded-Proto: HTTPS\nX-Forwarded-Host: a\"b", "X-Forwarded-Host: [::1]:5000" ]
--- request eval
[ ("GET /v2/") x 4 ]
--- error_code: 401
--- response_headers eval
[ map {"WWW-Authenticate: Bearer realm=\"$_/token\",service=\"registry\""} ("http://localhost") x 2,
  "https://localhost", "http://[::1]:5000" ]

=== behind-balancer.conf: V1 clients are led to the balancer
--- balancer
--- v1
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- backend
header: X-Docker-Endpoints: evil.example
--- more_headers
X-Forwarded-Proto: https
X-Forwarded-Host: registry.example.com
--- login: alice:secret
--- request
GET /v1/repositories/alice/app/images
--- response_headers
X-Docker-Endpoints: registry.example.com

=== each shipped server listens on IPv6 as it does on IPv4
--- after
my $root = $main::ROOT;
for my $file (grep { Harness::slurp($_) =~ /^\s*listen /m } glob "$root/nginx/*.conf") {
    my $text = Harness::slurp($file);
    my @four = $text =~ /^ *listen (\d+.*;)$/mg;
    my @six  = $text =~ /^ *listen \[::\]:(\d+.*;)$/mg;
    equal("@six", "@four", $file);
}
--- request
GET /v2/
--- error_code: 401

=== registry-v1.conf: /v2/ is 404 without the header of V2, so that docker goes on with V1
--- v1
--- login eval
[ "", "", "alice:secret", "alice:wrong", "", "", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v2", "GET /v2/", "GET /v2/", "HEAD /v2/", "GET /v2/alice/app/tags/list",
  "PUT /v2/alice/app/manifests/v1\n{}" ]
--- error_code: 404
--- response_headers
!Docker-Distribution-Api-Version
!WWW-Authenticate
--- forwarded: 0

=== registry-v1.conf: the login of docker
--- v1
--- redis
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- login eval
[ "", "", "alice:secret", "alice:wrong", "mallory:secret" ]
--- request eval
[ "GET /v1/_ping", "POST /v1/users/\n{\"username\":\"alice\"}", ("GET /v1/users/") x 3 ]
--- error_code eval
[ 200, 401, 200, 401, 401 ]
--- response_headers eval
[ undef, "WWW-Authenticate: Basic realm=\"Registry\"", undef,
  ("WWW-Authenticate: Basic realm=\"Registry\"") x 2 ]
--- backend_received_by: B B
--- backend_not_received
Authorization

=== registry-v1.conf: a push, a foreign one, and a backend that names another host
--- v1
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
--- backend
header: X-Docker-Endpoints: evil.example
tags$ => status: 302
tags$ => header: Location: http://evil.example/
--- login: alice:secret
--- request eval
[ "PUT /v1/repositories/alice/app/\n[]", "PUT /v1/repositories/bob/app/\n[]", "GET /v1/images/0123abcd/json",
  "GET /v1/repositories/alice/app/tags", "GET /metrics" ]
--- error_code eval
[ 200, 403, 200, 502, 404 ]
--- response_headers eval
[ "X-Docker-Endpoints: localhost", undef, undef, "!Location", undef ]
--- backend_received_by: B B B
