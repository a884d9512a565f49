"""The container files, as far as they can be held to something without an engine."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import yaml
from django.conf import settings

from artifacts.tasks import SLICE_SECONDS
from audit.upkeep_tasks import RETENTION_SECONDS
from casproject.variables import env
from devstack.environment import PROJECT
from tests.servers import free_port

DEPLOY = PROJECT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
BIN = Path(sys.executable).parent
OURS = ["web", "worker", "maintenance", "beat", "migrate", "location", "stream", "image"]
LINE = re.compile(
    r"[\w./-]+:(\d+(\.\d+)?|stable)(-[a-z-]+)?"
)  # a line of versions, whose fixes come with the next pull


def test_dockerfile_passes_hadolint() -> None:
    run = subprocess.run([BIN / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_compose_file_is_what_the_specification_says() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, yaml.safe_load(schema.read_text()))


def test_every_image_of_others_is_named_by_a_line_that_gets_fixes() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for name, service in COMPOSE["services"].items() if name not in OURS]
    assert [image for image in images if not LINE.fullmatch(image)] == []


def test_volumes_of_ours_belong_to_the_image_s_user() -> None:
    (made,) = re.findall(r"install --directory --owner 10001 --group 10001 --mode 0750 (.+)", DOCKERFILE)
    mounts = [mount for name in OURS for mount in COMPOSE["services"][name]["volumes"]]
    targets = {mount.split(":")[1] for mount in mounts if not mount.startswith(".")}
    assert targets == set(made.split())


def test_the_location_is_made_in_a_volume_that_web_and_maintenance_share() -> None:
    folder = COMPOSE["services"]["location"]["command"][-1].removeprefix("--folder=")
    sharing = [name for name in OURS if f"artifacts:{folder}" in COMPOSE["services"][name]["volumes"]]
    assert sharing == ["web", "maintenance", "location"]


def test_compose_refers_to_nothing_that_is_not_there() -> None:
    services = COMPOSE["services"]
    wanted = {name for service in services.values() for name in service.get("depends_on", {})}
    assert wanted <= services.keys()
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", OURS)
def test_container_of_ours_is_read_only_and_without_privileges(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    reaches_out = name in {"web", "worker", "maintenance"}
    assert service["networks"] == (["inside", "outside"] if reaches_out else ["inside"])
    assert "ports" not in service


def environment_of(name: str, **given: str) -> dict[str, str]:
    """What Compose makes of a service's environment, for what stands in deploy/.env."""
    given = {"CAS_HOST_NAME": "h", "CAS_SECRET_KEY": "s", "CAS_CREDENTIAL_KEYS": "c", "POSTGRES_PASSWORD": "p", **given}

    def filled(text: str) -> str:
        return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda found: given.get(found[1], found[2] or ""), text)

    variables = COMPOSE["services"][name]["environment"].items()
    named = {key: given.get(key) if value is None else filled(value) for key, value in variables}
    return {key: value for key, value in named.items() if value is not None}


def test_each_setting_that_an_operator_may_want_is_passed() -> None:
    of_other_programs = ("The command `cas`, on the same machine", "The development stack")
    settings = {name for name, each in env.variables.items() if each.section not in of_other_programs}
    image = set(re.findall(r"^ENV.*?(?=^\w)", DOCKERFILE, re.MULTILINE | re.DOTALL)[0].replace("=", " ").split())
    nginx = {"CAS_SECURE_COOKIES", "CAS_SSL_REDIRECT", "CAS_HSTS_SECONDS", "CAS_HSTS_SUBDOMAINS"}
    others = {"CAS_DEBUG", "CAS_PREPARED_STATEMENTS"}  # never here; of a database elsewhere
    for name in ("worker", "maintenance"):
        assert (
            settings - image - nginx - others == environment_of(name, **dict.fromkeys(settings, "1")).keys() & settings
        )


def test_each_variable_that_the_sdks_read_themselves_is_passed() -> None:
    page = (PROJECT / "docs" / "observability.md").read_text()
    promised = set(re.findall(r"\b(?:OTEL|SENTRY)_[A-Z_]+\*?", page))
    assert {"OTEL_BSP_*", "SENTRY_ENVIRONMENT"} < promised
    for name in ("web", "worker", "maintenance"):
        passed = COMPOSE["services"][name]["environment"]
        assert [each for each in promised if not any(fnmatch(key, each) for key in passed)] == []


def test_what_the_operator_does_not_set_has_its_default() -> None:
    for name in OURS:
        assert set(environment_of(name).values()) >= {"s", "c"}
        assert not {"AUDIT_RETENTION_DAYS", "CAS_CHECKPOINT_KEY", "NATS_CREDS"} & environment_of(name).keys()
    assert environment_of("worker")["NATS_URL"] == "nats://nats:4222"


def test_only_who_signs_has_the_checkpoint_key() -> None:
    given = {"CAS_CHECKPOINT_KEY": "/etc/artifact-cas/checkpoint/checkpoint-private.pem", "AUDIT_RETENTION_DAYS": "30"}
    having = {name for name in OURS if "CAS_CHECKPOINT_KEY" in environment_of(name, **given)}
    mount = "./checkpoint:/etc/artifact-cas/checkpoint:ro"
    seeing = {name for name, each in COMPOSE["services"].items() if mount in each.get("volumes", [])}
    assert having == seeing == {"worker", "maintenance"}
    assert all(environment_of(name, **given)["AUDIT_RETENTION_DAYS"] == "30" for name in OURS)


@pytest.mark.parametrize("name", OURS)
def test_each_container_of_ours_sees_the_public_keys_and_the_files_for_nats(name: str) -> None:
    mounts = COMPOSE["services"][name]["volumes"]
    assert {"./keys:/etc/artifact-cas/keys:ro", "./nats:/etc/artifact-cas/nats:ro"} <= set(mounts)


def test_folders_of_keys_are_in_no_repository() -> None:
    mounts = [mount for each in COMPOSE["services"].values() for mount in each.get("volumes", [])]
    folders = {mount.split(":")[0].removeprefix(".") for mount in mounts if re.match(r"\./\w+:", mount)}
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    assert folders == {"/keys", "/nats", "/checkpoint"}
    assert {f"/deploy{folder}/" for folder in folders} <= set(ignored)


def test_nginx_gets_the_configuration_that_is_tested() -> None:
    conf = (DEPLOY / "nginx" / "artifact-cas.conf").read_text()
    command = COMPOSE["services"]["nginx"]["command"][-1]
    for pattern in [*re.findall(r"s/([^/]+)/", command), *re.findall(r"s#([^#]+)#", command)]:
        assert re.search(pattern, conf), pattern


def test_web_is_given_longer_to_end_than_it_takes() -> None:
    web = COMPOSE["services"]["web"]
    needed = int(web["environment"]["CAS_DRAIN_SECONDS"]) + int(web["environment"]["CAS_GRACE_SECONDS"])
    assert int(web["stop_grace_period"].removesuffix("s")) > needed


@pytest.mark.parametrize("name", ["worker", "maintenance"])
def test_workers_are_given_longer_to_end_than_their_longest_task_takes(name: str) -> None:
    given = int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s"))
    assert given > 2 * max(RETENTION_SECONDS, SLICE_SECONDS)


def test_image_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^USER (.+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `COPY . .` copies, in a clean folder, compiled as the Dockerfile has it."""
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    root = tmp_path_factory.mktemp("image") / "app"
    for name in kept:
        source, target = PROJECT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
        else:
            shutil.copy(source, target)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "."], cwd=root, check=True)
    return root


def environment(data: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CAS_DATA_DIR": str(data),
        "CAS_SECRET_KEY": "only-for-tests-0123456789abcdefghijklmnop",
        "CAS_TOKEN_KEYS": ",".join(map(str, settings.CAS_TOKEN_KEYS)),
        "CAS_CREDENTIAL_KEYS": ",".join(settings.CAS_CREDENTIAL_KEYS),
        **more,
    }


@pytest.mark.parametrize(
    "name",
    ["var/development.env", "tests/settings.py", ".git/config", ".venv/x", "deploy/keys/k", "deploy/checkpoint/k"],
)
def test_image_has_no(name: str) -> None:
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert not any(name == entry or fnmatch(name, f"{entry}/*") for entry in kept)


@pytest.fixture
def web(image: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The image's web server, as its entrypoint starts it, after the migrations as its entrypoint runs them."""
    env = environment(tmp_path, CAS_PORT=str(free_port()), CAS_WEB_WORKERS="1")
    entrypoint = ["sh", str(image / "deploy" / "entrypoint.sh")]
    subprocess.run([*entrypoint, "migrate", "--no-input", "-v0"], env=env, check=True)
    process = subprocess.Popen([*entrypoint, "web"], env=env)
    yield env
    process.terminate()
    process.wait(60)


def test_image_serves_and_writes_nothing_into_itself(image: Path, web: dict[str, Any]) -> None:
    before = sorted(image.rglob("*"))
    check = [sys.executable, str(image / "deploy" / "healthcheck.py")]
    deadline = time.monotonic() + 60
    while subprocess.run(check, env=web, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "never healthy"
        time.sleep(0.2)
    answer = requests.get(f"http://127.0.0.1:{web['CAS_PORT']}/admin/login/", timeout=30)
    assert answer.status_code == 200
    assert sorted(image.rglob("*")) == before


def test_healthcheck_fails_when_nothing_answers(image: Path, tmp_path: Path) -> None:
    check = [sys.executable, str(image / "deploy" / "healthcheck.py")]
    env = environment(tmp_path, CAS_PORT=str(free_port()))
    assert subprocess.run(check, env=env, capture_output=True, check=False).returncode == 1
