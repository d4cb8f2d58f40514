"""Writes the PrometheusRule of k8s/ from the alerts in docs/metrics.md, which are made from the code.

`python3 dev/alerts.py` writes the file; a test compares it.
"""

import os
import re
import sys

import parts

DOCUMENT = os.path.join(parts.ROOT, "docs", "metrics.md")
RULES = os.path.join(parts.ROOT, "k8s", "components", "monitoring", "rules.yaml")
HEAD = """\
# Made from docs/metrics.md by dev/alerts.py; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rollkeeper
  namespace: rollkeeper
  labels:
    app.kubernetes.io/name: rollkeeper
    app.kubernetes.io/part-of: rollkeeper
spec:
  groups:
    - name: rollkeeper
      rules:
"""
ALERT = re.compile(r"^### (?P<name>\w+)\n\n(?P<severity>critical|warning): for (?P<time>\d+[smh])\.\n\n"
                   r"```promql\n(?P<query>.+?)\n```\n\n(?P<text>.+?)\n", re.M | re.S)


def alerts(document):
    """The alerts of a document."""
    found = [one.groupdict() for one in ALERT.finditer(document)]
    if len(found) != document.count("\n### ") or not found:
        raise ValueError("an alert of docs/metrics.md has another form than this script knows")
    return found


def metrics(document):
    """Names and types of its metrics."""
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", document, re.M))


def rules(document):
    """The text of the PrometheusRule."""
    return HEAD + "".join(
        f"        - alert: {one['name']}\n"
        f"          expr: {quoted(one['query'])}\n"
        f"          for: {one['time']}\n"
        f"          labels: {{severity: {one['severity']}}}\n"
        f"          annotations:\n"
        f"            description: {quoted(one['text'])}\n"
        for one in alerts(document))


def quoted(text):
    """A text of YAML."""
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    with open(sys.argv[1] if len(sys.argv) > 1 else DOCUMENT, encoding="utf-8") as source:
        made = rules(source.read())
    with open(RULES, "w", encoding="utf-8") as sink:
        sink.write(made)
