"""The object store's part of a backup: per service one tar of the files that the snapshot's rows name.

Files are copied after the snapshots, and that order is safe: a file is stored before the row that names it is committed,
its key is random and its content never changes, so what a row of the snapshot names is there, unless its person was erased
or has replaced it meanwhile, and then it is meant to be gone. What was stored later is named by no row and is left out.
"""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from shared.files import Files
from shared.problems import NotFound


def files_of(url: str, service: str) -> Files:
    """Return a service's files; links are not signed with these."""
    return Files(url, service, signing_key="")


async def pack(files: Files, keys: Iterable[str], path: Path) -> tuple[int, int]:
    """Write these files into a tar; return how many, and how many had gone meanwhile."""
    packed = gone = 0
    with tarfile.open(path, "w") as archive:
        for key in keys:
            try:
                content = await files.get(key)
            except NotFound:
                gone += 1
                continue
            member = tarfile.TarInfo(key)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            packed += 1
    return packed, gone


async def unpack(path: Path | None, files: Files) -> int:
    """Replace a service's files by those of a tar (None: by none); return how many."""
    stored = files.keys()
    for key in [key async for key in stored]:
        await files.delete(key)
    if path is None:
        return 0
    unpacked = 0
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                await files.put(member.name, content.read())
                unpacked += 1
    return unpacked
