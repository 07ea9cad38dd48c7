"""Requests to the gateway: a pool of connections, errors as this system's, and what is safe tried again."""

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

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
_PAUSES_S: Final = (0.1, 0.4, 1.5)
"""Before each further try."""
_LONGEST_S: Final = 5.0
"""A gateway that asks for a longer pause than this is not waited for."""
_CONNECT_S: Final = 3.0
_READ_S: Final = 120.0
"""Without a byte; the gateway gives up on a store earlier."""
_PROBE_S: Final = 1.0
_CONNECTIONS: Final = 8
_PROBLEM_BYTES: Final = 2**20

Parameters = Mapping[str, object]
"""Values by name: None is left out, a list or tuple is the name repeated."""


class Answer:
    """An answer of status 200 whose body is read in pieces; a connection read to its end is used again."""

    def __init__(self, response: urllib3.BaseHTTPResponse, remedy: str) -> None:
        self._response = response
        self._remedy = remedy
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
        """The next bytes, as many as asked for; fewer only at the end of the body.

        Raises ConnectError where the gateway goes away or is silent for two minutes.
        """
        try:
            piece = self._response.read(size)
        except (urllib3.exceptions.HTTPError, OSError) as reason:
            raise ConnectError(
                f"gateway: the answer was cut: {_words(reason)}", remedy=self._remedy
            ) from reason
        self._ended = len(piece) < size
        return piece

    def close(self) -> None:
        """Give the connection back; one whose answer was not read to its end is closed."""
        if not self._ended:
            self._response.close()
        self._response.release_conn()


class Transport:
    """One gateway. May be used by several threads at a time.

    `start` is the command that starts the platform, for the errors.
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
        self._remedy = f"Start the platform with `{start}`, and see `tapehouse status`."
        self._headers = {"Accept-Encoding": encoding_for(parsed.host)}
        self._pool = urllib3.connection_from_url(
            self.url,
            maxsize=_CONNECTIONS,
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=False,
        )

    def get(self, path: str, parameters: Parameters | None = None, accept: str = ARROW) -> Answer:
        """Ask, and return the answer once its head has come; `path` begins with a slash.

        A connection that is refused, or lost before any byte came, and a gateway that asks to come again within five
        seconds are tried again up to three times. Nothing else is: what was read is never read twice.

        Raises the error that the gateway's problem names, ConnectError where there is no gateway.
        """
        target = self._prefix + path + _query(parameters or {})
        for pause in (*_PAUSES_S, None):
            try:
                response = self._ask(target, accept)
            except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError) as reason:
                if pause is None:
                    raise self._no_answer(reason) from reason
                time.sleep(pause)
                continue
            except urllib3.exceptions.HTTPError as reason:
                raise self._no_answer(reason) from reason
            if response.status == 200:
                return Answer(response, self._remedy)
            asked = _retry_after(response)
            error = self._error(response)
            if pause is None or asked is None:
                raise error
            time.sleep(max(pause, asked))
        raise AssertionError("unreachable: the last try returns or raises")

    def json(self, path: str, parameters: Parameters | None = None) -> Any:
        """The whole of a small answer."""
        with self.get(path, parameters, JSON) as answer:
            pieces = list(iter(lambda: answer.read(2**16), b""))
        try:
            return json.loads(b"".join(pieces))
        except ValueError:
            raise TapehouseError(f"gateway: expected JSON from {path}, was something else") from None

    def answers(self) -> bool:
        """Whether a gateway answers at once; asked once."""
        try:
            response = self._pool.request("GET", f"{self._prefix}/healthz", timeout=_PROBE_S, redirect=False)
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _ask(self, target: str, accept: str) -> urllib3.BaseHTTPResponse:
        headers = {**self._headers, "Accept": accept}
        return self._pool.request("GET", target, headers=headers, redirect=False, preload_content=False)

    def _error(self, response: urllib3.BaseHTTPResponse) -> TapehouseError:
        """What an answer other than 200 tells; its body is read."""
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

    def _no_answer(self, reason: Exception) -> ConnectError:
        return ConnectError(
            f"gateway: {self.url} does not answer: {_words(reason)}", remedy=self._remedy, url=self.url
        )


def encoding_for(host: str) -> str:
    """The Accept-Encoding for a host: compression costs more than it saves where nothing leaves the machine."""
    if host == "localhost":
        return "identity"
    try:
        if ipaddress.ip_address(host.strip("[]")).is_loopback:
            return "identity"
    except ValueError:
        pass  # a name
    # urllib3 reads zstd where the machine has a decoder.
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
    """The seconds after which to come again; None where that is not asked for, or too long."""
    said = response.headers.get("Retry-After", "")
    if response.status != 503 or not said.isdecimal() or int(said) > _LONGEST_S:
        return None
    return float(said)


def _words(reason: BaseException) -> str:
    """The innermost reason, for urllib3 wraps them, with an object's address in front."""
    while reason.__cause__ is not None:
        reason = reason.__cause__
    inner = [part for part in reason.args if isinstance(part, BaseException)]
    if inner:
        return _words(inner[0])
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason).rpartition(": ")[2] or type(reason).__name__
