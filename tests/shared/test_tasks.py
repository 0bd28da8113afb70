"""Tasks end when they are told to, whatever their drivers make of it."""

import asyncio

from shared.tasks import cancel_all


async def test_a_loop_that_survives_errors_ends_though_its_cancellation_was_turned_into_one() -> None:
    survived = 0

    async def query() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if survived == 0:
                raise ConnectionError("closed in the middle of the operation") from None
            raise

    async def repeat() -> None:
        nonlocal survived
        while True:
            try:
                await query()
            except ConnectionError:
                survived += 1

    task = asyncio.create_task(repeat())
    await asyncio.sleep(0)
    await cancel_all([task])
    assert (survived, task.cancelled()) == (1, True)
