"""The pictures of the notebooks as PNG with a palette: drawings have few colours, and a palette takes a quarter of the bytes.

    python docs/palette.py notebooks/*.ipynb

Times of execution, which differ from run to run, are taken out.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

COLOURS = 256


def small(png: bytes) -> bytes:
    """A PNG with a palette, on white, with the dots per inch that it had; the same one where that is no smaller."""
    with Image.open(io.BytesIO(png)) as picture:
        if picture.mode == "P":
            return png
        flat = Image.new("RGBA", picture.size, "white")
        flat.alpha_composite(picture.convert("RGBA"))
        made, dpi = io.BytesIO(), picture.info.get("dpi", (72, 72))
    found = flat.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    found.save(made, "PNG", optimize=True, dpi=dpi)
    return min(made.getvalue(), png, key=len)


def settle(path: Path) -> None:
    """Make the pictures of a notebook small, in place."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = base64.b64encode(small(base64.b64decode(output["data"]["image/png"]))).decode()
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        settle(Path(name))
