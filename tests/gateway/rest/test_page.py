"""The page's files, served by the application."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import zstandard

from gateway.rest.readers import Limits
from tests.gateway.serving import Client, application_of

_SCRIPT = "const text = 'a script that is long enough to be smaller when it is compressed';\n" * 40
_START = (
    '<!doctype html><html lang="en"><script type="module" src="/assets/index-abc.js"></script></html>\n' * 4
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder.parent / "secret.txt").write_text("not the page's")
    (folder / "index.html").write_text(_START)
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "manifest.webmanifest").write_text("{}")
    (folder / "assets" / "index-abc.js").write_text(_SCRIPT)
    return folder


@pytest.fixture(scope="module")
def page(built: Path) -> Iterator[Client]:
    with application_of(None, Limits(), page=built) as client:
        yield client


def _raw(client: Client, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """The answer with its body as it was sent."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.pool.request("GET", client.url + path, headers=sent, decode_content=False)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/chart/sim/BTCUSDT",
        "/chart/sim/BTCUSDT?interval=5m",
        "/chart/a/B%2FC",
        "/chart/a/B/C",
        "/system",
        "/account/1",
        "/account/",
    ],
)
def test_every_address_of_the_page_is_the_page(page: Client, path: str) -> None:
    answer = page.get(path)
    assert answer.status == 200
    assert answer.data.decode() == _START
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/assets/index-abc.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/manifest.webmanifest", "application/manifest+json"),
    ],
)
def test_its_files_have_their_media_types_and_may_not_be_taken_for_others(
    page: Client, path: str, media: str
) -> None:
    answer = page.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, media)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_has_a_hash_in_its_name_is_kept_for_ever_and_the_rest_is_checked(page: Client) -> None:
    assert "immutable" in page.get("/assets/index-abc.js").headers["cache-control"]
    first = page.get("/icon.svg")
    assert first.headers["cache-control"] == "no-cache"
    again = page.get("/icon.svg", if_none_match=first.headers["etag"])
    assert (again.status, again.data) == (304, b"")


def test_the_policy_lets_nothing_in_from_elsewhere_and_no_script_in_the_text(page: Client) -> None:
    policy = page.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["connect-src"] == "'self'"
    assert rules.pop("frame-ancestors") == "'self' http://localhost:* http://127.0.0.1:*"
    assert "unsafe" not in policy
    assert "http" not in "".join(rules.values())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_files_are_sent_compressed_as_the_browser_takes_them(page: Client, encoding: str) -> None:
    answer = _raw(page, "/assets/index-abc.js", accept_encoding=encoding)
    assert answer.headers["content-encoding"] == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    body = answer.data
    assert len(body) < len(_SCRIPT) / 4
    text = gzip.decompress(body) if encoding == "gzip" else zstandard.decompress(body, len(_SCRIPT))
    assert text.decode() == _SCRIPT
    plain = _raw(page, "/assets/index-abc.js")
    assert plain.data.decode() == _SCRIPT
    assert plain.headers["etag"] != answer.headers["etag"]


def test_head_has_the_headers_alone(page: Client) -> None:
    answer = page.pool.request("HEAD", f"{page.url}/assets/index-abc.js")
    assert (answer.status, answer.data) == (200, b"")
    assert answer.headers["content-length"] == str(len(_SCRIPT))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../index.html",
        "/assets/..%2f..%2fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/%252e%252e/secret.txt",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/..\\..\\secret.txt",
        "/assets/index-abc.js%00",
        "/assets/",
        "/assets",
        "/index.html",
        "/secret.txt",
        "/../secret.txt",
        "/icon.svg/",
    ],
)
def test_nothing_but_its_files_can_be_named(page: Client, path: str) -> None:
    # urllib3 would resolve the dots itself.
    pool = urllib3.connection_from_url(page.url)
    answer = pool.urlopen("GET", path, redirect=False, assert_same_host=False)
    assert answer.status == 404
    assert b"not the page's" not in answer.data


def test_where_it_is_not_built_the_page_says_what_is_missing(tmp_path: Path) -> None:
    with application_of(None, Limits(), page=tmp_path) as client:
        for path in ("/", "/chart/sim/S", "/account/1", "/system"):
            answer = client.get(path)
            assert answer.status == 503
            assert "Node 20.19 or newer" in answer.data.decode()
        assert client.get("/assets/index-abc.js").status == 404


def test_the_page_is_beside_the_endpoints_and_not_described_with_them(page: Client) -> None:
    assert page.get("/healthz").status == 200
    assert page.get("/assets/no.js").headers["content-type"] == "application/problem+json"
    described = page.json("/openapi.json")["paths"]
    assert not [
        path
        for path in described
        if path == "/" or path.startswith(("/chart", "/account/", "/assets", "/system"))
    ]


def test_a_page_of_another_site_may_not_take_its_files(page: Client) -> None:
    assert page.get("/assets/index-abc.js", origin="http://elsewhere.example").status == 403
