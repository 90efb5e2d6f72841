"""A document as PDF (A4), written by fpdf2 with the DejaVu fonts that matplotlib brings.

The same document gives the same bytes. Scripts that DejaVu has not, such as Chinese, are shown as
boxes: the HTML page has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import singledispatchmethod
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.compliance.checking import HOW, lines_of
from penstock.compliance.document import Block, Document, Missing, Owned, Section, Statement, Table
from penstock.compliance.evidence import Evidence
from penstock.errors import ResourceError

if TYPE_CHECKING:
    from fpdf import FPDF
    from fpdf.outline import OutlineSection

MARGIN = 22.0  # mm
INK, QUIET, ACCENT = (28, 29, 31), (107, 105, 98), (31, 78, 121)
GAP, LINE, WASH = (163, 38, 27), (200, 196, 187), (244, 241, 234)
FONTS = {
    ("serif", ""): "DejaVuSerif.ttf",
    ("serif", "B"): "DejaVuSerif-Bold.ttf",
    ("sans", ""): "DejaVuSans.ttf",
    ("sans", "B"): "DejaVuSans-Bold.ttf",
    ("mono", ""): "DejaVuSansMono.ttf",
}
WIDTH = 210.0 - 2 * MARGIN  # mm of a page that are written on
LETTER, GUTTER = 1.62, 4.0  # mm of a letter in a table, at most, and beside a column
LONGEST = 64  # letters of a cell that may ask for room


def rendered(document: Document) -> bytes:
    """The whole file."""
    pen = _Pen(document)
    pen.front()
    pen.contents()
    for top in document.sections:
        for section in top.walk():
            pen.section(section, top=section is top)
    pen.appendix()
    return bytes(pen.pdf.output())


class _Pen:
    """Writes a document onto pages, from the top."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.pdf = _pages(document)
        # To the first page, until the page of each is known.
        self.links = {name: self.pdf.add_link(page=1) for name in document.numbers}

    def front(self) -> None:
        document = self.document
        self.pdf.add_page()
        self.pdf.set_y(58)
        self.write("sans", 10, document.kind, color=ACCENT, bold=True)
        self.write("sans", 30, document.title, bold=True, after=5)
        self.write("serif", 11, document.lead, color=QUIET, after=9)
        for name, value in document.head:
            self.pair(name, value)

    def contents(self) -> None:
        self.pdf.add_page()
        self.write("sans", 18, "Contents", bold=True, after=4)
        self.pdf.insert_toc_placeholder(self.listed, pages=_pages_of_contents(self.document))

    def listed(self, pdf: FPDF, outline: Iterable[OutlineSection]) -> None:
        """The table of contents, when all pages are known."""
        for one in outline:
            top = one.level == 0
            pdf.set_font("sans", "B" if top else "", 9.5 if top else 9)
            pdf.set_text_color(*INK)
            link = pdf.add_link(page=one.page_number)
            pdf.ln(1.6 if top else 0)
            pdf.set_x(MARGIN + (0 if top else 6))
            pdf.cell(pdf.epw - 20 - (0 if top else 6), 5, one.name, link=link)
            pdf.cell(
                20, 5, str(one.page_number), align="R", link=link, new_x="LMARGIN", new_y="NEXT"
            )

    def section(self, section: Section, *, top: bool) -> None:
        pdf = self.pdf
        if pdf.will_page_break(48 if top else 34):  # a heading stays with what follows
            pdf.add_page()
        if top:
            pdf.ln(7)
            pdf.set_draw_color(*INK)
            pdf.set_line_width(0.5)
            pdf.line(MARGIN, pdf.get_y(), MARGIN + pdf.epw, pdf.get_y())
        pdf.ln(3.5)
        pdf.start_section(section.heading, level=0 if top else 1, strict=False)
        self.write("sans", 15 if top else 10.5, section.heading, bold=True, after=2.5 if top else 1)
        for block in section.blocks:
            self.block(block)

    @singledispatchmethod
    def block(self, block: Block) -> None:
        raise TypeError(f"{type(block).__name__} is no block of a document")

    @block.register
    def _(self, block: Statement) -> None:
        self.keep(16)
        self.write("sans", 8, block.label, bold=True, after=0.3)
        self.cited(block.text, block.evidence)

    @block.register
    def _(self, block: Owned) -> None:
        self.keep(22)
        page, above = self.pdf.page, self.pdf.get_y()
        with self.pdf.local_context():
            self.pdf.set_left_margin(MARGIN + 5)
            self.pdf.set_x(MARGIN + 5)
            self.write("sans", 8, block.label, bold=True, after=0.3)
            self.cited(block.text, block.evidence, after=0.6)
            self.write("sans", 7, block.by, color=QUIET, after=3)
        self.pdf.set_left_margin(MARGIN)
        self.pdf.set_x(MARGIN)
        if page == self.pdf.page:
            self.pdf.set_draw_color(*ACCENT)
            self.pdf.set_line_width(0.7)
            self.pdf.line(MARGIN, above + 0.5, MARGIN, self.pdf.get_y() - 3)

    @block.register
    def _(self, block: Missing) -> None:
        self.keep(20)
        self.pdf.set_draw_color(*GAP)
        self.pdf.set_line_width(0.25)
        self.pdf.set_text_color(*GAP)
        self.pdf.set_font("sans", "B", 8)
        text = f"MISSING  {block.what}"
        self.pdf.cell(0, 6, text, border="LTR", new_x="LMARGIN", new_y="NEXT")
        self.pdf.set_text_color(*INK)
        self.pdf.set_font("serif", "", 8.5)
        self.pdf.multi_cell(
            0, 4.6, block.todo, border="LBR", align="L", new_x="LMARGIN", new_y="NEXT"
        )
        self.pdf.ln(3)

    @block.register
    def _(self, block: Table) -> None:
        self.keep(24)
        pdf = self.pdf
        cites = self.cites(block.evidence)
        caption = f"{block.caption}  {cites}".strip()
        self.write("sans", 8, caption, bold=True, after=0.8, link=self.link(block.evidence))
        pdf.set_font("sans", "", 7.5)
        pdf.set_draw_color(*LINE)
        pdf.set_line_width(0.15)
        widths = _widths((block.heads, *block.rows))
        with pdf.table(
            width=min(sum(widths), WIDTH),
            align="LEFT",
            col_widths=widths,
            borders_layout="HORIZONTAL_LINES",
            text_align="LEFT",
            line_height=4.1,
            padding=(0.7, 1.6, 0.7, 0),
            headings_style=_style(QUIET),
        ) as table:
            for row in (block.heads, *block.rows):
                table.row(tuple(cell or " " for cell in row))
        pdf.ln(4)

    def appendix(self) -> None:
        if not self.document.evidence:
            return
        self.pdf.add_page()
        self.pdf.start_section("E  Evidence, and how to check it", strict=False)
        self.write("sans", 15, "E  Evidence, and how to check it", bold=True, after=2.5)
        for text in HOW:
            self.write("serif", 9, text, after=2)
        self.pdf.ln(3)
        for number, one in zip(self.document.numbers.values(), self.document.evidence, strict=True):
            self.evidence(number, one)

    def evidence(self, number: str, one: Evidence) -> None:
        self.keep(28)
        self.pdf.set_link(self.links[one.name], y=self.pdf.get_y(), page=self.pdf.page)
        self.write("sans", 8, f"{number}   {one.name}", bold=True, after=0.2)
        self.write("serif", 8, one.says, after=0.2)
        self.write("mono", 6.2, "\n".join(lines_of(one)), color=QUIET, after=3)

    def cited(self, text: str, evidence: tuple[str, ...], after: float = 2.4) -> None:
        """A text, and after it, small, what it rests on."""
        pdf = self.pdf
        pdf.set_font("serif", "", 9.5)
        pdf.set_text_color(*INK)
        pdf.write(4.9, text)
        numbers = self.document.numbers
        for name in evidence:
            if name in numbers:
                pdf.set_font("sans", "", 6.2)
                pdf.set_text_color(*ACCENT)
                pdf.write(4.9, f" {numbers[name]}", link=self.links[name])
        pdf.ln(4.9 + after)

    def pair(self, name: str, value: str) -> None:
        top = self.pdf.get_y()
        self.write("sans", 8, name, color=QUIET, after=0)
        below = self.pdf.get_y()
        self.pdf.set_xy(MARGIN + 40, top)
        self.pdf.set_font("sans", "", 8)
        self.pdf.set_text_color(*INK)
        self.pdf.multi_cell(0, 4.4, value, align="L", new_x="LMARGIN", new_y="NEXT")
        self.pdf.set_y(max(below, self.pdf.get_y()) + 1.6)

    def write(
        self,
        family: str,
        size: float,
        text: str,
        *,
        bold: bool = False,
        color: tuple[int, int, int] = INK,
        after: float = 0.0,  # mm of space below
        link: Any = "",
    ) -> None:
        """Lines from the left margin on."""
        self.pdf.set_font(family, "B" if bold else "", size)
        self.pdf.set_text_color(*color)
        height = size * 0.52
        self.pdf.multi_cell(0, height, text, align="L", link=link, new_x="LMARGIN", new_y="NEXT")
        self.pdf.ln(after)

    def keep(self, height: float) -> None:
        """So many mm stay together."""
        if self.pdf.will_page_break(height):
            self.pdf.add_page()

    def cites(self, evidence: Iterable[str]) -> str:
        return " ".join(self.document.citations(evidence))

    def link(self, evidence: Iterable[str]) -> Any:
        return next((self.links[name] for name in evidence if name in self.links), "")


def _pages(document: Document) -> FPDF:
    """Empty pages: fonts, margins, and what stands below each."""
    from fpdf import FPDF

    class Pages(FPDF):
        def footer(self) -> None:
            self.set_y(-14)
            self.set_font("sans", "", 7)
            self.set_text_color(*QUIET)
            self.cell(self.epw - 20, 5, f"{document.title}  ·  {document.kind}")
            self.cell(20, 5, f"{self.page_no()} / {{nb}}", align="R")

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells of each table it leaves out
    pdf = Pages(format="A4")
    folder = _fonts()
    for (family, style), file in FONTS.items():
        pdf.add_font(family, style, folder / file)
    pdf.set_margins(MARGIN, 20, MARGIN)
    pdf.set_auto_page_break(True, margin=22)
    pdf.set_title(f"{document.title}: {document.kind}")
    pdf.set_creator("Penstock")
    pdf.set_lang("en")
    pdf.set_creation_date(document.at)
    return pdf


def _fonts() -> Path:
    """Where matplotlib keeps DejaVu, without importing it."""
    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent / "mpl-data/fonts/ttf" if spec and spec.origin else Path()
    if not (folder / FONTS["serif", ""]).is_file():
        raise ResourceError(
            f"the fonts for PDF are not where matplotlib keeps them: {folder}",
            hint="install matplotlib anew, or write HTML",
        )
    return folder


def _style(color: tuple[int, int, int]) -> Any:
    from fpdf.fonts import FontFace

    return FontFace(emphasis="", color=color)


def _pages_of_contents(document: Document) -> int:
    lines = sum(1 for _ in document.walk()) + 2
    return -(-lines * 6 // 230)


def _widths(rows: tuple[tuple[str, ...], ...]) -> tuple[float, ...]:
    """Of the columns, in mm: wide enough for their words first, then for whole texts."""
    columns = list(zip(*rows, strict=True))
    words = [max(len(word) for cell in one for word in cell.split() or [""]) for one in columns]
    texts = [min(max(map(len, one)), LONGEST) for one in columns]
    least = [min(word, LONGEST // 2) * LETTER + GUTTER for word in words]
    wanted = [max(text * LETTER + GUTTER, low) for text, low in zip(texts, least, strict=True)]
    if sum(wanted) <= WIDTH:
        return tuple(wanted)
    spare = max(WIDTH - sum(least), 0.0)
    more = sum(one - low for one, low in zip(wanted, least, strict=True)) or 1.0
    shared = [low + (one - low) * spare / more for one, low in zip(wanted, least, strict=True)]
    return tuple(one * WIDTH / sum(shared) for one in shared)
