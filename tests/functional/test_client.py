"""The client in clients/python against the real server: what goes up comes down, and is counted."""

import os
from pathlib import Path

import pytest

from artifact_cas_client import (
    CasError,
    Client,
    ConfigurationError,
    NotFound,
    TokenRefused,
    exchange,
)
from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import digest_of, make_token
from tests.functional.cas_command import Cas, Line, token
from tests.functional.stack import LiveStack, Tenant
from tests.terminals import Terminal

MIB = 1024**2


@pytest.fixture
def cas(tenant: Tenant, tmp_path: Path) -> Cas:
    return Cas(tenant, tmp_path)


@pytest.fixture
def uploader(tenant: Tenant, tmp_path: Path) -> Client:
    return Client(tenant.stack.url, token(tenant, UPLOADER), cache=tmp_path / "cache", resumable_from=4 * MIB)


@pytest.fixture
def downloader(tenant: Tenant) -> Client:
    return Client(tenant.stack.url, token(tenant, DOWNLOADER))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MIB + 1, 4 * MIB, 9 * MIB + 17])
def test_what_goes_up_comes_down(
    tenant: Tenant, uploader: Client, downloader: Client, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    path = write(tmp_path / "ünï <&>.bin", content)
    uploaded = uploader.upload(path)
    downloaded = downloader.download(uploaded.digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert (uploaded.digest, uploaded.size_bytes) == (str(digest_of(content)), size)
    assert (downloaded.size_bytes, downloaded.path) == (size, tmp_path / "copy")
    assert uploader.describe(uploaded.digest).size_bytes == size
    first, second = tenant.wait_for_published(2)
    assert (first["action"], first["size_bytes"]) == ("CASArtifactUploaded", size)
    assert (second["action"], second["size_bytes"]) == ("CASArtifactDownloaded", size)
    if size:
        assert uploader.describe(uploaded.digest).file_name == "ünï <&>.bin"


@pytest.mark.parametrize("size", [100_000, 3 * MIB, 6 * MIB])
def test_what_is_there_costs_no_body_and_is_counted_as_saved(
    tenant: Tenant, stack: LiveStack, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "EXPECT_SECONDS", 60.0)
    content = os.urandom(size)
    Tenant(stack).put(content)
    with Line(stack.port) as line:
        client = Client(line.url, token(tenant, UPLOADER), cache=tmp_path / "cache", resumable_from=4 * MIB)
        uploaded = client.upload(write(tmp_path / "file", content))
        assert uploaded.skipped
        assert line.carried["up"] < 10_000
    (row,) = tenant.wait_for_published(1)
    assert (row["skipped"], row["size_bytes"], row["file_name"]) == (1, size, "file")


def test_command_uploads_describes_and_downloads(cas: Cas, content: bytes) -> None:
    write(cas.folder / "sbom.json", content)
    digest = str(digest_of(content))
    assert cas.run("upload", "sbom.json").out == f"{digest}  sbom.json  stored\n"
    assert cas.run("upload", "sbom.json").out == f"{digest}  sbom.json  already there\n"
    assert cas.run("describe", digest).out.split()[:2] == [digest, str(len(content))]
    (cas.folder / "sbom.json").unlink()
    assert cas.run("download", digest).out == f"{digest}  sbom.json\n"
    assert (cas.folder / "sbom.json").read_bytes() == content
    assert cas.run("digest", "sbom.json").out == f"{digest}  sbom.json\n"
    assert not cas.parts()


def test_files_go_up_several_at_a_time_and_each_has_its_line(cas: Cas, tenant: Tenant) -> None:
    contents = {f"file-{number}": os.urandom(50_000 + number) for number in range(12)}
    contents["twin"] = contents["file-3"]
    for name, content in contents.items():
        write(cas.folder / name, content)
    done = cas.run("upload", "--json", "--jobs", "5", *contents)
    assert done.code == 0
    assert {line["input"]: line["digest"] for line in done.lines} == {
        name: str(digest_of(content)) for name, content in contents.items()
    }
    assert [line["skipped"] for line in done.lines].count(True) == 1
    digests = [str(digest_of(content)) for content in contents.values()]
    assert cas.run("download", "-o", tenant_folder(cas), *digests).code == 0
    assert len(list((cas.folder / "down").iterdir())) == 12
    assert len(tenant.wait_for_published(13 + 12)) == 25


def tenant_folder(cas: Cas) -> Path:
    (cas.folder / "down").mkdir()
    return cas.folder / "down"


def test_a_file_that_fails_keeps_no_other_from_its_upload(cas: Cas, content: bytes) -> None:
    write(cas.folder / "good", content)
    done = cas.run("upload", "missing", "good")
    assert done.code == 1
    assert done.out == f"{digest_of(content)}  good  stored\n"
    assert done.err == "cas: missing: No such file or directory: missing (FileNotFoundError)\n"


def test_standard_input_goes_up_and_comes_out(cas: Cas, content: bytes, tenant: Tenant) -> None:
    done = cas.run("upload", "-", "--name", "from-stdin", stdin=content)
    assert done.out == f"{digest_of(content)}  -  stored\n"
    assert "temporary file" in done.err
    done = cas.run("download", str(digest_of(content)), "-o", "-")
    assert (done.code, done.bytes) == (0, content)
    assert not cas.parts()
    assert tenant.rows()[0]["file_name"] == "from-stdin"


def test_a_file_that_exists_is_overwritten_by_force_alone(cas: Cas, tenant: Tenant, content: bytes) -> None:
    tenant.put(content, "name")
    write(cas.folder / "name", b"mine")
    for arguments in ([], ["-o", "name"]):
        done = cas.run("download", *arguments, str(digest_of(content)))
        assert done.code == 1
        assert "it exists, and is not overwritten without --force: name" in done.err
    assert (cas.folder / "name").read_bytes() == b"mine"
    assert not cas.parts()
    assert cas.run("download", "--force", str(digest_of(content))).code == 0
    assert (cas.folder / "name").read_bytes() == content


def test_force_loses_none_of_two_artifacts_of_one_name(cas: Cas, tenant: Tenant, content: bytes) -> None:
    tenant.put(content, "name")
    tenant.put(content[1:], "name")
    digests = [str(digest_of(content)), str(digest_of(content[1:]))]
    done = cas.run("download", "--force", "--jobs", "1", *digests)
    assert (done.code, done.out) == (1, f"{digests[0]}  name\n")
    assert f"cas: {digests[1]}: another artifact was downloaded under this name: name" in done.err
    assert (cas.folder / "name").read_bytes() == content
    assert not cas.parts()
    assert cas.run("download", "--force", digests[1]).code == 0
    assert (cas.folder / "name").read_bytes() == content[1:]


@pytest.mark.parametrize("command", ["upload", "download"])
def test_a_missing_location_or_address_is_no_missing_artifact(cas: Cas, tenant: Tenant, command: str) -> None:
    write(cas.folder / "name", b"content")
    what = "name" if command == "upload" else str(digest_of(b"content"))
    cas.url = f"{tenant.stack.url}/nowhere"
    done = cas.run(command, what)
    assert (done.code, "404 " in done.err) == (3, True), done.err
    cas.url = tenant.stack.url
    tenant.claims["secret-id"] = "no-such"
    cas.tokens = {role: token(tenant, role) for role in cas.tokens}
    done = cas.run(command, what)
    assert (done.code, "404 location_not_found" in done.err) == (3, True), done.err


def test_the_servers_refusals_are_told_with_their_code(cas: Cas, content: bytes) -> None:
    digest = str(digest_of(content))
    done = cas.run("download", digest)
    assert done.code == 4
    assert done.err == f"cas: {digest}: There is no such artifact in this location. (404 artifact_not_found)\n"
    done = cas.run("describe", "--json", digest)
    assert done.code == 4
    assert done.lines == [
        {
            "input": digest,
            "error": {
                "status": 404,
                "code": "artifact_not_found",
                "detail": "There is no such artifact in this location.",
            },
        }
    ]


@pytest.mark.parametrize("size", [10, 2 * MIB, 5 * MIB])
def test_a_token_that_is_refused_is_told_whatever_the_size(cas: Cas, tenant: Tenant, size: int) -> None:
    path = write(cas.folder / "file", os.urandom(size))
    cas.tokens[UPLOADER] = make_token(UPLOADER, key=tenant.stack.private_key, exp=1)
    done = cas.run("upload", "--resumable-from", "4M", path)
    assert (done.code, "401 invalid_token" in done.err) == (5, True)
    cas.tokens[UPLOADER] = cas.tokens[DOWNLOADER]
    done = cas.run("upload", "--resumable-from", "4M", path)
    assert (done.code, "403 wrong_role" in done.err) == (5, True)
    assert not cas.remembered()


def test_a_token_comes_from_a_file_or_the_environment_alone(cas: Cas, tenant: Tenant, content: bytes) -> None:
    path = write(cas.folder / "file", content)
    (cas.folder / "token").write_text(f"{cas.tokens[UPLOADER]}\n")
    cas.tokens[UPLOADER] = ""
    done = cas.run("upload", path)
    assert (done.code, done.err) == (2, "cas: No token: set CAS_TOKEN, or give --token-file. (configuration)\n")
    assert cas.run("upload", "--token-file", "token", path).code == 0
    assert cas.run("upload", "--token-file", "none", path).code == 1
    assert cas.run("upload", "--token", "secret", path).code == 2
    (cas.folder / "token").write_bytes("secret".encode("utf-16"))
    done = cas.run("upload", "--token-file", "token", path)
    assert (done.code, done.err) == (2, "cas: token: no token, for it is not UTF-8. (invalid_token)\n")


@pytest.mark.parametrize("token", ["", "two words", "line\nX-Injected: yes", "ünïcode"])
def test_what_is_no_token_is_not_sent(stack: LiveStack, token: str) -> None:
    with pytest.raises(ConfigurationError):
        Client(stack.url, token).describe("0" * 64)


def test_a_token_is_asked_for_at_each_request(tenant: Tenant, content: bytes) -> None:
    tenant.put(content)
    tokens = iter([make_token(exp=1), token(tenant, DOWNLOADER)])
    client = Client(tenant.stack.url, lambda: next(tokens))
    with pytest.raises(TokenRefused) as refused:
        client.describe(str(digest_of(content)))
    assert (refused.value.status, refused.value.code) == (401, "invalid_token")
    assert client.describe(str(digest_of(content))).digest == str(digest_of(content))


def test_an_artifact_is_read_as_a_file(tenant: Tenant, downloader: Client, content: bytes) -> None:
    tenant.put(content)
    with downloader.open(str(digest_of(content))) as file:
        assert file.read(10) == content[:10]
        assert file.read() == content[10:]
    with pytest.raises(NotFound), downloader.open("0" * 64):
        pass


def test_what_the_server_found_corrupt_is_told_so(cas: Cas, tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    tenant.put(content, "name")
    stored = stack.path_of(content)
    stored.chmod(0o600)
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = cas.run("download", str(digest_of(content)))
    assert done.code == 7
    assert "502 artifact_corrupt" in done.err
    assert not (cas.folder / "name").exists()


def test_a_file_changed_while_it_is_sent_is_not_stored(tenant: Tenant, tmp_path: Path) -> None:
    path = write(tmp_path / "file", os.urandom(3 * MIB))

    class Meddler:
        def begin(self, size: int) -> None:
            pass

        def advance(self, count: int) -> None:
            if path.stat().st_size == 3 * MIB:
                path.write_bytes(bytes(3 * MIB + 1))

    client = Client(tenant.stack.url, token(tenant, UPLOADER), progress=Meddler(), cache=tmp_path / "cache")
    with pytest.raises(CasError) as refused:
        client.upload(path)
    assert refused.value.code == "digest_mismatch"
    assert tenant.rows() == []


def test_a_pipe_is_no_file_to_upload(cas: Cas) -> None:
    os.mkfifo(cas.folder / "pipe")
    done = cas.run("upload", "pipe")
    assert (done.code, "uploaded as -" in done.err) == (1, True)


def test_progress_is_shown_on_a_terminal_alone(cas: Cas, content: bytes) -> None:
    write(cas.folder / "file", content)
    with Terminal() as terminal:
        process = cas.start("upload", "file", stderr=terminal.theirs)
        assert process.communicate()[0] == f"{digest_of(content)}  file  stored\n".encode()
    shown = terminal.shown
    assert b" of 1.0 MB" in shown
    assert shown.endswith(b"\r\x1b[K")
    assert cas.run("upload", "file").err == ""
