"""Files that are sent while they are read: any number of rows, in little memory."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.http import StreamingHttpResponse

INCOMPLETE = "INCOMPLETE: the server failed before the end of this file"


class Form(NamedTuple):
    """How a file is written; `incomplete` is the last line of one that broke off."""

    content_type: str
    incomplete: str


FORMS = {
    "csv": Form("text/csv; charset=utf-8", f"{INCOMPLETE}\r\n"),
    "jsonl": Form("application/x-ndjson; charset=utf-8", f'{{"error":"{INCOMPLETE}"}}\n'),
}


def attachment(pieces: Iterable[str | bytes], form: str, name: str) -> StreamingHttpResponse:
    """An answer with these pieces of whole lines, saved under the name and the form's suffix."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "no-store"}
    content = _with_an_end(pieces, FORMS[form].incomplete)
    return StreamingHttpResponse(content, content_type=FORMS[form].content_type, headers=headers)


def _with_an_end(pieces: Iterable[str | bytes], incomplete: str) -> Iterator[str | bytes]:
    try:
        yield from pieces
    except Exception:  # granian would end the answer as it ends a whole one
        yield incomplete
        raise
