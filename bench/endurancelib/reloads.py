"""Reloads under hundreds of keepalive connections: PUTs that get no answer, with the module and without it.

nginx closes the idle connections of the workers that are to end, and a request may be on its way on one of
these: its client sees the end of the connection where it expects an answer. That is nginx's own; what has to
hold is that the module does not add to it. Both take turns in one run, so that whatever else the machine does
befalls both.
"""

import re
import signal
import time

from benchlib import people
from testkit.process import Failed

from . import load
from .gate import Broken, Plain

CONNECTIONS = 300
PAUSE = 0.5  # seconds between two reloads
ROUNDS = 6  # of each
BODY = 512


def run(gate, args):
    plain = Plain(gate, args.nginx)
    name = people.user(1)
    line = f"PUT\t/v2/{name}/app/manifests/latest\t{people.authorization(name)}\t{BODY}\n"
    stream = gate.stage.write("puts.stream", line)
    lost, answers = {"plain": 0, "gate": 0}, {"plain": 0, "gate": 0}
    each = max(1, args.reloads // ROUNDS)
    for turn in range(ROUNDS):
        order = [("plain", plain), ("gate", gate)]
        for title, one in order if turn % 2 else reversed(order):
            seen = _puts(one, stream, each)
            lost[title] += seen[0]
            answers[title] += seen[1]
            print(f"round {turn + 1}, {title}: {each} reloads, {seen[1]:,} PUTs answered, {seen[0]} not",
                  flush=True)
    for title in lost:
        rate = lost[title] / (lost[title] + answers[title])
        per = lost[title] / (each * ROUNDS)
        print(f"{title}: {lost[title]} PUTs without an answer, {per:.1f} a reload, {rate:.5%} of all")
    if not lost["plain"]:
        raise Failed("plain nginx answered every PUT: nothing is compared")
    ratio = lost["gate"] / lost["plain"]
    print(f"the gate loses {ratio:.2f} times as many as plain nginx in {each * ROUNDS} reloads")
    # Counts differ by chance: independent ones by four times their deviation once in ten thousand runs.
    if lost["gate"] > lost["plain"] + 4 * (lost["gate"] + lost["plain"]) ** 0.5 and ratio > 1.5:
        raise Broken("a reload of the gate loses more PUTs than one of plain nginx")


def _puts(one, stream, reloads):
    """(PUTs that got no answer, PUTs that got one), of CONNECTIONS clients while `one` is reloaded."""
    seconds = int(reloads * PAUSE * 4 + 60)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "20s", "-s", load.SCRIPT,
            f"http://127.0.0.1:{one.port}", "--", stream]
    wrk = one.stage.load(argv)
    time.sleep(1)
    for _ in range(reloads):
        one.reload()
        time.sleep(PAUSE)
    wrk.send_signal(signal.SIGINT)
    said = wrk.communicate()[0]
    found = re.findall(r"^status (\d+) (\d+)$", said, re.M)
    answers = {int(status): int(count) for status, count in found}
    if not answers or max(answers) >= 400:
        raise Failed(f"PUTs were answered {answers}; wrk said:\n{said}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = [int(count) for count in errors.groups()] if errors else [0] * 4
    if failed[0] or failed[3]:
        raise Broken(f"a reload refuses connections, or lets clients wait: {errors.group()}")
    return sum(failed), sum(answers.values())
