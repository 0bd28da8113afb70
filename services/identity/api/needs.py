"""What identity's routes ask for besides caller and session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.tenants import tenant_transaction
from services.identity.keyring import KeyRing, key_ring
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from services.identity.settings import Settings
from shared.db import Database, utc_now
from shared.files import Files

# Dependencies are coroutines although they wait for nothing: a plain function would cost a thread hop each.


async def _config(request: Request) -> Settings:
    return _settings(request)


async def _store(request: Request) -> Database:
    return _database(request)


async def _file_store(request: Request) -> Files:
    files: Files = request.app.state.service.files
    return files


async def _crypto(request: Request) -> Secrecy:
    return _settings(request).secrecy


async def _keys(request: Request) -> KeyRing:
    return key_ring(_database(request), _settings(request).secrecy)


async def _origin(request: Request) -> Origin:
    return Origin.of(request.headers.get("user-agent", ""), request.client.host if request.client else "")


async def _now() -> datetime:
    return utc_now()


async def _open_tenant_session(request: Request, slug: str) -> AsyncIterator[AsyncSession]:
    async with tenant_transaction(_database(request), slug) as session:
        yield session


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.service.settings
    return settings


def _database(request: Request) -> Database:
    database: Database = request.app.state.service.database
    return database


Config = Annotated[Settings, Depends(_config)]
Store = Annotated[Database, Depends(_store)]
FileStore = Annotated[Files, Depends(_file_store)]
Crypto = Annotated[Secrecy, Depends(_crypto)]
Keys = Annotated[KeyRing, Depends(_keys)]
From = Annotated[Origin, Depends(_origin)]
Now = Annotated[datetime, Depends(_now)]
# The one transaction of a request that comes without a token, in the tenant that its path names.
TenantSession = Annotated[AsyncSession, Depends(_open_tenant_session, scope="function")]

PUBLIC: dict[str, Any] = {"security": []}
EVEN_SECONDS = 0.2


@asynccontextmanager
async def even_time() -> AsyncIterator[None]:
    """Answer after EVEN_SECONDS at the earliest, so that time does not tell whether an address is known."""
    until = asyncio.get_running_loop().time() + EVEN_SECONDS
    yield
    await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))
