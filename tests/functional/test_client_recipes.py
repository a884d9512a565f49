"""docs/clients.md: the shell recipes do what they say, and the tables are those of the command."""

import re
import subprocess
import sys
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


@pytest.fixture
def cas(tenant: Tenant, tmp_path: Path) -> Cas:
    return Cas(tenant, tmp_path)


def run(cas: Cas, script: str, role: str, **variables: str) -> str:
    environment = {**cas.environment, "CAS_SERVER": cas.url, "CAS_TOKEN": cas.tokens[role], **variables}
    return subprocess.check_output(["bash", "-euc", script], env=environment, cwd=cas.folder, text=True)


def test_curl_recipes_store_and_fetch(cas: Cas, content: bytes) -> None:
    up, down = CURL
    (cas.folder / "sbom.json").write_bytes(content)
    assert '"skipped":false' in run(cas, up, UPLOADER)
    assert '"skipped":true' in run(cas, up, UPLOADER)
    (cas.folder / "artifact.part").write_bytes(content[:1000])
    run(cas, down, DOWNLOADER, DIGEST=str(digest_of(content)))
    assert (cas.folder / "artifact").read_bytes() == content


def test_the_command_is_installed_from_where_it_is() -> None:
    """No index has it, and whoever registered its name there would be given tokens."""
    for page in [PROJECT / "README.md", *PROJECT.glob("docs/*.md"), *PROJECT.glob("clients/**/*.md")]:
        for where in re.findall(r"pip (?:install|wheel)((?: -\S+| [^\s`#]+)+)", page.read_text()):
            assert not re.search(r" artifact[-_.]cas[-_.]client(?!\S*\.whl)", where), page


def test_ci_recipes_are_yaml_and_their_commands_exist() -> None:
    recipes = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(recipes) == 2
    for recipe in recipes:
        assert yaml.safe_load(recipe)
        for command in re.findall(r"cas ((?:upload|download) [^|\n]*)", recipe):
            parser().parse_args(command.strip().replace('"', "").split())


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
