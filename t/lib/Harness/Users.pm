# The two ways in which a block gets its users.
# Called by Harness.pm before the block's own `--- redis` commands:
#   --- users      alice:secret [hash=bcrypt] [backends=host:port,...] [locked]
#                  through the real tool, as an operator would
#   --- accounts   alice:secret, straight into Redis as {SHA}: fast, for the
#                  many blocks in which the form of the hash is not the matter
package Harness::Users;

use strict;
use warnings;

use Digest::SHA qw(sha1);
use IPC::Open3 qw(open3);
use MIME::Base64 qw(encode_base64);

my %made;    # text of `--- users` => what the tool left in Redis

sub apply_users {
    my ($redis, $tool, $url, $text) = @_;

    if (my $snapshot = $made{$text}) {
        $redis->restore($snapshot);
        return;
    }
    for my $line (lines($text)) {
        my ($account, @options) = split ' ', $line;
        add_user($tool, $url, $account, @options);
    }
    $made{$text} = $redis->snapshot;
}

sub add_user {
    my ($tool, $url, $account, @options) = @_;

    my ($name, $password) = split /:/, $account, 2;
    my (@hash, @after);
    for my $option (@options) {
        if    ($option =~ /^hash=(.+)$/)     { @hash = ('--hash', $1) }
        elsif ($option =~ /^backends=(.+)$/) { push @after, [ 'backend', 'set', $name, split /,/, $1 ] }
        elsif ($option eq 'locked')          { push @after, [ 'user', 'lock', $name ] }
        else                                 { die "users: unknown option $option\n" }
    }
    run($tool, $url, "$password\n", 'user', 'add', @hash, '--password-stdin', '--allow-weak', $name);
    run($tool, $url, '', @$_) for @after;
}

sub run {
    my ($tool, $url, $input, @argv) = @_;

    local $ENV{REGISTRY_AUTH_REDIS} = $url;
    my $pid = open3(my $to, my $from, undef, $tool, @argv);
    print {$to} $input;
    close $to;
    my $output = do { local $/; <$from> };
    waitpid $pid, 0;
    die "$tool @argv: exit " . ($? >> 8) . ": $output\n" if $?;
}

sub apply_accounts {
    my ($redis, $text) = @_;
    for my $line (lines($text)) {
        my ($name, $password) = split /:/, $line, 2;
        $redis->call('HSET', "docker-registry:user:$name", 'password', sha($password));
    }
}

sub sha { return '{SHA}' . encode_base64(sha1($_[0]), '') }

sub lines { return grep { /\S/ && !/^\s*#/ } split /\n/, $_[0] }

1;
