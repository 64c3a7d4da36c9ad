# Rule 5: Basic and Bearer decide alike. Over the whole route table,
# legal and illegal: the same principal by a password, by a token for the scope
# that the challenge names, and by an access token for everything gets the same
# status, the same body, and sends the same request line to the backend.
use strict;
use warnings;
use lib 't/lib';
use Harness;
use Harness::Zone;
use Harness::Token;
use Harness::Routes;
use Test::More;

# Everything may be done by one, nothing by another; a third is locked.
our %TOKEN = map { $_ => access_token() } qw(mighty meek locked);
our $ACCOUNTS = join '', map { 'HSET docker-registry:user:' . $_ . ' password ' . ($_ eq 'locked' ? '!' : '')
    . Harness::Users::sha('secret') . "\n"
        . stored_token($_, 'all', $TOKEN{$_}, 999_999, '**:*') } sort keys %TOKEN;

# What a request comes to: status, the backend's request line, and the body. What a 401 says in words depends
# on what was sent.
sub outcome {
    my ($row, %arg) = @_;
    my $before = @{ Harness::backend()->received };
    my $answer = http($row->{line}, %arg, headers => $row->{headers} . ($arg{headers} // ''));
    my @record = @{ Harness::backend()->received };
    my $lines = join '|', map { $_->{line} } @record[ $before .. $#record ];
    my $body  = $answer->{status} == 401
        && length $answer->{body} ? json($answer)->{errors}[0]{code} : $answer->{body};
    return ($answer, join "\n", $answer->{status}, $lines, $body);
}

my %known;

# A token for this scope: of the endpoint, but for whom it refuses; that one's was issued before.
sub for_scope {
    my ($user, $scope) = @_;
    my @scope = split / /, $scope;
    return $known{$user}{$scope} //= $user eq 'locked' ? signed(user => $user, scope => \@scope)
        : token("$user:secret", @scope);
}

sub compare {
    my ($row) = @_;
    my ($nobodys) = outcome($row);
    my $scope = header($nobodys, 'WWW-Authenticate') =~ /scope="([^"]*)"/ ? $1 : '';
    $scope = $row->{scope} // '' if $row->{is_v1};
    for my $user (sort keys %TOKEN) {
        my ($answer, $by_password) = outcome($row, login => "$user:secret");
        my (undef, $by_token) = outcome($row, headers => bearer(for_scope($user, $scope)));
        my (undef, $by_access_token) = outcome($row, login => "$user:$TOKEN{$user}");
        is($by_token,        $by_password, "$row->{line} of $user - by token") if $row->{has_token};
        is($by_access_token, $by_password, "$row->{line} of $user - by access token");
        like($answer->{status}, expected($row, $user), "$row->{line} of $user - status");
    }
}

# That they agree is nothing where all are wrong.
sub expected {
    my ($row, $user) = @_;
    # nginx takes scheme and host out of a target before anybody sees it.
    my $is_absolute = $row->{line} =~ m{ http://};
    # It sees another path than the table's request in some, which is refused with the other of two codes.
    return qr/^40[04]$/ if $row->{line} =~ m{^\S+ (?:\*|[^?]*//)} && !$is_absolute;
    my $is_told_after_login = $row->{answer} =~ /^404 (?:NAME|MANIFEST|BLOB)_UNKNOWN$/;
    return qr/^404$/ if $is_told_after_login && $user ne 'locked';
    return qr/^$1$/ if $row->{answer} =~ /^(4\d\d) / && !$is_absolute && !$is_told_after_login;
    return qr/^200$/ if $row->{answer} eq 'none';
    return qr/^401$/ if $user eq 'locked';
    return $user eq 'meek' && ($row->{repository} || $is_absolute) ? qr/^403$/ : qr/^200$/;
}

my $spec = '';
our @SECTION = routes();
for my $i (0 .. $#SECTION) {
    $spec .= spec_block("same answers: $SECTION[$i][0]",
        after => "main::compare(\$_) for \@{ \$main::SECTION[$i][1] };\n");
}

defaults(
    http_config => token_http(),
    config      => token_config(),
    backend     => "GET /v2/_catalog => body: {\"repositories\":[\"alice/a\",\"locked/a\",\"meek/a\",\"mighty/a\",\"team/a\"]}\n"
        . join('', map {"GET /v1/search$_ => body: {\"num_results\":1,\"query\":\"a\",\"results\":[{\"name\":\"meek/a\",\"description\":\"\"}]}\n"} '', '?q=a'),
    redis       => $ACCOUNTS . "HSET docker-registry:user:mighty grant:** *\n",
);
run_tests($spec);
