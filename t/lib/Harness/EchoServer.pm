# The registry behind nginx: records each request as the bytes it was, answers
# as the block's `--- backend` section says, by default with what it was sent.
# Runs in a process of its own, started by Backend.pm; one select loop serves
# all its ports. A request is on record before its answer is written.
#
# Options, one a line, each for everything or after a condition and ` => `:
#   status: 202 | header: Name: value | body: text | delay: 0.2 | close
#   raw: the whole answer, with \r, \n, \t and \xHH, after which the connection is closed, or not: with `open`
#   early: the answer does not wait for the request's body; there is no other answer on that connection
#   conditions: a backend's letter (`B => status: 500`) or a regular
#   expression for "METHOD uri" (`PUT /v1/ => status: 201`)
package Harness::EchoServer;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

my %REASON = (200 => 'OK', 201 => 'Created', 202 => 'Accepted', 404 => 'Not Found', 500 => 'Error');

sub run {
    my (%arg) = @_;    # ports: { A => 1234, ... }, records: file, options: file

    $SIG{PIPE} = 'IGNORE';
    my $self = bless {
        %arg,
        select  => IO::Select->new,
        listen  => {},                # fileno => letter
        peer    => {},                # fileno => connection state
        serial  => 0,
        pending => [],
        parent  => getppid,
    };
    $self->listen_on($_) for sort keys %{ $arg{ports} };
    $self->turn while getppid == $self->{parent};
}

sub listen_on {
    my ($self, $letter) = @_;
    my $socket = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $self->{ports}{$letter},
        ReuseAddr => 1,
        Listen    => 256,
    ) or die "port $self->{ports}{$letter}: $!\n";
    $self->{select}->add($socket);
    $self->{listen}{ fileno $socket } = $letter;
}

sub turn {
    my ($self) = @_;

    for my $socket ($self->{select}->can_read(@{ $self->{pending} } ? 0.01 : 1)) {
        my $letter = $self->{listen}{ fileno $socket };
        $letter ? $self->accept_from($socket, $letter) : $self->read_from($socket);
    }
    my $now = time;
    my @due = grep { $_->{at} <= $now } @{ $self->{pending} };
    $self->{pending} = [ grep { $_->{at} > $now } @{ $self->{pending} } ];
    $self->send_answer(@$_{qw(peer answer keep)}) for @due;
}

sub accept_from {
    my ($self, $listener, $letter) = @_;
    my $socket = $listener->accept or return;
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $self->{select}->add($socket);
    $self->{peer}{ fileno $socket } =
        { socket => $socket, letter => $letter, serial => ++$self->{serial}, in => '' };
}

sub read_from {
    my ($self, $socket) = @_;

    my $peer = $self->{peer}{ fileno $socket };
    if (!sysread $socket, $peer->{in}, 262_144, length $peer->{in}) {
        return $self->hang_up($peer);
    }
    my $head = index $peer->{in}, "\r\n\r\n";
    if ($head > 0 && !$peer->{early}
        && $self->options($peer->{letter}, join ' ', (split / /, $peer->{in}, 3)[0, 1])->{early}) {
        $peer->{early} = 1;
        return $self->handle($peer, substr $peer->{in}, 0, $head + 4);
    }
    return if $peer->{early};
    while (!$peer->{closed} && defined(my $length = request_length($peer->{in}))) {
        $self->handle($peer, substr $peer->{in}, 0, $length, '');
    }
}

sub hang_up {
    my ($self, $peer) = @_;
    return if $peer->{closed}++;
    $self->{select}->remove($peer->{socket});
    delete $self->{peer}{ fileno $peer->{socket} };
    close $peer->{socket};
}

# The length of the first whole request in a buffer, or undef.
sub request_length {
    my ($in) = @_;

    my $head = index $in, "\r\n\r\n";
    return if $head < 0;
    my $start  = $head + 4;
    my $header = substr $in, 0, $start;

    if ($header =~ /^transfer-encoding:\s*chunked/mi) {
        pos($in) = $start;
        while ($in =~ /\G([0-9a-f]+)[^\r\n]*\r\n/gci) {
            my $size = hex $1;
            my $next = pos($in) + $size + 2;
            return if length $in < $next;
            return $next if $size == 0;
            pos($in) = $next;
        }
        return;
    }
    my ($size) = $header =~ /^content-length:\s*(\d+)/mi;
    my $length = $start + ($size // 0);
    return length $in >= $length ? $length : undef;
}

sub handle {
    my ($self, $peer, $raw) = @_;

    open my $records, '>>:raw', $self->{records} or die "$self->{records}: $!\n";
    print {$records} "$peer->{letter} $peer->{serial} ", length $raw, "\n$raw\n";
    close $records;

    my ($line) = $raw =~ /\A([^\r\n]*)/;
    my ($method, $uri, $version) = split / /, $line, 3;
    my $option = $self->options($peer->{letter}, "$method $uri");
    return $self->hang_up($peer) if $option->{close};

    my $keep   = ($version // '') eq 'HTTP/1.1' && $raw !~ /^connection:\s*close/mi;
    my $answer = answer($peer->{letter}, $raw, $option, $method, $uri, $keep);
    if (defined $option->{raw}) {
        my %escape = (r => "\r", n => "\n", t => "\t");
        $answer = $option->{raw} =~ s/\\(?:([rnt])|x([0-9a-f]{2}))/$1 ? $escape{$1} : chr hex $2/ger;
        $keep   = $option->{open};
    }
    if ($option->{delay}) {
        push @{ $self->{pending} },
            { at => time + $option->{delay}, peer => $peer, answer => $answer, keep => $keep };
        return;
    }
    $self->send_answer($peer, $answer, $keep);
}

sub send_answer {
    my ($self, $peer, $answer, $keep) = @_;

    return if $peer->{closed};
    $peer->{socket}->blocking(1);
    while (length $answer) {
        my $sent = syswrite $peer->{socket}, $answer or last;
        substr $answer, 0, $sent, '';
    }
    $self->hang_up($peer) unless $keep && !length $answer;
}

# The options that hold for one request, read anew each time.
sub options {
    my ($self, $letter, $target) = @_;

    my %option = (header => []);
    open my $file, '<', $self->{options} or return \%option;
    while (my $line = <$file>) {
        chomp $line;
        if ($line =~ s/^(.*?) => //) {
            my $condition = $1;
            next unless $condition =~ /^[A-D]$/ ? $condition eq $letter : $target =~ /$condition/;
        }
        my ($name, $value) = $line =~ /^(\w+)(?::\s*(.*))?$/ or next;
        if   ($name eq 'header') { push @{ $option{header} }, $value }
        else                     { $option{$name} = $value // 1 }
    }
    return \%option;
}

sub answer {
    my ($letter, $raw, $option, $method, $uri, $keep) = @_;

    my $status = $option->{status} || 200;
    my $body   = $option->{body} // echo($letter, $raw, $method, $uri);
    $body =~ s/\\n/\n/g if defined $option->{body};

    my @header = @{ $option->{header} };
    unshift @header, 'Docker-Distribution-Api-Version: registry/2.0' if $uri =~ m{^/v2/?};
    unshift @header, 'Content-Type: text/plain' unless grep { /^Content-Type:/i } @header;
    push @header, 'Content-Length: ' . length $body unless $status == 204 || $status == 304;
    push @header, 'Connection: ' . ($keep ? 'keep-alive' : 'close');

    $body = '' if $method eq 'HEAD' || $status == 204 || $status == 304;
    return join("\r\n", "HTTP/1.1 $status " . ($REASON{$status} || 'Status'), @header) . "\r\n\r\n$body";
}

# Who was asked, for what, and with which headers: for tests to look at.
sub echo {
    my ($letter, $raw, $method, $uri) = @_;
    my ($head, $body) = split /\r\n\r\n/, $raw, 2;
    my (undef, @header) = split /\r\n/, $head;
    return join("\n", "backend: $letter", "method: $method", "uri: $uri", (map {"header: $_"} @header),
        "body: $body") . "\n";
}

1;
