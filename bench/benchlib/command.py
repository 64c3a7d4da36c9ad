"""What the commands of bench/ have in common: the options that name the programs, signals, and the exit
status.

Exit status: 0; 1 something did not hold; 2 usage; 3 nothing can be said because a server did not start or
answered wrongly.
"""

import argparse
import os
import signal
import sys

from testkit.process import Failed

from .stage import Stage

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(os.path.dirname(BENCH), "build")
TOOL = os.path.join(BUILD, "registry-authctl")


def parser(name, description):
    """A parser of the arguments of bench/NAME, with the options of all."""
    made = argparse.ArgumentParser(prog=f"bench/{name}", description=description)
    made.add_argument("--module", type=os.path.abspath,
                      default=os.path.join(BUILD, "ngx_http_registry_auth_module.so"))
    made.add_argument("--nginx", default="/usr/sbin/nginx")
    return made


def main(name, measure):
    """Calls `measure(stage)` on a stage of its own; the exit status: its own status, or 3."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with Stage() as stage:
            return measure(stage)
    except Failed as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
