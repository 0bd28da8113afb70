"""Rights: row security on every table of a tenant, roles that can do no more than they must, databases that are one's own."""

from collections.abc import AsyncIterator, Iterator

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.doctor.checks import of_service
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import LEDGER, Site
from shared.migrate import metadata_of

# The one setting that row security reads.
TENANT_SETTING = "cowork.tenant"

_SECURED = text(
    "SELECT c.relname AS name, c.relrowsecurity AS is_secured,"
    " coalesce(array_agg(p.policyname::text) FILTER (WHERE p.policyname IS NOT NULL), '{}') AS policies,"
    " coalesce(bool_and(p.qual LIKE :reads AND p.with_check LIKE :reads AND p.cmd = 'ALL'), false) AS asks_tenant"
    " FROM pg_class c LEFT JOIN pg_policies p ON p.schemaname = 'public' AND p.tablename = c.relname"
    " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY c.relname, c.relrowsecurity"
)
_ROLE = text(
    "SELECT rolname AS name, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles"
    " WHERE rolname = current_user"
)
_OWNED = text(
    "WITH me AS (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    " SELECT 'database' FROM pg_database, me WHERE datname = current_database() AND datdba = me.oid"
    " UNION SELECT 'table' FROM pg_class, me WHERE relowner = me.oid"
    " UNION SELECT 'function' FROM pg_proc, me WHERE proowner = me.oid"
    " UNION SELECT 'schema' FROM pg_namespace, me WHERE nspowner = me.oid AND nspname !~ '^pg_' ORDER BY 1"
)
_MEMBER_OF = text(
    "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles me ON me.oid = m.member"
    " WHERE me.rolname = current_user ORDER BY 1"
)
# Who may come in besides this role and the database's owner; a superuser always may.
_STRANGERS = text(
    "SELECT r.rolname FROM pg_roles r JOIN pg_database d ON d.datname = current_database() WHERE r.rolcanlogin"
    " AND NOT r.rolsuper AND r.rolname <> current_user AND r.oid <> d.datdba"
    " AND has_database_privilege(r.oid, d.oid, 'CONNECT') ORDER BY r.rolname"
)
# Who was given something on a table besides its owner and this role (grantee 0 is everybody).
_GRANTED = text(
    "SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END FROM pg_class c,"
    " aclexplode(c.relacl) a WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"
    " AND a.grantee <> c.relowner AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
    " AND a.grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user) ORDER BY 1"
)


@of_service("row_security")
async def check_row_security(site: Site, service: str) -> list[Finding]:
    """Every table with a tenant is under the one policy that reads the transaction's tenant."""
    async with site.session(service) as session:
        rows = {row.name: row for row in await session.execute(_SECURED, {"reads": f"%{TENANT_SETTING}%"})}
    tables = [table.name for table in metadata_of(service).sorted_tables if "tenant_id" in table.columns]
    present = [name for name in tables if name in rows]
    found: list[Finding] = []
    open_ = [name for name in present if not rows[name].is_secured]
    if open_:
        found.append(failed("off", tables=open_))
    lax = [n for n in present if n not in open_ and (list(rows[n].policies) != ["tenant"] or not rows[n].asks_tenant)]
    if lax:
        found.append(failed("other_policy", tables=lax))
    return found or [ok()]


@of_service("roles")
async def check_roles(site: Site, service: str) -> list[Finding]:
    """The application role owns nothing, can pass no rule, and shares its database with its owner only."""
    others = _roles_of_others(site, service)
    async with site.session(service) as session:
        return [one async for one in _role_findings(session, others)] or [ok()]


async def _role_findings(session: AsyncSession, others: dict[str, str]) -> AsyncIterator[Finding]:
    role = (await session.execute(_ROLE)).one()._asdict()
    powers = [name.removeprefix("rol") for name, has in role.items() if has is True]
    if powers:
        without = " ".join(f"NO{power}".upper() for power in powers)
        yield failed("powerful", role=role["name"], powers=powers, without=without.replace("NOSUPER", "NOSUPERUSER"))
    owned = list((await session.execute(_OWNED)).scalars())
    if owned:
        yield failed("owner", role=role["name"], kinds=owned)
    above = list((await session.execute(_MEMBER_OF)).scalars())
    if above:
        yield failed("member", role=role["name"], roles=above)
    strangers = list((await session.execute(_STRANGERS)).scalars())
    granted = list((await session.execute(_GRANTED)).scalars())
    database = str(await session.scalar(text("SELECT current_database()")))
    for finding in _cross_grants(database, strangers, granted, others):
        yield finding


def _cross_grants(database: str, strangers: list[str], granted: list[str], others: dict[str, str]) -> Iterator[Finding]:
    """A role of another service breaks the promise that services keep apart; any other role is for the operator to judge."""
    crossing = [role for role in strangers if role in others]
    if crossing:
        yield failed("cross_connect", roles=crossing, database=database, revoke=", ".join(["PUBLIC", *crossing]))
    elif strangers:
        yield warning("stranger", roles=strangers, database=database, revoke=", ".join(["PUBLIC", *strangers]))
    crossing = [role for role in granted if role in others or role == "PUBLIC"]
    if crossing:
        yield failed("cross_grant", roles=crossing, database=database, revoke=", ".join(crossing))


def _roles_of_others(site: Site, service: str) -> dict[str, str]:
    """Return {role: service} of every other service, and of the ledger, owners included."""
    addresses = [(name, settings.database_url.get_secret_value()) for name, settings in site.services.items()]
    if "privacy" in site.services:
        addresses.append((LEDGER, site.ledger_address()))
    roles = {make_url(url).username or "": name for name, url in [*addresses, *site.owners.items()]}
    return {role: name for role, name in roles.items() if name != service}
