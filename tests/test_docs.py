"""The documentation keeps its word: pages are current, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import payments_pipeline
from payments_pipeline import errors
from payments_pipeline.cli import COMMANDS, SUMMARIES, commands
from payments_pipeline.cli.reference import command_reference, data_dictionary
from payments_pipeline.entities import ENTITIES
from payments_pipeline.settings import Settings
from payments_pipeline.transform.duckdb_engine import DuckDBEngine
from payments_pipeline.transform.models import discover, sql_root
from payments_pipeline.transform.reconciliation import PERIOD, RECEIVED, reconciliation

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
# What the shell blocks may use besides this project's own commands.
SHELL = {".", "cat", "curl", "date", "duckdb", "export", "find", "git", "read", "rm", "unset"}
DIAGRAMS = {"flowchart", "sequenceDiagram"}

_BLOCK = re.compile(r"^[ ]*```(?P<language>\w*)\n(?P<text>.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_ASSIGNMENT = re.compile(r"^(?P<name>[A-Z_]+)=")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _blocks(page: Path, language: str) -> list[str]:
    found = _BLOCK.finditer(page.read_text("utf-8"))
    return [match["text"] for match in found if match["language"] == language]


def _command_lines(page: Path) -> Iterator[list[str]]:
    """The words of every command in the page's bash blocks; assignments in front of it stay in front."""
    for block in _blocks(page, "bash"):
        for line in block.splitlines():
            words = shlex.split(line.partition(" | ")[0].partition(" && ")[0], comments=True)
            if words:
                yield words


def _without_assignments(words: list[str]) -> list[str]:
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    return words


def _every_command() -> Iterator[tuple[str, click.Command]]:
    root = click.Context(commands, info_name="payments-pipeline")
    for name in commands.list_commands(root):
        command = commands.get_command(root, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {child}", command.commands[child]) for child in command.commands)


def _parse(arguments: list[str]) -> None:
    """Parse a command line as click would, without carrying it out; `ClickException` if it is wrong."""
    group: click.Command = commands
    context: click.Context | None = None
    while isinstance(group, click.Group):
        context = group.make_context(arguments[0] if arguments else "", list(arguments), parent=context)
        _, command, arguments = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        group = command
    group.make_context(group.name, list(arguments), parent=context)


def _options_from_environment() -> set[str]:
    """The variables that an option is read from, settings aside."""
    found = {str(each.envvar) for _, command in _every_command() for each in command.params if each.envvar}
    return found - {name.upper() for name in Settings.model_fields}


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def _table(page: Path, mark: str) -> list[list[str]]:
    """The cells of the table between the comments that carry the mark, without its two head lines."""
    match = re.search(rf"<!-- {mark}.*?-->\n(.*?)<!-- /{mark} -->", page.read_text("utf-8"), re.DOTALL)
    assert match is not None
    rows = [line for line in match[1].splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def test_the_command_reference_is_current() -> None:
    """docs/commands.md is what `python -m payments_pipeline.cli.reference` prints."""
    assert (DOCS / "commands.md").read_text("utf-8") == command_reference()


def test_the_data_dictionary_is_current() -> None:
    """docs/data-dictionary.md is what `payments-pipeline models dictionary` prints."""
    assert (DOCS / "data-dictionary.md").read_text("utf-8") == data_dictionary(discover(sql_root()))


def test_every_model_and_column_is_in_the_dictionary() -> None:
    """Each model has a heading of its own, and each of its columns a line with a type and a description."""
    sections = dict(
        re.findall(
            r"^### (\S+)\n(.*?)(?=^##|\Z)", data_dictionary(discover(sql_root())), re.MULTILINE | re.DOTALL
        )
    )
    for model in discover(sql_root()).built:
        described = re.findall(
            r"^\| `(\w+)` \| [^|]+ \| [^|]* \| [^|]+ \|$", sections[model.qualified], re.MULTILINE
        )
        assert set(described) == set(model.columns), model.qualified


def test_every_command_is_documented_with_all_its_options() -> None:
    """The reference has a section for every command, and in it every option and argument."""
    text = (DOCS / "commands.md").read_text("utf-8")
    sections = dict(
        re.findall(r"^## payments-pipeline (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    )
    for name, command in _every_command():
        for parameter in command.params:
            shown = (
                parameter.opts[0]
                if isinstance(parameter, click.Option)
                else parameter.make_metavar(_context(command))
            )
            assert shown in sections[name], f"{name} {shown}"


def _context(command: click.Command) -> click.Context:
    return click.Context(command)


def test_every_command_ends_its_help_with_an_example_that_parses() -> None:
    """Whoever reads `--help` can copy its last line."""
    for name, command in _every_command():
        example = (command.epilog or "").partition("Example: ")[2]
        words = _without_assignments(shlex.split(example.partition(" > ")[0]))
        assert words[0] == "payments-pipeline", name
        assert words[1 : 1 + len(name.split())] == name.split() or isinstance(command, click.Group)
        _parse(words[1:])


def test_summaries_are_the_commands_own_words() -> None:
    """The overview says of each command what its own help says first."""
    own = {
        name: (command.help or "").partition("\n")[0] for name, command in _every_command() if " " not in name
    }
    assert own == dict(SUMMARIES)
    assert set(own) == set(COMMANDS)


@each_page
def test_commands_in_shell_blocks_exist(page: Path) -> None:
    """Each line of a bash block is a make target, a command line that parses, or a usual tool."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for words in _command_lines(page):
        bare = _without_assignments(words)
        if bare[0] == "make":
            assert {word for word in bare[1:] if "=" not in word} <= targets, words
        elif bare[0] == "payments-pipeline":
            _parse(bare[1:])
        else:
            assert bare[0] in SHELL, words


@each_page
def test_variables_in_shell_blocks_exist(page: Path) -> None:
    """Each variable that a bash block sets for this project is one that it reads."""
    known = {name.upper() for name in Settings.model_fields} | _options_from_environment() | {"PORT"}
    used = {
        match["name"]
        for words in _command_lines(page)
        for word in words
        if (match := _ASSIGNMENT.match(word))
    }
    assert used <= known


@each_page
def test_queries_in_shell_blocks_run(page: Path, tmp_path: Path) -> None:
    """Each query shown to readers names models and columns that exist, and each question has its query."""
    queries = [
        words[words.index("query") + 1]
        for words in map(_without_assignments, _command_lines(page))
        if words[:2] == ["payments-pipeline", "query"]
    ]
    if page.name == "questions.md":
        queries += _blocks(page, "sql")
        assert len(queries) == 5
    engine = DuckDBEngine(ENTITIES.values(), folders=[], scratch=tmp_path)
    models = discover(sql_root())
    for model in (*models.built, RECEIVED, PERIOD, reconciliation(models)):
        engine.show(model, [])
    for query in queries:
        assert engine.query(query).columns
    engine.close()


def test_the_settings_table_equals_the_settings() -> None:
    """The README lists every environment variable with the default that the code gives it."""
    defaults = {
        name.upper(): "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    rows = _table(README, "settings")
    assert {name: default for name, default, _ in rows} == defaults
    assert all(meaning for _, _, meaning in rows)


def test_the_options_from_the_environment_are_named() -> None:
    """The README names the variable of every option that has one; a stray variable changes no other option."""
    [sentence] = re.findall(
        r"^Two options can come from the environment too: (.+)$", README.read_text(), re.MULTILINE
    )
    named = dict(re.findall(r"`([A-Z]+)` for `(--[a-z]+)`", sentence))
    assert set(named) == _options_from_environment()
    assert {
        str(each.envvar): each.opts[0]
        for _, command in _every_command()
        for each in command.params
        if each.envvar in named
    } == named


@pytest.mark.parametrize("page", [README, DOCS / "runbook.md"], ids=lambda page: page.name)
def test_every_exit_code_is_explained(page: Path) -> None:
    """Every exit code that an error can give has its line in the tables of exit codes."""
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    codes = {str(kind.exit_code) for kind in kinds} | {"0", "130", "143"}
    cells = re.findall(r"^\| ([\d, ]+) \|", page.read_text("utf-8"), re.MULTILINE)
    assert {code for cell in cells for code in cell.split(", ")} >= codes


def test_the_python_example_uses_public_names() -> None:
    """The README's Python block imports only what the package exports, and compiles."""
    [block] = _blocks(README, "python")
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in imports for alias in node.names} <= set(payments_pipeline.__all__)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file of the repository and, where it has one, a heading in it."""
    for match in _LINK.finditer(page.read_text("utf-8")):
        path, _, anchor = match["target"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), match[0]
        assert not anchor or anchor in _anchors(target), match[0]


@each_page
def test_links_inside_the_site_stay_inside(page: Path) -> None:
    """A page of the site links to no file that the site does not have."""
    if page == README:
        return
    targets = [match["target"] for match in _LINK.finditer(page.read_text("utf-8"))]
    local = [(page.parent / target.partition("#")[0]).resolve() for target in targets if "://" not in target]
    assert [path for path in local if not path.is_relative_to(DOCS)] == []


def test_every_page_is_linked_from_another() -> None:
    """No page can be found by guessing its address only."""
    linked = {
        (page.parent / match["target"].partition("#")[0]).resolve()
        for page in PAGES
        for match in _LINK.finditer(page.read_text("utf-8"))
        if "://" not in match["target"] and match["target"].partition("#")[0]
    }
    assert set(PAGES) - linked - {README, DOCS / "index.md"} == set()


@each_page
def test_diagrams_are_diagrams(page: Path) -> None:
    """Each Mermaid block says what it draws and connects something; its brackets are closed."""
    for block in _blocks(page, "mermaid"):
        assert block.split()[0] in DIAGRAMS
        assert len(re.findall(r"--+>>?|-\.->|->>", block)) >= 2, block
        bare = re.sub(r'"[^"]*"', "", block)
        assert all(bare.count(left) == bare.count(right) for left, right in ("[]", "{}")), block
        assert len(re.findall(r"^\s*(?:subgraph|opt|loop)\b", block, re.MULTILINE)) == len(
            re.findall(r"^\s*end$", block, re.MULTILINE)
        )


@each_page
def test_pages_name_no_machine(page: Path) -> None:
    """No page holds a path that exists on one machine only."""
    text = page.read_text("utf-8")
    assert re.findall(r"(?<![\w.])/(?:work|tmp|root|home|Users|opt|var)/\S*", text) == []


@each_page
def test_files_named_in_pages_exist(page: Path) -> None:
    """Each file or folder that a page names in code is there, and so is the test named after `::`."""
    named = re.findall(
        r"`((?:tests|sql|payments_pipeline|mock_api|docs|requirements)/[\w./-]*)(?:::(\w+))?`",
        page.read_text("utf-8"),
    )
    assert [name for name, _ in named if not (ROOT / name).exists()] == []
    missing = [
        test for name, test in named if test and f"def {test}(" not in (ROOT / name).read_text("utf-8")
    ]
    assert missing == []


@each_page
def test_code_blocks_are_closed(page: Path) -> None:
    """Every fence has its other half, so that no text is shown as code."""
    fences = re.findall(r"^[ ]*```", page.read_text("utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
