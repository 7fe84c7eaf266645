"""Model files: what is read from them, the order they are built in, and what is wrong with a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from payments_pipeline.errors import ModelError, UsageError
from payments_pipeline.transform.models import discover, sql_root

HEADER = 'description = "d"\ngrain = ["id"]\n'
COLUMNS = '[columns]\nid = "i"\n'
SILVER = f"/*\n{HEADER}{COLUMNS}*/\nselect id from bronze.customers"
GOLD = f"/*\n{HEADER}{COLUMNS}*/\nselect id from silver.customers"


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / f"{name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_model_is_its_header_and_its_select(tmp_path: Path) -> None:
    """Every key of the header is kept, and the SELECT begins behind it."""
    header = (
        'description = "Customers."\ngrain = ["id"]\npartition_by = "made_at"\nnot_null = ["id"]\n'
        'caveats = ["c"]\n[accepted]\nid = ["a", "b"]\n[references]\nid = "silver.customers.id"\n'
        '[columns]\nid = "Stripe id"\nmade_at = "When"\n'
    )
    text = f"/*\n{header}*/\nselect id, made_at from bronze.customers\n"
    [model] = discover(_write(tmp_path, {"silver/customers": text})).built
    assert model.qualified == "silver.customers"
    assert model.sql == "select id, made_at from bronze.customers"
    assert (model.description, model.grain, model.partition_by) == ("Customers.", ("id",), "made_at")
    assert (model.not_null, model.caveats, model.severity) == (("id",), ("c",), "fail")
    assert (model.accepted, model.references) == ({"id": ("a", "b")}, {"id": "silver.customers.id"})
    assert model.columns == {"id": "Stripe id", "made_at": "When"}
    assert model.depends_on == ("bronze.customers",)


def test_silver_is_replaced_by_its_grain_unless_it_says_otherwise(tmp_path: Path) -> None:
    """A child table names the parent that replaces its rows; other tables replace row by row."""
    child = (
        '/*\ndescription = "d"\ngrain = ["line_id"]\nreplace_by = "id"\nparent = "invoices"\n'
        '[columns]\nid = "i"\nline_id = "l"\n*/\nselect 1 from bronze.invoices'
    )
    models = discover(_write(tmp_path, {"silver/customers": SILVER, "silver/invoice_lines": child}))
    assert (models.get("silver.customers").replace_by, models.get("silver.customers").parent) == ("id", None)
    assert (models.get("silver.invoice_lines").replace_by, models.get("silver.invoice_lines").parent) == (
        "id",
        "invoices",
    )


def test_dependencies_are_read_from_the_code_alone(tmp_path: Path) -> None:
    """Comments and strings name no dependencies; any mention in code does, whatever its case."""
    sql = """
    -- from silver.nothing
    select 'from silver.nobody', 'it''s silver.none' as x /* join gold.nowhere */
    from SILVER.customers, gold.first
    """
    files = {
        "silver/customers": SILVER,
        "gold/first": GOLD,
        "gold/second": f"/*\n{HEADER}{COLUMNS}*/{sql}",
    }
    assert discover(_write(tmp_path, files)).get("gold.second").depends_on == (
        "gold.first",
        "silver.customers",
    )


def test_models_are_built_after_what_they_read(tmp_path: Path) -> None:
    """The order follows the SQL, not the names, and is the same every time; checks are apart."""
    files = {
        "silver/customers": SILVER,
        "gold/a": f"/*\n{HEADER}{COLUMNS}*/\nselect id from gold.b",
        "gold/b": GOLD,
        "marts/c": f"/*\n{HEADER}{COLUMNS}*/\nselect id from gold.a",
        "checks/d": '/*\ndescription = "d"\nseverity = "warn"\n*/\nselect id from marts.c',
    }
    models = discover(_write(tmp_path, files))
    assert [model.qualified for model in models.built] == ["silver.customers", "gold.b", "gold.a", "marts.c"]
    assert [(check.name, check.severity) for check in models.checks] == [("d", "warn")]
    assert models.layer("gold") == models.built[1:3]
    assert models.layer("checks") == models.checks


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gold/x", "select id from silver.customers", "must begin with a TOML header"),
        ("gold/x", "/* grain = */ select 1", "header: Invalid value"),
        ("gold/x", f"/*\n{COLUMNS}*/ select 1", "description: Field required"),
        ("gold/x", f'/*\ndescription = "d"\n{COLUMNS}*/ select 1', "grain: Field required"),
        ("gold/x", f"/*\n{HEADER}colour = 1\n{COLUMNS}*/ select 1", "colour: Extra inputs are not permitted"),
        (
            "gold/x",
            f'/*\n{HEADER}not_null = ["y"]\n{COLUMNS}*/ select id from silver.customers',
            "not_null: 'y'",
        ),
        (
            "gold/x",
            f'/*\n{HEADER}partition_by = "y"\n{COLUMNS}*/ select id from silver.customers',
            "partition_by: 'y'",
        ),
        (
            "gold/x",
            f"/*\n{HEADER}accepted.y = []\n{COLUMNS}*/ select id from silver.customers",
            "accepted: 'y'",
        ),
        (
            "gold/x",
            f'/*\n{HEADER}references.id = "silver.customers.y"\n{COLUMNS}*/ select id from silver.customers',
            "references.id: 'silver.customers.y'",
        ),
        ("gold/x", f"/*\n{HEADER}{COLUMNS}*/ select 1", "sql: reads no model"),
        ("gold/x", f"/*\n{HEADER}{COLUMNS}*/ select id from silver.customers;", "without a semicolon"),
        ("gold/x", f"/*\n{HEADER}{COLUMNS}*/ select id from silver.refunds", "silver.refunds does not exist"),
        (
            "gold/x",
            f"/*\n{HEADER}{COLUMNS}*/ select id from bronze.customers",
            "may not read bronze.customers",
        ),
        (
            "gold/x",
            f'/*\n{HEADER}parent = "customers"\n{COLUMNS}*/ select id from silver.customers',
            "only silver",
        ),
        (
            "silver/x",
            f"/*\n{HEADER}{COLUMNS}*/ select id from bronze.customers",
            "must read exactly bronze.x",
        ),
        ("silver/x", f"/*\n{HEADER}{COLUMNS}*/ select id from bronze.x", "bronze.x does not exist"),
        ("checks/x", '/*\ndescription = "d"\nseverity = "error"\n*/ select 1', "severity: Input should be"),
        ("checks/x", f'/*\ndescription = "d"\n{COLUMNS}*/ select 1', "columns: Extra inputs"),
        ("gold/x", f"/*\n{HEADER}{COLUMNS}*/ select id from gold.x", "gold.x -> gold.x"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A model that cannot be used stops discovery with the file, the key and the reason."""
    root = _write(tmp_path, {"silver/customers": SILVER, name: text})
    with pytest.raises(ModelError) as caught:
        discover(root)
    assert message in str(caught.value)
    assert "circle" in str(caught.value) or str(root / f"{name}.sql") in str(caught.value)


def test_models_that_read_each_other_are_named(tmp_path: Path) -> None:
    """A circle is reported with every model in it."""
    files = {
        "gold/a": f"/*\n{HEADER}{COLUMNS}*/\nselect id from gold.b",
        "gold/b": f"/*\n{HEADER}{COLUMNS}*/\nselect id from gold.a",
    }
    with pytest.raises(ModelError, match=r"circle: gold\.(a -> gold\.b -> gold\.a|b -> gold\.a -> gold\.b)"):
        discover(_write(tmp_path, files))


def test_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    """A typing mistake is answered with what could have been meant."""
    models = discover(_write(tmp_path, {"silver/customers": SILVER}))
    with pytest.raises(UsageError, match=r"model 'gold\.fct_payment' is not known; known: silver\.customers"):
        models.get("gold.fct_payment")


def test_the_project_ships_every_promised_model() -> None:
    """Silver has every entity, gold the promised dimensions and facts."""
    models = discover(sql_root())
    assert {
        "dim_customers",
        "dim_prices",
        "dim_products",
        "fct_balance_transactions",
        "fct_disputes",
        "fct_invoices",
        "fct_payments",
        "fct_refunds",
    } <= {model.name for model in models.layer("gold")}
    assert {"invoice_lines", "subscription_items", "payment_intents", "events"} <= {
        model.name for model in models.layer("silver")
    }
