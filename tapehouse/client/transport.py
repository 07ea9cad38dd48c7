"""HTTP requests to the gateway: a connection pool, retries where safe, and responses other than 200 as errors."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import urllib3

from tapehouse.client.problems import error_of
from tapehouse.errors import ConnectError, TapehouseError, UsageError
from tapehouse.lost_connections import reason_in_words

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
_PAUSES_S: Final = (0.1, 0.4, 1.5)
"""Before each retry."""
_RESTART_PAUSES_S: Final = (*_PAUSES_S, 3.0, 4.0, 4.0)
"""Before each retry once the gateway has answered: long enough for its restart."""
_MAX_RETRY_AFTER_S: Final = 5.0
"""A longer Retry-After is not waited for."""
_CONNECT_S: Final = 3.0
_READ_S: Final = 120.0
"""Between two reads; the gateway times out on a store earlier."""
_PROBE_S: Final = 1.0
_CONNECTIONS: Final = 8
_PROBLEM_BYTES: Final = 2**20

Parameters = Mapping[str, object]
"""Query parameters by name: None is left out, a list or tuple repeats the name."""


class StreamedResponse:
    """A response with status 200 whose body is read in pieces; if read to its end, the connection is reused."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._ended = False
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        self.headers: Mapping[str, str] = response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end of the body.

        Raises ConnectError if the connection is lost, or nothing is received for two minutes.
        """
        try:
            piece = self._response.read(size)
        except (urllib3.exceptions.HTTPError, OSError) as reason:
            raise truncated(reason_in_words(reason)) from reason
        self._ended = len(piece) < size
        return piece

    def close(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        if not self._ended:
            self._response.close()
        self._response.release_conn()


class Transport:
    """The connection pool of one gateway. Thread-safe.

    url: the gateway's base URL; raises UsageError if it is not http or https.
    start: the command that starts the platform, named in errors.
    """

    def __init__(self, url: str, start: str = "tapehouse up") -> None:
        try:
            parsed = urllib3.util.parse_url(url)
        except urllib3.exceptions.LocationParseError:
            parsed = urllib3.util.Url()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError(f"url: expected one such as http://127.0.0.1:8000, was {url!r}", url=url)
        self.url = url.rstrip("/")
        self._prefix = (parsed.path or "").rstrip("/")
        self._start = start
        self._has_answered = False
        self._headers = {"Accept-Encoding": encoding_for(parsed.host)}
        self._pool = urllib3.connection_from_url(
            self.url,
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=False,
        )

    def get(self, path: str, parameters: Parameters | None = None, accept: str = ARROW) -> StreamedResponse:
        """Send a GET request and return the response once its headers are received; `path` starts with a slash.

        Retried: a connection that is refused or lost before the first byte, and status 503 with a Retry-After of at
        most five seconds; for two seconds, and for a restart of the gateway once it has answered. Once the response
        has begun there are no retries.

        Raises the error in the gateway's problem document, ConnectError if the gateway does not answer.
        """
        target = self._prefix + path + _query(parameters or {})
        # Not urllib3.Retry: it also retries read time-outs, and waits for a Retry-After of any length.
        for pause in (*(_RESTART_PAUSES_S if self._has_answered else _PAUSES_S), None):
            try:
                response = self._request(target, accept)
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError) as reason:
                if pause is None:
                    raise self.no_answer(reason) from reason
                time.sleep(pause)
                continue
            except urllib3.exceptions.HTTPError as reason:
                raise self.no_answer(reason) from reason
            if response.status == 200:
                self._has_answered = True
                return StreamedResponse(response)
            retry_after = _retry_after(response)
            error = self._error(response)
            if pause is None or retry_after is None:
                raise error
            time.sleep(max(pause, retry_after))
        raise AssertionError("unreachable: the last try returns or raises")

    def json(self, path: str, parameters: Parameters | None = None) -> Any:
        """The body of a small response, parsed. Raises as `get`, and TapehouseError if it is not JSON."""
        with self.get(path, parameters, JSON) as answer:
            pieces = list(iter(lambda: answer.read(2**16), b""))
        try:
            return json.loads(b"".join(pieces))
        except ValueError:
            raise TapehouseError(f"gateway: expected JSON from {path}, was something else") from None

    def answers(self) -> bool:
        """Whether the gateway answers its health check within a second; without retries."""
        try:
            response = self._pool.request("GET", f"{self._prefix}/healthz", timeout=_PROBE_S, redirect=False)
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _request(self, target: str, accept: str) -> urllib3.BaseHTTPResponse:
        headers = {**self._headers, "Accept": accept}
        return self._pool.request("GET", target, headers=headers, redirect=False, preload_content=False)

    def _error(self, response: urllib3.BaseHTTPResponse) -> TapehouseError:
        """The error of a response other than 200, whose body is read and closed."""
        try:
            body = response.read(_PROBLEM_BYTES)
        except (urllib3.exceptions.HTTPError, OSError):
            body = b""
        finally:
            response.close()
            response.release_conn()
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            problem = {"detail": f"{self.url}: expected a gateway's answer, was status {response.status}"}
        return error_of(problem, response.status)

    def __reduce__(self) -> tuple[type[Transport], tuple[str, str]]:
        return Transport, (self.url, self._start)

    def no_answer(self, reason: Exception) -> ConnectError:
        """The error of a gateway that does not answer."""
        return ConnectError(
            f"gateway: {self.url} does not answer: {reason_in_words(reason)}",
            remedy=f"Start the platform with `{self._start}`, and see `tapehouse status`.",
            url=self.url,
        )


def truncated(reason: str) -> ConnectError:
    """The error of an answer that ended too early."""
    return ConnectError(
        f"gateway: the answer was truncated: {reason}",
        remedy="Ask again: no rows were returned. If it happens again, see `tapehouse status`.",
    )


def encoding_for(host: str) -> str:
    """The Accept-Encoding for a host: none for loopback, where compression costs more than it saves."""
    if host == "localhost":
        return "identity"
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return "identity"
    except ValueError:
        pass  # a host name
    # urllib3 decodes zstd only if a decoder is installed.
    return "zstd" if "zstd" in urllib3.HTTPResponse.CONTENT_DECODERS else "gzip"


def _query(parameters: Parameters) -> str:
    pairs = [
        (name, str(value))
        for name, values in parameters.items()
        for value in (values if isinstance(values, (list, tuple)) else (values,))
        if value is not None
    ]
    return f"?{urlencode(pairs)}" if pairs else ""


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """The Retry-After of a 503 in seconds; None if there is none, or it is too long."""
    header = response.headers.get("Retry-After", "")
    if response.status != 503 or not header.isdecimal() or int(header) > _MAX_RETRY_AFTER_S:
        return None
    return float(header)
