"""Replaces the replicas one by one under load, with the probes and grace periods of the manifests: no request fails."""

import collections
import http.client
import json
import os
import threading
import time
import tomllib
import unittest

import manifests
import parts
import replicas
from balancer import Balancer
from client import Client
from procs import Run

# How long a node may take to hear that a pod is no endpoint any more; preStop must outlast it.
NODES_HEAR_AFTER = 1.0
# Pauses between two requests of a client, in seconds: most are busy, some keep a connection that is often idle.
PAUSES = [0.01] * 6 + [0.7, 1.1]
# What the manifests let a pod do: nothing is written but targets and scratch files, and root is nobody special.
AS_A_POD = """
for place in targets scratch; do mkdir -p "$place"; mount --bind "$place" "$place"; done
mount -o remount,bind,ro /
TMPDIR="$PWD/scratch" exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""
HASH = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$zJYXsKvQuEEfPCeDxNF8KpTcLUSJCIZRJDFuCdbPhTY"
# Only root may make mounts; for others the rest of the test holds.
AROUND = ["unshare", "--mount", "sh", "-ec", AS_A_POD, "pod"] if os.geteuid() == 0 else []


def text(path):
    """A file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


class Load:
    """Clients that create users and read them, each over one connection as long as it lasts, and never ask twice."""

    def __init__(self, address, token):
        self.address, self.token = address, token
        self.failures, self.made, self.closing = [], {}, collections.Counter()
        self.served = collections.Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(f"c{n}", pause)) for n, pause in enumerate(PAUSES)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name, pause):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        for count in range(1_000_000):
            if self._over.is_set():
                break
            user = {"id": f"{name}-{count}", "name": f"{name} {count}", "password_hash": HASH}
            if self._ask(connection, "POST", "/users", 201, user):
                self.made[user["id"]] = user["name"]
            self._over.wait(pause)
            if user["id"] in self.made:
                self._ask(connection, "GET", f"/users/{user['id']}", 200)
            self._over.wait(pause)
        connection.close()

    def _ask(self, connection, method, path, expected, body=None):
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.failures.append((method, path, repr(error), f"after {time.monotonic() - began:.3f} s"))
            return False
        replica = answer.headers["X-Served-By"]
        self.served[replica] += 1
        if answer.headers.get("Connection") == "close":
            self.closing[replica] += 1
        if answer.status != expected:
            self.failures.append((method, path, answer.status, said.decode(errors="replace")))
        return answer.status == expected


class Rolling(unittest.TestCase):
    """The rollout of the Deployment, as processes."""

    def setUp(self):
        self.codes = {}

    def test_replacing_the_replicas_one_by_one_under_load_fails_no_request(self):
        found = manifests.objects(manifests.rendered(os.path.join(manifests.K8S, "overlays", "production")))
        deployment = manifests.one(found, "Deployment", "rollkeeper")["spec"]
        pod = deployment["template"]["spec"]
        container = pod["containers"][0]
        config = tomllib.loads(manifests.one(found, "ConfigMap", "rollkeeper-config")["data"]["rollkeeper.toml"])
        self.assertEqual(deployment["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})
        self.assertEqual(deployment["replicas"], len(replicas.NAMES))

        run = Run(os.path.join(parts.ROOT, ".run", "rolling"))
        self.addCleanup(run.stop)
        stack = replicas.start(run, backup_every="10s", range_records=1000, http=config["http"], around=AROUND)
        token = stack.clients["r1"].token
        with Balancer(container["readinessProbe"]) as balancer:
            for name, client in stack.clients.items():
                balancer.add(name, f"http://{client.host}")
                balancer.wait_until_ready(name, 10)
            with Load(balancer.address, token) as load:
                ends = [self.replace(run, balancer, deployment, old, f"r{n + 4}")
                        for n, old in enumerate(replicas.NAMES)]
                for end in ends:
                    end.join()
        print(f"\n{sum(load.served.values())} requests: {dict(load.served)}, of which last of their connection "
              f"{dict(load.closing)}")
        self.assertEqual(load.failures, [])
        self.assertEqual(self.codes, {name: 0 for name in replicas.NAMES})
        for name in replicas.NAMES:
            self.assertGreater(load.closing[name], 0, f"no client of {name} was told to leave")
        for name in ("r4", "r5", "r6"):
            self.assertGreater(load.served[name], 0, name)
            self.assertEqual(load.closing[name], 0, name)
        self.check(run, load)

    def replace(self, run, balancer, deployment, old, new):
        """One step of the rollout: a new replica that stays ready, then the end of an old one, which nobody waits for."""
        balancer.add(new, replicas.start_like(run, old, new, AROUND))
        startup = deployment["template"]["spec"]["containers"][0]["startupProbe"]
        balancer.wait_until_ready(new, startup["periodSeconds"] * startup["failureThreshold"])
        time.sleep(deployment["minReadySeconds"])
        end = threading.Thread(target=self.end, args=(run, balancer, deployment["template"]["spec"], old))
        end.start()
        return end

    def end(self, run, balancer, pod, name):
        """What a node does with a pod that is deleted, while the others hear of it."""
        began = time.monotonic()
        hear = threading.Timer(NODES_HEAR_AFTER, balancer.remove, args=(name,))
        hear.start()
        time.sleep(pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])
        self.codes[name] = run.end(name, pod["terminationGracePeriodSeconds"] - (time.monotonic() - began))

    def check(self, run, load):
        """Every user that was acknowledged is there, and the new replicas lead."""
        client = Client(tomllib.loads(text(run.path("r4", "rollkeeper.toml")))["replica"]["url"], load.token)
        ids, cursor = {}, ""
        while cursor is not None:
            page = client.get(f"/users?limit=1000{cursor}")
            ids.update({user["id"]: user["name"] for user in page["items"]})
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        self.assertEqual(ids, load.made)
        leader = run.wait_until("nobody new leads", lambda: replicas.leader(client, "default"), 20, "r4")
        self.assertIn(leader["replica"], ("r4", "r5", "r6"))
        if AROUND:
            (pid,) = [record["pid"] for record in run.processes if record["name"] == "r4"]
            self.assertRegex(text(f"/proc/{pid}/status"), r"CapEff:\t0+\n(.*\n)*NoNewPrivs:\t1\n")
            self.assertRegex(text(f"/proc/{pid}/mounts"), r"(^|\n)\S+ / \S+ ro,")
        backup = client.send("POST", "/backups", {"department": "default"})
        run.wait_until("the backup is not complete", lambda: client.get(f"/backups/{backup['id']}")["state"] == "complete",
                       30, "r4")


if __name__ == "__main__":
    unittest.main()
