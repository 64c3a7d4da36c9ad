# registry_auth_usage: bounded counters by user and by repository, and the page
# that shows them: who is named there was verified, and nothing else names anybody.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use JSON::PP qw(decode_json);

our $HTTP = zone_http('zone=auth:1m') . "    registry_auth_usage zone=usage:1m;\n";
our $CONFIG = gate_config() . <<'EOC';
        location = /status { registry_auth_status; }
        location = /usage { registry_auth_status usage; }
EOC

sub usage { return decode_json(http('GET /usage?format=json')->{body}) }

# One row of each, by name: "requests/pulls/pushes".
sub rows {
    my ($kind) = @_;
    my %row = map { $_->{name} => $_ } @{ usage()->{$kind} };
    return join ' ', map {"$_=$row{$_}{requests}/$row{$_}{pulls}/$row{$_}{pushes}"} sort keys %row;
}

defaults(
    http_config => $HTTP,
    config      => $CONFIG,
    accounts    => "alice:secret\nbob:secret\n",
    redis       => "HSET docker-registry:group:public grant:open/** pull\n",
    restart     => '',
);
my $spec = join '', <DATA>;
my $two = "two workers\n--- workers: 2\n--- skip_valgrind: one process there";
run_tests($spec . $spec =~ s/^(=== by user.*)$/$1, $two/mgr);

__DATA__
=== by user and by repository: requests, pulls, pushes and bytes of what was let through
--- backend
GET /v2/alice/app/manifests/gone => status: 404
PUT => status: 201
--- after
my $body = 'x' x 5000;
http($_, login => 'alice:secret')
    for ('GET /v2/alice/app/manifests/v1') x 3, 'HEAD /v2/alice/app/manifests/v1',
    'GET /v2/alice/app/tags/list', 'GET /v2/alice/app/manifests/gone', 'GET /v2/';
http("PUT /v2/bob/app/manifests/v1\n$body", login => 'bob:secret');
http('GET /v2/open/app/manifests/v1');
# Nobody who was refused counts, nor a name that was merely claimed.
http('GET /v2/alice/app/manifests/v1', login => 'bob:secret');
http('GET /v2/alice/app/manifests/v1', login => 'alice:wrong');
http('GET /v2/alice/app/manifests/v1', login => 'mallory:secret');
soon('users', 'alice=7/3/0 bob=1/0/1', sub { main::rows('users') }, 5);
soon('repositories', 'alice/app=6/3/0 bob/app=1/0/1 open/app=1/1/0', sub { main::rows('repositories') }, 5);
my $all = main::usage();
my ($bob) = grep { $_->{name} eq 'bob' } @{ $all->{users} };
equal($bob->{bytes_in} >= 5000 && $bob->{bytes_in} < 6000 ? 'so' : $bob->{bytes_in}, 'so', 'bytes in');
# The backend sends back what it got.
equal($bob->{bytes_out} > 5000 && $bob->{bytes_out} < 6000 ? 'so' : $bob->{bytes_out}, 'so', 'bytes out');
equal($bob->{last_pull}, undef, 'bob has pulled nothing');
my ($alice) = grep { $_->{name} eq 'alice' } @{ $all->{users} };
equal(abs($alice->{last_pull} - time) < 60 ? 'so' : $alice->{last_pull}, 'so', 'alice has, just now');
equal("$all->{total}{requests} $all->{total}{pulls} $alice->{missed}", '9 4 0', 'all, nothing missed');

=== what was let through counts, also where the registry's answer was replaced
--- backend
PUT => raw: nonsense\r\n\r\n
--- after
http('GET /v2/alice/app/tags/list', login => 'alice:secret');
http("PUT /v2/alice/app/manifests/v1\n" . 'x' x 5000, login => 'alice:secret');
soon('both', 'alice/app=2/0/0', sub { main::rows('repositories') }, 5);
my ($alice) = @{ main::usage()->{users} };
equal($alice->{bytes_in} > 5000 ? 'so' : $alice->{bytes_in}, 'so', 'bytes in');

=== names of repositories that do not exist take nobody's place
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m') . "    registry_auth_usage zone=usage:128k top=20;\n"
--- backend
none => status: 404
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
http("GET /v2/alice/none$_/manifests/v1", login => 'alice:secret') for 1 .. 300;
soon('the total', 301, sub { main::usage()->{total}{requests} }, 10);
equal(main::rows('repositories'), 'alice/app=1/1/0', 'repositories');
equal(main::rows('users'), 'alice=301/1/0', 'users');

=== with several prefixes, each name stands behind its own: users of one name are several people
--- config eval
$main::CONFIG . Harness::gate_config('registry_auth_prefix other;') =~ s{location /}{location /v2/team/}r
--- redis eval
'HSET other:user:alice password {SHA}5en6G6MezRroT3XKqkdPOmY/BfQ= grant:team/** pull
HSET docker-registry:group:public grant:open/** pull
HSET other:group:public grant:team/open pull'
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret') for 1 .. 2;
http('GET /v2/team/app/manifests/v1', login => 'alice:secret') for 1 .. 3;
http("GET /v2/$_/manifests/v1") for qw(open/app team/open open/app);
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('users', 'docker-registry:alice=3/3/0 other:alice=3/3/0', sub { main::rows('users') }, 5);
soon('repositories', 'docker-registry:alice/app=3/3/0 docker-registry:open/app=2/2/0 '
    . 'other:team/app=3/3/0 other:team/open=1/1/0', sub { main::rows('repositories') }, 5);

=== the numbers live over a reload
--- skip_valgrind: one process does not reload
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('before', 'alice=1/1/0', sub { main::rows('users') }, 5);
my @old = nginx_server()->workers;
nginx_server()->reload;
renewed(@old);
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('after', 'alice=2/2/0', sub { main::rows('users') }, 5);

=== more names than places: the zone stays as it is, the total is exact, and the most used one is there
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m') . "    registry_auth_usage zone=usage:128k top=20;\n"
--- config eval
Harness::gate_config('registry_auth_prefix many;') . <<'EOC'
        location = /usage { registry_auth_status usage; }
EOC
--- redis
HSET many:group:public grant:** pull
--- after
for my $round (1 .. 3) {
    for my $number (1 .. 300) {
        http("GET /v2/team/app$number/tags/list");
        http('GET /v2/team/steady/tags/list') if $number % 3 == 0;
    }
}
soon('the total', 1200, sub { main::usage()->{total}{requests} }, 10);
my $all = main::usage();
equal(scalar @{ $all->{repositories} }, 20, 'so many are shown');
my ($first) = @{ $all->{repositories} };
equal("$first->{name} $first->{requests} $first->{missed}", 'team/steady 300 0', 'the first');

=== the page is made in slices: whole for all who ask at once, whoever leaves, and inside another page
--- http_config eval
Harness::Zone::zone_http('zone=auth:1m') . "    registry_auth_usage zone=usage:8m top=5000;\n"
--- config eval
Harness::gate_config('registry_auth_prefix many;') . <<'EOC'
        location = /usage { registry_auth_status usage; }
        location = /status { registry_auth_status; }
        location = /json { rewrite ^ /usage?format=json; }
        location = /prometheus { rewrite ^ /usage?format=prometheus; }
        location = /both {
            ssi on;
            default_type text/html;
            return 200 '<!--#include virtual="/json" -->|<!--#include virtual="/prometheus" -->';
        }
EOC
--- redis
HSET many:group:public grant:** pull
--- after
my @head = ('Host: localhost', 'Connection: keep-alive');
my @common = (method => 'GET', version => '1.1', headers => \@head, body => '');
for my $from (map { 100 * $_ } 0 .. 49) {
    my @request = map { { @common, uri => "/v2/team/app$_/tags/list" } } $from + 1 .. $from + 100;
    Harness::Client::pipelined(expand('$TEST_NGINX_SERVER_PORT'), \@request, 20);
}
soon('the total', 5000, sub { main::usage()->{total}{requests} }, 10);
my ($line) = Harness::Client::parse_request('GET /usage?format=prometheus', undef, undef, 0);
Harness::Client::abort(expand('$TEST_NGINX_SERVER_PORT'), $line, 0) for 1 .. 3;
my %seen = map { scalar(() = $_->{body} =~ /^registry_auth_repository_pulls_total\{/mg) => 1 }
    http_many(5, 'GET /usage?format=prometheus');
equal(join(' ', keys %seen), '5000', 'rows for each of them');
my $json = http('GET /usage?format=json')->{body};
equal(header(http('HEAD /usage?format=json'), 'Content-Length'), length $json, 'HEAD');
my $names = sub { return scalar @{ decode_json($_[0])->{repositories} } };
equal($names->(http("GET /usage?format=json\n" . 'x' x 300_000)->{body}), 5000, 'a request with a body');
($json, my $text) = split /\|/, http('GET /both')->{body};
equal($names->($json), 5000, 'inside another page');
equal(scalar(() = $text =~ /^registry_auth_repository_pulls_total\{/mg), 5000, 'twice');
soon('lists in the making', 'none', sub {
    my $text = http('GET /status?format=prometheus')->{body};
    return $text =~ /^registry_auth_lists 0$/m ? 'none' : $text;
}, 5);

=== as text for Prometheus, which promtool accepts, and as a page
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('counted', 'alice=1/1/0', sub { main::rows('users') }, 5);
my $text = http('GET /usage?format=prometheus')->{body};
equal($text =~ /^registry_auth_user_pulls_total\{user="alice"\} 1$/m ? 'so' : $text, 'so', 'alice');
my $sent = qr/^registry_auth_repository_sent_bytes_total\{repository="alice\/app"\} [1-9]/m;
equal($text =~ $sent ? 'so' : $text, 'so', 'bytes of the repository');
my $file = expand('$TEST_NGINX_SERVROOT/usage.txt');
open my $out, '>', $file or die $!;
print {$out} $text;
close $out;
my $said = `promtool check metrics <$file 2>&1`;
equal("$? $said", '0 ', 'promtool check metrics');
my $page = http('GET /usage', headers => 'Accept: text/html')->{body};
equal($page =~ m{<th scope="row">alice</th><td>1</td>} ? 'so' : $page, 'so', 'the page');
equal($page =~ /<script/ ? $page : 'none', 'none', 'script');

=== the other page names nobody
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('counted', 'alice=1/1/0', sub { main::rows('users') }, 5);
for my $form (qw(html json prometheus openmetrics)) {
    my $body = http("GET /status?format=$form&usage")->{body};
    equal($body =~ /alice/ ? $body : 'none', 'none', $form);
}

=== what is counted needs no zone of registry_auth_cache
--- http_config eval
Harness::gate_http() . "    registry_auth_usage zone=usage:1m top=5;\n"
--- config eval
Harness::gate_config() . "location = /usage { registry_auth_status usage; }\n"
--- after
http('GET /v2/alice/app/manifests/v1', login => 'alice:secret');
soon('counted', 'alice=1/1/0', sub { main::rows('users') }, 5);

=== V1: the list of an image's layers is a pull, and storing it a push
--- after
http('GET /v1/repositories/alice/app/images', login => 'alice:secret');
http('PUT /v1/repositories/alice/app/images', login => 'alice:secret');
http('GET /v1/repositories/alice/app/tags', login => 'alice:secret');
soon('counted', 'alice=3/1/1', sub { main::rows('users') }, 5);

=== a zone that is too small for top=
--- http_config
    registry_auth_usage zone=usage:512k;
--- must_die
--- error_log
"registry_auth_usage" directive: 1000 users and as many repositories need

=== the page without what it shows
--- http_config
--- config
        location = /usage { registry_auth_status usage; }
--- must_die
--- error_log
"registry_auth_status usage" needs "registry_auth_usage" to count by user

=== another word
--- config
        location = /usage { registry_auth_status users; }
--- must_die
--- error_log
nothing, or "usage", is expected
