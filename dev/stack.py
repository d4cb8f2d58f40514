"""The local stack, by command.

`up` and `down` keep three replicas running in `.stack/`, or in the folder that `ROLLKEEPER_STACK` names; `demo` shows a
failover in a stack of its own; `test-parts up` and `test-parts down` are the mongod, the ZooKeeper and the S3 server of a test run;
`fetch` gets what all of them need; `deny` checks the dependencies. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a part
is missing.
"""

import os
import re
import signal
import subprocess
import sys

import demo
import parts
import replicas
import services
from procs import Failed, Run

STACK = os.path.abspath(os.environ.get("ROLLKEEPER_STACK") or os.path.join(parts.ROOT, ".stack"))
TEST_PARTS = os.path.join(parts.ROOT, ".run", "parts")


def up():
    """Starts the stack without data, unless it runs."""
    run = Run(STACK)
    if is_up(run):
        print("already running; `make down` stops it")
    else:
        replicas.start(run, backup_every="10s", range_records=1000)
    with open(run.path("env"), encoding="utf-8") as file:
        urls = re.search('ROLLKEEPER_URLS="(.*)"', file.read())[1].split()
    for url in urls:
        print(f"{url}  (documentation: {url}/docs)")
    print(f"token: {run.path('token')}")
    print(f"environment for clients: {run.path('env')}")


def is_up(run):
    """Whether the whole stack runs; fails when a part of it does."""
    alive = run.alive()
    dead = [record["name"] for record in run.processes if record not in alive]
    if alive and dead:
        raise Failed(f"The stack is not whole ({', '.join(dead)} ended); `make down`, then `make up`.")
    if alive and not os.path.exists(run.path("env")):
        raise Failed("The stack is being started, or its start was interrupted; wait, or `make down`, then `make up`.")
    return bool(alive)


def down():
    """Stops what `up` started."""
    stopped = Run(STACK).stop()
    print(f"stopped {stopped} processes" if stopped else "nothing is running")


def test_parts_up():
    """Starts mongod, ZooKeeper and an S3 server for a test run, unless they run."""
    run = Run(TEST_PARTS)
    if not run.processes or len(run.alive()) != len(run.processes):
        run.stop()
        run.clear()
        try:
            mongodb = services.start_mongod(run, "enableTestCommands=1")
            zookeeper = services.start_zookeeper(run)
            s3, s3_maker, s3_user = services.start_seaweedfs(run)
        except BaseException:
            run.stop()
            raise
        run.write("env", replicas.environment({
            "ROLLKEEPER_TEST_MONGODB_URI": f"mongodb://{mongodb}/?replicaSet=rs0",
            "ROLLKEEPER_TEST_ZOOKEEPER": zookeeper,
            "ROLLKEEPER_TEST_S3": s3,
            "ROLLKEEPER_TEST_S3_MAKER": s3_maker,
            "ROLLKEEPER_TEST_S3_USER": s3_user,
            "ROLLKEEPER_TEST_MONGOD": parts.mongod(),
            "ROLLKEEPER_TEST_FAKETIME": parts.faketime(),
            "ROLLKEEPER_TEST_ZK_HOME": parts.zookeeper()[0],
            "ROLLKEEPER_TEST_ZK_CLASS_PATH": parts.zookeeper()[1],
        }))
    with open(run.path("env"), encoding="utf-8") as file:
        print(file.read(), end="")


def test_parts_down():
    """Stops what `test-parts up` started."""
    Run(TEST_PARTS).stop()


def fetch():
    """Gets every part, and starts none."""
    parts.mongod()
    parts.zookeeper()
    parts.seaweedfs()
    parts.faketime()
    parts.tools("age-keygen", "zstd", "b3sum", "curl", "ip", "openssl")
    parts.cargo_deny()
    parts.kubectl()
    parts.hadolint()
    parts.python_package(parts.VALIDATE_PACKAGE)
    parts.python_package(parts.CHECKOV_PACKAGE)


def deny():
    """Checks licences, duplicates and sources of the dependencies; returns the exit code."""
    command = [parts.cargo_deny(), "--locked", "--config", ".deny.toml", "--log-level", "error",
               "check", "licenses", "bans", "sources"]
    return subprocess.run(command, cwd=parts.ROOT, check=False).returncode


COMMANDS = {
    ("up",): up,
    ("down",): down,
    ("demo",): demo.run,
    ("fetch",): fetch,
    ("deny",): deny,
    ("test-parts", "up"): test_parts_up,
    ("test-parts", "down"): test_parts_down,
}


def main():
    """Runs the command that the arguments name; returns the exit code."""
    command = COMMANDS.get(tuple(sys.argv[1:]))
    if command is None:
        print("usage: python3 dev/stack.py", " | ".join(map(" ".join, COMMANDS)), file=sys.stderr)
        return 2
    # So that what was started is stopped also when we are told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return command() or 0
    except parts.Missing as missing:
        print(missing, file=sys.stderr)
        return 3
    except (Failed, TimeoutError) as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
