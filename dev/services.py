"""Starts mongod and ZooKeeper in a run folder, on loopback only."""

import os
import socket

import mongo
import parts
from procs import free_ports


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


def _connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def _answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"srvr")
            return b"Mode:" in connection.recv(4096)
    except OSError:
        return False
