# What operators load into other programs (contrib/): the alert rules hold by
# Prometheus' own tests, and rules and dashboard use no metric that the status
# page does not have, nor a label value that no metric has.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use JSON::PP qw(decode_json);

our $CONTRIB = "$Harness::ROOT/contrib";

# The expressions of a text: names of metrics in it.
sub metrics_in { return sort keys %{ { map { $_ => 1 } $_[0] =~ /\b(registry_auth_\w+)/g } } }

# The families of the status page, a histogram's by the names of its samples.
sub shown { return map { $_ => 1 } http('GET /status?format=prometheus')->{body} =~ /^(registry_auth_\w+)/mg }

sub expressions {
    my ($node) = @_;
    return map { expressions($_) } @$node if ref $node eq 'ARRAY';
    return () if ref $node ne 'HASH';
    return map { $_ eq 'expr' && !ref $node->{$_} ? $node->{$_} : expressions($node->{$_}) } sort keys %$node;
}

defaults(
    http_config => zone_http('zone=auth:1m'),
    config      => zone_config() . "        location = /status { registry_auth_status; }\n",
);
run_tests();

__DATA__
=== the alert rules are sound, and each fires when it should
--- after
my $checked = `promtool check rules $main::CONTRIB/prometheus/registry-auth.rules.yml 2>&1`;
equal($?, 0, "promtool check rules: $checked");
my $tested = `promtool test rules $main::CONTRIB/prometheus/registry-auth.test.yml 2>&1`;
equal($?, 0, "promtool test rules: $tested");
my $rules = slurp("$main::CONTRIB/prometheus/registry-auth.rules.yml");
my $tests = slurp("$main::CONTRIB/prometheus/registry-auth.test.yml");
my @alert = $rules =~ /- alert: (\w+)/g;
equal(join(' ', grep { $tests !~ /alertname: $_\b/ } @alert), '', 'each alert is tested');

=== the rules use what the status page has
--- after
my %shown = main::shown();
my @rule = split /^ +- alert: /m, slurp("$main::CONTRIB/prometheus/registry-auth.rules.yml");
my @used = main::metrics_in(join '', map {s/^ +annotations:.*//msr} @rule);
equal(join(' ', grep { !$shown{$_} } @used), '', 'all is there');
equal(@used >= 8 ? 'so' : "@used", 'so', 'some are used');

=== the dashboard: panels with ids of their own that lie beside each other, and metrics that there are
--- after
my $dashboard = decode_json(slurp("$main::CONTRIB/grafana/registry-auth.json"));
my (%id, %taken, @clash);
for my $panel (@{ $dashboard->{panels} }) {
    push @clash, $panel->{id} if $id{ $panel->{id} }++;
    my ($x, $y, $w, $h) = @{ $panel->{gridPos} }{qw(x y w h)};
    push @clash, "$panel->{title}: outside" if $x + $w > 24;
    for my $cell (map { my $row = $_; map {"$_/$row"} $x .. $x + $w - 1 } $y .. $y + $h - 1) {
        push @clash, $panel->{title} if $taken{$cell}++;
    }
}
equal(join(' ', @clash), '', 'places');
my @expression = main::expressions($dashboard);
my %shown = main::shown();
equal(join(' ', grep { !$shown{$_} } map { main::metrics_in($_) } @expression), '', 'metrics');
# Prometheus parses each, with values in the place of Grafana's variables.
my $number = 0;
my $rules = join '', map {
    my $expression = s/\$__rate_interval/5m/gr =~ s/\$(?:job|instance)/.*/gr =~ s/'/''/gr;
    "  - record: panel:number:" . $number++ . "\n    expr: '$expression'\n"
} @expression;
my $file = expand('$TEST_NGINX_SERVROOT/panels.yml');
open my $out, '>', $file or die $!;
print {$out} "groups:\n- name: panels\n  rules:\n$rules";
close $out;
my $said = `promtool check rules $file 2>&1`;
equal($?, 0, "promtool: $said");
equal($said =~ /(\d+) rules found/ ? $1 : $said, scalar @expression, 'all are looked at');
