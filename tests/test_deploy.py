"""The manifests in deploy/ say what the docs and the program say."""

import re
from pathlib import Path

import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.cozydrivers.test_metrics import used
from tests.test_readme import rights

import cozydrivers.cli

DEPLOY = Path(__file__).parents[1] / "deploy"


def objects(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def find(kind):
    (found,) = (each for path in DEPLOY.glob("*.yaml") for each in objects(path.name) if each["kind"] == kind)
    return found


def granted(role):
    """The pairs of verb and resource of a role."""
    return [
        (verb, resource + (f".{group}" if group else ""))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


@pytest.fixture
def container():
    (container,) = find("Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def test_the_role_grants_the_rights_of_the_docs_and_each_once():
    role = find("ClusterRole")
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in role["rules"])
    assert sorted(granted(role)) == sorted(rights())


def test_the_deployment_runs_with_that_role():
    account, binding = find("ServiceAccount")["metadata"], find("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == find("ClusterRole")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    deployment = find("Deployment")
    assert deployment["metadata"]["namespace"] == account["namespace"] == find("Namespace")["metadata"]["name"]
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]


def test_the_selector_of_the_deployment_finds_its_pods():
    spec = find("Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"].items()
    assert spec["replicas"] == 2
    assert spec["selector"]["matchLabels"].items() <= labels


def test_the_command_takes_its_options(container):
    program, command = container["command"]
    assert program == "cozydrivers"
    parameters = typer.main.get_group(cozydrivers.cli.app).commands[command].params
    options = {argument.partition("=")[0] for argument in container["args"]}
    assert options <= {option for parameter in parameters for option in parameter.opts}


def test_the_probes_ask_the_port_that_is_served(container):
    (port,) = container["ports"]
    assert f"--metrics-address=:{port['containerPort']}" in container["args"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


# Alerts

RULES = [rule for group in find("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
NAME = r"\b(?:cozydrivers|controller_runtime|workqueue|rest_client|leader_election)_\w+"


def labels_by_metric():
    samples = (
        sample
        for family in text_string_to_metric_families(used().exposition()[0].decode())
        for sample in family.samples
    )
    return {sample.name: set(sample.labels) for sample in samples}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_names_metrics_and_labels_that_exist(rule):
    known, names = labels_by_metric(), re.findall(NAME, rule["expr"])
    assert names
    assert set(names) <= set(known)
    labels = set.intersection(*(known[name] for name in names))
    grouped = re.findall(r"by \(([^)]*)\)", rule["expr"])
    assert {label for group in grouped for label in group.split(", ")} <= labels
    assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", rule["expr"])) <= labels
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_how_bad_it_is(rule):
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["expr"].count("(") == rule["expr"].count(")")


def test_no_alert_has_the_name_of_another():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
