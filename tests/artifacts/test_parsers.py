"""What is read from a request: its body, a file name, a range."""

import contextlib
import io
from typing import Any
from urllib.parse import quote

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request

from artifacts.exceptions import IncompleteBody, InvalidFileName, InvalidRange, TooLarge
from artifacts.parsers import RequestBody, parse_file_name, parse_range

ETAG = '"sha256:00"'


class Wire:
    """A client's body: `sent` bytes arrive, whatever was announced, in the pieces a server gives."""

    def __init__(self, sent: bytes) -> None:
        self._stream = io.BytesIO(sent)
        self.taken = 0

    def read(self, size: int) -> bytes:
        assert size >= 0
        block = self._stream.read(min(size, 100_000))
        self.taken += len(block)
        return block


def body_of(wire: Wire, **environ: Any) -> RequestBody:
    return RequestBody({"wsgi.input": wire, **environ})


def test_length_is_what_was_announced() -> None:
    assert body_of(Wire(b""), CONTENT_LENGTH="12").length == 12
    assert body_of(Wire(b"")).length == 0
    assert body_of(Wire(b""), CONTENT_LENGTH="").length == 0


@pytest.mark.parametrize("encoding", ["chunked", "gzip, Chunked"])
def test_length_of_a_chunked_body_is_unknown(encoding: str) -> None:
    assert body_of(Wire(b""), HTTP_TRANSFER_ENCODING=encoding, CONTENT_LENGTH="5").length is None


def test_drain_takes_all_that_an_eager_client_sends() -> None:
    wire = Wire(b"x" * 1_000_000)
    body_of(wire, CONTENT_LENGTH="1000000").drain()
    assert wire.taken == 1_000_000


def test_drain_takes_a_chunked_body_to_its_end() -> None:
    wire = Wire(b"x" * 1_000_000)
    body_of(wire, HTTP_TRANSFER_ENCODING="chunked").drain()
    assert wire.taken == 1_000_000


def test_drain_leaves_a_client_that_waits_to_be_asked() -> None:
    wire = Wire(b"x" * 10)
    body_of(wire, CONTENT_LENGTH="10", HTTP_EXPECT="100-Continue").drain()
    assert wire.taken == 0


def test_drain_notices_a_client_that_leaves() -> None:
    with pytest.raises(IncompleteBody):
        body_of(Wire(b"x" * 9), CONTENT_LENGTH="10").drain()


def test_discard_stops_at_its_limit() -> None:
    wire = Wire(b"x" * 1_000_000)
    body_of(wire, CONTENT_LENGTH="1000000").discard(250_000)
    assert 250_000 <= wire.taken < 400_000


def test_discard_does_not_mind_a_client_that_leaves() -> None:
    body_of(Wire(b"x"), CONTENT_LENGTH="10").discard(100)


def test_client_that_was_asked_is_discarded_like_an_eager_one() -> None:
    wire = Wire(b"x" * 10)
    body = body_of(wire, CONTENT_LENGTH="10", HTTP_EXPECT="100-continue")
    body.read(1)
    body.discard(100)
    assert wire.taken == 10


def request(query: str = "", **headers: str) -> Request:
    factory = RequestFactory()
    return Request(factory.put("/", QUERY_STRING=query, headers={k.replace("_", "-"): v for k, v in headers.items()}))


def on_the_wire(header: str) -> str:
    """How a WSGI server hands over a header that a client sent as UTF-8."""
    return header.encode().decode("latin-1")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), max_size=40))
def test_name_in_the_query_comes_out_exactly(name: str) -> None:
    if name in {".", ".."} or any(ord(char) in {*range(0x202A, 0x202F), *range(0x2066, 0x206A)} for char in name):
        return
    assert parse_file_name(request(f"filename={quote(name)}")) == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment", ""),
        ("attachment; filename=plain.txt", "plain.txt"),
        ('attachment; filename="with spaces.txt"', "with spaces.txt"),
        (r'attachment; filename="quo\"te.txt"', 'quo"te.txt'),
        ('attachment; filename="ünï.txt"', "ünï.txt"),
        ("attachment; filename*=UTF-8''%C3%BCn%C3%AF%20.txt", "ünï .txt"),
        ("attachment; filename=\"plain.txt\"; filename*=UTF-8''%C3%BC.txt", "ü.txt"),
        ("attachment; filename*=UTF-8''%C3%BC.txt; filename=\"plain.txt\"", "ü.txt"),
        ('form-data; name="file"; FILENAME="upper.txt"', "upper.txt"),
    ],
)
def test_name_in_the_header_is_read_as_rfc_6266_has_it(header: str, name: str) -> None:
    assert parse_file_name(request(Content_Disposition=on_the_wire(header))) == name


def test_query_goes_before_the_header() -> None:
    assert parse_file_name(request("filename=q.txt", Content_Disposition="attachment; filename=h.txt")) == "q.txt"


@pytest.mark.parametrize("query", ["filename=%ff", "filename=%ed%a0%80", "filename=a%00b", "filename=a%2Fb"])
def test_wrong_name_in_the_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidFileName):
        parse_file_name(request(query))


@pytest.mark.parametrize("header", ['attachment; filename="\xff\xfe"', 'attachment; filename="../etc"'])
def test_wrong_name_in_the_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidFileName):
        parse_file_name(request(Content_Disposition=header))


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")))
def test_no_header_does_more_harm_than_to_be_refused(text: str) -> None:
    for header in (text, f"attachment; filename={text}", f"attachment; filename*={text}"):
        with contextlib.suppress(InvalidFileName):
            parse_file_name(request(Content_Disposition=header))


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=0-99", range(100)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=-1", range(99, 100)),
        ("bytes=-1000", range(100)),
        ("bytes = 0 - 9", range(10)),
    ],
)
def test_one_range_is_understood(header: str, span: range) -> None:
    assert parse_range(request(Range=header), 100, ETAG) == span


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=" + "9" * 5000]
)
def test_what_is_no_single_range_gets_the_whole(header: str) -> None:
    assert parse_range(request(Range=header), 100, ETAG) is None


@pytest.mark.parametrize(("header", "size"), [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100)])
def test_range_outside_is_refused_with_the_size(header: str, size: int) -> None:
    with pytest.raises(InvalidRange) as caught:
        parse_range(request(Range=header), size, ETAG)
    assert caught.value.size == size


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_empty_artifact_has_no_range(header: str) -> None:
    with pytest.raises(InvalidRange):
        parse_range(request(Range=header), 0, ETAG)


def test_range_is_for_the_artifact_that_if_range_names() -> None:
    assert parse_range(request(Range="bytes=0-0", If_Range=ETAG), 100, ETAG) == range(1)
    assert parse_range(request(Range="bytes=0-0", If_Range='"another"'), 100, ETAG) is None
    assert parse_range(request(Range="bytes=0-0", If_Range="Tue, 24 Nov 2026 08:00:00 GMT"), 100, ETAG) is None


@pytest.mark.parametrize("query", ["filename=ü 文.txt", "filename=%C3%BC%20文.txt", "a=ÿ&filename=ü+文.txt"])
def test_query_that_was_sent_unescaped_names_what_its_sender_typed(query: str) -> None:
    assert parse_file_name(request(on_the_wire(query))) == "ü 文.txt"


def test_unescaped_query_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidFileName):
        parse_file_name(request("filename=\xff"))


def test_blank_name_in_the_query_still_goes_before_the_header() -> None:
    assert parse_file_name(request("filename=", Content_Disposition="attachment; filename=h.txt")) == ""


@pytest.mark.parametrize("value", ["UTF-8''%ff", "UTF-8''%c3", "UTF-8''%ed%a0%80"])
def test_extended_name_that_is_not_what_it_says_is_refused_rather_than_repaired(value: str) -> None:
    with pytest.raises(InvalidFileName):
        parse_file_name(request(Content_Disposition=f"attachment; filename*={value}"))


@pytest.mark.parametrize(
    "header",
    [
        "attachment; filename*=undefined''x",
        "attachment; filename*=idna''%ff",
        "attachment; filename*=punycode''a-%ff",
        "attachment; filename*=UTF-8''a; filename*0*=UTF-8''b",
        f"attachment; filename*{'9' * 5000}=x",
    ],
)
def test_header_made_to_confuse_its_reader_is_refused_or_ignored(header: str) -> None:
    with contextlib.suppress(InvalidFileName):
        parse_file_name(request(Content_Disposition=header))


_PIECES = ["filename", "*", "0", "1", "=", "'", '"', ";", " ", "\\", "%", "%ff", "UTF-8", "idna", "a", "\xc3", "\xbc"]


@given(st.lists(st.sampled_from(_PIECES), max_size=20))
def test_pieces_of_a_header_in_any_order_do_no_harm(pieces: list[str]) -> None:
    with contextlib.suppress(InvalidFileName):
        parse_file_name(request(Content_Disposition="attachment; " + "".join(pieces)))


@given(first=st.none() | st.integers(0, 200), last=st.none() | st.integers(0, 200), size=st.integers(0, 100))
def test_any_range_lies_inside_or_is_refused_or_ignored(first: int | None, last: int | None, size: int) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    try:
        span = parse_range(request(Range=header), size, ETAG)
    except InvalidRange:
        assert size == 0 or last == 0 or (first is not None and first >= size)
        return
    if span is None:
        assert first is last is None or (first is not None and last is not None and last < first)
    elif first is None:
        assert last is not None
        assert (span.stop, len(span)) == (size, min(last, size))
    else:
        assert (span.start, span.stop) == (first, size if last is None else min(last + 1, size))


def test_weak_etag_in_if_range_gets_the_whole() -> None:
    assert parse_range(request(Range="bytes=0-0", If_Range=f"W/{ETAG}"), 100, ETAG) is None


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename*=utf-8'en'%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=ISO-8859-1''%fc.txt", "ü.txt"),
        ('attachment; x="; filename=inner.txt"; filename=outer.txt', "outer.txt"),
        ('attachment; filename="a;b.txt"', "a;b.txt"),
        ('attachment;filename = "spaced.txt"', "spaced.txt"),
        ("attachment; filename=first.txt; filename=second.txt", "first.txt"),
        ("attachment; filename=%41.txt", "%41.txt"),
        ("attachment; filename=", ""),
        ("attachment; notfilename=x", ""),
    ],
)
def test_name_is_found_among_what_looks_like_it(header: str, name: str) -> None:
    assert parse_file_name(request(Content_Disposition=on_the_wire(header))) == name


@pytest.mark.parametrize("value", ["UTF-16''a", "''a", "plain.txt", "UTF-8'", "UTF-8''a%2Fb", "UTF-8''%00"])
def test_extended_name_in_another_form_is_refused(value: str) -> None:
    with pytest.raises(InvalidFileName):
        parse_file_name(request(Content_Disposition=f"attachment; filename*={value}"))


def test_drain_ends_soon_after_its_limit() -> None:
    wire = Wire(b"x" * 1_000_000)
    with pytest.raises(TooLarge):
        body_of(wire, HTTP_TRANSFER_ENCODING="chunked").drain(100)
    assert wire.taken <= 100_000


def test_drain_takes_as_much_as_its_limit() -> None:
    wire = Wire(b"x" * 100)
    body_of(wire, HTTP_TRANSFER_ENCODING="chunked").drain(100)
    assert wire.taken == 100


def test_header_that_the_server_could_not_read_is_refused_rather_than_taken_for_no_name() -> None:
    with pytest.raises(InvalidFileName, match="filename="):
        parse_file_name(request(Content_Disposition=""))
