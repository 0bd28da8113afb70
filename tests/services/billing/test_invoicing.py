"""The job that invoices what is due: space by space, whatever happens in one of them."""

from typing import Any

import pytest

LINE = '{"text": "Day pass", "quantity": 1, "unit_minor": 2000, "vat_rate_bp": 2000, "nature": "services"}'


async def due_without_asking_identity(shop: Any) -> None:
    """An order of somebody who has gone since: for its invoice nobody's name is asked."""
    await shop.buy(shop.nora)
    await shop.forget(shop.nora)


async def numbers(shop: Any) -> list[int]:
    return [row.number for row in await shop.billing.rows("SELECT number FROM documents", shop.tenant)]


async def test_a_space_that_cannot_be_invoiced_keeps_no_other_from_its_invoices(shop: Any, next_door: Any) -> None:
    assert shop.tenant < next_door.tenant, "the space that fails has its turn first"
    await due_without_asking_identity(shop)
    await due_without_asking_identity(next_door)
    await shop.billing.rows("UPDATE orders SET lines = '[{}]' RETURNING id", shop.tenant)
    with pytest.raises(ExceptionGroup) as failed:
        await shop.billing.run_job("invoice_due_orders")
    assert len(failed.value.exceptions) == 1
    assert (await numbers(shop), await numbers(next_door)) == ([], [1])
    await shop.billing.rows(f"UPDATE orders SET lines = '[{LINE}]' RETURNING id".replace(":", r"\:"), shop.tenant)
    await shop.billing.run_job("invoice_due_orders")
    assert await numbers(shop) == [1]
