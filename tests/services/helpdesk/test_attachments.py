"""Files on tickets: pictures lose their metadata and nothing else, and no file is without a row that leads to it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from services.helpdesk.actions import words
from services.helpdesk.attachments import cleaned
from shared.db import fetch, utc_now
from shared.events.erasure import RECEIPTS
from shared.privacy import retention

ACCOUNT_ERASED, _, _ = RECEIPTS["helpdesk"]
UPRIGHT, UPSIDE_DOWN, TURNED = 1, 3, 6


def written(picture: Image.Image, kind: str, **more: Any) -> bytes:
    output = io.BytesIO()
    picture.save(output, kind, **more)
    return output.getvalue()


def tags(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x013B] = "Nora Example"
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 24.0)}
    return exif


def redrawn(content: bytes) -> tuple[Image.Image, str]:
    kept, media_type = cleaned(content)
    assert b"Nora" not in kept
    picture = Image.open(io.BytesIO(kept))
    picture.load()
    assert dict(picture.getexif()) == {}
    return picture, media_type


def half_red(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """A blue picture whose left half is red."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    return picture


def is_red(picture: Image.Image, x: int, y: int) -> bool:
    red, _, blue = picture.convert("RGB").getpixel((x, y))  # type: ignore[misc]
    return red > 200 and blue < 60


async def test_a_telephones_picture_of_several_frames_is_attached_as_a_jpeg(desk: Any) -> None:
    preview = Image.new("RGB", (10, 5), "black")
    content = written(half_red(), "MPO", save_all=True, append_images=[preview], exif=tags(UPRIGHT))
    made = await desk.attach(desk.ada, await desk.ticket(desk.ada), content, name="door.jpg")
    assert (made.status_code, made.json()["media_type"]) == (201, "image/jpeg")
    stored = (await desk.ada.get(f"/attachments/{made.json()['id']}")).content
    picture = Image.open(io.BytesIO(stored))
    assert (picture.format, picture.size, is_red(picture, 5, 5)) == ("JPEG", (40, 20), True)
    assert b"Nora" not in stored


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [(UPRIGHT, (40, 20), (5, 10)), (UPSIDE_DOWN, (40, 20), (35, 10)), (TURNED, (20, 40), (10, 5))],
)
def test_a_picture_is_turned_as_its_camera_was_held(
    kind: str, orientation: int, size: tuple[int, int], red: tuple[int, int]
) -> None:
    picture, media_type = redrawn(written(half_red(), kind, exif=tags(orientation)))
    assert (picture.size, media_type) == (size, f"image/{kind.lower()}")
    assert is_red(picture, *red)
    assert not is_red(picture, size[0] - 1 - red[0], size[1] - 1 - red[1])


def test_an_indexed_picture_keeps_its_colours() -> None:
    picture, _ = redrawn(written(half_red().quantize(4), "PNG", exif=tags(UPRIGHT)))
    assert is_red(picture, 5, 5)
    assert not is_red(picture, 35, 5)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_the_transparent_colour_of_a_picture_stays_transparent(mode: str) -> None:
    source = half_red().quantize(4) if mode == "P" else half_red()
    corner = source.getpixel((0, 0))
    picture, _ = redrawn(written(source, "PNG", transparency=corner))
    alpha = picture.convert("RGBA").getchannel("A")
    assert (alpha.getpixel((5, 5)), alpha.getpixel((35, 5))) == (0, 255)


def test_tags_that_cannot_be_written_again_do_not_refuse_a_picture() -> None:
    broken = tags(TURNED).tobytes().replace(b"\x01\x3b\x00\x02", b"\x01\x3b\x00\x0b")
    picture, _ = redrawn(written(half_red(), "JPEG", exif=broken))
    assert picture.size == (20, 40)


async def test_what_a_killed_upload_leaves_is_shown_to_nobody_and_swept_after_a_day(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    key = await _killed_upload(desk, desk.ada, ticket)
    assert (await desk.ada.get(f"/tickets/{ticket}/attachments")).json() == []
    about_ada = {"tenant_id": str(desk.tenant)}
    export = (await desk.helpdesk.internal.get(f"/exports/{desk.ada.account_id}", params=about_ada)).json()
    assert (export["files"], export["tables"].keys()) == ([], {"tickets", "replies"})
    service, now = desk.helpdesk.service, utc_now()
    for hours, is_left in ((23, True), (25, False)):
        await retention.sweep(service.database, service.manifest, now=now + timedelta(hours=hours))
        await desk.helpdesk.run_job("delete_erased_files")
        assert (key in await desk.stored()) == is_left
    assert await desk.helpdesk.rows("SELECT 1 FROM uploads", desk.tenant) == []


async def test_an_erasure_finds_what_a_killed_upload_leaves(desk: Any) -> None:
    ticket = await desk.ticket(desk.nora)
    key = await _killed_upload(desk, desk.nora, ticket)
    await desk.erase(desk.nora.account_id)
    assert await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant) == [], "the file is still there"
    await desk.helpdesk.run_job("delete_erased_files")
    assert key not in await desk.stored()
    assert len(await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant)) == 1


async def test_a_file_whose_commit_went_through_stays_though_nobody_heard_the_answer(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await desk.ticket(desk.ada)
    transaction = desk.helpdesk.database.transaction

    @asynccontextmanager
    async def lost_after_commit(tenant_id: Any, *, admitting: str | None = None) -> AsyncIterator[Any]:
        async with transaction(tenant_id, admitting=admitting) as session:
            yield session
            is_attached = bool(await fetch(session, "SELECT 1 FROM attachments"))
        if is_attached and admitting:
            raise ConnectionError

    monkeypatch.setattr(desk.helpdesk.database, "transaction", lost_after_commit)
    assert (await desk.attach(desk.ada, ticket, b"a scan")).status_code == 503
    monkeypatch.undo()
    (shown,) = (await desk.ada.get(f"/tickets/{ticket}/attachments")).json()
    assert (await desk.ada.get(f"/attachments/{shown['id']}")).content == b"a scan"


async def _killed_upload(desk: Any, person: Any, ticket: str) -> str:
    """The process ends between the file and the commit that would show it."""
    async with desk.helpdesk.database.transaction(desk.tenant) as session:
        key: str = await words.begin_upload(session, desk.caller(person), ticket)
    await desk.helpdesk.service.files.put(key, b"a scan")
    return key


async def test_a_file_is_noted_before_it_is_stored_and_shown_afterwards(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await desk.ticket(desk.ada)
    files, noted = desk.helpdesk.service.files, []
    put = files.put

    async def look_and_put(key: str, content: bytes) -> None:
        noted.extend(await desk.helpdesk.rows("SELECT key FROM uploads WHERE key = :key", desk.tenant, key=key))
        assert (await desk.ada.get(f"/tickets/{ticket}/attachments")).json() == []
        await put(key, content)

    monkeypatch.setattr(files, "put", look_and_put)
    made = await desk.attach(desk.ada, ticket, b"a scan")
    assert (made.status_code, len(noted)) == (201, 1)
    assert (await desk.ada.get(f"/attachments/{made.json()['id']}")).content == b"a scan"
    assert await desk.helpdesk.rows("SELECT 1 FROM uploads", desk.tenant) == []
