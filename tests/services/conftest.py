"""A service under test over its own migrated database, reached in process over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.events import SERVICES
from shared.settings import SuiteSettings
from tests.support.testing import Databases, ServiceUnderTest, TokenMint

Start = Callable[..., Awaitable[ServiceUnderTest]]


@pytest.fixture(scope="session")
async def start(databases: Databases, mint: TokenMint, tmp_path_factory: Any) -> AsyncIterator[Start]:
    """`await start("booking", create_service, Settings, **settings)`; stopped at the end of the run."""
    started: list[ServiceUnderTest] = []

    async def start_service(
        name: str, create_service: Any, settings: Any, *, owns_keys: bool = False, **more: Any
    ) -> ServiceUnderTest:
        urls = await databases.clone(name)
        folder: Path = tmp_path_factory.mktemp(f"files-{name}")
        # Nobody answers on the discard port: each service is tested with the others down.
        nobody = dict.fromkeys(SERVICES, "http://127.0.0.1:9")
        suite = SuiteSettings(files_url=folder.as_uri(), internal_urls=nobody, **more.pop("suite", {}))
        values = settings(
            suite=suite,
            database_url=urls.app,
            client_secret="test-secret",
            digest_key="k" * 32,
            **{"pool_size": 10, **more},
        )
        keys = {} if owns_keys else {"fetch_keys": mint.fetch_keys}
        under_test = ServiceUnderTest(create_service(values, **keys), mint)
        started.append(under_test)
        return under_test

    yield start_service
    for one in started:
        await one.close()
