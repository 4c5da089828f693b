"""Charts as pictures: for printing, for a page without scripts, and as files."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from perdure.report.chart import Chart
from perdure.report.plots import figure, render


def picture(chart: Chart) -> bytes:
    """One chart as the bytes of a PNG file, the same for the same numbers."""
    return render(figure([chart]), "png")


def sheet(pictures: Sequence[bytes], columns: int = 3) -> bytes:
    """Pictures of one size on a white grid, as the bytes of a PNG file.

    Args:
        pictures: PNG files, at least one; the largest gives the size of a cell.
        columns: at most; fewer where the rows come out fuller.
    """
    from PIL import Image  # comes with matplotlib

    if len(pictures) == 1:
        return pictures[0]
    columns = math.ceil(len(pictures) / math.ceil(len(pictures) / columns))
    panels = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    whole = Image.new("RGB", (width * min(columns, len(panels)), height * math.ceil(len(panels) / columns)), "white")
    for i, panel in enumerate(panels):
        whole.paste(panel, (width * (i % columns), height * (i // columns)))
    return _png(whole)


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that a page can hold.

    >>> data_uri(b"a,b", "text/csv")
    'data:text/csv;base64,YSxi'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def small(content: bytes) -> bytes:
    """A PNG file with 64 colours: a third of the bytes, and no difference that an eye sees in a chart."""
    from PIL import Image

    return _png(Image.open(io.BytesIO(content)).convert("RGB").quantize(64))


def _png(image: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)  # pyright: ignore[reportAttributeAccessIssue]
    return buffer.getvalue()
