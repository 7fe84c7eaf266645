"""A real S3 server on this machine for the tests: SeaweedFS, one process for all of a session's workers."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret"
BUCKET = "lake"
_WEED = Path(sys.executable).parent / "weed"
_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance"),
)
_START_SECONDS = 90.0


@dataclass(slots=True)
class Seaweed:
    """A SeaweedFS whose data lie in `folder`; it may be killed and started again on the same ports."""

    folder: str
    ports: dict[str, int]
    pid: int = 0

    @property
    def endpoint(self) -> str:
        """Where its S3 gateway listens."""
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def environ(self) -> dict[str, str]:
        """What boto3 needs to know to work on it."""
        return environ_of(self.endpoint)

    def start(self) -> None:
        """Start the process; it may not answer yet."""
        log = os.open(f"{self.folder}/weed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            self.pid = os.posix_spawn(_WEED, self._arguments(), os.environ, file_actions=actions, setsid=True)
        finally:
            os.close(log)

    def client(self) -> S3Client:
        """A client of the test's own, which does not try twice."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def wait_until_ready(self) -> None:
        """Return once there is a bucket that can be written to."""
        until = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if time.monotonic() > until:
                log = Path(self.folder, "weed.log").read_text(errors="replace")
                raise TimeoutError(f"SeaweedFS does not answer: {log[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a power cut would; SIGTERM would take half a minute."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _is_ready(self) -> bool:
        with closing(self.client()) as client:
            with suppress(ClientError, BotoCoreError):
                client.create_bucket(Bucket=BUCKET)
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
            except (ClientError, BotoCoreError):
                return False
        return True

    def _arguments(self) -> list[str]:
        options = {
            **{name: str(port) for name, port in self.ports.items()},
            "dir": self.folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "64",
            "volume.max": "100",
            "s3.config": f"{self.folder}/identities.json",
            "s3.autoCreateBucket": "false",
        }
        return [str(_WEED), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]


@contextmanager
def seaweed_in(folder: Path) -> Iterator[Seaweed]:
    """A server of the test's own, with its data in `folder`; killed when the block ends."""
    server = _made(folder)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@contextmanager
def shared_seaweed(meeting: Path) -> Iterator[Seaweed]:
    """The server that every process which names the same `meeting` folder uses; the last one to leave kills it."""
    state = meeting / "seaweed.json"
    with _locked(meeting):
        known: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {"users": 0}
        server = Seaweed(**known["server"]) if known["users"] else _made(Path(tempfile.mkdtemp()))
        state.write_text(json.dumps({"users": known["users"] + 1, "server": asdict(server)}))
    try:
        server.wait_until_ready()
        yield server
    finally:
        with _locked(meeting):
            known = json.loads(state.read_text())
            state.write_text(json.dumps({**known, "users": known["users"] - 1}))
            if known["users"] == 1:
                server.kill()
                shutil.rmtree(server.folder, ignore_errors=True)


def environ_of(endpoint: str) -> dict[str, str]:
    """The environment in which boto3 works on an S3 server of the tests."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def new_prefix() -> str:
    """A prefix that no other lake has."""
    return f"lakes/{secrets.token_hex(6)}"


def _made(folder: Path) -> Seaweed:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": actions,
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    server = Seaweed(str(folder), dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True)))
    server.start()
    return server


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _locked(meeting: Path) -> Iterator[None]:
    with (meeting / "seaweed.lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
