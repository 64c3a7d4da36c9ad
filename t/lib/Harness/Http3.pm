# HTTP/3, by a client in Python (http3.py): neither the curl nor the nghttp2 of
# Debian 12 speaks it. Called by Neighbours.pm; the answers have the same form as
# Client.pm's.
package Harness::Http3;

use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP ();
use MIME::Base64 qw(decode_base64);

my $SCRIPT = dirname(__FILE__) . '/http3.py';

# A Python with aioquic: what `make` has set up, or the system's.
sub python {
    my ($made) = grep {-x} $ENV{TEST_HTTP3_PYTHON} // (), "$Harness::ROOT/build/http3/bin/python";
    return $made // 'python3';
}

# Why there is no client; nothing where there is one.
sub why_not {
    return system(python() . " -c 'import aioquic' 2>/dev/null") == 0 ? undef
        : 'no Python with aioquic is there (make VENDORED=1 t sets one up)';
}

# The requests of all cells; those of one row on one connection.
sub many {
    my ($port, $cells, $folder) = @_;

    my (@row, %index);
    for my $cell (@$cells) {
        my $name = $cell->{row}{name};
        push @row, [] and $index{$name} = $#row unless exists $index{$name};
        push @{ $row[ $index{$name} ] }, map { [ $cell, $_ ] } @{ $cell->{request} };
    }
    my $said = JSON::PP->new->utf8->encode([ map { [ map { wanted($_->[1]) } @$_ ] } @row ]);
    open my $file, '>:raw', "$folder/http3.json" or die "$folder/http3.json: $!\n";
    print {$file} $said;
    close $file;
    open my $from, '-|', python() . " $SCRIPT $port < $folder/http3.json 2>$folder/http3.err"
        or die "python: $!\n";
    my $output = do { local $/; <$from> } // '';
    close $from;
    my $all = eval { JSON::PP->new->utf8->decode($output) }
        or die "http3.py: $@" . Harness::slurp("$folder/http3.err");

    $_->{answers} = [] for @$cells;
    for my $i (0 .. $#row) {
        push @{ $row[$i][$_][0]{answers} }, response($all->[$i][$_]) for 0 .. $#{ $row[$i] };
    }
}

sub wanted {
    my ($request) = @_;
    my ($host, @header) = ('localhost');
    for my $line (@{ $request->{headers} }) {
        my ($name, $value) = $line =~ /^([^:]+):\s*(.*)/ or next;
        if ($name =~ /^host$/i) { $host = $value }
        elsif ($name !~ /^connection$/i) { push @header, [ $name, $value ] }
    }
    return { method => $request->{method}, uri => $request->{uri}, host => $host, headers => \@header,
        body => $request->{body} };
}

sub response {
    my ($answer) = @_;
    my ($status) = map { $_->[1] } grep { $_->[0] eq ':status' } @{ $answer->{headers} };
    my @header = grep { $_->[0] !~ /^:/ } @{ $answer->{headers} };
    return {
        status  => $status // 0,
        headers => \@header,
        head    => join("\n", 'HTTP/3 ' . ($status // 0), map {"$_->[0]: $_->[1]"} @header),
        body    => decode_base64($answer->{body}),
        ($answer->{error} ? (error => $answer->{error}) : defined $status ? () : (error => 'no status')),
    };
}

1;
