"""The configurations of deploy/: valid by the schemas of Kubernetes, and by HAProxy itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.haproxy import CONFIG, program

pytestmark = pytest.mark.all

KUBERNETES = Path(__file__).parents[2] / "deploy/kubernetes"
CUSTOM = ("keda.yaml",)
"""Of kinds that Kubernetes itself does not have."""


def documents(file: Path) -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load_all(file.read_text()))


@pytest.mark.parametrize("file", sorted(KUBERNETES.glob("*.yaml")), ids=lambda file: file.name)
def test_manifests_have_the_fields_of_their_kinds(file: Path) -> None:
    import kubernetes_validate

    for document in documents(file):
        if file.name not in CUSTOM:
            kubernetes_validate.validate(document, "1.36", strict=True)
        assert document["metadata"]["name"].startswith("crossette")


def test_the_grace_period_is_longer_than_the_drain() -> None:
    (deployment,) = (each for each in documents(KUBERNETES / "crossette.yaml") if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    environ = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    drain_s = int(environ["CROSSETTE_DRAIN_DELAY"]) + int(environ["CROSSETTE_DRAIN_TIMEOUT"])

    assert pod["terminationGracePeriodSeconds"] >= drain_s + 10


def test_selectors_match_pods_and_settings_exist() -> None:
    from crossette.server.settings import load_settings

    everything = [document for file in sorted(KUBERNETES.glob("*.yaml")) for document in documents(file)]
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in everything if each["kind"] == "Deployment"]
    for each in everything:
        if each["kind"] == "Service":
            assert each["spec"]["selector"] in labels
    env = everything[[each["kind"] for each in everything].index("Deployment")]["spec"]["template"]["spec"]
    load_settings({}, {each["name"]: each.get("value", "x") for each in env["containers"][0]["env"]})


def test_haproxy_accepts_its_configuration_for_kubernetes(tmp_path: Path) -> None:
    text, num_templates = re.subn(r"^    # (server-template .*)$", r"    \1", CONFIG.read_text(), flags=re.M)
    text, num_servers = re.subn(r"^    server replica-.*\n", "", text, flags=re.M)
    (tmp_path / "haproxy.cfg").write_text(text)

    checked = subprocess.run([program(), "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True)

    assert (num_templates, num_servers) == (1, 2)
    assert (checked.returncode, checked.stderr) == (0, checked.stderr)
    assert "ALERT" not in checked.stderr
