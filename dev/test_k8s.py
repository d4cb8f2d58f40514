"""What can be tested of the manifests without a cluster."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest

import manifests
import parts
from procs import clean_environment

# The oldest Kubernetes that knows all that we use (preStop.sleep), and the newest whose schemas we have.
VERSIONS = ("1.30", "1.37")
# Kinds that the Prometheus operator brings; test_monitoring.py looks at them.
BROUGHT = {"ServiceMonitor", "PrometheusRule"}
SECRETS = "/run/secrets/rollkeeper/"
# What checkov finds and we keep, with the reason. A row that is not needed any more fails.
KEPT = {
    ("dev", "CKV_K8S_43"): "images of a cluster on one machine are named by tags",
    ("dev", "CKV_K8S_15"): "its own image is built there and in no registry, and the others are loaded once",
    ("Dockerfile", "CKV_DOCKER_2"): "Kubernetes has probes, compose.yaml has a healthcheck; nobody else looks at one",
}
# A value that nobody could run with; its line must say that it has to be filled in.
PLACEHOLDER = re.compile(r"example\.org|192\.0\.2\.|sha256:0{64}|age1own|//rollkeeper-")


def document(overlay):
    """The configuration of an overlay."""
    return manifests.one(OBJECTS[overlay], "ConfigMap", "rollkeeper-config")["data"]["rollkeeper.toml"]


def secret_names(text):
    """The keys of the Secret that a configuration names."""
    return set(re.findall(re.escape(SECRETS) + r"([a-z0-9-]+)", "\n".join(
        line for line in text.splitlines() if not line.startswith("#"))))


OBJECTS = {}


def setUpModule():  # pylint: disable=invalid-name
    """Renders all overlays."""
    OBJECTS.update((name, manifests.objects(text)) for name, text in manifests.overlays().items())


def of_each_overlay(test):
    """Runs a test with the objects of each overlay."""
    @functools.wraps(test)
    def run(self):
        for overlay, found in OBJECTS.items():
            with self.subTest(overlay):
                test(self, overlay, found)
    return run


class Overlays(unittest.TestCase):
    """All overlays."""

    @of_each_overlay
    def test_every_object_is_valid_by_the_strict_schemas_of_the_oldest_and_the_newest_kubernetes(self, _, found):
        manifests.yaml()
        import kubernetes_validate  # pylint: disable=import-outside-toplevel,import-error
        for one in (one for one in found if one["kind"] not in BROUGHT):
            for version in VERSIONS:
                # A kind that it does not know is an exception too.
                kubernetes_validate.validate(one, version, strict=True)

    def test_checkov_finds_nothing_that_has_no_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            for overlay, text in manifests.overlays().items():
                os.makedirs(os.path.join(folder, overlay))
                with open(os.path.join(folder, overlay, "all.yaml"), "w", encoding="utf-8") as file:
                    file.write(text)
            shutil.copy(os.path.join(parts.ROOT, "Dockerfile"), folder)
            found = checkov(folder, "kubernetes", "dockerfile")
        kept = {(path.strip("/").partition("/")[0], check): f"{what}: {why}" for check, path, what, why in found}
        self.assertEqual({key: why for key, why in kept.items() if key not in KEPT}, {})
        self.assertEqual(set(KEPT) - set(kept), set(), "these findings are gone, so their reasons may go too")

    @of_each_overlay
    def test_pods_may_do_no_more_than_they_need(self, _, found):
        self.assertEqual(manifests.one(found, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
                         "restricted")
        for name, pod in manifests.pods(found):
            self.assertFalse(pod["automountServiceAccountToken"], name)
            self.assertFalse(pod["enableServiceLinks"], name)
            self.assertTrue(pod["securityContext"]["runAsNonRoot"], name)
            self.assertGreaterEqual(pod["securityContext"]["runAsUser"], 10_000, name)
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(pod), name)
            self.assertNotIn("hostPath", str(pod["volumes"]), name)
            for container in pod["containers"] + pod.get("initContainers", []):
                self.assertEqual(container["securityContext"], {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]}}, name)
                for kind in ("requests", "limits"):
                    self.assertEqual(set(container["resources"][kind]), {"cpu", "memory", "ephemeral-storage"}, name)

    @of_each_overlay
    def test_images_are_named_by_digest_in_production_and_by_version_elsewhere(self, overlay, found):
        for name, pod in manifests.pods(found):
            for container in pod["containers"]:
                image = container["image"]
                pattern = r"[^:]+:(?!latest)[^:]+" if overlay == "dev" else r".+@sha256:[0-9a-f]{64}"
                self.assertRegex(image, f"^{pattern}$", name)
                # A digest says it for good; a tag may move.
                self.assertIn(container["imagePullPolicy"], ("Always", "IfNotPresent"), name)

    @of_each_overlay
    def test_every_selector_selects_what_it_should(self, _, found):
        pods = {o["metadata"]["name"]: o["spec"]["template"]["metadata"]["labels"] for o in found
                if o["kind"] in ("Deployment", "StatefulSet", "Job")}

        def selected(labels, pods=pods):
            return sorted(name for name, has in pods.items() if labels.items() <= has.items())

        for one in found:
            kind, name = one["kind"], one["metadata"]["name"]
            if kind == "Service":
                self.assertEqual(selected(one["spec"]["selector"]), [name])
            if kind in ("PodDisruptionBudget", "Deployment", "StatefulSet"):
                self.assertEqual(selected(one["spec"]["selector"]["matchLabels"]), [name])
            if kind == "NetworkPolicy":
                self.assertTrue(selected(one["spec"]["podSelector"].get("matchLabels", {})), name)
        spread = manifests.one(found, "Deployment", "rollkeeper")["spec"]["template"]["spec"]["topologySpreadConstraints"]
        self.assertEqual([selected(one["labelSelector"]["matchLabels"]) for one in spread], [["rollkeeper"]] * 2)

    @of_each_overlay
    def test_the_network_is_closed_but_for_what_the_configuration_names(self, _, found):
        deny = manifests.one(found, "NetworkPolicy", "default-deny")["spec"]
        self.assertEqual(deny, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        for one in found:
            if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] != "default-deny":
                for rule in one["spec"].get("egress", []) + one["spec"].get("ingress", []):
                    self.assertTrue(rule.get("to") or rule.get("from"), one["metadata"]["name"])
                    self.assertTrue(rule["ports"], one["metadata"]["name"])
        config = tomllib.loads(manifests.one(found, "ConfigMap", "rollkeeper-config")["data"]["rollkeeper.toml"])
        named = {
            "egress-zookeeper": {int(server.rpartition(":")[2]) for server in config["zookeeper"]["connect"].split(",")},
            "egress-s3": {int((re.search(r":(\d+)$", target["endpoint"]) or [0, 443])[1])
                          for target in config["targets"]["list"]},
        }
        for policy, ports in named.items():
            rules = manifests.one(found, "NetworkPolicy", policy)["spec"]["egress"]
            self.assertEqual({port["port"] for rule in rules for port in rule["ports"]}, ports, policy)

    @of_each_overlay
    def test_probes_ask_what_they_mean_and_the_grace_period_holds_the_whole_end(self, _, found):
        pod = manifests.one(found, "Deployment", "rollkeeper")["spec"]["template"]["spec"]
        container = pod["containers"][0]
        paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
        self.assertEqual(paths, {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"})
        config = tomllib.loads(manifests.one(found, "ConfigMap", "rollkeeper-config")["data"]["rollkeeper.toml"])
        drain = config["http"]["drain_timeout"]
        self.assertRegex(drain, r"^\d+s$")
        # src/cli/serve.rs: the hand-over has 11 s, and tasks have 5 s after requests and hand-over.
        end = container["lifecycle"]["preStop"]["sleep"]["seconds"] + max(int(drain[:-1]), 11) + 5
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], end + 5)

    @of_each_overlay
    def test_the_pod_and_the_image_agree(self, _, found):
        with open(os.path.join(parts.ROOT, "Dockerfile"), encoding="utf-8") as file:
            image = file.read()
        user, group = map(int, re.search(r"^USER (\d+):(\d+)$", image, re.M).groups())
        port = int(re.search(r"^ENV ROLLKEEPER__HTTP__LISTEN=0\.0\.0\.0:(\d+)$", image, re.M)[1])
        scratch = re.search(r"^ENV TMPDIR=(\S+)$", image, re.M)[1]
        for name in ("Deployment/rollkeeper", "Job/rollkeeper-migrate"):
            pod = dict(manifests.pods(found))[name]
            context = pod["securityContext"]
            self.assertEqual((context["runAsUser"], context["runAsGroup"], context["fsGroup"]), (user, group, group))
            (container,) = pod["containers"]
            ports = {one["containerPort"] for one in container.get("ports", []) if one["name"] == "http"}
            self.assertEqual(ports, {port} if name.startswith("Deployment") else set())
            volumes = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            kinds = {volume["name"]: volume for volume in pod["volumes"]}
            self.assertIn("emptyDir", kinds[volumes[scratch]])
            self.assertIn("secret", kinds[volumes[SECRETS.rstrip("/")]])


class Configuration(unittest.TestCase):
    """The configuration, its secrets, and what has to be filled in."""

    def test_the_configuration_is_good_once_its_secrets_are_there(self):
        for file, key in (("targets.rs", "access_key_file"), ("telemetry.rs", "metrics_listen")):
            with open(os.path.join(parts.ROOT, "src", "config", file), encoding="utf-8") as source:
                if key not in source.read():
                    self.skipTest(f"this program does not know {key} yet")
        for overlay in OBJECTS:
            with self.subTest(overlay), tempfile.TemporaryDirectory() as folder:
                done = self.check(overlay, folder)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def check(self, overlay, folder):
        """Runs `rollkeeper config check` with secrets in a folder."""
        text = document(overlay)
        for name in secret_names(text):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write({"mongodb-uri": "mongodb://user:password@host/", "zookeeper-auth": "user:password"}
                           .get(name, "x" * 32))
        own, escrow = (identity(folder, name) for name in ("age-identity", "escrow"))
        environment = {**clean_environment(), "ROLLKEEPER__REPLICA__ID": "rollkeeper-5d9f7c9b8-abcde"}
        (container,) = dict(manifests.pods(OBJECTS[overlay]))["Deployment/rollkeeper"]["containers"]
        environment.update({one["name"]: one["value"] for one in container["env"] if "value" in one})
        if overlay == "dev":
            made = manifests.one(OBJECTS[overlay], "ConfigMap", "rollkeeper-environment")["data"]
            self.assertRegex(made["ROLLKEEPER__KEYS__RECIPIENTS"], "^age1[0-9a-z]{58}$")
            environment.update(made, ROLLKEEPER__KEYS__RECIPIENTS=own)
        text = text.replace(SECRETS, folder + "/").replace("age1own", own).replace("age1escrow", escrow)
        config = os.path.join(folder, "rollkeeper.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        return subprocess.run([parts.binary(), "config", "check", "--config", config], env=environment, check=False,
                              capture_output=True, text=True)

    def test_every_secret_is_documented_and_none_is_in_the_repository(self):
        with open(os.path.join(manifests.K8S, "README.md"), encoding="utf-8") as file:
            table = set(re.findall(r"^\| `([a-z0-9-]+)` \|", file.read(), re.M))
        for overlay in OBJECTS:
            self.assertEqual(secret_names(document(overlay)) - table, set(), overlay)
        made = manifests.one(OBJECTS["dev"], "Secret", "rollkeeper-secrets")["data"]
        self.assertEqual(set(made), secret_names(document("dev")))
        self.assertEqual([one for one in OBJECTS["production"] if one["kind"] == "Secret"], [])
        known = subprocess.run(["git", "ls-files", "k8s"], cwd=parts.ROOT, check=True, capture_output=True, text=True)
        self.assertNotIn("generated", known.stdout)
        self.assertTrue(subprocess.run(["git", "check-ignore", "--quiet", "k8s/overlays/dev/generated/token"],
                                       cwd=parts.ROOT, check=False).returncode == 0)

    def test_what_has_to_be_filled_in_says_so(self):
        folder = os.path.join(manifests.K8S, "overlays", "production")
        found = 0
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if PLACEHOLDER.search(line) and not line.startswith("#"):
                        self.assertIn("# FILL IN", line, f"{name}:{number}")
                        found += 1
        self.assertGreater(found, 10)

    def test_every_object_is_explained(self):
        with open(os.path.join(manifests.K8S, "README.md"), encoding="utf-8") as file:
            text = file.read()
        for one in OBJECTS["monitored"]:
            name = re.sub("-[a-z0-9]{10}$", "", one["metadata"]["name"])
            self.assertIn(f"{one['kind']} `{name}`", text)


def identity(folder, name):
    """Makes an age identity; its recipient."""
    path = os.path.join(folder, name)
    if os.path.exists(path):
        os.remove(path)
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    return subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()


def checkov(folder, *frameworks):
    """Failed checks as (check, path, resource, sentence)."""
    done = subprocess.run(
        [sys.executable, "-m", "checkov.main", "--skip-download", "--quiet", "--compact", "--output", "json",
         "--framework", *frameworks, "--directory", folder],
        env={**os.environ, "PYTHONPATH": parts.python_package(parts.CHECKOV_PACKAGE)}, cwd=folder, check=False,
        capture_output=True, text=True)
    try:
        reports = json.loads(done.stdout)
    except ValueError as error:
        raise AssertionError(f"checkov ended with {done.returncode}: {done.stdout}{done.stderr}") from error
    reports = reports if isinstance(reports, list) else [reports]
    assert {report["check_type"] for report in reports} == set(frameworks), "a part was not checked"
    assert all(report["summary"]["parsing_errors"] == 0 for report in reports), "a file could not be read"
    return [(row["check_id"], row["file_path"], row["resource"], row["check_name"])
            for report in reports for row in report["results"]["failed_checks"]]


if __name__ == "__main__":
    unittest.main()
