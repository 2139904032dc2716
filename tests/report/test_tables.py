"""Cells are shown as they are: no HTML, no rich markup, no control characters."""

from __future__ import annotations

import io

from rich.console import Console

from ppzoo.report.tables import html_table, rich_table, text_table

HEADER, ROWS = ["name", "value"], [["[/x] [bold]", "1.5"], ["<script>", "-10"], ["a\x1b[2J\nb", "2"]]


def test_text_is_aligned_and_has_one_line_for_each_row():
    lines = text_table(HEADER, ROWS).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "\x1b" not in "".join(lines)


def test_html_is_escaped():
    assert "<script>" not in html_table(HEADER, ROWS)
    assert "&lt;script&gt;" in html_table(HEADER, ROWS)


def test_rich_reads_no_markup():
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=False).print(rich_table(HEADER, ROWS))
    assert "[/x] [bold]" in out.getvalue()
    assert "\x1b" not in out.getvalue()
