"""What Prometheus is told to read is there, and the alerts are those of docs/metrics.md."""

import os
import re
import unittest

import alerts
import manifests


class Monitoring(unittest.TestCase):
    """Production with components/monitoring."""

    def setUp(self):
        self.found = manifests.objects(manifests.overlays()["monitored"])

    def test_prometheus_reaches_the_metrics_of_the_replicas_and_nobody_else_does(self):
        monitor = manifests.one(self.found, "ServiceMonitor")
        self.assertEqual(monitor["apiVersion"], "monitoring.coreos.com/v1")
        self.assertEqual(set(monitor["spec"]), {"selector", "endpoints"})
        (endpoint,) = monitor["spec"]["endpoints"]
        self.assertEqual(set(endpoint), {"port", "path", "interval", "scrapeTimeout"})
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [one for one in self.found if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()]
        (port,) = [port for port in service["spec"]["ports"] if port["name"] == endpoint["port"]]
        container = manifests.one(self.found, "Deployment")["spec"]["template"]["spec"]["containers"][0]
        (listens,) = [one["containerPort"] for one in container["ports"] if one["name"] == port["targetPort"]]
        (listen,) = [one["value"] for one in container["env"] if one["name"] == "ROLLKEEPER__TELEMETRY__METRICS_LISTEN"]
        self.assertEqual(listen, f"0.0.0.0:{listens}")
        allowed = [one["metadata"]["name"] for one in self.found if one["kind"] == "NetworkPolicy"
                   for rule in one["spec"].get("ingress", []) for open_port in rule["ports"]
                   if open_port["port"] in (port["targetPort"], listens)]
        self.assertEqual(allowed, ["ingress-metrics"])

    def test_rules_have_the_form_that_the_operator_takes(self):
        rule = manifests.one(self.found, "PrometheusRule")
        self.assertEqual((rule["apiVersion"], set(rule["spec"])), ("monitoring.coreos.com/v1", {"groups"}))
        for group in rule["spec"]["groups"]:
            self.assertEqual(set(group), {"name", "rules"})
            self.assertGreater(len(group["rules"]), 10)
            for one in group["rules"]:
                self.assertEqual(set(one), {"alert", "expr", "for", "labels", "annotations"})
                self.assertRegex(one["for"], r"^\d+[smh]$")
                self.assertIn(one["labels"]["severity"], ("critical", "warning"))
                # Prometheus would take it for a template.
                self.assertNotIn("{{", str(one["annotations"]))

    @unittest.skipUnless(os.path.exists(alerts.DOCUMENT), "this program has no metrics yet")
    def test_the_alerts_are_those_of_the_document_and_ask_for_metrics_that_exist(self):
        with open(alerts.DOCUMENT, encoding="utf-8") as file:
            document = file.read()
        with open(alerts.RULES, encoding="utf-8") as file:
            self.assertEqual(file.read(), alerts.rules(document), "run `python3 dev/alerts.py`")
        known = set(alerts.metrics(document))
        for one in alerts.alerts(document):
            asked = set(re.findall(r"\b(?:rollkeeper|process)_\w+", one["query"]))
            asked = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
            self.assertTrue(asked, one["name"])
            self.assertEqual(asked - known, set(), one["name"])


if __name__ == "__main__":
    unittest.main()
