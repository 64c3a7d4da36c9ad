# A real nginx: its configuration, start, stop, `nginx -t`, and its logs.
# Called by Harness.pm. It is restarted only when the configuration of a block
# differs from the one before; logs are read from where the block began.
package Harness::Nginx;

use strict;
use warnings;

use IO::Socket::INET;
use Time::HiRes qw(sleep time);

use Harness::Process;
use Harness::Valgrind;

sub new {
    my ($class, %arg) = @_;    # binary, module, folder, port, h2_port
    my $self = bless { %arg, running => '' }, $class;
    mkdir "$self->{folder}/$_" for qw(logs html tmp);
    $self->{about} = join '', qx($self->{binary} -V 2>&1);
    die "$self->{binary}: cannot be run\n" if $self->{about} !~ m{^nginx version: nginx/(\d+)\.(\d+)\.(\d+)}m;
    $self->{version} = $1 * 1_000_000 + $2 * 1000 + $3;
    return $self;
}

# Whether it was configured with an option (`--with-debug`), or is of a version (`nginx 1.29.7`: or a later
# one; `nginx before 1.29.7`).
sub built_with {
    my ($self, $what) = @_;
    my ($before, @number) = $what =~ /^nginx (before )?(\d+)\.(\d+)\.(\d+)$/
        or return index($self->{about}, $what) >= 0;
    my $is_later = $self->{version} >= $number[0] * 1_000_000 + $number[1] * 1000 + $number[2];
    return $before ? !$is_later : $is_later;
}

# part: main_config, event_config, http_config, config, workers, log_level, http_only
sub configuration {
    my ($self, %part) = @_;

    my $load    = $self->{module} eq 'none' ? '' : "load_module $self->{module};";
    my $user    = $> == 0                   ? 'user root;' : '';
    my $process = Harness::Valgrind::wanted() ? 'master_process off;' : "worker_processes $part{workers};";
    my $root    = $self->{folder};
    my $temp    = join "\n    ",
        map {"${_}_temp_path $root/tmp/$_;"} qw(client_body proxy fastcgi uwsgi scgi);
    my $http2   = $self->{version} >= 1_025_001 ? [ ';', 'http2 on;' ] : [ ' http2;', '' ];
    my $access  = $part{http_config} =~ /^\s*access_log\b/m ? '' : "access_log $root/logs/access.log;";

    return <<"EOC";
$load
$user
$process
daemon off;
pid $root/logs/nginx.pid;
error_log $root/logs/error.log $part{log_level};
$part{main_config}
events {
    worker_connections 512;
$part{event_config}
}
http {
    $temp
    $access
    default_type text/plain;
$part{http_config}
    server {
        listen 127.0.0.1:$self->{port};
        listen 127.0.0.1:$self->{h2_port}$http2->[0]
        $http2->[1]
        server_name localhost;
        root $root/html;
$part{config}
    }
}
EOC
}

sub write_configuration {
    my ($self, $text) = @_;
    my $path = "$self->{folder}/nginx.conf";
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} $text;
    close $file;
    return $path;
}

sub argv {
    my ($self, $path) = @_;
    return ($self->{binary}, '-p', "$self->{folder}/", '-c', $path, '-e', "$self->{folder}/logs/error.log");
}

# `nginx -t`: (exit status, everything it said)
sub test_configuration {
    my ($self, $text) = @_;
    my $path = $self->write_configuration($text);
    my $out  = "$self->{folder}/nginx-t.out";
    unlink $out;
    my $pid    = Harness::Process::start('nginx -t', $out, $self->argv($path), '-t');
    my $status = Harness::Process::reap($pid, 30);
    return ($status // -1, slurp($out));
}

# Runs this configuration, unless it is the one that runs already.
sub ensure {
    my ($self, $text) = @_;
    return if $self->{running} eq $text && $self->{pid};
    $self->start($text);
}

sub start {
    my ($self, $text) = @_;

    my $path = $self->write_configuration($text);
    my @argv = Harness::Valgrind::argv($self->{folder}, $self->argv($path));
    $self->{pid} = Harness::Process::start('nginx', "$self->{folder}/nginx.out", @argv);
    my $deadline = time + Harness::Valgrind::timeout(10);
    while (1) {
        last if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
        if (time > $deadline || defined Harness::Process::reap($self->{pid}, 0.003)) {
            delete $self->{pid};
            die "nginx does not start:\n" . slurp("$self->{folder}/nginx.out") . $self->new_errors . "\n";
        }
    }
    $self->{running} = $text;
}

# Ends it gracefully; returns what was wrong with that, as a list.
sub stop {
    my ($self) = @_;

    my $pid = delete $self->{pid} or return;
    my $single = $self->{running} =~ /^\s*master_process off/m;
    $self->{running} = '';

    # A single process may look at its flags just before the signal and sleep
    # in epoll_wait just after it (nginx's own race): told again, it wakes.
    my $status;
    if ($single) {
        for (1 .. Harness::Valgrind::timeout(8)) {
            kill 'QUIT', $pid;
            last if defined($status = Harness::Process::reap($pid, 1));
        }
    }
    $status = Harness::Process::stop($pid, 'QUIT', Harness::Valgrind::timeout(8)) unless defined $status;

    my @wrong;
    push @wrong, 'nginx did not end within 8 s of SIGQUIT' unless defined $status;
    push @wrong, "nginx ended with wait status $status" if $status && !Harness::Valgrind::wanted();
    push @wrong, Harness::Valgrind::errors($self->{folder});
    return @wrong;
}

sub reload { kill 'HUP', $_[0]{pid} }

# The pids of the workers (or of the one process) that run now. The master may
# listen a moment before it starts them.
sub workers {
    my ($self) = @_;
    return $self->{pid} if $self->{running} =~ /^\s*master_process off/m;
    for (1 .. 200) {
        open my $file, '<', "/proc/$self->{pid}/task/$self->{pid}/children" or last;
        my @pid = split ' ', <$file> // '';
        return @pid if @pid;
        sleep 0.01;
    }
    return $self->{pid};
}

# A new block begins: only what is logged from now on counts.
sub mark {
    my ($self) = @_;
    $self->{from}{$_} = -s "$self->{folder}/logs/$_.log" || 0 for qw(error access);
}

sub new_errors { return $_[0]->since('error') }
sub new_access { return $_[0]->since('access') }

sub since {
    my ($self, $log) = @_;
    open my $file, '<:raw', "$self->{folder}/logs/$log.log" or return '';
    seek $file, $self->{from}{$log} || 0, 0;
    return do { local $/; <$file> } // '';
}

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or return '';
    return do { local $/; <$file> } // '';
}

1;
