"""Figures and images as text inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from crow.extras import extra
from crow.report.blocks import Picture
from crow.report.figures import style

with extra("report"):
    from matplotlib.figure import Figure
    from PIL import Image

MAX_SVG = 150_000  # characters; a figure with many dots is smaller as PNG


def drawn(figure: Figure, alt: str, caption: str = "") -> Picture:
    """A figure for the page: as SVG, which prints sharply, or as PNG if the SVG would be large."""
    width = round(figure.get_size_inches()[0] * 100)
    with style():
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        if file.tell() < MAX_SVG:
            return Picture(uri("svg+xml", file.getvalue()), alt, caption, width)
        figure.set_layout_engine("none")  # it is laid out, which takes half of the time
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=160)
    return Picture(uri("png", file.getvalue()), alt, caption, width)


def image(picture: Image.Image, alt: str, caption: str = "", dark: bool = False) -> Picture:
    """An image for the page."""
    return Picture(image_uri(picture, small=True), alt, caption, picture.width, dark)


def image_uri(picture: Image.Image, small: bool = False) -> str:
    """An image as an address of its own content; ``small`` takes longer."""
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=small)
    return uri("png", file.getvalue())


def png(path: Path, alt: str, caption: str = "", dark: bool = False) -> Picture | None:
    """A PNG file for the page; None if it is not a readable image."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            opened.verify()
            width = opened.width
    except (OSError, SyntaxError, ValueError):
        return None
    return Picture(uri("png", data), alt, caption, width, dark)


def uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
