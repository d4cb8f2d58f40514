"""Starts mongod, ZooKeeper and SeaweedFS in a run folder, on loopback only, or takes running ones that the environment names.

A running one gets a database or a chroot of a new name, so that nothing of it is touched; it is never stopped.
"""

import json
import os
import secrets
import socket
import urllib.parse

import mongo
import parts
from procs import free_ports

MONGODB_VARIABLE = "DEV_MONGODB_URI"
ZOOKEEPER_VARIABLE = "DEV_ZOOKEEPER_CONNECT"


def require():
    """Fails when a part is neither running nor to be had; starts nothing."""
    named = os.environ.get(MONGODB_VARIABLE)
    if named:
        address = urllib.parse.urlsplit(named)
        # The name of a `+srv` URI is not the name of a server.
        if not address.scheme.endswith("+srv"):
            _require(MONGODB_VARIABLE, address.netloc.rpartition("@")[2], 27017)
    else:
        parts.mongod()
    named = os.environ.get(ZOOKEEPER_VARIABLE)
    if named:
        _require(ZOOKEEPER_VARIABLE, named, 2181)
    else:
        parts.zookeeper()


def owns_mongod():
    """Whether mongod is started here, and not one that the environment names."""
    return not os.environ.get(MONGODB_VARIABLE)


def mongodb(run):
    """URI and name of a database without data."""
    named = os.environ.get(MONGODB_VARIABLE)
    if not named:
        return f"mongodb://{start_mongod(run)}/rollkeeper?replicaSet=rs0", "rollkeeper"
    database = f"rollkeeper_{secrets.token_hex(4)}"
    address = urllib.parse.urlsplit(named)
    query = address.query
    if "@" in address.netloc and "authsource=" not in query.lower():
        # Where the URI says nothing, the database of its path is where its user is known.
        query += f"{'&' if query else ''}authSource={address.path.strip('/') or 'admin'}"
    return address._replace(path=f"/{database}", query=query).geturl(), database


def zookeeper(run):
    """`host:port` and a chroot that is not in use."""
    named = os.environ.get(ZOOKEEPER_VARIABLE)
    if not named:
        return start_zookeeper(run), "/rollkeeper"
    return named, f"/rollkeeper-{secrets.token_hex(4)}"


# Small, so that tests leave memory to each other; a history of half a gigabyte is plenty for them.
SMALL = ("--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "512")


def start_mongod(run, *parameters, sizes=SMALL):
    """Starts a replica set of one member; returns its `host:port`."""
    program = parts.mongod()
    port = free_ports(1)[0]
    os.makedirs(run.path("mongod"), exist_ok=True)
    command = [program, "--dbpath", run.path("mongod"), "--replSet", "rs0", "--port", str(port), "--bind_ip", "127.0.0.1",
               "--nounixsocket", *sizes]
    # A leader that froze inside a transaction holds its locks no longer than this.
    for parameter in ("transactionLifetimeLimitSeconds=5", *parameters):
        command += ["--setParameter", parameter]
    run.start("mongod", command)
    run.wait_until("mongod", lambda: _connects(port), 60, "mongod")
    mongo.initiate(port)
    return f"127.0.0.1:{port}"


def start_zookeeper(run):
    """Starts a ZooKeeper of one server; returns its `host:port`."""
    _, class_path = parts.zookeeper()
    port = free_ports(1)[0]
    os.makedirs(run.path("zookeeper"), exist_ok=True)
    # The tick is short, so that a dead session is noticed soon after its timeout.
    settings = {"tickTime": 500, "minSessionTimeout": 1000, "dataDir": run.path("zookeeper"), "clientPort": port,
                "clientPortAddress": "127.0.0.1", "admin.enableServer": "false", "4lw.commands.whitelist": "*",
                "maxClientCnxns": 0}
    file = run.write("zookeeper.cfg", "".join(f"{key}={value}\n" for key, value in settings.items()))
    log4j = run.write("log4j/log4j.properties", "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                      "log4j.appender.out.layout=org.apache.log4j.PatternLayout\nlog4j.appender.out.layout.ConversionPattern=%d %p %m%n\n")
    run.start("zookeeper", ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                            "-Djava.net.preferIPv4Stack=true", "-cp", f"{os.path.dirname(log4j)}:{class_path}",
                            "org.apache.zookeeper.server.quorum.QuorumPeerMain", file])
    run.wait_until("ZooKeeper", lambda: _answers(port), 60, "zookeeper")
    return f"127.0.0.1:{port}"


def start_seaweedfs(run, *arguments):
    """Starts an S3 server of one process; returns its URL, and `id:secret` of who may make buckets and of who may use them."""
    program = parts.seaweedfs()
    made = {"maker": ["Admin", "Read", "Write", "List", "Tagging"], "user": ["Read", "Write", "List", "Tagging"]}
    keys = {name: (secrets.token_hex(10), secrets.token_urlsafe(30)) for name in made}
    identities = [{"name": name, "actions": actions, "credentials": [{"accessKey": keys[name][0], "secretKey": keys[name][1]}]}
                  for name, actions in made.items()]
    config = run.write("s3.json", json.dumps({"identities": identities}))
    os.makedirs(run.path("seaweedfs"), exist_ok=True)
    roles = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(roles))
    # Each bucket has volumes of its own: one at a time, and small.
    command = ["env", "WEED_MASTER_VOLUME_GROWTH_COPY_1=1", program, "-logtostderr=true", "server", "-filer", "-s3",
               f"-dir={run.path('seaweedfs')}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={config}",
               "-master.volumeSizeLimitMB=64", "-volume.max=500",
               # It reports to its makers and opens ports of its own unless it is told not to.
               "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
               f"-filer.localSocket={run.path('filer.sock')}", f"-s3.localSocket={run.path('s3.sock')}"]
    for role, port, grpc in zip(roles, ports[::2], ports[1::2]):
        command += [f"-{role}.port={port}", f"-{role}.port.grpc={grpc}"]
    run.start("seaweedfs", [*command, *arguments])
    port = ports[2 * roles.index("s3")]
    run.wait_until("the S3 server", lambda: _refuses(port), 60, "seaweedfs")
    return f"http://127.0.0.1:{port}", ":".join(keys["maker"]), ":".join(keys["user"])


def _require(variable, servers, port):
    hosts = [urllib.parse.urlsplit(f"//{server}") for server in servers.split(",")]
    if not any(_connects(host.port or port, host.hostname) for host in hosts):
        raise parts.Missing(f"{variable} names {servers}, and nobody answers there.")


def _connects(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False


def _refuses(port):
    """Whether an S3 server refuses to list buckets for somebody without keys, as it does once it serves."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 403")
    except OSError:
        return False


def _answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"srvr")
            return b"Mode:" in connection.recv(4096)
    except OSError:
        return False
