# Reads HTTP/1 answers from a buffer. Used by Client.pm and Http2.pm.
# Strict on purpose: what is left over after an answer is a failure of the
# server (a body after HEAD, two bodies) and is kept as `rest`.
package Harness::Response;

use strict;
use warnings;

# Takes one answer off the front of the buffer, or returns undef when it is
# not whole yet. `eof`: nothing more will come.
sub take {
    my ($buffer, $method, $eof) = @_;

    while ($$buffer =~ /\AHTTP\/[\d.]+ 1\d\d[^\r\n]*\r\n/) {
        my $end = index $$buffer, "\r\n\r\n";
        return if $end < 0;
        substr $$buffer, 0, $end + 4, '';
    }
    my $end = index $$buffer, "\r\n\r\n";
    return if $end < 0;
    my $response = head(substr $$buffer, 0, $end);
    my $length = body_length($response, $method, $$buffer, $end + 4, $eof);
    return unless defined $length;

    my $raw = substr $$buffer, $end + 4, $length;
    substr $$buffer, 0, $end + 4 + $length, '';
    $response->{body} = chunked($response) ? unchunk($raw) : $raw;
    return $response;
}

sub head {
    my ($text) = @_;
    my ($line, @line) = split /\r\n/, $text;
    my ($version, $status) = $line =~ m{^HTTP/(\S+) (\d{3})};
    my @header = map { /^([^:]+):[ \t]*(.*?)[ \t]*$/s ? [ $1, $2 ] : [ $_, '' ] } @line;
    return { version => $version // '', status => $status // 0, headers => \@header, head => $text };
}

# All values of a header, in order.
sub values_of {
    my ($response, $name) = @_;
    return map { $_->[1] } grep { lc $_->[0] eq lc $name } @{ $response->{headers} };
}

sub chunked { return grep { /chunked/i } values_of($_[0], 'Transfer-Encoding') }

sub body_length {
    my ($response, $method, $buffer, $start, $eof) = @_;

    return 0 if $method eq 'HEAD' || $response->{status} =~ /^(?:1..|204|304)$/;
    if (chunked($response)) {
        pos($buffer) = $start;
        while ($buffer =~ /\G([0-9a-f]+)[^\r\n]*\r\n/gci) {
            my $size = hex $1;
            my $next = pos($buffer) + $size + 2;
            return if length $buffer < $next;
            return $next - $start if $size == 0;
            pos($buffer) = $next;
        }
        return;
    }
    my ($length) = values_of($response, 'Content-Length');
    return $eof ? length($buffer) - $start : undef unless defined $length;
    return length $buffer >= $start + $length ? $length : undef;
}

sub unchunk {
    my ($raw) = @_;
    my $body = '';
    while ($raw =~ /\G([0-9a-f]+)[^\r\n]*\r\n/gci) {
        my $size = hex $1 or last;
        $body .= substr $raw, pos $raw, $size;
        pos($raw) += $size + 2;
    }
    return $body;
}

1;
