"""Who may import whom (docs/architecture.md), read off the source."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

PROJECT = Path(settings.BASE_DIR)
PACKAGES = ("artifacts", "audit", "people", "common", "casproject", "devstack")
PURE = [
    "artifacts/block_hashes.py",
    "artifacts/digests.py",
    "artifacts/exceptions.py",
    "artifacts/file_names.py",
    "audit/act_events.py",
    "audit/answers.py",
    "audit/chain.py",
    "audit/entries.py",
    "audit/events.py",
    "audit/inbox.py",
    "audit/names.py",
    "audit/usage.py",
    "common/storable_text.py",
]


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from a import b` is a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports() -> list[tuple[str, str]]:
    """(file, module) for all the project's own code."""
    return [
        (str(path.relative_to(PROJECT)), module)
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*.py")
        for module in imports_of(path)
    ]


def test_artifacts_knows_nothing_of_audit() -> None:
    assert [found for found in imports() if found[0].startswith("artifacts/") and found[1].startswith("audit")] == []


def test_audit_knows_of_artifacts_its_signals_alone() -> None:
    known = {found for found in imports() if found[0].startswith("audit/") and found[1].startswith("artifacts")}
    assert {file for file, _ in known} == {"audit/receivers.py"}
    assert all(module.startswith("artifacts.signals.") for _, module in known)


def test_artifacts_and_audit_know_nothing_of_people() -> None:
    lower = ("artifacts/", "audit/", "common/")
    assert [found for found in imports() if found[0].startswith(lower) and found[1].startswith("people.")] == []


def test_nats_is_for_the_publisher_the_reader_and_the_owners_command() -> None:
    files = {file for file, module in imports() if module.split(".")[0] == "nats"}
    assert files == {
        "audit/connection.py",
        "audit/nats_probe.py",
        "audit/publisher.py",
        "audit/consumer.py",
        "audit/management/commands/audit_stream.py",
    }


def test_nothing_that_a_web_server_loads_reads_the_stream() -> None:
    readers = {file for file, module in imports() if module.startswith("audit.consumer.")}
    loaded = {"receivers", "nudge", "outbox", "publisher", "checks", "models", "api", "apps"}
    assert readers
    assert readers.isdisjoint({f"audit/{name}.py" for name in loaded})
    assert [file for file in readers if file.startswith("audit/admin/")] == []


@pytest.mark.parametrize("file", PURE)
def test_pure_modules_need_no_django(file: str) -> None:
    roots = {module.split(".")[0] for module in imports_of(PROJECT / file)}
    assert roots.isdisjoint({"django", "rest_framework", "celery", "nats"})


@pytest.mark.parametrize("views", ["artifacts/views.py", "artifacts/tus.py"])
def test_views_reach_models_and_storage_through_services(views: str) -> None:
    modules = {module for file, module in imports() if file == views}
    assert modules
    assert not [
        module for module in modules if module.startswith(("artifacts.models", "artifacts.storage", "django.db"))
    ]


@pytest.mark.parametrize(
    "services", ["artifacts/services.py", "artifacts/resumable.py", "artifacts/finishing.py", "artifacts/sweeping.py"]
)
def test_services_know_no_http(services: str) -> None:
    modules = {module for file, module in imports() if file == services}
    http = ("django.http", "rest_framework", "artifacts.views", "artifacts.tus", "artifacts.parsers")
    assert modules
    assert not [module for module in modules if module.startswith(http)]


def test_the_spine_knows_nothing_of_uploads_in_pieces() -> None:
    modules = {module for file, module in imports() if file in {"artifacts/services.py", "artifacts/views.py"}}
    assert not [
        module
        for module in modules
        if module.startswith(("artifacts.resumable", "artifacts.finishing", "artifacts.tus"))
    ]


def test_nothing_that_is_deployed_needs_tests_or_the_development_stack() -> None:
    deployed = [found for found in imports() if not found[0].startswith("devstack/")]
    assert [found for found in deployed if found[1].split(".")[0] in {"tests", "devstack", "pytest"}] == []


@pytest.mark.parametrize("file", PURE)
def test_pure_modules_stand_on_pure_modules_alone(file: str) -> None:
    ours = {module for module in imports_of(PROJECT / file) if module.split(".")[0] in PACKAGES}
    pure = tuple(f"{path.removesuffix('.py').replace('/', '.')}." for path in PURE)
    assert [module for module in ours if not module.startswith(pure)] == []


def test_signals_and_storage_know_nothing_above_them() -> None:
    lower = ("artifacts/signals.py", "artifacts/digests.py", "artifacts/exceptions.py", "artifacts/storage/")
    upper = ("artifacts.services", "artifacts.views", "artifacts.authentication", "artifacts.permissions", "audit")
    assert [found for found in imports() if found[0].startswith(lower) and found[1].startswith(upper)] == []


def test_storage_knows_of_models_their_type_alone() -> None:
    tree = ast.parse((PROJECT / "artifacts" / "storage" / "__init__.py").read_text())
    at_run_time = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in at_run_time if isinstance(node, ast.ImportFrom) and node.module == "artifacts.models"]
    files = {file for file, module in imports() if module.startswith("artifacts.models.")}
    assert {file for file in files if file.startswith("artifacts/storage/")} == {"artifacts/storage/__init__.py"}


def test_environment_is_read_by_its_reader_alone() -> None:
    readers = {
        str(path.relative_to(PROJECT))
        for package in ("artifacts", "audit", "casproject")
        for path in (PROJECT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Subscript)
        and ast.unparse(node).startswith(("os.environ.get", "os.environ[", "os.getenv"))
    }
    assert readers == {"casproject/environment.py"}
    assert {file for file, module in imports() if module == "casproject.environment.Environment"} == {
        "casproject/variables.py"
    }


def test_apps_know_nothing_of_the_project_around_them() -> None:
    apps = [found for found in imports() if found[0].startswith(("artifacts/", "audit/"))]
    assert [found for found in apps if found[1].startswith("casproject")] == []


def test_every_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("import a.b\ndef f():\n    from c import d, e\nif x:\n    import g as h\n")
    assert set(imports_of(source)) == {"a.b", "c.d", "c.e", "g"}


def test_the_diagram_is_what_imports_make() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text()
    diagram = text.split("```mermaid\n")[1].split("```")[0]
    # Names stand before their descriptions, and arrows may have words on them.
    drawn = set(re.findall(r"^ *(\w+)(?:\[[^\]]*\])? -->(?:\|[^|]*\|)? (\w+)", diagram, re.MULTILINE))
    made = {(file.split("/")[0], module.split(".")[0]) for file, module in imports()}
    assert drawn == {(one, other) for one, other in made if one != other and other in PACKAGES}
