"""Downloads from a real server that breaks off, lies, changes its mind, or sends something else."""

import random
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from file_server import FileServer, file_server
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation import download as module
from drum_crnn.preparation.download import discard, download

MAGIC = b"PK\x03\x04"
CONTENT = MAGIC + random.Random(0).randbytes(300_000)
OTHER = MAGIC + random.Random(1).randbytes(300_000)
SHORTER = OTHER[:150_000]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.0)
    with file_server(CONTENT) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


def get(server: FileServer, path: Path, *, n_bytes: int | None = None, url: str = "") -> list[tuple[int, int]]:
    reports: list[tuple[int, int]] = []
    download(url or server.url, path, n_bytes=n_bytes, begins_with=MAGIC, report=lambda *counts: reports.append(counts))
    return reports


def begin(server: FileServer, path: Path, n_bytes: int) -> None:
    """Download the first bytes and be interrupted."""

    class Killed(BaseException):
        pass

    def report(n_done: int, _: int) -> None:
        if n_done >= n_bytes:
            raise Killed

    server.drop_after = [n_bytes]  # so that no more come
    with pytest.raises(Killed):
        download(server.url, path, n_bytes=None, begins_with=MAGIC, report=report)
    assert path.stat().st_size == n_bytes
    server.requests.clear()


def test_a_file_is_downloaded_and_its_progress_is_told(server: FileServer, path: Path) -> None:
    reports = get(server, path, n_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/archive.zip", "")]
    assert reports == sorted(reports)
    assert (reports[0], reports[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


def test_nothing_is_asked_for_when_all_is_there(server: FileServer, path: Path) -> None:
    get(server, path)
    get(server, path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', ""])
@pytest.mark.parametrize("last_modified", ["Tue, 01 Sep 2026 10:00:00 GMT", ""])
def test_the_rest_alone_is_asked_for(server: FileServer, path: Path, etag: str, last_modified: str) -> None:
    server.etag, server.last_modified = etag, last_modified
    begin(server, path, 100_000)
    reports = get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/archive.zip", "bytes=100000-")]
    assert reports[0] == (100_000, len(CONTENT))


@settings(max_examples=20)
@given(drops=st.lists(st.integers(0, 120_000), max_size=8))
def test_connections_that_break_cost_nothing(drops: list[int]) -> None:
    """Each goes on where the one before broke off."""
    with pytest.MonkeyPatch.context() as patch, file_server(CONTENT) as server, tempfile.TemporaryDirectory() as folder:
        patch.setenv("no_proxy", "*")
        patch.setattr(module, "_FIRST_WAIT_S", 0.0)
        server.drop_after = list(drops)
        get(server, Path(folder) / "archive.zip")
        assert (Path(folder) / "archive.zip").read_bytes() == CONTENT
        starts = [int(asked[6:-1] or 0) for _, asked in server.requests]
        assert starts == sorted(starts)


def test_a_server_that_breaks_off_for_ever_is_given_up_and_the_bytes_are_kept(server: FileServer, path: Path) -> None:
    server.drop_after = [1000, *[0] * 100]
    with pytest.raises(DrumCrnnError, match=r"10 times in a row; 1000 bytes are kept, so run the same command again"):
        get(server, path)
    assert path.read_bytes() == CONTENT[:1000]
    server.drop_after = []
    get(server, path)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(
    server: FileServer, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(server, path, 100_000)
    server.has_ranges = False
    server.drop_after = [50_000]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert "begins anew: the server cannot continue one" in capsys.readouterr().err


CHANGES = {
    "another ETag": {"etag": '"two"', "last_modified": ""},
    "another time": {"etag": "", "last_modified": "Wed, 02 Sep 2026 10:00:00 GMT"},
    "both": {"etag": '"two"', "last_modified": "Wed, 02 Sep 2026 10:00:00 GMT"},
}


@pytest.mark.parametrize("ignores_if_range", [False, True])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("content", [OTHER, SHORTER, OTHER + OTHER], ids=["as long", "shorter", "longer"])
def test_two_versions_are_never_glued(
    server: FileServer, path: Path, change: str, content: bytes, ignores_if_range: bool
) -> None:
    for name, value in CHANGES[change].items():
        setattr(server, name, value and getattr(server, name))
    begin(server, path, 200_000)
    server.content, server.ignores_if_range = content, ignores_if_range
    for name, value in CHANGES[change].items():
        setattr(server, name, value)
    get(server, path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [SHORTER, OTHER + OTHER], ids=["shorter", "longer"])
def test_another_length_is_another_version_where_there_is_no_validator(
    server: FileServer, path: Path, content: bytes
) -> None:
    server.etag = server.last_modified = ""
    begin(server, path, 200_000)
    server.content = content
    get(server, path)
    assert path.read_bytes() == content


def test_a_file_that_changes_for_ever_is_given_up(server: FileServer, path: Path) -> None:
    begin(server, path, 1000)
    server.ignores_if_range = True
    server.range_start = lambda start: start + 1
    server.drop_after = [0, 1000, 1000, 1000]
    with pytest.raises(DrumCrnnError, match="is another one than before, again and again"):
        get(server, path)
    assert not path.exists()


def test_bytes_of_unknown_origin_are_not_continued(server: FileServer, path: Path) -> None:
    path.write_bytes(OTHER[:1000])
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/archive.zip", "")]

    begin(server, path.with_name("second.zip"), 1000)
    path.with_name("second.zip.source.json").write_text('{"n_bytes": ', encoding="utf-8")
    get(server, path.with_name("second.zip"))
    assert path.with_name("second.zip").read_bytes() == CONTENT


def test_a_mirror_continues_if_its_file_is_as_long(server: FileServer, path: Path) -> None:
    begin(server, path, 100_000)
    with file_server(CONTENT) as mirror:
        mirror.etag = '"a number of its own"'
        assert get(mirror, path)[0] == (100_000, len(CONTENT))
        assert mirror.requests == [("/archive.zip", "bytes=100000-")]
    assert path.read_bytes() == CONTENT


def test_a_length_that_is_too_large_is_a_broken_connection(server: FileServer, path: Path) -> None:
    server.length = lambda n_bytes: n_bytes + 5
    with pytest.raises(DrumCrnnError, match=r"again and again|times in a row"):
        get(server, path)


def test_a_length_that_is_too_small_is_not_the_archive(server: FileServer, path: Path) -> None:
    server.length = lambda n_bytes: n_bytes - 5
    with pytest.raises(DrumCrnnError, match=f"it has {len(CONTENT) - 5} bytes instead of {len(CONTENT)}; check"):
        get(server, path, n_bytes=len(CONTENT))
    assert not path.exists()


def test_a_length_is_needed(server: FileServer, path: Path) -> None:
    server.length = lambda _: None
    with pytest.raises(DrumCrnnError, match="does not say how long the file is"):
        get(server, path)


def test_servers_that_are_busy_are_asked_again(server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    server.statuses = [(503, {"Retry-After": "17"}), (429, {"Retry-After": "Tue, 01 Sep 2026 10:00:00 GMT"}), (500, {})]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert waits == [17.0, 0.0, 0.0]


def test_waits_grow_and_are_told(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 2.0)
    server.statuses = [(503, {})] * 11
    with pytest.raises(DrumCrnnError, match=r"answers 503 \(Service Unavailable\), 10 times in a row"):
        get(server, path)
    assert waits == [0, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert "answers 503 (Service Unavailable); trying again in 32 s" in capsys.readouterr().err


@pytest.mark.parametrize("status", [403, 404, 410, 204])
def test_what_another_try_does_not_mend_ends_at_once(server: FileServer, path: Path, status: int) -> None:
    begin(server, path, 1000)
    server.statuses = [(status, {})]
    with pytest.raises(DrumCrnnError, match=f"answers {status} .*mirror with --url"):
        get(server, path)
    assert len(server.requests) == 1
    assert path.read_bytes() == CONTENT[:1000], "what was there is kept"


def test_redirects_are_followed_with_the_range(server: FileServer, path: Path) -> None:
    begin(server, path, 1000)
    server.statuses = [(302, {"Location": "/elsewhere"})]
    get(server, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/archive.zip", "bytes=1000-"), ("/elsewhere", "bytes=1000-")]


def test_redirects_in_a_circle_end(server: FileServer, path: Path) -> None:
    server.statuses = [(302, {"Location": server.url})] * 100
    with pytest.raises(DrumCrnnError, match="answers 302"):
        get(server, path)


def test_a_redirect_to_a_local_file_is_refused(server: FileServer, path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    server.statuses = [(302, {"Location": (tmp_path / "secret").as_uri()})]
    with pytest.raises(DrumCrnnError, match="answers 302"):
        get(server, path)
    assert not path.exists()


def test_a_part_that_was_not_asked_for_is_refused(server: FileServer, path: Path) -> None:
    server.statuses = [(206, {"Content-Range": "bytes 0-9/10"})]
    with pytest.raises(DrumCrnnError, match="answers 206"):
        get(server, path)


def test_compressed_bytes_are_refused(server: FileServer, path: Path) -> None:
    server.statuses = [(200, {"Content-Encoding": "gzip"})]
    with pytest.raises(DrumCrnnError, match="encoding gzip"):
        get(server, path)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>Log in", b"P", b"PK"])
def test_a_login_page_is_recognised_at_its_first_bytes(server: FileServer, path: Path, page: bytes) -> None:
    server.content = page + b"!" * 100
    with pytest.raises(DrumCrnnError, match=r"is not the archive: it begins with .*login page"):
        get(server, path)
    assert not path.exists()


def test_a_server_that_cannot_be_reached_is_told(path: Path, server: FileServer) -> None:
    with file_server(CONTENT) as gone:
        pass
    with pytest.raises(DrumCrnnError, match="Connection refused"):
        get(server, path, url=gone.url)


def test_a_server_that_falls_silent_is_asked_again(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first connection holds still for ever after 1000 bytes; the next one gets the rest."""
    monkeypatch.setattr(module, "_SILENCE_S", 0.3)
    server.hold, server.hold_after = threading.Event(), 1000
    monkeypatch.setattr(module.time, "sleep", lambda _: setattr(server, "hold", None))
    silent = server.hold
    try:
        get(server, path)
    finally:
        silent.set()
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=1000-"]
    assert "nothing came for 0 s; trying again" in capsys.readouterr().err


def test_a_certificate_that_nobody_has_signed_is_refused(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with file_server(CONTENT, certificate=self_signed(tmp_path / "certificate.pem")) as server:
        with pytest.raises(DrumCrnnError, match=r"^https://localhost:\d+/archive.zip: the server's certificate is not"):
            get(server, path)
        assert server.requests == []


def self_signed(path: Path) -> Path:
    """Write a key, and a certificate for localhost that it has signed itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("url", ["ftp://example.org/a.zip", "file:///etc/passwd", "a.zip", "https:///a.zip", ""])
def test_only_http_is_an_address(server: FileServer, path: Path, url: str) -> None:
    with pytest.raises(DrumCrnnError, match="is no address to download from"):
        download(url, path, n_bytes=None, begins_with=MAGIC, report=lambda *_: None)


def test_what_is_discarded_begins_anew(server: FileServer, path: Path) -> None:
    begin(server, path, 1000)
    discard(path)
    assert list(path.parent.iterdir()) == []
    get(server, path)
    assert server.requests == [("/archive.zip", "")]
