# Rules 2 and 3; end-11: a mount needs push on the target
# and pull on the source; else the upload goes on without it, its query
# otherwise untouched. The backend's request line tells.
use strict;
use warnings;
use lib 't/lib';
use Harness;

defaults(
    http_config => gate_http(),
    config      => gate_config(),
    accounts    => "alice:secret\nbob:secret\n",
    login       => 'alice:secret',
    backend     => "status: 202\n",
    error_code  => 202,
);
run_tests();

__DATA__
=== end-11: with pull on the source a mount is forwarded as it came
--- request eval
my $d = 'sha256:' . 'ab' x 32;
my $e = 'sha256%3A' . 'ab' x 32;
[ "POST /v2/alice/app/blobs/uploads/?mount=$d&from=alice/other",
  "POST /v2/alice/app/blobs/uploads/?from=alice%2Fother&mount=$e",
  "POST /v2/alice/app/blobs/uploads/?a=%zz&mount=$e&b=c+d&from=alice%2fother&e" ]
--- forwarded: 1

=== end-11: without pull on the source it loses its mount and goes on
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "POST /v2/alice/app/blobs/uploads/?mount=$d&from=bob/app",
  "POST /v2/alice/app/blobs/uploads/?from=bob%2Fapp&mount=$d",
  "POST /v2/alice/app/blobs/uploads/?mount=$d&from=b%6Fb/app" ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 3: mount without from is stripped
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "POST /v2/alice/app/blobs/uploads/?mount=$d", "POST /v2/alice/app/blobs/uploads/?mount=$d&from=",
  "POST /v2/alice/app/blobs/uploads/?mount=$d&from",
  "POST /v2/alice/app/blobs/uploads/?mount" ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== from without mount is stripped
--- request
POST /v2/alice/app/blobs/uploads/?from=bob/app
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 2: a duplicate is not allowed, wherever the good one stands
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" }
  "mount=$d&from=alice/other&from=bob/app", "mount=$d&from=bob/app&from=alice/other",
      "from=alice/other&mount=$d&mount=$d",
  "mount=$d&from=alice/other&%66rom=bob/app", "mount=$d&from=alice/other&FROM=bob/app",
  "mount=$d&from=alice/other&from=alice/other" ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 2: an encoded key is the key that it decodes to
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" }
  "mount=$d&%66rom=bob/app", "%6dount=$d&from=bob/app", "%6D%6F%75%6E%74=$d&%66%72%6F%6D=bob/app",
      "mount=$d&fro%6D=bob/app" ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 2: odd case is not allowed
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" } "Mount=$d&From=bob/app", "MOUNT=$d&FROM=bob/app",
  "mount=$d&fRoM=bob/app", "Mount=$d&from=alice/other", "mOunt=$d&%46ROM=bob/app" ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 2: a source that does not parse is not allowed
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?mount=$d&from=$_" }
  "alice/../bob/app", "alice/other%00", "alice/other%00bob", "Alice/other", "alice%252Fother", "alice/other/",
      "/alice/other", "alice/other+", "alice/%zz", "alice/other%0a",
  "alice//other", "alice/" . 'a' x 250 ]
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== rule 2: joined by a semicolon it does not reach the backend either
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" }
  "mount=$d;from=bob/app", "a=1;from=bob/app&mount=$d", "mount=$d&from=alice/other;from=bob/app",
      "a=1;mount=$d;from=bob/app;b=2" ]
--- backend_not_received
bob
mount

=== rule 2: no other byte of the query is touched
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" }
  "a=1&mount=$d&b=%zz&from=bob/app&c=d%26e+f%2F&&=", "mount=$d&a=%2f%2F&from=bob/app",
      "a=1&from=bob/app&mount=$d", "digest=$d&mount=$d",
  "xmount=1&mount=$d&fromage=2&mountain=3" ]
--- forwarded eval
my $d = 'sha256:' . 'ab' x 32;
[ map { "POST /v2/alice/app/blobs/uploads/?$_" }
  "a=1&b=%zz&c=d%26e+f%2F&&=", "a=%2f%2F", "a=1", "digest=$d", "xmount=1&fromage=2&mountain=3" ]

=== a grant to pull the source keeps the mount, one to push does not
--- redis
HSET docker-registry:user:alice grant:bob/shared pull grant:bob/drop push
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "POST /v2/alice/app/blobs/uploads/?mount=$d&from=bob/shared",
  "POST /v2/alice/app/blobs/uploads/?mount=$d&from=bob/drop" ]
--- forwarded eval
[ 1, "POST /v2/alice/app/blobs/uploads/" ]

=== a denial of the source strips the mount
--- redis
HSET docker-registry:user:alice grant:!alice/secret/** *
--- request eval
my $d = 'sha256:' . 'ab' x 32;
"POST /v2/alice/app/blobs/uploads/?mount=$d&from=alice/secret/x"
--- forwarded: POST /v2/alice/app/blobs/uploads/

=== push on the target is needed in any case
--- login eval
[ "alice:secret", "" ]
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ ("POST /v2/bob/app/blobs/uploads/?mount=$d&from=alice/other") x 2 ]
--- error_code eval
[ 403, 401 ]
--- forwarded: 0

=== the body of an upload whose mount was stripped arrives whole
--- request eval
my $d = 'sha256:' . 'ab' x 32;
"POST /v2/alice/app/blobs/uploads/?digest=$d&mount=$d&from=bob/app\nfrom=bob/app&mount=$d"
--- more_headers
Content-Type: application/octet-stream
--- forwarded eval
"POST /v2/alice/app/blobs/uploads/?digest=sha256:" . 'ab' x 32
--- backend_received_like
^from=bob/app&mount=sha256:
^Content-Length: 90$

=== rule 2: a form body could say from and mount: refused on an upload POST
--- request eval
[ ("POST /v2/alice/app/blobs/uploads/\nmount=sha256%3Aab&from=bob%2Fapp") x 7 ]
--- more_headers eval
[ map { "Content-Type: $_" } "application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded",
  "application/x-www-form-urlencoded; charset=utf-8",
  "multipart/form-data; boundary=a", "multipart/form-data", "Multipart/Form-Data; boundary=a",
  " application/x-www-form-urlencoded ;a=b" ]
--- error_code_like: ^4(?!01)\d\d$
--- forwarded: 0

=== rule 2: also as the first of two content types
--- request
POST /v2/alice/app/blobs/uploads/
from=bob/app
--- more_headers
Content-Type: application/x-www-form-urlencoded
Content-Type: text/plain
--- error_code_like: ^4(?!01)\d\d$
--- forwarded: 0

=== a form that comes in chunks is refused, even where the first chunk is the last one
--- request eval
"POST /v2/alice/app/blobs/uploads/\n0\r\n\r\n\n"
--- more_headers
Content-Type: application/x-www-form-urlencoded
Transfer-Encoding: chunked
--- error_code_like: ^4(?!01)\d\d$
--- forwarded: 0

=== a form without a body (curl -d '') hides nothing: the upload begins, and a mount in the query is judged
--- request eval
[ "POST /v2/alice/app/blobs/uploads/", "POST /v2/alice/app/blobs/uploads/?mount=sha256:ab&from=bob/app" ]
--- more_headers eval
[ "Content-Type: application/x-www-form-urlencoded\nContent-Length: 0",
  "Content-Type: multipart/form-data; boundary=a" ]
--- forwarded eval
[ "POST /v2/alice/app/blobs/uploads/", "POST /v2/alice/app/blobs/uploads/" ]

=== an upload without the final slash needs the same right, and its mount is judged
--- request eval
[ "POST /v2/alice/app/blobs/uploads", "POST /v2/alice/app/blobs/uploads?mount=sha256:ab&from=bob/app",
  "POST /v2/bob/app/blobs/uploads" ]
--- error_code eval
[ 202, 202, 403 ]
--- forwarded eval
[ "POST /v2/alice/app/blobs/uploads", "POST /v2/alice/app/blobs/uploads", 0 ]

=== other content types of an upload POST pass
--- request eval
[ ("POST /v2/alice/app/blobs/uploads/") x 3 ]
--- more_headers eval
[ "", "Content-Type: application/octet-stream", "Content-Type: application/json" ]
--- forwarded: 1

=== over HTTP/2 the query is rewritten too
--- http2
--- request eval
my $d = 'sha256:' . 'ab' x 32;
[ "POST /v2/alice/app/blobs/uploads/?mount=$d&from=bob/app&a=%2F",
  "POST /v2/alice/app/blobs/uploads/?mount=$d&from=alice/other" ]
--- forwarded eval
[ "POST /v2/alice/app/blobs/uploads/?a=%2F", 1 ]
