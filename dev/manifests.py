"""The manifests of k8s/ as Kubernetes would get them, and what the tests read in them."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile

import parts

K8S = os.path.join(parts.ROOT, "k8s")


def yaml():
    """The YAML library, which comes with the checks of the manifests."""
    folder = parts.python_package(parts.VALIDATE_PACKAGE)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    import yaml as library  # pylint: disable=import-outside-toplevel
    return library


def rendered(overlay):
    """The YAML of an overlay, given as a folder."""
    done = subprocess.run([parts.kubectl(), "kustomize", overlay], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"kubectl kustomize {overlay} ended with {done.returncode}: {done.stderr}")
    return done.stdout


@functools.cache
def overlays():
    """All overlays, rendered with secrets of their own, and production with monitoring; name to YAML."""
    parts.tools("age-keygen")
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "k8s")
        shutil.copytree(K8S, copy, ignore=shutil.ignore_patterns("generated"))
        named = os.path.join(copy, "overlays")
        subprocess.run(["sh", os.path.join(named, "dev", "make-secrets.sh")], check=True, capture_output=True)
        os.mkdir(os.path.join(named, "monitored"))
        with open(os.path.join(named, "monitored", "kustomization.yaml"), "w", encoding="utf-8") as file:
            file.write("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
                       "resources: [../production]\ncomponents: [../../components/monitoring]\n")
        return {name: rendered(os.path.join(named, name)) for name in ("dev", "production", "monitored")}


def objects(text):
    """The objects of a rendered overlay."""
    return [one for one in yaml().safe_load_all(text) if one]


def one(found, kind, name=None):
    """The only object of that kind, or of that kind and name; generated names count without their hash."""
    named = re.compile(f"{name or '.*'}(-[a-z0-9]{{10}})?")
    hits = [o for o in found if o["kind"] == kind and named.fullmatch(o["metadata"]["name"])]
    assert len(hits) == 1, f"{len(hits)} objects {kind} {name or ''}"
    return hits[0]


def pods(found):
    """(kind/name, pod spec) of everything that makes pods."""
    return [(f"{o['kind']}/{o['metadata']['name']}", o["spec"]["template"]["spec"]) for o in found
            if o["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job")]
