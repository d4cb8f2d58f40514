"""What can be tested of compose.yaml and the Dockerfile without Docker."""

import http.server
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest

import parts


def text(name):
    """A file of the repository."""
    with open(os.path.join(parts.ROOT, name), encoding="utf-8") as file:
        return file.read()


class Answers(http.server.BaseHTTPRequestHandler):
    """A replica that answers /readyz with the status of its server."""

    def do_GET(self):
        """Answers."""
        self.send_response(self.server.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


class Compose(unittest.TestCase):
    """The pieces that run inside the containers, and the folder that the image is built from."""

    @unittest.skipUnless(os.geteuid() == 0, "the script gives the files to another user")
    def test_the_init_step_makes_secrets_once_and_a_good_configuration(self):
        parts.tools("age-keygen")
        made = []
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                secrets, targets = os.path.join(folder, "secrets"), os.path.join(folder, "targets")
                first, again = (self.init(secrets, targets) for _ in range(2))
                self.assertEqual(first, again)
                self.assertEqual(sorted(os.listdir(targets)), ["a", "b", "c"])
                done = subprocess.run([parts.binary(), "config", "check", "--config", f"{secrets}/rollkeeper.toml"],
                                      capture_output=True, text=True, check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                made.append(first)
        for name in ("identity", "token", "zookeeper-auth"):
            self.assertNotEqual(made[0][name], made[1][name])

    def init(self, secrets, targets):
        """Runs the init step; the files that it leaves."""
        subprocess.run(["sh", os.path.join(parts.ROOT, "dev", "compose-init.sh"), secrets, targets], check=True,
                       capture_output=True)
        files = {}
        for name in os.listdir(secrets):
            path = os.path.join(secrets, name)
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (10001, 0o600), name)
            with open(path, encoding="utf-8") as file:
                files[name] = file.read()
        return files

    def test_the_healthcheck_tells_a_ready_replica_from_others(self):
        check = re.search(r"^ *- (exec .*/dev/tcp/.*)$", text("compose.yaml"), re.M)[1]
        with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            check = check.replace("/8080", f"/{server.server_port}")
            for server.status, healthy in ((200, True), (503, False)):
                done = subprocess.run(["bash", "-c", check], check=False)
                self.assertEqual(done.returncode == 0, healthy, server.status)
            server.shutdown()
        self.assertNotEqual(subprocess.run(["bash", "-c", check], capture_output=True, check=False).returncode, 0)

    def test_the_build_context_of_the_image_holds_everything_that_the_build_reads(self):
        allowed = re.findall(r"^!(.*)$", text(".dockerignore"), re.M)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(parts.ROOT, "target"))
        with open(os.path.join(target, "debug", "rollkeeper.d"), encoding="utf-8") as file:
            read = file.read().partition(": ")[2].split()
        described = subprocess.run(["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"], check=True,
                                   cwd=parts.ROOT, capture_output=True)
        for package in json.loads(described.stdout)["packages"]:
            read += [package["manifest_path"], *(target["src_path"] for target in package["targets"])]
        read += [os.path.join(parts.ROOT, "Cargo.lock")]
        read += [os.path.join(parts.ROOT, name) for name in re.findall(r"^COPY (dev/\S+)", text("Dockerfile"), re.M)]
        self.assertGreater(len(read), 50)
        missing = [path for path in (os.path.relpath(path, parts.ROOT) for path in read)
                   if not any(path == entry or path.startswith(entry + "/") for entry in allowed)]
        self.assertEqual(missing, [])
