# An HTTP/1 client that sends exactly the bytes it is given.
# Called by Harness.pm. Each function returns a list of answers as made by
# Response.pm, with `error` set where none came.
package Harness::Client;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(sleep time);

use Harness::Response;

# Text of a `--- request` section and headers => { method, uri, version, headers, body }
sub parse_request {
    my ($text, $more_headers, $login, $keep) = @_;

    my ($line, $body) = split /\r?\n/, $text, 2;
    my ($method, $uri, $version) = $line =~ m{^(\S+)[ ]+(.*?)(?:[ ]+HTTP/(\d\.\d))?$}
        or die "request: cannot read '$line'\n";
    $body = '' unless defined $body;
    $body =~ s/\n\z//;

    my @more = grep {/\S/} split /\r?\n/, $more_headers // '';
    my %given = map { lc((/^([^:]+):/)[0] // '') => 1 } @more;
    push @more, 'Authorization: ' . basic($login) if defined $login && length $login;

    my @header;
    push @header, 'Host: localhost' unless $given{host};
    push @header, 'Connection: ' . ($keep ? 'keep-alive' : 'close') unless $given{connection};
    push @header, @more;
    push @header, 'Content-Length: ' . length $body
        if length $body && !$given{'content-length'} && !$given{'transfer-encoding'};

    return {
        method  => $method,
        uri     => $uri,
        version => $version // '1.1',
        headers => \@header,
        body    => $body,
    };
}

sub basic { return 'Basic ' . encode_base64($_[0], '') }

sub bytes {
    my ($request) = @_;
    return join("\r\n", "$request->{method} $request->{uri} HTTP/$request->{version}",
        @{ $request->{headers} })
        . "\r\n\r\n$request->{body}";
}

sub connect_to {
    my ($port) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        or die "nginx: port $port: $!\n";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    return $socket;
}

# One request on a connection of its own.
sub single {
    my ($port, $request, $timeout) = @_;
    my $socket = connect_to($port);
    write_all($socket, bytes($request));
    return receive($socket, $timeout, $request->{method});
}

# All requests in one write on one connection.
sub pipelined {
    my ($port, $requests, $timeout) = @_;
    my $socket = connect_to($port);
    write_all($socket, join '', map { bytes($_) } @$requests);
    return receive($socket, $timeout, map { $_->{method} } @$requests);
}

# Bytes, or a list of pieces with a pause between them; one answer is awaited
# for each request line that begins a piece or follows an empty line.
sub raw {
    my ($port, $pieces, $timeout, $pause) = @_;
    my $socket = connect_to($port);
    my $all = '';
    for my $piece (@$pieces) {
        sleep $pause if $pause && length $all;
        write_all($socket, $piece);
        $all .= $piece;
    }
    my @method = $all =~ m{(?:\A|\r\n\r\n)([A-Z]+) [^\r\n]* HTTP/1}g;
    return receive($socket, $timeout, @method ? @method : 'GET');
}

# All requests at once, each on a connection of its own; the answers in order.
sub parallel {
    my ($port, $requests, $timeout) = @_;
    my @socket = map { connect_to($port) } @$requests;
    write_all($socket[$_], bytes($requests->[$_])) for 0 .. $#socket;
    return map { receive($socket[$_], $timeout, $requests->[$_]{method}) } 0 .. $#socket;
}

# Sends and goes away without reading.
sub abort {
    my ($port, $request, $after) = @_;
    my $socket = connect_to($port);
    write_all($socket, bytes($request));
    sleep $after;
    close $socket;
    return;
}

sub write_all {
    my ($socket, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    while (length $bytes) {
        my $sent = syswrite $socket, $bytes or last;
        substr $bytes, 0, $sent, '';
    }
}

# Reads one answer per method. The last one of a connection that the server
# closes is read up to its end, to see that nothing follows it.
sub receive {
    my ($socket, $timeout, @method) = @_;

    my $select   = IO::Select->new($socket);
    my $deadline = time + $timeout;
    my ($buffer, $eof, @response) = ('', 0);
    while (@response < @method) {
        if (my $response = Harness::Response::take(\$buffer, $method[@response], $eof)) {
            push @response, $response;
            last if closes($response);
            next;
        }
        last if $eof;
        $eof = !more($socket, $select, \$buffer, $deadline);
    }
    if (@response && closes($response[-1])) {
        1 while more($socket, $select, \$buffer, $deadline);
    }
    $response[-1]{rest} = $buffer if @response;
    push @response, { status => 0, headers => [], head => '', body => '', error => "no answer: '$buffer'" }
        while @response < @method;
    return @response;
}

sub closes {
    my ($response) = @_;
    return grep {/close/i} Harness::Response::values_of($response, 'Connection');
}

sub more {
    my ($socket, $select, $buffer, $deadline) = @_;
    my $left = $deadline - time;
    return 0 if $left <= 0 || !$select->can_read($left);
    return sysread $socket, $$buffer, 262_144, length $$buffer;
}

1;
