"""docs/clients.md: the shell recipes do what they say, and the tables are those of the command."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from artifact_cas_client.arguments import parser
from artifact_cas_client.exit_codes import MEANINGS
from artifacts.tokens import DOWNLOADER, UPLOADER
from devstack.environment import PROJECT
from tests.factories import digest_of
from tests.functional.cas_command import Cas
from tests.functional.stack import Tenant

PAGE = (PROJECT / "docs" / "clients.md").read_text()
CURL = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cas(tenant: Tenant, tmp_path: Path) -> Cas:
    return Cas(tenant, tmp_path)


SHOWN = """\
#!/bin/bash
# Notes who may read the header's file, and is curl.
for argument; do [[ $argument == @* ]] && stat -c %a "${argument#@}" >> "$MODES"; done
exec "$CURL" "$@"
"""


@pytest.fixture
def modes(tmp_path: Path) -> Path:
    """Permissions of the files that a recipe has had a token in."""
    return tmp_path / "modes"


@pytest.fixture
def run(cas: Cas, modes: Path, tmp_path: Path) -> Iterator[Run]:
    """Runs a recipe, as somebody whose files are for all to read; in the end none with a token may be left."""
    tools, temporary = tmp_path / "tools", tmp_path / "tmp"
    tools.mkdir()
    temporary.mkdir()
    (tools / "curl").write_text(SHOWN)
    (tools / "curl").chmod(0o755)

    def run(script: str, role: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **cas.environment,
            "CAS_SERVER": cas.url,
            "CAS_TOKEN": cas.tokens[role],
            "CURL": shutil.which("curl") or "",
            "MODES": str(modes),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "TMPDIR": str(temporary),
            **variables,
        }
        command = ["bash", "-euc", f"umask 022\n{script}"]
        return subprocess.run(command, env=environment, cwd=cas.folder, text=True, capture_output=True, check=False)

    yield run
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"Authorization" in path.read_bytes()]


def test_curl_recipes_store_and_fetch(cas: Cas, run: Run, modes: Path, content: bytes) -> None:
    up, down = CURL
    (cas.folder / "sbom.json").write_bytes(content)
    assert '"skipped":false' in run(up, UPLOADER).stdout
    assert '"skipped":true' in run(up, UPLOADER).stdout
    part = cas.folder / f"{digest_of(content).hex}.part"
    part.write_bytes(content[:1000])
    assert run(down, DOWNLOADER, DIGEST=str(digest_of(content))).returncode == 0
    assert (cas.folder / "artifact").read_bytes() == content
    assert not part.exists()
    assert modes.read_text().split() == ["600"] * 3


def test_curl_recipe_goes_on_with_no_other_bytes(cas: Cas, run: Run, tenant: Tenant, content: bytes) -> None:
    down = CURL[1]
    tenant.put(content)
    (cas.folder / f"{digest_of(content).hex}.part").write_bytes(b"x" * 1000)
    (cas.folder / "artifact.part").write_bytes(b"of another artifact")
    assert run(down, DOWNLOADER, DIGEST=str(digest_of(content))).returncode != 0
    assert not (cas.folder / "artifact").exists()
    assert run(down, DOWNLOADER, DIGEST=str(digest_of(content))).returncode == 0
    assert (cas.folder / "artifact").read_bytes() == content


def test_curl_recipe_that_fails_leaves_no_token(cas: Cas, run: Run) -> None:
    done = run(CURL[1], UPLOADER, DIGEST=str(digest_of(b"none")))
    assert done.returncode != 0
    assert not (cas.folder / "artifact").exists()


@pytest.mark.parametrize("page", [PROJECT / "docs" / "clients.md", PROJECT / "clients" / "python" / "README.md"])
def test_python_sample_stores_and_fetches(cas: Cas, page: Path, content: bytes) -> None:
    (sample,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    values = [cas.tokens[UPLOADER], cas.tokens[DOWNLOADER]]
    script = f"uploader_token, downloader_token = {values}\n{sample.replace('https://cas.example.com', cas.url)}"
    (cas.folder / "sbom.json").write_bytes(content)
    subprocess.run([sys.executable, "-c", script], env=cas.environment, cwd=cas.folder, check=True)
    assert (cas.folder / "copy.json").read_bytes() == content


def test_the_command_is_installed_from_where_it_is() -> None:
    """No index has it, and whoever registered its name there would be given tokens."""
    for page in [PROJECT / "README.md", *PROJECT.glob("docs/*.md"), *PROJECT.glob("clients/**/*.md")]:
        for where in re.findall(r"pip (?:install|wheel)((?: -\S+| [^\s`#]+)+)", page.read_text()):
            assert not re.search(r" artifact[-_.]cas[-_.]client(?!\S*\.whl)", where), page


RECIPES = [yaml.safe_load(recipe) for recipe in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_ci_recipes_are_yaml_and_their_commands_exist() -> None:
    github, gitlab = RECIPES
    lines = [step["run"] for job in github["jobs"].values() for step in job["steps"] if "run" in step]
    lines += [line for job in gitlab.values() for line in job["script"]]
    commands = re.findall(r"cas ((?:upload|download) [^|\n]*)", "\n".join(lines))
    assert len(commands) == 4
    for command in commands:
        parser().parse_args(command.strip().replace('"', "").split())


def test_github_jobs_have_what_they_install() -> None:
    for job in RECIPES[0]["jobs"].values():
        uses = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        installed = [number for number, step in enumerate(job["steps"]) if "pip install tools/" in step.get("run", "")]
        assert len(installed) == 1
        assert "actions/checkout" in uses[: installed[0]]


def test_gitlab_jobs_have_what_they_run_and_each_its_token() -> None:
    tokens = {name: re.findall(r'--token-file "\$(\w+)"', str(job["script"])) for name, job in RECIPES[1].items()}
    assert tokens == {"build": ["CAS_UPLOADER_FILE"], "deploy": ["CAS_DOWNLOADER_FILE"]}
    for job in RECIPES[1].values():
        assert "variables" not in job  # a project's variables would go before them
        assert "make" not in str(job["script"]) or not job["image"].endswith("-slim")
        assert "pip install tools/artifact_cas_client-*.whl" in job["script"]


def test_every_option_and_exit_code_is_documented() -> None:
    helps = [
        subprocess.check_output(
            [sys.executable, "-m", "artifact_cas_client", command, "--help"], text=True, env=_path()
        )
        for command in ("upload", "download", "describe", "digest")
    ]
    options = set(re.findall(r"--[a-z][a-z-]+", " ".join(helps))) - {"--help", "--token"}
    assert options == set(re.findall(r"`(--[a-z-]+)`", PAGE.split("There is no option")[0]))
    assert re.findall(r"^ *(\d+) ", MEANINGS, re.MULTILINE) == re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT / "clients" / "python" / "src")}
