"""Two more parts of the demonstration: one user at every moment, and the loss of the whole MongoDB."""

import json
import os
import shutil
import subprocess

import parts
import replicas
import services
from procs import Failed, clean_environment

NAMES = ["Grace Hopper", "Grace Brewster Hopper", "Grace B. Murray Hopper"]


class Moments:
    """A user that changes twice within a minute, read and restored at each moment."""

    def __init__(self, demo, department, ready_hash):
        self.demo, self.department = demo, department
        self.user = demo.client.send("POST", "/users", {
            "department": department, "name": NAMES[0], "password_hash": ready_hash})["id"]

    def run(self):
        """Writes the versions, reads each of them again, restores each, and undoes that."""
        moments = [self._sync()]
        for name in NAMES[1:]:
            self.demo.client.send("PATCH", f"/users/{self.user}", {"name": name}, "application/merge-patch+json")
            moments.append(self._sync())
        for name, at in zip(NAMES, moments):
            self._expect(name, self.demo.client.get(f"/users/{self.user}?at={at}")["name"], f"at {at}")
        versions = self.demo.client.get(f"/users/{self.user}/history")["items"]
        self.demo.say(f"read {NAMES[0]} at {len(moments)} moments; the history of the user has {len(versions)} versions")
        for name, at in zip(NAMES[:2], moments):
            restore = self._ended(self.demo.client.send("POST", "/restores", {
                "from": {"department": self.department, "at": at}, "users": [self.user], "apply": True}))
            self._expect(name, self._name(), f"restored to {at}")
            undo = self._ended(self.demo.client.send("POST", f"/restores/{restore['id']}/undo"))
            self._expect(NAMES[-1], self._name(), "after the undo")
            self.demo.say(f"restored the user to {at} ({name}), and undid it ({undo['progress']['changes_applied']} record)")
        self.demo.client.send("DELETE", f"/users/{self.user}")

    def _sync(self):
        receipt = self.demo.client.send("POST", f"/departments/{self.department}/sync")
        self.demo.say(f"sync receipt: everything up to sequence {receipt['sequence']} of {self.department} is on "
                      f"{len(receipt['copies'])} targets, chain {receipt['chain'][:16]}…")
        return receipt["time"]

    def _name(self):
        return self.demo.client.get(f"/users/{self.user}")["name"]

    def _ended(self, job):
        job = self.demo.wait("the restore does not end", lambda: self.demo.ended(f"/restores/{job['id']}"))
        if job["state"] != "complete":
            raise Failed(f"The restore ended as {job['state']}: {job.get('cause')}")
        return job

    @staticmethod
    def _expect(wanted, found, when):
        if wanted != found:
            raise Failed(f"The user is called {found} {when}, and should be {wanted}.")


def lose_everything(demo, departments):
    """Loses MongoDB with everything in it, and recovers from one directory and the key."""
    client, run = demo.client, demo.folder
    for department in departments:
        client.send("POST", f"/departments/{department}/sync")
    for name in list(demo.alive):
        run.kill(name)
    if services.owns_mongod():
        run.kill("mongod")
        shutil.rmtree(run.path("mongod"))
    demo.say("stopped the replicas, and lost MongoDB with every user, department and backup in it")
    uri, database = services.mongodb(run)
    target = run.path("targets", replicas.TARGETS[1])
    done = subprocess.run(
        [parts.binary(), "vault", "restore", "--target", f"{replicas.TARGETS[1]}={target}",
         "--identity-file", run.path("identity"), "--mongodb-uri-file", run.write("new-mongodb-uri", uri),
         "--database", database, "--output", "json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=clean_environment(), check=False)
    if done.returncode != 0:
        raise Failed(f"`rollkeeper vault restore` exited with {done.returncode}: {done.stderr}")
    rebuilt = json.loads(done.stdout)["departments"]
    demo.say(f"rebuilt an empty MongoDB from {os.path.relpath(target)} and the key alone: "
             f"{sum(part['users'] for part in rebuilt)} users, {sum(part['backups'] for part in rebuilt)} backups")
    replicas.start_again(run, demo.stack, demo.alive, uri, database)
    demo.say(f"{', '.join(demo.alive)} serve again")
