"""What can go wrong, and the exit code the command line answers with.

    PipelineError
    ├── UsageError            2   wrong argument, setting or model file
    │   └── ModelError            a file under sql/ that cannot be used
    ├── QualityError          1   a gate found bad rows: nothing was published
    ├── SourceError           3   the API refused, failed or answered nonsense
    │   ├── SourceRefused         4xx: no retry can help
    │   └── SourceUnavailable     still failing after the retry budget
    ├── StorageError          4   the lake cannot be read or written
    │   ├── ObjectExists          an append-only object is already there
    │   ├── ObjectMissing         an object that must be there is not
    │   ├── VersionConflict       somebody else changed the object first
    │   └── CorruptObject         bytes differ from what the manifest recorded
    └── LeaseError            5   another run holds the lake, or took it over

Every message says what happened, where, what is still safe and what to do.
"""

from __future__ import annotations

__all__ = [
    "CorruptObject",
    "LeaseError",
    "ModelError",
    "ObjectExists",
    "ObjectMissing",
    "PipelineError",
    "QualityError",
    "SourceError",
    "SourceRefused",
    "SourceUnavailable",
    "StorageError",
    "UsageError",
    "VersionConflict",
    "exit_code_for",
]


class PipelineError(Exception):
    """Base of every error this package raises on purpose; shown to users without a traceback."""

    exit_code = 1


class UsageError(PipelineError):
    """An argument, setting or model file is wrong; nothing published was changed."""

    exit_code = 2


class ModelError(UsageError):
    """A model or check file cannot be used; the message names the file and the key."""


class QualityError(PipelineError):
    """A quality gate failed; every published byte is as it was."""

    exit_code = 1


class SourceError(PipelineError):
    """The Stripe API could not be read; what was already landed is kept."""

    exit_code = 3


class SourceRefused(SourceError):
    """The API answered 4xx: repeating the call cannot help.

    `code` and `param` are Stripe's own (`resource_missing`, `starting_after`, …), `status` the HTTP status.
    """

    def __init__(self, message: str, *, status: int, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class SourceUnavailable(SourceError):
    """The API still failed when the retry budget was spent; run again later."""


class StorageError(PipelineError):
    """The lake's storage refused an operation."""

    exit_code = 4


class ObjectExists(StorageError):
    """`put_new` met an object that is already there; it was not touched."""


class ObjectMissing(StorageError):
    """The object to read is not there."""


class VersionConflict(StorageError):
    """A compare-and-swap lost: the object is not the version that was read."""


class CorruptObject(StorageError):
    """An object's bytes differ from the sha256 its manifest recorded; it is not served."""


class LeaseError(PipelineError):
    """Another run holds the lake's lease, or took it over while this one was paused."""

    exit_code = 5


def exit_code_for(error: BaseException) -> int:
    """The process exit code for `error`: its class's code, 130 for an interrupt, 1 otherwise."""
    if isinstance(error, PipelineError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 1
