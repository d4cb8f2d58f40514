"""Starts and stops processes, and remembers in the run folder which ones are ours.

A process is named by its id and the moment it started, so that a recycled id is never killed.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time


PORTS = (20000, 32000)


class Failed(Exception):
    """Something did not start; the text is for the user."""


class Run:
    """A run folder: its processes, their logs, and what else lies in it."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.processes = []
        self._children = {}
        try:
            with open(self.path("processes.json"), encoding="utf-8") as file:
                self.processes = json.load(file)
        except FileNotFoundError:
            pass

    def clear(self):
        """Makes the folder anew; refuses one that holds something else."""
        if os.path.isdir(self.folder) and os.listdir(self.folder) and not os.path.exists(self.path("processes.json")):
            raise Failed(f"{self.folder} holds files that are not ours; name a folder that is new or empty.")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder, mode=0o700)
        self.processes = []
        self._save()

    def path(self, *names):
        """A path inside the folder."""
        return os.path.join(self.folder, *names)

    def write(self, name, text, mode=0o600):
        """Writes a file of the folder, and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, name, command):
        """Starts a process that outlives us, in a session of its own, with its output in a log file."""
        with open(self.path(f"{name}.log"), "ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                     start_new_session=True, env=clean_environment())
        self._children[child.pid] = child
        record = {"name": name, "pid": child.pid, "started": started(child.pid)}
        self.processes.append(record)
        self._save()
        return record

    def alive(self):
        """The processes that still run."""
        return [record for record in self.processes if self._alive(record)]

    def wait_until(self, what, probe, seconds, *names):
        """Calls `probe` until it returns something; fails when the time is over or a named process has ended."""
        deadline = time.monotonic() + seconds
        while True:
            value = probe()
            if value:
                return value
            dead = [r["name"] for r in self.processes if r["name"] in names and not self._alive(r)]
            if dead or time.monotonic() > deadline:
                why = f"{dead[0]} ended" if dead else f"not within {seconds} s"
                raise Failed(f"{what}: {why}.\n" + "".join(self.tail(name) for name in (dead or names)))
            time.sleep(0.05)

    def tail(self, name, lines=15):
        """The end of a log, with the log's name."""
        try:
            with open(self.path(f"{name}.log"), encoding="utf-8", errors="replace") as file:
                last = file.readlines()[-lines:]
        except FileNotFoundError:
            return ""
        return f"--- the end of {self.path(name + '.log')}\n" + "".join(last)

    def kill(self, name):
        """Ends a process with SIGKILL, as a crash would; another of the name may be started after that."""
        for record in [record for record in self.processes if record["name"] == name]:
            if self._alive(record):
                os.kill(record["pid"], signal.SIGKILL)
            child = self._children.get(record["pid"])
            if child:
                child.wait()
            self.processes.remove(record)
        self._save()

    def end(self, name, grace_seconds):
        """Asks a process of ours to end, and waits; its exit code, and None if it had to be killed."""
        (record,) = [record for record in self.processes if record["name"] == name]
        child = self._children[record["pid"]]
        child.terminate()
        try:
            code = child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            code = None
        self.kill(name)
        return code

    def stop(self, grace_seconds=10):
        """Ends all processes in the opposite order of their start, stopped (SIGSTOP) ones too."""
        count = 0
        replicas = [r for r in self.processes if r["name"].startswith("r")]
        others = [r for r in reversed(self.processes) if r not in replicas]
        # Replicas at the same time and before what they depend on, so that they can leave in order.
        for group in [replicas] + [[record] for record in others]:
            running = [record for record in group if self._alive(record)]
            count += len(running)
            self._end(running, grace_seconds)
        self.processes = []
        self._save()
        return count

    def _end(self, records, grace_seconds):
        for record in records:
            self._signal(record, signal.SIGTERM)
            # A stopped process takes SIGTERM only once it goes on.
            self._signal(record, signal.SIGCONT)
        deadline = time.monotonic() + grace_seconds
        while any(self._alive(record) for record in records):
            if time.monotonic() > deadline:
                for record in records:
                    self._signal(record, signal.SIGKILL)
            time.sleep(0.02)
        for record in records:
            child = self._children.pop(record["pid"], None)
            if child is not None:
                child.wait()

    def _signal(self, record, number):
        if self._alive(record):
            try:
                os.kill(record["pid"], number)
            except ProcessLookupError:
                pass

    def _alive(self, record):
        child = self._children.get(record["pid"])
        if child is not None and child.poll() is not None:
            return False
        return record["started"] is not None and started(record["pid"]) == record["started"]

    def _save(self):
        if os.path.isdir(self.folder):
            self.write("processes.json", json.dumps(self.processes, indent=1) + "\n")


def clean_environment():
    """Our environment without the variables that would change the configuration of a replica."""
    return {key: value for key, value in os.environ.items() if not key.upper().startswith("ROLLKEEPER")}


def started(pid):
    """When the process started, in clock ticks since boot; None if there is none or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold spaces; state is field 3, the start is field 22.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def free_ports(count):
    """Ports that nobody listens on now.

    They lie below those that the system gives to outgoing connections: one of these could take the port before the server
    does, and a client that waits for the server could even be connected with itself.
    """
    ports = []
    while len(ports) < count:
        port = random.randrange(*PORTS)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in ports:
            ports.append(port)
    return ports
