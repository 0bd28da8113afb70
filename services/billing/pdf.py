"""The printed document: typst over the frozen row, so that every print of it is the same, byte for byte."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import Any

import typst

from services.billing.crediting import reason_of
from services.billing.models import Document, DocumentKind, Nature
from services.billing.numbering import printed
from services.billing.words import TEMPLATES, words_of

NAMELESS = {"name": "—"}
LATE_PENALTY_RATE = "10 %"
# Currencies whose minor unit is not a hundredth (ISO 4217, table A.1), by their decimals.
DECIMALS = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
    "CLF": 4, "UYW": 4,
}  # fmt: skip
# A typst compiler serves one caller at a time, so each thread that prints keeps its own.
_own = threading.local()
# Typst computes without the interpreter's lock: a thread per core prints as fast as the machine can.
_printers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="print")


async def print_in_thread(document: Document, *, credited: Document | None = None) -> bytes:
    """Return the PDF of a finalized document (about 3 ms on a free core); `credited` is a credit note's invoice."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_printers, partial(print_document, document, credited=credited))


def print_document(document: Document, *, credited: Document | None = None) -> bytes:
    if not hasattr(_own, "compiler"):
        _own.compiler = typst.Compiler(str(TEMPLATES / "document.typ"), ignore_system_fonts=True)
    content = json.dumps(_content(document, credited))
    pdf = _own.compiler.compile(format="pdf", sys_inputs={"content": content})
    assert isinstance(pdf, bytes)
    return pdf


def _content(document: Document, credited: Document | None) -> dict[str, Any]:
    words = words_of(document.language)
    base_minor = sum(rate["base_minor"] for rate in document.vat)
    return {
        "language": document.language,
        "labels": words["labels"],
        "title": words["titles"][document.kind],
        "number": number_of(document),
        "facts": list(_facts(document, credited, words)),
        "seller": list(_block(document.seller, words["numbers"])),
        "buyer": list(_block(document.buyer or NAMELESS, words["numbers"])),
        "lines": [_line(line, document) for line in document.lines],
        "vat": [
            [
                percent(rate["rate_bp"], document.language),
                *(money(rate[name], document) for name in ("base_minor", "vat_minor")),
            ]
            for rate in document.vat
        ],
        "total_net": money(base_minor, document),
        "total_vat": money(document.total_minor - base_minor, document),
        "total": money(document.total_minor, document),
        "mentions": list(_mentions(document, words)),
    }


def _facts(
    document: Document, credited: Document | None, words: dict[str, dict[str, str]]
) -> Iterator[tuple[str, str]]:
    labels, reason = words["labels"], reason_of(document.lines)
    yield labels["issued"], _day(document.issued_on, document.language)
    if document.kind is DocumentKind.INVOICE:
        yield labels["due"], _day(document.due_on, document.language)
    if credited is not None:
        yield labels["credits"], f"{number_of(credited)} ({_day(credited.issued_on, document.language)})"
    if reason is not None:
        yield labels["reason"], words["reasons"][reason]


def _line(line: dict[str, Any], document: Document) -> list[str]:
    gross, rate_bp, currency, language = line["unit_minor"], line["vat_rate_bp"], document.currency, document.language
    return [
        line["text"],
        str(line["quantity"]),
        _net(gross, rate_bp, currency, language),
        percent(rate_bp, language),
        amount(gross, currency, language),
        amount(gross * line["quantity"], currency, language),
    ]


def _mentions(document: Document, words: dict[str, dict[str, str]]) -> Iterator[str]:
    """Required mentions: CGI ann. II art. 242 nonies A; code de commerce L441-9."""
    natures = {line.get("nature", Nature.SERVICES) for line in document.lines}
    yield words["nature"]["both" if len(natures) > 1 else natures.pop()]
    exemption = document.seller.get("vat_exemption")
    if exemption and any(rate["rate_bp"] == 0 for rate in document.vat):
        yield exemption
    if document.kind is DocumentKind.INVOICE:
        yield words["mentions"]["payment"]
        yield words["mentions"]["late"].format(rate=document.seller.get("late_penalty_rate") or LATE_PENALTY_RATE)


def _block(party: dict[str, Any], numbers: dict[str, str]) -> Iterator[str]:
    """A seller or buyer as lines: name, address, then what identifies a business."""
    place = " ".join(str(party[name]) for name in ("postcode", "city", "country") if party.get(name))
    for line in (party.get("name") or party.get("legal_name"), party.get("registration"), party.get("street"), place):
        if line:
            yield str(line)
    yield from (f"{numbers[name]} {party[name]}" for name in numbers if party.get(name))
    if party.get("email"):
        yield str(party["email"])


def number_of(document: Document) -> str:
    """Return a document's number as people read it."""
    return printed(document.kind, document.year, document.number)


def money(amount_minor: int, document: Document) -> str:
    """Return an amount of the document's currency as people read it."""
    return f"{amount(amount_minor, document.currency, document.language)} {document.currency}"


def amount(amount_minor: int, currency: str, language: str) -> str:
    """Return an amount with as many decimals as the currency has: 37,02 (EUR), 3702 (JPY)."""
    decimals = DECIMALS.get(currency, 2)
    return _fixed(amount_minor, decimals, decimals, language)


def percent(rate_bp: int, language: str) -> str:
    return _decimal(f"{rate_bp / 100:g} %", language)


def _net(gross_minor: int, rate_bp: int, currency: str, language: str) -> str:
    """A unit price without VAT, to a hundredth of a cent where cents do not say it: totals are taken from gross sums."""
    divisor = 10_000 + rate_bp
    net = (2 * gross_minor * 1_000_000 + divisor) // (2 * divisor)
    decimals = DECIMALS.get(currency, 2)
    return _fixed(net, decimals + 2, decimals, language)


def _fixed(value: int, decimals: int, least: int, language: str) -> str:
    """Return `value`, a count of the last of its decimals, without the zeros at its end beyond the `least` decimals."""
    whole, parts = divmod(value, 10**decimals)
    digits = f"{parts:0{decimals}d}" if decimals else ""
    shown = digits[:least] + digits[least:].rstrip("0")
    return _decimal(f"{whole}.{shown}" if shown else str(whole), language)


def _decimal(number: str, language: str) -> str:
    return number.replace(".", ",") if language == "fr" else number


def _day(day: date, language: str) -> str:
    return f"{day:%d/%m/%Y}" if language == "fr" else day.isoformat()
