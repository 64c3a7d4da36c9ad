# The echo backends A to D as a test sees them: start, options, what they got.
# Called by Harness.pm and Checks.pm. Records are read from where the block
# began, so each block sees only its own requests.
package Harness::Backend;

use strict;
use warnings;

use Harness::EchoServer;
use Harness::Process;

sub new {
    my ($class, %arg) = @_;    # ports: { A => port, ... }, folder
    my $self = bless { %arg, offset => 0 }, $class;
    $self->{records} = "$self->{folder}/backend.records";
    $self->{options} = "$self->{folder}/backend.options";
    return $self;
}

sub start {
    my ($self) = @_;
    $self->{pid} = Harness::Process::start_sub('echo backend',
        sub { Harness::EchoServer::run(map { $_ => $self->{$_} } qw(ports records options)) });
}

# A new block: its options, and nothing received yet.
sub begin {
    my ($self, $options) = @_;
    open my $file, '>', $self->{options} or die "$self->{options}: $!\n";
    print {$file} $options // '';
    close $file;
    $self->{offset} = -s $self->{records} || 0;
    $self->{seen}   = [];
}

# What came since begin(): [ { backend, connection, raw, line, text } ... ]
sub received {
    my ($self) = @_;

    open my $file, '<:raw', $self->{records} or return [];
    seek $file, $self->{offset}, 0;
    while (defined(my $head = <$file>)) {
        my ($letter, $connection, $length) = $head =~ /^(\w) (\d+) (\d+)$/ or last;
        my $raw;
        my $got = read $file, $raw, $length;
        last if $got < $length;
        readline $file;
        $self->{offset} = tell $file;
        push @{ $self->{seen} },
            {
            backend    => $letter,
            connection => $connection,
            raw        => $raw,
            line       => ($raw =~ /\A([^\r\n]*)/)[0],
            text       => readable($raw),
            };
    }
    return $self->{seen};
}

# One header a line; a control byte inside one is shown, so that a line is a line.
sub readable {
    my ($raw) = @_;
    my ($head, $body) = split /\r\n\r\n/, $raw, 2;
    my @line = split /\r\n/, $head;
    s/([\x00-\x08\x0a-\x1f\x7f])/sprintf '\\x%02x', ord $1/ge for @line;
    return join("\n", @line) . "\n\n" . ($body // '');
}

1;
