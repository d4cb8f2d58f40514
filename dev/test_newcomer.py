"""The path of a newcomer, as the documents tell it: `make up`, the tour, reading a backup by hand, `make down`.

The commands are taken out of README.md and docs/formats.md, so a command that does not work there fails here. Only the
folder of the stack is another one than the developer's. What README.md and docs/operations.md name in their text is there, and the
disaster drill is carried out as it stands there.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

import documents
import newcomer
import parts
from client import Client
from documents import blocks
from newcomer import KEYS, STACK, get, make, processes, rollkeeper, shell, text_of, variables
from procs import started


class Newcomer(unittest.TestCase):
    """One stack, started by the first command of the tour."""

    @classmethod
    def setUpClass(cls):
        parts.tools("age-keygen", "zstd", "b3sum", "curl")
        make("down")
        cls.addClassCleanup(make, "down")
        cls.printed = shell("\n".join(blocks("README.md", "sh", "## A tour", "\n## Configuration")))
        cls.answers = [json.loads(line) for line in cls.printed.splitlines() if line.startswith("{")]

    def test_the_tour_of_the_readme_loses_a_user_and_brings_it_back(self):
        department, listed, changed, backup, restore, back = self.answers[:6]
        self.assertEqual(department["policy"]["backup_every"], "10s")
        self.assertEqual([user["name"] for user in listed["items"]], ["Ada"])
        self.assertEqual(changed["name"], "Ada Lovelace")
        self.assertEqual((backup["state"], backup["records"]), ("complete", 1))
        self.assertEqual((restore["state"], restore["plan"]["creates"]), ("complete", 1))
        own = ("id", "name", "department", "created_at")
        self.assertEqual([back[key] for key in own], [changed[key] for key in own])

    def test_the_tour_reads_and_restores_a_moment(self):
        changed, receipt, then, history, everybody, diff, restore = self.answers[6:13]
        self.assertEqual(changed["name"], "Countess of Lovelace")
        self.assertEqual(then["name"], "Ada Lovelace")
        self.assertEqual([user["name"] for user in everybody["items"]], ["Ada Lovelace"])
        self.assertEqual(history["items"][0]["changed"], ["name"])
        self.assertEqual(history["items"][0]["sequence"], receipt["sequence"])
        self.assertEqual([item["changed"] for item in diff["items"]], [["name"]])
        self.assertEqual((restore["state"], restore["plan"]["updates"]), ("complete", 1))

    def test_the_tour_shows_what_is_kept_and_reads_it_with_the_key_alone(self):
        department, plan = self.answers[13:15]
        self.assertEqual(department["policy"]["retention"]["keep_within"], "2d")
        self.assertEqual(plan["dropped"], 0)
        self.assertTrue(all(item["reasons"] for item in plan["items"]))
        self.assertEqual(self.printed.rstrip().splitlines()[-1], "1")

    def test_a_backup_can_be_read_by_hand_as_the_formats_document_says(self):
        self.take_a_backup_that_is_on_every_target()
        there, sums, one, newest, search = blocks("docs/formats.md", "sh", before="")
        head = shell(there + sums)
        self.assertTrue(head)
        for line in head.splitlines():
            hashed, path = line.split()
            self.assertEqual(hashed, os.path.basename(path))
        header, *_, mac = map(json.loads, shell(there + one).splitlines())
        self.assertEqual((header["kind"], list(mac)), ("chunk", ["mac"]))
        newest = [json.loads(line) for line in shell(there + one + "echo ---\n" + newest).partition("---\n")[2].splitlines()]
        self.assertEqual([user["name"] for user in newest], ["Ada Lovelace"])
        self.assertIn("$argon2id$", newest[0]["password_hash"])
        self.assertIn(newest[0]["id"], shell(there + one + search))

    def test_the_smallest_configuration_of_the_readme_is_a_good_one(self):
        (text,) = blocks("README.md", "toml", "## Configuration")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(STACK, "identity"), encoding="utf-8") as file:
                identity = file.read()
            files = {"mongodb-uri": "mongodb://127.0.0.1/?replicaSet=rs0", "zookeeper-auth": "user:password",
                     "identity": identity, "token": "t" * 32}
            for name, content in files.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(content)
            text = text.replace("/etc/rollkeeper", folder).replace("/srv/backups", folder)
            text = text.replace("age1...", re.search("age1[a-z0-9]+", identity)[0])
            config = os.path.join(folder, "rollkeeper.toml")
            with open(config, "w", encoding="utf-8") as file:
                file.write(text)
            done = subprocess.run([parts.binary(), "config", "check", "--config", config], capture_output=True, text=True,
                                  check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_up_tells_where_the_replicas_and_the_token_are(self):
        for url in variables()["ROLLKEEPER_URLS"].split():
            self.assertIn(f"{url}  (documentation: {url}/docs)", self.printed)
            with urllib.request.urlopen(f"{url}/docs", timeout=10) as page:
                self.assertEqual((page.status, page.headers.get_content_type()), (200, "text/html"))
        self.assertIn(f"token: {STACK}/token\n", self.printed)
        with open(os.path.join(STACK, "token"), encoding="utf-8") as file:
            self.assertEqual(file.read().strip(), variables()["ROLLKEEPER_TOKEN"])

    def test_the_environment_names_the_serving_processes_in_the_order_of_the_urls(self):
        found = variables()
        self.assertEqual(list(found), KEYS)
        self.assertRegex(found["MONGODB_URI"], r"^mongodb://127\.0\.0\.1:\d+/rollkeeper\?replicaSet=rs0$")
        urls, pids, targets = (found[key].split() for key in ("ROLLKEEPER_URLS", "ROLLKEEPER_PIDS", "ROLLKEEPER_TARGETS"))
        self.assertEqual((len(urls), len(pids), len(targets)), (3, 3, 3))
        for url, pid in zip(urls, pids):
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                program, command, *_, config = file.read().rstrip("\0").split("\0")
            self.assertEqual((os.path.basename(program), command), ("rollkeeper", "serve"))
            self.assertEqual(get(url, "/cluster")[1]["X-Served-By"], os.path.basename(os.path.dirname(config)))
        for target in targets:
            self.assertTrue(os.path.exists(os.path.join(target, "rollkeeper.json")))

    def test_up_while_it_is_up_changes_nothing(self):
        before = (variables(), processes())
        code, printed = make("up")
        self.assertEqual((code, (variables(), processes())), (0, before))
        self.assertIn("already running", printed)
        self.assertIn(variables()["ROLLKEEPER_URLS"].split()[0], printed)

    def test_every_command_that_the_documents_name_is_there_with_its_options(self):
        targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.M))
        for file in ("README.md", "docs/operations.md"):
            commands = documents.named(file)
            for command in commands.get("make", ()):
                self.assertIn(command.split()[1], targets, command)
            for command in commands["rollkeeper"]:
                words, options = documents.words_and_options(command)
                told = rollkeeper(*words, "--help")
                self.assertEqual([option for option in options if option not in told], [], command)

    def test_what_the_readme_says_beside_its_tour_works(self):
        tour = blocks("README.md", "sh", "## A tour")[0].replace("make up\n", "")
        commands = documents.named("README.md")
        beside = [command for command in sorted(commands["call"] | commands["json"])
                  if not any(command in block for block in blocks("README.md", "sh", before=""))]
        self.assertEqual(beside, ['call "$url/cluster"'])
        (cluster,) = [json.loads(shell(f"{tour}{command}")) for command in beside]
        self.assertEqual({leader["department"] for leader in cluster["leaders"]} >= {"default", "eng"}, True)
        url = variables()["ROLLKEEPER_URLS"].split()[0]
        for open_to_all in ("/docs", "/openapi.json"):
            with urllib.request.urlopen(url + open_to_all, timeout=10) as page:
                self.assertEqual(page.status, 200)
        for command in (["config", "check"], ["config", "print"], ["migrate"]):
            told = rollkeeper("--config", os.path.join(STACK, "r1", "rollkeeper.toml"), *command)
            self.assertNotIn(variables()["ROLLKEEPER_TOKEN"], told)

    def test_a_plan_is_applied_with_its_etag_only(self):
        client = Client(variables()["ROLLKEEPER_URLS"].split()[0], variables()["ROLLKEEPER_TOKEN"])
        client.send("PUT", "/departments/plans", {})
        user = client.send("POST", "/users", {"department": "plans", "name": "Grace", "password": "correct horse"})
        before = client.send("POST", "/departments/plans/sync")["time"]
        client.send("DELETE", f"/users/{user['id']}")
        client.send("POST", "/departments/plans/sync")
        plan = client.send("POST", "/restores", {"from": {"department": "plans", "at": before}}, headers={"Prefer": "wait=30"})
        path = f"/restores/{plan['id']}"
        plan, headers = get("http://" + client.host, path)
        self.assertEqual((plan["state"], plan["plan"]["creates"]), ("planned", 1))
        self.assertEqual(client.status(f"/users/{user['id']}"), 404)
        self.assertEqual(client.call("POST", f"{path}/apply", headers={"If-Match": '"another"'})[0], 412)
        client.send("POST", f"{path}/apply", headers={"If-Match": headers["ETag"], "Prefer": "wait=30"})
        self.assertEqual(client.get(f"/users/{user['id']}")["name"], "Grace")

    def test_the_disaster_drill_of_the_operations_document_ends_with_the_same_users(self):
        live = Client(variables()["ROLLKEEPER_URLS"].split()[0], variables()["ROLLKEEPER_TOKEN"])
        wanted, departments = live.users(), live.get("/departments")["items"]
        for department in departments:
            live.send("POST", f"/departments/{department['name']}/sync")
        source = ["--target", variables()["ROLLKEEPER_TARGETS"].split()[0],
                  "--identity-file", variables()["ROLLKEEPER_IDENTITY_FILE"]]
        self.assertIn("eng", rollkeeper("vault", "ls", *source))
        rollkeeper("vault", "verify", *source)
        before = self.answers[7]["time"]
        cat = rollkeeper("vault", "cat", *source, "--department", "eng", "--at", before)
        self.assertEqual(cat.count('"department":"eng"'), 1)
        uri = os.path.join(STACK, "drill-mongodb-uri")
        with open(uri, "w", encoding="utf-8") as file:
            file.write(variables()["MONGODB_URI"])
        rollkeeper("vault", "restore", *source, "--mongodb-uri-file", uri, "--database", "drill")
        replica, url = newcomer.serve_a_drill("drill")
        self.addCleanup(replica.wait)
        self.addCleanup(replica.terminate)
        drill = newcomer.when_ready(url)
        self.assertEqual([item["name"] for item in drill.get("/departments")["items"]], [item["name"] for item in departments])
        self.assertEqual(drill.users(), wanted)

    def take_a_backup_that_is_on_every_target(self):
        """So that what lies on the first target is what the tour left."""
        url, token = variables()["ROLLKEEPER_URLS"].split()[0], variables()["ROLLKEEPER_TOKEN"]
        request = urllib.request.Request(f"{url}/backups", b'{"department": "eng"}', method="POST", headers={
            "Authorization": f"Bearer {token}", "Content-Type": "application/json", "Prefer": "wait=30"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            path = f"/backups/{json.load(answer)['id']}"
        deadline = time.monotonic() + 30
        while not all(copy["state"] == "present" for copy in get(url, path)[0]["copies"]):
            self.assertLess(time.monotonic(), deadline, "a copy is still owed")
            time.sleep(0.05)


class DownAndUp(unittest.TestCase):
    """A stack that is stopped."""

    def setUp(self):
        make("down")
        self.addCleanup(make, "down")
        self.assertEqual(make("up")[0], 0)

    def test_down_ends_frozen_killed_and_healthy_processes_and_up_begins_without_data(self):
        ours = processes()
        self.assertEqual(set(ours), {"mongod", "zookeeper", "r1", "r2", "r3"})
        os.kill(ours["r2"][0], signal.SIGSTOP)
        os.kill(ours["mongod"][0], signal.SIGKILL)
        left = os.path.join(STACK, "targets", "a", "left-by-the-first-stack")
        with open(left, "w", encoding="utf-8"):
            pass
        code, printed = make("up")
        self.assertNotEqual(code, 0)
        self.assertIn("The stack is not whole (mongod ended)", printed)
        self.assertEqual(make("down"), (0, "stopped 4 processes\n"))
        self.assertEqual([name for name, (pid, since) in ours.items() if started(pid) == since], [])
        self.assertEqual(make("down"), (0, "nothing is running\n"))
        self.assertTrue(os.path.exists(left), "down deletes nothing")
        self.assertEqual(make("up")[0], 0)
        self.assertFalse(os.path.exists(left), "up begins anew")

    def test_down_leaves_processes_alone_that_it_did_not_start(self):
        with subprocess.Popen(["sleep", "600"]) as stranger:
            with open(os.path.join(STACK, "processes.json"), encoding="utf-8") as file:
                records = json.load(file)
            # As if the number of a process of ours had been given to another one.
            records.append({"name": "r4", "pid": stranger.pid, "started": started(stranger.pid) - 1})
            with open(os.path.join(STACK, "processes.json"), "w", encoding="utf-8") as file:
                json.dump(records, file)
            self.assertEqual(make("down"), (0, "stopped 5 processes\n"))
            self.assertIsNone(stranger.poll())
            stranger.kill()
