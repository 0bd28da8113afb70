"""Credit notes: reasons that name nobody, printed in the invoice's language, and exactly the VAT that was invoiced."""

import io
import tomllib
from collections import Counter
from itertools import pairwise
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.crediting import left_of, lines_of_part
from services.billing.models import CreditReason, Nature
from services.billing.vat import total_of, vat_of, vat_of_more
from services.billing.words import TEMPLATES

LINES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.just("x"),
            "quantity": st.integers(1, 5),
            "unit_minor": st.integers(0, 9999),
            "vat_rate_bp": st.sampled_from([2000, 1000, 550, 210, 0]),
            "nature": st.sampled_from(Nature),
        }
    ),
    min_size=1,
    max_size=6,
)


def sold(lines: list[dict[str, Any]]) -> Counter[tuple[int, str]]:
    return +Counter(left_of(lines, []))


@given(lines=LINES, cuts=st.lists(st.floats(0, 1), max_size=8))
@settings(deadline=None, max_examples=300)
def test_a_credit_in_any_pieces_gives_back_what_was_invoiced(lines: list[dict[str, Any]], cuts: list[float]) -> None:
    total = total_of(lines)
    reached = sorted({round(cut * total) for cut in cuts} | {0, total})
    credited: list[dict[str, Any]] = []
    vat: list[dict[str, int]] = []
    for start, end in pairwise(reached):
        left = left_of(lines, credited)
        piece = lines_of_part(end - start, left, reason=CreditReason.DISCOUNT, text="x")
        assert total_of(piece) == end - start
        assert sold(piece) <= +left, "no more of anything than is left of it"
        rates = vat_of_more(piece, vat)
        assert sum(rate["gross_minor"] for rate in rates) == end - start
        for rate in rates:
            assert rate["base_minor"] + rate["vat_minor"] == rate["gross_minor"]
            assert 0 <= rate["vat_minor"] <= rate["gross_minor"]
        credited += piece
        vat += rates
    assert sold(credited) == sold(lines), "each nature at each rate"
    given_back = Counter[int]()
    for rate in vat:
        given_back[rate["rate_bp"]] += rate["vat_minor"]
    assert +given_back == +Counter({rate["rate_bp"]: rate["vat_minor"] for rate in vat_of(lines)})


def test_a_credit_that_does_not_say_what_it_takes_back_takes_it_from_its_rate() -> None:
    line = {"text": "x", "quantity": 1, "unit_minor": 100, "vat_rate_bp": 2000}
    lines = [{**line, "nature": nature} for nature in Nature] + [{**line, "vat_rate_bp": 550, "nature": "goods"}]
    left = left_of(lines, [{**line, "unit_minor": 50}])
    assert left == {(2000, "services"): 75, (2000, "goods"): 75, (550, "goods"): 100}


def test_a_note_after_others_that_were_rounded_by_themselves_gives_back_the_rest() -> None:
    by_itself = [{"rate_bp": 2000, "base_minor": 27, "vat_minor": 6, "gross_minor": 33}] * 2
    rest = {"text": "x", "quantity": 1, "unit_minor": 34, "vat_rate_bp": 2000}
    assert vat_of_more([rest], by_itself) == [{"rate_bp": 2000, "base_minor": 29, "vat_minor": 5, "gross_minor": 34}]


async def printed(shop: Any, document_id: str) -> str:
    pdf = await shop.ada.get(f"/documents/{document_id}/pdf")
    return "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf.content)).pages)


async def test_goods_credited_in_three_pieces_stay_goods_and_carry_the_vat_of_the_invoice(shop: Any) -> None:
    line = {"text": "Badge", "quantity": 1, "unit_minor": 100, "vat_rate_bp": 2000, "nature": "goods"}
    invoice = await shop.finalize(await shop.order(shop.ada, [line]), name="ada@example.org")
    notes = []
    for amount_minor in (33, 33, 34):
        body = {"amount_minor": amount_minor, "reason": "not_as_agreed"}
        made = await shop.maud.post(f"/documents/{invoice.id}/credit-notes", body)
        assert made.status_code == 201, made.text
        notes.append(made.json())
    assert [note["vat"][0]["vat_minor"] for note in notes] == [6, 5, 6]
    assert sum(note["vat"][0]["vat_minor"] for note in notes) == invoice.vat[0]["vat_minor"] == 17
    words = await printed(shop, notes[0]["id"])
    assert "livraison de biens" in words
    assert "prestation de services" not in words
    assert (await shop.maud.get("/chain")).json() == {"checked": 4, "broken_at": None}


async def test_a_reason_is_one_of_a_list_and_no_free_text(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada)
    url = f"/documents/{invoice.id}/credit-notes"
    refused = await shop.maud.post(url, {"amount_minor": 500, "reason": "Nora was ill"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/reason")
    made = await shop.maud.post(url, {"amount_minor": 500, "reason": "wrong_amount"})
    assert made.json()["reason"] == "wrong_amount"
    assert made.json()["lines"][0]["text"] == "Erreur de montant"
    assert (await shop.ada.get(f"/documents/{invoice.id}")).json()["reason"] is None


async def test_a_whole_credit_says_its_reason_beside_the_lines_of_the_invoice(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada)
    body = {"amount_minor": 2000, "reason": "invoiced_twice"}
    note = (await shop.maud.post(f"/documents/{invoice.id}/credit-notes", body)).json()
    assert (note["reason"], note["lines"][0]["text"]) == ("invoiced_twice", "Day pass")
    words = await printed(shop, note["id"])
    assert "Motif" in words
    assert "Facturé deux fois" in words
    (row,) = await shop.billing.rows("SELECT lines FROM documents WHERE kind = 'credit_note'", shop.tenant)
    assert [line["reason"] for line in row.lines] == ["invoiced_twice"], "frozen and chained with the note"


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_reason_is_printed(language: str) -> None:
    words = tomllib.loads((TEMPLATES / f"words.{language}.toml").read_text())
    assert words["reasons"].keys() == set(CreditReason)
