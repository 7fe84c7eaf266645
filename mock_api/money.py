"""Money as Stripe counts it: integers in minor units, exact fees and conversions, rounded half up."""

from __future__ import annotations

from fractions import Fraction

EXPONENTS = {"usd": 2, "eur": 2, "gbp": 2, "jpy": 0, "kwd": 3}
"""Decimal places of the currencies that the account accepts."""

SETTLES_IN = {"usd": "usd", "eur": "eur", "gbp": "gbp", "jpy": "jpy", "kwd": "usd"}
"""Presentment currency -> currency of the balance that it is paid into."""

FEE_RATE = Fraction(29, 1000)
FIXED_FEES = {"usd": 30, "eur": 30, "gbp": 30, "jpy": 30}
DISPUTE_FEES = {"usd": 1500, "eur": 2000, "gbp": 2000, "jpy": 1500}

DAY = 86_400


def half_up(value: Fraction) -> int:
    """The nearest integer; halves away from zero."""
    sign = -1 if value < 0 else 1
    return sign * ((2 * abs(value.numerator) + value.denominator) // (2 * value.denominator))


def processing_fee(amount: int, currency: str) -> int:
    """Stripe's fee on a charge settled as `amount`: 2.9 % + 30 minor units, rounded half up."""
    return half_up(amount * FEE_RATE) + FIXED_FEES[currency]


def exchange_rate(currency: str, second: int) -> Fraction | None:
    """Settlement units per presentment unit (major units) on the UTC day of `second`; None where none is needed.

    Exactly five decimals, so that the float of a balance transaction names it without loss.
    """
    if SETTLES_IN[currency] == currency:
        return None
    return Fraction(325_000 + (second // DAY * 7919) % 401 - 200, 100_000)


def settled(amount: int, currency: str, rate: Fraction | None) -> int:
    """`amount` of `currency` in minor units of its settlement currency."""
    if rate is None:
        return amount
    scale = Fraction(10) ** (EXPONENTS[SETTLES_IN[currency]] - EXPONENTS[currency])
    return half_up(amount * rate * scale)


def decimal_text(amount: int) -> str:
    """`unit_amount_decimal`: the amount in minor units as a decimal string."""
    return str(amount)
