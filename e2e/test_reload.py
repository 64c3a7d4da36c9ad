"""`nginx -s reload` in the middle of pushes: whoever is pushing notices nothing."""

import threading
import unittest

from harness import image
from harness.case import StackCase
from harness.client import Skopeo
from harness.throttle import Throttle
from harness.wire import Wire, digest, path_of
from testkit.process import eventually


class Reload(StackCase):
    def test_an_upload_in_one_request(self):
        """A PATCH whose body dribbles in while nginx is reloaded three times."""
        alice = Wire(self.stack, "alice")
        data = bytes(range(256)) * 4096
        location = alice.start_upload("alice/slow").header("location")[0]
        workers = self.stack.nginx.workers()

        def dribble():
            for number, at in enumerate(range(0, len(data), 65536)):
                yield data[at:at + 65536]
                if number in (2, 6, 10):
                    before = self.stack.nginx.workers()
                    self.stack.nginx.reload()
                    self.stack.nginx.await_new_workers(before)

        answer = alice("PATCH", path_of(location), body=dribble(),
                       headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(answer.status, 202, answer)
        finished = alice("PUT", path_of(answer.header("location")[0]) + "&digest=" + digest(data), body=b"",
                         headers={"Content-Type": "application/octet-stream"})
        self.assertEqual(finished.status, 201, finished)
        self.assertEqual(alice("GET", f"/v2/alice/slow/blobs/{digest(data)}").body, data)
        self.assertFalse(set(workers) & set(self.stack.nginx.workers()))

    def test_a_real_client(self):
        """skopeo pushing 8 MB at 4 MB/s; the old workers stay until it is done, and then go."""
        stack = self.stack
        with Throttle(stack.nginx.port, bytes_per_second=4_000_000) as line:
            skopeo = Skopeo(stack, stack.directory / "skopeo")
            # Through the slow line: nginx hands the client's own idea of host and port to the registry.
            direct = stack.address
            stack.address = f"{direct.split(':')[0]}:{line.port}"
            self.addCleanup(setattr, stack, "address", direct)
            self.assertEqual(skopeo.login("alice", stack.passwords["alice"]).returncode, 0)
            layout = stack.directory / "slow"
            image.layout(layout, {"noise": bytes(range(256)) * 32768})
            result = []
            push = threading.Thread(target=lambda: result.append(skopeo.push("alice/image", layout)))
            push.start()
            self.assertIsNotNone(eventually(lambda: line.passed > 1_000_000, 60), "nothing arrives")
            old = stack.nginx.workers()
            stack.nginx.reload()
            stack.nginx.await_new_workers(old)
            self.assertTrue(push.is_alive(), "the push was over before the reload: nothing is proven")
            push.join()
            self.assertEqual(result[0].returncode, 0, result[0].stdout)
            pulled = skopeo.pull("alice/image")
            self.assertEqual(pulled.returncode, 0, pulled.stdout)
        stack.nginx.process.await_ready(lambda: not set(old) & set(stack.nginx.all_workers()), seconds=20)


class ReloadBearer(Reload):
    """With tokens, whose random key is in memory that the new workers take over."""

    options = {"bearer": True}

    def test_a_token(self):
        robot = Wire(self.stack, "alice").with_token("repository:alice/token:pull,push")
        for _ in range(3):
            blob = robot.push_blob("alice/token", b"of a token that is older than the workers")
            before = self.stack.nginx.workers()
            self.stack.nginx.reload()
            self.stack.nginx.await_new_workers(before)
        self.assertEqual(robot("GET", f"/v2/alice/token/blobs/{blob}").status, 200)


if __name__ == "__main__":
    unittest.main()
