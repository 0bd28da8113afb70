"""What a restored past must not say: the epoch of its events, and sessions of the time before."""

import re

from deploy.backup.places import connected
from shared.db import utc_now

_DEFAULT = (
    "SELECT column_default FROM information_schema.columns"
    " WHERE table_schema = 'public' AND table_name = 'event_log' AND column_name = 'epoch'"
)
# Access tokens are proven by these keys, refresh tokens by those rows: without them everybody signs in anew, also who
# has registered in the future that is lost.
_END_SESSIONS = "DELETE FROM sessions; DELETE FROM signing_keys"


async def epoch_of(address: str) -> int:
    """Return the epoch of a database's events, which is the default of their column; 0 where there is no log yet."""
    async with connected(address) as owner:
        found = re.search(r"\d+", await owner.fetchval(_DEFAULT) or "")
    return int(found.group()) if found else 0


async def raise_epoch(address: str, *, above: int) -> int:
    """Give the events from now on an epoch above all that were ever published here, and return it.

    Minutes since 1970: a backup that is restored twice, or on a new machine, rises as well.
    """
    minutes = int(utc_now().timestamp()) // 60
    epoch = max(minutes, above + 1, await epoch_of(address) + 1)
    async with connected(address) as owner:
        await owner.execute(f"ALTER TABLE event_log ALTER COLUMN epoch SET DEFAULT {epoch}")
    return epoch


async def end_sessions(identity: str) -> None:
    async with connected(identity) as owner:
        await owner.execute(_END_SESSIONS)
