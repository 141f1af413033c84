"""The configurations of deploy/: valid by the schemas of Kubernetes, and by HAProxy itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from support.gateway_schemas import SCHEMAS
from support.haproxy import CONFIG, program

pytestmark = pytest.mark.all

KUBERNETES = Path(__file__).parents[2] / "deploy/kubernetes"
CUSTOM = ("keda.yaml", "inference-gateway.yaml")
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


def test_the_example_for_an_inference_gateway_has_the_fields_of_its_kinds() -> None:
    found = {each["kind"]: each for each in documents(KUBERNETES / "inference-gateway.yaml")}

    assert set(found) == set(SCHEMAS)
    for kind, document in found.items():
        jsonschema_rs.validate(SCHEMAS[kind], document)
    pool, route = found["InferencePool"], found["HTTPRoute"]
    ((backend,),) = (rule["backendRefs"] for rule in route["spec"]["rules"])
    assert (backend["kind"], backend["name"]) == ("InferencePool", pool["metadata"]["name"])
    assert pool["apiVersion"].startswith(f"{backend['group']}/")
    deployments = [each for each in documents(KUBERNETES / "crossette.yaml") if each["kind"] == "Deployment"]
    (template,) = (each["spec"]["template"] for each in deployments)
    assert template["metadata"]["labels"] == pool["spec"]["selector"]["matchLabels"]
    ports = [port["containerPort"] for port in template["spec"]["containers"][0]["ports"]]
    assert ports == [port["number"] for port in pool["spec"]["targetPorts"]]


def _without_a_port(pool: dict[str, Any]) -> None:
    del pool["spec"]["endpointPickerRef"]["port"]


def _with_an_earlier_field(pool: dict[str, Any]) -> None:
    pool["spec"]["targetPortNumber"] = 8000


def _with_a_list_of_labels(pool: dict[str, Any]) -> None:
    pool["spec"]["selector"] = [{"app": "crossette"}]


@pytest.mark.parametrize("change", [_without_a_port, _with_an_earlier_field, _with_a_list_of_labels])
def test_a_pool_with_a_mistake_is_found(change: Callable[[dict[str, Any]], None]) -> None:
    (pool,) = (each for each in documents(KUBERNETES / "inference-gateway.yaml") if each["kind"] == "InferencePool")
    change(pool)

    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMAS["InferencePool"], pool)


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
