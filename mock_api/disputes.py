"""Disputes: a customer's bank takes the money back, and sometimes returns it."""

from __future__ import annotations

from typing import Any

from mock_api.ledger import Entry
from mock_api.money import DAY, DISPUTE_FEES, SETTLES_IN
from mock_api.payments import Payments
from mock_api.shapes import Obj, shape
from mock_api.state import WorldError

EVIDENCE_DAYS = 9
NETWORK_CODES = {
    "fraudulent": "10.4",
    "product_not_received": "13.1",
    "duplicate": "12.6.1",
    "general": "13.3",
}
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


class Disputes(Payments):
    """An open dispute has withdrawn amount and fee; a won one gets the amount back, never the fee."""

    def open_dispute(self, charge: str, reason: str = "fraudulent", *, inquiry: bool = False) -> Obj:
        """Dispute what is left of a charge; an inquiry (status warning_…) moves no money."""
        paid = self._find("charges", charge, "charge")
        amount = self._left(paid)
        if paid["status"] != "succeeded" or paid["disputed"] or amount <= 0:
            raise WorldError("charge_not_disputable", f"Charge {charge} can't be disputed.", "charge")
        due = shape("dispute")["evidence_details"] | {
            "due_by": self.now - self.now % DAY + EVIDENCE_DAYS * DAY - 1
        }
        dispute = self._create(
            "disputes",
            amount=amount,
            charge=charge,
            currency=paid["currency"],
            evidence_details=due | {"submission_method": "manual"},
            is_charge_refundable=inquiry,
            payment_intent=paid["payment_intent"],
            payment_method_details=_network(paid, reason, inquiry=inquiry),
            reason=reason,
            status="warning_needs_response" if inquiry else "needs_response",
        )
        self._change_quietly("charges", charge, disputed=True)
        return dispute if inquiry else self._withdraw(dispute)

    def submit_evidence(self, id: str, **evidence: Any) -> Obj:
        """Answer a dispute: it is under review until the bank decides."""
        dispute = self._open_dispute(id)
        details = dispute["evidence_details"]
        warning = "warning_" if dispute["status"].startswith("warning_") else ""
        return self._change(
            "disputes",
            id,
            evidence=dispute["evidence"] | evidence,
            evidence_details=details
            | {"has_evidence": True, "submission_count": details["submission_count"] + 1},
            status=f"{warning}under_review",
        )

    def close_dispute(self, id: str, won: bool = False) -> Obj:
        """The bank decides; an inquiry ends as warning_closed whatever the decision."""
        dispute = self._open_dispute(id)
        if dispute["status"].startswith("warning_"):
            return self._change("disputes", id, "closed", status="warning_closed")
        if won:
            entry = Entry(
                "adjustment", id, dispute["amount"], dispute["currency"], category="dispute_reversal"
            )
            transactions = [*dispute["balance_transactions"], self._book(entry)]
            self._change("disputes", id, "funds_reinstated", balance_transactions=transactions, status="won")
            closed = self._find("disputes", id)
            self._emit("charge.dispute.closed", closed)
            return closed
        return self._change("disputes", id, "closed", status="lost")

    def _withdraw(self, dispute: Obj) -> Obj:
        fee = DISPUTE_FEES[SETTLES_IN[dispute["currency"]]]
        entry = Entry(
            "adjustment",
            dispute["id"],
            -dispute["amount"],
            dispute["currency"],
            fee,
            f"Chargeback withdrawal for {dispute['charge']}",
            "Dispute fee",
            category="dispute",
        )
        return self._change(
            "disputes", dispute["id"], "funds_withdrawn", balance_transactions=[self._book(entry)]
        )

    def _open_dispute(self, id: str) -> Obj:
        dispute = self._find("disputes", id, "dispute")
        if dispute["status"] not in OPEN:
            raise WorldError("dispute_closed", f"Dispute {id} is already {dispute['status']}.", "dispute")
        return dispute


def _network(paid: Obj, reason: str, *, inquiry: bool) -> Obj:
    details = paid["payment_method_details"]
    if details["type"] != "card":
        return shape("dispute.payment_method_details", type="sepa_debit")
    brand = details["card"]["brand"]
    card = shape(
        "dispute.payment_method_details.card",
        brand=brand,
        case_type="inquiry" if inquiry else "chargeback",
        network=brand,
        network_reason_code=NETWORK_CODES.get(reason, "13.3"),
    )
    return shape("dispute.payment_method_details", type="card", card=card)
