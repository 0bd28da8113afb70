"""Events in: which reaction belongs to which event. A service's `consumers.py` is its behaviour on one screen."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Event

E = TypeVar("E", bound=Event)
Reaction = Callable[[AsyncSession, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Registration:
    """One reaction. `latest_only`: copies of state, older versions of the key are skipped."""

    reaction: Reaction
    latest_only: bool


class Consumers:
    """One service's reactions, in the order of their registration."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._registered: dict[str, list[Registration]] = {}
        self._overtaking: set[str] = set()

    def on(
        self, contract: type[E], *, latest_only: bool = False, overtakes: bool = False
    ) -> Callable[[Callable[[AsyncSession, E], Awaitable[None]]], Callable[[AsyncSession, E], Awaitable[None]]]:
        """Run the decorated `async def reaction(session, event)` for every such event, in its transaction.

        `overtakes` lets the event pass parked ones of its key: an erasure does not wait for a dead letter.
        """

        def register(reaction: Callable[[AsyncSession, E], Awaitable[None]]) -> Any:
            self._registered.setdefault(contract.type, []).append(Registration(reaction, latest_only))
            if overtakes:
                self._overtaking.add(contract.type)
            return reaction

        return register

    def include(self, other: "Consumers") -> None:
        """Take over another's reactions; they run after those already here."""
        for name, registrations in other._registered.items():
            self._registered.setdefault(name, []).extend(registrations)
        self._overtaking |= other._overtaking

    def types(self) -> list[str]:
        """Return the names of the events subscribed to, sorted."""
        return sorted(self._registered)

    def reactions(self, event_type: str) -> list[Registration]:
        return self._registered.get(event_type, [])

    def overtakes(self, event_type: str) -> bool:
        return event_type in self._overtaking
