"""Redrawing pictures: upright, refused when bad, and bounded in what they hold while it lasts."""

import asyncio
import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from services.identity.errors import NotAPicture, PictureTooLarge
from services.identity.pictures import MAX_PIXELS, MAX_WEBP_PIXELS, redraw

# The cut-off beginning of EXIF: a header that promises an offset which is not there.
CUT_OFF_EXIF = b"Exif\0\0MM\0*"
# `VmHWM` is the most that this process ever held; `ru_maxrss` would begin with what its parent did.
PEAK = """
import asyncio, io, sys
from pathlib import Path
from PIL import Image
from services.identity.pictures import redraw

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

small = io.BytesIO()
Image.new("RGB", (600, 600)).save(small, "PNG")
small.seek(0)
asyncio.run(redraw(small))
before = peak()
with open(sys.argv[1], "rb") as picture:
    asyncio.run(redraw(picture))
print((peak() - before) // 1024)
"""


def encoded(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    content = io.BytesIO()
    image.save(content, kind, **options)
    content.seek(0)
    return content


def quarters(width: int, height: int) -> Image.Image:
    """A picture whose four corners differ, so that every turn of it does."""
    image = Image.new("RGB", (width, height), "red")
    for colour, box in (
        ("lime", (width // 2, 0, width, height // 2)),
        ("blue", (0, height // 2, width // 2, height)),
        ("white", (width // 2, height // 2, width, height)),
    ):
        image.paste(colour, box)
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_picture_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(quarters(2400, 1300), kind, exif=exif)
    with Image.open(content) as taken:
        upright = ImageOps.fit(ImageOps.exif_transpose(taken).convert("RGB"), (512, 512))
    content.seek(0)

    with Image.open(io.BytesIO(await redraw(content))) as drawn:
        assert drawn.size == (512, 512)
        # Away from the edges between the quarters nothing but the loss of WebP differs.
        for corner in ((0, 0), (512 - 240, 0), (0, 512 - 240), (512 - 240, 512 - 240)):
            box = (*corner, corner[0] + 240, corner[1] + 240)
            difference = ImageChops.difference(drawn.convert("RGB").crop(box), upright.crop(box))
            assert max(high for _, high in ImageStat.Stat(difference).extrema) < 40


async def test_a_small_picture_is_not_enlarged() -> None:
    with Image.open(io.BytesIO(await redraw(encoded(quarters(90, 60), "PNG")))) as drawn:
        assert drawn.size == (60, 60)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_a_picture_with_cut_off_exif_is_refused(kind: str) -> None:
    with pytest.raises(NotAPicture):
        await redraw(encoded(quarters(90, 60), kind, exif=CUT_OFF_EXIF))


@pytest.mark.parametrize(("kind", "most"), [("PNG", MAX_PIXELS), ("WEBP", MAX_WEBP_PIXELS)])
async def test_a_picture_of_more_pixels_is_refused_and_told_how_many_are_accepted(kind: str, most: int) -> None:
    content = encoded(Image.new("L", (2_000, most // 2_000 + 1)), kind)
    with pytest.raises(PictureTooLarge) as refused:
        await redraw(content)
    assert refused.value.members == {"most_pixels": most}


@pytest.mark.parametrize(
    ("kind", "mode", "size", "most_mib"),
    [
        ("PNG", "RGBA", (5_000, 5_000), 150),
        ("JPEG", "CMYK", (25_000, 1_000), 320),
        ("WEBP", "RGB", (4_000, 4_000), 280),
    ],
)
def test_the_largest_pictures_fit_beside_the_service(
    tmp_path: Path, kind: str, mode: str, size: tuple[int, int], most_mib: int
) -> None:
    options = {"PNG": {"compress_level": 1}, "JPEG": {"progressive": True, "subsampling": 0}, "WEBP": {"method": 0}}
    file = tmp_path / "largest"
    Image.new(mode, size).save(file, kind, **options[kind])

    held = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True)

    assert int(held.stdout) < most_mib


class Held(io.BytesIO):
    """A picture that is read once `gate` opens."""

    def __init__(self, content: bytes, gate: threading.Event) -> None:
        super().__init__(content)
        self.gate, self.is_begun = gate, threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.is_begun.set()
        self.gate.wait(30)
        return super().read(size)


async def test_a_picture_is_not_begun_before_the_one_in_front_of_it_is_done() -> None:
    gate, content = threading.Event(), encoded(quarters(900, 600), "PNG").getvalue()
    first, second = Held(content, gate), Held(content, gate)
    redrawn = [asyncio.create_task(redraw(each)) for each in (first, second)]

    assert await asyncio.to_thread(first.is_begun.wait, 30)
    assert not await asyncio.to_thread(second.is_begun.wait, 0.3)
    gate.set()

    assert all(await asyncio.gather(*redrawn))
