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
        'nghttp', '--verbose', "--timeout=$timeout", "--data=$file",
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
