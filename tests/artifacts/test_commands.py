"""The management commands that play the control plane and the operator."""

import io
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.conf import settings as project_settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from artifacts.key_ring import verify_token
from artifacts.models import Location
from tests.factories import ORGANIZATION


def private_key(curve: ec.EllipticCurve) -> bytes:
    return ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def row() -> dict[str, Any]:
    """What is stored of the only location."""
    return dict(Location.objects.values().get())


class TestMakeKeys:
    def test_what_it_prints_are_settings_that_work(self, tmp_path: Path, settings: Settings) -> None:
        printed = dict(line.split("=", 1) for line in run("make_keys", str(tmp_path)).splitlines())
        assert set(printed) == {"CAS_TOKEN_KEYS", "CAS_SECRET_KEY", "CAS_CREDENTIAL_KEYS"}
        assert len(printed["CAS_SECRET_KEY"]) >= 50
        Fernet(printed["CAS_CREDENTIAL_KEYS"])
        settings.CAS_TOKEN_KEYS = [printed["CAS_TOKEN_KEYS"]]
        token = run("mint_token", "--key", str(tmp_path / "token-private.pem")).strip()
        assert verify_token(token).role == "uploader"

    def test_private_key_is_its_owners_alone(self, tmp_path: Path) -> None:
        run("make_keys", str(tmp_path))
        assert stat.S_IMODE((tmp_path / "token-private.pem").stat().st_mode) == 0o600

    def test_key_that_exists_is_not_overwritten(self, tmp_path: Path) -> None:
        run("make_keys", str(tmp_path))
        before = (tmp_path / "token-private.pem").read_bytes()
        with pytest.raises(CommandError, match="exists"):
            run("make_keys", str(tmp_path))
        assert (tmp_path / "token-private.pem").read_bytes() == before

    def test_public_key_that_came_alone_is_not_overwritten(self, tmp_path: Path) -> None:
        """As on a production server, where the control plane's is all there is."""
        (tmp_path / "token-public.pem").write_text("the control plane's")
        with pytest.raises(CommandError, match="exists"):
            run("make_keys", str(tmp_path))
        assert (tmp_path / "token-public.pem").read_text() == "the control plane's"
        assert list(tmp_path.iterdir()) == [tmp_path / "token-public.pem"]

    def test_each_run_makes_others(self, tmp_path: Path) -> None:
        assert not set(run("make_keys", str(tmp_path / "a")).splitlines()) & set(
            run("make_keys", str(tmp_path / "b")).splitlines()
        )

    def test_private_key_is_not_printed(self, tmp_path: Path) -> None:
        out, err = io.StringIO(), io.StringIO()
        call_command("make_keys", str(tmp_path), stdout=out, stderr=err)
        assert "PRIVATE" not in out.getvalue() + err.getvalue()
        assert str(tmp_path / "token-private.pem") in err.getvalue()


class TestMintToken:
    def test_defaults_are_those_of_the_development_stack(self) -> None:
        printed = run("mint_token")
        assert printed.count("\n") == 1
        grant = verify_token(printed.strip())
        assert (grant.role, grant.backend, grant.secret_id) == ("uploader", "FILESYSTEM", "default")
        assert (grant.max_bytes, grant.org_id, grant.source_internal) == (0, str(ORGANIZATION), False)
        lifetime = jwt.decode(printed.strip(), options={"verify_signature": False})["exp"] - time.time()
        assert 3590 < lifetime <= 3600

    def test_each_option_becomes_its_claim(self) -> None:
        options = "--role downloader --org acme --backend AWS-S3 --secret-id bucket --max-bytes 7 --source-internal"
        grant = verify_token(run("mint_token", *options.split()).strip())
        assert (grant.role, grant.org_id, grant.backend, grant.secret_id) == ("downloader", "acme", "AWS-S3", "bucket")
        assert (grant.max_bytes, grant.source_internal) == (7, True)

    def test_organization_that_is_no_uuid_is_warned_of_beside_the_token(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        call_command("mint_token", "--org", "acme", stdout=out, stderr=err)
        assert verify_token(out.getvalue().removesuffix("\n")).org_id == "acme"
        assert "'acme' is not a UUID: transfers with this token leave no audit event." in err.getvalue()

    def test_organization_that_is_one_is_not_warned_of(self) -> None:
        err = io.StringIO()
        call_command("mint_token", stdout=io.StringIO(), stderr=err)
        assert err.getvalue() == ""

    @pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800)])
    def test_life_is_read_with_its_unit(self, text: str, seconds: int) -> None:
        claims = jwt.decode(run("mint_token", "--expires-in", text).strip(), options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == seconds

    @pytest.mark.parametrize("text", ["", "h", "-5", "1w", "1.5h", "soon"])
    def test_life_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(CommandError, match="is not a time such as"):
            run("mint_token", f"--expires-in={text}")

    def test_configured_issuer_is_the_tokens(self, settings: Settings) -> None:
        settings.CAS_TOKEN_ISSUER = "control-plane"
        assert verify_token(run("mint_token").strip())

    def test_missing_key_says_what_makes_it(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="make_keys"):
            run("mint_token", "--key", str(tmp_path / "missing.pem"))

    @pytest.mark.parametrize(
        "content",
        [b"no key", bytes(range(256)), private_key(ec.SECP256R1()), public_key(ec.SECP521R1())],
        ids=["text", "binary", "another curve", "public"],
    )
    def test_file_that_is_no_such_key_is_refused_by_name(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(CommandError, match=r"key\.pem"):
            run("mint_token", "--key", str(tmp_path / "key.pem"))

    def test_limit_that_the_server_would_refuse_is_refused(self) -> None:
        with pytest.raises(CommandError):
            run("mint_token", "--max-bytes=-5")

    @pytest.mark.parametrize("role", ["", "admin", "Uploader"])
    def test_role_that_there_is_not_is_refused(self, role: str) -> None:
        with pytest.raises(CommandError, match="invalid choice"):
            run("mint_token", f"--role={role}")

    def test_claims_are_those_of_the_contract(self) -> None:
        token = run("mint_token", "--source-internal").strip()
        assert jwt.get_unverified_header(token)["alg"] == "ES512"
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["aud"] == ["artifact-cas.chainloop"]
        assert set(claims) == {
            *("iss", "aud", "iat", "exp", "role", "backend", "secret-id", "maxbytes", "org-id", "source-internal")
        }

    def test_of_the_shell_it_prints_the_token_alone(self) -> None:
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "CAS_CREDENTIAL_KEYS": ""}
        done = subprocess.run(
            [sys.executable, "manage.py", "mint_token"],
            cwd=project_settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert "artifacts.W001" in done.stderr
        assert verify_token(done.stdout.removesuffix("\n"))


@pytest.mark.django_db
class TestCreateLocation:
    def test_folder_is_made_and_kept_absolute(self, tmp_path: Path) -> None:
        folder = tmp_path / "a" / "b"
        assert run("create_location", "main", "--folder", str(folder)) == "Created location FILESYSTEM/main.\n"
        assert folder.is_dir()
        assert Location.objects.get().options == {"location": str(folder)}

    @pytest.mark.parametrize("again", [[], ["--quota", "500GB"], ["--organization", str(ORGANIZATION).upper()]])
    def test_second_time_nothing_happens(self, tmp_path: Path, again: list[str]) -> None:
        command = ["create_location", "main", "--folder", str(tmp_path)]
        run(*command, "--quota", "500GB", "--organization", str(ORGANIZATION), "--proof-of-possession")
        before = row()
        assert run(*command, *again) == "Location FILESYSTEM/main exists.\n"
        assert row() == before

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--quota", "1GB"], "quota_bytes"),
            (["--folder", "/srv"], "options"),
            (["--organization", str(ORGANIZATION)], "organization"),
            (["--no-proof-of-possession"], "proof_of_possession"),
            (["--quota", "1GB", "--folder", "/srv"], "options, quota_bytes"),
        ],
    )
    def test_what_an_existing_one_has_otherwise_is_named_and_changed_when_asked(
        self, tmp_path: Path, arguments: list[str], named: str
    ) -> None:
        run("create_location", "main", "--folder", str(tmp_path), "--proof-of-possession")
        before = row()
        with pytest.raises(CommandError, match=f"differs in: {named}. --update"):
            run("create_location", "main", *arguments)
        assert row() == before
        assert run("create_location", "main", *arguments, "--update") == "Changed location FILESYSTEM/main.\n"
        after = row()
        assert {name for name in before if before[name] != after[name]} == {*named.split(", "), "updated_at"}
        assert "exists" in run("create_location", "main", *arguments)

    def test_credentials_come_from_a_file_or_standard_input(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "secret.json").write_text('{"access_key": "AKIA123", "secret_key": "hunter2"}')
        command = ["create_location", "s3", "--backend", "AWS-S3", "--options", '{"bucket_name": "b"}']
        from_file = [*command, "--credentials-from", str(tmp_path / "secret.json")]
        run(*from_file)
        assert Location.objects.get().credentials == {"access_key": "AKIA123", "secret_key": "hunter2"}
        assert "exists" in run(*from_file)
        monkeypatch.setattr("sys.stdin", io.StringIO('{"access_key": "AKIA456", "secret_key": "hunter3"}'))
        with pytest.raises(CommandError, match="differs in: credentials") as caught:
            run(*command, "--credentials-from", "-")
        assert "hunter" not in str(caught.value)
        monkeypatch.setattr("sys.stdin", io.StringIO('{"access_key": "AKIA456", "secret_key": "hunter3"}'))
        run(*command, "--credentials-from", "-", "--update")
        assert Location.objects.get().credentials == {"access_key": "AKIA456", "secret_key": "hunter3"}

    def test_credentials_of_a_lost_key_are_replaced(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        location = Location(name="s3", backend="AWS-S3", options={"bucket_name": "b"})
        location.credentials = {"secret_key": "hunter2"}
        location.save()
        settings.CAS_CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
        monkeypatch.setattr("sys.stdin", io.StringIO('{"secret_key": "hunter3"}'))
        run("create_location", "s3", "--backend", "AWS-S3", "--credentials-from", "-", "--update")
        assert Location.objects.get().credentials == {"secret_key": "hunter3"}

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("{", "this is no JSON"),
            ("[]", "must be a JSON object"),
            ('{"secret": "hunter2"}', "Invalid setting 'secret'"),
            ('{"endpoint_url": "http://169.254.169.254"}', "not one that may be connected to"),
        ],
    )
    def test_wrong_credentials_are_refused(self, text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        command = ["create_location", "s3", "--backend", "AWS-S3", "--options", '{"bucket_name": "b"}']
        with pytest.raises(CommandError, match=complaint):
            run(*command, "--credentials-from", "-")
        assert not Location.objects.exists()

    def test_credentials_need_a_key_and_a_file(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        command = ["create_location", "s3", "--backend", "AWS-S3", "--options", '{"bucket_name": "b"}']
        with pytest.raises(CommandError, match="/nonexistent cannot be read: No such file"):
            run(*command, "--credentials-from", "/nonexistent")
        settings.CAS_CREDENTIAL_KEYS = []
        monkeypatch.setattr("sys.stdin", io.StringIO('{"secret_key": "hunter2"}'))
        with pytest.raises(CommandError, match="CAS_CREDENTIAL_KEYS is empty"):
            run(*command, "--credentials-from", "-")
        assert not Location.objects.exists()

    def test_other_backends_take_their_options_as_json(self) -> None:
        command = ["create_location", "s3", "--backend", "AWS-S3", "--options", '{"bucket_name": "b"}']
        run(*command, "--organization", str(ORGANIZATION))
        location = Location.objects.get()
        assert (location.backend, location.options) == ("AWS-S3", {"bucket_name": "b"})
        assert location.organization == ORGANIZATION

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--backend", "FTP"], "Unknown backend"),
            (["--backend", "AWS-S3"], "needs: bucket_name"),
            (["--options", "5"], "JSON object"),
            (["--options", "{"], "this is no JSON"),
            (["--options", "{}", "--organization", "acme"], "valid UUID"),
        ],
    )
    def test_wrong_settings_are_named(self, arguments: list[str], complaint: str) -> None:
        with pytest.raises(CommandError, match=complaint):
            run("create_location", "x", *arguments)
        assert not Location.objects.exists()

    @pytest.mark.parametrize("name", ["", "x" * 201])
    def test_name_that_no_location_may_have_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(CommandError):
            run("create_location", name, "--folder", str(tmp_path))
        assert not Location.objects.exists()

    def test_filesystem_needs_a_folder(self) -> None:
        with pytest.raises(CommandError, match="FILESYSTEM needs: location"):
            run("create_location", "main")

    def test_wrong_settings_make_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError):
            run("create_location", "main", "--folder", str(tmp_path / "a"), "--organization", "acme")
        assert not (tmp_path / "a").exists()

    def test_folder_is_for_filesystem_alone(self, tmp_path: Path) -> None:
        """To the others `location` is a prefix of their keys."""
        command = ["create_location", "s3", "--backend", "AWS-S3", "--options", '{"bucket_name": "b"}']
        with pytest.raises(CommandError, match="--folder"):
            run(*command, "--folder", str(tmp_path / "a"))
        assert not Location.objects.exists()
        assert not (tmp_path / "a").exists()

    def test_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CommandError, match="file"):
            run("create_location", "main", "--folder", str(tmp_path / "file"))

    def test_relative_folder_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        run("create_location", "main", "--folder", "here")
        assert Location.objects.get().options == {"location": str(tmp_path / "here")}

    def test_existing_folder_is_taken_with_what_is_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "kept").touch()
        run("create_location", "main", "--folder", str(tmp_path))
        assert (tmp_path / "kept").exists()


@pytest.mark.django_db
class TestRotateCredentials:
    def test_old_key_is_no_longer_needed(self, settings: Settings) -> None:
        (old,) = settings.CAS_CREDENTIAL_KEYS
        new = Fernet.generate_key().decode()
        location = Location(name="s3", backend="AWS-S3", options={"bucket_name": "b"})
        location.credentials = {"secret_key": "hunter2"}
        location.save()
        Location.objects.create(name="plain", backend="FILESYSTEM", options={"location": "/x"})
        settings.CAS_CREDENTIAL_KEYS = [new, old]
        assert run("rotate_credentials") == "Rotated the credentials of 1 location(s).\n"
        settings.CAS_CREDENTIAL_KEYS = [new]
        assert Location.objects.get(name="s3").credentials == {"secret_key": "hunter2"}

    def test_one_that_is_unreadable_stops_all(self, settings: Settings) -> None:
        good = Location(name="a", backend="AWS-S3", options={"bucket_name": "b"})
        good.credentials = {"secret_key": "hunter2"}
        good.save()
        Location.objects.create(name="z", backend="AWS-S3", options={}, encrypted_credentials="garbage")
        with pytest.raises(CommandError, match="AWS-S3/z"):
            run("rotate_credentials")
        assert Location.objects.get(name="a").encrypted_credentials == good.encrypted_credentials

    def test_one_that_is_unreadable_leaves_those_before_and_after_it(self, settings: Settings) -> None:
        (old,) = settings.CAS_CREDENTIAL_KEYS
        for name in ("a", "z"):
            location = Location(name=name, backend="AWS-S3", options={"bucket_name": "b"})
            location.credentials = {"secret_key": name}
            location.save()
        Location.objects.create(name="m", backend="AWS-S3", options={}, encrypted_credentials="garbage")
        settings.CAS_CREDENTIAL_KEYS = [Fernet.generate_key().decode(), old]
        with pytest.raises(CommandError, match="AWS-S3/m"):
            run("rotate_credentials")
        settings.CAS_CREDENTIAL_KEYS = [old]
        assert [Location.objects.get(name=name).credentials["secret_key"] for name in ("a", "z")] == ["a", "z"]

    def test_secrets_are_not_printed(self, settings: Settings) -> None:
        location = Location(name="s3", backend="AWS-S3", options={"bucket_name": "b"})
        location.credentials = {"secret_key": "hunter2"}
        location.save()
        printed = run("rotate_credentials")
        assert "hunter2" not in printed
        assert location.encrypted_credentials not in printed

    def test_nothing_to_rotate_is_no_error(self, settings: Settings) -> None:
        assert run("rotate_credentials") == "Rotated the credentials of 0 location(s).\n"

    def test_no_key_says_which_setting_lacks(self, settings: Settings) -> None:
        location = Location(name="s3", backend="AWS-S3", options={"bucket_name": "b"})
        location.credentials = {"secret_key": "hunter2"}
        location.save()
        settings.CAS_CREDENTIAL_KEYS = []
        with pytest.raises(CommandError, match="CAS_CREDENTIAL_KEYS"):
            run("rotate_credentials")
