"""What the code may know of itself: imports point downward, and each door to the outside is in one module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "payments_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    "__main__",
    "cli",
    "__init__",
    "api",
    "oltp",
    "session",
    "forecast inspect maintenance",
    "retention",
    "pipeline simulation",
    "extract",
    "effort planning stretch",
    "inputs quality publish build webhooks",
    "scope",
    "excerpts",
    "lake",
    "bronze",
    "transform",
    "state",
    "screen stripe",
    "storage",
    "entities settings log flow layout",
    "errors loading",
]
"""From the top down: what stands in a line may import what stands below it, and its own package."""

LAYER_OF = {name: number for number, line in enumerate(LAYERS) for name in line.split()}

DOORS = {
    "duckdb": {"transform/connection.py", "transform/duckdb_engine.py"},
    "boto3": {"storage/s3_client.py"},
    "botocore": {"storage/s3.py", "storage/s3_client.py", "storage/s3_ranges.py"},
    "httpx": {"stripe/wire.py"},
    "tenacity": {"stripe/retry.py"},
    "structlog": {"log.py"},
    "click": {"cli/*"},
    "rich": {"cli/*"},
    "fastapi": {"webhooks/app.py"},
    "starlette": {"webhooks/app.py"},
    "uvicorn": {"webhooks/app.py"},
    "mock_api": {"simulation.py", "cli/mock.py"},
    "sqlalchemy": {"oltp/*", "oltp/migrations/*", "oltp/migrations/versions/*"},
    "alembic": {"oltp/migrate.py", "oltp/migrations/*", "oltp/migrations/versions/*"},
    "psycopg": {"oltp/*"},
    "subprocess": {"oltp/server.py"},
    "pickle": set(),
    "yaml": set(),
    "fcntl": {"storage/local.py"},
}
"""The only modules that may import a library."""

CALLS = {
    "print": set(),
    "input": set(),
    "eval": set(),
    "exec": set(),
    "breakpoint": set(),
    "sys.exit": {"cli/*", "__main__.py"},
    "os.environ": {"cli/*"},
    "os.getenv": set(),
    "datetime.now": {"cli/context.py", "session.py"},
    "datetime.utcnow": set(),
    "date.today": set(),
    "time.time": {"cli/mock.py", "session.py", "storage/*"},
    "time.sleep": {
        "stripe/client.py",
        "inspect.py",
        "storage/local.py",
        "storage/s3_client.py",
        "oltp/gold.py",
        "oltp/ingest.py",
    },
    "random.random": set(),
    "duckdb.connect": {"transform/connection.py"},
}
"""The only modules that may use a name: the clock, the environment and the process belong to the edges."""

LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def _key(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _part(path: Path) -> str:
    """The name in `LAYERS` a module belongs to: its top-level package or module."""
    return _key(path).removesuffix(".py").split("/")[0]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[str]:
    """Every dotted name that the module imports, wherever in it the import stands."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_key(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _parts_imported(path: Path) -> set[str]:
    """The names in `LAYERS` that the module imports from."""
    found = set()
    for name in _imported(path):
        first, _, rest = name.partition(".")
        if first == "payments_pipeline":
            part = rest.split(".")[0]
            found.add(part if part in LAYER_OF else "__init__")
    return found


def _allowed(path: Path, places: set[str]) -> bool:
    return any(Path(_key(path)).match(place) for place in places)


def _dotted(node: ast.AST) -> str:
    """`a.b` for the last two names of an attribute or name, however long its path."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value).rpartition('.')[2]}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_every_module_has_its_layer() -> None:
    """A new module is given a place before it is used, and a place that is gone is given up."""
    assert {_part(path) for path in MODULES} == set(LAYER_OF)


@pytest.mark.parametrize("path", MODULES, ids=_key)
def test_imports_point_downward(path: Path) -> None:
    """A module knows only what stands below it, and its own package."""
    mine = _part(path)
    upward = {part for part in _parts_imported(path) - {mine} if LAYER_OF[part] <= LAYER_OF[mine]}
    assert upward == set()


def test_the_layers_can_tell_an_upward_import(tmp_path: Path) -> None:
    """The rule above can fail: a storage that knew the pipeline would break it."""
    path = tmp_path / "local.py"
    path.write_text(
        "def late():\n    from payments_pipeline.pipeline import opened\n    import payments_pipeline.cli.runs\n",
        encoding="utf-8",
    )
    assert _parts_imported(path) == {"pipeline", "cli"}
    assert all(LAYER_OF[part] < LAYER_OF["storage"] for part in _parts_imported(path))


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library: str) -> None:
    """It is imported where it belongs and nowhere else, so that it can be replaced and reviewed in one place."""
    users = {
        _key(path)
        for path in MODULES
        for name in _imported(path)
        if name.split(".")[0] == library and not _allowed(path, DOORS[library])
    }
    assert users == set()


@pytest.mark.parametrize("name", CALLS)
def test_the_edges_keep_to_themselves(name: str) -> None:
    """Clock, environment, standard output and exit are used at the edges only; elsewhere they are arguments."""
    users = {
        _key(path)
        for path in MODULES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and _dotted(node) == name
        and not _allowed(path, CALLS[name])
    }
    assert users == set()


@pytest.mark.parametrize("path", [path for path in MODULES if _key(path) != "cli/__init__.py"], ids=_key)
def test_no_error_is_caught_blindly(path: Path) -> None:
    """`except Exception` and a bare `except` would hide what nobody thought of; the entry point prints its trace."""
    blind = {
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _dotted(node.type) == "Exception")
    }
    swallowed = {
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and _dotted(node.type) == "BaseException"
        and not isinstance(node.body[-1], ast.Raise)
    }
    assert blind | swallowed == set()


@pytest.mark.parametrize(
    "path",
    [*MODULES, *sorted((ROOT / "mock_api").rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_and_functions_stay_small(path: Path) -> None:
    """One sitting is enough to read any file, one screen any function."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    long = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert long == {}


def test_the_map_of_the_oltp_folder_is_whole() -> None:
    """The package's docstring has a line for each of its modules, and for nothing else."""
    folder = PACKAGE / "oltp"
    told = re.findall(
        r"^    ([a-z_]+)  +\S",
        ast.get_docstring(_tree(folder / "__init__.py"), clean=False) or "",
        re.MULTILINE,
    )
    assert sorted(told) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def test_there_are_no_folders_of_leftovers() -> None:
    """Everything has a place named for what it does."""
    names = {path.stem for path in PACKAGE.rglob("*")} & {
        "utils",
        "util",
        "helpers",
        "common",
        "core",
        "misc",
    }
    assert names == set()
