"""Measures what an idle replica costs that leads many departments: seconds of CPU a minute, its own and mongod's.

    python3 dev/idle_cpu.py [departments] [seconds]

ROLLKEEPER_BIN names another binary to compare with. Nothing else runs this; it takes about three minutes.
"""

import os
import sys
import tempfile
import time

import replicas
from procs import Run

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        # The name in parentheses may hold spaces.
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def until_quiet(run, stack, names):
    """Waits until the first replica leads all departments and the backup of the first slot is complete."""
    client = stack.clients["r1"]

    def missing():
        for name in names:
            leader = replicas.leader(client, name)
            if not leader or leader["replica"] != "r1":
                return True
            if not client.get(f"/backups?department={name}&limit=1")["items"]:
                return True
        return False

    run.wait_until("r1 does not lead all departments", lambda: not missing(), 300, "r1")


def measure(run, departments, seconds):
    """Seconds of CPU a minute by the name of the process."""
    stack = replicas.start(run, backup_every="1h", range_records=1000)
    for name in ("r2", "r3"):
        run.kill(name)
    names = [f"dept-{n:04}" for n in range(departments - 1)]
    for name in names:
        stack.clients["r1"].send("PUT", f"/departments/{name}", {})
    until_quiet(run, stack, ["default", *names])
    time.sleep(20)
    pids = {record["name"]: record["pid"] for record in run.alive() if record["name"] in ("r1", "mongod")}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: (cpu_seconds(pid) - before[name]) * 60 / seconds for name, pid in pids.items()}


def main():
    """Prints the figures of one run."""
    departments = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.TemporaryDirectory() as folder:
        run = Run(os.path.join(folder, "idle"))
        try:
            for name, used in measure(run, departments, seconds).items():
                print(f"{name}: {used:.1f} s of CPU a minute, idle, leading {departments} departments")
        finally:
            run.stop()


if __name__ == "__main__":
    main()
