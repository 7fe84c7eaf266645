"""Who buys and what is sold: customers, products, prices, payment methods."""

from __future__ import annotations

from payments_pipeline.entities.spec import ADDRESS, EntitySpec, Reference, fields

__all__ = ["CUSTOMERS", "PAYMENT_METHODS", "PRICES", "PRODUCTS"]

CUSTOMERS = EntitySpec(
    name="customers",
    object="customer",
    prefixes=("cus_",),
    columns=fields(
        text="id object currency default_source description email invoice_prefix name phone tax_exempt test_clock",
        integer="created balance",
        flag="livemode delinquent",
        json="metadata",
        address=ADDRESS,
        invoice_settings=fields(text="default_payment_method"),
        shipping=fields(address=ADDRESS),
    ),
    references=(Reference("invoice_settings.default_payment_method", "payment_methods"),),
)

PRODUCTS = EntitySpec(
    name="products",
    object="product",
    prefixes=("prod_",),
    columns=fields(
        text="id object name description default_price statement_descriptor tax_code type unit_label",
        integer="created updated",
        flag="livemode active shippable",
        json="metadata",
    ),
    references=(Reference("default_price", "prices"),),
)

PRICES = EntitySpec(
    name="prices",
    object="price",
    prefixes=("price_", "plan_"),
    columns=fields(
        text="id object product currency billing_scheme type nickname lookup_key tax_behavior tiers_mode "
        "unit_amount_decimal",
        integer="created unit_amount",
        flag="livemode active",
        json="metadata",
        recurring=fields(text="interval meter usage_type", integer="interval_count trial_period_days"),
        transform_quantity=fields(text="round", integer="divide_by"),
    ),
    references=(Reference("product", "products"),),
    # Documented as listing active prices only; observed to list all. Both readings are served.
    listings=({"active": "true"}, {"active": "false"}),
)

PAYMENT_METHODS = EntitySpec(
    name="payment_methods",
    object="payment_method",
    # The endpoint also answers for the older cards, sources and bank accounts that charges still name.
    prefixes=("pm_", "card_", "src_", "ba_"),
    columns=fields(
        text="id object customer type allow_redisplay",
        integer="created",
        flag="livemode",
        json="metadata",
        billing_details=fields(address=ADDRESS),
        card=fields(
            text="brand country funding fingerprint last4",
            integer="exp_month exp_year",
            wallet=fields(text="type"),
        ),
        sepa_debit=fields(text="bank_code country fingerprint last4"),
    ),
    references=(Reference("customer", "customers"),),
    created_filter=False,
)
