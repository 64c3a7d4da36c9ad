"""A CA of our own and the server certificate it signs, made with openssl. Valid for a few days: nothing keeps
it."""

from .process import must

# Besides the names of the loopback one that no client treats specially: many fall back to plain HTTP for
# `localhost`, and a test of TLS must not pass because of that.
TEST_HOST = "registry.test"


def make(directory):
    """Writes ca.crt, certificate.pem and key.pem into `directory` (a Path)."""
    extensions = directory / "extensions"
    extensions.write_text(
        f"subjectAltName=DNS:localhost,DNS:{TEST_HOST},IP:127.0.0.1\n"
        "basicConstraints=critical,CA:FALSE\n"
        "extendedKeyUsage=serverAuth\n",
        encoding="ascii",
    )
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    must(["openssl", "req", "-x509", *curve, "-days", "7", "-subj", "/CN=registry demo CA",
          "-addext", "keyUsage=critical,keyCertSign,cRLSign",
          "-keyout", directory / "ca.key", "-out", directory / "ca.crt"])
    must(["openssl", "req", "-new", *curve, "-subj", "/CN=localhost",
          "-keyout", directory / "key.pem", "-out", directory / "request.pem"])
    must(["openssl", "x509", "-req", "-in", directory / "request.pem", "-days", "7",
          "-CA", directory / "ca.crt", "-CAkey", directory / "ca.key", "-CAcreateserial",
          "-extfile", extensions, "-out", directory / "certificate.pem"])
    for name in ("extensions", "request.pem", "ca.key", "ca.srl"):
        (directory / name).unlink(missing_ok=True)
