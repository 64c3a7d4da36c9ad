# HTTP/2 with prior knowledge. Called by Harness.pm for blocks with `--- http2`;
# the answer has the same form as Client.pm's. Requests without a body are
# curl's. Those with one are nghttp's: when nginx answers before the body is
# there it ends the stream with RST_STREAM, for which curl 7.88 drops the answer.
package Harness::Http2;

use strict;
use warnings;

use Harness::Response;

sub single {
    my ($port, $request, $timeout, $folder) = @_;

    my $url    = "http://127.0.0.1:$port$request->{uri}";
    my @header = grep { !/^(?:Connection|Content-Length):/i } @{ $request->{headers} };
    return length $request->{body}
        ? with_nghttp($url, $request, \@header, $timeout, $folder)
        : with_curl($url, $request, \@header, $timeout);
}

# The requests of all cells over TLS (curl 7.88 cannot use a connection of prior knowledge twice), those of
# one cell on one connection. One with a body is sent alone: nghttp sends no other after it.
sub many {
    my ($port, $cells, $timeout, $folder) = @_;

    my @common = ('--silent', '--show-error', '--http2', '--insecure', '--path-as-is', '--globoff',
        '--noproxy', '*',
        '--max-time', $timeout, '--write-out', '%{num_connects} ');
    for my $cell (@$cells) {
        my @request = @{ $cell->{request} };
        if (length $request[0]{body}) {
            # It would take the answer out of gzip by itself.
            my @header = ('Accept-Encoding: identity',
                grep { !/^(?:Connection|Content-Length|Accept-Encoding):/i } @{ $request[0]{headers} });
            $cell->{answers} = [ with_nghttp("https://127.0.0.1:$port$request[0]{uri}", $request[0], \@header,
                $timeout, $folder) ];
            $cell->{answers}[0]{identity} = 1;
            next;
        }
        my (@argv, @file);
        for my $i (0 .. $#request) {
            my $request = $request[$i];
            push @file, [ "$folder/http2.head.$i", "$folder/http2.body.$i" ];
            unlink @{ $file[-1] };
            push @argv, $i ? '--next' : (), @common, '--dump-header', $file[-1][0], '--output', $file[-1][1],
                $request->{method} eq 'HEAD' ? '--head' : ('--request', $request->{method}),
                (map { ('--header', $_) } grep { !/^Connection:/i } @{ $request->{headers} }),
                "https://127.0.0.1:$port$request->{uri}";
        }
        my $said = output('curl', '--stderr', '-', @argv);
        $cell->{answers} = [ map { from_files(@$_, $said) } @file ];
    }
}

# What curl has written, and said: how many connections it made for each request.
sub from_files {
    my ($head, $body, $said) = @_;
    my $text = Harness::slurp($head);
    my $response = Harness::Response::head($text =~ s/\s*\z//r);
    $response->{body} = Harness::slurp($body);
    $response->{body} = '' if $response->{body} eq $text;    # of HEAD
    $response->{error} = "curl: $said" if $said !~ /^1 0 $/ || $response->{version} ne '2';
    return $response;
}

sub with_curl {
    my ($url, $request, $headers, $timeout) = @_;

    my $output = output(
        'curl',  '--silent', '--http2-prior-knowledge', '--path-as-is', '--globoff',
        '--max-time', $timeout, '--include', '--noproxy', '*',
        $request->{method} eq 'HEAD' ? '--head' : ('--request', $request->{method}),
        (map { ('--header', $_) } @$headers), $url
    );
    my $end = index $output, "\r\n\r\n";
    return failed("curl: '$output'") if $end < 0;
    my $response = Harness::Response::head(substr $output, 0, $end);
    $response->{body} = substr $output, $end + 4;
    return $response;
}

sub with_nghttp {
    my ($url, $request, $headers, $timeout, $folder) = @_;

    my $file = "$folder/http2.body";
    open my $out, '>:raw', $file or die "$file: $!\n";
    print {$out} $request->{body};
    close $out;

    my @header = map {/^Host:\s*(.*)/i ? ":authority: $1" : $_} @$headers;
    my $output = output(
        'nghttp', '--verbose', '--no-verify-peer', "--timeout=$timeout", "--data=$file",
        (map {"--header=$_"} ":method: $request->{method}", @header), $url
    );
    my ($stream) = $output =~ /recv \(stream_id=(\d+)\) :status: / or return failed("nghttp: $output");
    my @line = $output =~ /^\[ *[\d.]+\] recv \(stream_id=$stream\) (.+?)\r?$/mg;
    my $status = shift(@line) =~ s/^:status: //r;
    my $response = Harness::Response::head(join "\r\n", "HTTP/2 $status", @line);

    # The bytes of a DATA frame come right before the line about it.
    $response->{body} = '';
    while ($output =~ /\[ *[\d.]+\] recv DATA frame <length=(\d+), flags=\w+, stream_id=$stream>/g) {
        $response->{body} .= substr $output, $-[0] - $1, $1;
    }
    return $response;
}

sub output {
    my (@argv) = @_;
    open my $from, '-|', @argv or die "$argv[0]: $!\n";
    binmode $from;
    my $output = do { local $/; <$from> } // '';
    close $from;
    return $output;
}

sub failed { return { status => 0, headers => [], head => '', body => '', error => $_[0] } }

1;
