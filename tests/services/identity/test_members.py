"""Profiles, pictures and the directory; opting out is honoured everywhere."""

import io
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from tests.services.identity.conftest import Open
from tests.services.identity.door import Space, profile
from tests.support.testing import Person, ServiceUnderTest


async def fill(person: Person, **fields: Any) -> dict[str, Any]:
    etag = (await person.get("/profile")).headers["ETag"]
    answer = await person.put("/profile", profile(**fields), etag=etag)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def found(person: Person, **query: Any) -> list[str]:
    answer = await person.get("/members", params=query)
    assert answer.status_code == 200, answer.text
    return [member["name"] for member in answer.json()["data"]]


async def test_a_member_fills_reads_and_empties_every_field(space: Space, ada: Person) -> None:
    filled = await fill(
        ada,
        first_name="Ada",
        last_name="Martin",
        phone="01 23 45 67 89",
        position="Engineer",
        department="R&D",
        skills=["Rust", "Comptabilité"],
        description="Likes bridges.",
        language="fr",
    )
    assert filled["phone"] == "+33 1 23 45 67 89"
    assert filled == (await ada.get("/profile")).json()

    emptied = await fill(ada, language="fr")

    kept = ("first_name", "last_name", "phone", "position", "department", "skills", "description")
    assert [emptied[name] for name in kept] == ["", "", "", "", "", [], ""]


async def test_a_profile_is_changed_by_whoever_read_its_latest_version(space: Space, ada: Person) -> None:
    assert (await ada.put("/profile", profile())).status_code == 428
    assert (await ada.put("/profile", profile(), etag='"99"')).status_code == 412
    assert (await ada.put("/profile", profile(phone="call me"), etag='"1"')).status_code == 422
    assert (await ada.put("/profile", profile(role="admin"), etag='"1"')).status_code == 422


async def test_the_directory_finds_by_name_skill_and_department(space: Space, ada: Person, ben: Person) -> None:
    await fill(ada, first_name="Élodie", last_name="Müller", skills=["Comptabilité"], department="Finance")
    await fill(ben, first_name="Ben", last_name="Okafor", skills=["Rust"], department="R&D")

    assert await found(ben, query="elodie") == ["Élodie Müller"]
    assert await found(ben, query="MULLER compta") == ["Élodie Müller"]
    assert await found(ben, query="okafro") == ["Ben Okafor"]
    assert await found(ben, query="100%") == []
    assert await found(ben, skill="rust") == ["Ben Okafor"]
    assert await found(ben, department="finance") == ["Élodie Müller"]
    assert (await ben.get(f"/members/{ada.account_id}")).json()["email"] == "ada@example.com"


async def test_near_words_count_only_where_nobody_has_the_very_words(space: Space, ada: Person, ben: Person) -> None:
    await fill(ada, first_name="Marthe", last_name="Dupont")
    await fill(ben, first_name="Marta", last_name="Dupond")

    assert await found(ben, query="dupond") == ["Marta Dupond"]
    assert await found(ben, query="dupomd") == ["Marta Dupond", "Marthe Dupont"]
    assert await found(ben, query="dup_nd") == await found(ben, query="dup%nd") == []


async def test_the_index_of_the_directory_answers_for_the_own_space_only(
    open_space: Open, identity: ServiceUnderTest
) -> None:
    """`members_like` runs as the owner, whom row security does not bind: it has to keep spaces apart by itself."""
    one, other = await open_space(), await open_space()
    for space in (one, other):
        await fill(await space.signed_in(space.admin_email), first_name="Élodie", last_name="Müller")
    asked = "SELECT members_like(CAST(:contained AS text[]), CAST(:near AS text[]))"

    for words in (
        {"contained": ["muller"], "near": []},
        {"contained": [], "near": ["muler"]},
        {"contained": [], "near": []},
    ):
        assert {row[0] for row in await identity.rows(asked, one.tenant_id, **words)} == {one.admin_id}
        assert await identity.rows(asked, None, **words) == []
    injected = "' OR true --"
    assert await identity.rows(asked, one.tenant_id, contained=[injected], near=[]) == []
    assert await identity.rows(asked, one.tenant_id, contained=[], near=[injected]) == []


async def test_the_directory_is_read_in_pages_each_member_once(space: Space, ada: Person, ben: Person) -> None:
    await fill(ada, first_name="Ada", last_name="Martin")
    await fill(ben, first_name="Ben", last_name="Martin")
    seen: list[str] = []
    cursor = None
    while True:
        answer = (await ada.get("/members", params={"limit": 1, **({"cursor": cursor} if cursor else {})})).json()
        seen += [member["account_id"] for member in answer["data"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 3
    assert (await ada.get("/members", params={"cursor": "bm90IG91cnM"})).json()["code"] == "invalid_cursor"


async def test_who_opts_out_is_in_no_search_no_page_and_no_label(space: Space, ada: Person, ben: Person) -> None:
    await fill(ada, first_name="Ada", last_name="Martin", skills=["Rust"], department="R&D", in_directory=False)

    assert await found(ben, query="ada") == []
    assert await found(ben, skill="Rust") == []
    assert await found(ben, department="R&D") == []
    assert (await ben.get(f"/members/{ada.account_id}")).status_code == 404
    assert await space.labels(ada.account_id) == {str(ada.account_id): {"text": "Membre", "url": None}}
    # Back again at any time.
    await fill(ada, first_name="Ada", last_name="Martin")
    assert await found(ben, query="ada") == ["Ada Martin"]


async def test_a_hidden_field_is_neither_shown_nor_found(space: Space, ada: Person, ben: Person) -> None:
    hidden = ["name", "email", "phone", "skills"]
    await fill(
        ada,
        first_name="Ada",
        last_name="Martin",
        phone="+33123456789",
        skills=["Rust"],
        position="Engineer",
        hidden_fields=hidden,
    )

    shown = (await ben.get(f"/members/{ada.account_id}")).json()
    assert (shown["name"], shown["email"], shown["phone"], shown["skills"]) == ("", None, "", [])
    assert shown["position"] == "Engineer"
    assert await found(ben, query="martin") == []
    assert await found(ben, skill="Rust") == []
    assert (await space.labels(ada.account_id))[str(ada.account_id)]["text"] == "Membre"


async def test_labels_are_names_of_this_tenants_accounts(space: Space, open_space: Any, ada: Person) -> None:
    await fill(ada, first_name="Ada", last_name="Martin")
    elsewhere = await open_space()

    assert await space.labels(ada.account_id, uuid4()) == {
        str(ada.account_id): {"text": "Ada Martin", "url": f"/members/{ada.account_id}"}
    }
    assert await elsewhere.labels(ada.account_id) == {}


async def test_members_of_another_tenant_are_not_there(space: Space, open_space: Any, ada: Person) -> None:
    elsewhere = await open_space()
    stranger = await elsewhere.signed_in(elsewhere.admin_email)

    assert (await stranger.get(f"/members/{ada.account_id}")).status_code == 404
    assert len((await stranger.get("/members")).json()["data"]) == 1


def photo(width: int = 900, height: int = 600, kind: str = "JPEG") -> bytes:
    image = Image.new("RGB", (width, height), (200, 30, 30))
    exif = Image.Exif()
    exif[0x010F] = "Spy camera"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 24.0)
    content = io.BytesIO()
    image.save(content, kind, exif=exif)
    return content.getvalue()


async def test_a_picture_is_redrawn_square_without_metadata(space: Space, ada: Person, ben: Person) -> None:
    assert b"Spy camera" in photo()
    put = await ada.put("/profile/picture", files={"picture": ("me.jpg", photo(), "image/jpeg")})
    assert put.status_code == 200, put.text

    url = (await ben.get(f"/members/{ada.account_id}")).json()["picture_url"]
    shown = await space.public.get(f"http://cowork{url}")

    assert shown.status_code == 200
    assert shown.headers["content-type"] == "image/webp"
    image = Image.open(io.BytesIO(shown.content))
    assert image.size == (512, 512)
    assert not image.getexif()
    assert b"Spy camera" not in shown.content
    assert (await space.public.get(f"http://cowork{url[:-3]}abc")).status_code == 404


@pytest.mark.parametrize("content", [b"<svg onload=alert(1)>", b"GIF89a" + b"\0" * 50, photo()[:200]])
async def test_what_is_no_picture_is_refused(space: Space, ada: Person, content: bytes) -> None:
    answer = await ada.put("/profile/picture", files={"picture": ("me.jpg", content, "image/jpeg")})
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")


async def test_a_picture_bomb_is_refused_before_it_is_decoded(space: Space, ada: Person) -> None:
    content = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(content, "PNG")
    answer = await ada.put("/profile/picture", files={"picture": ("me.png", content.getvalue(), "image/png")})
    assert (answer.status_code, answer.json()["code"]) == (422, "picture_too_large")
    large = await ada.put("/profile/picture", files={"picture": ("me.png", b"\0" * 6_000_000, "image/png")})
    assert large.status_code == 413


async def test_a_replaced_picture_is_deleted_from_the_store(space: Space, ada: Person) -> None:
    service = space.identity.service
    for _ in range(2):
        await ada.put("/profile/picture", files={"picture": ("me.jpg", photo(), "image/jpeg")})
    await space.identity.run_job("delete_erased_files")
    assert len([key async for key in service.files.keys(f"{space.tenant_id}")]) == 1

    assert (await ada.delete("/profile/picture")).status_code == 204
    await space.identity.run_job("delete_erased_files")
    assert [key async for key in service.files.keys(f"{space.tenant_id}")] == []
