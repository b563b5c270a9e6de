"""Small files that state, or grow to, far more than they hold."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image


def measure(work: Callable[[], object]) -> tuple[float, int]:
    """(seconds, bytes by which this process grew at most) of a call; its errors pass."""
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew (Linux, proc(5))
    before, start = _status("VmRSS"), time.process_time()
    work()
    return time.process_time() - start, _status("VmHWM") - before


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"{name}:")[2].split()[0])


def tiff_of_stated_channels(count: int = 1_000_000) -> bytes:
    """One small page, whose OME text states many channels."""
    stream = io.BytesIO()
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" '
        f'SizeX="32" SizeY="32" SizeC="{count}" SizeZ="1" SizeT="1"><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(stream, np.zeros((32, 32), np.uint16), description=text, metadata=None)
    return stream.getvalue()


def imagej_of_stated_pages(count: int = 1_000_000) -> bytes:
    """One small page, whose ImageJ text states many."""
    stream = io.BytesIO()
    text = f"ImageJ=1.53k\nimages={count}\nchannels={count}\nhyperstack=true\nmode=grayscale\n"
    tifffile.imwrite(stream, np.zeros((32, 32), np.uint16), description=text, metadata=None)
    return stream.getvalue()


def shaped_of_stated_pages(count: int = 1_000_000) -> bytes:
    """One small page, whose text in tifffile's own JSON states many."""
    stream = io.BytesIO()
    text = f'{{"shape": [{count}, 32, 32], "axes": "CYX"}}'
    tifffile.imwrite(stream, np.zeros((32, 32), np.uint16), description=text, metadata=None)
    return stream.getvalue()


def tiff_of_many_samples(count: int = 60_000) -> bytes:
    """One pixel of many channels, which are really there; its record would be 224 x 224 of them."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((1, 1, count), np.uint16), planarconfig="contig")
    return stream.getvalue()


def tiff_of_a_growing_strip(grown: int = 1 << 30) -> bytes:
    """32 x 32 pixels in a strip of Deflate that holds a gigabyte."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((32, 32), np.uint16), compression="zlib", metadata=None)
    data = bytearray(stream.getvalue())
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    strip = b"".join(packer.compress(block) for _ in range(grown >> 20)) + packer.flush()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        places = (tags["StripOffsets"], len(data)), (tags["StripByteCounts"], len(strip))
        for tag, value in places:
            size = {3: "<H", 4: "<I"}[tag.dtype.value]
            if size == "<H":  # widen the tag
                struct.pack_into("<HHI", data, tag.offset, tag.code, 4, 1)
            struct.pack_into("<I", data, tag.offset + 8, value)
    return bytes(data) + strip


def tiff_of_many_pages(count: int = 200_000) -> bytes:
    """Directories of 16-bit pixels without data of their own."""
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 128)]
    size = 2 + 12 * len(tags) + 4
    head = struct.pack("<2sHI", b"II", 42, 8 + 128) + bytes(128)
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    pages = [
        struct.pack("<H", len(tags))
        + rows
        + struct.pack("<I", 8 + 128 + size * (n + 1) if n + 1 < count else 0)
        for n in range(count)
    ]
    return head + b"".join(pages)


def jpeg_of_empty_scans(scans: int, side: int = 4096) -> bytes:
    """A progressive JPEG with scans that hold nothing."""
    stream = io.BytesIO()
    Image.new("L", (side, side)).save(stream, "JPEG", progressive=True, quality=10)
    data = stream.getvalue()
    # a refinement of coefficients 1 to 63 with an end-of-band run over 32,767 blocks at a time
    table = b"\xff\xc4" + struct.pack(">HB", 2 + 1 + 16 + 1, 0x10) + bytes([1] + [0] * 15) + b"\xe0"
    runs = -(-((side // 8) ** 2) // 32767)
    bits = "".join("0" + "1" * 14 for _ in range(runs))
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0x00, 1, 63, 0x00) + coded
    end = data.rindex(b"\xff\xd9")
    return data[:end] + table + scan * scans + data[end:]


def bmp_of_runs(width: int = 14_000, height: int = 14_000) -> bytes:
    """RLE8: jumps over 255 lines each, which the decoder fills in."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 2835, 2835, 256, 0)
    coded = b"\x00\x02\x00\xff" * (height // 255 + 1) + b"\x00\x01"
    offset = 14 + len(head) + 1024
    return (
        struct.pack("<2sIHHI", b"BM", offset + len(coded), 0, 0, offset)
        + head
        + bytes(1024)
        + coded
    )


def npy_of_stated_shape(shape: tuple[int, ...] = (40_000, 40_000, 2)) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


def npy_of_many_channels(count: int = 100_000) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 1, count), np.float32))
    return stream.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "TIFF that states channels (OME)": tiff_of_stated_channels,
    "TIFF that states pages (ImageJ)": imagej_of_stated_pages,
    "TIFF that states pages (JSON)": shaped_of_stated_pages,
    "TIFF of 60,000 samples a pixel": tiff_of_many_samples,
    "TIFF whose strip grows": tiff_of_a_growing_strip,
    "TIFF of 200,000 pages": tiff_of_many_pages,
    "JPEG of 1,000 empty scans": lambda: jpeg_of_empty_scans(1_000),
    "PPM of text": lambda: b"P1 14000 14000\n" + b"1" * 14_000,
    "JPEG of 9,000 empty scans": lambda: jpeg_of_empty_scans(9_000, 2048),
    "BMP of runs": bmp_of_runs,
    "npy that states its shape": npy_of_stated_shape,
    "npy of 100,000 channels": npy_of_many_channels,
}
