"""The page: its built files from memory, each compressed once; without them, what is missing."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zstandard
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.rest.negotiation import negotiate_encoding

BUILT = Path(__file__).parents[1] / "web" / "dist"
"""Where `make setup` builds the page."""
_START = "index.html"
_POLICY = (
    "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    # Notebooks of this machine show a chart in a frame.
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "vary": "Accept-Encoding",
}
_UNCHANGING, _CHECKED = "public, max-age=31536000, immutable", "no-cache"
_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}
"""Others, such as .css and .svg, are named by the system alike everywhere."""
_ZSTD_LEVEL = 12
_MISSING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tapehouse</title></head>
<body><h1>The page is not built</h1>
<p>It is built by <code>make setup</code> with Node 20.19 or newer and npm, which <code>tapehouse doctor</code> looks
for. Install them, run <code>make setup</code>, and start the gateway again.</p>
<p>All else works without it: <a href="/docs">the description of the REST interface</a>.</p></body></html>
"""


@dataclass(frozen=True)
class BuiltFile:
    """A file of the page, in each content encoding that made it smaller."""

    media_type: str
    etag: str
    caching: str
    bodies: Mapping[str, bytes]
    """By content encoding; empty: none."""

    @classmethod
    def of(cls, name: str, body: bytes, *, unchanging: bool) -> BuiltFile:
        """Compress a file."""
        encoded = {"zstd": zstandard.compress(body, _ZSTD_LEVEL), "gzip": gzip.compress(body, mtime=0)}
        smaller = {encoding: text for encoding, text in encoded.items() if len(text) < len(body)}
        media = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return cls(
            media,
            f'"{hashlib.sha256(body).hexdigest()[:24]}"',
            _UNCHANGING if unchanging else _CHECKED,
            {"": body, **smaller},
        )

    def response(self, request: Request) -> Response:
        """The file as the client accepts it; 304 where the client has it."""
        encoding = negotiate_encoding(request.headers.get("accept-encoding", ""), self.media_type)
        encoding = encoding if encoding in self.bodies else ""
        # An ETag names the bytes that are sent: each encoding has its own.
        etag = f'{self.etag[:-1]}-{encoding}"' if encoding else self.etag
        headers = {**_HEADERS, "cache-control": self.caching, "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if encoding:
            headers["content-encoding"] = encoding
        return Response(self.bodies[encoding], media_type=self.media_type, headers=headers)


@cache
def built_files(folder: Path) -> Mapping[str, BuiltFile]:
    """By path below `folder`; empty where the page is not built."""
    if not (folder / _START).is_file():
        return {}
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: BuiltFile.of(name, path.read_bytes(), unchanging=name.startswith("assets/"))
        for name, path in names.items()
    }


def page_router(folder: Path) -> APIRouter:
    """The page's addresses. What a request names is looked up among the files that were read, never on the disk."""
    router = APIRouter(include_in_schema=False)
    files = built_files(folder)

    async def start(request: Request) -> Response:
        if _START not in files:
            return Response(_MISSING, 503, {**_HEADERS, "cache-control": "no-store"}, "text/html")
        return files[_START].response(request)

    async def asset(request: Request, name: str) -> Response:
        return _found(f"assets/{name}", request)

    async def beside(request: Request) -> Response:
        return _found(request.url.path[1:], request)

    def _found(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        return files[name].response(request)

    for path in ("/", "/chart/{series:path}", "/account/{account}", "/account/", "/system"):
        router.add_api_route(path, start, methods=["GET", "HEAD"])
    router.add_api_route("/assets/{name}", asset, methods=["GET", "HEAD"])
    for name in sorted(files):
        if "/" not in name and name != _START:
            router.add_api_route(f"/{name}", beside, methods=["GET", "HEAD"])
    return router
