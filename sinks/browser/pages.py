"""The viewer's page: static files, with headers that forbid everything the page does not need."""

from functools import cache
from http import HTTPStatus
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Response

FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@cache
def files() -> dict[str, tuple[str, bytes]]:
    """Content type and bytes of every file of the page, by path; "/" is index.html."""
    loaded = {
        f"/{file.name}": (_TYPES[file.suffix], file.read_bytes())
        for file in sorted(FOLDER.iterdir())
        if file.suffix in _TYPES
    }
    return loaded | {"/": loaded["/index.html"]}


def file_response(path: str) -> Response:
    """The file at `path`, or a 404."""
    if path not in files():
        return text_response(HTTPStatus.NOT_FOUND, "There is no such file.")
    content_type, body = files()[path]
    return _response(HTTPStatus.OK, content_type, body)


def text_response(status: HTTPStatus, text: str) -> Response:
    """A plain text answer."""
    return _response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _response(status: HTTPStatus, content_type: str, body: bytes) -> Response:
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **_SECURITY_HEADERS,
        }
    )
    return Response(status.value, status.phrase, headers, body)
