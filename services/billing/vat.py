"""Amounts: what lines sum to, and the VAT that is in them, rounded once per rate."""

from collections import defaultdict
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


def _split(rate_bp: int, gross_minor: int) -> dict[str, int]:
    divisor = 10_000 + rate_bp
    vat_minor = (2 * gross_minor * rate_bp + divisor) // (2 * divisor)
    return {
        "rate_bp": rate_bp,
        "base_minor": gross_minor - vat_minor,
        "vat_minor": vat_minor,
        "gross_minor": gross_minor,
    }
