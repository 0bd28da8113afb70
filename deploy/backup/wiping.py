"""Emptying a database before it is restored."""

from deploy.backup.places import connected

# Extensions go, too, and come back with the dump (all of ours are trusted: the owner may create them). Left in place, their
# libraries would not be loaded when a function that sets one of their parameters is restored, and that is refused then.
_WIPE = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"


async def wipe(address: str) -> None:
    """Empty a database whose schema `public` belongs to the owner role; the right to connect stays as it is."""
    async with connected(address) as owner:
        await owner.execute(_WIPE)


async def holds_data(address: str) -> bool:
    """Whether a service's database knows any tenant; one that is empty or only migrated does not."""
    async with connected(address) as owner:
        if await owner.fetchval("SELECT to_regclass('public.tenants') IS NULL"):
            return False
        return bool(await owner.fetchval("SELECT EXISTS (SELECT FROM tenants)"))
