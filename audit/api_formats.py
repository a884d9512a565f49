"""Rows as JSON, JSON lines and CSV, for the API and the export. Pure, but for DRF's base class."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from rest_framework.renderers import BaseRenderer

Row = Mapping[str, Any]

# What spreadsheets take for a formula (OWASP, "CSV Injection"), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def json_text(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_row(row: Row) -> str:
    """A row in one line. A payload that is a JSON object stands in it as it is, byte for byte but for line breaks."""
    if "payload" not in row:
        return json_text(row)
    rest = json_text({name: value for name, value in row.items() if name != "payload"})
    return f'{rest[:-1]},"payload":{_payload(row["payload"])}}}'


def json_lines(rows: Iterable[Row]) -> str:
    return "".join(f"{json_row(row)}\n" for row in rows)


def csv_lines(rows: Iterable[Row], columns: Sequence[str], *, header: bool) -> str:
    """CSV (RFC 4180, UTF-8). Text that a spreadsheet would run has an apostrophe before it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    if header:
        writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else str(value)


def _payload(text: str) -> str:
    """The text itself when it is an object of strict JSON, else a JSON string of it.

    Reading and writing it anew would change numbers and escapes, and there is JSON that cannot be written again.
    """
    if text.lstrip().startswith("{"):
        try:
            json.loads(text, parse_constant=_refuse, parse_float=str, parse_int=str)
        except (ValueError, RecursionError):
            return json_text(text)
        # Within strict JSON they can stand only between values.
        return text.strip().replace("\r", " ").replace("\n", " ")
    return json_text(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are not JSON


class _RowsRenderer(BaseRenderer):
    """Renders `{"results": [...], ...}`."""

    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> str | bytes:
        columns = renderer_context["view"].columns if renderer_context else []
        text = self.text(data, columns)
        return text if self.charset else text.encode()  # of bytes that are none, DRF would tell no type

    def text(self, data: Any, columns: Sequence[str]) -> str:
        raise NotImplementedError


class JSONPage(_RowsRenderer):
    media_type = "application/json"
    format = "json"
    charset = None  # type: ignore[assignment]  # JSON has none (RFC 8259)

    def text(self, data: Any, columns: Sequence[str]) -> str:
        if "results" not in data:
            return json_text(data)
        head = "".join(f"{json_text(name)}:{json_text(value)}," for name, value in data.items() if name != "results")
        return f'{{{head}"results":[{",".join(map(json_row, data["results"]))}]}}'


class JSONLines(_RowsRenderer):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def text(self, data: Any, columns: Sequence[str]) -> str:
        return json_lines(data["results"])


class CSV(_RowsRenderer):
    media_type = "text/csv"
    format = "csv"

    def text(self, data: Any, columns: Sequence[str]) -> str:
        return csv_lines(data["results"], columns, header=True)
