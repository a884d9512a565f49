"""Which file names pass, and that those which do are not touched."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.exceptions import InvalidFileName
from artifacts.file_names import check_file_name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.txt",
        ".hidden",
        "...",
        "with spaces ",
        "quotes\"'`",
        "<script>&amp;",
        "ünïcödé",
        "文件.txt",
        "ملف.txt",
        "🎉",
        "a\u2028b",
        "zero\u200bwidth",
        "percent%2Fsign",
        "x" * 255,
        "ü" * 127 + "x",
        "文" * 85,
        "🎉" * 63 + "abc",
        "left\u200eto\u200fright",
        "a\u2029b",
        "\ufeffmark",
        "C:",
        "~",
    ],
)
def test_name_is_kept_exactly(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "..\\windows",
        "nul\0",
        "tab\t",
        "line\nbreak",
        "return\r",
        "del\x7f",
        "c1\x85",
        "exe\u202etxt.gpj",
        "\u202a",
        "\u2066",
        "\u2069",
        "surrogate\ud800",
        "x" * 256,
        "ü" * 128,
        "文" * 85 + "x",
        "🎉" * 64,
        "\u202e" + "文",
        "e\u0301/",
    ],
)
def test_name_that_could_mislead_or_escape_is_refused(name: str) -> None:
    with pytest.raises(InvalidFileName):
        check_file_name(name)


@given(st.text(max_size=300))
def test_what_passes_is_one_short_component_without_control_characters(name: str) -> None:
    try:
        kept = check_file_name(name)
    except InvalidFileName:
        return
    assert kept == name
    assert len(name.encode()) <= 255
    assert not set(name) & set("/\\")
    assert all(unicodedata.category(char) != "Cc" for char in name)
