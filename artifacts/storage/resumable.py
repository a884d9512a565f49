"""Google's protocol for an upload of unknown length, as its client library can neither finish nor cancel one."""

import http
import time

import requests

_SERVER_ERROR = 500


class ResumableUpload:
    """Bytes sent to the address of an upload that was begun; the address itself is the permission.

    Chunks are multiples of 256 KiB except for the last.
    """

    def __init__(self, session: requests.Session, url: str, timeout: tuple[float, float], retries: int) -> None:
        self._session = session
        self._url = url
        self._timeout = timeout
        self._retries = retries
        self._start = 0  # bytes that the service is known to have

    def send(self, chunk: bytes) -> None:
        """Send a chunk that is not the last; raises what requests raises."""
        end = self._start + len(chunk)
        response = self._put(chunk, total=None)
        if response.status_code != http.HTTPStatus.PERMANENT_REDIRECT or self._start != end:
            raise _refusal("The service did not take the part", response)

    def finish(self, last: bytes) -> bool:
        """Send the last chunk and make the object; False when the upload's condition does not hold."""
        response = self._put(last, total=self._start + len(last))
        if response.status_code == http.HTTPStatus.PRECONDITION_FAILED:
            return False
        if response.status_code not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
            raise _refusal("The service did not make the object", response)
        return True

    def cancel(self) -> None:
        """Drop what was sent; nothing happens when the upload has ended."""
        response = self._session.delete(self._url, headers={"Content-Length": "0"}, timeout=self._timeout)
        if response.status_code >= _SERVER_ERROR:  # its answer when all went well is 499
            raise _refusal("The service did not cancel the upload", response)

    def _put(self, chunk: bytes, total: int | None) -> requests.Response:
        """Send a chunk, and again what of it did not arrive; the last answer."""
        begin, end = self._start, self._start + len(chunk)
        for attempt in range(self._retries + 1):
            try:
                if attempt:
                    time.sleep(attempt)
                    answer = self._request(b"", _content_range(end, end, total))  # how far did it get?
                    if not self._is_unfinished(answer, end):
                        return answer
                answer = self._request(chunk[self._start - begin :], _content_range(self._start, end, total))
                if not self._is_unfinished(answer, end):
                    return answer
            except (requests.ConnectionError, requests.Timeout):
                if attempt == self._retries:
                    raise
        return answer

    def _request(self, content: bytes, content_range: str) -> requests.Response:
        return self._session.put(
            self._url,
            data=content,
            headers={"Content-Range": content_range, "Content-Length": str(len(content))},
            timeout=self._timeout,
            allow_redirects=False,
        )

    def _is_unfinished(self, answer: requests.Response, end: int) -> bool:
        """Note how far the service got; whether the rest is to be sent, perhaps again."""
        if answer.status_code == http.HTTPStatus.PERMANENT_REDIRECT:
            received = answer.headers.get("Range")  # "bytes=0-<last>", absent when it has none
            position = int(received.rpartition("-")[2]) + 1 if received else 0
            if not self._start <= position <= end:
                raise _refusal("The service lost what it had confirmed", answer)
            self._start = position
            return position < end
        if answer.ok:
            self._start = end
        return answer.status_code >= _SERVER_ERROR or answer.status_code == http.HTTPStatus.TOO_MANY_REQUESTS


def _content_range(start: int, end: int, total: int | None) -> str:
    length = "*" if total is None else str(total)
    return f"bytes {start}-{end - 1}/{length}" if start < end else f"bytes */{length}"


def _refusal(text: str, response: requests.Response) -> requests.HTTPError:
    """An error that does not tell the address, as requests' own does."""
    return requests.HTTPError(f"{text}: {response.status_code} {response.reason}", response=response)
