"""compose.yaml, the Kubernetes files, the dashboard: against the real schemas, by the programs that will read them."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mmms_client.errors import AccessError
from mmms_client.triton import TritonTransport, translated
from mmms_server.process import ServerProcess

from . import proxy_process
from .conftest import REPOSITORY, require
from .proxy_process import PROXY, make_certificate

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
VERSIONS = ("1.31", "1.34")
Object = dict[str, Any]


def kustomize(folder: Path) -> list[Object]:
    """What the cluster would get, by kustomize itself."""
    program = shutil.which("kustomize") or shutil.which("kubectl")
    if program is None:
        pytest.skip("no kustomize and no kubectl on this machine")
    verb = "build" if program.endswith("kustomize") else "kustomize"
    done = subprocess.run([program, verb, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def check(objects: list[Object]) -> None:
    """Strict: an unknown field is an error. A version says what it does not know at all, such as a gone API."""
    for version in VERSIONS:
        for found in objects:
            kubernetes_validate.validate(found, version, strict=True)


def one(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (o for o in objects if o["kind"] == kind and re.fullmatch(name, o["metadata"]["name"]))
    return found


def container(workload: Object) -> Object:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return found


def environment(found: Object) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in found["env"]}


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def overlay(request: pytest.FixtureRequest) -> list[Object]:
    return kustomize(DEPLOY / "kubernetes" / "overlays" / request.param)


def test_overlays_are_valid(overlay: list[Object]) -> None:
    check(overlay)
    kinds = {o["kind"] for o in overlay}
    assert {"StatefulSet", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    assert one(overlay, "HorizontalPodAutoscaler", "mmms-triton")["apiVersion"] == "autoscaling/v2"


def test_the_schemas_see_mistakes(overlay: list[Object]) -> None:
    for kind, path, value in (
        ("HorizontalPodAutoscaler", ("apiVersion",), "autoscaling/v2beta2"),
        ("StatefulSet", ("spec", "template", "spec", "terminationGracePeriod"), 90),
        ("NetworkPolicy", ("spec", "ingress", 0, "ports", 0, "port"), 8001.5),
    ):
        broken: Any = copy.deepcopy(next(o for o in overlay if o["kind"] == kind))
        place = broken
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
            check([broken])


def test_no_pod_is_root_or_can_write_its_image(overlay: list[Object]) -> None:
    pods = [o["spec"]["template"]["spec"] for o in overlay if o["kind"] in ("StatefulSet", "Deployment")]
    pods += [one(kustomize(DEPLOY / "kubernetes" / "encode-job"), "Job", ".*")["spec"]["template"]["spec"]]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
        for found in pod["containers"]:
            context = found["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert found["resources"]["requests"] and "memory" in found["resources"]["limits"]


def test_the_parts_know_each_other(overlay: list[Object]) -> None:
    """Names on the ring, ports, selectors, references: what no schema sees."""
    triton, proxy = one(overlay, "StatefulSet", "mmms-triton"), one(overlay, "Deployment", "mmms-proxy")
    service, namespace = triton["spec"]["serviceName"], triton["metadata"]["namespace"]
    names = re.findall(r"server (\S+?):8001 resolve ", environment(container(proxy))["MMMS_SERVERS"])
    scaler = one(overlay, "HorizontalPodAutoscaler", "mmms-triton")["spec"]
    expected = [f"mmms-triton-{n}.{service}.{namespace}.svc.cluster.local" for n in range(scaler["maxReplicas"])]
    assert names == expected and scaler["scaleTargetRef"]["name"] == triton["metadata"]["name"]
    assert one(overlay, "Service", service)["spec"]["clusterIP"] == "None"
    for workload in (triton, proxy):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        selecting = [o for o in overlay if o["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget")]
        selected = []
        for found in selecting:
            wanted = found["spec"].get("podSelector") or found["spec"]["selector"]
            wanted = wanted.get("matchLabels", wanted)
            if wanted.items() <= labels.items():
                selected.append(found["kind"])
                for port in found["spec"].get("ports", []):
                    assert port["targetPort"] in ports
                for rule in found["spec"].get("ingress", []):
                    assert {port["port"] for port in rule["ports"]} <= set(ports.values())
        assert sorted(selected) == ["NetworkPolicy", "PodDisruptionBudget", "Service"]
        volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
        assert volumes == {mount["name"] for mount in container(workload)["volumeMounts"]}
    maps = {o["metadata"]["name"] for o in overlay if o["kind"] == "ConfigMap"}
    used = [v["configMap"]["name"] for v in proxy["spec"]["template"]["spec"]["volumes"] if "configMap" in v]
    assert set(used) == maps
    grace_s = triton["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    wait_s = int(container(triton)["lifecycle"]["preStop"]["exec"]["command"][1])
    (drain_s,) = (int(a.partition("=")[2]) for a in container(triton)["args"] if a.startswith("--exit-timeout-secs="))
    assert grace_s >= wait_s + drain_s + 10


def test_a_second_fleet_as_the_page_says(overlay: list[Object]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (command,) = re.findall(r"sed '(s/namespace[^']*)'", page)
    text = yaml.safe_dump_all(overlay)
    done = subprocess.run(["sed", command], input=text, capture_output=True, text=True, check=True)
    objects = list(yaml.safe_load_all(done.stdout))
    check(objects)
    assert {o["metadata"]["namespace"] for o in objects} == {"mmms-b"}
    servers = environment(container(one(objects, "Deployment", "mmms-proxy")))["MMMS_SERVERS"]
    assert servers.count(".mmms-triton.mmms-b.svc.") == servers.count("server ") == 16


def test_the_repository_may_come_from_an_object_store(tmp_path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", "data"))
    mine = tmp_path / "deploy" / "kubernetes" / "overlays" / "mine"
    mine.mkdir()
    text = {"resources": ["../gpu"], "components": ["../../components/object-store"]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(text))
    objects = kustomize(mine)
    check(objects)
    triton = one(objects, "StatefulSet", "mmms-triton")
    assert environment(container(triton))["MODEL_REPOSITORY"].startswith("s3://")
    assert "models" not in {volume["name"] for volume in triton["spec"]["template"]["spec"]["volumes"]}
    assert environment(container(triton))["CACHE_BYTES"] == "17179869184"
    assert one(objects, "NetworkPolicy", "mmms-triton")["spec"]["egress"]


def test_the_encode_job_is_valid_and_its_command_exists() -> None:
    objects = kustomize(DEPLOY / "kubernetes" / "encode-job")
    check(objects)
    job = one(objects, "Job", "mmms-encode")
    (shard,) = (a for a in container(job)["args"] if a.startswith("--shard="))
    assert shard == f"--shard=$(JOB_COMPLETION_INDEX)/{job['spec']['completions']}"
    help_text = subprocess.run(["mmms-client", "encode", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(a.split("=")[0] in help_text for a in container(job)["args"] if a.startswith("--"))


# compose ----------------------------------------------------------------------------------------------
def compose() -> Object:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_is_valid(tmp_path) -> None:
    def says(file: Path) -> int:
        command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
        return subprocess.run(command, capture_output=True).returncode

    assert says(DEPLOY / "compose.yaml") == 0
    broken = compose()
    broken["services"]["proxy"]["portz"] = ["1:1"]
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    assert says(tmp_path / "compose.yaml") != 0


def test_compose_mounts_what_is_there_and_reaches_what_it_names() -> None:
    services = compose()["services"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and source not in ("./secrets", "./data"):
                assert (DEPLOY / source).exists(), source
    aliases = {a for s in services.values() for a in s.get("networks", {}) and _aliases(s["networks"])}
    hosts = set(re.findall(r"server (\S+?):8001", services["proxy"]["environment"]["MMMS_SERVERS"]))
    assert hosts <= aliases and "triton" in aliases


def _aliases(networks: Any) -> Iterator[str]:
    if isinstance(networks, dict):
        for network in networks.values():
            yield from (network or {}).get("aliases", [])


def variables_of(kind: str) -> dict[str, str]:
    if kind == "compose":
        return dict(compose()["services"]["proxy"]["environment"])
    return environment(
        container(one(kustomize(DEPLOY / "kubernetes" / "overlays" / "cpu"), "Deployment", "mmms-proxy"))
    )


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_nginx_takes_the_configuration_as_the_containers_fill_it_in(nginx: None, tmp_path, kind: str) -> None:
    """With the values of the containers, but for folders, names that exist here, and `resolve`, which is newer."""
    values = variables_of(kind)
    certificate, key = make_certificate(tmp_path)
    assert "resolve " in values["MMMS_SERVERS"] and values["MMMS_RESOLVER"].startswith("resolver ")
    values["MMMS_SERVERS"] = re.sub(r"server \S+?:8001 resolve ", "server 127.0.0.1:8001 ", values["MMMS_SERVERS"])
    values["MMMS_RESOLVER"] = re.sub(r"resolver \S+", "resolver 127.0.0.1", values["MMMS_RESOLVER"])
    values |= {"MMMS_CERTIFICATE": str(certificate), "MMMS_KEY": str(key), "MMMS_STATE": str(tmp_path)}
    values |= {"MMMS_LOG": str(tmp_path / "log"), "MMMS_TOKENS": str(tmp_path / "tokens")}
    template = (PROXY / "nginx.conf.template").read_text()
    wanted = set(re.findall(r"\$\{(\w+)\}", template))
    assert wanted <= set(values) and all(re.match(values["NGINX_ENVSUBST_FILTER"], name) for name in wanted)
    (tmp_path / "nginx.conf").write_text(Template(template).safe_substitute(values))
    program = proxy_process.nginx()
    assert program is not None
    command = [program, "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "[emerg]" not in done.stderr, done.stderr


def triton_arguments(kind: str) -> list[str]:
    """What the containers start Triton with, without what ServerProcess gives it."""
    if kind == "compose":
        command = " ".join(shlex.quote(word) for word in compose()["services"]["cpu-0"]["command"][1:])
        text = re.sub(r"\$\{MMMS_CACHE_BYTES:-(\d+)\}", r"\1", command)
        text = re.sub(r"\$\{MMMS_ADMIN_KEY:\?[^}]*\}", "secret-key", text)
        words = shlex.split(text)
    else:
        found = container(one(kustomize(DEPLOY / "kubernetes" / "overlays" / "cpu"), "StatefulSet", "mmms-triton"))
        values = environment(found) | {"ADMIN_KEY": "secret-key", "CACHE_BYTES": "268435456"}
        words = [re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], word) for word in found["args"]]
    return [w for w in words if not w.startswith(("--model-repository=", "--exit-timeout-secs="))]


@pytest.mark.server
def test_triton_takes_the_command_of_the_containers_and_is_closed(server_extra: None, tmp_path) -> None:
    arguments = triton_arguments("kubernetes")
    assert [a.split("=")[0] for a in arguments] == [a.split("=")[0] for a in triton_arguments("compose")]
    with ServerProcess(REPOSITORY, tmp_path / "log", arguments) as server:
        transport = TritonTransport(server.url)
        client = transport._client
        assert transport.is_model_ready("mmms")
        for request in (client.get_model_repository_index, client.get_system_shared_memory_status):
            with pytest.raises(AccessError), translated(server.url):
                request()
            if request == client.get_model_repository_index:
                assert request(headers={"triton-grpc-protocol-closed": "secret-key"}).models
        transport.close()


# The rest ---------------------------------------------------------------------------------------------
def test_the_dashboard_asks_for_what_exists(tmp_path) -> None:
    require("prometheus", shutil.which("promtool"))
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "mmms.json").read_text())
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["datasources"][0]["uid"]}
    questions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(questions)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert {name for text in questions for name in re.findall(r"mmms:\w+:\w+", text)} <= recorded
    titles = " ".join(panel["title"] for panel in board["panels"])
    for word in ("Click", "Encode", "Queue", "hit ratio", "Cancelled", "Errors", "GPU memory"):
        assert word in titles


def test_secrets_are_made_once(nginx: None, tmp_path) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run([PROXY / "make_secrets.sh", folder, "DNS:mmms.example.org"], check=True)
        files = {path: path.read_text() for path in [*folder.rglob("*"), tmp_path / ".env"] if path.is_file()}
    subprocess.run([PROXY / "make_secrets.sh", folder], check=True)
    assert {path: path.read_text() for path in files} == files and len(files) == 5
    token = (folder / "token").read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert (folder / "tokens" / "first.conf").read_text() == f'"~^Bearer {token}$" "first";\n'
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    names = ["openssl", "x509", "-in", str(folder / "certificate.pem"), "-noout", "-ext", "subjectAltName"]
    assert "DNS:mmms.example.org" in subprocess.run(names, capture_output=True, text=True, check=True).stdout


def test_the_image_of_the_client_holds_its_packages_and_no_secrets() -> None:
    """Secrets, tokens and people's data lie in the build's context; an image with them would go to a registry."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert copied == needed | {package.partition("/")[0] for package in packages}
    extras = re.search(r'"/src\[([a-z,]+)\]"', (DEPLOY / "Dockerfile").read_text())
    assert extras is not None and {"annotate", "bench"} <= set(extras[1].split(","))  # the commands that it says it has
