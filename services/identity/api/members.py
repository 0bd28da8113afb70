"""One's own profile and picture, and the members directory."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, UploadFile

from services.identity import pictures
from services.identity.actions import directory, profiles
from services.identity.api.needs import PUBLIC, FileStore, Store
from services.identity.errors import NoPicture, NotAPicture, PictureTooLarge, UnknownAccount
from services.identity.models import Account, Profile
from services.identity.schemas.members import MemberOut, ProfileIn, ProfileOut
from shared.auth import CurrentCaller, Session, check_standing
from shared.files import Files
from shared.http import IfMatch, Page, Paging, check_match, set_etag
from shared.problems import NotFound, PreconditionFailed, PreconditionRequired, TooLarge, declared

router = APIRouter(tags=["members"])
FORM_BYTES = 4096


@router.get("/profile")
async def read_profile(caller: CurrentCaller, session: Session, response: Response, files: FileStore) -> ProfileOut:
    """One's own profile, with what others do not see."""
    account, profile = await profiles.get_profile(session, caller.account_id)
    set_etag(response, profile.version)
    return _own(account, profile, files)


@router.put("/profile", responses=declared(PreconditionFailed, PreconditionRequired))
async def replace_profile(
    body: ProfileIn,
    caller: CurrentCaller,
    session: Session,
    response: Response,
    files: FileStore,
    if_match: IfMatch = None,
) -> ProfileOut:
    """Replace every field; what is empty is deleted."""
    account, profile = await profiles.get_profile(session, caller.account_id, for_update=True)
    check_match(if_match, profile.version)
    await profiles.replace_profile(session, account, profile, body.model_dump())
    set_etag(response, profile.version)
    return _own(account, profile, files)


@router.put(
    "/profile/picture",
    max_body_size=pictures.MAX_BYTES + FORM_BYTES,
    responses=declared(NotAPicture, PictureTooLarge, TooLarge),
)
async def put_picture(
    picture: UploadFile, caller: CurrentCaller, response: Response, database: Store, files: FileStore
) -> ProfileOut:
    """Show a JPEG, PNG or WebP picture, cut square and redrawn without its metadata."""
    drawn = await pictures.redraw(picture.file)
    key = profiles.new_picture_key(caller.tenant_id)
    # The file is there before the row that names it; without the row it must not stay.
    await files.put(key, drawn)
    try:
        async with database.transaction() as session:
            await check_standing(session, caller)
            account, profile = await profiles.get_profile(session, caller.account_id, for_update=True)
            await profiles.put_picture(session, profile, key)
    except BaseException:
        await files.delete(key)
        raise
    set_etag(response, profile.version)
    return _own(account, profile, files)


@router.delete("/profile/picture", status_code=204)
async def delete_picture(caller: CurrentCaller, session: Session) -> None:
    """Delete one's picture and its file."""
    _, profile = await profiles.get_profile(session, caller.account_id, for_update=True)
    await profiles.put_picture(session, profile, None)


@router.get("/members")
async def search_members(
    caller: CurrentCaller,
    session: Session,
    paging: Paging,
    files: FileStore,
    query: Annotated[
        str | None, Query(max_length=100, description="words of name, position, department, skills")
    ] = None,
    skill: Annotated[str | None, Query(max_length=40)] = None,
    department: Annotated[str | None, Query(max_length=80)] = None,
) -> Page[MemberOut]:
    """The directory by name; accents, case and small misspellings do not matter. Also serves mention completion."""
    rows = await directory.search_members(
        session,
        query=query,
        skill=skill,
        department=department,
        limit=paging.limit + 1,
        after=paging.after(str, UUID),
    )
    shown, following = paging.page(rows, lambda row: (row[1].sort_name, row[1].account_id))
    return Page(data=[_shown(account, profile, files) for account, profile in shown], next_cursor=following)


@router.get("/members/{account_id}", responses=declared(UnknownAccount))
async def read_member(account_id: UUID, caller: CurrentCaller, session: Session, files: FileStore) -> MemberOut:
    """A listed member; one who left the directory is not found."""
    account, profile = await directory.get_member(session, account_id)
    return _shown(account, profile, files)


@router.get("/pictures/{tenant_id}/{name}", openapi_extra=PUBLIC, responses=declared(NoPicture))
async def show_picture(
    tenant_id: UUID,
    name: str,
    files: FileStore,
    expires: int,
    signature: Annotated[str, Query(max_length=64)],
) -> Response:
    """A picture by its signed address, which profile and directory give out for five minutes."""
    key = f"{tenant_id}/{name}"
    if not files.is_signed(key, expires=expires, signature=signature):
        raise NoPicture
    try:
        content = await files.get(key)
    except NotFound as error:
        raise NoPicture from error
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"})


def _picture_url(files: Files, key: str | None) -> str | None:
    return None if key is None else f"/api/identity/v1/pictures/{key}?{files.sign(key)}"


def _own(account: Account, profile: Profile, files: Files) -> ProfileOut:
    return ProfileOut(
        account_id=account.id,
        email=account.email,
        first_name=profile.first_name,
        last_name=profile.last_name,
        phone=profile.phone,
        position=profile.position,
        department=profile.department,
        skills=profile.skills,
        description=profile.description,
        language=account.language,
        in_directory=profile.in_directory,
        hidden_fields=profile.hidden_fields,
        picture_url=_picture_url(files, profile.picture_key),
        roles=sorted(account.role_set),
        version=profile.version,
    )


def _shown(account: Account, profile: Profile, files: Files) -> MemberOut:
    def visible(field: str, value: str) -> str:
        return value if profile.shows(field) else ""

    return MemberOut(
        account_id=account.id,
        name=visible("name", profile.full_name),
        email=account.email if profile.shows("email") else None,
        phone=visible("phone", profile.phone),
        position=visible("position", profile.position),
        department=visible("department", profile.department),
        skills=profile.skills if profile.shows("skills") else [],
        description=visible("description", profile.description),
        picture_url=_picture_url(files, profile.picture_key) if profile.shows("picture") else None,
    )
