"""The printed document: typst over the frozen row, so that every print of it is the same, byte for byte."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import typst

from services.billing.models import Document
from services.billing.numbering import printed

TEMPLATE = Path(__file__).parent / "templates" / "document.typ"
WORDS = {
    "fr": {
        "invoice": "Facture", "credit_note": "Avoir", "issued": "Émise le", "due": "Échéance", "seller": "Vendeur",
        "buyer": "Client", "text": "Désignation", "quantity": "Qté", "unit": "Prix TTC", "amount": "Total TTC",
        "base": "Base HT", "vat": "TVA", "total": "Total TTC", "credits": "Avoir sur la facture",
        "late": "En cas de retard : pénalités au taux annuel de {rate} ; indemnité forfaitaire de recouvrement de 40 € "
        "(clients professionnels, art. L441-10 du code de commerce). Pas d'escompte pour paiement anticipé.",
    },
    "en": {
        "invoice": "Invoice", "credit_note": "Credit note", "issued": "Issued on", "due": "Due on", "seller": "Seller",
        "buyer": "Customer", "text": "Description", "quantity": "Qty", "unit": "Price incl. VAT",
        "amount": "Total incl. VAT", "base": "Net", "vat": "VAT", "total": "Total incl. VAT",
        "credits": "Credits invoice",
        "late": "Late payment: interest at {rate} a year; fixed recovery fee of 40 EUR (business customers, French "
        "Commercial Code art. L441-10). No discount for early payment.",
    },
}  # fmt: skip


def print_document(document: Document, *, credited: str | None = None) -> bytes:
    """Return the PDF of a finalized document. Blocking (about 10 ms): call it in a thread.

    `credited` is the printed number of the invoice that a credit note credits.
    """
    words = WORDS[document.language]
    rate = str(document.seller.get("late_penalty_rate") or "10 %")
    content = {
        "words": {**words, "late": words["late"].format(rate=rate)},
        "title": words[document.kind],
        "number": printed(document.kind, document.year, document.number),
        "credited": credited,
        "issued": document.issued_on.isoformat(),
        "due": document.due_on.isoformat(),
        "seller": _lines_of(document.seller),
        "buyer": _lines_of(document.buyer or {"name": "—"}),
        "lines": [
            [line["text"], str(line["quantity"]), *(money(amount, document) for amount in _amounts(line))]
            for line in document.lines
        ],
        "vat": [
            [f"{rate['rate_bp'] / 100:g} %", money(rate["base_minor"], document), money(rate["vat_minor"], document)]
            for rate in document.vat
        ],
        "total": money(document.total_minor, document),
        "language": document.language,
    }
    pdf = _compiler().compile(format="pdf", sys_inputs={"content": json.dumps(content)})
    assert isinstance(pdf, bytes)
    return pdf


def money(amount_minor: int, document: Document) -> str:
    """Return an amount as people read it; two decimals, the currency's code behind."""
    whole, cents = divmod(abs(amount_minor), 100)
    separator = "," if document.language == "fr" else "."
    return f"{'-' if amount_minor < 0 else ''}{whole}{separator}{cents:02d} {document.currency}"


def _amounts(line: dict[str, Any]) -> tuple[int, int]:
    return line["unit_minor"], line["unit_minor"] * line["quantity"]


_SHOWN = ("name", "legal_name", "street", "postcode", "city", "country", "siren", "vat_id", "iban", "email")


def _lines_of(block: dict[str, Any]) -> list[str]:
    return [str(block[name]) for name in _SHOWN if block.get(name)]


@cache
def _compiler() -> typst.Compiler:
    return typst.Compiler(str(TEMPLATE), ignore_system_fonts=True)
