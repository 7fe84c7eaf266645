"""What a lake remembers of the simulated account that runs inside the process: where it began, and what was written to it."""

from __future__ import annotations

from typing import ClassVar

import pydantic

from payments_pipeline.state.documents import Document


class Write(pydantic.BaseModel):
    """A request that wrote: the account's Unix second, the request's id, and the request as it was sent."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    at: int
    request_id: str
    method: str
    path: str
    form: str
    key: str | None
    version: str | None = None


class Simulated(Document):
    """The account is made anew in every process; from the same beginning, the same writes give the same account."""

    remedy: ClassVar[str] = (
        "restore the file, or remove it and 'oltp populate' again: the simulated account is then as if never written to"
    )

    seed: int
    start: str
    customers_per_day: int
    writes: tuple[Write, ...] = ()
