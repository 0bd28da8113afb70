"""Emptying a database before it is restored."""

from deploy.backup.places import connected

# Extensions go, too, and come back with the dump (all of ours are trusted: the owner may create them). Left in place, their
# libraries would not be loaded when a function that sets one of their parameters is restored, and that is refused then.
_WIPE = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
# Where a ledger waits whose place a dump takes, until that one has proven to be whole. Its extensions wait with it and
# go with it: the ledger's tables need none.
_IS_ASIDE = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'aside')"
_SET_ASIDE = "ALTER SCHEMA public RENAME TO aside; CREATE SCHEMA public"
_BRING_BACK = "DROP SCHEMA public CASCADE; ALTER SCHEMA aside RENAME TO public"
_FORGET = "DROP SCHEMA IF EXISTS aside CASCADE"


async def set_aside(address: str) -> None:
    """Empty a database and keep what it holds in the schema `aside`. What waits there already is older and stays."""
    async with connected(address) as owner:
        await owner.execute(_WIPE if await owner.fetchval(_IS_ASIDE) else _SET_ASIDE)


async def bring_back(address: str) -> None:
    async with connected(address) as owner:
        await owner.execute(_BRING_BACK)


async def forget_aside(address: str) -> None:
    async with connected(address) as owner:
        await owner.execute(_FORGET)


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
