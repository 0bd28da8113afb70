"""Emptying a database before it is restored: everything of its owner goes, extensions and rights stay."""

from deploy.backup.places import connected

# Tables take their sequences, triggers and policies along; what belongs to an extension is left alone.
_WIPE = """DO $$ DECLARE found record; BEGIN
 FOR found IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
  AND c.relkind IN ('r', 'p') AND pg_get_userbyid(c.relowner) = current_user
 LOOP EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', found.name); END LOOP;
 FOR found IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
  AND pg_get_userbyid(p.proowner) = current_user AND NOT EXISTS
  (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
 LOOP EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', found.name); END LOOP; END $$"""


async def wipe(address: str) -> None:
    async with connected(address) as owner:
        await owner.execute(_WIPE)


async def holds_data(address: str) -> bool:
    """Whether a service's database knows any tenant; one that is empty or only migrated does not."""
    async with connected(address) as owner:
        if await owner.fetchval("SELECT to_regclass('public.tenants') IS NULL"):
            return False
        return bool(await owner.fetchval("SELECT EXISTS (SELECT FROM tenants)"))
