"""Pieces of a page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path


def document(title: str, *parts: str) -> str:
    """A whole page, with its style within; its parts are HTML."""
    style = Path(__file__).with_name("page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n<body><main><h1>{escape(title)}</h1>\n"
        f"{''.join(parts)}</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A titled part of the page; its parts are HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n"


def paragraph(text: str, *, soft: bool = False) -> str:
    """A paragraph of plain text."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def listed(items: Iterable[str]) -> str:
    """A list of plain texts; nothing without any."""
    entries = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{entries}</ul>" if entries else ""


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and plain values."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f'<dl class="facts">{pairs}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """A table; the cells are HTML, whole `<td>` elements among them."""
    first = "".join(f"<th>{escape(cell)}</th>" if cell else "<td></td>" for cell in head)
    body = "".join(
        f"<tr>{''.join(cell if cell.startswith('<td') else f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows
    )
    marked = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{marked}><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'


def bar_cell(share: float) -> str:
    """A cell with a bar, from 0 to 1."""
    return f'<td class="bar"><div style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></div></td>'


def heat_cell(value: int, share: float, *, right: bool) -> str:
    """A cell of a matrix, tinted by its share of the row; green where it is right."""
    tint = f"rgba({'43,138,62' if right else '217,72,15'},{0.75 * share:.2f})" if value else "transparent"
    return f'<td style="background:{tint}">{value or ""}</td>'


def picture(image: bytes, *, shows: str, caption: str = "", wide: bool = False) -> str:
    """A JPEG or PNG within the page; a wide one has letters in it, and scrolls where it would get too small."""
    kind, data = "png" if image.startswith(b"\x89PNG") else "jpeg", base64.b64encode(image).decode()
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    shown = f'<img src="data:image/{kind};base64,{data}" alt="{escape(shows)}">'
    if wide:
        shown = f'<div class="scroll wide">{shown}</div>'
    return f"<figure>{shown}{below}</figure>"


def columns(*parts: str) -> str:
    """Parts side by side where there is room."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'
