"""The token matrix: what a hostile or broken minter may send, and the answer to each."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.conf import settings as project_settings
from django.dispatch import Signal
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from artifacts.exceptions import InvalidToken
from artifacts.key_ring import verify_token
from artifacts.models import Location
from artifacts.tokens import AUDIENCE, UPLOADER
from tests.artifacts.test_errors import assert_problem
from tests.artifacts.test_tokens import jwk_of, new_key, part, pem_of
from tests.factories import digest_of, files_in, make_token

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"
LIFE = 600  # seconds

INVALID = (401, "invalid_token")
WRONG_ROLE = (403, "wrong_role")
WRONG_ORGANIZATION = (403, "wrong_organization")
NO_LOCATION = (404, "location_not_found")
TOO_LARGE = (413, "too_large")
STORED = (201, None)

Make = Callable[[], str]


def our_key() -> str:
    key: str = (project_settings.CAS_DATA_DIR / "keys" / "token-private.pem").read_text()
    return key


def text(**changes: Any) -> str:
    """The claims of a valid token, changed; `extra` is put in as it is, before the closing brace."""
    extra: str = changes.pop("extra", "")
    claims = {
        "aud": AUDIENCE,
        "exp": int(time.time()) + LIFE,
        "role": UPLOADER,
        "backend": "FILESYSTEM",
        "secret-id": "default",
        **changes,
    }
    return json.dumps({name: value for name, value in claims.items() if value is not None})[:-1] + extra + "}"


def signed(payload: str, headers: dict[str, Any] | None = None) -> str:
    """Signed with our own key, whatever it says."""
    token: str = jwt.api_jws.encode(payload.encode(), our_key(), "ES512", headers)
    return token


def claims(**changes: Any) -> Make:
    return lambda: signed(text(**{name.replace("_", "-"): value for name, value in changes.items()}))


def in_seconds(name: str, seconds: int, kind: Callable[[int], Any]) -> Make:
    """A time from now, in a JSON type that may not be one."""
    return lambda: signed(text(**{name: kind(int(time.time()) + seconds)}))


def header(**fields: Any) -> Make:
    return lambda: signed(text(), fields)


def other(algorithm: str, make_key: Callable[[], Any]) -> Make:
    return lambda: jwt.encode(json.loads(text()), pem_of(make_key()), algorithm)


def hmac(algorithm: str) -> Make:
    """Our public key, which everybody may have, as the secret; PyJWT itself refuses to make such a token."""

    def make() -> str:
        signing_input = f"{part(json.dumps({'alg': algorithm, 'typ': 'JWT'}))}.{part(text())}"
        secret = Path(project_settings.CAS_TOKEN_KEYS[0]).read_bytes()
        return f"{signing_input}.{part(jwt.get_algorithm_by_name(algorithm).sign(signing_input.encode(), secret))}"

    return make


def relabelled(algorithm: str) -> Make:
    """Signed by us with ES512, and then said to be something else."""

    def make() -> str:
        _, payload, signature = signed(text()).split(".")
        return f"{part(json.dumps({'alg': algorithm}))}.{payload}.{signature}"

    return make


def in_der() -> str:
    """The signature as ASN.1 rather than as JWS has it (RFC 7518, section 3.4)."""
    signing_input = signed(text()).rpartition(".")[0]
    key = jwt.get_algorithm_by_name("ES512").prepare_key(our_key())
    signature = jwt.get_algorithm_by_name("ES512").sign(signing_input.encode(), key)
    return f"{signing_input}.{part(jwt.utils.raw_to_der_signature(signature, ec.SECP521R1()))}"


MATRIX: dict[str, tuple[Make, tuple[int, str | None]]] = {
    # Who signed it, and how.
    "valid": (claims(), STORED),
    "unsigned": (lambda: jwt.encode(json.loads(text()), "", "none"), INVALID),
    "unsigned-NONE": (relabelled("NONE"), INVALID),
    "HS256-with-our-public-key": (hmac("HS256"), INVALID),
    "HS512-with-our-public-key": (hmac("HS512"), INVALID),
    "ES256": (other("ES256", lambda: ec.generate_private_key(ec.SECP256R1())), INVALID),
    "ES384": (other("ES384", lambda: ec.generate_private_key(ec.SECP384R1())), INVALID),
    "ES256K": (other("ES256K", lambda: ec.generate_private_key(ec.SECP256K1())), INVALID),
    "ES512-of-a-stranger": (other("ES512", new_key), INVALID),
    "RS256": (other("RS256", lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)), INVALID),
    "PS256": (other("PS256", lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)), INVALID),
    "EdDSA": (other("EdDSA", ed25519.Ed25519PrivateKey.generate), INVALID),
    "ours-relabelled-ES256": (relabelled("ES256"), INVALID),
    "ours-relabelled-none": (relabelled("none"), INVALID),
    "signature-in-DER": (in_der, INVALID),
    "signature-of-zeros": (lambda: signed(text()).rpartition(".")[0] + "." + part(b"\0" * 132), INVALID),
    # What its header asks for.
    "kid-unknown": (header(kid="unknown"), STORED),  # our key came as PEM, without a name: it may be the one meant
    "kid-path": (header(kid="../../../dev/null"), STORED),
    "kid-SQL": (header(kid="x' OR '1'='1"), STORED),
    "crit": (header(crit=["exp"]), INVALID),
    "crit-unheard-of": (header(crit=["unheard-of"], **{"unheard-of": 1}), INVALID),
    "crit-empty": (header(crit=[]), INVALID),
    "jku-and-jwk-of-a-stranger": (
        lambda: jwt.encode(
            json.loads(text()), pem_of(key := new_key()), "ES512", {"jwk": jwk_of(key), "jku": "https://keys.example"}
        ),
        INVALID,
    ),
    # When, for whom, by whom.
    "exp-missing": (claims(exp=None), INVALID),
    "exp-past": (in_seconds("exp", -1, int), INVALID),
    "exp-text": (in_seconds("exp", LIFE, str), INVALID),
    "exp-bool": (claims(exp=True), INVALID),
    "exp-list": (in_seconds("exp", LIFE, lambda moment: [moment]), INVALID),
    "exp-float": (in_seconds("exp", LIFE, float), STORED),
    "exp-huge": (claims(exp=10**400), STORED),
    "exp-huge-float": (claims(exp=1e308), STORED),
    "exp-infinite": (claims(exp=float("inf")), INVALID),
    "exp-NaN": (claims(exp=float("nan")), INVALID),
    "exp-of-10000-digits": (lambda: signed(text(exp=None, extra=f', "exp": 1{"0" * 10_000}')), INVALID),
    "nbf-future": (in_seconds("nbf", LIFE, int), INVALID),
    "nbf-text": (in_seconds("nbf", -LIFE, str), INVALID),
    "nbf-bool": (claims(nbf=True), INVALID),
    "nbf-null": (lambda: signed(text(extra=', "nbf": null')), INVALID),
    "nbf-float-past": (in_seconds("nbf", -LIFE, float), STORED),
    "nbf-huge": (claims(nbf=10**400), INVALID),
    "iat-future": (in_seconds("iat", LIFE, int), INVALID),
    "iat-text": (in_seconds("iat", -LIFE, str), INVALID),
    "aud-missing": (claims(aud=None), INVALID),
    "aud-wrong": (claims(aud="another"), INVALID),
    "aud-prefix": (claims(aud=AUDIENCE[:-1]), INVALID),
    "aud-longer": (claims(aud=f"{AUDIENCE}.evil"), INVALID),
    "aud-upper-case": (claims(aud=AUDIENCE.upper()), INVALID),
    "aud-object": (claims(aud={AUDIENCE: AUDIENCE}), INVALID),
    "aud-nested": (claims(aud=[[AUDIENCE]]), INVALID),
    "iss-any": (claims(iss="anyone"), STORED),  # none is configured here
    # What it allows.
    "role-missing": (claims(role=None), INVALID),
    "role-list": (claims(role=[UPLOADER]), INVALID),
    "role-object": (claims(role={"uploader": True}), INVALID),
    "role-downloader": (claims(role="downloader"), WRONG_ROLE),
    "role-both": (claims(role="uploader,downloader"), WRONG_ROLE),
    "role-upper-case": (claims(role="UPLOADER"), WRONG_ROLE),
    "role-spaced": (claims(role="uploader "), WRONG_ROLE),
    "role-empty": (claims(role=""), WRONG_ROLE),
    "maxbytes-bool": (claims(maxbytes=True), INVALID),
    "maxbytes-negative": (claims(maxbytes=-1), INVALID),
    "maxbytes-float": (claims(maxbytes=1e9), INVALID),
    "maxbytes-text": (claims(maxbytes="100"), INVALID),
    "maxbytes-null": (lambda: signed(text(extra=', "maxbytes": null')), INVALID),
    "maxbytes-infinite": (claims(maxbytes=float("inf")), INVALID),
    "maxbytes-huge": (claims(maxbytes=10**400), STORED),
    "maxbytes-of-10000-digits": (lambda: signed(text(extra=f', "maxbytes": 1{"0" * 10_000}')), INVALID),
    "maxbytes-one-less": (claims(maxbytes=len(CONTENT) - 1), TOO_LARGE),
    "maxbytes-exact": (claims(maxbytes=len(CONTENT)), STORED),
    "maxbytes-twice": (lambda: signed(text(extra=', "maxbytes": 0, "maxbytes": 1')), TOO_LARGE),  # the last counts
    "source-internal-text": (claims(source_internal="false"), INVALID),
    # Where to.
    "secret-id-missing": (claims(secret_id=None), INVALID),
    "secret-id-empty": (claims(secret_id=""), NO_LOCATION),
    "secret-id-path": (claims(secret_id="../../../../etc"), NO_LOCATION),
    "secret-id-absolute-path": (claims(secret_id="/tmp"), NO_LOCATION),  # noqa: S108
    "secret-id-path-to-it": (claims(secret_id="./default"), NO_LOCATION),
    "secret-id-URL": (claims(secret_id="https://vault.example/v1/secret/default"), NO_LOCATION),
    "secret-id-file-URL": (claims(secret_id="file:///etc/passwd"), NO_LOCATION),
    "secret-id-SQL": (claims(secret_id="' OR name = 'default"), NO_LOCATION),
    "secret-id-pattern": (claims(secret_id="defaul%"), NO_LOCATION),
    "secret-id-upper-case": (claims(secret_id="DEFAULT"), NO_LOCATION),
    "secret-id-spaced": (claims(secret_id="default "), NO_LOCATION),
    "secret-id-long": (claims(secret_id="x" * 100_000), NO_LOCATION),
    "secret-id-surrogate": (claims(secret_id="\ud800"), INVALID),
    "secret-id-pair-of-surrogates": (claims(secret_id="\U0001f4a5"), NO_LOCATION),
    "secret-id-NUL": (claims(secret_id="default\0"), INVALID),
    "secret-id-object": (claims(secret_id={"name": "default"}), INVALID),
    "backend-missing": (claims(backend=None), INVALID),
    "backend-other": (claims(backend="AWS-S3"), NO_LOCATION),
    "backend-import-path": (claims(backend="django.core.files.storage.FileSystemStorage"), NO_LOCATION),
    "backend-surrogate": (claims(backend="\udfff"), INVALID),
    "backend-list": (claims(backend=["FILESYSTEM"]), INVALID),
    "location-of-another-organization": (claims(secret_id="foreign"), WRONG_ORGANIZATION),
    "foreign-location-without-organization": (claims(secret_id="foreign", org_id=""), WRONG_ORGANIZATION),
    "foreign-location-nearly-its-organization": (
        claims(secret_id="foreign", org_id="9f0c2f2e-3d0b-4a53-9f55-7f0b8c0f1a1"),
        WRONG_ORGANIZATION,
    ),
    "org-id-of-no-form": (claims(org_id="../" * 50), STORED),
    "org-id-surrogate": (claims(org_id="\ud83d"), INVALID),
    "org-id-NUL": (claims(org_id="\0"), INVALID),
    "org-id-list": (claims(org_id=["9f0c2f2e-3d0b-4a53-9f55-7f0b8c0f1a11"]), INVALID),
    "org-id-long": (claims(org_id="x" * 50_000), STORED),
    # Its shape.
    "claims-deeply-nested": (lambda: signed(text(extra=f', "x": {"[" * 100_000}{"]" * 100_000}')), INVALID),
    "claim-nested-within-reason": (lambda: signed(text(extra=f', "x": {"[" * 100}{"]" * 100}')), STORED),
    "claims-nested-for-nothing": (lambda: signed(json.dumps({"claims": json.loads(text())})), INVALID),
    "claims-in-a-list": (lambda: signed(f"[{text()}]"), INVALID),
    "claims-twice-last-counts": (lambda: signed(text(extra=', "role": "downloader"')), WRONG_ROLE),
    "claims-with-a-BOM": (lambda: signed("\ufeff" + text()), STORED),  # signed by us, and still these claims
    "claims-cut-off": (lambda: signed(text()[:-1]), INVALID),
    "one-megabyte": (lambda: signed(text(extra=f', "x": "{"y" * 10**6}"')), STORED),  # web servers take far less
    "two-parts": (lambda: signed(text()).rpartition(".")[0], INVALID),
    "four-parts": (lambda: signed(text()) + ".x", INVALID),
    "padded": (lambda: signed(text()) + "==", INVALID),
    "twice": (lambda: f"{signed(text())},{signed(text())}", INVALID),
    "spaced": (lambda: signed(text()).replace(".", " ."), INVALID),
}


@pytest.fixture
def foreign(tmp_path: Path) -> Location:
    """A location that belongs to somebody else."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    return Location.objects.create(
        name="foreign",
        backend="FILESYSTEM",
        options={"location": str(folder)},
        organization="9f0c2f2e-3d0b-4a53-9f55-7f0b8c0f1a11",
    )


@pytest.mark.parametrize("case", MATRIX)
def test_token_has_its_answer_and_stores_nothing_that_it_may_not(
    client: Client, root: Path, foreign: Location, sent_signals: list[tuple[Signal, dict[str, Any]]], case: str
) -> None:
    make, (status, code) = MATRIX[case]
    answer = client.put(URL, CONTENT, headers={"Authorization": f"Bearer {make()}"})
    if code is None:
        assert (answer.status_code, len(files_in(root)), len(sent_signals)) == (status, 1, 1), answer.content
    else:
        assert_problem(answer, status, code)
        assert files_in(root) == []
        assert sent_signals == []
    assert files_in(Path(foreign.options["location"])) == []
    assert ("WWW-Authenticate" in answer) == (status == 401)


@pytest.mark.parametrize("issuer", [None, "", "another", "control-plane ", ["control-plane"], {"control-plane": 1}, 7])
def test_wrong_issuer_is_refused_where_one_is_configured(
    client: Client, root: Path, settings: Settings, issuer: object
) -> None:
    settings.CAS_TOKEN_ISSUER = "control-plane"
    answer = client.put(URL, CONTENT, headers={"Authorization": f"Bearer {claims(iss=issuer)()}"})
    assert_problem(answer, *INVALID)
    answer = client.put(URL, CONTENT, headers={"Authorization": f"Bearer {claims(iss='control-plane')()}"})
    assert answer.status_code == 201


@pytest.mark.parametrize("kid", ["unknown", "ours\0", "OURS", ["ours"], 5, ""])
def test_kid_that_no_key_has_is_refused_where_all_keys_have_names(
    client: Client, root: Path, settings: Settings, tmp_path: Path, kid: object
) -> None:
    key = new_key()
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [jwk_of(key, kid="ours")]}))
    settings.CAS_TOKEN_KEYS = [str(tmp_path / "keys.json")]
    body = part(text())
    head = part(json.dumps({"alg": "ES512", "kid": kid}))
    signing_input = f"{head}.{body}"
    algorithm = jwt.get_algorithm_by_name("ES512")
    signature = algorithm.sign(signing_input.encode(), algorithm.prepare_key(pem_of(key)))
    token = f"{signing_input}.{part(signature)}"
    assert_problem(client.put(URL, CONTENT, headers={"Authorization": f"Bearer {token}"}), *INVALID)
    named = make_token(key=pem_of(key), headers={"kid": "ours"})
    assert client.put(URL, CONTENT, headers={"Authorization": f"Bearer {named}"}).status_code == 201


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = ["aud", "exp", "nbf", "iat", "iss", "role", "backend", "secret-id", "maxbytes", "org-id", "source-internal"]


@given(name=st.sampled_from(CLAIMS), value=JSON)
def test_any_value_of_any_claim_is_granted_or_refused(name: str, value: object) -> None:
    try:
        grant = verify_token(signed(text(**{name: value})))
    except InvalidToken:
        return
    assert type(grant.max_bytes) is int
    assert grant.max_bytes >= 0
    assert type(grant.source_internal) is bool
    for kept in (grant.role, grant.backend, grant.secret_id, grant.org_id):
        kept.encode()  # a database takes it


@given(st.text(st.sampled_from("eyJhbGciOiJFUzUxMiJ9._-= \x00é"), max_size=60))
def test_no_text_that_nobody_signed_is_a_token(token: str) -> None:
    with pytest.raises(InvalidToken):
        verify_token(token)
