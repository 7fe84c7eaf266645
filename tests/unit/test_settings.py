"""Settings, keys and exit codes: what comes from outside is checked once, and says what is wrong."""

from __future__ import annotations

import ast
from datetime import date
from pathlib import Path

import pytest

from payments_pipeline import errors, layout
from payments_pipeline.errors import PipelineError, UsageError, exit_code_for
from payments_pipeline.settings import Settings
from payments_pipeline.storage.base import check_key


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "the simulated account"),
        ({"MOCK_API_BASE_URL": "http://127.0.0.1:8000"}, "the API at http://127.0.0.1:8000"),
        ({"MOCK_API_BASE_URL": "http://127.0.0.1:8000", "STRIPE_API_KEY": "sk_test_a"}, "the API at"),
        ({"STRIPE_API_KEY": "sk_test_a"}, "Stripe in test mode"),
        ({"STRIPE_API_KEY": "rk_live_a"}, "Stripe in live mode"),
    ],
)
def test_the_source_is_named(environ: dict[str, str], words: str) -> None:
    """What is read is said in words: nobody shall take the simulated account for a real one."""
    assert Settings.from_env(environ).source.startswith(words)


def test_nothing_set_is_the_embedded_account() -> None:
    """Without any variable the simulated account runs inside the process, as fast as it can."""
    settings = Settings.from_env({})
    assert settings.uses_embedded_mock
    assert settings.rate >= 1000
    assert Settings.from_env({"STRIPE_API_KEY": "  ", "MOCK_API_BASE_URL": "", "HOME": "/root"}) == settings


@pytest.mark.parametrize(
    ("environ", "rate"),
    [
        ({"STRIPE_API_KEY": "sk_test_mock"}, 20.0),
        ({"STRIPE_API_KEY": "rk_test_mock"}, 20.0),
        ({"STRIPE_API_KEY": "sk_live_mock"}, 50.0),
        ({"STRIPE_API_KEY": "sk_live_mock", "MAX_REQUESTS_PER_SECOND": "3.5"}, 3.5),
    ],
)
def test_the_rate_follows_the_key(environ: dict[str, str], rate: float) -> None:
    """Half of Stripe's live limit, most of the sandbox's, unless it is set."""
    settings = Settings.from_env(environ)
    assert settings.rate == rate
    assert not settings.uses_embedded_mock


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_PAGE_SIZE", "0"),
        ("MAX_PAGE_SIZE", "101"),
        ("MAX_PAGE_SIZE", "many"),
        ("MAX_REQUESTS_PER_SECOND", "0"),
        ("MAX_REQUESTS_PER_SECOND", "nan"),
        ("MAX_CONNECTIONS", "-1"),
        ("MAX_QUARANTINE_SHARE", "1.1"),
        ("MAX_QUARANTINE_SHARE", "nan"),
        ("SAFETY_WINDOW_SECONDS", "-1"),
        ("DUCKDB_MEMORY_LIMIT", "lots"),
        ("DUCKDB_MEMORY_LIMIT", "2GB'; drop table x"),
        ("DUCKDB_THREADS", "0"),
        ("MOCK_API_BASE_URL", "http://example.com"),
        ("MOCK_API_BASE_URL", "ftp://127.0.0.1"),
        ("MOCK_API_BASE_URL", "https://user:pass@example.com"),
        ("MOCK_API_BASE_URL", "https://example.com/?key=1"),
        ("MOCK_API_BASE_URL", "https://example.com/#x"),
        ("MOCK_API_BASE_URL", "https://"),
        ("MOCK_API_BASE_URL", "http://localhost.example.com"),
        ("MOCK_API_BASE_URL", "http://127.0.0.1.example.com"),
        ("MOCK_API_BASE_URL", "http://127.0.0.1@example.com"),
        ("MOCK_API_BASE_URL", "http://[::1"),
        ("MOCK_API_BASE_URL", "http://169.254.169.254"),
        ("MOCK_API_BASE_URL", "//127.0.0.1:8000"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    """One line names the variable, and nothing else happens; the value itself is not repeated."""
    with pytest.raises(UsageError, match=rf"\b{name}\b.*Nothing was read or written") as caught:
        Settings.from_env({name: value})
    assert "\n" not in str(caught.value)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:1/", "http://[::1]:8000", "https://example.com/"]
)
def test_a_safe_url_is_taken(url: str) -> None:
    """https anywhere, plain http on this machine; a slash at the end is dropped."""
    assert Settings.from_env({"MOCK_API_BASE_URL": url}).mock_api_base_url == url.rstrip("/")


@pytest.mark.parametrize("env", ["PROD", "prod", "STAGING", "/etc/profile", "DEVELOP"])
def test_only_development_may_make_up_data(env: str) -> None:
    """Whatever ENV says but DEV refuses the dangerous commands by name, and no other command."""
    with pytest.raises(UsageError, match=rf"'{env}'.*'oltp reset-db'.*Nothing was"):
        Settings.from_env({"ENV": env}).require_development("oltp reset-db")


@pytest.mark.parametrize("environ", [{}, {"ENV": ""}, {"ENV": "DEV"}, {"ENV": "dev"}])
def test_development_is_the_default(environ: dict[str, str]) -> None:
    """Without ENV nothing is refused."""
    Settings.from_env(environ).require_development("oltp reset-db")


def test_a_key_is_never_shown() -> None:
    """Neither in text, nor in a dump, nor in an error about it."""
    settings = Settings.from_env({"STRIPE_API_KEY": "sk_test_mock_canary"})
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("run_id", ["a", "run-1", "R_2", "0", "x" * 64])
def test_a_plain_run_id_is_taken(run_id: str) -> None:
    """And can be part of every key."""
    assert layout.checked_run_id(run_id) == run_id
    for key in (
        layout.manifest(run_id),
        layout.quality_report(run_id),
        layout.bronze_part("charges", date(2026, 1, 2), run_id, "1"),
    ):
        check_key(key)
    assert layout.run_id_of(layout.manifest(run_id)) == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        "-a",
        "_a",
        ".",
        "..",
        "a/b",
        "../a",
        "a b",
        "a\n",
        "a\0",
        "a.b",
        "é",
        "x" * 65,
        "a\\b",
        "a%2fb",
        "~a",
        "١",
        "a\u202e",
    ],
    ids=ascii,
)
def test_a_hostile_run_id_is_refused(run_id: str) -> None:
    """It never becomes part of a path."""
    with pytest.raises(UsageError, match="RUN_ID"):
        layout.checked_run_id(run_id)


def test_keys_are_as_promised() -> None:
    """Users find bronze, silver, gold and state where the documentation says."""
    day = date(2026, 1, 2)
    assert layout.bronze_part("charges", day, "r", "1") == (
        "bronze/source=stripe/entity=charges/dt=2026-01-02/run_id=r/part-1.jsonl"
    )
    assert layout.partition("silver", "charges", "2026-01-02") == (
        "silver/source=stripe/entity=charges/dt=2026-01-02/data.parquet"
    )
    assert layout.partition("gold", "fct_x", "2026-01-02") == "gold/model=fct_x/dt=2026-01-02/data.parquet"
    assert layout.manifest("r") == "_state/manifests/run_r.json"
    assert layout.watermark("charges") == "_state/watermarks/charges.json"
    assert layout.latest("silver", "charges").startswith("_state/manifests/_latest/")
    assert layout.LEASE == "_state/lease.json"


def test_no_two_models_share_a_key() -> None:
    """A mart and a gold model of one name would; layers are told apart in every list of partitions."""
    keys = [layout.latest(layer, name) for layer in ("silver", "gold", "marts") for name in ("a", "b")]
    assert len(set(keys)) == 6


EXIT_CODES = {
    "PipelineError": 1,
    "UsageError": 2,
    "ModelError": 2,
    "QualityError": 1,
    "SourceError": 3,
    "SourceRefused": 3,
    "SourceUnavailable": 3,
    "StorageError": 4,
    "ObjectExists": 4,
    "ObjectMissing": 4,
    "VersionConflict": 4,
    "CorruptObject": 4,
    "LeaseError": 5,
}


def test_every_error_has_its_exit_code() -> None:
    """As the drawing in the module says; an interrupt is 130, anything unforeseen 1."""
    defined = {
        node.name
        for node in ast.walk(ast.parse(Path(errors.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert defined == set(EXIT_CODES)
    for name, code in EXIT_CODES.items():
        kind: type[PipelineError] = getattr(errors, name)
        assert issubclass(kind, PipelineError)
        assert exit_code_for(kind.__new__(kind)) == code
        assert name in str(errors.__doc__)
    assert exit_code_for(KeyboardInterrupt()) == 130
    assert exit_code_for(ZeroDivisionError()) == 1
