# The routes as a table: every method on every route, as its owner, as somebody
# else and without credentials. What is not in the table is refused and never
# reaches the backend.
use strict;
use warnings;
use lib 't/lib';
use Harness;

my $DIGEST  = 'sha256:' . 'ab' x 32;
my @METHODS = qw(GET HEAD POST PUT PATCH DELETE OPTIONS PROPFIND FOO);

# route; what the methods need: own = a right on <n>, login, catalog, none
my @ROUTES = (
    [ 'end-1: /v2/ is the login check',          '/v2/',
      { GET => 'login', HEAD => 'login' } ],
    [ 'end-1: so is /v2',                        '/v2',
      { GET => 'login', HEAD => 'login' } ],
    [ 'end-2, end-10: blobs',                    "/v2/<n>/blobs/$DIGEST",
      { GET => 'own', HEAD => 'own', DELETE => 'own' } ],
    [ 'end-3, 7, 9: manifests by tag',           '/v2/<n>/manifests/v1.0',
      { GET => 'own', HEAD => 'own', PUT => 'own', DELETE => 'own' } ],
    [ 'end-3, 7, 9: manifests by digest',        "/v2/<n>/manifests/$DIGEST",
      { GET => 'own', HEAD => 'own', PUT => 'own', DELETE => 'own' } ],
    [ 'end-7b: several tags in a query',         "/v2/<n>/manifests/$DIGEST?tag=a&tag=b",
      { GET => 'own', HEAD => 'own', PUT => 'own', DELETE => 'own' } ],
    [ 'end-4a: an upload begins',                '/v2/<n>/blobs/uploads/',
      { POST => 'own' } ],
    [ 'end-4b: an upload in one request',        "/v2/<n>/blobs/uploads/?digest=$DIGEST",
      { POST => 'own' } ],
    [ 'end-4, draft: digest-algorithm',          '/v2/<n>/blobs/uploads/?digest-algorithm=sha512',
      { POST => 'own' } ],
    [ 'end-5, 6, 13, 14: an upload goes on',
      '/v2/<n>/blobs/uploads/0a1b-2c_3d.4e=?_state=Zm9v%3D%3D&x=a+b',
        { GET => 'own', PUT => 'own', PATCH => 'own', DELETE => 'own' } ],
    [ 'end-8: tags',                             '/v2/<n>/tags/list?n=10&last=a',
      { GET => 'own' } ],
    [ 'end-12: referrers',                       "/v2/<n>/referrers/$DIGEST?artifactType=a/b",
      { GET => 'own' } ],
    [ 'ext: only read',                          '/v2/<n>/_oci/ext/discover',
      { GET => 'own', HEAD => 'own' } ],
    [ 'catalog: 403 where it is off',            '/v2/_catalog?n=5',
      { GET => 'catalog' } ],
    [ 'no route: a bare repository',             '/v2/<n>',                                       {} ],
    [ 'no route: unknown ending',                '/v2/<n>/tags',                                  {} ],
    [ 'no route: an extension of the registry',  '/v2/_oci/ext/discover',                         {} ],
    [ 'no route: another API',                   '/v3/',                                          {} ],
    [ 'no route: outside of any API',            '/metrics',                                      {} ],
    [ 'no route: the root',                      '/',                                             {} ],
    [ 'V1: ping is open',                        '/v1/_ping',
      { GET => 'none', HEAD => 'none' } ],
    [ 'V1: ping of the root is open',            '/_ping',
      { GET => 'none', HEAD => 'none' } ],
    [ 'V1: users is the login check',            '/v1/users',
      { GET => 'login', POST => 'never' } ],
    [ 'V1: users/ too; sign-up is always 401',   '/v1/users/',
      { GET => 'login', POST => 'never' } ],
    [ 'V1: a repository',                        '/v1/repositories/<n>/',
      { PUT => 'own', DELETE => 'own' } ],
    [ 'V1: its images',                          '/v1/repositories/<n>/images',
      { GET => 'own', PUT => 'own', DELETE => 'own' } ],
    [ 'V1: its tags',                            '/v1/repositories/<n>/tags',
      { GET => 'own', DELETE => 'own' } ],
    [ 'V1: one tag',                             '/v1/repositories/<n>/tags/latest',
      { GET => 'own', PUT => 'own', DELETE => 'own' } ],
    [ 'V1: its json',                            '/v1/repositories/<n>/json',
      { GET => 'own' } ],
    [ "V1: a tag's json",                        '/v1/repositories/<n>/tags/latest/json',
      { GET => 'own' } ],
    [ 'V1: its properties',                      '/v1/repositories/<n>/properties',
      { GET => 'own', PUT => 'own' } ],
    [ 'V1: auth is a login check',               '/v1/repositories/<n>/auth',
      { PUT => 'login' } ],
    [ 'V1: search, 403 where it is off',         '/v1/search?q=a',
      { GET => 'catalog' } ],
    [ 'V1: no route: private images',            "/v1/private_images/abc/layer",                  {} ],
    ( map { [ "V1: an image's $_ is any verified user's", "/v1/images/0123abc/$_",
        { GET => 'login', PUT => 'login' } ] }
        qw(layer json checksum) ),
    ( map { [ "V1: an image's $_ too, which a registry makes by itself", "/v1/images/0123abc/$_",
        { GET => 'login' } ] }
        qw(ancestry files diff) ),
);

# need => (owner's, other user's, nobody's) status
my %STATUS = (
    own     => [ 200, 403, 401 ],
    login   => [ 200, 200, 401 ],
    catalog => [ 403, 403, 401 ],
    none    => [ 200, 200, 200 ],
    never   => [ 401, 401, 401 ],
    refused => [ 404, 404, 404 ],
);

# HEAD beside a GET that the table names alone is settled by neither table nor
# protocol: such a request is only held to "refused, or as GET".
my @LOGINS = ('alice:secret', 'bob:secret', '');

my $spec = '';
for my $route (@ROUTES) {
    my ($title, $path, $needs) = @$route;
    (my $target = $path) =~ s/<n>/alice\/app/;
    my (@request, @login, @status, @forwarded);
    for my $method (@METHODS) {
        next if $method eq 'HEAD' && $needs->{GET} && !$needs->{HEAD};
        my $status = $STATUS{ $needs->{$method} || 'refused' };
        for my $i (0 .. 2) {
            push @request,   "$method $target";
            push @login,     $LOGINS[$i];
            push @status,    $status->[$i];
            push @forwarded, $status->[$i] == 200 ? 1 : 0;
        }
    }
    $spec .= spec_block(
        $title,
        request    => \@request,
        login      => \@login,
        error_code => \@status,
        forwarded  => \@forwarded,
    );
}

defaults(
    http_config => gate_http(),
    config      => gate_config('registry_auth_catalog off; registry_auth_v1_search off;'),
    accounts    => "alice:secret\nbob:secret\n",
);
run_tests($spec . join '', <DATA>);

__DATA__
=== A right to push is none to delete (zot GHSA-qg67-7m6v-qg25)
--- redis
HSET docker-registry:user:bob grant:alice/app pull,push
--- login: bob:secret
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "DELETE /v2/alice/app/manifests/v1", "DELETE /v2/alice/app/blobs/$d", "DELETE /v1/repositories/alice/app/",
  "DELETE /v1/repositories/alice/app/tags/v1", "PUT /v2/alice/app/manifests/v1",
  "GET /v2/alice/app/manifests/v1",
  "DELETE /v2/alice/app/blobs/uploads/1234" ]
--- error_code eval
[ 403, 403, 403, 403, 200, 200, 200 ]
--- forwarded eval
[ 0, 0, 0, 0, 1, 1, 1 ]

=== A right to pull is none to push
--- redis
HSET docker-registry:user:bob grant:alice/app pull
--- login: bob:secret
--- request eval
[ "GET /v2/alice/app/tags/list", "POST /v2/alice/app/blobs/uploads/", "PATCH /v2/alice/app/blobs/uploads/1",
  "GET /v2/alice/app/blobs/uploads/1", "DELETE /v2/alice/app/blobs/uploads/1",
  "PUT /v2/alice/app/manifests/v1",
  "PUT /v1/repositories/alice/app/", "GET /v1/repositories/alice/app/images" ]
--- error_code eval
[ 200, 403, 403, 403, 403, 403, 403, 200 ]

=== A right to delete alone is none to read
--- redis
HSET docker-registry:user:bob grant:alice/app delete
--- login: bob:secret
--- request eval
[ "DELETE /v2/alice/app/manifests/v1", "GET /v2/alice/app/manifests/v1", "PUT /v2/alice/app/manifests/v1" ]
--- error_code eval
[ 200, 403, 403 ]

=== A grant holds for its pattern only, which is anchored
--- redis
HSET docker-registry:user:bob grant:team/* pull grant:deep/** pull
--- login: bob:secret
--- request eval
[ map { "GET /v2/$_/tags/list" } qw(team/a team/a/b team xteam/a deep/a/b/c my/team/a) ]
--- error_code eval
[ 200, 403, 403, 403, 200, 403 ]

=== A denial wins, over the own namespace too
--- redis
HSET docker-registry:user:alice grant:!alice/secret/** * grant:!alice/ro push,delete
--- login: alice:secret
--- request eval
[ "GET /v2/alice/secret/x/tags/list", "GET /v2/alice/app/tags/list", "GET /v2/alice/ro/tags/list",
  "PUT /v2/alice/ro/manifests/v1", "DELETE /v2/alice/ro/manifests/v1" ]
--- error_code eval
[ 403, 200, 200, 403, 403 ]

=== The own namespace is <user>/**, neither <user> nor <user>x/**
--- login: alice:secret
--- request eval
[ map { "GET /v2/$_/tags/list" } qw(alice alice/a alice/a/b alicex/a alice.x/a x/alice/a) ]
--- error_code eval
[ 403, 200, 200, 403, 403, 403 ]

=== registry_auth_own_namespace off: nothing without a grant
--- config eval
Harness::gate_config("registry_auth_own_namespace off;")
--- redis
HSET docker-registry:user:alice grant:alice/b pull
--- login: alice:secret
--- request eval
[ "GET /v2/alice/a/tags/list", "GET /v2/alice/b/tags/list", "PUT /v2/alice/b/manifests/x", "GET /v2/" ]
--- error_code eval
[ 403, 200, 403, 200 ]

=== V1: one segment means library/<r>, also for a user of that name
--- accounts
ubuntu:secret
library:secret
--- login eval
[ "ubuntu:secret", "library:secret" ]
--- request eval
[ "PUT /v1/repositories/ubuntu/", "PUT /v1/repositories/ubuntu/" ]
--- error_code eval
[ 403, 200 ]
--- forwarded eval
[ 0, 1 ]

=== registry_auth_v1_images off: images are no route
--- config eval
Harness::gate_config("registry_auth_v1_images off;")
--- login: alice:secret
--- request eval
[ map {( "GET /v1/images/0123abc/$_", "PUT /v1/images/0123abc/$_" )} qw(layer json ancestry checksum files
  diff) ]
--- error_code_like: ^40[34]$
--- forwarded: 0

=== A name may hold segments such as blobs, manifests and tags: parsed from the right
--- login: alice:secret
--- request eval
[ "GET /v2/alice/manifests/manifests/v1", "GET /v2/alice/tags/list/tags/list",
  "GET /v2/alice/blobs/uploads/tags/list",
  "POST /v2/alice/blobs/uploads/blobs/uploads/", "GET /v2/alice/x/manifests/y/blobs/sha256:" . 'ab' x 32,
  "GET /v2/bob/x/manifests/alice/manifests/v1", "POST /v2/bob/blobs/uploads/alice/blobs/uploads/" ]
--- error_code eval
[ 200, 200, 200, 200, 200, 403, 403 ]
--- forwarded eval
[ 1, 1, 1, 1, 1, 0, 0 ]
