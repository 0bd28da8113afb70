"""Every route: a caller or said to be public, its problems declared."""

from typing import Any

import pytest

from deploy.map import unstarted
from shared.events import SERVICES


@pytest.fixture(scope="module", params=SERVICES)
def openapi(request: Any) -> dict[str, Any]:
    document: dict[str, Any] = unstarted(request.param).public_app().openapi()
    return document


def operations(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_route_needs_a_caller_or_is_declared_public(openapi: dict[str, Any]) -> None:
    for name, operation in operations(openapi):
        assert "security" in operation, f"{name} forgets to say who may call it"
        is_public = operation["security"] == []
        assert is_public or operation["security"] == [{"HTTPBearer": []}], name


def test_whoever_can_be_missing_is_declared_missing(openapi: dict[str, Any]) -> None:
    undeclared = []
    for name, operation in operations(openapi):
        has_id = any(p["in"] == "path" and p["name"].endswith("_id") for p in operation.get("parameters", []))
        writes_only = name.startswith(("PUT ", "DELETE ")) and name.rsplit("/", 1)[0].endswith(("holds", "reactions"))
        # An account that is not being deactivated, or is unknown, answers the same conflict.
        is_same_answer = name.endswith("/deactivation") and "409" in operation["responses"]
        if has_id and not writes_only and not is_same_answer and not {"404", "410"} & operation["responses"].keys():
            undeclared.append(name)
    assert undeclared == []


def test_if_match_comes_with_its_refusals(openapi: dict[str, Any]) -> None:
    undeclared = [
        name
        for name, operation in operations(openapi)
        if any(p["name"] == "If-Match" for p in operation.get("parameters", []))
        and not {"412", "428"} <= operation["responses"].keys()
    ]
    assert undeclared == []
