"""Log lines: one JSON object each on standard error, with every secret taken out last."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

_PATTERNS = re.compile(
    r"\b(?:sk|rk)_(?:live|test)_\w+|\bwhsec_\w+|\bAKIA[0-9A-Z]{12,}|\b(?i:bearer)\s+\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|[\w.+-]+@[\w-]+\.[\w.]+"
    r"|\b[3-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}\b|\b3[47]\d\d[ -]?\d{6}[ -]?\d{5}\b"
)
_HIDDEN = "[redacted]"


class Redactor:
    """Takes the configured secrets, whatever looks like a credential, e-mail addresses and card numbers out of a log line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret for form in (secret, repr(secret)[1:-1])}
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {key: self.clean(value) for key, value in event.items()}

    def clean(self, value: object) -> object:
        """`value` with every secret in its texts replaced; what JSON has no type for becomes text first."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, _HIDDEN)
            return _PATTERNS.sub(_HIDDEN, value)
        if isinstance(value, Mapping):
            return {self.clean(str(key)): self.clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.clean(inner) for inner in value]
        if value is None or isinstance(value, int | float):
            return value
        return self.clean(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def make_logger(redactor: Redactor, stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes redacted JSON lines to `stream` (standard error), exceptions with their stack traces."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        _Lines(stream or sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _traces_without_locals(),
            redactor,
            structlog.processors.JSONRenderer(),
        ],
    )
    return logger


class _Lines(structlog.PrintLogger):
    """Writes lines for as long as somebody takes them: a reader that has gone or a full disk ends no run."""

    def msg(self, message: str) -> None:
        """Write a line, if that is possible."""
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _traces_without_locals() -> structlog.processors.ExceptionRenderer:
    """Stack traces as data, without the values of local variables: those may be keys or customers' data."""
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(transform)


class LogReporter:
    """Tells a run's story as log lines, each with its `run_id`."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger, run_id: str) -> None:
        self._logger = logger.bind(run_id=run_id)

    def event(self, name: str, **fields: object) -> None:
        """Write one line."""
        self._logger.info(name, **fields)

    def progress(self, entity: str, records: int) -> None:
        """Pages are too many for log lines; the parts they end in are logged."""
