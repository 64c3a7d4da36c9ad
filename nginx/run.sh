#!/bin/sh
# `make run`: nginx with the module, Redis and two registries to try it out; PORT= or --port chooses nginx's port.
exec python3 "$(dirname "$0")/../e2e/run.py" "$@"
