"""A real HTTP server on the loopback interface that serves one file, well or badly."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FileServer:
    """What the server does with a request, which may be changed between two requests.

    Attributes
    ----------
    content, etag, last_modified
        The file, and the headers that name its version; empty ones are not sent.
    has_ranges : bool
        Whether `Range` is honoured.
    drop_after : list of int
        After how many bytes of a body the next connections are broken, one after another.
    statuses : list of (status, headers)
        Answers to the next requests, in place of the file.
    length : function
        What `Content-Length` says of a body of that length; None to send no such header.
    range_start : function
        Where a part is said to begin that begins there.
    ignores_if_range : bool
        Whether parts of a file are sent whatever its version.
    hold : event, optional
        If given, no body goes on after `hold_after` bytes until the event is set.
    requests : list
        Path and `Range` of every request, as they came.
    """

    content: bytes = b""
    etag: str = '"one"'
    last_modified: str = "Tue, 01 Sep 2026 10:00:00 GMT"
    has_ranges: bool = True
    drop_after: list[int] = field(default_factory=list)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    length: Callable[[int], int | None] = int
    range_start: Callable[[int], int] = int
    ignores_if_range: bool = False
    hold: threading.Event | None = None
    hold_after: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def file_server(content: bytes, *, certificate: Path | None = None) -> Iterator[FileServer]:
    """Serve `content` at the `url` of what is yielded; with a certificate and its key, over HTTPS."""
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, state)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        state.url = f"http://127.0.0.1:{server.server_port}/archive.zip"
        if certificate is not None:
            state.url = f"https://localhost:{server.server_port}/archive.zip"
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            if state.hold is not None:
                state.hold.set()
            server.shutdown()
            thread.join()


def _answer(request: BaseHTTPRequestHandler, state: FileServer) -> None:
    asked = request.headers.get("Range", "")
    state.requests.append((request.path, asked))
    if state.statuses:
        status, headers = state.statuses.pop(0)
        _head(request, status, {"Content-Length": "0", **headers})
        return
    start, status = 0, 200
    versions = {state.etag, state.last_modified} - {""}
    is_same = state.ignores_if_range or request.headers.get("If-Range", state.etag) in {*versions, state.etag}
    if (found := re.fullmatch(r"bytes=(\d+)-", asked)) and state.has_ranges and is_same:
        start, status = int(found[1]), 206
    total = len(state.content)
    if start >= total > 0:
        _head(request, 416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
        return
    body = state.content[start:]
    length = state.length(len(body))
    headers = {"ETag": state.etag, "Last-Modified": state.last_modified}
    headers["Content-Length"] = "" if length is None else str(length)
    if status == 206:
        headers["Content-Range"] = f"bytes {state.range_start(start)}-{total - 1}/{total}"
    _head(request, status, {name: value for name, value in headers.items() if value})
    drop = state.drop_after.pop(0) if state.drop_after else None
    request.close_connection = True
    with contextlib.suppress(ConnectionError):
        if state.hold is not None and len(body) > state.hold_after:
            request.wfile.write(body[: state.hold_after])
            state.hold.wait()
            body = body[state.hold_after :]
        request.wfile.write(body[:drop])
        if drop is not None:
            request.connection.shutdown(socket.SHUT_RDWR)


def _head(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
