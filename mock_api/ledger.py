"""The account's books: balance transactions, their settlement, and the payouts that empty the balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from mock_api.money import DAY, EXPONENTS, SETTLES_IN, exchange_rate, settled
from mock_api.shapes import Obj, shape
from mock_api.state import State, WorldError

SETTLEMENT_DAYS = {"usd": 2, "eur": 3, "gbp": 3, "jpy": 4}
PAYOUT_WEEKDAYS = {"usd": range(7), "eur": range(7), "gbp": (0,), "jpy": (3,)}
"""Settlement currency -> weekdays (Monday = 0) of its automatic payouts."""

MONTHLY_FEE = 2500

PAYOUT_FAILURES = {
    "account_closed": "The bank account has been closed.",
    "no_account": "The bank account details on file are probably incorrect: no such account was found.",
}
PAYOUT_FAILURE_SHARE = 0.03

CATEGORIES = {
    "charge": "charge",
    "payment": "charge",
    "refund": "refund",
    "payment_refund": "refund",
    "refund_failure": "refund_failure",
    "payout": "payout",
    "payout_failure": "payout_reversal",
    "stripe_fee": "fee",
}
"""Balance transaction type -> reporting_category; disputes are adjustments and name theirs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement to book: `amount` in minor units of the presentment `currency`, `fee` of the settlement one."""

    type: str
    source: str | None
    amount: int
    currency: str
    fee: int = 0
    description: str | None = None
    fee_description: str = "Stripe processing fees"
    category: str | None = None
    pending_days: int = 0


class Ledger(State):
    """Per currency, the sum of `net` over all balance transactions equals the current balance, at every second."""

    def __init__(self, seed: int, start: int) -> None:
        super().__init__(seed, start)
        self._pending: dict[int, list[str]] = {}
        self._payable: dict[str, dict[str, int]] = {currency: {} for currency in SETTLEMENT_DAYS}
        self._paid_by: dict[str, list[str]] = {}
        self._balance = {currency: {"available": 0, "pending": 0} for currency in SETTLEMENT_DAYS}

    def balance(self) -> dict[str, dict[str, int]]:
        """Settlement currency -> {"available", "pending"} in minor units."""
        return {currency: dict(parts) for currency, parts in self._balance.items()}

    def payout_transactions(self, payout: str) -> Sequence[Obj]:
        """What `balance_transactions?payout=` lists: the payout's own transaction first, then those that it pays out."""
        return [self._living["balance_transactions"][id] for id in self._paid_by.get(payout, ())]

    def settle_balance(self) -> None:
        """Make every pending transaction available whose `available_on` has come."""
        for second in sorted(second for second in self._pending if second <= self.now):
            for id in self._pending.pop(second):
                txn = self._change_quietly("balance_transactions", id, status="available")
                self._balance[txn["currency"]]["pending"] -= txn["net"]
                self._balance[txn["currency"]]["available"] += txn["net"]
                self._payable[txn["currency"]][id] = txn["net"]

    def pay_out(self, currency: str) -> Obj:
        """Pay the whole available balance of a settlement currency to the bank; refused when it is not positive."""
        paid = dict(self._payable.get(currency, {}))
        amount = sum(paid.values())
        if amount <= 0:
            raise WorldError(
                "balance_insufficient", f"You have no available {currency} balance to pay out.", "amount"
            )
        arrival = self.now - self.now % DAY + 2 * DAY
        payout = self._create("payouts", event=None, **self._payout_fields(currency, amount, arrival))
        id = payout["id"]
        txn = self._book(Entry("payout", id, -amount, currency, description="STRIPE PAYOUT"), payable=False)
        payout = self._change_quietly("payouts", id, balance_transaction=txn["id"])
        self._emit("payout.created", payout)
        self._payable[currency].clear()
        self._paid_by[id] = [txn["id"], *paid]
        self.at(self.now + 3600, partial(self._reconcile_payout, id))
        self.at(arrival, partial(self._payout_arrives, id))
        return payout

    def payout_paid(self, id: str) -> Obj:
        """The bank has credited the payout."""
        self._in_transit(id)
        trace = shape("payout.trace_id", status="supported", value=self._unique("TRACE"))
        return self._change("payouts", id, "updated", "paid", status="paid", trace_id=trace)

    def payout_failed(self, id: str, code: str = "account_closed") -> Obj:
        """The bank has sent the payout back; its amount is available again and goes into the next payout."""
        payout = self._in_transit(id)
        entry = Entry(
            "payout_failure", id, payout["amount"], payout["currency"], description="PAYOUT FAILURE"
        )
        return self._change(
            "payouts",
            id,
            "updated",
            "failed",
            status="failed",
            failure_balance_transaction=self._book(entry)["id"],
            failure_code=code,
            failure_message=PAYOUT_FAILURES.get(code),
        )

    def charge_monthly_fee(self, description: str) -> Obj:
        """What Stripe itself bills the account: taken from the balance, a transaction without source."""
        return self._book(Entry("stripe_fee", None, -MONTHLY_FEE, "usd", description=description))

    def _pay_out_due(self) -> None:
        weekday = (self.now // DAY + 3) % 7  # 1970-01-01 was a Thursday
        for currency, weekdays in PAYOUT_WEEKDAYS.items():
            if weekday in weekdays and sum(self._payable[currency].values()) > 0:
                self.pay_out(currency)

    def _payout_fields(self, currency: str, amount: int, arrival: int) -> Obj:
        return {
            "amount": amount,
            "arrival_date": arrival,
            "automatic": True,
            "currency": currency,
            "description": "STRIPE PAYOUT",
            "destination": f"ba_mock{currency}",
            "metadata": {},
            "method": "standard",
            "reconciliation_status": "in_progress",
            "source_type": "card",
            "status": "in_transit",
            "type": "bank_account",
        }

    def _in_transit(self, id: str) -> Obj:
        payout = self._find("payouts", id, "payout")
        if payout["status"] != "in_transit":
            raise WorldError("payouts_not_allowed", f"Payout {id} is already {payout['status']}.", "payout")
        return payout

    def _reconcile_payout(self, id: str) -> None:
        self._change("payouts", id, "reconciliation_completed", reconciliation_status="completed")

    def _payout_arrives(self, id: str) -> None:
        if self._find("payouts", id)["status"] != "in_transit":
            return
        fate = Random(f"{self.seed}:payout:{id}")
        if fate.random() < PAYOUT_FAILURE_SHARE:
            self.payout_failed(id, fate.choice(sorted(PAYOUT_FAILURES)))
        else:
            self.payout_paid(id)

    def _book(self, entry: Entry, *, payable: bool = True) -> Obj:
        """Enter one movement; presentment is converted to settlement currency at the day's rate."""
        rate = exchange_rate(entry.currency, self.now)
        currency = SETTLES_IN[entry.currency]
        amount = settled(entry.amount, entry.currency, rate)
        waits = entry.pending_days > 0
        available_on = self.now - self.now % DAY + entry.pending_days * DAY if waits else self.now
        txn = self._create(
            "balance_transactions",
            event=None,
            amount=amount,
            available_on=available_on,
            balance_type="payments",
            currency=currency,
            description=entry.description,
            exchange_rate=None if rate is None else float(rate),
            fee=entry.fee,
            fee_details=[_fee_detail(entry, currency)] if entry.fee else [],
            net=amount - entry.fee,
            reporting_category=entry.category or CATEGORIES[entry.type],
            source=entry.source,
            status="pending" if waits else "available",
            type=entry.type,
        )
        self._balance[currency][txn["status"]] += txn["net"]
        if waits:
            self._pending.setdefault(available_on, []).append(txn["id"])
        elif payable:
            self._payable[currency][txn["id"]] = txn["net"]
        return txn


def _fee_detail(entry: Entry, currency: str) -> Obj:
    return shape(
        "balance_transaction.fee_details",
        amount=entry.fee,
        currency=currency,
        description=entry.fee_description,
        type="stripe_fee",
    )


def is_supported(currency: str) -> bool:
    """Whether the account accepts payments in `currency`."""
    return currency in EXPONENTS
