# What a block's sections say about the answers, compared with what came.
# Called by Harness.pm after the requests; every check is one `ok`. A section
# that holds a list (`eval`) speaks of each answer in turn, else of all.
package Harness::Checks;

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Harness::Response;

# Sections about one answer => function(answer, expected, name)
my %ANSWER = (
    error_code                 => \&error_code,
    error_code_like            => sub { like($_[0]{status}, pattern($_[1]), $_[2]) },
    response_headers           => \&response_headers,
    response_headers_like      => \&response_headers_like,
    raw_response_headers_like  => sub { like($_[0]{head}, pattern($_[1]), $_[2]) },
    raw_response_headers_unlike => sub { unlike($_[0]{head}, pattern($_[1]), $_[2]) },
    response_body              => \&response_body,
    response_body_like         => sub { like($_[0]{body}, pattern($_[1]), $_[2]) },
    response_body_unlike       => sub { unlike($_[0]{body}, pattern($_[1]), $_[2]) },
    oci_error                  => \&oci_error,
);

sub answers {
    my ($block, $name, $responses) = @_;

    for my $i (0 .. $#$responses) {
        my $where = @$responses > 1 ? "$name [$i]" : $name;
        my $response = $responses->[$i];
        is($response->{rest} // '', '', "$where - nothing follows the answer")
            if length($response->{rest} // '');
        error_code($response, item($block->error_code // 200, $i), "$where - error_code")
            unless defined $block->error_code_like;
        for my $section (sort keys %ANSWER) {
            next if $section eq 'error_code' || !defined $block->$section;
            my $expected = item(scalar $block->$section, $i);
            $ANSWER{$section}->($response, $expected, "$where - $section") if defined $expected;
        }
    }
}

# The expectation for answer i.
sub item {
    my ($value, $i) = @_;
    return ref $value eq 'ARRAY' ? $value->[$i] : $value;
}

sub pattern {
    my ($text) = @_;
    return $text if ref $text;
    $text =~ s/\n\z//;
    return qr/$text/s;
}

sub error_code {
    my ($response, $expected, $name) = @_;
    is($response->{status}, $expected + 0, $name)
        or diag($response->{error} // "$response->{head}\n\n$response->{body}");
}

sub header {
    my ($response, $name) = @_;
    my @value = Harness::Response::values_of($response, $name);
    return @value ? join(', ', @value) : undef;
}

# "Name: value" (several values joined by ", "), or "!Name" for none.
sub response_headers {
    my ($response, $expected, $name) = @_;
    for my $line (grep {/\S/} split /\n/, $expected) {
        if ($line =~ /^!\s*(\S+)/) {
            is(header($response, $1), undef, "$name: no $1");
            next;
        }
        my ($key, $value) = $line =~ /^([^:\s]+):\s*(.*?)\s*$/ or die "response_headers: $line\n";
        is(header($response, $key), $value, "$name: $key");
    }
}

sub response_headers_like {
    my ($response, $expected, $name) = @_;
    for my $line (grep {/\S/} split /\n/, $expected) {
        my ($key, $value) = $line =~ /^([^:\s]+):\s*(.*?)\s*$/ or die "response_headers_like: $line\n";
        like(header($response, $key) // '', qr/^(?:$value)$/, "$name: $key");
    }
}

sub response_body {
    my ($response, $expected, $name) = @_;
    is($response->{body}, $expected, $name);
}

# An OCI JSON error with this code; an optional pattern for the message.
sub oci_error {
    my ($response, $expected, $name) = @_;

    my ($code, $message) = split ' ', $expected, 2;
    like(header($response, 'Content-Type') // '', qr{^application/json}, "$name: Content-Type");
    my $json = eval { JSON::PP->new->utf8->decode($response->{body}) };
    ok($json, "$name: the body is JSON") or return diag("$@$response->{body}");
    my $error = $json->{errors};
    ok(ref $error eq 'ARRAY' && @$error == 1, "$name: one error") or return diag($response->{body});
    is($error->[0]{code}, $code, "$name: code");
    ok(exists $error->[0]{detail}, "$name: detail");
    like($error->[0]{message}, $message ? qr/$message/ : qr/\S/, "$name: message");
}

# What the echo backends were sent. `sent` lists the requests that were made,
# with the records that each of them left behind.
sub backends {
    my ($block, $name, $received, $sent) = @_;

    my $text = join '', map { $_->{text} } @$received;
    if (defined(my $expected = $block->backend_received)) {
        is($text, $expected, "$name - backend_received");
    }
    for my $like (list($block->backend_received_like)) {
        like($text, ref $like ? $like : qr/$like/m, "$name - backend_received_like");
    }
    if (defined(my $not = $block->backend_not_received)) {
        is(scalar @$received, 0, "$name - backend_not_received") or diag($text) unless ref $not
            || $not =~ /\S/;
        unlike($text, ref $_ ? $_ : qr/\Q$_\E/, "$name - backend_not_received") for list($not);
    }
    if (defined(my $by = $block->backend_received_by)) {
        is(join(' ', map { $_->{backend} } @$received), join(' ', split ' ', $by),
            "$name - backend_received_by");
    }
    if (defined(my $count = $block->backend_connections)) {
        my %seen = map { $_->{connection} => 1 } @$received;
        is(scalar keys %seen, $count, "$name - backend_connections");
    }
    return unless defined $block->forwarded;
    for my $i (0 .. $#$sent) {
        my $expected = item(scalar $block->forwarded, $i);
        forwarded($sent->[$i], $expected, @$sent > 1 ? "$name [$i]" : $name) if defined $expected;
    }
}

# 0: the backend got nothing. 1: exactly this request line. Else: this line.
sub forwarded {
    my ($sent, $expected, $name) = @_;
    my @line = map { $_->{line} =~ s{ HTTP/1\.\d$}{}r } @{ $sent->{records} };
    my @want = $expected eq '0' ? () : ($expected eq '1' ? "$sent->{method} $sent->{uri}" : $expected);
    is(join("\n", @line), join("\n", @want), "$name - forwarded");
}

# Lines of a section that are not empty, or the items of a list.
sub list {
    my ($value) = @_;
    return unless defined $value;
    return @$value if ref $value eq 'ARRAY';
    return $value if ref $value;
    return grep {/\S/} split /\n/, $value;
}

sub logs {
    my ($block, $name, $section, $log) = @_;
    for my $want (list($block->$section)) {
        ok(contains($log, $want), "$name - $section: " . shown($want)) or diag("log: " . ($log || '(empty)'));
    }
    my $not = "no_$section";
    for my $bad (list($block->$not)) {
        ok(!contains($log, $bad), "$name - $not: " . shown($bad)) or diag("log: $log");
    }
}

sub contains {
    my ($log, $want) = @_;
    return ref $want ? $log =~ $want : index($log, $want) >= 0;
}

sub shown { return ref $_[0] ? "$_[0]" : $_[0] }

# What no block may log unless it says so itself.
sub never {
    my ($block, $name, $log) = @_;
    my @bad = grep {/\[(?:emerg|alert)\]|panicked|exited on signal/} split /\n/, $log;
    for my $want (list($block->error_log)) {
        @bad = grep { !contains($_, $want) } @bad;
    }
    is(join("\n", @bad), '', "$name - no [emerg], [alert], panic or crash") if @bad;
}

1;
