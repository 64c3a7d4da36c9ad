# docs/reference/data-model.md: who may do what by grants of the user, of its
# groups and of public; whose backends a request goes to; what is open to the
# anonymous; and when a change of a group takes effect.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Test::More;

# The policy crate's own table, through nginx: each block of it is one here.
my $TABLE = 'crates/registry-auth/tests/policy.txt';
my %REQUEST = (pull => 'GET /v2/%s/tags/list', push => 'PUT /v2/%s/manifests/v1',
    delete => 'DELETE /v2/%s/manifests/v1');

sub table {
    open my $file, '<:raw', $TABLE or die "$TABLE: $!";
    my (@blocks, $block, @groups);
    while (my $line = <$file>) {
        chomp $line;
        next if $line =~ /^\s*(?:#|$)/;
        if ($line =~ /^== (.+)/) {
            push @blocks, $block = { title => $1, own => 'on', users => [], groups => [], redis => [] };
        }
        elsif ($line =~ /^own (on|off)$/) {
            $block->{own} = $1;
        }
        elsif ($line =~ /^(user|group) ([^:]+):(.*)$/) {
            my ($kind, $name, $grants) = ($1, $2, $3);
            push @{ $block->{users} }, $name if $kind eq 'user';
            push @{ $block->{groups} }, $name if $kind eq 'group' && $name ne 'public';
            for my $grant (grep {/\S/} split /;/, $grants) {
                my ($pattern, $actions) = $grant =~ /^\s*(\S+) (\S+)\s*$/ or die $line;
                push @{ $block->{redis} }, "HSET docker-registry:$kind:$name grant:$pattern $actions";
            }
        }
        elsif ($line =~ /^(\S+) (pull|push|delete) (\S+) -> (yes|no) /) {
            my ($who, $action, $name, $may) = ($1, $2, $3, $4);
            push @{ $block->{request} }, sprintf $REQUEST{$action}, $name;
            push @{ $block->{login} }, $who eq '-' ? '' : "$who:secret";
            push @{ $block->{status} }, $may eq 'yes' ? 200 : $who eq '-' ? 401 : 403;
        }
        else {
            die "$TABLE: $line";
        }
    }
    return @blocks;
}

my $spec = '';
my $cases = 0;
for my $block (table()) {
    my @users  = @{ $block->{users} };
    my $groups = join ' ', @{ $block->{groups} };
    $cases += @{ $block->{status} };
    $spec .= spec_block(
        "policy: $block->{title}",
        config     => gate_config("registry_auth_own_namespace $block->{own};"),
        accounts   => join('', map {"$_:secret\n"} @users),
        redis      => join('', map {"$_\n"} @{ $block->{redis} },
            $groups ? map {"HSET docker-registry:user:$_ groups \"$groups\""} @users : ()),
        request    => $block->{request},
        login      => $block->{login},
        error_code => $block->{status},
        forwarded  => [ map { $_ == 200 ? 1 : 0 } @{ $block->{status} } ],
    );
}
die "$TABLE has only $cases cases" if $cases < 60;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== what public grants is open without credentials, and nothing else
--- redis
HSET docker-registry:group:public grant:base/* pull
--- request eval
[ "GET /v2/base/debian/manifests/v1", "HEAD /v2/base/debian/manifests/v1", "GET /v2/base/debian/tags/list",
  "GET /v1/repositories/base/debian/tags", "PUT /v2/base/debian/manifests/v1",
  "DELETE /v2/base/debian/manifests/v1",
  "POST /v2/base/debian/blobs/uploads/", "GET /v2/alice/app/tags/list", "GET /v2/base/tags/list" ]
--- error_code eval
[ 200, 200, 200, 200, 401, 401, 401, 401, 401 ]

=== /v2/ asks for credentials all the same, and so do the catalogue and the V1 login
--- redis
HSET docker-registry:group:public grant:** *
--- request eval
[ "GET /v2/", "GET /v2/_catalog", "GET /v1/users", "GET /v1/images/0123abc/layer" ]
--- error_code: 401
--- response_headers
WWW-Authenticate: Basic realm="Registry"

=== Basic Og== is anonymous, too
--- redis
HSET docker-registry:group:public grant:base/* pull
--- more_headers
Authorization: Basic Og==
--- request eval
[ "GET /v2/base/debian/tags/list", "GET /v2/", "PUT /v2/base/debian/manifests/v1" ]
--- error_code eval
[ 200, 401, 401 ]

=== a wrong password is never treated as anonymous
--- redis
HSET docker-registry:group:public grant:base/* pull
HSET docker-registry:user:locked password !{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
--- login eval
[ "alice:wrong", "nobody:secret", "locked:secret", "alice:secret" ]
--- request eval
[ ("GET /v2/base/debian/tags/list") x 4 ]
--- error_code eval
[ 401, 401, 401, 200 ]

=== nor is a header that is none
--- redis
HSET docker-registry:group:public grant:base/* pull
--- request eval
[ ("GET /v2/base/debian/tags/list") x 4 ]
--- more_headers eval
[ "Authorization: Bearer abc", "Authorization:", "Authorization: Basic !", "Authorization: Basic YWxpY2U6" ]
--- error_code: 401

=== the anonymous has a result of its own, and no name
--- config eval
Harness::Zone::zone_config()
--- redis
HSET docker-registry:group:public grant:base/* pull
--- request
GET /v2/base/debian/tags/list
--- response_headers
X-Result: anonymous

=== a denial of public holds for everyone, also in their own namespace
--- redis
HSET docker-registry:group:public grant:!alice/legacy/** *
--- login: alice:secret
--- request eval
[ "GET /v2/alice/legacy/app/tags/list", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 403, 200 ]
--- oci_error eval
[ "DENIED alice may not pull alice/legacy/app", undef ]

=== the log says by which rule, the client reads what was asked for
--- redis
HSET docker-registry:user:alice groups "team" grant:!alice/frozen push
HSET docker-registry:group:team grant:!alice/legacy/** *
--- login: alice:secret
--- request eval
[ "GET /v2/alice/legacy/app/tags/list", "PUT /v2/alice/frozen/manifests/v1", "GET /v2/bob/app/tags/list" ]
--- error_code: 403
--- response_body eval
my $denied = sub {
    my ($name, $action) = @_;
    return qq({"errors":[{"code":"DENIED","message":"alice may not $action $name",)
        . qq("detail":{"repository":"$name","action":"$action"}}]}\n);
};
[ map { $denied->(@$_) }
    [ 'alice/legacy/app', 'pull' ], [ 'alice/frozen', 'push' ], [ 'bob/app', 'pull' ] ]
--- error_log
registry_auth: alice may not pull alice/legacy/app (DENIED): \
  denial !alice/legacy/** * of the group team, user: "alice"
registry_auth: alice may not push alice/frozen (DENIED): denial !alice/frozen push of the user, user: "alice"
registry_auth: alice may not pull bob/app (DENIED): no grant allows it, user: "alice"
--- log_level: info

=== backends: the user's before the groups', in their order, those before public's, those before the defaults
--- redis
HSET docker-registry:user:alice backends 127.0.0.1:$TEST_NGINX_BACKEND_PORT groups "team ops"
HSET docker-registry:user:bob groups "ops team"
HSET docker-registry:user:bob grant:x/y pull
HSET docker-registry:group:team backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
HSET docker-registry:group:ops backends 127.0.0.1:$TEST_NGINX_BACKEND_B_PORT
HSET docker-registry:group:public backends 127.0.0.1:$TEST_NGINX_BACKEND_D_PORT grant:base/* pull
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- login eval
[ "alice:secret", "bob:secret", "" ]
--- request eval
[ ("GET /v2/base/debian/tags/list") x 3 ]
--- backend_received_by: A B D

=== without any of those, the anonymous goes to the defaults
--- redis
HSET docker-registry:group:public grant:base/* pull
RPUSH docker-registry:backends 127.0.0.1:$TEST_NGINX_BACKEND_C_PORT
--- request
GET /v2/base/debian/tags/list
--- backend_received_by: C

=== a group that does not exist gives nothing and harms nobody
--- redis
HSET docker-registry:user:alice groups "nowhere"
--- login: alice:secret
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/team/app/tags/list" ]
--- error_code eval
[ 200, 403 ]

=== a group that cannot be read: 503 for its members, and a line with its key
--- redis
HSET docker-registry:user:alice groups "team"
HSET docker-registry:group:team grant:team/** fly
--- login eval
[ "alice:secret", "bob:secret" ]
--- request eval
[ "GET /v2/alice/app/tags/list", "GET /v2/bob/app/tags/list" ]
--- error_code eval
[ 503, 200 ]
--- error_log
record docker-registry:group:team cannot be read: field grant:team/**: it is "fly"

=== public that cannot be read: 503 for all whom it might have denied something, 401 for who is nobody
--- redis
SET docker-registry:group:public x
--- login eval
[ "alice:secret", "", "alice:wrong", "nobody:x" ]
--- request eval
[ ("GET /v2/alice/app/tags/list") x 4 ]
--- error_code eval
[ 503, 503, 503, 401 ]
--- error_log
record docker-registry:group:public cannot be read

=== groups cost one round trip more on a miss, and none on a hit
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config eval
Harness::Zone::zone_config()
--- redis
HSET docker-registry:user:alice groups "team ops"
HSET docker-registry:group:team grant:team/** pull
HSET docker-registry:group:ops grant:ops/** pull
HSET docker-registry:group:public grant:base/* pull
--- restart
--- init
in_each_worker('bob:secret');
redis('CONFIG RESETSTAT');
--- login: alice:secret
--- request eval
[ "GET /v2/team/app/tags/list", "GET /v2/ops/app/tags/list", "GET /v2/base/debian/tags/list",
  "GET /v2/none/app/tags/list" ]
--- error_code eval
[ 200, 200, 200, 403 ]
--- response_headers eval
[ "X-Cache: MISS", ("X-Cache: HIT") x 3 ]
--- after
my %calls = redis('INFO commandstats') =~ /^cmdstat_(\w+):calls=(\d+)/mg;
# alice, public and her two groups; bob was asked for before
equal($calls{hgetall}, 4, 'HGETALL');
equal($calls{lrange}, 1, 'LRANGE');
equal($calls{hmget}, 1, 'HMGET');

=== the anonymous is asked for once
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config eval
Harness::Zone::zone_config()
--- redis
HSET docker-registry:group:public grant:base/* pull
--- restart
--- init
in_each_worker('bob:secret');
redis('DEL docker-registry:nothing');
--- request eval
[ ("GET /v2/base/debian/tags/list") x 3, "GET /v2/base/other/tags/list", "GET /v2/alice/app/tags/list" ]
--- error_code eval
[ 200, 200, 200, 200, 401 ]
--- response_headers
X-Cache: HIT

=== rule 7: a change of a group or of public holds for the next request, in every worker
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m')
--- config eval
Harness::Zone::zone_config()
--- workers: 2
--- skip_valgrind: one process there
--- redis
HSET docker-registry:user:alice groups "team"
--- restart
--- init
in_each_worker('alice:secret');
--- login: alice:secret
--- request
GET /v2/
--- after
my $uri = '/v2/team/app/tags/list';
soon('no right yet', '403', sub { everywhere('alice:secret', $uri) });
redis('HSET docker-registry:group:team grant:team/** pull');
soon('a grant of the group', '200', sub { everywhere('alice:secret', $uri) });
redis('HSET docker-registry:group:public grant:!team/app *');
soon('a denial of public', '403', sub { everywhere('alice:secret', $uri) });
redis('DEL docker-registry:group:public');
soon('public is gone', '200', sub { everywhere('alice:secret', $uri) });
soon('the anonymous may not', '401', sub { everywhere('', $uri) });
redis('HSET docker-registry:group:public grant:team/* pull');
soon('public, for the anonymous', '200', sub { everywhere('', $uri) });
redis('HDEL docker-registry:group:public grant:team/*');
soon('and no more', '401', sub { everywhere('', $uri) });
redis('HSET docker-registry:user:alice groups "none"');
soon('alice has left the group', '403', sub { everywhere('alice:secret', $uri) });
redis('HSET docker-registry:user:alice groups "team"');
soon('and is back', '200', sub { everywhere('alice:secret', $uri) });
redis('DEL docker-registry:group:team');
soon('the group is gone', '403', sub { everywhere('alice:secret', $uri) });

=== with stale=, groups and public still count while Redis is down
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m stale=1h')
--- config eval
Harness::Zone::zone_config()
--- redis
HSET docker-registry:user:alice groups "team"
HSET docker-registry:group:team grant:team/** pull
HSET docker-registry:group:public grant:base/* pull
--- restart
--- init
in_each_worker('alice:secret');
asked('alice:secret', '/v2/team/app/tags/list');
asked('', '/v2/base/debian/tags/list');
redis_server()->stop;
--- request
GET /v1/_ping
--- after
soon('alice', '200 STALE', sub { asked('alice:secret', '/v2/team/app/tags/list') });
soon('the anonymous', '200 STALE', sub { asked('', '/v2/base/debian/tags/list') });
soon('who was never seen', '503 MISS', sub { asked('bob:secret', '/v2/base/debian/tags/list') });

=== a robot that may only push asks by HEAD what is there, and pulls nothing
--- login: alice:secret
--- redis
HSET docker-registry:user:alice grant:ci/** push
--- config eval
Harness::gate_config('registry_auth_own_namespace off;')
--- request eval
[ "HEAD /v2/ci/app/manifests/v1", "HEAD /v2/ci/app/blobs/sha256:" . 'ab' x 32, "PUT /v2/ci/app/manifests/v1",
  "GET /v2/ci/app/manifests/v1", "GET /v2/ci/app/tags/list", "HEAD /v2/other/app/manifests/v1" ]
--- error_code eval
[ 200, 200, 200, 403, 403, 403 ]

=== a denial of a/**/z denies a/z
--- login: alice:secret
--- redis
HSET docker-registry:user:alice grant:team/** * grant:!team/**/secret *
--- request eval
[ "GET /v2/team/secret/tags/list", "GET /v2/team/a/secret/tags/list", "GET /v2/team/asecret/tags/list" ]
--- error_code eval
[ 403, 403, 200 ]

=== a group that does not exist gives nothing, and the log says so
--- redis
HSET docker-registry:user:alice groups "team taem"
HSET docker-registry:group:team grant:team/* pull
--- login: alice:secret
--- request eval
[ ("GET /v2/team/app/tags/list") x 3, "GET /v2/taem/app/tags/list" ]
--- error_code eval
[ 200, 200, 200, 403 ]
--- restart
--- error_log
[warn]
record docker-registry:user:alice: there is no group taem
--- no_error_log
there is no group team
[error]
--- after
my $lines = () = nginx_server()->since('error') =~ /there is no group/g;
equal($lines, 1, 'lines in the first minute');
