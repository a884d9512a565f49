"""The chart, rendered by Helm's own engine over a matrix of values, and read against Kubernetes' schemas."""

import json
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from artifacts.storage.staging import part_sizes
from casproject import variables
from devstack.environment import PROJECT

CHART = PROJECT / "deploy" / "helm" / "artifact-cas"
KUBERNETES = ["1.27.0", "1.37.0"]  # the oldest that the chart is for, and the newest
OTHERS = {"ServiceMonitor", "PodMonitor"}  # of operators, whose schemas Kubernetes does not have

# The least that it takes.
LEAST: dict[str, Any] = {
    "cas": {"tokenKeys": {"existingSecrets": [{"name": "keys", "keys": ["2026.pem"]}]}},
    "secrets": {"existingSecret": "artifact-cas"},
}
PROXY = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "proxy"}}}
MATRIX: dict[str, dict[str, Any]] = {
    "least": {},
    "secrets of the chart": {
        "secrets": {
            "existingSecret": "",
            "values": {
                "secretKey": "s" * 50,
                "credentialKeys": "k",
                "databaseUrl": "postgres://u:p@db/cas",
                "brokerUrl": "redis://r",
            },
        },
        "cas": {"tokenKeys": {"inline": {"inline.pem": "-----BEGIN PUBLIC KEY-----\n"}}},
    },
    "several key files": {
        "cas": {
            "tokenKeys": {
                "issuer": "https://control.example.com",
                "existingSecrets": [{"name": "a", "keys": ["1.pem", "2.pem"]}, {"name": "b", "keys": ["jwks.json"]}],
                "existingConfigMaps": [{"name": "c", "keys": ["3.pem"]}],
                "inline": {"4.pem": "key"},
            },
            "checkpointKey": {"existingSecret": "checkpoint", "earlierPublicKeys": ["2024.pem", "2025.pem"]},
        }
    },
    "nats": {"cas": {"nats": {"enabled": True, "host": "nats.example.com"}}},
    "nats with a token": {"cas": {"nats": {"enabled": True, "host": "nats", "port": 4333, "token": "t0ken"}}},
    "nats with a secret": {"cas": {"nats": {"enabled": True, "host": "nats", "existingSecret": "nats"}}},
    "nats with files": {
        "cas": {
            "nats": {
                "enabled": True,
                "url": "tls://a:4222,tls://b:4222",
                "filesSecret": "nats-files",
                "files": {"ca": "ca.crt", "creds": "user.creds"},
            }
        }
    },
    "ingress": {
        "ingress": {"enabled": True, "host": "cas.test", "tls": {"secretName": "tls"}},
        "networkPolicy": {"ingressFrom": [PROXY]},
    },
    "a gateway": {
        "cas": {"behindProxy": True, "allowedHosts": ["cas.test"]},
        "networkPolicy": {"ingressFrom": [PROXY]},
    },
    "everything": {
        "ingress": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "p"}, "tokenSecret": "metrics"},
        "web": {
            "autoscaling": {"enabled": True},
            "podAnnotations": {"a": "b"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"operator": "Exists"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
            ],
        },
        "worker": {"replicas": 3},
        "artifacts": {"enabled": True, "storageClass": "nfs"},
        "image": {"digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "pull"}],
        "networkPolicy": {"ingressFrom": [{"namespaceSelector": {}}], "egress": [{}]},
        "serviceAccount": {"annotations": {"role": "cas"}},
        "cas": {"env": {"CAS_MAX_UPLOAD_BYTES": "1000"}, "extraEnvFrom": [{"secretRef": {"name": "more"}}]},
    },
    "scaling in": {"web": {"autoscaling": {"enabled": True, "scaleIn": True}}},
    "nothing that is optional": {
        "web": {"persistence": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
        "worker": {"persistence": {"enabled": False}},
        "migrations": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
    },
}


# What the controller reads of an Ingress and may concern us; the rest of docs/reverse-proxy.md is its ConfigMap's.
OF_INGRESS_NGINX = {
    *("proxy-body-size", "proxy-request-buffering", "proxy-buffering", "proxy-buffer-size", "proxy-http-version"),
    *("proxy-connect-timeout", "proxy-send-timeout", "proxy-read-timeout", "client-body-buffer-size"),
    *("limit-connections", "enable-access-log"),
}


def merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


@pytest.fixture(scope="module")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(str(CHART)) as chart:
        yield chart


class Manifests:
    """What an installation named `demo` in the namespace `prod` is made of."""

    def __init__(self, chart: helm_python.Chart, *, is_upgrade: bool = False, **changes: Any) -> None:
        values, which = merge(LEAST, changes), {"is_install": not is_upgrade, "is_upgrade": is_upgrade}
        rendered = chart.render(values, name="demo", namespace="prod", **which)
        self.notes = rendered["artifact-cas/templates/NOTES.txt"]
        texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
        self.all = [each for text in texts for each in yaml.safe_load_all(text) if each]

    def kinds(self) -> set[str]:
        return {each["kind"] for each in self.all}

    def find(self, kind: str, name: str) -> dict[str, Any]:
        return next(each for each in self.all if (each["kind"], each["metadata"]["name"]) == (kind, name))

    def pods(self) -> dict[str, dict[str, Any]]:
        """The pods' specs, by component."""
        with_pods = [each for each in self.all if "template" in each.get("spec", {})]
        return {
            each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]["spec"]
            for each in with_pods
        }

    def environment(self, component: str) -> dict[str, Any]:
        variables = self.pods()[component]["containers"][0]["env"]
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in variables}


def test_lint_finds_nothing_but_the_values_that_must_be_given() -> None:
    found = helm_python.lint(str(CHART), values=LEAST)["messages"]
    assert [each["error"] for each in found] == ["icon is recommended"]


@pytest.mark.parametrize("changes", MATRIX.values(), ids=MATRIX)
@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_what_kubernetes_takes(chart: helm_python.Chart, changes: dict[str, Any], version: str) -> None:
    manifests = Manifests(chart, **changes)
    assert {"StatefulSet", "Deployment", "Service"} <= manifests.kinds()
    for manifest in manifests.all:
        if manifest["kind"] not in OTHERS:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("changes", MATRIX.values(), ids=MATRIX)
def test_names_are_unique_and_every_reference_is_met(chart: helm_python.Chart, changes: dict[str, Any]) -> None:
    manifests = Manifests(chart, **changes)
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests.all]
    assert len(names) == len(set(names))
    for component, pod in manifests.pods().items():
        volumes = {each["name"] for each in pod["volumes"]}
        if component in {"web", "worker"}:
            volumes.add("data")  # its own disk, or the pod's
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {each["name"] for each in container["volumeMounts"]} <= volumes
            variables = [each["name"] for each in container["env"]]
            assert len(variables) == len(set(variables))


@pytest.mark.parametrize("changes", MATRIX.values(), ids=MATRIX)
def test_no_container_is_root_or_can_write_its_image(chart: helm_python.Chart, changes: dict[str, Any]) -> None:
    for pod in Manifests(chart, **changes).pods().values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} == container["resources"]["requests"].keys()
            assert container["resources"]["limits"]["memory"]


def test_components_are_the_procfiles(chart: helm_python.Chart) -> None:
    named = {line.split(":")[0] for line in (PROJECT / "Procfile").read_text().splitlines()}
    pods = Manifests(chart).pods()
    assert {pod["containers"][0]["args"][0] for name, pod in pods.items() if name != "migrations"} == named
    assert pods["migrations"]["containers"][0]["args"] == ["migrate", "--no-input", "--skip-checks"]


def test_without_nats_nothing_speaks_of_it(chart: helm_python.Chart) -> None:
    off = Manifests(chart)
    assert "NATS" not in json.dumps(off.all)
    disabled = {"enabled": False, "host": "nats.example.com", "token": "t0ken"}
    assert Manifests(chart, cas={"nats": disabled}).all == off.all


def test_nats_by_host_and_port(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, cas={"nats": {"enabled": True, "host": "nats.example.com"}})
    for component in ("web", "worker", "maintenance", "beat"):
        assert manifests.environment(component)["NATS_URL"] == "nats://nats.example.com:4222"


def test_nats_token_stands_in_a_secret_alone(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, **MATRIX["nats with a token"])
    secret = manifests.find("Secret", "demo-artifact-cas-nats")
    assert secret["stringData"] == {"token": "t0ken"}
    assert "t0ken" not in json.dumps([each for each in manifests.all if each is not secret])
    environment = manifests.environment("worker")
    assert environment["NATS_TOKEN"] == {
        "secretKeyRef": {"name": "demo-artifact-cas-nats", "key": "token", "optional": True}
    }
    assert environment["NATS_URL"] == "nats://nats:4333"


def test_nats_token_of_an_existing_secret(chart: helm_python.Chart) -> None:
    environment = Manifests(chart, **MATRIX["nats with a secret"]).environment("worker")
    (name,) = [name for name, value in environment.items() if isinstance(value, dict) and "nats" in json.dumps(value)]
    assert (name, environment["NATS_URL"]) == ("NATS_TOKEN", "nats://nats:4222")


def test_nats_by_address_and_files_of_a_secret(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, **MATRIX["nats with files"])
    for component, pod in manifests.pods().items():
        environment = manifests.environment(component)
        assert environment["NATS_URL"] == "tls://a:4222,tls://b:4222"
        assert environment["NATS_CA"] == "/etc/artifact-cas/nats/ca.crt"
        assert environment["NATS_CREDS"] == "/etc/artifact-cas/nats/user.creds"
        (volume,) = [each for each in pod["volumes"] if each["name"] == "nats"]
        assert volume["secret"]["secretName"] == "nats-files"
        (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "nats"]
        assert mount["mountPath"] == "/etc/artifact-cas/nats"


def test_each_pod_is_scraped_once_by_the_name_that_alerts_know(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, serviceMonitor={"enabled": True})
    wanted = manifests.find("ServiceMonitor", "demo-artifact-cas")["spec"]["selector"]["matchLabels"]
    services = [each for each in manifests.all if each["kind"] == "Service"]
    found = [each for each in services if wanted.items() <= each["metadata"]["labels"].items()]
    assert [each["metadata"]["name"] for each in found] == ["demo-artifact-cas"]
    workers = manifests.find("PodMonitor", "demo-artifact-cas-workers")["spec"]
    for component in workers["selector"]["matchExpressions"][0]["values"]:
        (port,) = manifests.pods()[component]["containers"][0]["ports"]
        assert port["name"] == workers["podMetricsEndpoints"][0]["port"]
        assert manifests.environment(component)["CAS_METRICS_PORT"] == str(port["containerPort"])
        policy = manifests.find("NetworkPolicy", "demo-artifact-cas")["spec"]
        assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": port["containerPort"]}]}]
    for monitor in ("ServiceMonitor", "PodMonitor"):
        (spec,) = [each["spec"] for each in manifests.all if each["kind"] == monitor]
        (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "artifact-cas"}]


def test_several_key_files_are_mounted_in_the_folder_that_is_named(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, **MATRIX["several key files"])
    (volume,) = [each for each in manifests.pods()["web"]["volumes"] if each["name"] == "token-keys"]
    (mount,) = [
        each for each in manifests.pods()["web"]["containers"][0]["volumeMounts"] if each["name"] == "token-keys"
    ]
    assert manifests.environment("web")["CAS_TOKEN_KEYS"] == mount["mountPath"]
    sources = [next(iter(each.items())) for each in volume["projected"]["sources"]]
    assert [(kind, source["name"], [item["path"] for item in source.get("items", [])]) for kind, source in sources] == [
        ("secret", "a", ["1.pem", "2.pem"]),
        ("secret", "b", ["jwks.json"]),
        ("configMap", "c", ["3.pem"]),
        ("configMap", "demo-artifact-cas-token-keys", []),
    ]


def test_a_token_key_that_is_taken_out_of_its_secret_leaves_the_folder(chart: helm_python.Chart) -> None:
    pod = Manifests(chart, **MATRIX["several key files"]).pods()["web"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "token-keys"]
    assert all(source["optional"] for each in volume["projected"]["sources"] for source in each.values())


def test_only_who_seals_has_the_checkpoint_key(chart: helm_python.Chart) -> None:
    manifests, folder = Manifests(chart, **MATRIX["several key files"]), "/etc/artifact-cas/checkpoint"
    pods = manifests.pods()
    assert {name for name, pod in pods.items() if "checkpoint" in json.dumps(pod)} == {"worker", "maintenance"}
    environment = manifests.environment("maintenance")
    assert environment["CAS_CHECKPOINT_KEY"] == f"{folder}/checkpoint-private.pem"
    assert environment["CAS_CHECKPOINT_PUBLIC_KEYS"] == f"{folder}/2024.pem,{folder}/2025.pem"


def test_worker_keeps_the_last_checkpoint_on_a_disk_of_its_own(chart: helm_python.Chart) -> None:
    name = "demo-artifact-cas-worker"
    spec = Manifests(chart, worker={"persistence": {"size": "3Gi", "storageClass": "fast"}}).find("StatefulSet", name)[
        "spec"
    ]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    (container,) = spec["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/artifact-cas"
    assert "data" not in {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    without = Manifests(chart, worker={"persistence": {"enabled": False}}).find("Deployment", name)["spec"]
    assert "data" in {volume["name"] for volume in without["template"]["spec"]["volumes"]}


def test_names_leave_room_for_what_kubernetes_adds(chart: helm_python.Chart) -> None:
    sets = [each for each in Manifests(chart, fullnameOverride="x" * 60).all if each["kind"] == "StatefulSet"]
    assert len(sets) == 2
    for each in sets:
        assert len(each["metadata"]["name"]) + len("-0123456789") <= 63  # its pods' controller-revision-hash


def test_secrets_stand_in_no_other_manifest(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, **MATRIX["secrets of the chart"])
    others = json.dumps([each for each in manifests.all if each["kind"] != "Secret"])
    for secret in ("s" * 50, "postgres://", "redis://"):
        assert secret not in others


def test_pods_outlive_drain_and_grace(chart: helm_python.Chart) -> None:
    manifests = Manifests(chart, web={"drainSeconds": 20, "graceSeconds": 100})
    environment = manifests.environment("web")
    assert (environment["CAS_DRAIN_SECONDS"], environment["CAS_GRACE_SECONDS"]) == ("20", "100")
    assert manifests.pods()["web"]["terminationGracePeriodSeconds"] > 120


def test_the_autoscaler_ends_no_pod_unless_wanted(chart: helm_python.Chart) -> None:
    def ending(**changes: Any) -> dict[str, Any]:
        manifests = Manifests(chart, web={"autoscaling": {"enabled": True, **changes}})
        scaler = manifests.find("HorizontalPodAutoscaler", "demo-artifact-cas-web")
        return dict(scaler["spec"]["behavior"]["scaleDown"])

    assert ending() == {"selectPolicy": "Disabled"}
    assert ending(scaleIn=True) == {"stabilizationWindowSeconds": 600}
    assert "The autoscaler does not" in Manifests(chart, **MATRIX["scaling in"]).notes
    assert "see that nothing waits" in Manifests(chart).notes


def test_memory_of_a_web_server_holds_all_the_uploads_that_it_takes(chart: helm_python.Chart) -> None:
    manifests, mib = Manifests(chart), 1024**2
    environment = manifests.environment("web")
    upload = 2 * next(part_sizes(variables.CAS_MAX_UPLOAD_BYTES))
    process = 150 * mib + int(environment["CAS_MAX_TRANSFERS"]) * upload
    limit = manifests.pods()["web"]["containers"][0]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) * 1024 * mib > int(environment["CAS_WEB_WORKERS"]) * process


def test_pods_wait_for_the_migrations_of_their_own_version(chart: helm_python.Chart) -> None:
    for component, pod in Manifests(chart).pods().items():
        waiting = [each["command"][-1] for each in pod.get("initContainers", [])]
        assert bool(waiting) == (component != "migrations")
        assert all("migrate --check" in command for command in waiting)


def test_an_upgrade_migrates_before_it_changes_anything(chart: helm_python.Chart) -> None:
    def jobs(*, is_upgrade: bool) -> dict[str, dict[str, str]]:
        found = [each["metadata"] for each in Manifests(chart, is_upgrade=is_upgrade).all if each["kind"] == "Job"]
        return {each["name"]: each.get("annotations", {}) for each in found}

    hook = {"helm.sh/hook": "pre-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}
    assert jobs(is_upgrade=False) == {"demo-artifact-cas-migrate-1": {}}
    assert jobs(is_upgrade=True) == {"demo-artifact-cas-upgrade": hook, "demo-artifact-cas-migrate-1": {}}
    kubernetes_validate.validate(
        Manifests(chart, is_upgrade=True).find("Job", "demo-artifact-cas-upgrade"), KUBERNETES[0], strict=True
    )


def test_that_job_waits_for_nothing_that_comes_with_the_upgrade(chart: helm_python.Chart) -> None:
    inline = {"existingSecrets": [], "inline": {"4.pem": "key"}}
    cas = {**MATRIX["nats with a token"]["cas"], "tokenKeys": inline}
    manifests = Manifests(chart, is_upgrade=True, cas=cas)
    made = {each["metadata"]["name"] for each in manifests.all if each["kind"] in {"Secret", "ConfigMap"}}
    assert made == {"demo-artifact-cas-nats", "demo-artifact-cas-token-keys"}
    pod = manifests.find("Job", "demo-artifact-cas-upgrade")["spec"]["template"]["spec"]
    references = [ref for each in pod["containers"][0]["env"] for ref in each.get("valueFrom", {}).values()]
    for volume in pod["volumes"]:
        references += [ref for source in volume.get("projected", {}).get("sources", []) for ref in source.values()]
    assert {each["name"] for each in references} >= made
    assert all(each["optional"] for each in references if each["name"] in made)


def test_ingress_takes_large_bodies_and_buffers_nothing(chart: helm_python.Chart) -> None:
    ingress = Manifests(chart, **MATRIX["ingress"]).find("Ingress", "demo-artifact-cas")
    said = {name.split("/")[1]: value for name, value in ingress["metadata"]["annotations"].items()}
    assert said.keys() <= OF_INGRESS_NGINX
    assert said["proxy-body-size"] == "0"
    assert (said["proxy-request-buffering"], said["proxy-buffering"]) == ("off", "off")
    assert said["enable-access-log"] == "false"
    assert "error-log-level: crit" in (CHART / "values.yaml").read_text()  # the controller's, out of an Ingress's reach


@pytest.mark.parametrize("name", ["ingress", "a gateway"])
def test_a_proxy_is_believed_and_none_but_it_reaches_the_web_servers(chart: helm_python.Chart, name: str) -> None:
    manifests = Manifests(chart, **MATRIX[name])
    environment = manifests.environment("web")
    assert environment["CAS_BEHIND_PROXY"] == "true"
    assert "cas.test" in environment["CAS_ALLOWED_HOSTS"].split(",")
    policy = manifests.find("NetworkPolicy", "demo-artifact-cas-web")
    assert [rule["from"] for rule in policy["spec"]["ingress"]] == [[PROXY]]
    open_to_all = Manifests(chart, **merge(MATRIX[name], {"networkPolicy": {"enabled": False, "ingressFrom": []}}))
    assert "past the proxy" in open_to_all.notes
    assert "past the proxy" not in manifests.notes


def test_without_a_proxy_nothing_forwarded_is_believed(chart: helm_python.Chart) -> None:
    assert Manifests(chart).environment("web")["CAS_BEHIND_PROXY"] == "false"


def test_metadata_of_the_cloud_is_out_of_reach_unless_wanted(chart: helm_python.Chart) -> None:
    def excepted(**changes: Any) -> list[str]:
        policy = Manifests(chart, networkPolicy=changes).find("NetworkPolicy", "demo-artifact-cas")
        return [net for peer in policy["spec"]["egress"][0]["to"] for net in peer["ipBlock"].get("except", [])]

    assert "169.254.0.0/16" in excepted()
    assert excepted(allowMetadata=True) == []


def test_names_are_looked_up_anywhere_and_pods_reached_on_any_network(chart: helm_python.Chart) -> None:
    _, *others = Manifests(chart).find("NetworkPolicy", "demo-artifact-cas")["spec"]["egress"]
    assert {"to": [{"namespaceSelector": {}}]} in others
    assert {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]} in others
    given = Manifests(chart, networkPolicy={"egress": [{}]}).find("NetworkPolicy", "demo-artifact-cas")
    assert given["spec"]["egress"] == [{}]


def test_background_processes_have_the_probe_that_compose_has(chart: helm_python.Chart) -> None:
    services = yaml.safe_load((PROJECT / "deploy" / "compose.yaml").read_text())["services"]
    pods = Manifests(chart).pods()
    for name in ("worker", "maintenance", "beat"):
        command = pods[name]["containers"][0]["livenessProbe"]["exec"]["command"]
        assert ["CMD-SHELL", command[-1].replace("$", "$$")] == services[name]["healthcheck"]["test"]


def test_readiness_outlasts_a_database_that_does_not_answer(chart: helm_python.Chart) -> None:
    (web,) = Manifests(chart).pods()["web"]["containers"]
    assert web["readinessProbe"]["timeoutSeconds"] > 10 + 5  # tcp_user_timeout, and connect_timeout after it


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cas": {"tokenKeys": {"existingSecrets": []}}}, "/cas/tokenKeys"),
        ({"cas": {"nats": {"enabled": True}}}, "/cas/nats/host"),
        ({"cas": {"nats": {"token": "a@b"}}}, "/cas/nats/token"),
        ({"cas": {"nats": {"url": "tls://user:password@a:4222"}}}, "/cas/nats/url"),
        ({"cas": {"nats": {"files": {"password": "x"}}}}, "password"),
        ({"cas": {"nats": {"port": 0}}}, "/cas/nats/port"),
        ({"cas": {"env": {"lower": "x"}}}, "lower"),
        ({"secrets": {"existingSecret": ""}}, "/secrets/values"),
        ({"web": {"replica": 2}}, "replica"),
        ({"web": {"graceSeconds": 4000}}, "/web/graceSeconds"),
        ({"beat": {"replicas": 2}}, "/beat"),
        ({"beat": {"persistence": {"enabled": True}}}, "/beat"),
        ({"maintenance": {"persistence": {"enabled": True}}}, "/maintenance"),
        ({"ingress": {"enabled": True}}, "/networkPolicy/ingressFrom"),
        ({"cas": {"behindProxy": True}}, "/networkPolicy/ingressFrom"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_wrong_values_are_refused_by_name(chart: helm_python.Chart, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        Manifests(chart, **changes)
    assert complaint in str(caught.value)
