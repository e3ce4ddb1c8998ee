"""Saves a picture so small that it can live in git."""

from io import BytesIO
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

mpl.use("agg")

MAX_BYTES: Final = 60 * 1024
COLOURS: Final = 32  # lines, letters and their edges need no more
RESOLUTIONS: Final = range(110, 25, -5)  # dots an inch; the first that is small enough is taken


def save_picture(figure: Figure, path: Path) -> None:
    """Write the figure as PNG.

    Raises:
        ValueError: it has more than `MAX_BYTES`, however coarse it is.
    """
    for dots in RESOLUTIONS:
        drawn, packed = BytesIO(), BytesIO()
        figure.savefig(drawn, format="png", dpi=dots)
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(packed, format="png", optimize=True)
        if packed.tell() <= MAX_BYTES:
            path.write_bytes(packed.getvalue())
            return
    raise ValueError(f"{path} would have {packed.tell()} bytes; draw less")
