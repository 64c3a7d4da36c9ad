"""What a release is called, of which version it is and from when: each said in one place, and read here."""

import functools
import os
import re

from testkit.process import must

from . import ROOT

NAME = "nginx-registry-auth"
DIST = ROOT / "build/dist"


@functools.cache
def version():
    """That of [workspace.package] in Cargo.toml."""
    text = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    package = text[text.index("[workspace.package]"):]
    return re.search(r'^version = "([^"]+)"$', package, re.M)[1]


@functools.cache
def date():
    """When the commit was made, in seconds; what is made from it is as old as it. SOURCE_DATE_EPOCH says it
    where there is no git."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    return int(told or must(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]).strip())
