"""Tokens: every claim, every way to be wrong, and what is remembered."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.conf import settings as project_settings
from pytest_django import Settings

from artifacts.exceptions import InvalidToken
from artifacts.key_ring import verify_token
from artifacts.token_keys import BadKeyFile, TokenKey, load_keys
from artifacts.tokens import (
    AUDIENCE,
    DOWNLOADER,
    UPLOADER,
    Grant,
    TokenVerifier,
)
from tests.factories import ORGANIZATION, make_token

# Fixed, since parameters are made when tests are collected, long before the last of them runs.
LONG_AGO = 1_000_000_000
FAR_AHEAD = 4_000_000_000


def pem_of(key: Any) -> str:
    text: str = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return text


def public_pem_of(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def jwk_of(key: ec.EllipticCurvePrivateKey, **members: Any) -> dict[str, Any]:
    jwk: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, **members}


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP521R1())


def claim(name: str, value: Any) -> dict[str, Any]:
    """A claim whose name is no Python identifier."""
    return {name: value}


def refusal(token: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        verify_token(token)
    return str(caught.value)


def test_grant_is_what_the_claims_say() -> None:
    claims: dict[str, Any] = {"source-internal": True, "secret-id": "s", "backend": "AWS-S3", "maxbytes": 10}
    assert verify_token(make_token(DOWNLOADER, **claims)) == Grant(
        role="downloader",
        backend="AWS-S3",
        secret_id="s",
        max_bytes=10,
        org_id=str(ORGANIZATION),
        source_internal=True,
    )


def test_absent_claims_have_their_defaults() -> None:
    grant = verify_token(make_token(**claim("org-id", None)))
    assert (grant.max_bytes, grant.org_id, grant.source_internal) == (0, "", False)


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["another", AUDIENCE]])
def test_audience_may_be_one_or_several(audience: Any) -> None:
    assert verify_token(make_token(aud=audience)).role == UPLOADER


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": LONG_AGO}, "expired"),
        ({"exp": None}, "lacks a required claim"),
        ({"exp": "soon"}, "not valid"),
        ({"nbf": FAR_AHEAD}, "not valid yet"),
        ({"iat": FAR_AHEAD}, "not valid yet"),
        ({"aud": None}, "lacks a required claim"),
        ({"aud": "another"}, "is not for"),
        ({"aud": []}, "lacks a required claim"),
        ({"role": None}, "role"),
        ({"role": 1}, "role"),
        ({"backend": None}, "backend"),
        ({"secret-id": None}, "secret-id"),
        ({"secret-id": ["default"]}, "secret-id"),
        ({"maxbytes": -1}, "negative"),
        ({"maxbytes": True}, "maxbytes"),
        ({"maxbytes": "10"}, "maxbytes"),
        ({"maxbytes": 10.0}, "maxbytes"),
        ({"org-id": 7}, "org-id"),
        ({"source-internal": "true"}, "source-internal"),
        ({"source-internal": 1}, "source-internal"),
    ],
)
def test_wrong_claim_is_refused_with_its_reason(claims: dict[str, Any], reason: str) -> None:
    assert reason in refusal(make_token(**claims))


@pytest.mark.parametrize(
    ("name", "seconds", "reason"), [("exp", -1, "expired"), ("nbf", 60, "yet"), ("iat", 60, "yet")]
)
def test_moments_are_held_to_the_server_clock(name: str, seconds: int, reason: str) -> None:
    assert reason in refusal(make_token(**claim(name, int(time.time()) + seconds)))


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "..", "é.é.é"])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert "not a JWT" in refusal(token)


def test_signature_of_another_key_is_refused() -> None:
    assert "no known key" in refusal(make_token(key=pem_of(new_key())))


def test_changed_token_is_refused() -> None:
    head, _, signature = make_token().split(".")
    _, claims, _ = make_token(**claim("secret-id", "another")).split(".")
    assert "no known key" in refusal(f"{head}.{claims}.{signature}")


def claims() -> dict[str, Any]:
    return {"aud": AUDIENCE, "exp": int(time.time()) + 600, "role": UPLOADER, "backend": "X", "secret-id": "y"}


def test_unsigned_token_is_refused() -> None:
    assert "ES512" in refusal(jwt.encode(claims(), "", "none"))


def test_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}').decode()
    body = jwt.utils.base64url_encode(json.dumps(claims()).encode()).decode()
    public = Path(project_settings.CAS_TOKEN_KEYS[0]).read_bytes()
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(f"{head}.{body}".encode(), public)
    assert "ES512" in refusal(f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}")


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ],
)
def test_other_algorithm_is_refused(algorithm: str, key: Any) -> None:
    assert "ES512" in refusal(jwt.encode(claims(), pem_of(key), algorithm))


def test_issuer_matters_only_where_one_is_configured(settings: Settings) -> None:
    assert verify_token(make_token(iss="anyone"))
    settings.CAS_TOKEN_ISSUER = "control-plane"
    assert verify_token(make_token(iss="control-plane"))
    assert "another issuer" in refusal(make_token(iss="someone"))
    assert "lacks a required claim" in refusal(make_token())


class TestKeys:
    """Which key a token is checked with."""

    def test_pem_and_jwks_files_stand_side_by_side(self, tmp_path: Path, settings: Settings) -> None:
        pem_key, jwk_key = new_key(), new_key()
        (tmp_path / "a.pem").write_bytes(public_pem_of(pem_key))
        (tmp_path / "b.json").write_text(json.dumps({"keys": [jwk_of(jwk_key, kid="one")]}))
        settings.CAS_TOKEN_KEYS = [str(tmp_path / "a.pem"), str(tmp_path / "b.json")]
        assert verify_token(make_token(key=pem_of(pem_key)))
        assert verify_token(make_token(key=pem_of(jwk_key), headers={"kid": "one"}))
        assert verify_token(make_token(key=pem_of(jwk_key)))  # without a kid every key is tried
        assert verify_token(make_token(key=pem_of(pem_key), headers={"kid": "unknown here"}))
        assert "no known key" in refusal(make_token(key=pem_of(jwk_key), headers={"kid": "two"}))
        assert "no known key" in refusal(make_token(key=pem_of(pem_key), headers={"kid": "one"}))

    def test_keys_for_other_algorithms_in_a_jwks_are_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        other = jwk_of(ec.generate_private_key(ec.SECP256R1()), kid="other")
        path.write_text(json.dumps({"keys": [other, {"kty": "oct", "k": "c2VjcmV0"}, jwk_of(new_key(), kid="ours")]}))
        assert [key.kid for key in load_keys(path)] == ["ours"]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "not a key",
            "{",
            "{}",
            '{"keys": []}',
            '{"keys": 5}',
            '{"keys": ["x"]}',
            '{"keys": [{"kty": "EC", "crv": "P-521"}]}',
            public_pem_of(ec.generate_private_key(ec.SECP256R1())).decode(),
            public_pem_of(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode(),
        ],
    )
    def test_file_without_a_key_of_ours_is_refused_by_name(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_text(text)
        with pytest.raises(BadKeyFile, match=str(path)):
            load_keys(path)

    def test_missing_or_binary_file_is_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(BadKeyFile, match="missing"):
            load_keys(tmp_path / "missing")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(BadKeyFile, match="binary"):
            load_keys(tmp_path / "binary")


class TestMemory:
    """A verified token is not verified again, for as long as it lives."""

    @pytest.fixture
    def decodings(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []
        decode = jwt.decode

        def count(token: str, *args: Any, **kwargs: Any) -> Any:
            seen.append(token)
            return decode(token, *args, **kwargs)

        monkeypatch.setattr(jwt, "decode", count)
        return seen

    @pytest.fixture
    def verifier(self) -> TokenVerifier:
        return TokenVerifier(load_keys(Path(project_settings.CAS_TOKEN_KEYS[0])), remembered=2)

    def test_second_request_with_a_token_costs_no_signature(
        self, verifier: TokenVerifier, decodings: list[str]
    ) -> None:
        token = make_token()
        assert verifier.verify(token) == verifier.verify(token)
        assert decodings == [token]

    def test_remembered_token_still_expires(self, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
        token = make_token(exp=int(time.time()) + 600)
        verifier.verify(token)
        monkeypatch.setattr(time, "time", lambda: time.monotonic() + 1e12)
        monkeypatch.setattr(jwt, "decode", lambda *args, **kwargs: (_ for _ in ()).throw(jwt.ExpiredSignatureError()))
        with pytest.raises(InvalidToken, match="expired"):
            verifier.verify(token)

    def test_refused_token_is_not_remembered(self, verifier: TokenVerifier, decodings: list[str]) -> None:
        token = make_token(exp=1)
        for _ in range(2):
            with pytest.raises(InvalidToken):
                verifier.verify(token)
        assert decodings == [token, token]

    def test_only_so_many_are_remembered_and_the_least_used_goes(
        self, verifier: TokenVerifier, decodings: list[str]
    ) -> None:
        one, two, three = (make_token(**claim("secret-id", name)) for name in ("one", "two", "three"))
        for token in (one, two, one, three, one, two):
            verifier.verify(token)
        assert decodings == [one, two, three, two]

    def test_claims_of_the_wrong_type_are_refused_each_time(self, verifier: TokenVerifier) -> None:
        token = make_token(maxbytes="x")
        for _ in range(2):
            with pytest.raises(InvalidToken):
                verifier.verify(token)


def test_verifier_without_keys_refuses_everything() -> None:
    empty: list[TokenKey] = []
    with pytest.raises(InvalidToken):
        TokenVerifier(empty).verify(make_token())


def part(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return jwt.utils.base64url_encode(raw).decode()


@pytest.mark.parametrize(
    "header",
    [
        "[" * 50_000,
        "[]",
        "null",
        "{",
        b"\xff",
        '{"alg":"ES512","kid":5}',
        '{"alg":"ES512","kid":null}',
        '{"alg":["ES512"]}',
        '{"alg":{}}',
        '{"alg":"es512"}',
        '{"alg":"ES512","crit":["unheard-of"]}',
        '{"alg":"ES512","b64":false}',
        '{"alg":"ES512","jku":"https://keys.example.com","jwk":{}}',
        '{"alg":"ES512","kid":"../../etc/passwd"}',
    ],
)
def test_header_made_by_a_stranger_is_refused_and_not_followed(header: str | bytes) -> None:
    refusal(f"{part(header)}.{part(json.dumps(claims()))}.{part(b'0' * 132)}")


@pytest.mark.parametrize("signature", [b"", b"0", b"\0" * 132, b"\xff" * 132, b"\x01" * 10_000])
def test_signature_that_is_none_is_refused(signature: bytes) -> None:
    head, body, _ = make_token().split(".")
    refusal(f"{head}.{body}.{part(signature)}")


@pytest.mark.parametrize("payload", ["[]", "7", "null", "[" * 50_000, "not json"])
def test_signed_payload_that_is_no_object_is_refused(payload: str) -> None:
    private_key = (project_settings.CAS_DATA_DIR / "keys" / "token-private.pem").read_text()
    refusal(jwt.api_jws.encode(payload.encode(), private_key, "ES512"))


@pytest.mark.parametrize(
    "wrong",
    [{"exp": float("inf")}, {"exp": float("nan")}, {"exp": [1]}, {"exp": True}, {"nbf": "x"}, {"iat": {}}, {"aud": 5}],
)
def test_claim_that_is_no_time_or_audience_is_refused(wrong: dict[str, Any]) -> None:
    refusal(make_token(**wrong))


@pytest.mark.parametrize("moment", ["nbf", "iat"])
def test_token_of_just_now_is_valid(moment: str) -> None:
    just_now: dict[str, Any] = {moment: int(time.time())}
    assert verify_token(make_token(**just_now))


def test_refusal_repeats_nothing_of_the_token() -> None:
    wrong: dict[str, Any] = {"maxbytes": "many", "secret-id": "a-secret-name"}
    token = make_token(**wrong)
    reason = refusal(token)
    assert "a-secret-name" not in reason
    assert token not in reason


def test_two_keys_of_one_name_are_both_tried(tmp_path: Path, settings: Settings) -> None:
    old, new = new_key(), new_key()
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk_of(old, kid="k"), jwk_of(new, kid="k")]}))
    settings.CAS_TOKEN_KEYS = [str(tmp_path / "keys.json")]
    for key in (old, new):
        assert verify_token(make_token(key=pem_of(key), headers={"kid": "k"}))


def test_remembered_token_is_refused_from_its_last_second_on(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = TokenVerifier(load_keys(Path(project_settings.CAS_TOKEN_KEYS[0])))
    expiry = int(time.time()) + 600
    token = make_token(exp=expiry)
    grant = verifier.verify(token)
    expired = jwt.ExpiredSignatureError()
    monkeypatch.setattr(jwt, "decode", lambda *args, **kwargs: (_ for _ in ()).throw(expired))
    monkeypatch.setattr(time, "time", lambda: expiry - 0.001)
    assert verifier.verify(token) is grant
    monkeypatch.setattr(time, "time", lambda: float(expiry))
    with pytest.raises(InvalidToken, match="expired"):
        verifier.verify(token)


def test_fraction_of_a_second_is_life_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = TokenVerifier(load_keys(Path(project_settings.CAS_TOKEN_KEYS[0])))
    whole = int(time.time()) + 600
    token = make_token(exp=whole + 0.9)
    verifier.verify(token)
    expired = jwt.ExpiredSignatureError()
    monkeypatch.setattr(jwt, "decode", lambda *args, **kwargs: (_ for _ in ()).throw(expired))
    monkeypatch.setattr(time, "time", lambda: whole + 0.5)
    with pytest.raises(InvalidToken, match="expired"):
        verifier.verify(token)


def test_token_may_live_longer_than_floating_point_reaches() -> None:
    assert verify_token(make_token(exp=10**400)).role == UPLOADER
