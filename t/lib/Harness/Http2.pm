# HTTP/2 with prior knowledge, spoken by curl. Called by Harness.pm for blocks
# with `--- http2`; the answer has the same form as Client.pm's.
package Harness::Http2;

use strict;
use warnings;

use Harness::Response;

sub single {
    my ($port, $request, $timeout, $folder) = @_;

    my @argv = (
        'curl', '--silent', '--http2-prior-knowledge', '--path-as-is', '--globoff',
        '--max-time', $timeout, '--include', '--noproxy', '*',
    );
    push @argv, $request->{method} eq 'HEAD' ? '--head' : ('--request', $request->{method});
    for my $header (grep { !/^(?:Connection|Content-Length):/i } @{ $request->{headers} }) {
        push @argv, '--header', $header;
    }
    if (length $request->{body}) {
        my $file = "$folder/curl.body";
        open my $out, '>:raw', $file or die "$file: $!\n";
        print {$out} $request->{body};
        close $out;
        push @argv, '--header', 'Content-Type:' unless grep {/^Content-Type:/i} @{ $request->{headers} };
        push @argv, '--header', 'Expect:', '--data-binary', "\@$file";
    }
    push @argv, "http://127.0.0.1:$port$request->{uri}";

    open my $curl, '-|', @argv or die "curl: $!\n";
    my $output = do { local $/; <$curl> };
    close $curl;
    my $exit = $? >> 8;

    my $end = index $output, "\r\n\r\n";
    return { status => 0, headers => [], head => '', body => '', error => "curl: exit $exit" } if $end < 0;
    my $response = Harness::Response::head(substr $output, 0, $end);
    $response->{body} = substr $output, $end + 4;
    $response->{rest} = '';
    return $response;
}

1;
