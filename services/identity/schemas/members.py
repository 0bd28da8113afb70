"""Profiles and the directory as HTTP shows them."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import phonenumbers
from pydantic import AfterValidator, Field, StringConstraints

from shared.events.identity import Language, Role
from shared.http import In, Out


class HideableField(StrEnum):
    """What a member can hide from the others, one by one."""

    NAME = "name"
    EMAIL = "email"
    PHONE = "phone"
    PICTURE = "picture"
    POSITION = "position"
    DEPARTMENT = "department"
    SKILLS = "skills"
    DESCRIPTION = "description"


def _international(text: str) -> str:
    """Write a phone number as +33 1 23 45 67 89; one without a country is read as French."""
    if not text:
        return text
    try:
        number = phonenumbers.parse(text, "FR")
    except phonenumbers.NumberParseException as error:
        raise ValueError("not a phone number") from error
    if not phonenumbers.is_possible_number(number):
        raise ValueError("not a phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


Name = Annotated[str, StringConstraints(max_length=80, pattern=r"^[^\x00-\x1f<>]*$")]
Skill = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f<>]*$")]
Phone = Annotated[str, StringConstraints(max_length=40), AfterValidator(_international)]


class ProfileIn(In):
    """The whole profile: what is left out or empty is deleted."""

    first_name: Name = Field("", examples=["Ada"])
    last_name: Name = Field("", examples=["Martin"])
    phone: Phone = Field("", examples=["+33 1 23 45 67 89"])
    position: Name = ""
    department: Name = ""
    skills: list[Skill] = Field(default_factory=list, max_length=30, examples=[["Rust", "Comptabilité"]])
    description: str = Field("", max_length=2000)
    language: Language
    in_directory: bool = Field(True, description="listed in the members directory; can be changed at any time")
    hidden_fields: list[HideableField] = Field(default_factory=list, description="hidden from other members")


class ProfileOut(Out):
    """Somebody's own profile, with everything."""

    account_id: UUID
    email: str
    first_name: str
    last_name: str
    phone: str
    position: str
    department: str
    skills: list[str]
    description: str
    language: Language
    in_directory: bool
    hidden_fields: list[HideableField]
    picture_url: str | None
    roles: list[Role]
    version: int


class MemberOut(Out):
    """A member as others see them; what is hidden is empty or null."""

    account_id: UUID
    name: str
    email: str | None
    phone: str
    position: str
    department: str
    skills: list[str]
    description: str
    picture_url: str | None


class LabelsIn(In):
    ids: list[UUID] = Field(max_length=200)


class LabelOut(Out):
    text: str
    url: str | None


class LabelsOut(Out):
    labels: dict[UUID, LabelOut]
