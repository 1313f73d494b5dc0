from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pdf_text import page_texts
from report_documents import NOTICE, small_document

from echoapex.io import pdf
from echoapex.io.document import Table, plain_cells
from echoapex.io.pdf import PdfError, pdf_bytes


def test_the_summary_is_one_page_however_much_it_holds() -> None:
    few, many = page_texts(pdf_bytes(small_document(3))), page_texts(pdf_bytes(small_document(120)))
    assert len(few) == 2
    assert "value 119" in many[0]
    assert "evidence 0" not in many[0]
    assert "evidence 0" in many[1]


def test_every_page_has_notice_name_and_number() -> None:
    pages = page_texts(pdf_bytes(small_document(200)))
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        assert page.count(NOTICE) == 2
        assert "study 12ab" in page
        assert f"page {number} of {len(pages)}" in page


def test_text_is_no_markup() -> None:
    first = page_texts(pdf_bytes(small_document()))[0]
    assert "a & b < c" in first
    assert "2<mL>&more" in first.replace(" ", ""), "an entity is a piece of its own"


def test_the_same_document_gives_the_same_bytes_without_date_or_author() -> None:
    content = pdf_bytes(small_document())
    assert content == pdf_bytes(small_document())
    dates = set(re.findall(rb"/(?:CreationDate|ModDate) \(([^)]*)\)", content))
    assert dates == {b"D:20000101000000+00'00'"}, "a fixed date stands for none"
    assert re.findall(rb"/Author \(([^)]*)\)", content) == [b""]


def test_all_fonts_are_embedded() -> None:
    content = pdf_bytes(small_document())
    fonts = re.findall(rb"/BaseFont /([\w+-]+)", content)
    assert fonts
    assert all(b"BitstreamVera" in font for font in fonts)
    assert b"/FontFile2" in content


def test_a_row_needs_as_many_cells_as_there_are_columns() -> None:
    with pytest.raises(ValueError, match="as many as there are columns"):
        Table(("a", "b", "c"), (plain_cells("1", "2"),), (0.3, 0.3, 0.4))


def test_a_missing_library_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "find_spec", lambda _: None)
    with pytest.raises(PdfError, match=r"pip install 'echoapex\[report\]'"):
        pdf_bytes(small_document())


def test_reportlab_is_not_loaded_by_the_module() -> None:
    code = "import sys, echoapex.io.pdf; sys.exit('reportlab' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
