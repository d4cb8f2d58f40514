"""What a newcomer has: a shell, `make`, the built program, and the stack of the tour in a folder of its own."""

import json
import os
import re
import subprocess
import time
import urllib.request

import parts
from client import Client
from procs import free_ports

STACK = os.path.join(parts.ROOT, ".run", "newcomer")
ENVIRONMENT = {**os.environ, "ROLLKEEPER_STACK": STACK}
KEYS = ["ROLLKEEPER_URLS", "ROLLKEEPER_TOKEN", "MONGODB_URI", "ZOOKEEPER_CONNECT", "ROLLKEEPER_PIDS", "ROLLKEEPER_TARGETS",
        "ROLLKEEPER_IDENTITY_FILE"]


def shell(script):
    """Runs a script as a careful person would; returns what it prints."""
    script = script.replace(". .stack/env", f". {STACK}/env")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=parts.ROOT, env=ENVIRONMENT, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def rollkeeper(*arguments):
    """Runs the program, insists that it succeeds, and returns what it prints."""
    done = subprocess.run([parts.binary(), *arguments], text=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def text_of(file):
    """A file, by a path in the repository or a whole one."""
    with open(os.path.join(parts.ROOT, file), encoding="utf-8") as opened:
        return opened.read()


def make(target):
    """Runs a target of the Makefile; returns its exit code and what it prints."""
    done = subprocess.run(["make", "--no-print-directory", target], cwd=parts.ROOT, env=ENVIRONMENT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


def variables():
    """What `.stack/env` says, in its order."""
    with open(os.path.join(STACK, "env"), encoding="utf-8") as file:
        return dict(re.findall(r'^(\w+)="(.*)"$', file.read(), re.M))


def processes():
    """Id and start of every process of the stack."""
    with open(os.path.join(STACK, "processes.json"), encoding="utf-8") as file:
        return {record["name"]: (record["pid"], record["started"]) for record in json.load(file)}


def get(url, path):
    """A GET with the token; the answer and its headers."""
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {variables()['ROLLKEEPER_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer), answer.headers


def serve_a_drill(database):
    """A replica of another database, with targets and a chroot of its own; the process, and its URL."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    own = {"id": "drill", "url": f"http://{address}", "listen": address, "database": database, "chroot": "/drill"}
    config = text_of(os.path.join(STACK, "r1", "rollkeeper.toml"))
    for key, value in own.items():
        config = re.sub(f'^{key} = ".*"$', f'{key} = "{value}"', config, count=1, flags=re.M)
    for target in variables()["ROLLKEEPER_TARGETS"].split():
        mine = os.path.join(STACK, "drill-targets", os.path.basename(target))
        os.makedirs(mine, exist_ok=True)
        config = config.replace(f"file://{target}", f"file://{mine}")
    path = os.path.join(STACK, "drill.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(config)
    rollkeeper("migrate", "--config", path)
    with open(os.path.join(STACK, "drill.log"), "wb") as log:
        replica = subprocess.Popen([parts.binary(), "serve", "--config", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    return replica, own["url"]


def when_ready(url):
    """A client of a replica that serves."""
    client = Client(url, variables()["ROLLKEEPER_TOKEN"])
    deadline = time.monotonic() + 30
    while client.status("/readyz") != 200:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} does not serve")
        time.sleep(0.05)
    return client
