"""One large file over HTTP: what is interrupted continues where it broke off.

Bytes are appended to the file as they come, so its size says how far a download got, however it ended. Beside it, a
small file says which version these bytes belong to: its length, ETag and time of modification. The rest is asked for
with `Range`, and kept only if the server still has that version. So two versions are never glued together.

This is the only module that reaches out to the network.

References
----------
RFC 9110, "HTTP Semantics", sections 13.1.5 (If-Range), 14 (Range Requests) and 10.2.3 (Retry-After).
"""

import contextlib
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, NonNegativeInt, ValidationError

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["discard", "download", "downloaded_bytes"]

_CHUNK_BYTES = 1 << 20
_SILENCE_S = 60.0  # without a byte from the server, before a connection counts as broken
_MAX_FAILURES = 10  # in a row, without a single byte between them: about five minutes
_MAX_RESTARTS = 2  # because the file on the server has changed
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0
_LONGEST_ASKED_WAIT_S = 600.0  # that a server may ask for
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which another try makes sense


class _Source(BaseModel, frozen=True):
    """The version of a file that a server offers. `etag` and `last_modified` are empty if the server sends none."""

    url: str
    n_bytes: NonNegativeInt
    etag: str
    last_modified: str

    @classmethod
    def of(cls, url: str, response: http.client.HTTPResponse, n_bytes: int) -> Self:
        headers = response.headers
        return cls(
            url=url, n_bytes=n_bytes, etag=headers.get("ETag", ""), last_modified=headers.get("Last-Modified", "")
        )

    def is_same_version(self, other: "_Source") -> bool:
        """Whether both are one version. Of two servers, only the lengths can be compared."""
        if self.n_bytes != other.n_bytes or self.url != other.url:
            return self.n_bytes == other.n_bytes
        pairs = ((self.etag, other.etag), (self.last_modified, other.last_modified))
        return all(one == another for one, another in pairs if one and another)


class _Broken(Exception):  # noqa: N818  # it leads to another try
    """Why a try ended early. `wait_s` is what the server asks to wait."""

    def __init__(self, why: str, *, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class _Changed(_Broken):
    """The file on the server is another one than before, so that what was downloaded is of no use."""


def download(
    url: str, path: Path, *, n_bytes: int | None, begins_with: bytes, report: Callable[[int, int], None]
) -> None:
    """Download a file to `path`, or the rest of it if an earlier download was interrupted.

    Parameters
    ----------
    n_bytes : int, optional
        The length that the file must have.
    begins_with : bytes
        The first bytes of any file of the right kind, so that a login page is recognised at once.
    report : function
        Called with the number of bytes that are here, and their total.

    Raises
    ------
    DrumCrnnError
        If the server refuses, cannot be reached, sends something else, or breaks off again and again. What was
        downloaded of its file is kept.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise DrumCrnnError(f"{url}: is no address to download from; it should begin with https:// or http://")
    n_failures, n_restarts, furthest = 0, 0, downloaded_bytes(path)
    while True:
        try:
            _download_rest(url, path, n_bytes, begins_with, report)
            return
        except _Broken as broken:
            if isinstance(broken, _Changed):
                discard(path)
                n_restarts += 1
                if n_restarts > _MAX_RESTARTS:
                    raise DrumCrnnError(f"{url}: {broken}, again and again; name a mirror with --url") from None
            n_here = downloaded_bytes(path)
            n_failures = n_failures + 1 if n_here <= furthest else 1
            furthest = max(furthest, n_here)
            if n_failures > _MAX_FAILURES:
                raise DrumCrnnError(
                    f"{url}: {broken}, {_MAX_FAILURES} times in a row; {n_here} bytes are kept, so run the same "
                    "command again later, or name a mirror with --url"
                ) from None
            # At once after the first failure: it is mostly a connection that broke by itself.
            wait_s = 0.0 if n_failures == 1 else min(_FIRST_WAIT_S * 2 ** (n_failures - 2), _LONGEST_WAIT_S)
            wait_s = max(wait_s, broken.wait_s)
            warn(f"{url}: {broken}; trying again" + (f" in {wait_s:.0f} s" if wait_s else ""))
            time.sleep(wait_s)


def downloaded_bytes(path: Path) -> int:
    """Number of bytes that are at `path`; 0 if there is no file."""
    return path.stat().st_size if path.exists() else 0


def discard(path: Path) -> None:
    """Delete what was downloaded to `path`, so that the next download begins anew."""
    # In this order: bytes without a source are not continued.
    _source_file(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _download_rest(
    url: str, path: Path, expected_bytes: int | None, begins_with: bytes, report: Callable[[int, int], None]
) -> None:
    """One connection: download what is missing of a file.

    Raises
    ------
    _Broken
        If another connection can do better.
    """
    known, n_here = _read_source(path), downloaded_bytes(path)
    if known is None or n_here > known.n_bytes:
        known, n_here = None, 0
    elif n_here == known.n_bytes:
        report(n_here, n_here)
        return
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(_request(url, known, n_here))
        n_bytes = _total_length(response, url, is_part=n_here > 0)
        if expected_bytes not in (None, n_bytes):
            raise DrumCrnnError(
                f"{url}: is not the archive: it has {n_bytes} bytes instead of {expected_bytes}; check the address, or "
                "name a mirror with --url"
            )
        offered = _Source.of(url, response, n_bytes)
        if known is not None and response.status == 206:
            if _first_byte(response) != n_here or not known.is_same_version(offered):
                raise _Changed("the file on the server is another one than before")
            file = stack.enter_context(path.open("ab", buffering=0))
        else:
            if known is not None and n_here:
                is_same = known.is_same_version(offered)
                why = "the server cannot continue one" if is_same else "the file on the server has changed"
                warn(f"{url}: the download begins anew: {why}")
            discard(path)
            file = stack.enter_context(path.open("wb", buffering=0))
            write_text(_source_file(path), offered.model_dump_json())
            n_here = 0
        report(n_here, n_bytes)
        while n_here < n_bytes:
            with _network_errors_as_broken(url):
                chunk = response.read1(min(_CHUNK_BYTES, n_bytes - n_here))
            if not chunk:
                raise _Broken(f"the connection broke after {n_here} of {n_bytes} bytes")
            if n_here < len(begins_with) and not _fits(chunk, begins_with[n_here:]):
                discard(path)
                raise DrumCrnnError(
                    f"{url}: is not the archive: it begins with {chunk[:20]!r}; check the address, and that no login "
                    "page stands between"
                )
            file.write(chunk)
            n_here += len(chunk)
            report(n_here, n_bytes)


def _fits(chunk: bytes, expected: bytes) -> bool:
    return chunk.startswith(expected[: len(chunk)])


def _request(url: str, known: _Source | None, n_here: int) -> http.client.HTTPResponse:
    """Ask for a file, or for its bytes from `n_here` on if they are of the known version; follow redirects."""
    headers = {"User-Agent": "drum-crnn", "Accept-Encoding": "identity"}
    if known is not None and n_here:
        headers["Range"] = f"bytes={n_here}-"
        # A weak ETag promises no equal bytes, so it must not be used here.
        validator = known.last_modified if known.etag.startswith("W/") else known.etag or known.last_modified
        if validator and known.url == url:
            headers["If-Range"] = validator
    try:
        with _network_errors_as_broken(url):
            response: http.client.HTTPResponse = _opener().open(
                urllib.request.Request(url, headers=headers), timeout=_SILENCE_S
            )
            return response
    except urllib.error.HTTPError as answer:
        answer.close()
        why = f"the server answers {answer.code} ({answer.reason})"
        if answer.code == 416 and "Range" in headers:
            raise _Changed("the file on the server is shorter than before") from None
        if answer.code in _PASSING:
            raise _Broken(why, wait_s=_asked_wait_s(answer.headers.get("Retry-After", ""))) from None
        raise DrumCrnnError(f"{url}: {why}; check the address, or name a mirror with --url") from None


def _opener() -> urllib.request.OpenerDirector:
    """HTTP with redirects and the system's proxies, and nothing else: a redirect may not lead to a local file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


@contextlib.contextmanager
def _network_errors_as_broken(url: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:  # an answer
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DrumCrnnError(
                f"{url}: the server's certificate is not accepted: {reason.verify_message}; check the system's clock "
                "and its certificates"
            ) from None
        if isinstance(reason, TimeoutError):
            raise _Broken(f"nothing came for {_SILENCE_S:.0f} s") from None
        why = (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__
        raise _Broken(f"the connection broke ({why})") from None


def _total_length(response: http.client.HTTPResponse, url: str, *, is_part: bool) -> int:
    """The length of the whole file, in bytes, of which the response may be a part if one was asked for."""
    text = response.headers.get("Content-Length", "")
    if response.status == 206:
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    encoding = response.headers.get("Content-Encoding", "identity")
    if response.status not in ((200, 206) if is_part else (200,)) or encoding != "identity":
        raise DrumCrnnError(
            f"{url}: the server answers {response.status} in the encoding {encoding}, which was not asked for; name "
            "a mirror with --url"
        )
    if not re.fullmatch("[0-9]+", text):
        raise DrumCrnnError(f"{url}: the server does not say how long the file is; name a mirror with --url")
    return int(text)


def _first_byte(response: http.client.HTTPResponse) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _asked_wait_s(text: str) -> float:
    return min(float(text), _LONGEST_ASKED_WAIT_S) if re.fullmatch("[0-9]+", text) else 0.0


def _source_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.source.json")


def _read_source(path: Path) -> _Source | None:
    try:
        return _Source.model_validate_json(_source_file(path).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
