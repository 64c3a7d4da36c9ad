# Running nginx under valgrind's memcheck when TEST_NGINX_VALGRIND is set.
# Called by Nginx.pm, and for its longer timeouts by Harness.pm. One process
# (`master_process off`), and any error or definite leak fails the block.
package Harness::Valgrind;

use strict;
use warnings;

use File::Basename qw(dirname);

my $SUPPRESSIONS = dirname(__FILE__) . '/../valgrind.suppress';

sub wanted { return $ENV{TEST_NGINX_VALGRIND} ? 1 : 0 }

sub timeout { return $_[0] * (wanted() ? 15 : 1) }

sub argv {
    my ($folder, @nginx) = @_;
    return @nginx unless wanted();
    unlink "$folder/logs/valgrind.log";
    return (
        'valgrind', '--tool=memcheck', '--leak-check=full', '--num-callers=40', '--fair-sched=yes',
        '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite',
        $ENV{TEST_NGINX_VALGRIND_SUPPRESSIONS} ? '--gen-suppressions=all' : '--gen-suppressions=no',
        "--suppressions=$SUPPRESSIONS", "--log-file=$folder/logs/valgrind.log",
        @nginx
    );
}

sub errors {
    my ($folder) = @_;
    return unless wanted();

    open my $file, '<', "$folder/logs/valgrind.log" or return 'valgrind left no log';
    my $log = do { local $/; <$file> } // '';
    my ($count) = $log =~ /ERROR SUMMARY: (\d+) errors/ or return "valgrind did not finish:\n$log";
    return $count ? "valgrind: $count errors\n$log" : ();
}

1;
