"""Of which crates each of the two programs is made, with versions and licences: CycloneDX, by
cargo-cyclonedx."""

import json
import os

from testkit.process import must

from . import ROOT
from .release import NAME, date

PROGRAMS = ("ngx-http-registry-auth-module", "registry-authctl")
# A name that no other file has; cargo-cyclonedx writes one beside each Cargo.toml.
_FILE = "registry-auth-sbom"


def write(folder, target="x86_64-unknown-linux-gnu"):
    """One file for each program in `folder`; without what differs from one run to the next, or from machine
    to machine."""
    folder.mkdir(parents=True, exist_ok=True)
    must([str(ROOT / "tools/cargo-cyclonedx"), "cyclonedx", "--format", "json", "--target", target,
          "--no-build-deps", "--spec-version", "1.5", "--override-filename", _FILE], 900, cwd=ROOT,
         env={**os.environ, "SOURCE_DATE_EPOCH": str(date())})
    for crate in (ROOT, *(ROOT / "crates").iterdir()):
        written = crate / f"{_FILE}.json"
        if not written.exists():
            continue
        text = written.read_text(encoding="utf-8")
        written.unlink()
        whole = json.loads(text.replace(f"file://{ROOT}", f"file:///{NAME}"))
        name = whole["metadata"]["component"]["name"]
        if name in PROGRAMS:
            whole.pop("serialNumber", None)
            (folder / f"{name}.cdx.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n",
                                                     encoding="utf-8")
    missing = [name for name in PROGRAMS if not (folder / f"{name}.cdx.json").exists()]
    if missing:
        raise SystemExit(f"cargo-cyclonedx has written nothing of {', '.join(missing)}")
