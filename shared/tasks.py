"""Ending tasks for sure."""

import asyncio
from collections.abc import Iterable
from typing import Any

ASK_AGAIN_SECONDS = 0.5


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until every one has ended; what they raise is theirs and is dropped.

    Asked once is not enough: a driver that is interrupted in mid-query may raise an error of its own in place of the
    cancellation, and a loop that survives errors then goes on.
    """
    asked = list(tasks)
    pending = {task for task in asked if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ASK_AGAIN_SECONDS)
    # Looked at, so that the loop does not report them as forgotten.
    await asyncio.gather(*asked, return_exceptions=True)
