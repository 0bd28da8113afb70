"""What a credit takes out of an invoice: spread over what it sold, by rate and nature. Nothing here asks the database."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from services.billing.models import CreditReason, Nature
from services.billing.vat import total_of

Line = dict[str, Any]
# The rate in basis points and the nature: what amounts of one document may be told apart by.
Sold = tuple[int, str]


def left_of(invoice_lines: Sequence[Line], credited_lines: Iterable[Line]) -> Counter[Sold]:
    """Return the gross amount that earlier credits have left of whatever an invoice sold, highest rate first."""
    left = Counter[Sold]()
    for line in sorted(invoice_lines, key=lambda line: -line["vat_rate_bp"]):
        left[line["vat_rate_bp"], line.get("nature", Nature.SERVICES)] += total_of([line])
    for line in credited_lines:
        left.subtract(_taken(line, left))
    return left


def _taken(line: Line, left: Counter[Sold]) -> Counter[Sold]:
    rate_bp, amount_minor = line["vat_rate_bp"], total_of([line])
    if "nature" in line:
        return Counter({(rate_bp, line["nature"]): amount_minor})
    # A credit that does not say what it takes back takes it from all that its rate has left.
    return spread(amount_minor, Counter({sold: minor for sold, minor in left.items() if sold[0] == rate_bp}))


def spread(amount_minor: int, left: Counter[Sold]) -> Counter[Sold]:
    """Spread a credit by what is left; rounding the running sum never exceeds any part of it."""
    parts, whole, reached, given = Counter[Sold](), max(left.total(), 1), 0, 0
    for sold, left_minor in left.items():
        reached += left_minor
        parts[sold] = amount_minor * reached // whole - given
        given += parts[sold]
    return parts


def lines_of_part(amount_minor: int, left: Counter[Sold], *, reason: CreditReason, text: str) -> list[Line]:
    """Return the lines of a credit of part of an invoice; `text` says the reason to people."""
    return [
        {
            "text": text,
            "quantity": 1,
            "unit_minor": part,
            "vat_rate_bp": rate_bp,
            "nature": nature,
            "reason": reason,
        }
        for (rate_bp, nature), part in spread(amount_minor, left).items()
        if part
    ]


def lines_of_whole(invoice_lines: Sequence[Line], *, reason: CreditReason) -> list[Line]:
    """Return the lines of a credit of a whole invoice: its own."""
    return [{**line, "reason": reason} for line in invoice_lines]


def reason_of(lines: Sequence[Line]) -> CreditReason | None:
    """Return the reason that a credit note's lines agree on; None for an invoice."""
    reason = lines[0].get("reason")
    return CreditReason(reason) if reason else None
