"""Runs the benchmark: `python3 dev/bench.py [write]`; `write` also puts the table into docs/benchmarks.md.

It has a mongod and a ZooKeeper of its own in `.run/bench`, with MongoDB's own cache and oplog sizes, and stops exactly those.
"""

import os
import shutil
import signal
import subprocess
import sys

import parts
import replicas
import services
from procs import Failed, Run

FOLDER = os.path.join(parts.ROOT, ".run", "bench")
DOCUMENT = os.path.join(parts.ROOT, "docs", "benchmarks.md")
BEGIN, END = "<!-- the table of the last run -->\n", "<!-- the end of the table -->"


def main():
    """Builds, starts the parts, measures, stops them; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    write = sys.argv[1:] == ["write"]
    try:
        subprocess.run(["cargo", "bench", "--locked", "--bench", "budgets", "--no-run"], cwd=parts.ROOT, check=True)
        parts.mongod()
        parts.zookeeper()
        code = measure()
    except parts.Missing as missing:
        print(missing, file=sys.stderr)
        return 3
    except (Failed, TimeoutError, subprocess.CalledProcessError) as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if code == 0 and write:
        put_into_document()
    return code


def measure():
    """Runs the measurements; the exit code."""
    run = Run(FOLDER)
    run.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(os.path.join(FOLDER, "tmp"), mode=0o700)
    try:
        mongodb = services.start_mongod(run, sizes=())
        zookeeper = services.start_zookeeper(run)
        jars = parts.zookeeper()
        environment = {
            "ROLLKEEPER_TEST_MONGODB_URI": f"mongodb://{mongodb}/?replicaSet=rs0",
            "ROLLKEEPER_TEST_ZOOKEEPER": zookeeper,
            "ROLLKEEPER_TEST_MONGOD": parts.mongod(),
            "ROLLKEEPER_TEST_ZK_HOME": jars[0],
            "ROLLKEEPER_TEST_ZK_CLASS_PATH": jars[1],
            "ROLLKEEPER_BENCH_TABLE": table(),
            # Targets and logs of the replica, on the disk of the repository.
            "TMPDIR": os.path.join(FOLDER, "tmp"),
        }
        run.write("env", replicas.environment(environment))
        command = ["cargo", "bench", "--locked", "--quiet", "--bench", "budgets"]
        return subprocess.run(command, cwd=parts.ROOT, env={**os.environ, **environment}, check=False).returncode
    finally:
        run.stop()
        # The data is big and of no use; the logs and the table stay.
        for name in ("mongod", "tmp"):
            shutil.rmtree(os.path.join(FOLDER, name), ignore_errors=True)


def table():
    """Where the run leaves its table."""
    return os.path.join(FOLDER, "table.md")


def put_into_document():
    """Replaces the table of the document by that of this run."""
    with open(DOCUMENT, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    with open(table(), encoding="utf-8") as file:
        new = file.read()
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + new + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    sys.exit(main())
