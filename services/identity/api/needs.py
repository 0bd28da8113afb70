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


def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.service.settings
    return settings


def database_of(request: Request) -> Database:
    database: Database = request.app.state.service.database
    return database


def files_of(request: Request) -> Files:
    files: Files = request.app.state.service.files
    return files


def _secrecy(request: Request) -> Secrecy:
    return settings_of(request).secrecy


def _keys(request: Request) -> KeyRing:
    return key_ring(database_of(request), settings_of(request).secrecy)


def _origin(request: Request) -> Origin:
    return Origin.of(request.headers.get("user-agent", ""), request.client.host if request.client else "")


async def _open_tenant_session(request: Request, slug: str) -> AsyncIterator[AsyncSession]:
    async with tenant_transaction(database_of(request), slug) as session:
        yield session


Config = Annotated[Settings, Depends(settings_of)]
Store = Annotated[Database, Depends(database_of)]
FileStore = Annotated[Files, Depends(files_of)]
Crypto = Annotated[Secrecy, Depends(_secrecy)]
Keys = Annotated[KeyRing, Depends(_keys)]
From = Annotated[Origin, Depends(_origin)]
Now = Annotated[datetime, Depends(utc_now)]
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
