"""What each column holds about whom. One declaration, four uses: erase, export, sweep, Article 30 register.

Columns carry `personal`, `person_ref`, `link` or `not_personal` in their `info`; tables carry `subject`,
`no_subject` in theirs. The census test compares the marks with the migrated database, column by column.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MARK = "privacy"
# `info` of a partial index that starts with the tenant: rows that wait for a job, which asks it for their tenants.
QUEUE = {"is_queue": True}


class Erase(StrEnum):
    """What happens to a column of a row whose person is erased."""

    DELETE_ROW = "delete_row"  # the row goes
    NULL = "null"
    GENERALIZE = "generalize"  # replaced by the mark's constant `to`
    SURROGATE = "surrogate"  # person_ref only: a fresh random id, one per value of the mark's `scope` column
    BY_CHOICE = "by_choice"  # NULL when the member chose to remove their content, else masked and kept
    RETAIN = "retain"  # stays until the mark's date, on the mark's ground


class Export(StrEnum):
    """Which export carries the value: access (Article 15) only, or portability (Article 20) too."""

    PORTABLE = "portable"
    ACCESS = "access"
    NONE = "none"


class Row(StrEnum):
    """What happens to the person's own rows of a table."""

    DELETE = "delete"
    KEEP = "keep"
    RETAIN = "retain"


@dataclass(frozen=True, slots=True)
class Retention:
    """A legal ground to keep a row, the SQL condition under which it holds and the expression of its end.

    `until` is an SQL expression over the table's columns of type date or timestamptz (NULL = until settled).
    `when` is an SQL condition over the table's columns; rows for which it is false are erased.
    `article` cites the rule.
    """

    ground: str
    article: str
    until: str
    when: str = "true"


@dataclass(frozen=True, slots=True)
class Personal:
    category: str
    erase: Erase
    export: Export
    purpose: str
    basis: str
    keep: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class PersonRef:
    erase: Erase
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    target: str
    erase: Erase


@dataclass(frozen=True, slots=True)
class NotPersonal:
    reason: str


ColumnMark = Personal | PersonRef | Link | NotPersonal


@dataclass(frozen=True, slots=True)
class Via:
    """One hop to the person: `table.key = this.column` and `table.account` is the account id."""

    table: str
    key: str
    account: str


@dataclass(frozen=True, slots=True)
class Subject:
    """The table's path to its person and what erasure does with that person's rows."""

    column: str
    row: Row
    via: Via | None = None
    orphan: str | None = None
    retention: Retention | None = None
    guard: bool = True


@dataclass(frozen=True, slots=True)
class NoSubject:
    reason: str


TableMark = Subject | NoSubject


@dataclass(frozen=True, slots=True)
class Sweep:
    """Limited storage: rows go once `due` (an SQL condition; `:now` is bound) holds, whoever they belong to.

    `action` is "delete" or "erase" (the table's erasure rules applied to the row). `keep` is the label of the
    retention rule as the register prints it.
    """

    keep: str
    due: str
    action: str = "delete"


def personal(
    category: str,
    *,
    erase: Erase,
    export: Export,
    purpose: str,
    basis: str,
    keep: str,
    to: str | None = None,
) -> dict[str, Any]:
    """Mark a column that says something about a person.

    `category` is dotted (`contact.email`, `content.text`); `purpose` and `basis` are those of the Article 30
    register (`account`/`contract`, `prospecting`/`consent` …); `keep` names the retention rule (`account`,
    `case`, `10y_after_financial_year`). GENERALIZE needs `to`.
    """
    if (erase is Erase.GENERALIZE) != (to is not None):
        raise ValueError("GENERALIZE, and only it, names its constant")
    return {MARK: Personal(category, erase, export, purpose, basis, keep, to)}


def person_ref(*, erase: Erase, scope: str | None = None) -> dict[str, Any]:
    """Mark a column that holds an account id, also of a second person (assignee, approver, moderator).

    SURROGATE takes `scope`: the column whose every value gets its own random id, so that two threads cannot be
    joined on their author.
    """
    if (erase is Erase.SURROGATE) != (scope is not None):
        raise ValueError("SURROGATE, and only it, names its scope column")
    return {MARK: PersonRef(erase, scope)}


def link(target: str, *, erase: Erase = Erase.NULL) -> dict[str, Any]:
    """Mark a reference to another service's row (`booking.reservation`); a join, so nulled at erasure."""
    return {MARK: Link(target, erase)}


def not_personal(reason: str) -> dict[str, Any]:
    """Mark a column that says nothing about a person, with the reason."""
    return {MARK: NotPersonal(reason)}


def subject(
    column: str,
    *,
    row: Row,
    via: Via | None = None,
    orphan: str | None = None,
    retention: Retention | None = None,
    guard: bool = True,
    sweep: Sweep | None = None,
) -> dict[str, Any]:
    """Mark a table: which column leads to its person (directly, or over `via`) and what erasure does.

    A nullable `column` needs `orphan`: what a row without a person means and when it goes. `guard=False` exempts
    the table from the tombstone trigger (retained records only).
    """
    if (row is Row.RETAIN) != (retention is not None):
        raise ValueError("RETAIN, and only it, names its ground")
    return {MARK: Subject(column, row, via, orphan, retention, guard), "sweep": sweep}


def no_subject(reason: str, *, sweep: Sweep | None = None) -> dict[str, Any]:
    """Mark a table without an owner (it may still hold `person_ref` columns of second persons)."""
    return {MARK: NoSubject(reason), "sweep": sweep}
