"""Clients that generators make out of the committed OpenAPI documents, compiled and run; `make clients`.

Every client goes through one scenario against a running stack of three replicas: create, list, patch with ETag, back up,
restore, read errors. Before that linters read the documents, and after it schemathesis asks a stack of its own whatever the
document allows and much that it does not. What is generated lies in `.run/clients` and is never committed.
"""

import compileall
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import generators
import parts
import replicas
from client import Client
from procs import Failed, Run, clean_environment

DOCUMENT = os.path.join(parts.ROOT, "openapi", "openapi.json")
DOCUMENT_3_0 = os.path.join(parts.ROOT, "openapi", "openapi-3.0.json")
OURS = os.path.join(parts.ROOT, "tests", "clients")
FOLDER = os.path.join(parts.ROOT, ".run", "clients")
BEGAN = time.monotonic()
# Schemathesis asks the same in each run, as far as the answers are the same; another seed asks for something else.
SEED = os.environ.get("CLIENTS_SEED") or "20261124"


def say(text):
    """Prints a step with its time."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)


def called(what, command, environment=None, folder=None):
    """Runs a command with its output in a log; returns the output, and fails with its end."""
    log = os.path.join(FOLDER, f"{what.replace(' ', '-')}.log")
    with open(log, "w", encoding="utf-8") as file:
        # Offline for those who ask: no telemetry, no news of versions.
        quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False,
                              cwd=folder or FOLDER, env={**clean_environment(), **quiet, **(environment or {})})
    with open(log, encoding="utf-8", errors="replace") as file:
        output = file.read()
    if done.returncode != 0:
        raise Failed(f"{what} failed with {done.returncode}; the end of {log}:\n{output[-6000:]}")
    return output


def fresh(name):
    """An empty folder for what is generated."""
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def scenario(name, command, stack, environment=None, folder=None):
    """Runs a scenario in a department of its own; returns how many things it saw."""
    url, token = stack
    variables = {"ROLLKEEPER_URL": url, "ROLLKEEPER_TOKEN": token, "DEPARTMENT": name, **(environment or {})}
    return len(called(f"{name} scenario", command, variables, folder).splitlines())


def lint(_):
    """Redocly and spectral, over both documents."""
    redocly = generators.npm_package(generators.REDOCLY, "bin/cli.js")
    spectral = generators.npm_package(generators.SPECTRAL, "dist/index.js")
    for document in (DOCUMENT, DOCUMENT_3_0):
        name = os.path.basename(document)
        called(f"redocly {name}", [generators.node(), redocly, "lint", document, "--config", os.path.join(OURS, "redocly.yaml")])
        say(f"redocly finds nothing in {name}")
        called(f"spectral {name}", [generators.node(), spectral, "lint", document, "--ruleset", os.path.join(OURS, "spectral.yaml"),
                                    "--fail-severity", "hint"])
        say(f"spectral finds nothing in {name}")
    return f"{generators.REDOCLY} and {generators.SPECTRAL}: both documents are clean"


def typed(folder, python_path, script):
    """Compiles a Python client, and checks the types of its scenario against it."""
    if not compileall.compile_dir(folder, quiet=2):
        raise Failed(f"{folder} does not compile.")
    called(f"mypy {os.path.basename(script)}", [sys.executable, "-m", "mypy", "--config-file", os.path.join(OURS, "mypy.ini"),
                                                "--cache-dir", os.path.join(FOLDER, "mypy"), script],
           {"PYTHONPATH": os.pathsep.join([generators.python_path(generators.MYPY, generators.PYDANTIC), python_path, folder]), "MYPYPATH": folder})


def openapi_python_client(stack):
    """openapi-python-client."""
    folder = fresh("openapi-python-client")
    path = generators.python_path(generators.OPENAPI_PYTHON_CLIENT)
    printed = called("openapi-python-client", [
        sys.executable, "-m", "openapi_python_client", "generate", "--path", DOCUMENT, "--meta", "none", "--fail-on-warning",
        "--config", os.path.join(OURS, "openapi-python-client.yaml"), "--output-path", os.path.join(folder, "rollkeeper_client"),
    ], {"PYTHONPATH": path})
    if "WARNING" in printed:
        raise Failed(f"openapi-python-client left something out:\n{printed}")
    say("openapi-python-client made a client")
    script = os.path.join(OURS, "scenario_openapi_python_client.py")
    typed(folder, path, script)
    say("it compiles, and the types of the scenario are right")
    seen = scenario("openapi-python-client", [sys.executable, script], stack, {"PYTHONPATH": os.pathsep.join([path, folder])})
    return f"{generators.OPENAPI_PYTHON_CLIENT}: {seen} answers as expected"


def generated(generator, folder, *options):
    """Runs openapi-generator."""
    called(f"openapi-generator {generator}", ["java", "-jar", generators.jar(), "generate", "--input-spec", DOCUMENT,
                                              "--generator-name", generator, "--output", folder, *options])
    say(f"openapi-generator made a client ({generator})")


def openapi_generator_python(stack):
    """openapi-generator for Python."""
    folder = fresh("openapi-generator-python")
    generated("python", folder, "--package-name", "rollkeeper_generated")
    path = generators.python_path(generators.PYDANTIC, generators.URLLIB3, generators.DATEUTIL)
    script = os.path.join(OURS, "scenario_openapi_generator.py")
    typed(folder, path, script)
    say("it compiles, and the types of the scenario are right")
    seen = scenario("openapi-generator-python", [sys.executable, script], stack, {"PYTHONPATH": os.pathsep.join([path, folder])})
    return f"{generators.OPENAPI_GENERATOR}, python: {seen} answers as expected"


def openapi_generator_typescript(stack):
    """openapi-generator for TypeScript."""
    folder = fresh("openapi-generator-typescript")
    generated("typescript-fetch", os.path.join(folder, "client"), "--additional-properties", "importFileExtension=.js")
    for name in ("scenario.ts", "tsconfig.json"):
        shutil.copy(os.path.join(OURS, name), folder)
    with open(os.path.join(folder, "package.json"), "w", encoding="utf-8") as file:
        file.write('{"type": "module"}\n')
    tsc = generators.npm_package(generators.TYPESCRIPT, "bin/tsc")
    called("tsc", [generators.node(), tsc, "--project", folder])
    say("it compiles, strictly, with the scenario")
    seen = scenario("openapi-generator-typescript", [generators.node(), os.path.join(folder, "built", "scenario.js")], stack)
    return f"{generators.OPENAPI_GENERATOR}, typescript-fetch: {seen} answers as expected"


def progenitor(stack):
    """progenitor, for Rust, with the document of OpenAPI 3.0."""
    target = os.path.join(FOLDER, "target")
    called("cargo build", ["cargo", "build", "--locked", "--manifest-path", os.path.join(OURS, "progenitor", "Cargo.toml"),
                           "--target-dir", target])
    say("progenitor made a client, and it compiles")
    seen = scenario("progenitor", [os.path.join(target, "debug", "rollkeeper-client-scenario")], stack)
    return f"progenitor, by openapi-3.0.json: {seen} answers as expected"


def seeded(client):
    """Something to ask for: departments, users, backups, planned restores and tokens; lists of their names."""
    found = {"departments": ["default", "eng", "ops"], "users": [], "backups": [], "restores": [], "tokens": []}
    for department in found["departments"]:
        client.send("PUT", f"/departments/{department}", {})
        users = [client.send("POST", "/users", {"department": department, "name": f"User {at}", "password": "p"}) for at in range(3)]
        found["users"] += [user["id"] for user in users]
        for _ in range(3):
            backup = client.send("POST", "/backups", {"department": department}, headers={"Prefer": "wait=60"})
            found["backups"].append(backup["id"])
            client.send("PATCH", f"/users/{users[0]['id']}", {"locked": True})
            restore = client.send("POST", "/restores", {"from": {"backup_id": backup["id"]}}, headers={"Prefer": "wait=60"})
            found["restores"].append(restore["id"])
        issued = client.send("POST", "/tokens", {"name": department, "scopes": ["users:read"], "department": department})
        found["tokens"].append(issued["id"])
    return found


def schemathesis(stack):
    """Schemathesis with all checks."""
    url, token = stack
    folder = fresh("schemathesis")
    config = os.path.join(folder, "schemathesis.toml")
    shutil.copy(os.path.join(OURS, "schemathesis.toml"), config)
    with open(config, "a", encoding="utf-8") as file:
        for name, values in seeded(Client(url, token)).items():
            file.write(f"{name} = {{ values = {json.dumps(values)} }}\n")
    printed = called("schemathesis", [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file", config, "run", DOCUMENT,
        "--url", url, "--seed", SEED, "--report", "ndjson", "--report-dir", folder,
    ], {"PYTHONPATH": generators.python_path(generators.SCHEMATHESIS), "ROLLKEEPER_TOKEN": token,
        "SCHEMATHESIS_HOOKS": os.path.join(OURS, "schemathesis_hooks.py")})
    asked = re.search(r"(\d+) generated, (\d+) passed", printed)
    if not asked or asked[1] != asked[2]:
        raise Failed(f"schemathesis says neither what it found nor that it found nothing:\n{printed[-3000:]}")
    return f"{generators.SCHEMATHESIS}: {asked[1]} cases, all checks, nothing found"


# By name: what it is, and whose stack it has; linters have none, and nobody else wants that of schemathesis.
STEPS = {
    "lint": (lint, None),
    "openapi-python-client": (openapi_python_client, "stack"),
    "openapi-generator-python": (openapi_generator_python, "stack"),
    "openapi-generator-typescript": (openapi_generator_typescript, "stack"),
    "progenitor": (progenitor, "stack"),
    "schemathesis": (schemathesis, "stack-of-schemathesis"),
}


class Stacks:
    """The stacks that run by now; each is started when somebody wants it."""

    def __init__(self):
        self.runs = {}

    def of(self, name):
        """URL of a replica and token of a stack."""
        if name is None:
            return None
        if name not in self.runs:
            run = Run(os.path.join(FOLDER, name))
            stack = replicas.start(run, backup_every="1h", range_records=1000)
            say(f"a stack runs in {run.folder}")
            self.runs[name] = (run, stack.clients["r1"])
        client = self.runs[name][1]
        return f"http://{client.host}", client.token

    def stop(self, name):
        """Stops one."""
        if name in self.runs:
            self.runs.pop(name)[0].stop()


def main():
    """Runs the steps that the arguments name, or all; returns the exit code."""
    names = sys.argv[1:] or list(STEPS)
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print("usage: python3 dev/clients.py", " ".join(f"[{name}]" for name in STEPS), file=sys.stderr)
        return 2
    os.makedirs(FOLDER, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stacks, lines, code = Stacks(), [], 0
    try:
        for at, name in enumerate(names):
            step, wants = STEPS[name]
            try:
                lines.append(step(stacks.of(wants)))
                say(f"{name}: done")
            except Failed as failed:
                print(failed, file=sys.stderr)
                lines.append(f"{name}: FAILED")
                code = 1
            if wants not in [STEPS[later][1] for later in names[at + 1:]]:
                stacks.stop(wants)
    except parts.Missing as missing:
        print(missing, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    finally:
        for name in list(stacks.runs):
            stacks.stop(name)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
