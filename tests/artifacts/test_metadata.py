import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.exceptions import InvalidFileName
from artifacts.file_names import check_file_name
from artifacts.storage.metadata import from_metadata, to_metadata


@given(st.text(max_size=80) | st.from_regex(r"=\?(utf-8|x)\?[bq]\?[ -~]{0,9}\?=", fullmatch=True))
def test_every_name_an_artifact_may_have_survives(name: str) -> None:
    try:
        check_file_name(name)
    except InvalidFileName:
        return
    kept = to_metadata(name)
    assert all(value.isascii() and value.isprintable() and value.strip() == value for value in kept.values())
    assert from_metadata(kept) == name


@given(
    st.dictionaries(st.sampled_from(["Filename", "filename", "x"]), st.text() | st.from_regex(r"=\?.*\?[bq]\?.*\?="))
)
def test_garbage_is_read_without_an_error(metadata: dict[str, str]) -> None:
    name = from_metadata(metadata)
    assert check_file_name(name) == name


def test_plain_names_are_readable() -> None:
    assert to_metadata("a b.txt") == {"filename": "a b.txt"}
    assert to_metadata("ü.txt") == {"filename": "=?UTF-8?B?w7wudHh0?="}
    assert to_metadata("") == {}


@pytest.mark.parametrize("metadata", [None, {}, {"author": "x"}, {"filename": ""}])
def test_no_name_is_empty(metadata: dict[str, str] | None) -> None:
    assert from_metadata(metadata) == ""


def test_raw_utf_8_that_a_client_read_as_latin_1_is_repaired() -> None:
    assert from_metadata({"Filename": "ü.txt".encode().decode("latin-1")}) == "ü.txt"
