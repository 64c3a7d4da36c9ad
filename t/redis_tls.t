# registry_auth_redis over TLS: what nginx -t refuses, and logins with and without a client's certificate.
use strict;
use warnings;
use lib 't/lib';
use File::Temp;
use Harness;

# A CA, a server's and a client's certificate, and what is wrong with others.
our $folder = File::Temp->newdir;
my $NEW = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';

sub openssl {
    my ($arguments) = @_;
    system("cd $folder && openssl $arguments >openssl.out 2>&1") == 0
            or die "openssl $arguments: " . slurp("$folder/openssl.out");
}

sub issue {
    my ($name, $extensions) = @_;
    openssl("req $NEW -subj /CN=localhost -keyout $name.key -out $name.csr");
    open my $file, '>', "$folder/extensions" or die $!;
    print {$file} $extensions;
    close $file;
    my $with = length $extensions ? '-extfile extensions' : '';
    openssl("x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out $name.pem $with");
}
openssl("req -x509 $NEW -days 2 -subj /CN=$_ -keyout $_.key -out $_.pem") for qw(ca other);
issue('server', "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
issue('client', "extendedKeyUsage=clientAuth\n");
issue('v1',     '');
# Newer OpenSSLs make one of version 1 only when they are asked to, and nothing says otherwise.
if (`openssl x509 -noout -text -in $folder/v1.pem` !~ /Version: 1 /) {
    system("printf '[req]\\ndistinguished_name=dn\\n[dn]\\n' >$folder/plain");
    openssl("req -x509v1 -config plain $NEW -days 2 -subj /CN=localhost -keyout v1.key -out v1.pem");
}
system("cp $folder/client.key $folder/open.key; chmod 644 $folder/open.key; : >$folder/empty.pem");
# nginx's workers and Redis run as others, perhaps.
system("chmod 755 $folder; chmod 644 $folder/*.pem");

sub tls_http {
    my ($url, @directives) = @_;
    my $text = "    registry_auth_redis $url timeout=2s connect_timeout=2s;\n";
    $text .= "    registry_auth_redis_$_;\n" for @directives;
    return $text;
}

# The server of the file, with a port of TLS beside the other one.
sub with_tls {
    my ($clients) = @_;
    redis_server()->restart(
        '--tls-port', Harness::expand('$TEST_NGINX_EXTRA_PORT'), '--tls-auth-clients', $clients,
        '--tls-cert-file', "$folder/server.pem", '--tls-key-file', "$folder/server.key",
        '--tls-ca-cert-file', "$folder/ca.pem"
    );
    redis('HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=');
    sleep 2;    # nginx was there first, and tries again within a second

}

sub refused {
    my ($rule, $url, $directives, @said) = @_;
    return spec_block("$rule is refused", no_redis => '', must_die => '', config => '',
            http_config => tls_http($url, @$directives), error_log => \@said);
}

my $tls  = 'rediss://localhost:$TEST_NGINX_EXTRA_PORT';
my %VALUE = (
    trusted_certificate => "$folder/ca.pem",
    certificate         => "$folder/client.pem",
    certificate_key     => "$folder/client.key",
    ssl_name            => 'a',
);
my $spec = '';
for (
    [ 'a trusted certificate that is not there', $tls, ["trusted_certificate $main::folder/none"],
            '"registry_auth_redis_trusted_certificate"', 'none', 'No such file' ],
    [ 'a file without a certificate', $tls, ["trusted_certificate $main::folder/empty.pem"],
            '"registry_auth_redis_trusted_certificate"', 'no certificate' ],
    [ 'a certificate without its key', $tls, ["certificate $main::folder/client.pem"],
            '"registry_auth_redis_certificate"', 'its private key is missing' ],
    [ 'a key without its certificate', $tls, ["certificate_key $main::folder/client.key"],
            '"registry_auth_redis_certificate_key"', 'its certificate is missing' ],
    [ 'the key of another certificate', $tls, [ "certificate $main::folder/client.pem",
            "certificate_key $main::folder/server.key" ], '"registry_auth_redis_certificate_key"',
            'not the key of the certificate' ],
    [ 'a key that others may read', $tls, ["certificate_key $main::folder/open.key"],
            '"registry_auth_redis_certificate_key"', '600 is expected' ],
    [ 'a certificate in place of a key', $tls, ["certificate $main::folder/client.key"],
            '"registry_auth_redis_certificate"', 'no certificate' ],
    [ "a client's certificate of X.509 v1", $tls, ["certificate $main::folder/v1.pem"],
            '"registry_auth_redis_certificate"', 'X.509 v1', 'reissue it as v3', '-extfile' ],
    [ 'a name that no host has', $tls, ['ssl_name a..b'], '"registry_auth_redis_ssl_name"' ],
    [ 'an empty name', $tls, ['ssl_name ""'], '"registry_auth_redis_ssl_name"' ],
    (
        map { [ "$_ without TLS", 'redis://localhost', ["$_ $VALUE{$_}"], qq{"registry_auth_redis_$_"},
            'not one of TLS' ] }
            sort keys %VALUE
    ),
    )
{
    $spec .= refused(@$_);
}
for my $directive ("trusted_certificate $main::folder/ca.pem", 'ssl_name a',
        "certificate $main::folder/client.pem", "certificate_key $main::folder/client.key") {
    $spec .= refused("$directive twice", $tls, [ $directive, $directive ], 'duplicate');
}
$spec .= spec_block("$_ is accepted", no_redis => '', config_ok => '', config => '',
        http_config => tls_http($_, "trusted_certificate $main::folder/ca.pem"))
    for 'rediss://localhost', 'valkeys://[::1]:6380/3', 'rediss://gate:pw@a,b:6380', $tls;
$spec .= spec_block("$_ is accepted", no_redis => '', config_ok => '', config => '',
        http_config => tls_http($_))
    for 'valkey://localhost', 'valkey+unix:///run/valkey.sock', 'redis://a,b:6380,[::1]/2';
$spec .= spec_block('the certificates of the system', no_redis => '', config_ok => '', config => '',
        http_config => tls_http($tls, $_ ? 'trusted_certificate system' : ())) for 0, 1;

run_tests($spec . join '', <DATA>);

__DATA__
=== a login over TLS, the server being known by its CA
--- http_config eval
Harness::gate_http() . main::tls_http('rediss://localhost:$TEST_NGINX_EXTRA_PORT',
        "trusted_certificate $main::folder/ca.pem")
--- config eval
Harness::gate_config()
--- init
with_tls('no');
--- login eval
[ "alice:secret", "alice:wrong" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== a login with a client's certificate, by a name of the certificate
--- restart
--- http_config eval
Harness::gate_http() . main::tls_http('rediss://127.0.0.1:$TEST_NGINX_EXTRA_PORT',
        "trusted_certificate $main::folder/ca.pem",
    "certificate $main::folder/client.pem", "certificate_key $main::folder/client.key", 'ssl_name localhost')
--- config eval
Harness::gate_config()
--- init
with_tls('yes');
--- login: alice:secret
--- request
GET /v2/

=== without one the log says what the server wants, and nobody gets in
--- restart
--- http_config eval
Harness::gate_http() . main::tls_http('rediss://127.0.0.1:$TEST_NGINX_EXTRA_PORT',
        "trusted_certificate $main::folder/ca.pem")
--- config eval
Harness::gate_config()
--- init
with_tls('yes');
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
client's certificate

=== another CA is not believed
--- restart
--- http_config eval
Harness::gate_http() . main::tls_http('rediss://localhost:$TEST_NGINX_EXTRA_PORT',
        "trusted_certificate $main::folder/other.pem")
--- config eval
Harness::gate_config()
--- init
with_tls('no');
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
of a CA that is not trusted

=== the log asks whether a port without TLS is one of TLS
--- restart
--- http_config eval
Harness::gate_http() . main::tls_http('rediss://localhost:$TEST_NGINX_REDIS_PORT',
        "trusted_certificate $main::folder/ca.pem")
--- config eval
Harness::gate_config()
--- login: alice:secret
--- request
GET /v2/
--- error_code: 503
--- error_log
is this port TLS?
