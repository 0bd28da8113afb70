"""Which ledger a restore believes: the newest whole one that goes on from the backup's, and no other."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.backup.ledger import NoLedger, choose_ledger, dump_ledger, load_ledger, require_state
from deploy.backup.manifest import LedgerState, Manifest
from deploy.backup.places import LEDGER, Place, connected
from services.privacy.ledger import ChainBroken, Entry, open_ledger
from shared.db import utc_now, uuid7


def manifest(state: LedgerState) -> Manifest:
    return Manifest(made_at=utc_now(), postgres=18, services={}, ledger=state, parts={})


async def write_down(place: Place, *ages: timedelta) -> None:
    """Note one erasure for each age."""
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        for age in ages:
            digest = ledger.digest(uuid7(), uuid7())
            await ledger.append(Entry(digest, "completed", "remove", utc_now() - age))


async def test_a_backup_that_the_ledger_no_longer_remembers_is_refused(place: Place) -> None:
    await write_down(place, timedelta(days=200))
    old, younger = await require_state(place), timedelta(days=100)
    await write_down(place, younger, timedelta(days=1))
    between = old.model_copy(update={"position": old.position + 1, "head": None})
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        assert await ledger.prune(before=utc_now() - timedelta(days=65)) == 2
    with pytest.raises(NoLedger, match="positions 2 to 2, has been pruned and would come back"):
        await choose_ledger(place, manifest(old), None)
    assert (await choose_ledger(place, manifest(between), None)).dump is None, "everybody since is still in it"


async def test_another_ledger_than_the_backups_is_refused_even_when_it_is_longer(place: Place) -> None:
    state = await require_state(place)
    other = state.model_copy(update={"id": uuid4()})
    assert (await choose_ledger(place, manifest(state), None)).dump is None
    with pytest.raises(NoLedger, match="is new"):
        await choose_ledger(place, manifest(other), None)
    await write_down(place, timedelta(days=1), timedelta(days=1))
    with pytest.raises(NoLedger, match="another one"):
        await choose_ledger(place, manifest(other), None)
    ahead = (await require_state(place)).model_copy(update={"position": 9})
    with pytest.raises(NoLedger, match="older than the backup"):
        await choose_ledger(place, manifest(ahead), None)


async def test_a_chain_that_has_left_the_backups_is_noticed(place: Place) -> None:
    await write_down(place, timedelta(days=1))
    state = await require_state(place)
    await write_down(place, timedelta(days=1))
    await choose_ledger(place, manifest(state), None)
    with pytest.raises(NoLedger, match=r"chain breaks at position 1, or the key .* whole dump with --ledger"):
        await choose_ledger(place, manifest(state.model_copy(update={"head": "00" * 32})), None)


async def test_a_broken_ledger_gives_way_to_a_whole_dump_and_to_no_other(place: Place, tmp_path: Path) -> None:
    whole, broken, every = tmp_path / "whole", tmp_path / "broken", "SELECT * FROM entries ORDER BY position"
    await write_down(place, timedelta(days=2))
    state = await dumped(place, whole)
    await write_down(place, timedelta(days=1))
    async with connected(place.owners[LEDGER]) as owner:
        await owner.execute("UPDATE entries SET content = 'keep' WHERE position = 1")
        before = await owner.fetch(every)
    await dumped(place, broken)
    with pytest.raises(ChainBroken):
        await load_ledger(place, await choose_ledger(place, manifest(state), broken))
    async with connected(place.owners[LEDGER]) as owner:
        assert await owner.fetch(every) == before, "nothing is lost for it"
    await load_ledger(place, await choose_ledger(place, manifest(state), whole))
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        assert await ledger.verify() == 2
        assert await ledger.contents() == {row["subject_hmac"]: "remove" for row in before}, "whom it named is named"
    assert (await choose_ledger(place, manifest(state), None)).dump is None


async def dumped(place: Place, folder: Path) -> LedgerState:
    folder.mkdir()
    return (await dump_ledger(place, folder, now=utc_now())).state
