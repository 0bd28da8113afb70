"""Event contracts and their envelope: CloudEvents 1.0 structured JSON that carries ids, never personal text."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints

MAX_EVENT_BYTES = 256 * 1024
EVENT_NAME = re.compile(r"^[a-z]+(\.[a-z_]+){2}\.v[1-9][0-9]*$")


class SubjectId:
    """Marker of a field that holds an account id: the log row is redacted when that person is erased."""


class NotPersonalText:
    """Marker of a text field that may travel: a label, never a person's words."""


AccountId = Annotated[UUID, SubjectId()]
Label = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_.:/+-]*$"), NotPersonalText()]


class Event(BaseModel):
    """A fact that its owner published; subclasses are declared in `shared/events/<owner>.py` by `@event`.

    Unknown fields are ignored on decoding, so that an optional field added within the major version never
    breaks an older consumer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    key_field: ClassVar[str]
    tenant_id: UUID

    @property
    def key(self) -> str:
        """The aggregate: events of one key are handled one after the other, in order."""
        return str(getattr(self, self.key_field))

    def subject_ids(self) -> list[UUID]:
        """The accounts that this event is about."""
        found: list[UUID] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is None or not holds_subject(field.annotation, field.metadata):
                continue
            found.extend(value if isinstance(value, list | tuple) else [value])
        return found


def holds_subject(annotation: Any, metadata: list[Any]) -> bool:
    """Whether a field's type is AccountId, an optional one, or a list of them."""
    if any(isinstance(item, SubjectId) or item is SubjectId for item in metadata):
        return True
    inner_metadata = getattr(annotation, "__metadata__", ())
    if any(isinstance(item, SubjectId) for item in inner_metadata):
        return True
    return any(holds_subject(argument, []) for argument in getattr(annotation, "__args__", ()))


EVENTS: dict[str, type[Event]] = {}


def event(name: str, *, key: str) -> Any:
    """Register an event class under `<owner>.<noun>.<past participle>.v<n>`; `key` names its aggregate field."""
    if not EVENT_NAME.match(name):
        raise ValueError(f"not an event name: {name}")

    def register(cls: type[Event]) -> type[Event]:
        if name in EVENTS:
            raise ValueError(f"declared twice: {name}")
        cls.type = name
        cls.key_field = key
        EVENTS[name] = cls
        return cls

    return register


class Undecodable(ValueError):
    """The bytes are no event that this service understands; the reason carries no input."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event on its way. `key` and `version` order it, `epoch` rises when its owner was restored."""

    id: UUID
    type: str
    tenant_id: UUID
    key: str
    version: int
    epoch: int
    time: datetime
    data: dict[str, Any]
    traceparent: str | None = None
    causation_id: UUID | None = None
    correlation_id: UUID | None = None

    @property
    def owner(self) -> str:
        return self.type.split(".", 1)[0]

    def event(self) -> Event:
        """Return the typed event. Raises Undecodable for an unknown type or a payload that does not fit."""
        contract = EVENTS.get(self.type)
        if contract is None:
            raise Undecodable("unknown event type")
        try:
            return contract.model_validate(self.data)
        except ValueError as error:
            raise Undecodable(f"payload does not fit {self.type}") from error

    def encode(self) -> bytes:
        """Return the CloudEvents 1.0 structured JSON, at most 256 KiB."""
        body: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": f"/cowork/{self.owner}",
            "type": self.type,
            "subject": self.key,
            "time": self.time,
            "datacontenttype": "application/json",
            "dataschema": f"/events/{self.type}",
            "tenant": str(self.tenant_id),
            "aggregateversion": self.version,
            "epoch": self.epoch,
            "data": self.data,
        }
        optional = {
            "traceparent": self.traceparent,
            "causationid": self.causation_id,
            "correlationid": self.correlation_id,
        }
        body |= {name: str(value) for name, value in optional.items() if value is not None}
        return orjson.dumps(body)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read structured JSON. Raises Undecodable; the payload itself is checked by `event()`."""
        if len(body) > MAX_EVENT_BYTES:
            raise Undecodable("larger than 256 KiB")
        try:
            raw = orjson.loads(body)
            return cls(
                id=UUID(raw["id"]),
                type=str(raw["type"]),
                tenant_id=UUID(raw["tenant"]),
                key=str(raw["subject"]),
                version=int(raw["aggregateversion"]),
                epoch=int(raw.get("epoch", 0)),
                time=datetime.fromisoformat(raw["time"]),
                data=dict(raw["data"]),
                traceparent=raw.get("traceparent"),
                causation_id=UUID(raw["causationid"]) if raw.get("causationid") else None,
                correlation_id=UUID(raw["correlationid"]) if raw.get("correlationid") else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Undecodable(f"not a CloudEvents envelope ({type(error).__name__})") from None
