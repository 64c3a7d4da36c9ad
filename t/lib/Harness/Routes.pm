# The route table of the core's own tests (crates/registry-auth/tests/routes.txt,
# whose head explains it), for tests that try each of its lines in a real nginx.
package Harness::Routes;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(routes);

# A segment of a repository's name in the grammar of OCI.
my $SEGMENT = qr/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/;
my $HEX = '0123456789abcdef' x 4;
my %STAND_IN = (
    'd'    => "sha256:$HEX",
    'd%'   => "sha256%3A$HEX",
    'd%a'  => "sha256%3a$HEX",
    '512'  => "sha512:$HEX$HEX",
    'n255' => 'alice/' . 'n' x 249,
    'n256' => 'alice/' . 'n' x 250,
    's247' => 's' x 247,
    's248' => 's' x 248,
    't128' => 't' x 128,
    't129' => 't' x 129,
);

# Sections: [ title, lines ], a line as { line (request line and body), headers, answer, and what it needs:
# action (or `exists`: pull or push), repository }.
sub routes {
    my $path = "$Harness::ROOT/crates/registry-auth/tests/routes.txt";
    open my $file, '<', $path or die "$path: $!\n";
    my @section;
    while (my $text = <$file>) {
        chomp $text;
        next if $text =~ /^(?:#|$)/;
        if ($text =~ /^== (.*)/) {
            push @section, [ $1, [] ];
            next;
        }
        $text =~ s/\{([^}]+)\}/$STAND_IN{$1} \/\/ die "$path: {$1}\n"/ge;
        my ($method, $target, $more, $answer) = $text =~ /^(\S+)\s+(\S+)(.*) -> (.*)$/
            or die "$path: $text\n";
        my ($type) = $more =~ /type=(\S+)/;
        my ($action, $repository) = $answer =~ /^(pull|push|delete|exists) (\S+)/;
        my ($images) = $answer =~ /^images (\S+)/;
        push @{ $section[-1][1] }, {
            # A type says nothing of a body that is not there.
            line    => "$method $target" . ($type ? "\nx=y" : ''),
            headers => $type ? "Content-Type: $type\n" : '',
            answer  => $answer,
            # V1's challenge is Basic and names no scope: its clients know no tokens.
            is_v1 => $target =~ m{^/v1/} ? 1 : 0,
            # No token can be issued for a name that V1 has and OCI has not.
            has_token => !$action || $repository =~ m{^$SEGMENT(?:/$SEGMENT)*$} ? 1 : 0,
            $action ? (action => $action, repository => $repository,
                scope => "repository:$repository:pull,push,delete") : (),
            $answer eq 'search' ? (scope => 'registry:catalog:*') : (),
            $images ? (scope => "registry:images:$images") : (),
        };
    }
    return @section;
}

1;
