"""How bronze files are read: with declared columns to build from them, and as plain JSON to audit what was built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from payments_pipeline.entities import EntitySpec, duckdb_type
from payments_pipeline.screen import MAX_RECORD_BYTES
from payments_pipeline.transform.statements import name, text

READ = (
    "read_json($files, columns = $columns, format = 'newline_delimited', records = true, "
    "maximum_object_size = $size)"
)
READ_LENIENTLY = READ.replace("records = true", "records = true, ignore_errors = true")
"""For looking around only: a line that cannot be read is skipped here, and quarantined by the build."""


def parameters(spec: EntitySpec, files: Sequence[Path]) -> dict[str, object]:
    """Of `READ`, for files of an entity: its declared columns, so that nothing is inferred."""
    columns = {
        "data": duckdb_type({**spec.columns, "deleted": "BOOLEAN"}),
        "meta": 'STRUCT("observed_at" VARCHAR, "source" VARCHAR, "offset" BIGINT, "deleted_at" BIGINT)',
    }
    return {"files": [str(file) for file in files], "size": _longest(files), "columns": columns}


def plain_lines(entity: str) -> str:
    """The relation that shows an entity's bronze lines as `read_plainly` finds them."""
    return f"built.{name(f'plain {entity}')}"


def read_plainly(spec: EntitySpec, files: Sequence[Path]) -> str:
    """A SELECT of a row for every line of the files, on another path than the one that builds: text, then plain JSON.

    No line holds a control character.
    """
    amount, currency = spec.amount or ("none", "none")
    listed, size = ", ".join(text(str(file)) for file in files), _longest(files)
    return rf"""
with texts as (
    select json_extract_string(line, [
        '$.data.id', '$.data.created', '$.data.deleted', '$.data.{amount}', '$.data.{currency}',
        '$.meta.observed_at', '$.meta.source', '$.meta.offset'
    ]) as found
    from read_csv(
        [{listed}], columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false, delim = E'\x01', quote = '',
        escape = '', comment = '', new_line = '\n', max_line_size = {size}, buffer_size = {size}
    )
)
select
    found[1] as id,
    found[2]::bigint as created,
    coalesce(found[3]::boolean, false) as gone,
    found[4]::bigint as amount,
    found[5] as currency,
    found[6] as seen,
    case found[7] when 'list' then 1 else 2 end as place,
    found[8]::bigint as position
from texts
"""


def _longest(files: Sequence[Path]) -> int:
    """Bytes of the longest line that there can be: buffers are that large, and to touch more memory takes time."""
    return min(max([2**20, *(path.stat().st_size for path in files)]), 2 * MAX_RECORD_BYTES)
