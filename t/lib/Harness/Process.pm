# Child processes of a test: started in their own right, ended by their pid.
# Used by Nginx.pm, Redis.pm and Backend.pm. Whatever is still alive when the
# test ends or dies is killed from here, and by the kernel when the test is
# killed itself, so that no run leaves a process behind.
package Harness::Process;

use strict;
use warnings;

use POSIX ":sys_wait_h";
use Time::HiRes qw(sleep time);

my %alive;         # pid => name
my $owner = $$;    # forked helpers must not kill their siblings

# prctl(PR_SET_PDEATHSIG, SIGTERM): the number of the call, where it is known.
my %PRCTL = (x86_64 => 157, aarch64 => 167);
my $prctl = $PRCTL{ (POSIX::uname())[4] };

sub die_with_parent { syscall($prctl, 1, 15) if defined $prctl }

# Runs argv with its output in a file; returns the pid.
sub start {
    my ($name, $output, @argv) = @_;

    my $pid = fork();
    die "fork: $!\n" unless defined $pid;
    if ($pid == 0) {
        die_with_parent();
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $output;
        open STDERR, '>>&', \*STDOUT;
        { exec { $argv[0] } @argv }
        print "exec $argv[0]: $!\n";
        POSIX::_exit(127);
    }
    $alive{$pid} = $name;
    return $pid;
}

# Runs a function in a child that never returns.
sub start_sub {
    my ($name, $code) = @_;

    my $pid = fork();
    die "fork: $!\n" unless defined $pid;
    if ($pid == 0) {
        $SIG{INT} = $SIG{TERM} = 'DEFAULT';
        die_with_parent();
        eval { $code->(); 1 } or print STDERR "$name: $@";
        POSIX::_exit(0);
    }
    $alive{$pid} = $name;
    return $pid;
}

# Waits at most so many seconds; returns the wait status or undef.
sub reap {
    my ($pid, $seconds) = @_;

    my $deadline = time + $seconds;
    my $pause    = 0.001;
    while (1) {
        my $got = waitpid $pid, WNOHANG;
        if ($got == $pid || $got == -1) {
            delete $alive{$pid};
            return $got == -1 ? 0 : $?;
        }
        return if time > $deadline;
        sleep $pause;
        $pause *= 1.5 if $pause < 0.02;
    }
}

# Returns the wait status, or undef when it had to be killed.
sub stop {
    my ($pid, $signal, $seconds) = @_;

    kill $signal, $pid;
    my $status = reap($pid, $seconds);
    return $status if defined $status;
    kill 'KILL', $pid;
    reap($pid, 5);
    return;
}

sub stop_all {
    return if $$ != $owner;
    for my $pid (keys %alive) {
        kill 'CONT', $pid;
        stop($pid, 'TERM', 3);
    }
}

$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { stop_all(); exit 130 };
$SIG{PIPE} = 'IGNORE';

END {
    my $status = $?;
    stop_all();
    $? = $status;
}

1;
