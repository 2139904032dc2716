"""Tables of text for a terminal, a notebook and plain output; names are shown as they are, whatever they contain."""

from __future__ import annotations

import html
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

__all__ = ["html_table", "rich_table", "text_table"]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Aligned columns, the first ``left`` of them to the left.

    Example:
        >>> print(text_table(["name", "mean"], [["mu", "4.4"], ["tau", "12"]]))
        name  mean
        mu     4.4
        tau     12
    """
    lines = [[_one_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table for a notebook, every cell escaped.

    Example:
        >>> html_table(["<a>"], [["&"]])
        '<table><tr><th>&lt;a&gt;</th></tr><tr><td>&amp;</td></tr></table>'
    """
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def rich_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """The table for a terminal; no cell is read as markup."""
    table = Table(box=None, pad_edge=False)
    for i, cell in enumerate(header):
        table.add_column(Text(cell), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_one_line(cell)) for cell in row))
    return table


def _one_line(cell: str) -> str:
    """``cell`` without control characters, which could move the cursor or break the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cell)
