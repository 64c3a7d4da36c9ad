# docs/reference/data-model.md, "Stored hashes": each form, told apart by its
# form; a leading `!` locks; unknown forms fail closed and are logged; the 2014
# gate's data works as it is.
use strict;
use warnings;
use lib 't/lib';
use Harness;

my %FORM = (
    '40 hex digits, SHA1(salt password)' => 'c59629cad1ccec3104ac587e031a68adf66f9646',
    '{SHA}'                              => '{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=',
    '{SSHA}'                             => '{SSHA}PyZ6NVyiOhZ02TYNQMWqSqwUJVoBAgP/',
    'bcrypt $2y$'                        => '$2y$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',
    'bcrypt $2a$'                        => '$2a$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',
    'bcrypt $2b$'                        => '$2b$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',
    '$argon2id$'                         => '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$argon2i$'                          => '$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$gLKc+5HCvnZk/J11T0aIghH2H68epQJpg8JhTGr2Ydg',
);

my $spec = '';
for my $form (sort keys %FORM) {
    for my $place ('HSET docker-registry:user:alice password', 'HSET docker-registry:passwords alice') {
        $spec .= spec_block(
            "$form by $place",
            redis      => "$place $FORM{$form}\n",
            login      => [ 'alice:correct horse', 'alice:correct hors', 'alice:correct horse ',
                "alice:$FORM{$form}", 'bob:correct horse' ],
            request    => [ ('GET /v2/') x 5 ],
            error_code => [ 200, (401) x 4 ],
            forwarded  => [ 1, (0) x 4 ],
        );
        $spec .= spec_block(
            "a leading ! locks: $form by $place",
            redis      => "$place !$FORM{$form}\n",
            login      => [ 'alice:correct horse', 'alice:!correct horse', 'alice:!' ],
            request    => [ ('GET /v2/') x 3 ],
            error_code => 401,
            forwarded  => 0,
        );
    }
}

# Forms that nothing can be verified against, or that would cost too much.
my @UNKNOWN = (
    'plain text', '{MD5}X03MO1qnZdYdgyfeuILPmQ==', '{SHA}', '{SHA}short', '{SHA}!!!!', '{SSHA}', '{SSHA}AAAA',
    'c59629cad1ccec3104ac587e031a68adf66f964',                          # 39 digits
    'c59629cad1ccec3104ac587e031a68adf66f96460',                        # 41
    'g59629cad1ccec3104ac587e031a68adf66f9646',
    '$2y$05$', '$2y$05$short', '$2y$99$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',
    '$2y$31$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',     # 2^31 rounds
    '$2x$05$bxi8B2zI6sxLgtHkV2uxQOTbz87Fe0uab9wY/mIM4SwFYm67ExcMK',
    '$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$argon2id$v=19$m=256,t=4294967295,p=1$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    # Within the limits by the first value of a parameter that stands twice.
    '$argon2id$v=19$m=256,t=2,p=1,m=4294967295$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$argon2id$v=19$m=256,t=2,p=1,t=4294967295$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$pbkdf2-sha256$i=4294967295,l=32$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$scrypt$ln=1,r=8,p=2000000$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$5$rounds=999999999$salt$' . 'x' x 43,
    '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$', '$argon2id$', '$argon2id$v=19$m=256,t=2,p=1$$',
    '$argon2xx$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$2Tz31/DvwM3ZDNXezOIBNEq021DwStEmw1lLBM1roy4',
    '$99$abc$def', '$$$', '$', 'x', '*', '\x00\xff',
);
for my $i (0 .. $#UNKNOWN) {    # a user each: a key is named once, not for each request
    my ($hash, $user) = ($UNKNOWN[$i], "user$i");
    $spec .= spec_block(
        "an unknown form fails closed, named by its key: $hash",
        redis           => "HSET docker-registry:user:$user password \"$hash\"\n",
        login           => [ "$user:correct horse", "$user:" . ($hash =~ /\\x/ ? 'x' : $hash), "$user:x" ],
        request         => [ ('GET /v2/') x 3 ],
        error_code_like => '^(?:401|503)$',
        forwarded       => 0,
        error_log       => "docker-registry:user:$user\n",
        no_error_log    => length $hash > 12 ? substr($hash, 12) . "\n" : "correct horse\n",
        timeout         => 4,
    );
}

defaults(
    http_config => gate_http() . "    registry_auth_salt \"salt:\";\n",
    config      => gate_config(),
);
run_tests($spec . join '', <DATA>);

__DATA__
=== the 2014 gate's own data: SHA-1 of salt and password, and a list of backends
--- http_config eval
"upstream registry { registry_auth_backends; }\nregistry_auth_salt SALT;\n"
--- redis eval
use Digest::SHA qw(sha1_hex);
"HSET docker-registry:passwords user1 " . sha1_hex("SALTpassword1") . " user2 "
    . uc(sha1_hex("SALTpassword2")) . "\n" .
"LPUSH docker-registry:backends 127.0.0.1:\$TEST_NGINX_BACKEND_B_PORT\n"
--- login eval
[ "user1:password1", "user1:password1", "user1:password2", "user1:SALTpassword1", "user1:password1" ]
--- request eval
[ "GET /v2/", "GET /v1/users/", "GET /v2/", "GET /v2/", "PUT /v1/repositories/user1/app/" ]
--- error_code eval
[ 200, 200, 401, 401, 200 ]
--- backend_received_by: B B B

=== without a salt: SHA1(password)
--- http_config eval
Harness::gate_http()
--- redis eval
use Digest::SHA qw(sha1_hex);
"HSET docker-registry:passwords alice " . sha1_hex("secret") . "\n"
--- login eval
[ "alice:secret", "alice:other" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== the salt is of no matter to other forms
--- redis
HSET docker-registry:passwords alice {SHA}L55TUjtiq8FBorTWAZ0jy6g129A=
--- login: alice:correct horse
--- request
GET /v2/

=== the record's own password goes before P:passwords
--- redis
HSET docker-registry:passwords alice {SHA}L55TUjtiq8FBorTWAZ0jy6g129A=
HSET docker-registry:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- login eval
[ "alice:secret", "alice:correct horse" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== a record without a password takes P:passwords
--- redis
HSET docker-registry:passwords alice {SHA}L55TUjtiq8FBorTWAZ0jy6g129A=
HSET docker-registry:user:alice grant:team/app pull
--- login: alice:correct horse
--- request
GET /v2/team/app/tags/list
--- forwarded: 1

=== a locked record is locked whatever P:passwords says
--- redis
HSET docker-registry:passwords alice {SHA}L55TUjtiq8FBorTWAZ0jy6g129A=
HSET docker-registry:user:alice password !{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=
--- login: alice:correct horse
--- request
GET /v2/
--- error_code: 401

=== a record without any password is no account
--- redis
HSET docker-registry:user:alice grant:** *
--- login eval
[ "alice:x", "alice:" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code: 401

=== bcrypt and passwords over 72 bytes: as htpasswd verifies them
--- redis
HSET docker-registry:user:alice password $2y$05$tr707Vjd5W5/AaRw7usGjO1i4DsNPXrW5C4nazmGIpNIP9/Bl.Usu
--- login eval
[ "alice:" . "a" x 72, "alice:" . "a" x 73, "alice:" . "a" x 71 ]
--- request eval
[ ("GET /v2/") x 3 ]
--- error_code eval
[ 200, 200, 401 ]

=== passwords beyond ASCII are compared as bytes
--- redis eval
use Digest::SHA qw(sha1_base64);
"HSET docker-registry:user:alice password {SHA}" . sha1_base64("gr\xc3\xbc\xc3\x9fe") . "=\n"
--- login eval
[ "alice:gr\xc3\xbc\xc3\x9fe", "alice:gr\xfc\xdfe" ]
--- request eval
[ ("GET /v2/") x 2 ]
--- error_code eval
[ 200, 401 ]

=== users made by the tool
--- skip_valgrind: slow hashes take minutes there
--- users
alice:secret
carol:geheim hash=bcrypt
dave:secret locked
--- login eval
[ "alice:secret", "alice:geheim", "carol:geheim", "carol:secret", "dave:secret" ]
--- request eval
[ ("GET /v2/") x 5 ]
--- error_code eval
[ 200, 401, 200, 401, 401 ]

=== the 2014 gate's digest with a salt that is not configured: the log says which, and nothing of the password
--- http_config eval
main::gate_http()
--- redis
HSET docker-registry:passwords bob 45ecaf382a5e63e836ff2e9b1b873d7e888da74f
--- request eval
[ 'GET /v2/', 'GET /v2/', 'GET /v2/' ]
--- login eval
[ 'bob:wrong', 'bob:secret', 'bob:secret' ]
--- error_code eval
[ 401, 401, 401 ]
--- restart
--- error_log
a wrong password under docker-registry would be right with another salt: \
  registry_auth_salt "deadbeaf:", which a 2014 gate without DIGEST_SALT had, is missing
--- no_error_log
secret
[error]
--- after
my $lines = () = nginx_server()->since('error') =~ /would be right/g;
Test::More::is($lines, 1, 'lines in the first minute');
