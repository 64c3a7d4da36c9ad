# The directives: each wrong value is an error of `nginx -t` that
# names the directive and the value; contexts, duplicates, inheritance.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Token qw(key_file);

my %CONTEXT = (
    http     => sub { (http_config => "    $_[0]\n", config => '') },
    server   => sub { (http_config => '', config => "        $_[0]\n") },
    location => sub { (http_config => '', config => "        location /x { $_[0] }\n") },
    main     => sub { (http_config => '', config => '', main_config => "$_[0]\n") },
    events   => sub { (http_config => '', config => '', event_config => "$_[0]\n") },
    upstream => sub { (http_config => "    upstream u { $_[0] server 127.0.0.1:1; }\n", config => '') },
    peers    => sub { (http_config => "    upstream u { $_[0] }\n", config => '') },
    limit_except => sub { (http_config => '',
        config => "        location /x { limit_except GET { $_[0] } }\n") },
    if       => sub { (http_config => '', config => "        location /x { if (\$arg_a) { $_[0] } }\n") },
);

sub refused {
    my ($rule, $context, $line, @said) = @_;
    return spec_block("$rule: $line", no_redis => '', must_die => '', $CONTEXT{$context}->($line),
        error_log => \@said);
}

sub accepted {
    my ($context, $line) = @_;
    return spec_block("accepted in $context: $line", no_redis => '', config_ok => '',
        $CONTEXT{$context}->($line));
}

my $spec = '';

# Wrong values: context, directive, arguments, and what of them the error quotes
# (the whole argument unless said otherwise).
my @WRONG = (
    # A URL may hold a password, so that no error quotes a whole one.
    [ 'http', 'registry_auth_redis', 'http://127.0.0.1:6379', 'http' ],
    [ 'http', 'registry_auth_redis', '127.0.0.1:6379', '' ],
    [ 'http', 'registry_auth_redis', 'redis://', 'redis' ],
    [ 'http', 'registry_auth_redis', 'redis:///0', 'redis' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1:99999', '' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1:port', '' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1:6379/zero', '' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1:6379/-1', '' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1:6379/0/1', '' ],
    [ 'http', 'registry_auth_redis', 'redis+unix://', 'redis+unix' ],
    [ 'http', 'registry_auth_redis', 'redis+unix:///tmp/s?db=x', '' ],
    # Variables, which would be taken as they are written.
    [ 'http', 'registry_auth_redis', 'redis://$redis_host:6379', 'variables' ],
    [ 'http', 'registry_auth_redis', 'redis+unix://$redis_socket', 'variables' ],
    [ 'http', 'registry_auth_redis_user', '$redis_user', 'variables' ],
    [ 'http', 'registry_auth_redis_user', '"a b"', 'a b' ],
    [ 'http', 'registry_auth_redis_user', '" gate"', 'blanks' ],
    [ 'http', 'registry_auth_prefix', '$host', 'variables' ],
    [ 'server', 'registry_auth_prefix', 'registry-${host}', 'variables' ],
    [ 'location', 'registry_auth_prefix', '"docker-registry "', 'blanks' ],
    [ 'http', 'registry_auth_prefix', 'off', '"off"' ],
    [ 'http', 'registry_auth_prefix', 'On', '"On"' ],
    [ 'http', 'registry_auth_cache', 'zone=$host:1m' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=$http_host', 'service=$http_host' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=registry.${host}',
      'service=registry.${host}' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 timeout=soon', 'timeout=soon' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 timeout=', 'timeout=' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 timeout=0', 'timeout=0' ],
    ( map { [ 'http', 'registry_auth_redis', "redis://127.0.0.1 $_ changes=auto $_", "\"$_\"" ] }
        'timeout=1s', 'connect_timeout=1s' ),
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 changes=auto changes=channel', 'changes=channel' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1,127.0.0.1:6379', 'names one server twice' ],
    [ 'http', 'registry_auth_redis', 'redis+sentinel://a,b,a:26379/m', 'names one server twice' ],
    [ 'http', 'registry_auth_redis', 'redis+cluster://a,b,a', 'names one server twice' ],
    [ 'http', 'registry_auth_cache', 'zone=a:1m ttl=1s ttl=2s', 'ttl=2s' ],
    [ 'http', 'registry_auth_hashing', 'threads=1 threads=2', 'threads=2' ],
    [ 'http', 'registry_auth_usage', 'zone=a:1m zone=b:1m', 'zone=b:1m' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 timeout=-1s', 'timeout=-1s' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 connect_timeout=5x', 'connect_timeout=5x' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 connect_timeout=0', 'connect_timeout=0' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 retries=3', 'retries=3' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 changes=', 'changes=' ],
    [ 'http', 'registry_auth_redis', 'redis://127.0.0.1 changes=ttl', 'changes=ttl' ],
    [ 'http', 'registry_auth_redis', 'timeout=1s', '' ],
    [ 'http', 'registry_auth_redis_password_file', '/nonexistent/password' ],
    [ 'http', 'registry_auth_redis_password_file', '/' ],
    [ 'http', 'registry_auth_prefix', '""', '' ],
    [ 'http', 'registry_auth_own_namespace', 'yes' ],
    [ 'http', 'registry_auth_own_namespace', '1' ],
    [ 'location', 'registry_auth_own_namespace', 'maybe' ],
    [ 'server', 'registry_auth_v1_images', 'enabled' ],
    [ 'http', 'registry_auth_v1_images', '""', '' ],
    ( map { [ 'server', 'registry_auth_v1_endpoint', $_, $_ ] } 'https://registry.example', 'a/', 'a,b',
        'u@a', 'a?b' ),
    [ 'location', 'registry_auth_v1_endpoint', '""', '' ],
    [ 'location', 'registry_auth_v1_endpoint', '"a b"', 'a b' ],
    [ 'http', 'registry_auth_hashing', 'threads=0' ],
    [ 'http', 'registry_auth_hashing', 'threads=-1' ],
    [ 'http', 'registry_auth_hashing', 'threads=two' ],
    [ 'http', 'registry_auth_hashing', 'threads=' ],
    [ 'http', 'registry_auth_hashing', 'threads=1000000' ],
    [ 'http', 'registry_auth_hashing', 'queue=0' ],
    [ 'http', 'registry_auth_hashing', 'queue=-5' ],
    [ 'http', 'registry_auth_hashing', 'queue=many' ],
    [ 'http', 'registry_auth_hashing', 'queue=99999999999999999999' ],
    [ 'http', 'registry_auth_hashing', 'workers=1' ],
    [ 'http', 'registry_auth_hashing', '4' ],
    [ 'http', 'registry_auth_token_use', 'yes' ],
    [ 'http', 'registry_auth_rehash', 'yes' ],
    [ 'http', 'registry_auth_token_use', '""', '' ],
    [ 'http', 'registry_auth_cache', 'on' ],
    [ 'http', 'registry_auth_cache', '10m' ],
    [ 'http', 'registry_auth_cache', '""', '' ],
    [ 'http', 'registry_auth_cache', 'ttl=5s', 'zone=' ],
    [ 'http', 'registry_auth_cache', 'ttl=5s stale=5s', 'zone=' ],
    [ 'http', 'registry_auth_cache', 'zone=' ],
    [ 'http', 'registry_auth_cache', 'zone=auth' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:' ],
    [ 'http', 'registry_auth_cache', 'zone=:1m' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:0' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1k' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:16k' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:-1m' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1x' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:large' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m:1m' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:99999999999999999999' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=', 'ttl=' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=0', 'ttl=0' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=0s', 'ttl=0s' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=-1s', 'ttl=-1s' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=soon', 'ttl=soon' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=9999d', 'ttl=9999d' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m stale=', 'stale=' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m stale=-1s', 'stale=-1s' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m stale=5x', 'stale=5x' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m stale=9999d', 'stale=9999d' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m size=1m', 'size=1m' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m inactive=60s', 'inactive=60s' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m off', 'off' ],
    [ 'http', 'registry_auth_cache', 'off zone=auth:1m', 'off' ],
    [ 'http', 'registry_auth_failures', '5' ],
    [ 'http', 'registry_auth_failures', 'on' ],
    [ 'http', 'registry_auth_failures', 'off 60s', 'off' ],
    [ 'http', 'registry_auth_failures', '0 60s', '"0"' ],
    [ 'server', 'registry_auth_failures', '-1 60s', '"-1"' ],
    [ 'location', 'registry_auth_failures', 'five 60s', '"five"' ],
    [ 'http', 'registry_auth_failures', '1.5 60s', '"1.5"' ],
    [ 'http', 'registry_auth_failures', '"" 60s', '""' ],
    [ 'http', 'registry_auth_failures', '1000000 60s', '"1000000"' ],
    [ 'http', 'registry_auth_failures', '99999999999999999999 60s', '"99999999999999999999"' ],
    [ 'http', 'registry_auth_failures', '5 0', '"0"' ],
    [ 'http', 'registry_auth_failures', '5 0s', '"0s"' ],
    [ 'server', 'registry_auth_failures', '5 -1s', '"-1s"' ],
    [ 'location', 'registry_auth_failures', '5 soon', '"soon"' ],
    [ 'http', 'registry_auth_failures', '5 ""', '""' ],
    [ 'http', 'registry_auth_failures', '5 off', '"off"' ],
    [ 'http', 'registry_auth_failures', '5 9999d', '"9999d"' ],
    [ 'http', 'registry_auth_failures', '5 60s 60s', '"60s"' ],
    [ 'http', 'registry_auth_failures', '5 60s address=', '"address="' ],
    [ 'http', 'registry_auth_failures', '5 60s address=4', '"address=4"' ],
    [ 'http', 'registry_auth_failures', '5 60s address=1000000', '"address=1000000"' ],
    [ 'http', 'registry_auth_bearer', 'on' ],
    [ 'server', 'registry_auth_bearer', '""', '' ],
    [ 'location', 'registry_auth_bearer', 'localhost/token' ],
    [ 'http', 'registry_auth_bearer', '//localhost/token' ],
    [ 'http', 'registry_auth_bearer', '/token' ],
    [ 'http', 'registry_auth_bearer', 'ftp://localhost/token' ],
    [ 'http', 'registry_auth_bearer', '$host/token' ],
    [ 'http', 'registry_auth_bearer', 'https://$unknown_variable/token', 'unknown_variable' ],
    [ 'http', 'registry_auth_bearer', 'off service=registry', '"off"' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=', 'service=' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=""', 'service=""' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service="registry"', 'service="registry"' ],
    [ 'http', 'registry_auth_bearer', "https://a/token service='registry'", "service='registry'" ],
    [ 'http', 'registry_auth_bearer', 'https://a/token "service=a "', 'service=a ' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token "service= a"', 'service= a' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token "service=a\tb"', 'service=a' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=é', 'service=é' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token registry', 'registry' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token off', '"off"' ],
    [ 'http', 'registry_auth_bearer', 'service=registry https://a/token', 'service=registry' ],
    [ 'location', 'registry_auth_token', 'ttl=59s' ],
    [ 'location', 'registry_auth_token', 'ttl=59999ms' ],
    [ 'location', 'registry_auth_token', 'ttl=2d' ],
    [ 'location', 'registry_auth_token', 'ttl=86401s' ],
    [ 'location', 'registry_auth_token', 'ttl=x' ],
    [ 'location', 'registry_auth_token', 'ttl=' ],
    [ 'location', 'registry_auth_token', 'ttl=0' ],
    [ 'location', 'registry_auth_token', 'ttl=-60s' ],
    [ 'location', 'registry_auth_token', 'ttl=99999999999999999999' ],
    [ 'location', 'registry_auth_token', '60s' ],
    [ 'location', 'registry_auth_token', 'on' ],
    [ 'location', 'registry_auth_token', 'service=registry' ],
    [ 'http', 'registry_auth_token_key', '/nonexistent/keys' ],
    [ 'http', 'registry_auth_token_key', '/dev/null' ],
    [ 'http', 'registry_auth_token_key', '/tmp' ],
    [ 'http', 'registry_auth_token_key', '""', '' ],
    [ 'http', 'registry_auth_redis_password_file', '/dev/zero', 'it is larger than 64 KiB' ],
    [ 'http', 'registry_auth_store', 'relative/path', 'relative/path' ],
    [ 'server', 'registry_auth_store', 'on', '"on"' ],
    [ 'location', 'registry_auth_store', '""', 'absolute path' ],
    [ 'location', 'registry_auth_store', '/srv/$host', 'variables' ],
    [ 'location', 'registry_auth_store', '/srv backend=', 'backend=' ],
    [ 'location', 'registry_auth_store', '/srv backend=a', 'backend=a' ],
    [ 'location', 'registry_auth_store', '/srv backend=http://a:5000', 'backend=http://a:5000' ],
    [ 'location', 'registry_auth_store', '/srv backend=a:0', 'backend=a:0' ],
    [ 'location', 'registry_auth_store', '/srv layout=zot', 'layout=zot' ],
    [ 'location', 'registry_auth_store', '/srv layout=oci layout=oci', 'twice' ],
    [ 'location', 'registry_auth_store', '/srv backends=a:1', 'unknown parameter "backends="' ],
    [ 'location', 'registry_auth_store', '/srv /srw', '/srw' ],
    [ 'location', 'registry_auth_store', 'off layout=oci', '"off"' ],
    [ 'upstream', 'registry_auth_backends', 'allow=' ],
    [ 'upstream', 'registry_auth_backends', 'allow=everywhere' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0.0/33' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0/8' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0.0/8:99999' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0.0/8:0' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0.0/8:http' ],
    [ 'upstream', 'registry_auth_backends', 'allow=::1/129' ],
    [ 'upstream', 'registry_auth_backends', 'allow=unix:/tmp/s' ],
    [ 'upstream', 'registry_auth_backends', 'allow=localhost' ],
    [ 'upstream', 'registry_auth_backends', 'deny=10.0.0.0/8' ],
    [ 'upstream', 'registry_auth_backends', '10.0.0.0/8' ],
    [ 'upstream', 'registry_auth_backends', 'allow=10.0.0.0/8 allow=nowhere', 'allow=nowhere' ],
    [ 'location', 'registry_auth', '""', '' ],
    [ 'location', 'registry_auth', '"  "' , '"  "' ],
    # What other directives take for yes and no is no realm.
    map( { [ 'location', 'registry_auth', $_, qq{"$_"} ]
        } qw(on On ON Off OFF yes no true false enabled disabled) ),
    [ 'location', 'registry_auth', '"$unknown_variable"', 'unknown_variable' ],
);
# A name that is misspelt is called so, and not its value.
push @WRONG, map { [ 'http', $_->[0], $_->[1], qq{unknown parameter "$_->[2]=", } ] } (
    [ 'registry_auth_failures', '5 60s addresses=4', 'addresses' ],
    [ 'registry_auth_cache', 'zone=auth:1m tll=5s', 'tll' ],
    [ 'registry_auth_hashing', 'thread=4', 'thread' ],
    [ 'registry_auth_redis', 'redis://127.0.0.1 time_out=1s', 'time_out' ],
    [ 'registry_auth_redis', 'timeuot=1s redis://127.0.0.1', 'timeuot' ],
    [ 'registry_auth_bearer', 'https://a/token services=a', 'services' ],
);
push @WRONG, [ 'upstream', 'registry_auth_backends', 'blance=turn', 'unknown parameter "blance=", ' ];
for my $row (@WRONG) {
    my ($context, $directive, $value, $quoted) = @$row;
    $quoted = $value unless defined $quoted;
    $spec .= refused('wrong value', $context, "$directive $value;",
        $quoted eq 'unknown_variable' ? () : $directive, length $quoted ? $quoted : ());
}

# How many arguments.
my @COUNT = (
    [ 'location', 'registry_auth' ],           [ 'location', 'registry_auth', 'a b' ],
    [ 'http', 'registry_auth_redis' ],         [ 'http', 'registry_auth_redis_user' ],
    [ 'http', 'registry_auth_redis_user', 'a b' ], [ 'http', 'registry_auth_redis_password_file' ],
    ( map { [ 'http', "registry_auth_redis_$_" ], [ 'http', "registry_auth_redis_$_", 'a b' ] }
            qw(trusted_certificate certificate certificate_key ssl_name sentinel_user
            sentinel_password_file) ),
    [ 'http', 'registry_auth_store' ],
    [ 'http', 'registry_auth_prefix' ],        [ 'http', 'registry_auth_prefix', 'a b' ],
    [ 'http', 'registry_auth_salt' ],          [ 'http', 'registry_auth_salt', 'a b' ],
    [ 'http', 'registry_auth_own_namespace' ], [ 'http', 'registry_auth_own_namespace', 'on off' ],
    [ 'http', 'registry_auth_v1_images' ],     [ 'http', 'registry_auth_v1_images', 'on off' ],
    [ 'http', 'registry_auth_v1_endpoint' ],   [ 'http', 'registry_auth_v1_endpoint', 'a b' ],
    [ 'http', 'registry_auth_catalog' ],       [ 'http', 'registry_auth_catalog', 'filter off' ],
    [ 'http', 'registry_auth_v1_search' ],     [ 'http', 'registry_auth_v1_search', 'filter off' ],
    [ 'http', 'registry_auth_hashing' ],
    [ 'http', 'registry_auth_cache' ],
    [ 'http', 'registry_auth_cache', 'zone=auth:1m ttl=5s stale=5s off' ],
    [ 'http', 'registry_auth_failures' ],      [ 'http', 'registry_auth_failures', '5 60s address=50 60s' ],
    [ 'http', 'registry_auth_token_use' ],     [ 'http', 'registry_auth_token_use', 'on off' ],
    [ 'http', 'registry_auth_rehash' ],        [ 'http', 'registry_auth_rehash', 'on off' ],
    [ 'http', 'registry_auth_bearer' ],
    [ 'http', 'registry_auth_bearer', 'https://a/token service=a service=b' ],
    [ 'location', 'registry_auth_token', 'ttl=60s ttl=60s' ],
    [ 'http', 'registry_auth_token_key' ],     [ 'http', 'registry_auth_token_key', 'a b' ],
    [ 'location', 'registry_auth_status', 'usage all' ],
    [ 'http', 'registry_auth_usage' ],
);
for my $row (@COUNT) {
    my ($context, $directive, $arguments) = @$row;
    $spec .= refused('number of arguments', $context, join(' ', $directive, $arguments // ()) . ';',
        "invalid number of arguments in \"$directive\" directive");
}

# Where each directive may not stand.
my %EXAMPLE = (
    registry_auth                     => 'realm',
    registry_auth_redis               => 'redis://127.0.0.1',
    registry_auth_redis_user          => 'gate',
    registry_auth_redis_password_file => '/dev/null',
    registry_auth_redis_trusted_certificate => 'system',
    registry_auth_redis_certificate   => '/dev/null',
    registry_auth_redis_certificate_key => '/dev/null',
    registry_auth_redis_ssl_name      => 'redis.example',
    registry_auth_redis_sentinel_user => 'gate',
    registry_auth_redis_sentinel_password_file => '/dev/null',
    registry_auth_prefix              => 'p',
    registry_auth_salt                => 's',
    registry_auth_own_namespace       => 'on',
    registry_auth_v1_images           => 'on',
    registry_auth_v1_endpoint         => 'registry.example:443',
    registry_auth_catalog             => 'filter',
    registry_auth_v1_search           => 'filter',
    registry_auth_hashing             => 'threads=1',
    registry_auth_cache               => 'zone=auth:1m',
    registry_auth_failures            => '5 60s',
    registry_auth_token_use           => 'on',
    registry_auth_rehash              => 'on',
    registry_auth_bearer              => 'https://a/token',
    registry_auth_token               => '',
    registry_auth_token_key           => '/dev/null',
    registry_auth_status              => '',
    registry_auth_usage               => 'zone=usage:1m',
    registry_auth_store               => '/srv',
    registry_auth_backends            => '',
);
my %ALLOWED = (
    registry_auth                     => [qw(http server location limit_except)],
    registry_auth_redis               => ['http'],
    registry_auth_redis_user          => ['http'],
    registry_auth_redis_password_file => ['http'],
    registry_auth_redis_trusted_certificate => ['http'],
    registry_auth_redis_certificate   => ['http'],
    registry_auth_redis_certificate_key => ['http'],
    registry_auth_redis_ssl_name      => ['http'],
    registry_auth_redis_sentinel_user => ['http'],
    registry_auth_redis_sentinel_password_file => ['http'],
    registry_auth_prefix              => [qw(http server location)],
    registry_auth_salt                => [qw(http server location)],
    registry_auth_own_namespace       => [qw(http server location)],
    registry_auth_v1_images           => [qw(http server location)],
    registry_auth_v1_endpoint         => [qw(http server location)],
    registry_auth_catalog             => [qw(http server location)],
    registry_auth_v1_search           => [qw(http server location)],
    registry_auth_hashing             => ['http'],
    registry_auth_cache               => ['http'],
    registry_auth_failures            => [qw(http server location)],
    registry_auth_token_use           => ['http'],
    registry_auth_rehash              => ['http'],
    registry_auth_bearer              => [qw(http server location)],
    registry_auth_token               => [],                           # with what it needs: token_conf.t
    registry_auth_token_key           => ['http'],
    registry_auth_status              => [],                           # with a zone: below
    registry_auth_usage               => ['http'],
    registry_auth_store               => [qw(http server location)],
    registry_auth_backends            => ['upstream'],
);
for my $directive (sort keys %EXAMPLE) {
    my $line = $EXAMPLE{$directive} eq '' ? "$directive;" : "$directive $EXAMPLE{$directive};";
    for my $context (qw(main events http server location limit_except if upstream)) {
        next if grep { $_ eq $context } @{ $ALLOWED{$directive} };
        next if $directive =~ /^registry_auth_(?:status|token)$/ && $context eq 'location';
        $spec .= refused("not in $context", $context, $line, qq{"$directive" directive is not allowed here});
    }
    # Below, in redis_tls.t and in token_conf.t, with a file.
    next if $directive =~ /_file$|_key$|_redis_.*certificate|_ssl_name$|sentinel_user/;
    $spec .= accepted($_, $line) for $directive eq 'registry_auth_redis_user' ? ()
        : @{ $ALLOWED{$directive} };
    $spec .= refused('a duplicate', $ALLOWED{$directive}[0] // 'location', "$line $line", qq{"$directive"},
        $directive eq 'registry_auth_backends' ? () : 'duplicate');
}

# Every form that the reference names.
$spec .= accepted('http', $_) for (
    'registry_auth_redis redis://user:password@localhost:6380/15 timeout=1s connect_timeout=250ms;',
    'registry_auth_redis redis://localhost changes=auto;',
    'registry_auth_redis redis://localhost changes=tracking;',
    'registry_auth_redis redis://localhost changes=channel;',
    'registry_auth_redis redis://:password@[::1]:6380;',
    'registry_auth_redis redis://redis.example;',
    'registry_auth_redis "redis+unix:///run/redis.sock?db=3" timeout=2;',
    'registry_auth_redis redis+unix:///run/redis.sock;',
    'registry_auth_hashing threads=4 queue=16;',
    'registry_auth_hashing queue=16;',
    'registry_auth_store off;',
    'registry_auth_store /srv/a backend=a:5000 backend=[::1]:5000 layout=oci;',
    'registry_auth_store /srv/a backend=a:5000; registry_auth_store /srv/b layout=distribution;',
    'registry_auth_token_use off;',
    'registry_auth_rehash off;',
    'registry_auth_cache off;',
    'registry_auth_cache zone=auth:1m ttl=5s;',
    'registry_auth_cache zone=auth:1m stale=1h;',
    'registry_auth_cache stale=0s ttl=500ms zone=auth:10M;',
    'registry_auth_failures off;',
    'registry_auth_cache zone=auth:1m; registry_auth_failures 10 1m; registry_auth "Registry";',
    'registry_auth_salt "";',
    'registry_auth_salt "salt:";',
    'registry_auth_prefix "a:b c";',
);
$spec .= accepted('peers', $_) for (
    'registry_auth_backends;',
    'registry_auth_backends allow=10.0.0.0/8;',
    'registry_auth_backends allow=10.0.0.0/8:5000 allow=127.0.0.1/32 allow=[::1/128]:5000;',
    'registry_auth_backends allow=fd00::/8;',
    'registry_auth_backends allow=10.1.2.3:5000;',
    'registry_auth_backends; keepalive 8;',
    'registry_auth_backends; keepalive 8; server 127.0.0.1:1; server 127.0.0.1:2 backup;',
    'server 127.0.0.1:1; registry_auth_backends; zone u 64k;',
);
# No zone to count in, nor one that is another module's or of two sizes.
$spec .= refused('failed logins without a zone', 'http', $_, 'registry_auth_failures',
    'registry_auth_cache') for (
    'registry_auth "Registry"; registry_auth_failures 5 60s;',
    'registry_auth "Registry"; registry_auth_failures 5 60s; registry_auth_cache off;',
);
$spec .= refused('a status page without a zone', 'location', 'registry_auth_status;', 'registry_auth_status',
    'registry_auth_cache');
$spec .= refused('a zone of another module', 'http',
    'limit_req_zone $uri zone=auth:1m rate=1r/s; registry_auth_cache zone=auth:1m;', 'auth');
# Another balancer would silently take the users' backends away.
$spec .= refused('another load balancing method', 'peers', "registry_auth_backends; $_; server 127.0.0.1:1;",
    'registry_auth_backends')
    for qw(least_conn ip_hash random), 'hash $uri';
$spec .= accepted('location', $_) for (
    'registry_auth off;', 'registry_auth "Registry of $host";', 'registry_auth "say \"hi\"";',
    'registry_auth One;',
);

# Of a URL the part that is wrong is named, and no password is shown.
for (
    [ 'rediss+x://gate:hunter2@127.0.0.1:6379',     'the scheme' ],
    [ 'hunter2',                                    'not a URL' ],
    [ 'hunter2@127.0.0.1',                          'not a URL' ],
    [ 'gate:hunter2@127.0.0.1:6379',                'not a URL' ],
    [ 'redis://gate:hunter2@127.0.0.1:99999',       'the port' ],
    [ 'redis://gate:hunter2@127.0.0.1:0',           'the port' ],
    [ 'redis://gate:hunter2',                       'the port' ],
    [ 'redis://gate:hunter2/x@127.0.0.1:6379',      'the port', '%2F' ],
    [ 'redis://gate:hunter2@',                      'host' ],
    [ 'redis://gate:hunter2@:6379',                 'host' ],
    [ 'redis://gate:hunter2@a;b:6379',              'the host' ],
    [ 'redis://gate:hunter2@a,b,:6379',             'host' ],
    [ 'rediss+unix://gate:hunter2@/s',              'the scheme' ],
    [ 'redis+cluster://gate:hunter2@a,b/0',         'a Cluster has no databases' ],
    [ 'rediss+sentinel://gate:hunter2@a,b',         'names no master' ],
    [ 'redis+sentinel://gate:hunter2@a,b/m/x',      'the database' ],
    [ 'redis://gate:hunter2@[::1',                  'the host' ],
    [ 'redis://gate:hunter2@$redis:6379',           'variables' ],
    [ 'redis://gate:hunter2@127.0.0.1/db',          'the database' ],
    [ 'redis://gate:hunter2@127.0.0.1/0?timeout=1', 'parameter' ],
    [ 'redis://gate:hunter2@127.0.0.1/0#x',         'parameter' ],
    [ 'redis://gate:hunter2%ff@127.0.0.1/0',        'the user or the password is not UTF-8' ],
    [ 'redis://gate@127.0.0.1/0',                   'a Redis user needs a password' ],
    [ 'redis://ga%00te:hunter2@127.0.0.1/0',        'blanks or control characters' ],
    [ 'redis://ga%20te:hunter2@127.0.0.1/0',        'blanks or control characters' ],
) {
    my ($url, @said) = @$_;
    $spec .= spec_block("the part of a URL that is wrong: $url", no_redis => '', must_die => '', config => '',
        http_config => "    registry_auth_redis \"$url\";\n", error_log => [ '"registry_auth_redis"', @said ],
        no_error_log => ['hunter2']);
}
for (
    [ 'https://gate:hunter2@a/token', 'a user or a password' ],
    [ 'https://hunter2@a/token',      'a user or a password' ],
    [ 'ftp://a/token',                'it begins neither with https:// or http:// nor with a variable' ],
    [ 'https:///token',               'the host' ],
    [ 'https://a b/token',            'blanks' ],
    [ 'https://a,b/token',            'the host' ],
    [ 'https://[::1/token',           'the host' ],
    [ 'https://a:99999/token',        'the port' ],
    [ 'https://$host:99999/token',    'the port' ],
    [ 'https://a/token#x',            'fragment' ],
) {
    my ($url, $said) = @$_;
    $spec .= spec_block("the part of a token endpoint's URL that is wrong: $url", no_redis => '',
        must_die => '', config => '',
        http_config => "    registry_auth_bearer \"$url\";\n",
        error_log => [ '"registry_auth_bearer"', $said ], no_error_log => ['hunter2']);
}

# What may be meant gets a warning, with the file and line of the directive; what is meant gets none.
my $PROXY  = 'proxy_set_header Authorization "";';
my $PASSWORD = '$TEST_NGINX_SERVROOT/password';
my $BEARER = 'registry_auth_bearer http://localhost/token;';
my $TOKEN  = 'location = /token { registry_auth_token; }';
my $CACHE  = 'proxy_cache_valid 200 1h;';
my $KEPT   =
    "    proxy_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=c:1m;\n"
        . "    uwsgi_cache_path \$TEST_NGINX_SERVROOT/kept_too keys_zone=u:1m;\n";
my $KEEP = "$CACHE proxy_cache c; proxy_cache_key \"\$registry_auth_user \$request_uri\";";
sub warned {
    my ($title, $text, @said) = @_;
    my $http = $text =~ s/^http: (.*)\n//m ? $1 : '';
    return spec_block($title, no_redis => '', config_ok => '',
        http_config =>
            "    upstream registries { registry_auth_backends; }\n    registry_auth_cache zone=auth:1m;\n"
                . "    $KEPT    $http\n",
        config => "        $text\n",
        @said ? (error_log => [ map { qr/\[warn\] [^\n]*\Q$_\E[^\n]* in \S+nginx\.conf:\d+$/m } @said ])
            : (no_error_log => '[warn]'));
}
$spec .= warned(@$_) for (
    # nginx counts before anybody is known.
    [ 'a limit of requests by the user',
      'http: limit_req_zone $registry_auth_user zone=r:1m rate=1r/s;' . "\n",
      '"limit_req_zone" counts before "registry_auth" knows the user: "$registry_auth_user" is empty then, '
          . 'and nobody is limited' ],
    [ 'a limit of connections by the repository',
      'http: limit_conn_zone ${registry_auth_repository} zone=r:1m;' . "\n",
      '"limit_conn_zone" counts before "registry_auth"' ],
    [ 'a limit by the address and the user',
      'http: limit_req_zone $remote_addr$registry_auth_user zone=r:1m rate=1r/s;' . "\n",
      '"$registry_auth_user" is empty then' ],
    [ 'limits by the address',
      'http: limit_req_zone $binary_remote_addr zone=r:1m rate=1r/s; limit_conn_zone $remote_user zone=c2:1m;'
      . "\n" ],
    [ 'a salt with a variable',                  'registry_auth_salt a$host;',
      '"registry_auth_salt" is taken as it is written' ],
    [ 'a salt that turns nothing off',           'registry_auth_salt off;',
      '"registry_auth_salt" is taken as it is written' ],
    [ 'a salt',                                  'registry_auth_salt "a$1$";' ],
    [ 'a prefix with a colon',                   'registry_auth_prefix docker-registry:;',
      '"registry_auth_prefix" ends with a colon' ],
    [ 'a prefix',                                'registry_auth_prefix "{docker-registry}";' ],
    [ 'a network with more than a network',
      "http: upstream u { registry_auth_backends allow=10.1.2.3/8; }\n", '"10.1.2.3/8" means 10.0.0.0/8' ],
    [ 'networks',
      "http: upstream u { registry_auth_backends allow=10.0.0.0/8 allow=10.1.2.3 allow=[fd00::/8]:1; }\n" ],
    [ 'passwords in the clear',                  'registry_auth_bearer http://registry.example/token;',
      'passwords to http://registry.example/ in the clear' ],
    [ 'passwords in the clear on this machine',  'registry_auth_bearer http://127.0.0.1:5000/token;' ],
    # proxy_pass with a URI.
    [ 'a slash behind the upstream',
      "location / { registry_auth R; $PROXY proxy_pass http://registries/; }", '"proxy_pass" with a URI' ],
    [ 'a path behind the upstream',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://registries/v2/; }",
      '"proxy_pass" with a URI' ],
    [ 'the decoded path',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://registries\$uri; }",
      '"proxy_pass" with a URI' ],
    [ 'a socket and a path',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://unix:/run/s:/v2/; }",
      '"proxy_pass" with a URI' ],
    [ 'a path, and the gate in limit_except',
      "$PROXY location /v2/ { limit_except GET { registry_auth R; } proxy_pass http://registries/v2/; }",
      '"proxy_pass" with a URI' ],
    [ 'no URI',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://registries; "
          . "if (\$arg_a) { proxy_pass http://registries; } }" ],
    [ 'a socket',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://unix:/run/s; }" ],
    [ 'variables that choose the registry',
      "registry_auth R; $PROXY location /v2/ { set \$to registries; proxy_pass http://\$to; }" ],
    [ 'what the client wrote',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://registries\$request_uri; }" ],
    [ 'a URI where there is no gate',
      "location / { proxy_pass http://127.0.0.1:1/; } location /a/ { registry_auth off; "
          . "proxy_pass http://registries/; }" ],
    # A gate that was forgotten.
    [ 'users\' registries without a gate',       'location / { proxy_pass http://registries; }',
      '"proxy_pass" leads to "registry_auth_backends" without "registry_auth": everybody gets in' ],
    [ 'a gate for a part',
      "location /v2/ { registry_auth R; $PROXY proxy_pass http://registries; } "
          . "location /v1/ { proxy_pass http://registries; }", 'without "registry_auth"' ],
    [ 'a fixed registry by a second way, without a gate',
      "location /v2/ { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location ~ /manifests/ { proxy_pass http://127.0.0.1:1; }",
      '"proxy_pass" leads to the registry of a location with "registry_auth" (',
      'without it: everybody gets in (say "registry_auth off" where that is meant)' ],
    [ 'a second way without a gate, as is said',
      "location /v2/ { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location /ui/ { registry_auth off; proxy_pass http://127.0.0.1:1; } "
          . "location /b/ { internal; proxy_pass http://127.0.0.1:1; } "
          . "location /c/ { proxy_pass http://127.0.0.1:2; }" ],
    [ 'error_page leads who is refused to the registry, by a name',
      "location /v2/ { registry_auth R; error_page 401 403 = \@x; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location \@x { proxy_pass http://127.0.0.1:1; }",
      '"error_page" leads those whom "registry_auth" refuses here, where "proxy_pass" leads to a registry' ],
    [ 'error_page of the server leads them to users\' registries, by a path',
      "error_page 403 /x; location /v2/ { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location = /x { internal; proxy_pass http://registries; }",
      '"error_page" leads those whom "registry_auth" refuses here, where "proxy_pass" leads to a registry' ],
    [ 'error_page to a gate, to a page, to another server, of another status, or as is said',
      "location /v2/ { registry_auth R; error_page 401 /page; error_page 403 \@gate; error_page 404 \@x; "
          . "$PROXY proxy_pass http://127.0.0.1:1; } "
          . "location \@gate { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location \@x { proxy_pass http://127.0.0.1:1; } location = /page { root /none; } "
          . "location /v1/ { registry_auth R; error_page 401 \@said; error_page 403 \@other; "
          . "$PROXY proxy_pass http://127.0.0.1:1; } "
          . "location \@said { registry_auth off; proxy_pass http://127.0.0.1:1; } "
          . "location \@other { proxy_pass http://127.0.0.1:2; }" ],
    [ 'limit_except that turns the gate off',
      "location /v2/ { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; "
          . "limit_except GET { registry_auth off; } }",
      '"registry_auth off" in "limit_except" is for all methods but those that it names' ],
    [ 'limit_except that turns it off where there is none',
      "location / { proxy_pass http://127.0.0.1:1; limit_except GET { registry_auth off; } }" ],
    # A subrequest is asked for no password.
    [ 'auth_request into a gate',
      "location /v2/ { registry_auth R; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location /ui/ { auth_request /v2/; root /none; }",
      '"auth_request" leads to a location with "registry_auth", which asks no subrequest for a password' ],
    [ 'auth_request within a gate, and to no gate',
      "registry_auth R; location /v2/ { auth_request /check; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location = /check { internal; $PROXY proxy_pass http://127.0.0.1:1; } "
          . "location /ui/ { registry_auth off; auth_request /login; root /none; } "
          . "location /login { registry_auth off; root /none; }" ],
    [ 'no gate, as is said',
      'registry_auth off; location / { proxy_pass http://registries; }' ],
    [ 'no gate for a registry of everybody',     'location / { proxy_pass http://127.0.0.1:1; }' ],
    [ 'no gate where no client gets to',
      'location = /sub { internal; proxy_pass http://registries; }' ],
    # The password goes on.
    [ 'no header is taken out',
      'location / { registry_auth R; proxy_pass http://registries; }', '"proxy_pass" sends the password on' ],
    [ 'a header of its own cancels those around',
      "$PROXY location / { registry_auth R; proxy_set_header X-A b; proxy_pass http://registries; }",
      '"proxy_pass" sends the password on' ],
    [ 'the gate in limit_except',
      "location / { limit_except GET { registry_auth R; } proxy_pass http://registries; }",
      '"proxy_pass" sends the password on' ],
    [ 'what forwards stands in a block alone',
      'registry_auth R; location / { if ($arg_a) { proxy_pass http://127.0.0.1:1; } }',
      '"proxy_pass" sends the password on' ],
    [ 'what forwards stands in limit_except alone',
      'registry_auth R; location / { limit_except GET { proxy_pass http://127.0.0.1:1; } }',
      '"proxy_pass" sends the password on' ],
    [ 'a parameter with another path for a block alone',
      'registry_auth R; location / { uwsgi_param HTTP_AUTHORIZATION ""; uwsgi_param PATH_INFO /v2/alice/x; '
          . 'if ($arg_a) { uwsgi_pass 127.0.0.1:1; } }',
      '"uwsgi_param" with "PATH_INFO" sends another path on' ],
    [ 'the header is taken out',
      "location / { registry_auth R; proxy_set_header X-A b; proxy_set_header authorization ''; "
          . "proxy_pass http://registries; }" ],
    [ 'the header goes on, as is said',
      'location / { registry_auth R; proxy_set_header Authorization $http_authorization; '
          . 'proxy_pass http://registries; }' ],
    [ 'a location that no client reaches',
      'registry_auth R; location = /check { internal; proxy_method HEAD; '
          . 'proxy_pass http://127.0.0.1:1/check; proxy_set_header Authorization a; }',
      '"proxy_pass" with a URI' ],
    # Whatever forwards the request sends its headers along.
    [ 'uwsgi sends the password',                'registry_auth R; location / { uwsgi_pass registries; }',
      '"uwsgi_pass" sends the password on', q{'uwsgi_param HTTP_AUTHORIZATION "";'} ],
    [ 'FastCGI sends the password',
      'registry_auth R; location / { fastcgi_pass 127.0.0.1:1; fastcgi_param A b; }',
      '"fastcgi_pass" sends the password on', q{'fastcgi_param HTTP_AUTHORIZATION "";'} ],
    [ 'SCGI sends the password',
      'registry_auth R; scgi_param HTTP_AUTHORIZATION ""; location / { scgi_pass 127.0.0.1:1; '
          . 'scgi_param A b; }', '"scgi_pass" sends the password on',
      q{'scgi_param HTTP_AUTHORIZATION "";'} ],
    [ 'gRPC sends the password',
      "registry_auth R; $PROXY location / { grpc_pass 127.0.0.1:1; }", '"grpc_pass" sends the password on',
      q{'grpc_set_header Authorization "";'} ],
    [ 'another parameter keeps no password',
      'registry_auth R; location / { uwsgi_param AUTHORIZATION ""; uwsgi_pass 127.0.0.1:1; }',
      '"uwsgi_pass" sends the password on' ],
    [ "uwsgi, and proxy_pass's header",
      "registry_auth R; $PROXY location / { uwsgi_pass 127.0.0.1:1; }",
      '"uwsgi_pass" sends the password on' ],
    [ 'each of them with the header kept here',
      q{registry_auth R; location /u/ { uwsgi_param HTTP_AUTHORIZATION ""; uwsgi_pass 127.0.0.1:1; } }
        . q{location /f/ { fastcgi_param HTTP_AUTHORIZATION ""; fastcgi_pass 127.0.0.1:1; } }
        . q{location /s/ { scgi_param HTTP_AUTHORIZATION "" if_not_empty; scgi_pass 127.0.0.1:1; } }
        . q{location /g/ { grpc_set_header authorization ""; grpc_pass 127.0.0.1:1; }} ],
    [ 'no header goes on at all',
      q{registry_auth R; location / { proxy_pass_request_headers off; proxy_pass http://registries; } }
        . q{location /u/ { uwsgi_pass_request_headers off; uwsgi_pass 127.0.0.1:1; }} ],
    [ 'a parameter with another path',
      'registry_auth R; location / { uwsgi_param HTTP_AUTHORIZATION ""; uwsgi_param PATH_INFO /v2/alice/x; '
          . 'uwsgi_pass 127.0.0.1:1; }', '"uwsgi_param" with "PATH_INFO" sends another path on' ],
    [ 'a parameter with another query',
      'registry_auth R; location / { fastcgi_param HTTP_AUTHORIZATION ""; fastcgi_param QUERY_STRING a=b; '
          . 'fastcgi_pass 127.0.0.1:1; }', '"fastcgi_param" with "QUERY_STRING" sends another path on' ],
    [ 'the parameters of nginx',
      'registry_auth R; location / { uwsgi_param HTTP_AUTHORIZATION ""; '
          . 'uwsgi_param QUERY_STRING $query_string; uwsgi_param REQUEST_METHOD $request_method; '
        . 'uwsgi_param REQUEST_URI $request_uri; uwsgi_param PATH_INFO ${document_uri}; '
        . 'uwsgi_param DOCUMENT_ROOT $document_root; uwsgi_pass 127.0.0.1:1; }' ],
    # A path that was rewritten, and the one that the client wrote.
    [ 'rewrite, and the path as it was',
      "registry_auth R; $PROXY location / { rewrite ^/x(/v2/.*)\$ \$1 break; "
          . "proxy_pass http://registries\$request_uri; }",
      '"$request_uri" in "proxy_pass" is not the path that "rewrite"' ],
    [ 'rewrite of the server',
      "rewrite ^/x(/v2/.*)\$ \$1; registry_auth R; $PROXY location / { proxy_pass "
          . "http://registries\${request_uri}; }",
      '"$request_uri" in "proxy_pass" is not the path that "rewrite"' ],
    [ 'rewrite in an if',
      "registry_auth R; $PROXY location / { if (\$arg_a) { rewrite ^ /v2/ break; } "
          . "proxy_pass http://registries\$request_uri; }",
      '"$request_uri" in "proxy_pass" is not the path that "rewrite"' ],
    [ 'rewrite, and what it makes',
      "registry_auth R; $PROXY rewrite ^/x(/v2/.*)\$ \$1; location / { rewrite ^/y(/v2/.*)\$ \$1 break; "
          . "proxy_pass http://registries; } location /a/ { location /a/b/ { proxy_pass http://registries; "
          . "} }" ],
    [ 'rewrite beside another location',
      "registry_auth R; $PROXY location / { rewrite ^ /v2/ last; "
          . "location /a/ { proxy_pass http://registries\$request_uri; } } "
          . "location /v2/ { proxy_pass http://registries\$request_uri; }" ],
    [ 'rewrite, and parameters with the path as it was',
      'registry_auth R; location / { rewrite ^/x(/v2/.*)$ $1 break; uwsgi_param HTTP_AUTHORIZATION ""; '
          . 'uwsgi_param REQUEST_URI $request_uri; uwsgi_pass registries; }',
      '"$request_uri" in "uwsgi_param" is not the path that "rewrite"' ],
    # What is kept for others, by a key that does not tell users apart.
    [ 'a cache, and variables that choose the registry',
      "registry_auth R; $PROXY $CACHE location /v2/ { proxy_pass http://\$arg_to; proxy_cache c; }",
      '"proxy_cache" keeps for everybody', '"proxy_cache_key"' ],
    [ 'files, and variables that choose the registry',
      "registry_auth R; $PROXY location /v2/ { proxy_pass http://\$arg_to; proxy_store on; }",
      '"proxy_store" keeps for everybody' ],
    [ 'a cache, and a key with the user',
      "registry_auth R; $PROXY $CACHE proxy_cache c; location /v2/ { proxy_pass http://registries; "
          . "proxy_cache_key \$registry_auth_user\$request_uri; } "
        . 'location /v1/ { proxy_pass http://$arg_to; proxy_cache_key "$scheme://$host ${registry_auth_user} '
        . '$uri$args"; } location /a/ { proxy_store /x/$registry_auth_user$uri; '
        . 'proxy_pass http://registries; }' ],
    [ 'a cache before one registry',
      "registry_auth R; $PROXY $CACHE proxy_cache c; location /v2/ { proxy_pass http://127.0.0.1:1; } "
          . "location /v1/ { proxy_cache off; proxy_store off; proxy_pass http://registries; }" ],
    [ 'a cache where there is no gate',
      "registry_auth off; $CACHE location /v2/ { proxy_cache c; proxy_pass http://registries; }" ],
    [ 'a cache, and a key that names the content',
        "registry_auth R; $PROXY $CACHE proxy_cache c; proxy_cache_key \$registry_auth_blob; "
            . 'location /v2/ { proxy_pass http://registries; }' ],
    # Folders that are no registry's.
    [ 'a folder that is not there', 'registry_auth_store /nowhere;',
        '"registry_auth_store": "/nowhere/docker/registry/v2" cannot be opened', 'asked of the registry' ],
    [ 'a folder of something else', 'registry_auth_store /tmp;',
        '"registry_auth_store": "/tmp/docker/registry/v2" cannot be opened' ],
    [ 'a file in its place', 'registry_auth_store /etc/passwd layout=oci;',
        '"registry_auth_store": "/etc/passwd/" cannot be opened' ],
    [ 'a folder of layouts',                     'registry_auth_store /tmp layout=oci;' ],
    [ 'a folder without backend= that is used nowhere',
        "registry_auth R; $PROXY registry_auth_store /tmp layout=oci; "
            . 'location / { proxy_pass http://registries; }',
        '"registry_auth_store" is used in no location', 'is named by "backend=host:port"' ],
    [ 'a folder with backend= that is used nowhere',
        "registry_auth R; $PROXY registry_auth_store /tmp backend=a:1 layout=oci; "
            . 'location / { proxy_pass http://127.0.0.1:1; }',
        '"registry_auth_store" is used in no location', 'leads to "registry_auth_backends"' ],
    [ 'a folder that each server replaces',
        "http: registry_auth_store /tmp backend=a:1 layout=oci;\nregistry_auth R; $PROXY "
            . 'registry_auth_store /tmp layout=oci; location / { proxy_pass http://127.0.0.1:1; }',
        '"registry_auth_store" is used in no location' ],
    [ 'inherited where it has no meaning',
        "registry_auth R; $PROXY registry_auth_store /tmp layout=oci; "
            . 'location / { proxy_pass http://registries; } location /a { proxy_pass http://127.0.0.1:1; }' ],
    # What answers before the gate.
    [ 'return before the gate',                  'location /v2/ { registry_auth R; return 200 "x"; }',
      '"return" answers before "registry_auth"' ],
    [ 'return where the gate is around',
      'registry_auth R; location / { return 404; } location /a { if ($arg_a) { return 204; } }' ],
    [ 'return for some',
      "location /v2/ { registry_auth R; $PROXY if (\$arg_a) { return 403; } "
          . "proxy_pass http://registries; }" ],
    # The token endpoint.
    [ 'no location has the path',                "registry_auth R; $BEARER location / { return 404; }",
      '"registry_auth_bearer" sends clients to localhost/token, and no location' ],
    [ 'another location has the path',
      "registry_auth R; $BEARER location = /auth { registry_auth_token; }",
      '"registry_auth_bearer" sends clients to localhost/token, and no location' ],
    [ 'a path below that of an exact location',
      "registry_auth R; registry_auth_bearer http://localhost/token/; $TOKEN",
      'sends clients to localhost/token/, and no location' ],
    [ 'no path',
      "registry_auth R; registry_auth_bearer http://localhost; $TOKEN",
      'sends clients to localhost, and no location' ],
    [ 'this server, whatever its name',
      "registry_auth R; registry_auth_bearer \$scheme://\$http_host/tokens; $TOKEN",
      'sends clients to $http_host/tokens, and no location' ],
    [ 'this server, as the shipped files name it',
      "http: map '' \$registry_host { default \$http_host; }\n"
          . "registry_auth R; registry_auth_bearer \$scheme://\$registry_host/tokens; $TOKEN",
      'sends clients to $registry_host/tokens, and no location' ],
    [ 'a variable that holds all',               "registry_auth R; registry_auth_bearer \$arg_url; $TOKEN" ],
    [ 'another name of this server',
      "server_name *.example.com; registry_auth R; registry_auth_bearer https://a.example.com/tokens; $TOKEN",
      'sends clients to a.example.com/tokens, and no location' ],
    [ 'another service',
      "registry_auth R; $BEARER location = /token { registry_auth_bearer http://localhost/token "
          . "service=other; registry_auth_token; }", 'for another service or prefix' ],
    [ 'another prefix',
      "registry_auth R; $BEARER location = /token { registry_auth_prefix other; registry_auth_token; }",
      'for another service or prefix' ],
    [ 'an endpoint below /v2/',
      "registry_auth R; registry_auth_bearer http://localhost/v2/token; "
          . "location = /v2/token { registry_auth_token; }",
      '"registry_auth_token" takes a path from the registry' ],
    [ 'the exact location',                      "registry_auth R; $BEARER $TOKEN" ],
    [ 'a prefix of the path',
      "registry_auth R; registry_auth_bearer http://localhost:5000/token/x?a=b; "
          . "location /token { registry_auth_token; }" ],
    [ 'an expression',
      "registry_auth R; $BEARER location ~ ^/tok { registry_auth_token; }" ],
    [ 'a name, to which a path is redirected',
      "registry_auth R; $BEARER location = /token { try_files /none \@token; } "
          . "location \@token { registry_auth_token; }" ],
    [ 'in a location of a location',
      "registry_auth R; $BEARER location /t { location = /token { registry_auth_token; } }" ],
    [ 'this server, whatever its name, with it',
      "registry_auth R; registry_auth_bearer \$scheme://\$http_host/token; $TOKEN" ],
    [ 'on another server',
      "registry_auth R; registry_auth_bearer https://auth.example.com/token;" ],
    [ 'at a path that a variable names',
      "registry_auth R; registry_auth_bearer https://localhost\$arg_a/token;" ],
    [ 'in another server of this name',
      "http: server { listen 127.0.0.1:1; server_name localhost; registry_auth R; $BEARER $TOKEN }\n"
          . "registry_auth R; $BEARER" ],
);
# A method that was not decided about opens the gate.
for (
    "registry_auth R; $PROXY location / { proxy_method DELETE; proxy_pass http://registries; }",
    "registry_auth R; $PROXY proxy_method GET; location / { proxy_pass http://registries; }",
    "$PROXY location / { limit_except GET { registry_auth R; } proxy_method DELETE; "
        . "proxy_pass http://registries; }",
    "registry_auth R; $PROXY proxy_method \$arg_method; location / { proxy_pass http://registries; }",
) {
    $spec .= spec_block("another method: $_", no_redis => '', must_die => '',
        http_config => "    upstream registries { registry_auth_backends; }\n",
        config => "        $_\n", error_log => [ '"proxy_method"', '"registry_auth"', '"proxy_pass"' ]);
}
for (
    [ 'uwsgi_param REQUEST_METHOD GET; uwsgi_pass 127.0.0.1:1;',          '"uwsgi_param"',   '"uwsgi_pass"' ],
    [ 'fastcgi_param REQUEST_METHOD $arg_m; fastcgi_pass 127.0.0.1:1;',   '"fastcgi_param"',
      '"fastcgi_pass"' ],
    [ 'scgi_param REQUEST_METHOD HEAD if_not_empty; scgi_pass 127.0.0.1:1;', '"scgi_param"',
      '"scgi_pass"' ],
) {
    my ($text, @said) = @$_;
    $spec .= spec_block("another method: $text", no_redis => '', must_die => '', http_config => '',
        config => "        registry_auth R; location / { $text }\n",
        error_log => [ 'another method', '"registry_auth"', @said ]);
}
# Nor does a user's registry get another path than the one that was decided about.
for (
    [ 'uwsgi_param PATH_INFO /v2/alice/x; uwsgi_pass registries;',
      '"uwsgi_param" with "PATH_INFO" and "/v2/alice/x"' ],
    [ 'fastcgi_param REQUEST_URI $arg_a; fastcgi_pass registries;',
      '"fastcgi_param" with "REQUEST_URI" and "$arg_a"' ],
    [ 'fastcgi_split_path_info ^(.*)(/v2/.*)$; fastcgi_param PATH_INFO $fastcgi_path_info; '
        . 'fastcgi_pass registries;', '"fastcgi_param" with "PATH_INFO" and "$fastcgi_path_info"' ],
    [ 'scgi_param DOCUMENT_URI /x$document_uri; scgi_pass registries;',
      '"scgi_param" with "DOCUMENT_URI" and "/x$document_uri"' ],
    [ 'uwsgi_param QUERY_STRING $query_string&a=b if_not_empty; uwsgi_pass $arg_a;',
      '"uwsgi_param" with "QUERY_STRING" and "$query_string&a=b"' ],
) {
    my ($text, $said) = @$_;
    $spec .= spec_block("another path: $text", no_redis => '', must_die => '',
        http_config => "    upstream registries { registry_auth_backends; }\n",
        config => "        registry_auth R; location / { $text }\n",
        error_log => [ $said, '"registry_auth_backends"', 'another path' ]);
}
# A folder that no request of the location may be sent from, as none goes to its registry; and two for one.
for (
    [ 'registry_auth_store /tmp layout=oci; proxy_pass http://registries;',
        'without "backend="', '"server"' ],
    [ 'registry_auth_store /tmp layout=oci; proxy_pass http://$arg_to;', '"proxy_pass" has variables' ],
    [ 'registry_auth_store /tmp layout=oci; proxy_pass http://127.0.0.1:1/v2/a/;', 'a URI' ],
    [ 'registry_auth_store /tmp layout=oci; uwsgi_param HTTP_AUTHORIZATION ""; uwsgi_pass 127.0.0.1:1;',
        '"uwsgi_pass"' ],
    [ 'registry_auth_store /tmp layout=oci backend=a:1; proxy_pass http://127.0.0.1:1;',
        'with "backend="', 'no "registry_auth_backends"' ],
    [ 'registry_auth_store /a layout=oci backend=a:1; registry_auth_store /b backend=b:1 backend=A:1; '
            . 'proxy_pass http://registries;', 'duplicate', 'to "a:1"' ],
    [ 'registry_auth_store /a layout=oci; registry_auth_store off; proxy_pass http://127.0.0.1:1;',
        'duplicate' ],
    [ 'registry_auth_store off; registry_auth_store /a layout=oci; proxy_pass http://127.0.0.1:1;',
        'off here already' ],
) {
    my ($text, @said) = @$_;
    $spec .= spec_block("a folder that is used for none: $text", no_redis => '', must_die => '',
        http_config => "    upstream registries { registry_auth_backends; }\n",
        config => "        registry_auth R; location / { $text }\n",
        error_log => [ qr/\[emerg\] .*"registry_auth_store".* in \S+nginx\.conf:\d+$/m, @said ]);
}
$spec .= spec_block("a folder of two registries: $_", no_redis => '', must_die => '',
    config => "        registry_auth R; registry_auth_store /tmp layout=oci; location / {
        proxy_pass http://127.0.0.1:1; $_\n",
    error_log => [
        qr/\[emerg\] "registry_auth_store" without "backend=" .* two registries.* in \S+nginx\.conf:\d+$/m,
        'say it in each location' ])
    for '} location /v2/a/ { proxy_pass http://127.0.0.1:2; }',
    'if ($arg_a) { proxy_pass http://127.0.0.1:2; } }';
$spec .= spec_block('a folder of one registry in several locations, and of two where each says so',
    no_redis => '', config_ok => '',
    config => "        registry_auth R; registry_auth_store /tmp layout=oci;
        proxy_set_header Authorization ''; location / { proxy_pass http://127.0.0.1:1; }
        location /v1/ { proxy_pass https://127.0.0.1:1; }
        location /v2/a/ { registry_auth_store /tmp layout=oci; proxy_pass http://127.0.0.1:2; }\n");
# What one user's registry has said is nothing for another user.
for (
    [ 'proxy_cache c; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; proxy_pass http://registries$request_uri;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; proxy_cache_key $host$request_uri; proxy_pass https://Registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; proxy_cache_key $remote_user$request_uri; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    # Not set apart from what clients choose: "/a" of "lice" is "/alice" of nobody.
    [ 'proxy_cache c; proxy_cache_key $request_uri$registry_auth_user; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; proxy_cache_key $registry_auth_user$args; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache $arg_c; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; if ($arg_a) { proxy_pass http://registries; } proxy_pass http://127.0.0.1:1;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'proxy_cache c; limit_except GET { registry_auth R; } registry_auth off; proxy_pass http://registries;',
      '"proxy_cache"', '"proxy_cache_key"' ],
    [ 'uwsgi_cache u; uwsgi_cache_key $request_uri; uwsgi_pass registries;',
      '"uwsgi_cache"', '"uwsgi_cache_key"' ],
    [ 'uwsgi_cache u; uwsgi_cache_key $request_uri; proxy_cache_key $registry_auth_user/; '
        . 'uwsgi_pass uwsgi://registries;', '"uwsgi_cache"', '"uwsgi_cache_key"' ],
    [ 'fastcgi_cache u; fastcgi_pass registries;',
      '"fastcgi_cache"', '"fastcgi_cache_key"' ],
    [ 'scgi_cache u; scgi_cache_key a; scgi_pass registries;',
      '"scgi_cache"', '"scgi_cache_key"' ],
    [ 'proxy_store on; proxy_pass http://registries;',
      '"proxy_store"' ],
    [ 'proxy_store /data$uri; proxy_pass http://registries;',
      '"proxy_store"' ],
    [ 'uwsgi_store on; uwsgi_pass registries;',
      '"uwsgi_store"' ],
) {
    my ($text, @said) = @$_;
    my $kept = $text =~ /(fastcgi|\bscgi)_cache u/
        ? "    ${1}_cache_path \$TEST_NGINX_SERVROOT/kept keys_zone=u:1m;\n" : $KEPT;
    $spec .= spec_block("what is kept for everybody: $text", no_redis => '', must_die => '',
        http_config => "    upstream registries { registry_auth_backends; }\n$kept",
        config => "        registry_auth R; location / { $text }\n",
        error_log => [ qr/\[emerg\] .*$said[0] keeps for everybody.* in \S+nginx\.conf:\d+$/m, @said ]);
}

# A cache of two servers by a key with the user: that of another server may be somebody else.
my $OTHER = 'registry_auth_prefix other;';
for (
    [ 'other accounts', "$OTHER proxy_pass http://registries;", 'proxy_pass http://registries;',
        $KEEP,
        qr/\[emerg\] [^\n]*"proxy_cache" keeps .* "docker-registry", .* "other" \(.*"\$server_name "/ ],
    [ 'other accounts, and one of the registries is nginx.conf\'s',
        "$OTHER proxy_pass http://127.0.0.1:1;", 'proxy_pass http://registries;', $KEEP, qr/\[emerg\] / ],
    [ 'other accounts, and files', "$OTHER proxy_pass http://registries;", 'proxy_pass http://registries;',
        'proxy_store /x/$registry_auth_user$uri;', qr/\[emerg\] [^\n]*"proxy_store" keeps/ ],
    [ 'other accounts with one registry', "$OTHER proxy_pass http://127.0.0.1:1;",
        'proxy_pass http://127.0.0.1:1;', $KEEP ],
    [ 'other accounts, told apart', "$OTHER proxy_pass http://registries;",
        'proxy_pass http://registries;', $KEEP =~ s/"/"\$server_name /r ],
    [ 'other accounts, told apart by what a client chooses', "$OTHER proxy_pass http://registries;",
        'proxy_pass http://registries;', $KEEP =~ s/"/"\$host /r, qr/\[emerg\] / ],
    [ 'other accounts, told apart by what two servers may have in common',
        "$OTHER proxy_pass http://registries;", 'proxy_pass http://registries;',
        $KEEP =~ s/"/"\$server_addr:\$server_port /r, qr/\[emerg\] / ],
    [ 'other accounts of servers with one name', "$OTHER proxy_pass http://registries;",
        'proxy_pass http://registries;', $KEEP =~ s/"/"\$server_name /r, qr/\[emerg\] [^\n]*two caches/,
        'localhost' ],
    [ 'the same accounts', 'proxy_pass http://registries;', 'proxy_pass http://registries;', $KEEP ],
    [ 'another registry', 'proxy_pass http://127.0.0.1:1;', 'proxy_pass http://registries;', $KEEP,
        qr/\[warn\] [^\n]*"proxy_cache" keeps the answers of two registries .*"\$proxy_host "/ ],
    [ 'another registry, told apart', 'proxy_pass http://127.0.0.1:1;', 'proxy_pass http://registries;',
        $KEEP =~ s/"/"\$proxy_host /r ],
    [ 'other accounts, which a name of the registry does not tell', "$OTHER proxy_pass http://registries;",
        'proxy_pass http://registries;', $KEEP =~ s/"/"\$proxy_host /r, qr/\[emerg\] / ],
    [ 'other accounts, by the content', "$OTHER proxy_pass http://registries;",
        'proxy_pass http://registries;', 'proxy_cache c; proxy_cache_key $registry_auth_blob;' ],
) {
    my ($title, $one, $two, $kept, $said, $name) = @$_;
    $name //= 'one';
    my $is_error = $said && $said =~ /emerg/;
    $spec .= spec_block("a cache of two servers: $title", no_redis => '',
        ($is_error ? 'must_die' : 'config_ok') => '',
        http_config => "    upstream registries { registry_auth_backends; }\n$KEPT"
            . "    $PROXY $kept registry_auth R;\n"
            . "    server { listen 127.0.0.1:1; server_name $name; location / { $one } }\n",
        config => "        location / { $two }\n",
        $said ? (error_log => [$said]) : (no_error_log => '[warn]'));
}
$spec .= warned("a method that changes nothing: $_", $_) for (
    "registry_auth R; $PROXY proxy_method \$request_method; location / { proxy_pass http://registries; }",
    "registry_auth R; $PROXY location / { proxy_method GET; registry_auth off; "
        . "proxy_pass http://registries; }",
    "registry_auth R; $PROXY proxy_method GET; location / { proxy_method \$request_method; "
        . "proxy_pass http://registries; }",
);

# A file of passwords may be the workers' to read, and not everybody's.
sub password_file {
    my ($mode, @said) = @_;
    return spec_block(
        "a password file of mode $mode",
        mode        => $mode,
        no_redis    => '',
        config_ok   => '',
        http_config => "    registry_auth_redis redis://127.0.0.1:6379;\n"
            . "    registry_auth_redis_user gate;\n    registry_auth_redis_password_file $PASSWORD;\n",
        @said ? (error_log => [ '[warn]', $PASSWORD, @said ]) : (no_error_log => '[warn]'));
}
add_block_preprocessor(sub { key_file("hunter2\n", oct $_[0]->mode, expand($PASSWORD)) if $_[0]->mode });
$spec .= password_file(@$_)
    for ([600], [640], [ 644, 'everybody on this machine may read the password', 'is 644' ], [ 602, '602' ]);

defaults(accounts => "alice:secret\nbob:secret\n");
run_tests($spec . join '', <DATA>);

__DATA__
=== no error quotes the password of a URL
--- no_redis
--- must_die
--- http_config
    registry_auth_redis redis://gate:hunter2@127.0.0.1:99999;
--- error_log
registry_auth_redis
--- no_error_log
hunter2

=== nor where its scheme is wrong
--- no_redis
--- must_die
--- http_config
    registry_auth_redis rediss+x://gate:hunter2@127.0.0.1:6379/db;
--- error_log
registry_auth_redis
--- no_error_log
hunter2

=== a password file is read
--- no_redis
--- config_ok
--- user_files
>>> password
hunter2
--- http_config
    registry_auth_redis redis://127.0.0.1:6379;
    registry_auth_redis_user gate;
    registry_auth_redis_password_file $TEST_NGINX_HTML_DIR/password;

=== a user without a password is refused
--- no_redis
--- must_die
--- http_config
    registry_auth_redis_user gate;
--- error_log
user
password

=== a password for sentinels where there are none is refused
--- no_redis
--- must_die
--- user_files
>>> password
hunter2
--- http_config
    registry_auth_redis redis://127.0.0.1:6379;
    registry_auth_redis_sentinel_password_file $TEST_NGINX_HTML_DIR/password;
--- error_log
registry_auth_redis
sentinels

=== so is a user of sentinels without a password
--- no_redis
--- must_die
--- http_config
    registry_auth_redis redis+sentinel://127.0.0.1/m;
    registry_auth_redis_sentinel_user gate;
--- error_log
needs a password

=== sentinels with users of their own
--- no_redis
--- config_ok
--- user_files
>>> password
hunter2
--- http_config
    registry_auth_redis rediss+sentinel://gate:pw@a,b:26380,[::1]/main-master_1.0/3;
    registry_auth_redis_sentinel_user gate;
    registry_auth_redis_sentinel_password_file $TEST_NGINX_HTML_DIR/password;
    registry_auth_redis_ssl_name redis.example;

=== the keys of a Cluster are in one slot: a prefix without a tag is refused
--- no_redis
--- must_die
--- http_config
    registry_auth_redis redis+cluster://a,b;
--- config
location / { registry_auth Registry; }
--- error_log
invalid value "docker-registry" in "registry_auth_prefix" directive
as in "{docker-registry}"

=== as is one with another tag than that of another location
--- no_redis
--- must_die
--- http_config
    registry_auth_redis redis+cluster://a,b;
    registry_auth_prefix "{a}";
--- config
location / { registry_auth Registry; }
location /b { registry_auth Registry; registry_auth_prefix "b{a}"; }
location /c { registry_auth Registry; registry_auth_prefix "{c}"; }
--- error_log
invalid value "{c}" in "registry_auth_prefix" directive

=== an empty password file is none
--- no_redis
--- must_die
--- user_files
>>> empty
--- http_config
    registry_auth_redis_password_file $TEST_NGINX_HTML_DIR/empty;
--- error_log
registry_auth_redis_password_file

=== the password of the file goes before the one of the URL
--- no_redis
--- config_ok
--- user_files
>>> password
hunter2
--- http_config
    registry_auth_redis redis://:hunter3@127.0.0.1:6379;
    registry_auth_redis_password_file $TEST_NGINX_HTML_DIR/password;

=== Redis need not be there for nginx -t
--- no_redis
--- config_ok
--- http_config
    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_DEAD_PORT;
    registry_auth "Registry";

=== nothing of ours in the configuration: no gate, no Redis
--- no_redis
--- config
        location / { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
--- request
GET /v2/
--- forwarded: 1

=== an upstream with registry_auth_backends needs no server line
--- http_config
    upstream registry { registry_auth_backends; }
--- config eval
Harness::gate_config()
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT
--- login: alice:secret
--- request
GET /v2/
--- forwarded: 1

=== registry_auth of http{} holds for all servers and locations, an inner one wins
--- http_config eval
Harness::gate_http() . qq{    registry_auth "Outer";\n}
--- config
        location / { proxy_pass http://registry; }
        location /v2/ { registry_auth "Inner"; proxy_pass http://registry;
            location /v2/open/ { registry_auth off; proxy_pass http://registry; }
            location /v2/nested/ { proxy_pass http://registry; }
        }
--- request eval
[ "GET /v1/users", "GET /v2/", "GET /v2/open/x/tags/list", "GET /v2/nested/x/tags/list" ]
--- error_code eval
[ 401, 401, 200, 401 ]
--- response_headers eval
[ 'WWW-Authenticate: Basic realm="Outer"', 'WWW-Authenticate: Basic realm="Inner"', "!WWW-Authenticate",
  'WWW-Authenticate: Basic realm="Inner"' ]

=== an if{} block of a location has its gate
--- http_config eval
Harness::gate_http()
--- config
        location / {
            registry_auth "Registry";
            if ($arg_a) { set $b 1; }
            if ($arg_c) { proxy_pass http://registry; }
            proxy_pass http://registry;
        }
--- login eval
[ ("") x 3, ("alice:secret") x 3 ]
--- request eval
[ ("GET /v2/alice/x/tags/list?a=1", "GET /v2/alice/x/tags/list?c=1",
  "GET /v2/alice/x/tags/list?a=1&c=1") x 2 ]
--- error_code eval
[ (401) x 3, (200) x 3 ]
--- forwarded eval
[ (0) x 3, (1) x 3 ]

=== registry_auth of server{}, off in one location
--- http_config eval
Harness::gate_http()
--- config
        registry_auth "Server";
        location / { proxy_pass http://registry; }
        location = /health { registry_auth off; proxy_pass http://registry; }
--- request eval
[ "GET /v2/", "GET /health" ]
--- error_code eval
[ 401, 200 ]

=== registry_auth_prefix and registry_auth_salt hold per location and are inherited
--- http_config eval
Harness::gate_http()
    . qq{    registry_auth "R";\n    registry_auth_prefix outer;\n    registry_auth_salt "salt:";\n}
--- config
        location / { proxy_pass http://registry; }
        location /v1/ { registry_auth_prefix inner; proxy_pass http://registry; }
        location = /v1/users { registry_auth_salt ""; proxy_pass http://registry; }
--- redis eval
use Digest::SHA qw(sha1_hex);
"HSET outer:passwords alice " . sha1_hex("salt:one") . " bob " . sha1_hex("two") . "\n" .
"HSET inner:passwords alice " . sha1_hex("salt:three") . "\n"
--- login eval
[ "alice:one", "alice:three", "alice:three", "alice:one", "alice:one", "bob:two", "bob:two" ]
--- request eval
[ "GET /v2/", "GET /v2/", "GET /v1/users/", "GET /v1/users/", "GET /v1/users", "GET /v1/users", "GET /v2/" ]
--- error_code eval
[ 200, 401, 200, 401, 401, 200, 401 ]

=== registry_auth_own_namespace and registry_auth_v1_images are inherited
--- http_config eval
Harness::gate_http()
    . qq{    registry_auth "R";\n    registry_auth_own_namespace off;\n    registry_auth_v1_images off;\n}
--- config
        location / { proxy_pass http://registry; }
        location /v2/alice/on/ { registry_auth_own_namespace on; proxy_pass http://registry; }
        location /v1/images/a/ { registry_auth_v1_images on; proxy_pass http://registry; }
--- login: alice:secret
--- request eval
[ "GET /v2/alice/x/tags/list", "GET /v2/alice/on/tags/list", "GET /v1/images/a/json",
  "GET /v1/images/b/json" ]
--- error_code_like eval
[ qr/403/, qr/200/, qr/200/, qr/40[34]/ ]

=== two http servers with prefixes of their own know each their users
--- http_config eval
Harness::gate_http() . <<'EOC'
    server {
        listen 127.0.0.1:$TEST_NGINX_EXTRA_PORT;
        registry_auth "Other";
        registry_auth_prefix other;
        location / { proxy_pass http://registry; }
    }
EOC
--- config eval
Harness::gate_config() . "location = /v1/users { proxy_pass http://127.0.0.1:\$TEST_NGINX_EXTRA_PORT; }\n"
--- redis
HSET other:user:carol password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- login eval
[ "carol:secret", "carol:secret", "alice:secret", "alice:secret" ]
--- request eval
[ "GET /v2/", "GET /v1/users", "GET /v2/", "GET /v1/users" ]
--- error_code eval
[ 401, 200, 200, 401 ]

=== registry_auth_redis with a user, a password file and a database
--- user_files
>>> password
hunter2
--- http_config eval
Harness::gate_http() . <<'EOC'
    registry_auth_redis redis://127.0.0.1:$TEST_NGINX_REDIS_PORT/3 timeout=2s connect_timeout=2s;
    registry_auth_redis_user gate;
    registry_auth_redis_password_file $TEST_NGINX_HTML_DIR/password;
EOC
--- config eval
Harness::gate_config()
--- redis
ACL SETUSER gate on >hunter2 ~docker-registry:* +@read +@connection +client
SELECT 3
HSET docker-registry:user:dave password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
SELECT 0
--- login eval
[ "dave:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]
--- after
my $clients = redis('CLIENT LIST');
die $clients unless $clients =~ /db=3 .*user=gate/;
redis('ACL DELUSER gate');

=== registry_auth_redis over a unix socket
--- http_config eval
Harness::gate_http() . <<'EOC'
    registry_auth_redis "redis+unix://$TEST_NGINX_REDIS_SOCKET?db=2" timeout=2s;
EOC
--- config eval
Harness::gate_config()
--- redis
SELECT 2
HSET docker-registry:user:erin password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
SELECT 0
--- login eval
[ "erin:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== registry_auth_redis with user and password in the URL
--- http_config eval
Harness::gate_http() . <<'EOC'
    registry_auth_redis redis://gate:hunter%2F2@localhost:$TEST_NGINX_REDIS_PORT/0
        timeout=2s connect_timeout=2s;
EOC
--- config eval
Harness::gate_config()
--- redis
ACL SETUSER gate on >hunter/2 ~docker-registry:* +@read +@connection +client
--- login: alice:secret
--- request
GET /v2/
--- after
redis('ACL DELUSER gate');

=== one process without master
--- main_config
master_process off;
--- skip_valgrind: that is how it runs there
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config()
--- login: alice:secret
--- request
GET /v2/
--- forwarded: 1

=== several workers
--- workers: 4
--- skip_valgrind: one process there
--- http_config eval
Harness::gate_http()
--- config eval
Harness::gate_config()
--- login: alice:secret
--- request eval
[ ("GET /v2/") x 20 ]
--- forwarded: 1
