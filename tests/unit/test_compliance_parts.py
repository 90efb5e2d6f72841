"""Parts of the compliance pack by themselves: owned fields, forms of a document, the verifier."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from penstock.audit import merkle
from penstock.compliance import owned, verify_bundle
from penstock.compliance.document import Document, Missing, Owned, Section, Statement, Table
from penstock.compliance.evidence import Evidence, Proof
from penstock.compliance.forms import FORMS, as_html, as_markdown, as_pdf, write
from penstock.errors import ProjectError, UsageError

ROOT = Path(__file__).parent.parent.parent
PROOF = Proof(7, "a-uuid", "1" * 64, ("2" * 64, "3" * 64), 9, "4" * 64, signed=True)
HOSTILE = '<script>alert("1")</script> & |pipes| \\ Ωσμή ✓'
DOCUMENT = Document(
    kind="Test",
    title="shop@1",
    lead="A lead.",
    at=datetime(2026, 1, 2, tzinfo=UTC),
    head=(("Digest", "ab" * 32),),
    sections=(
        Section.of(
            "1",
            "First",
            Statement("Says", HOSTILE, ("entry/7", "file.json")),
            None,
            Section.of("1(a)", "Inner", Owned("Field", "line 1\nline 2", "Ann", "c" * 64, "today")),
            Section.of("1(b)", "Gap", Missing("Thing", "do this")),
        ),
        Section.of("2", "Second", Table(("a", "b"), ((HOSTILE, "x" * 300),) * 40, "Rows")),
    ),
    evidence=(
        Evidence("entry/7", "an entry", "5" * 64, PROOF),
        Evidence("file.json", "a file", "6" * 64, PROOF),
    ),
)


class TestOwnedFields:
    def test_the_template_asks_for_everything_and_answers_nothing(self) -> None:
        assert owned.parsed(owned.template().encode()) == {}
        assert all(f"\n{name}:\n" in owned.template() for name in owned.BY_NAME)
        made_by_init = ROOT / "src/penstock/templates/blank/compliance.yaml"
        assert made_by_init.read_text() == owned.template()

    def test_an_answer_needs_an_owner_and_a_text(self) -> None:
        text = "forms: {owner: '', text: x}\nhardware: {owner: Ann, text: ' '}\nproduct:\n"
        assert owned.parsed(text.encode()) == {}
        found = owned.parsed(b"next_review: {owner: Ann, text: 2027-01-31}")
        assert found == {"next_review": owned.Answer("Ann", "2027-01-31")}
        assert found["next_review"].digest != owned.Answer("Ann", "2027-01-30").digest

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("harware: {owner: a, text: b}", "did you mean hardware"),
            ("hardware: a server", "'owner:' and 'text:'"),
            ("hardware: {owner: a, words: b}", "'owner:' and 'text:'"),
            ("- a list", "every field"),
            ("a: [", ""),
            ("\xff", ""),
        ],
    )
    def test_what_is_no_such_file_is_refused(self, text: str, told: str) -> None:
        with pytest.raises(ProjectError) as refused:
            owned.parsed(text.encode("latin-1"))
        assert told in refused.value.hint


class TestForms:
    def test_html_escapes_everything_and_refers_to_nothing_outside(self) -> None:
        page = as_html(DOCUMENT).decode()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert not re.findall(r"(?:src|href)=\"(?!#)|url\(|@import|https?:", page)
        anchors = set(re.findall(r'id="([^"]+)"', page))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
        assert len(anchors) == len(re.findall(r'id="', page))

    @pytest.mark.slow
    def test_a_pdf_has_the_same_words_and_an_outline_and_is_the_same_each_time(self) -> None:
        content = as_pdf(DOCUMENT)
        assert content == as_pdf(DOCUMENT)
        assert content != as_pdf(replace(DOCUMENT, title="shop@2"))
        read = PdfReader(io.BytesIO(content))
        text = " ".join(" ".join(page.extract_text() for page in read.pages).split())
        for said in ("Ωσμή ✓", "MISSING Thing", "do this", "Ann answers for this", "5" * 64):
            assert said in text
        titles = [one.title for one in _flat(read.outline)]
        assert titles[:4] == ["1  First", "1(a)  Inner", "1(b)  Gap", "2  Second"]

    def test_markdown_has_one_line_a_row(self) -> None:
        text = as_markdown(DOCUMENT).decode()
        assert "<script" not in text
        assert len([line for line in text.splitlines() if "x" * 300 in line]) == 40
        assert "**MISSING** Thing: do this" in text

    def test_a_file_names_its_form(self, tmp_path: Path) -> None:
        for ending in FORMS:
            write(DOCUMENT, tmp_path / f"a{ending}")
        with pytest.raises(UsageError, match="names no form"):
            write(DOCUMENT, tmp_path / "a.docx")


def _flat(outline: list) -> list:  # type: ignore[type-arg]
    return [x for one in outline for x in (_flat(one) if isinstance(one, list) else [one])]


@given(size=st.integers(1, 200), data=st.data())
def test_the_verifier_climbs_as_the_ledger_proves(size: int, data: st.DataObject) -> None:
    """Two implementations of RFC 9162, 2.1.3, of which each leads where the other says."""
    index = data.draw(st.integers(0, size - 1))
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(size)]
    path = merkle.inclusion_proof(index, size, lambda a, b: merkle.root_of(leaves[a:b]))
    climb = verify_bundle.climbed
    root = merkle.root_of(leaves)
    assert climb(leaves[index], index, size, path) == root
    assert climb(leaves[index], index, size, [*path, root]) is None
    if path:
        assert climb(leaves[index], index, size, path[:-1]) is None
        assert climb(merkle.leaf_hash(b"x"), index, size, path) != root
    assert climb(leaves[index], size, size, path) is None
