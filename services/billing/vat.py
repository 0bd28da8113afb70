"""Amounts: what lines sum to, and the VAT that is in them, rounded once per rate."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any


def total_of(lines: Sequence[dict[str, Any]]) -> int:
    """Return the sum of the lines in minor units, VAT included."""
    return sum(line["quantity"] * line["unit_minor"] for line in lines)


def vat_of(lines: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    """Return [{rate_bp, base_minor, vat_minor, gross_minor}] by rate, highest first.

    Prices include VAT: the tax is taken out of each rate's summed gross, once, half up, so that the base, the
    tax and the total always add up to what was shown (EN 16931 BR-CO-14 and -15; docs/decisions/0006).
    """
    gross: dict[int, int] = defaultdict(int)
    for line in lines:
        gross[line["vat_rate_bp"]] += line["quantity"] * line["unit_minor"]
    return [_split(rate_bp, amount) for rate_bp, amount in sorted(gross.items(), reverse=True)]


def vat_of_more(lines: Sequence[dict[str, Any]], before: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    """Return what `vat_of` does, for lines that follow others whose VAT, of any documents and rates, was `before`.

    Together they carry the VAT of their summed gross: each credit by itself rounded, a third and a third and the rest
    of an invoice would give back more VAT than was invoiced.
    """
    gross, vat = Counter[int](), Counter[int]()
    for rate in before:
        gross[rate["rate_bp"]] += rate["gross_minor"]
        vat[rate["rate_bp"]] += rate["vat_minor"]
    return [_next(rate, gross[rate["rate_bp"]], vat[rate["rate_bp"]]) for rate in vat_of(lines)]


def _next(rate: dict[str, int], gross_minor: int, vat_minor: int) -> dict[str, int]:
    together = _split(rate["rate_bp"], gross_minor + rate["gross_minor"])
    # No amount of it is below zero or above the gross, whatever was rounded before.
    own_minor = min(max(together["vat_minor"] - vat_minor, 0), rate["gross_minor"])
    return {**rate, "base_minor": rate["gross_minor"] - own_minor, "vat_minor": own_minor}


def _split(rate_bp: int, gross_minor: int) -> dict[str, int]:
    divisor = 10_000 + rate_bp
    vat_minor = (2 * gross_minor * rate_bp + divisor) // (2 * divisor)
    return {
        "rate_bp": rate_bp,
        "base_minor": gross_minor - vat_minor,
        "vat_minor": vat_minor,
        "gross_minor": gross_minor,
    }
