"""A bucket behind TLS: certificates of an authority of one's own, and what is said without it."""

import os
import subprocess
import tempfile
import unittest

import parts
import services
from procs import Run, clean_environment, free_ports


class Tls(unittest.TestCase):
    """An S3 server with a certificate that no system trusts."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        parts.tools("age-keygen", "openssl")
        subprocess.run(["age-keygen", "-o", self.path("identity")], check=True, capture_output=True)
        self.certify()
        run = Run(self.path("run"))
        run.clear()
        self.addCleanup(run.stop)
        self.port = free_ports(1)[0]
        _, _, user = services.start_seaweedfs(run, f"-s3.port.https={self.port}", f"-s3.cert.file={self.path('s3.pem')}",
                                              f"-s3.key.file={self.path('s3.key')}")
        self.write("keys", "aws_access_key_id = {}\naws_secret_access_key = {}\n".format(*user.split(":")))

    def path(self, name):
        """A path in the folder of the test."""
        return os.path.join(self.folder, name)

    def write(self, name, text):
        """Writes a file of the test."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def certify(self):
        """Makes an authority, and a certificate of it for loopback."""
        self.write("extensions", "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        for command in (
                "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
                "req -newkey rsa:2048 -nodes -keyout s3.key -out s3.csr -subj /CN=s3",
                "x509 -req -in s3.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out s3.pem -days 2 -extfile extensions"):
            subprocess.run(["openssl", *command.split()], cwd=self.folder, check=True, capture_output=True)

    def listed(self, *lines):
        """What `rollkeeper vault ls` says of a bucket that nobody has made, and its exit code."""
        target = ["[keys]", "identity_file = 'identity'", "[targets]", "[[targets.list]]", "name = 'east'",
                  "url = 's3://nobody-made-it/x'", f"endpoint = 'https://127.0.0.1:{self.port}'",
                  "credentials_file = 'keys'", *lines]
        self.write("vault.toml", "\n".join(target) + "\n")
        done = subprocess.run([parts.binary(), "--config", "vault.toml", "vault", "ls"], cwd=self.folder, text=True,
                              capture_output=True, env=clean_environment(), check=False)
        return done.returncode, done.stderr

    def test_a_store_is_trusted_by_its_authority_and_by_nothing_else(self):
        code, said = self.listed()
        self.assertEqual(code, 3, said)
        self.assertIn("is not trusted", said)
        self.assertIn("ca_file", said)
        code, said = self.listed("ca_file = 'ca.pem'")
        self.assertEqual(code, 3, said)
        self.assertIn("is not there; make it", said)
