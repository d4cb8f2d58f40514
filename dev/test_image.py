"""What can be tested of the image without Docker."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import parts
from procs import clean_environment

DOCKERFILE = os.path.join(parts.ROOT, "Dockerfile")


def dockerfile():
    """Its text, with continued lines joined."""
    with open(DOCKERFILE, encoding="utf-8") as file:
        return file.read().replace("\\\n", " ")


class Image(unittest.TestCase):
    """The Dockerfile and the folder that it builds from."""

    def test_hadolint_finds_nothing(self):
        done = subprocess.run([parts.hadolint(), DOCKERFILE], capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout + done.stderr, done.returncode), ("", 0))

    def test_it_runs_as_a_user_with_a_number_that_is_not_root(self):
        users = re.findall(r"^USER (.*)$", dockerfile(), re.M)
        self.assertRegex(users[-1], r"^[1-9]\d{4,}:[1-9]\d{4,}$")
        with open(os.path.join(parts.ROOT, "dev", "compose-init.sh"), encoding="utf-8") as file:
            self.assertIn(f"owner={users[-1].partition(':')[0]}\n", file.read())

    def test_its_build_command_builds_what_dockerignore_lets_through(self):
        """With the dev profile, and what is built of the dependencies: a second release build would take ten minutes."""
        (command,) = re.findall(r"cargo build [^&\n]*", dockerfile())
        self.assertIn(" --release ", command)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(parts.ROOT, "target"))
        with tempfile.TemporaryDirectory() as folder:
            context = os.path.join(folder, "src")
            let_through(context)
            # On the disk of the original, so that it is made of links.
            built = os.path.join(target, "image")
            self.addCleanup(shutil.rmtree, built, True)
            link_dependencies(os.path.join(target, "debug"), os.path.join(built, "debug"))
            done = subprocess.run(command.replace(" --release ", " ").split() + ["--offline", "--message-format", "json"],
                                  cwd=context, env={**clean_environment(), "CARGO_TARGET_DIR": built},
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        fresh = [json.loads(line) for line in done.stdout.splitlines()]
        made = {one["target"]["name"] for one in fresh if one["reason"] == "compiler-artifact" and not one["fresh"]}
        # Anything else means other flags or settings than those of the repository, `.cargo` for one.
        self.assertEqual(made, {"rollkeeper"})
        said = subprocess.run([os.path.join(built, "debug", "rollkeeper"), "version"], capture_output=True, text=True,
                              check=True)
        self.assertRegex(said.stdout, r"^rollkeeper \d")


def let_through(context):
    """Copies what .dockerignore lets through into a new folder."""
    with open(os.path.join(parts.ROOT, ".dockerignore"), encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*" and all(line.startswith("!") for line in lines[1:]), "this test knows no other pattern"
    for name in (line[1:] for line in lines[1:]):
        source, copy = os.path.join(parts.ROOT, name), os.path.join(context, name)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, copy)
        else:
            shutil.copy2(source, copy)


def link_dependencies(source, copy):
    """Makes a folder of what cargo has built, without what it built of ourselves.

    Large files are linked; what cargo would write into where it stands is copied.
    """
    own = re.compile(r"(lib)?(rollkeeper|it|budgets)-[0-9a-f]{16}")
    for part in (".fingerprint", "build", "deps"):
        os.makedirs(os.path.join(copy, part), exist_ok=True)
        for entry in os.scandir(os.path.join(source, part)):
            to = os.path.join(copy, part, entry.name)
            if own.match(entry.name):
                continue
            if entry.is_dir():
                shutil.copytree(entry.path, to)
            else:
                os.link(entry.path, to)


if __name__ == "__main__":
    unittest.main()
