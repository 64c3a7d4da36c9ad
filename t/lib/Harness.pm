# Test::Nginx-style tests without Test::Nginx, which no package ships: a test
# file is a list of blocks (Test::Base), each with a configuration, requests
# and expectations. Section names and meanings are those of
# Test::Nginx::Socket; ours are explained in t/README.md.
#
#     use lib 't/lib';
#     use Harness;
#     defaults(config => ..., accounts => ...);   # for blocks without their own
#     run_tests();
#     __DATA__
#
# Environment: TEST_NGINX_BINARY, TEST_NGINX_MODULE (a path, or `none`),
# TEST_AUTHCTL, TEST_NGINX_VALGRIND, TEST_NGINX_KEEP (keeps the folder).
package Harness;

use strict;
use warnings;

# Its exports (a second `is`, ...) go where nobody looks.
{ package Harness::Spec; use Test::Base }

use Cwd qw(abs_path);
use Data::Dumper qw(Dumper);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use Time::HiRes qw(sleep time);

use Harness::Backend;
use Harness::Checks;
use Harness::Client;
use Harness::FakeRedis;
use Harness::Http2;
use Harness::Nginx;
use Harness::Ports;
use Harness::Process;
use Harness::Redis;
use Harness::Users;
use Harness::Valgrind;

our @EXPORT = qw(
    defaults add_block_preprocessor run_tests
    redis redis_server nginx_server http http_many gate_http gate_config expand slurp spec_block
);

our $ROOT = abs_path(dirname(__FILE__) . '/../..');

my (%default, @preprocessor, %variable);
my ($folder, $redis, $nginx, $backend, $last_name);

# Sections for blocks that do not have them.
sub defaults { %default = (%default, @_) }

sub add_block_preprocessor { push @preprocessor, shift }

# A self-signed certificate.pem and its key.pem for localhost in the folder.
sub certificate {
    return if -e "$folder/key.pem";
    my $pid = Harness::Process::start(
        'openssl', "$folder/openssl.out",
        qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -batch -subj
            /CN=localhost),
        '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
        '-keyout', "$folder/key.pem", '-out', "$folder/certificate.pem"
    );
    Harness::Process::reap($pid, 30) == 0 or die "openssl: " . slurp("$folder/openssl.out");
}

# The upstream and the location that most tests are about.
sub gate_http {
    return <<'EOC';
    upstream registry {
        registry_auth_backends;
        server 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    }
EOC
}

sub gate_config {
    my ($directives) = @_;
    $directives //= '';
    return <<"EOC";
        location / {
            registry_auth "Registry";
            $directives
            proxy_pass http://registry;
            proxy_http_version 1.1;
            proxy_set_header Host \$http_host;
            proxy_set_header Authorization "";
            proxy_set_header Connection "";
        }
EOC
}

# A block as text, for tests that are made from a table: lists and patterns
# become `eval` sections.
sub spec_block {
    my ($title, @section) = @_;    # name => value, in order
    local ($Data::Dumper::Useqq, $Data::Dumper::Terse, $Data::Dumper::Indent) = (1, 1, 0);
    my $text = "=== $title\n";
    while (my ($name, $value) = splice @section, 0, 2) {
        $text .=
              ref $value      ? "--- $name eval\n" . Dumper($value) . "\n"
            : $value =~ /\n/ ? "--- $name\n$value"
            :                   "--- $name: $value\n";
    }
    return "$text\n";
}

sub setup {
    $folder = tempdir('registry-auth-t-XXXXXX', TMPDIR => 1, CLEANUP => !$ENV{TEST_NGINX_KEEP});
    diag("folder: $folder") if $ENV{TEST_NGINX_KEEP};
    chmod 0755, $folder;

    my $module = $ENV{TEST_NGINX_MODULE} || "$ROOT/build/ngx_http_registry_auth_module.so";
    my $base   = Harness::Ports::range();
    my %port = (A => $base + 4, B => $base + 5, C => $base + 6, D => $base + 7);
    %variable = (
        SERVER_PORT    => $base,
        H2_PORT        => $base + 1,
        TLS_PORT       => $base + 2,
        REDIS_PORT     => $base + 3,
        BACKEND_PORT   => $port{A},
        BACKEND_B_PORT => $port{B},
        BACKEND_C_PORT => $port{C},
        BACKEND_D_PORT => $port{D},
        DEAD_PORT      => $base + 8,
        EXTRA_PORT     => $base + 9,
        FAKE_REDIS_PORT => $base + 10,
        MODULE         => $module,
        SERVROOT       => $folder,
        HTML_DIR       => "$folder/html",
        ROOT           => $ROOT,
        REDIS_SOCKET   => "$folder/redis.sock",
    );
    $nginx = Harness::Nginx->new(
        binary  => $ENV{TEST_NGINX_BINARY} || 'nginx',
        module  => $module,
        folder  => $folder,
        port    => $base,
        h2_port => $base + 1,
    );
    $redis   = Harness::Redis->new(port => $variable{REDIS_PORT}, folder => $folder);
    $backend = Harness::Backend->new(ports => \%port, folder => $folder);
    $backend->start;
}

# $TEST_NGINX_NAME and ${TEST_NGINX_NAME}, in every section.
sub expand {
    my ($value) = @_;
    return [ map { expand($_) } @$value ] if ref $value eq 'ARRAY';
    return $value if ref $value || !defined $value;
    $value =~ s/\$(\{?)TEST_NGINX_([A-Z_0-9]+)(\}?)/
        $variable{$2} \/\/ die "unknown variable TEST_NGINX_$2\n"/gex;
    return $value;
}

# Runs the blocks of the given text, or those after __DATA__.
sub run_tests {
    my ($spec) = @_;

    plan('no_plan');
    setup();
    my $base = Test::Base->new;
    $base->spec_string($spec) if defined $spec;
    for my $block ($base->blocks) {
        eval { run_block($block); 1 } or fail($block->name . " - the block died: $@");
    }
    stop_nginx();
    $redis->stop if $redis->running;
}

sub prepare {
    my ($block) = @_;
    for my $section (keys %default) {
        next if $section eq 'accounts' && defined $block->users;
        $block->set_value($section, $default{$section}) unless defined $block->$section;
    }
    $_->($block) for @preprocessor;
    for my $section (qw(main_config event_config http_config config request raw_request pipelined_requests
        more_headers redis users accounts backend backend_received backend_received_like backend_not_received
        response_headers response_headers_like response_body response_body_like error_log no_error_log
        access_log no_access_log user_files forwarded login init after))
    {
        $block->set_value($section, expand($block->$section)) if defined $block->$section;
    }
    # What is no configuration goes on behind a backslash.
    for my $section (qw(redis backend response_headers error_log access_log)) {
        my $value = $block->$section;
        $block->set_value($section, $value =~ s/\\\n[ \t]*//gr) if defined $value && !ref $value;
    }
}

sub run_block {
    my ($block) = @_;

    prepare($block);
    my $name = $block->name;
    if (Harness::Valgrind::wanted() && defined(my $why = $block->skip_valgrind)) {
        SKIP: { skip "$name: not under valgrind: $why", 1 }
        return;
    }
    if (defined $block->needs && !$nginx->built_with($block->needs)) {
        SKIP: { skip "$name: nginx is not " . $block->needs, 1 }
        return;
    }
    certificate() if defined $block->certificate;
    write_user_files($block->user_files) if defined $block->user_files;
    $nginx->mark;
    my $configuration = configuration($block);
    return test_configuration($block, $name, $configuration)
        if defined $block->must_die || defined $block->config_ok;

    fill_redis($block);
    my $fake = defined $block->fake_redis
        ? Harness::FakeRedis::start($variable{FAKE_REDIS_PORT}, scalar $block->fake_redis) : undef;
    $backend->begin(scalar $block->backend);
    if ($nginx->{running} ne $configuration || defined $block->restart) {
        stop_nginx();
        $nginx->mark;
    }
    $last_name = $name;
    $nginx->ensure($configuration);

    run_code($block->init) if defined $block->init;
    my ($responses, $sent) = send_requests($block);
    run_code($block->after) if defined $block->after;
    sleep $block->wait if defined $block->wait;

    Harness::Checks::answers($block, $name, $responses);
    Harness::Checks::backends($block, $name, $backend->received, $sent);
    check_logs($block, $name);
    stop_nginx() if defined $block->restart || $fake;
    Harness::Process::stop($fake, 'TERM', 5) if $fake;
}

sub configuration {
    my ($block) = @_;

    return expand(scalar $block->whole_config) if defined $block->whole_config;
    my $http = $block->http_config // '';
    my $limit = Harness::Valgrind::timeout(2);
    my $store = "    registry_auth_redis redis://127.0.0.1:$variable{REDIS_PORT} "
        . "timeout=${limit}s connect_timeout=${limit}s;\n";
    $http = $store . $http
        unless $nginx->{module} eq 'none' || defined $block->no_redis || $http =~ /\bregistry_auth_redis\s/;
    return $nginx->configuration(
        main_config  => $block->main_config  // '',
        event_config => $block->event_config // '',
        http_config  => $http,
        config       => $block->config    // '',
        workers      => $block->workers   // 1,
        log_level    => $block->log_level // 'info',
    );
}

# `--- must_die`: nginx -t refuses it. `--- config_ok`: it does not.
sub test_configuration {
    my ($block, $name, $configuration) = @_;

    my ($status, $said) = $nginx->test_configuration($configuration);
    my $log = $said . $nginx->new_errors;
    if (defined $block->must_die) {
        isnt($status, 0, "$name - nginx -t refuses");
        unlike($log, qr/panicked/, "$name - no panic");
        ok($status >> 8 && !($status & 127), "$name - by its own will") or diag("status $status");
    }
    else {
        is($status, 0, "$name - nginx -t accepts") or diag($log);
    }
    Harness::Checks::logs($block, $name, 'error_log', $log);
}

# An empty Redis, then the block's users, accounts and commands, in this order.
sub fill_redis {
    my ($block) = @_;

    return if defined $block->no_redis && !$redis->running;
    stop_nginx() if delete $redis->{disturbed};    # it may not have found back yet
    $redis->start unless $redis->running;
    $redis->thaw;
    $redis->flush;
    my $tool = $ENV{TEST_AUTHCTL} || "$ROOT/build/registry-authctl";
    Harness::Users::apply_users($redis, $tool, "redis://127.0.0.1:$variable{REDIS_PORT}", $block->users)
        if defined $block->users;
    Harness::Users::apply_accounts($redis, $block->accounts) if defined $block->accounts;
    $redis->command($_) for grep { /\S/ && !/^\s*#/ } split /\n/, $block->redis // '';
}

sub send_requests {
    my ($block) = @_;

    my $port    = $variable{SERVER_PORT};
    my $timeout = Harness::Valgrind::timeout($block->timeout // 5);
    if (defined(my $raw = $block->raw_request)) {
        my $delay = $block->raw_request_middle_delay;
        return [ Harness::Client::raw($port, ref $raw ? $raw : [$raw], $timeout, $delay) ], [];
    }
    if (my $list = $block->pipelined_requests) {
        my @request = parse_all($block, $list, 1);
        return [ Harness::Client::pipelined($port, \@request, $timeout) ], [];
    }
    return [], [] unless defined $block->request;

    my (@response, @sent);
    for my $request (parse_all($block, $block->request, 0)) {
        my $before = @{ $backend->received };
        push @response, send_one($block, $request, $port, $timeout);
        my @record = @{ $backend->received };
        push @sent, { %$request, records => [ @record[ $before .. $#record ] ] };
    }
    return \@response, \@sent;
}

sub send_one {
    my ($block, $request, $port, $timeout) = @_;
    return Harness::Client::abort($port, $request, $timeout) if defined $block->abort;
    return Harness::Http2::single($variable{H2_PORT}, $request, $timeout, $folder) if defined $block->http2;
    return Harness::Client::single($port, $request, $timeout);
}

# On a kept connection the last request asks for its end, so that it is read whole.
sub parse_all {
    my ($block, $texts, $keep) = @_;
    my @text = ref $texts ? @$texts : $texts;
    return map {
        Harness::Client::parse_request(
            $text[$_],
            Harness::Checks::item(scalar $block->more_headers, $_),
            Harness::Checks::item(scalar $block->login,        $_),
            $keep && $_ < $#text
        )
    } 0 .. $#text;
}

# An expected log line may come a moment after the answer, and that of how many there were more, a second.
sub check_logs {
    my ($block, $name) = @_;

    for my $log (qw(error access)) {
        my $section = "${log}_log";
        my $deadline = time + Harness::Valgrind::timeout(2);
        while (time < $deadline) {
            my $text = $nginx->since($log);
            my @expected = Harness::Checks::list($block->$section);
            last unless grep { !Harness::Checks::contains($text, $_) } @expected;
            sleep 0.01;
        }
        Harness::Checks::logs($block, $name, $section, $nginx->since($log));
    }
    Harness::Checks::never($block, $name, $nginx->new_errors);
}

sub stop_nginx {
    return unless $nginx && $nginx->{pid};
    $nginx->mark;
    my @wrong = $nginx->stop;
    push @wrong, grep {/\[(?:emerg|alert)\]|panicked|exited on signal/} split /\n/, $nginx->new_errors;
    is(join("\n", @wrong), '', "$last_name - nginx ends quietly") if @wrong;
}

sub write_user_files {
    my ($text) = @_;
    my (undef, @file) = split /^>>> (\S+)\n/m, $text;
    while (my ($path, $content) = splice @file, 0, 2) {
        my $full = "$folder/html/$path";
        system 'mkdir', '-p', dirname($full);
        open my $out, '>', $full or die "$full: $!\n";
        print {$out} $content // '';
        close $out;
    }
}

# `--- init` and `--- after`: Perl, run in the test file's package.
sub run_code {
    my ($code) = @_;
    eval "package main; no strict 'vars'; $code; 1" or die $@;
}

# For such code: one Redis command, the servers, one more request, a file.
sub redis        { return $redis->command($_[0]) }
sub redis_server { return $redis }
sub backend      { return $backend }
sub nginx_server { return $nginx }
sub slurp        { return Harness::Nginx::slurp($_[0]) }

sub http {
    my ($text, %arg) = @_;    # headers, login, timeout
    my $request = Harness::Client::parse_request($text, $arg{headers}, $arg{login}, 0);
    my $timeout = Harness::Valgrind::timeout($arg{timeout} // 5);
    my ($response) = Harness::Client::single($variable{SERVER_PORT}, $request, $timeout);
    return $response;
}

# So many requests at once, each on a connection of its own. A `%d` in the
# login is the number of the request.
sub http_many {
    my ($count, $text, %arg) = @_;
    my @request = map {
        Harness::Client::parse_request($text, $arg{headers}, ($arg{login} // '') =~ s/%d/$_/r, 0)
    } 1 .. $count;
    return Harness::Client::parallel($variable{SERVER_PORT}, \@request,
        Harness::Valgrind::timeout($arg{timeout} // 20));
}

1;
