"""The demonstration: one user at every moment, a leader killed in the middle of a restore, the loss of the whole MongoDB, and
every record comes back all the same."""

import concurrent.futures
import json
import os
import time

import parts
import replicas
from demo_history import Moments, lose_everything
from procs import Failed, Run

SAMPLES = os.path.join(parts.ROOT, "dev", "sample-users.ndjson")
DEPARTMENTS = ["default", "engineering", "sales"]
DEPARTMENT = "engineering"
COMPARED = ["id", "name", "locked", "created_at", "department"]
# Few records in a transaction, so that there is a middle to kill in.
RANGE_RECORDS = 10
RENAMED, DELETED, ADDED = 500, 500, 100
ATTEMPTS = 3


def run():
    """Runs the demonstration; returns the exit code."""
    folder = Run(os.path.join(parts.ROOT, ".run", "demo"))
    folder.stop()
    try:
        return Demo(folder).run()
    finally:
        folder.stop()


class Demo:
    """The steps, in order."""

    def __init__(self, folder):
        self.folder = folder
        self.begun = time.monotonic()
        self.stack = None
        self.alive = list(replicas.NAMES)

    def run(self):
        """All steps."""
        self.say(f"starting mongod, ZooKeeper and three replicas; their logs are in {os.path.relpath(self.folder.folder)}")
        self.stack = replicas.start(self.folder, backup_every="10s", range_records=RANGE_RECORDS)
        self.say(f"{', '.join(self.alive)} serve, each backup goes to {len(replicas.TARGETS)} targets")
        self.import_users()
        Moments(self, DEPARTMENT, ready_hash()).run()
        before = self.client.users()
        backup = self.back_up()
        for _ in range(ATTEMPTS):
            self.change(before)
            restore, victim = self.restore(backup["id"])
            if victim:
                break
            self.say("the restore was over before it could be interrupted; once more")
        else:
            raise Failed("The restore could not be caught in the middle.")
        self.take_over(restore, victim)
        again = self.back_up()
        if again["root"] != backup["root"]:
            raise Failed(f"The root of {DEPARTMENT} is {again['root']}, and it was {backup['root']}.")
        self.say("both backups have the same root, which commits to every record with its password hash")
        lose_everything(self, DEPARTMENTS)
        return self.compare(before)

    @property
    def client(self):
        """A replica that lives."""
        return self.stack.clients[self.alive[0]]

    def say(self, text):
        """Prints a step with the time since the start."""
        print(f"{time.monotonic() - self.begun:6.1f} s  {text}", flush=True)

    def import_users(self):
        """Makes the departments and imports the sample users."""
        for department in DEPARTMENTS:
            self.client.send("PUT", f"/departments/{department}", {})
        with open(SAMPLES, "rb") as file:
            samples = file.read()
        answer = self.client.send("POST", "/users/import", samples, "application/x-ndjson")
        count, expected = len(self.client.users()), len(samples.splitlines())
        if count != expected:
            detail = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            raise Failed(f"{count} of {expected} users were imported: {detail[-600:].decode(errors='replace')}")
        self.say(f"imported {count} users into {len(DEPARTMENTS)} departments")
        for department in DEPARTMENTS:
            led = self.wait(f"{department} has no leader", lambda at=department: replicas.leader(self.client, at))
            self.say(f"{department} is led by {led['replica']}, epoch {led['epoch']}")

    def back_up(self):
        """Takes a backup on demand."""
        backup = self.client.send("POST", "/backups", {"department": DEPARTMENT}, headers={"Prefer": "wait=30"})
        path = f"/backups/{backup['id']}"
        backup = self.wait("the backup does not end", lambda: self.ended(path))
        if backup["state"] != "complete":
            raise Failed(f"The backup ended as {backup['state']}: {backup.get('cause')}")
        self.say(f"backup {backup['id']} of {DEPARTMENT}: {backup['records']} records, {backup['bytes']} bytes, "
                 f"on {sum(copy['state'] == 'present' for copy in backup['copies'])} targets, verified")
        return backup

    def change(self, before):
        """Renames, locks, deletes and adds users."""
        ids = sorted(user["id"] for user in before.values() if user["department"] == DEPARTMENT)
        now = self.client.users()
        renamed, deleted = ids[::2][:RENAMED], [user for user in ids[1::2][:DELETED] if user in now]
        mark, ready = time.monotonic_ns(), ready_hash()
        work = [("PATCH", f"/users/{user}", {"name": f"Changed {mark} {n}", "locked": True}, "application/merge-patch+json")
                for n, user in enumerate(renamed)]
        work += [("DELETE", f"/users/{user}", None, "") for user in deleted]
        work += [("POST", "/users", {"department": DEPARTMENT, "name": f"Added {mark} {n}",
                                     "password_hash": ready}, "application/json") for n in range(ADDED)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda step: self.client.send(*step), work))
        self.say(f"renamed and locked {len(renamed)}, deleted {len(deleted)} and added {ADDED} users of {DEPARTMENT}")

    def restore(self, backup_id):
        """Starts the restore and kills the replica that applies it; returns the job and its killed leader, if it was caught."""
        job = self.client.send("POST", "/restores", {
            "from": {"backup_id": backup_id}, "mode": "exact", "credentials": "restore",
            "locked": "restore", "apply": True})
        self.say(f"restore {job['id']} of that backup is accepted")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            job = self.client.get(f"/restores/{job['id']}")
            if job["state"] in ("complete", "failed", "cancelled"):
                if job["state"] != "complete":
                    raise Failed(f"The restore ended as {job['state']}: {job.get('cause')}")
                return job, None
            progress, leader = job.get("progress") or {}, job.get("executed_by")
            done, total = progress.get("changes_done", 0), progress.get("changes_total", 0)
            if leader and total and 0.1 * total <= done <= 0.9 * total:
                self.folder.kill(leader["replica"])
                self.alive.remove(leader["replica"])
                self.say(f"killed the leader {leader['replica']} (SIGKILL) at {done} of {total} changes, epoch {leader['epoch']}")
                return job, leader
        raise Failed("The restore did not begin within 120 s.")

    def take_over(self, job, victim):
        """Watches the next leader finish the restore."""
        def next_leader():
            led = replicas.leader(self.client, DEPARTMENT)
            return led if led and led["replica"] != victim["replica"] else None

        led = self.wait(f"{DEPARTMENT} has no new leader", next_leader)
        self.say(f"{led['replica']} leads {DEPARTMENT} now, epoch {led['epoch']}")
        job = self.wait("the restore does not end", lambda: self.ended(f"/restores/{job['id']}"), 120)
        by, progress = job["executed_by"], job["progress"]
        if job["state"] != "complete":
            raise Failed(f"The restore ended as {job['state']}: {job.get('cause')}")
        if by["replica"] == victim["replica"] or by["epoch"] <= victim["epoch"]:
            raise Failed(f"The restore was not finished by a new leader: {by}")
        self.say(f"{by['replica']} finished the restore: {progress['changes_done']} of {progress['changes_total']} changes, "
                 f"{progress['conflicts']} conflicts")

    def compare(self, before):
        """Compares every user with what it was before the changes."""
        after = self.client.users()
        equal, different = 0, []
        for user_id, user in before.items():
            if user_id in after and all(after[user_id].get(key) == user.get(key) for key in COMPARED):
                equal += 1
            else:
                different.append((user, after.get(user_id)))
        extra = [user for user_id, user in after.items() if user_id not in before]
        for was, now in different[:5]:
            print(f"different: was {was}, is {now}")
        for user in extra[:5]:
            print(f"not there before: {user}")
        self.say(f"read {len(after)} users from {self.alive[0]}; {len(extra)} of them were not there before")
        print(f"demo: {equal} of {len(before)} records equal")
        return 0 if equal == len(before) == len(after) else 1

    def ended(self, path):
        """The job, if it has ended."""
        job = self.client.get(path, accept_errors=True)
        return job if job and job["state"] in ("complete", "failed", "cancelled") else None

    def wait(self, what, probe, seconds=60):
        """Waits for a state of the living replicas."""
        return self.folder.wait_until(what, probe, seconds, *self.alive)


def ready_hash():
    """A ready hash, as an import from another system brings it."""
    with open(SAMPLES, encoding="utf-8") as file:
        return next(user["password_hash"] for user in map(json.loads, file) if "password_hash" in user)
