"""Keys change without a restart: what is put in counts soon, what is taken out counts no more."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from artifacts import key_ring
from artifacts.exceptions import InvalidToken
from artifacts.key_ring import KeyRing
from artifacts.token_keys import BadKeyFile, TokenKey, key_files, load_keys
from tests.factories import make_token

Key = ec.EllipticCurvePrivateKey


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass."""
    now = [1000.0]
    monkeypatch.setattr(key_ring, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP521R1())


def public_pem(key: Key) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwks(**keys: Key) -> str:
    entries = [
        {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()
    ]
    return json.dumps({"keys": entries})


def token(key: Key, kid: str = "") -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    headers: dict[str, Any] = {"headers": {"kid": kid}} if kid else {}
    return make_token(key=pem, **headers)


def replace(path: Path, text: str) -> None:
    """As whoever takes care writes a file: it appears whole."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def knows(ring: KeyRing, text: str) -> bool:
    try:
        ring.verify(text)
    except InvalidToken:
        return False
    return True


def test_several_keys_of_one_pem_file_count(tmp_path: Path) -> None:
    keys = [new_key(), new_key()]
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "keys.pem").write_text("\n".join(map(public_pem, [*keys, other])))
    ring = KeyRing([str(tmp_path / "keys.pem")])
    assert [knows(ring, token(key)) for key in keys] == [True, True]
    assert len(load_keys(tmp_path / "keys.pem")) == 2


def test_folder_stands_for_the_files_in_it_without_those_that_kubernetes_keeps_beside(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / ".hidden").write_text("no key")
    (tmp_path / "b.pem").touch()
    (tmp_path / "a.json").touch()
    assert key_files([str(tmp_path), "/other"]) == [tmp_path / "a.json", tmp_path / "b.pem", Path("/other")]


def test_folder_without_keys_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="is a folder without a key file"):
        key_files([str(tmp_path)])


def test_private_key_is_told_for_what_it_is(tmp_path: Path) -> None:
    pem = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(BadKeyFile, match="holds a private key"):
        load_keys(tmp_path / "key.pem")


def test_new_kid_counts_at_its_first_token_and_the_old_one_until_it_is_taken_out(
    tmp_path: Path, later: Callable[[float], None]
) -> None:
    old, new = new_key(), new_key()
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=old))
    ring = KeyRing([str(file)])
    remembered = token(old, "old")
    assert knows(ring, remembered)
    replace(file, jwks(old=old, new=new))
    later(key_ring.READ_AGAIN + 0.1)
    assert knows(ring, token(new, "new"))
    assert knows(ring, remembered)
    replace(file, jwks(new=new))
    later(key_ring.LOOKED_AT + 0.1)
    assert not knows(ring, remembered)
    assert knows(ring, token(new, "new"))


def test_unknown_kid_reads_the_files_again_even_when_they_look_the_same(
    tmp_path: Path, later: Callable[[float], None]
) -> None:
    old, new = new_key(), new_key()
    file = tmp_path / "jwks.json"
    file.write_text(jwks(k1=old))
    status = file.stat()
    ring = KeyRing([str(file)])
    with file.open("r+") as same:
        same.write(jwks(k2=new))
        same.truncate()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    later(key_ring.READ_AGAIN + 0.1)
    assert knows(ring, token(new, "k2"))


def test_unknown_kids_read_the_files_no_more_often_than_every_few_seconds(
    tmp_path: Path, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jwks.json").write_text(jwks(ours=new_key()))
    ring = KeyRing([str(tmp_path / "jwks.json")])
    read: list[Path] = []

    def read_keys(path: Path) -> list[TokenKey]:
        read.append(path)
        return load_keys(path)

    monkeypatch.setattr(key_ring, "load_keys", read_keys)
    stranger = new_key()
    for _ in range(20):
        later(0.5)
        assert not knows(ring, token(stranger, "stranger"))
    assert 1 < len(read) <= 10 / key_ring.READ_AGAIN


def test_key_files_that_come_into_a_folder_and_leave_it(tmp_path: Path, later: Callable[[float], None]) -> None:
    old, new = new_key(), new_key()
    (tmp_path / "old.pem").write_text(public_pem(old))
    ring = KeyRing([str(tmp_path)])
    (tmp_path / "new.pem").write_text(public_pem(new))
    later(key_ring.LOOKED_AT + 0.1)
    assert [knows(ring, token(key)) for key in (old, new)] == [True, True]
    (tmp_path / "old.pem").unlink()
    later(key_ring.LOOKED_AT + 0.1)
    assert [knows(ring, token(key)) for key in (old, new)] == [False, True]


def test_file_that_is_half_written_or_gone_keeps_its_keys_and_is_told_once(
    tmp_path: Path, later: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    key = new_key()
    file = tmp_path / "keys.pem"
    file.write_text(public_pem(key))
    ring = KeyRing([str(file)])
    text = token(key)
    with caplog.at_level(logging.ERROR):
        file.write_text(public_pem(key)[:60])
        for _ in range(3):
            later(key_ring.LOOKED_AT + 0.1)
            assert knows(ring, text)
        file.unlink()
        for _ in range(3):
            later(key_ring.LOOKED_AT + 0.1)
            assert knows(ring, text)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"CAS_TOKEN_KEYS: {file} is neither a PEM public key nor a JWKS. Its keys stay as they were.",
        f"CAS_TOKEN_KEYS: {file} cannot be read. Its keys stay as they were.",
    ]


def test_file_that_was_renamed_keeps_its_keys_when_it_is_half_written(
    tmp_path: Path, later: Callable[[float], None]
) -> None:
    key, other = new_key(), new_key()
    (tmp_path / "a.pem").write_text(public_pem(key))
    (tmp_path / "other.pem").write_text(public_pem(other))
    ring = KeyRing([str(tmp_path)])
    (tmp_path / "a.pem").rename(tmp_path / "b.pem")
    later(key_ring.LOOKED_AT + 0.1)
    assert knows(ring, token(key))
    (tmp_path / "b.pem").write_text(public_pem(key)[:60])
    later(key_ring.LOOKED_AT + 0.1)
    assert [knows(ring, token(each)) for each in (key, other)] == [True, True]


def test_emptied_folder_keeps_its_keys(tmp_path: Path, later: Callable[[float], None]) -> None:
    key = new_key()
    (tmp_path / "key.pem").write_text(public_pem(key))
    ring = KeyRing([str(tmp_path)])
    (tmp_path / "key.pem").unlink()
    later(key_ring.LOOKED_AT + 0.1)
    assert knows(ring, token(key))


def test_requests_go_on_while_keys_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "LOOKED_AT", 0.0)
    monkeypatch.setattr(key_ring, "READ_AGAIN", 0.0)
    stays, changing = new_key(), [new_key() for _ in range(3)]
    file = tmp_path / "jwks.json"
    file.write_text(jwks(stays=stays))
    ring = KeyRing([str(file)])
    refused: list[str] = []
    is_over = threading.Event()

    def keep_asking() -> None:
        while not is_over.is_set():
            text = token(stays, "stays")
            if not knows(ring, text):
                refused.append(text)

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        replace(file, jwks(stays=stays, **{f"k{number}": changing[number % 3]}))
    is_over.set()
    for thread in threads:
        thread.join()
    assert refused == []
    assert knows(ring, token(changing[59 % 3], "k59"))
