"""Every service's OpenAPI against its API: whatever is sent, no answer is a 5xx, and every refusal is a problem."""

import asyncio
import importlib
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core import NOT_SET

from shared.db import uuid7
from shared.events import SERVICES
from shared.events.identity import Role
from tests.support.testing import ServiceUnderTest, TokenMint

EXAMPLES_PER_ROUTE = 6
SECRETS = {
    "key_secret": "k" * 48,
    "operator_secret": "o" * 24,
    "ledger_key": "l" * 48,
    "ledger_url": "postgresql+asyncpg://nobody@127.0.0.1:9/nothing",
}


@pytest.fixture(scope="module", params=SERVICES)
async def service(request: Any, start: Any) -> ServiceUnderTest:
    module = importlib.import_module(f"services.{request.param}.app")
    settings_ = importlib.import_module(f"services.{request.param}.settings").Settings
    own = {name: value for name, value in SECRETS.items() if name in settings_.model_fields}
    under_test: ServiceUnderTest = await start(
        request.param, module.create_service, settings_, owns_keys=request.param == "identity", **own
    )
    return under_test


async def test_no_input_makes_a_service_fail(service: ServiceUnderTest, mint: TokenMint) -> None:
    app = service.service.public_app()
    schema = schemathesis.openapi.from_dict(app.openapi())
    is_identity = service.service.name == "identity"
    tenant_id, account_id = await somebody(service) if is_identity else (await service.tenant(), uuid7())
    token = mint.mint(account_id, tenant_id, roles=list(Role))
    service.service.verifier._fetch_keys = mint.fetch_keys
    calls: list[dict[str, Any]] = []
    for result in schema.get_all_operations():
        calls += await asyncio.to_thread(_examples_of, result.ok())
    assert calls
    failed = []
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://x"
    ) as client:
        for call in calls:
            headers = {**call.pop("headers"), "Authorization": f"Bearer {token}", "Idempotency-Key": uuid7().hex}
            answer = await client.request(**call, headers=headers)
            # 502: another service was needed, and none runs here.
            if answer.status_code >= 500 and answer.status_code != 502:
                failed.append((call["method"], call["url"], answer.status_code, answer.text[:200]))
            elif answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", call["url"]
    assert failed == []


async def somebody(service: ServiceUnderTest) -> tuple[UUID, UUID]:
    """Identity knows its callers: open a space and return it with its administrator."""
    admin = {"email": "alma@example.org", "password": "Violet-Rhubarb-42!"}
    body = {"slug": "schema", "name": "Schema", "admin": admin}
    opened = await service.public.post("/tenants", json=body, headers={"Operator-Secret": SECRETS["operator_secret"]})
    return UUID(opened.json()["tenant_id"]), UUID(opened.json()["account_id"])


def _examples_of(operation: Any) -> list[dict[str, Any]]:
    """Draw some valid and some invalid calls of an operation."""
    drawn: list[dict[str, Any]] = []
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except Exception:  # noqa: BLE001 (an operation that takes nothing cannot be called wrongly)
            continue

        @settings(
            max_examples=EXAMPLES_PER_ROUTE,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def draw(case: Any) -> None:
            call = case.as_transport_kwargs(base_url="http://x")
            kept = {name: call[name] for name in ("method", "url", "params", "json", "data", "files") if name in call}
            headers = {k: v for k, v in (call.get("headers") or {}).items() if v is not None and v is not NOT_SET}
            drawn.append({**kept, "headers": {str(k): str(v) for k, v in headers.items() if str(v).isascii()}})

        try:
            draw()
        except Exception as error:
            if "nsatisfiable" not in type(error).__name__ and "nsatisfiable" not in str(error):
                raise
    return drawn
