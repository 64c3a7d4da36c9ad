"""`make run`: every printed command works as printed, and however it ends, no process and no file stays."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import types
import unittest
from pathlib import Path

from harness.client import Podman
from harness.daemon import Dockerd
from harness.nginx import connected_again
from harness.stack import ROOT
from harness.terminal import Terminal
from testkit import ports
from testkit.process import eventually

SCRIPT = [str(ROOT / "demo" / "run")]
READY = "Ctrl-C stops everything"
END = 20


class RunCase(unittest.TestCase):
    """Each demo's temporary files go into `folder`, so that whatever stays is seen."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="registry-auth-run-"))
        self.addCleanup(shutil.rmtree, self.folder)
        # nginx's workers reach alice's disk through it, as they do through /tmp.
        self.folder.chmod(0o711)

    def start(self, argv=None, ready=True, **environment):
        inherited = {key: value for key, value in os.environ.items() if key not in ("PORT", "REDIS")}
        demo = Terminal(argv or SCRIPT, {**inherited, "TMPDIR": str(self.folder), **environment})
        self.addCleanup(demo.close)
        if ready:
            demo.await_text(READY)
        return demo

    def port(self, demo):
        return int(re.search(r"https://localhost:(\d+)/", demo.text).group(1))

    def processes(self):
        """The pids of all processes that have a file of this test's folder open, as each part has its log.
        (Command lines would not do: nginx and Redis write theirs anew.)"""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and any(str(self.folder) in os.readlink(fd)
                                                for fd in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
            except OSError:
                pass                    # it has just ended
        return found

    def nothing_is_left(self):
        self.assertEqual(self.processes(), [])
        self.assertEqual(list(self.folder.iterdir()), [])

    def ends(self, demo, status=0):
        self.assertEqual(demo.exit_status(END), status, demo.text)


class Ending(RunCase):
    def stops(self, how, status=0, argv=None):
        demo = self.start(argv)
        # nginx's master and workers, Redis, two registries.
        self.assertGreaterEqual(len(self.processes()), 5)
        how(demo)
        self.ends(demo, status)
        self.nothing_is_left()

    def test_ctrl_c(self):
        self.stops(Terminal.press_ctrl_c)

    def test_ctrl_c_twice(self):
        """The second one comes while the first is being obeyed."""
        def twice(demo):
            demo.press_ctrl_c()
            time.sleep(0.05)
            demo.press_ctrl_c()
        self.stops(twice)

    def test_terminate(self):
        self.stops(lambda demo: demo.send(signal.SIGTERM))

    def test_hang_up(self):
        self.stops(Terminal.hang_up)

    def test_kill_9(self):
        """Nobody is left to remove the folder then; the processes go nevertheless."""
        demo = self.start()
        demo.send(signal.SIGKILL)
        self.ends(demo, -signal.SIGKILL)
        self.assertIsNotNone(eventually(lambda: not self.processes(), END), "processes stayed")

    def test_while_starting(self):
        """Whatever has been started by then: each of these moments is in the middle of something else."""
        for milliseconds in (60, 100, 140, 180, 240, 300, 400):
            with self.subTest(milliseconds=milliseconds):
                demo = self.start(ready=False)
                time.sleep(milliseconds / 1000)
                demo.press_ctrl_c()
                # Python itself, not yet ours, may be what the signal meets.
                self.assertIn(demo.exit_status(END), (0, 1, 130, -signal.SIGINT), demo.text)
                self.nothing_is_left()

    def test_through_make(self):
        """The real `make run`: make gets the Ctrl-C too, and still waits for us."""
        make = ["make", "--directory", str(ROOT), "--old-file=build", "NO_INSTALL=1", "run"]
        demo = self.start(make)
        demo.press_ctrl_c()
        self.assertIsNotNone(demo.exit_status(END), demo.text)
        self.assertIsNotNone(eventually(lambda: not self.processes(), END), "processes stayed")
        self.nothing_is_left()

    def test_a_part_that_dies(self):
        """Ends the whole, names the part and shows its log."""
        demo = self.start()
        redis = [pid for pid in self.processes()
                 if b"redis-server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        self.assertEqual(len(redis), 1)
        os.kill(redis[0], signal.SIGKILL)
        self.ends(demo, 1)
        self.assertIn("redis-server ended with status -9", demo.text)
        self.nothing_is_left()


class Ports(RunCase):
    def test_two_at_once(self):
        first, second = self.start(), self.start()
        self.assertNotEqual(self.port(first), self.port(second))
        for demo in (first, second):
            demo.press_ctrl_c()
            self.ends(demo)
        self.nothing_is_left()

    def test_two_started_in_the_same_moment(self):
        demos = [self.start(ready=False) for _ in range(3)]
        for demo in demos:
            demo.await_text(READY)
        self.assertEqual(len({self.port(demo) for demo in demos}), 3)

    def test_chosen(self):
        port = ports.free()
        self.assertEqual(self.port(self.start(PORT=str(port))), port)

    def test_chosen_and_taken(self):
        """PORT= gets that port or none."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            demo = self.start(ready=False, PORT=str(port))
            self.ends(demo, 1)
        self.assertIn(f"port {port} is in use", demo.text)
        self.nothing_is_left()

    def test_no_port(self):
        for wrong in ("0", "65536", "http"):
            with self.subTest(port=wrong):
                self.ends(self.start(ready=False, PORT=wrong), 2)


class Sentinel(RunCase):
    """REDIS=sentinel: what is printed makes failovers, and the demo says what each did to logins."""

    def test_failovers(self):
        demo = self.start(REDIS="sentinel")
        planned, crash = (next(line.strip() for line in demo.text.splitlines() if word in line)
                          for word in ("SENTINEL FAILOVER", "kill -9"))
        self.type(planned)
        demo.await_text("Failover: the master was")
        self.await_a_login(Path(re.search(r"all of it in (\S+)\)", demo.text).group(1), "nginx"))
        self.type(crash)
        demo.await_text("is back.")
        told = [line for line in demo.text.splitlines() if line.startswith("Failover:")]
        self.assertEqual(len(told), 2, demo.text)
        for line in told:
            self.assertRegex(line, r"Of \d+ logins until now 0 failed\.")
        demo.press_ctrl_c()
        self.ends(demo)
        self.nothing_is_left()

    def await_a_login(self, folder):
        """Waits until each worker has the new master, and alice has then been let in for three seconds. What
        a worker has read from a master counts in the next outage only when all changes before it are known
        to be heard (docs/operations.md, "When Redis is down"), which takes a second."""
        def connected():
            log = (folder / "error.log").read_text(errors="replace")
            workers = {int(pid) for pid in re.findall(r"start worker process (\d+)", log)}
            return workers <= connected_again(log)

        def logins():
            return (folder / "access.log").read_text(errors="replace").count('"GET /v2/ HTTP/1.1" 200')

        self.assertIsNotNone(eventually(connected, 30), "a worker has no master")
        before = logins()
        self.assertIsNotNone(eventually(lambda: logins() > before + 15, 30), "no login")

    def type(self, line):
        done = subprocess.run(["bash", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_no_topology(self):
        self.ends(self.start(ready=False, REDIS="ring"), 2)


class Commands(RunCase):
    """Types what is printed, and nothing else."""

    def setUp(self):
        super().setUp()
        self.demo = self.start()
        printed = [line[4:] for line in self.demo.text.splitlines() if line.startswith("    ")]
        self.first = next(line for line in printed if line.startswith("cd "))
        self.commands = printed[printed.index(self.first) + 1:]

    def environment(self):
        """A home of its own; Debian's docker before another one."""
        return {**os.environ, "HOME": str(self.folder), "PATH": f"/usr/bin:{os.environ['PATH']}"}

    def type(self, programs, environment):
        """Runs the printed commands of these programs in order, in one shell each, as after the printed
        `cd`."""
        mine = [line for line in self.commands if any(re.search(program, line) for program in programs)]
        self.assertTrue(mine, self.demo.text)
        for line in mine:
            done = subprocess.run(["bash", "-c", f"{self.first}\n{line}"], env=environment, text=True,
                                  timeout=120,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False)
            with self.subTest(line=line):
                if "# denied" in line:
                    self.assertNotEqual(done.returncode, 0, done.stdout)
                    self.assertRegex(done.stdout, r"denied|403 \(Forbidden\)")
                else:
                    self.assertEqual(done.returncode, 0, done.stdout)
        return mine

    def test_skopeo(self):
        """The robot's commands, too: its token is made on the way. Alice's blobs come from the disk of her
        registry."""
        self.assertEqual(len(self.type(["skopeo"], self.environment())), 9)
        folder = re.search(r"all of it in (\S+)\)", self.demo.text).group(1)
        lines = Path(folder, "nginx", "access.log").read_text(encoding="ascii").splitlines()
        pulled = [line for line in lines if '"GET /v2/alice/hello/blobs/' in line]
        self.assertTrue(pulled)
        self.assertEqual([line for line in pulled if " store " not in line], [])

    def test_podman(self):
        """In an image storage of the test's own."""
        stack = types.SimpleNamespace(address=f"localhost:{self.port(self.demo)}")
        podman = Podman(stack, self.folder / "podman")
        environment = {**podman.environment(), "PATH": self.environment()["PATH"]}
        self.assertEqual(len(self.type(["podman"], environment)), 6)

    def test_docker(self):
        """With a daemon that knows nothing of the CA: for localhost docker does without."""
        hosts = self.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n", encoding="ascii")
        nothing = self.folder / "nothing"
        nothing.mkdir()
        daemon = Dockerd(self.folder / "dockerd", hosts, f"localhost:{self.port(self.demo)}", nothing)
        self.addCleanup(daemon.stop)
        environment = {**self.environment(), "DOCKER_HOST": daemon.url}
        self.assertEqual(len(self.type(["docker login", "docker load", "docker push", "docker pull"],
                                       environment)), 6)

    def test_the_others(self):
        """After a push there is something to see."""
        self.type(["^echo .*skopeo login", "^skopeo copy (?!.*robot)"], self.environment())
        lines = self.type(["registry-authctl (?!token)", "curl", "tail"], self.environment())
        self.assertEqual(len(lines), 6)

    def test_none_is_forgotten(self):
        """Each printed line is typed by one of the tests above."""
        known = re.compile(r"skopeo|podman|docker (login|load|push|pull)|registry-authctl|curl|tail")
        for line in self.commands:
            self.assertRegex(line, known)

    def test_after_all_that_nothing_is_left(self):
        self.type(["skopeo"], self.environment())
        self.demo.press_ctrl_c()
        self.ends(self.demo)
        self.nothing_is_left()


if __name__ == "__main__":
    unittest.main()
