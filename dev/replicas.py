"""Three replicas of the service with mongod, ZooKeeper and three directory targets, in one run folder."""

import json
import os
import re
import secrets
import subprocess

import parts
import services
from client import Client
from procs import Failed, clean_environment, free_ports

NAMES = ["r1", "r2", "r3"]
TARGETS = ["a", "b", "c"]


class Stack:
    """A running stack, and how to talk to it."""

    def __init__(self, urls, token):
        self.clients = {name: Client(url, token) for name, url in zip(NAMES, urls)}


def start(run, backup_every, range_records, http=None, around=()):
    """Starts everything anew in the run folder, and waits until the replicas serve and `default` has a leader.

    `http` has more keys of the section of that name, and `around` is a command that runs each replica.
    """
    program = parts.binary()
    services.require()
    parts.tools("age-keygen")
    run.clear()
    try:
        return _start(run, [*around, program], backup_every, range_records, http or {})
    except BaseException:
        run.stop()
        raise


def start_like(run, model, name, around=()):
    """Starts one more replica with the configuration of another; returns its URL."""
    with open(run.path(model, "rollkeeper.toml"), encoding="utf-8") as config:
        text = config.read()
    address = f"127.0.0.1:{free_ports(1)[0]}"
    own = {"id": name, "url": f"http://{address}", "listen": address}
    for key, value in own.items():
        # The first of each belongs to the sections `replica` and `http`.
        text = re.sub(f'^{key} = ".*"$', f'{key} = "{value}"', text, count=1, flags=re.M)
    run.start(name, [*around, parts.binary(), "serve", "--config", run.write(f"{name}/rollkeeper.toml", text)])
    return own["url"]


def _start(run, command, backup_every, range_records, http):
    mongodb, database = services.mongodb(run)
    zookeeper, chroot = services.zookeeper(run)
    token = secrets.token_urlsafe(32)
    common = {
        "mongodb": {"uri": mongodb, "database": database},
        "zookeeper": {"connect": zookeeper, "chroot": chroot, "session_timeout": "4s",
                      "auth_file": run.write("zookeeper-auth", f"rollkeeper:{secrets.token_urlsafe(18)}\n")},
        "targets": {"list": [{"name": name, "url": "file://" + _target(run, name)} for name in TARGETS]},
        "keys": _identity(run),
        "backup": {"backup_every": backup_every},
        "restore": {"range_records": range_records},
        "auth": {"bootstrap_token_file": run.write("token", token + "\n")},
    }
    ports = free_ports(len(NAMES))
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    files = []
    for name, port, url in zip(NAMES, ports, urls):
        own = {"replica": {"id": name, "url": url}, "http": {"listen": f"127.0.0.1:{port}", **http}}
        files.append(run.write(f"{name}/rollkeeper.toml", toml({**own, **common})))
    _migrate(command[-1], files[0])
    started = [run.start(name, [*command, "serve", "--config", file]) for name, file in zip(NAMES, files)]
    stack = Stack(urls, token)
    for name in NAMES:
        run.wait_until(f"{name} is not ready", lambda at=name: stack.clients[at].status("/readyz") == 200, 60, name)
    run.wait_until("no replica leads the department default", lambda: leader(stack.clients["r1"], "default"), 60, *NAMES)
    run.write("env", environment({
        "ROLLKEEPER_URLS": " ".join(urls),
        "ROLLKEEPER_TOKEN": token,
        "MONGODB_URI": mongodb,
        "ZOOKEEPER_CONNECT": zookeeper,
        "ROLLKEEPER_PIDS": " ".join(str(record["pid"]) for record in started),
        "ROLLKEEPER_TARGETS": " ".join(run.path("targets", name) for name in TARGETS),
        "ROLLKEEPER_IDENTITY_FILE": run.path("identity"),
    }))
    return stack


def start_again(run, stack, names, mongodb, database):
    """Starts replicas with another MongoDB, and waits until they serve."""
    program = parts.binary()
    for name in names:
        file = run.path(name, "rollkeeper.toml")
        with open(file, encoding="utf-8") as config:
            lines = config.read().splitlines()
        section = lines.index("[mongodb]")
        end = lines.index("", section)
        lines[section:end] = toml({"mongodb": {"uri": mongodb, "database": database}}).splitlines()[:-1]
        run.write(f"{name}/rollkeeper.toml", "\n".join(lines) + "\n")
        run.start(name, [program, "serve", "--config", file])
    for name in names:
        run.wait_until(f"{name} is not ready", lambda at=name: stack.clients[at].status("/readyz") == 200, 60, name)
    run.wait_until("no replica leads the department default", lambda: leader(stack.clients[names[0]], "default"), 60, *names)


def leader(client, department):
    """The leader of a department as one replica sees it, or None."""
    answer = client.get(f"/departments/{department}", accept_errors=True)
    return (answer or {}).get("leader")


def environment(values):
    """Lines `KEY="value"`, which a shell can read."""
    return "".join(f'{key}="{value}"\n' for key, value in values.items())


def toml(document):
    """TOML of sections that hold texts, numbers and lists."""
    lines = []
    for section, values in document.items():
        tables = {key: value for key, value in values.items() if isinstance(value, list) and isinstance(value[0], dict)}
        lines.append(f"[{section}]")
        # A JSON text, number or list of texts is also a TOML one.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if key not in tables]
        for key, rows in tables.items():
            for row in rows:
                lines.append(f"[[{section}.{key}]]")
                lines += [f"{name} = {json.dumps(value)}" for name, value in row.items()]
        lines.append("")
    return "\n".join(lines)


def _target(run, name):
    path = run.path("targets", name)
    os.makedirs(path)
    return path


def _identity(run):
    path = run.path("identity")
    done = subprocess.run(["age-keygen", "-o", path], capture_output=True, text=True, check=False)
    found = re.search(r"age1[0-9a-z]+", done.stderr)
    if done.returncode != 0 or not found:
        raise Failed("age-keygen made no identity: " + done.stderr)
    return {"recipients": [found.group()], "identity_file": path}


def _migrate(program, file):
    done = subprocess.run([program, "migrate", "--config", file], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=clean_environment(), check=False)
    if done.returncode != 0:
        raise Failed(f"`rollkeeper migrate` failed with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
