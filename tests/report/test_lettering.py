"""Text in pictures: order, fonts and lines. What the shipped font has is tried everywhere, the rest if it is."""

import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.report.lettering import fonts
from batch.report.lettering.bidi import base_level, in_order, levels_of
from batch.report.lettering.lines import clean, draw_lines, lines_within, paragraph, wrapped

UNICODE = Path("/usr/share/unicode/BidiCharacterTest.txt")
INK, SIZE = (0, 0, 0), 15


def visual(text: str) -> str:
    """A text as it stands from left to right; brackets as they are written."""
    pieces = [(text[start:end], level) for start, end, level in in_order(levels_of(text))]
    return "".join(piece[::-1] if level % 2 else piece for piece, level in pieces)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a fox", "a fox"),
        ("", ""),
        ("car \u05d0\u05d1, 12", "car 12 ,\u05d1\u05d0"),
        ("\u05d0\u05d1 car 12 \u05d2\u05d3", "\u05d3\u05d2 car 12 \u05d1\u05d0"),
        ("\u05d0\u05d1 3-4", "3-4 \u05d1\u05d0"),
        ("\u0642\u0637 12%", "%12 \u0637\u0642"),
        ("\u05d0\u05d1 12%", "12% \u05d1\u05d0"),
        ("a (\u05d0\u05d1) b", "a (\u05d1\u05d0) b"),
        ("\u05d0\u05d1 (a) \u05d2", "\u05d2 )a( \u05d1\u05d0"),
    ],
)
def test_letters_stand_in_the_order_of_their_writing(text, shown):
    assert visual(text) == shown


@pytest.mark.skipif(not UNICODE.is_file(), reason="Unicode's own test data is not here")
def test_the_order_is_that_of_unicodes_own_tests():
    with UNICODE.open(encoding="utf-8") as lines:
        cases = [line.split(";") for line in lines if line.strip() and not line.startswith("#")]
    commands = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2029}
    for codes, direction, base, levels, _ in islice(cases, 0, None, 40):
        text = "".join(chr(int(code, 16)) for code in codes.split())
        if commands.isdisjoint(map(ord, text)):
            got = levels_of(text, None if direction == "2" else int(direction))
            wanted = levels.split()
            for letter, level, right in zip(text, got, wanted, strict=True):
                # Blanks at the end are for a line to set back, and none of ours ends with one.
                if right != "x" and unicodedata.bidirectional(letter) not in ("WS", "S", "B"):
                    assert level == int(right), (codes, got, wanted)
            assert direction != "2" or base_level(text) == int(base)


def test_the_shipped_font_has_what_europe_and_its_neighbours_write():
    face = fonts.shipped()
    for first, last in [
        (0x20, 0x7E),
        (0xA1, 0x17F),
        (0x391, 0x3C9),
        (0x400, 0x45F),
        (0x5D0, 0x5EA),
        (0x621, 0x63A),
    ]:
        letters = [
            chr(code) for code in range(first, last + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cf")
        ]
        assert [letter for letter in letters if not face.has(letter)] == []
    assert not face.has("富") and not face.has("\ue000") and not face.has("e\u20ff")
    assert all(face.has(sign) for sign in "…·×—“”½€✓→")


def test_clusters_choose_their_fonts_and_stay_whole():
    line = paragraph("a cat with 富士山, 8K 🧑\u200d🚀 e\u0301")
    pieces = list(line._pieces())
    assert "".join(text for text, _, _ in pieces) == line.text
    assert (pieces[0][0], pieces[0][1]) == ("a cat with ", fonts.shipped()) or len(pieces) == 1
    assert any(text.endswith("e\u0301") for text, _, _ in pieces)
    assert any("🧑\u200d🚀" in text for text, _, _ in pieces)


@pytest.mark.parametrize(("letter", "coloured"), [("富", False), ("🐱", True), ("🇩🇪", True), ("❤\ufe0f", True)])
def test_the_systems_fonts_are_found(letter, coloured):
    face = fonts.face_for(letter)
    if face is fonts.shipped() and not face.has(letter):
        pytest.skip("no font for it here")
    page = drawn([paragraph(letter)], 40, 30)
    assert page.min() < 200
    colours = np.ptp(page.astype(int), axis=2).max()
    assert colours < 10 if not coloured else face is fonts.shipped() or not face.strike or colours > 50
    assert 5 < fonts.width_of(letter, face, SIZE, 0) < 40


def drawn(lines, width, height) -> np.ndarray:
    page = Image.new("RGB", (width, height), (255, 255, 255))
    draw_lines(page, (0, 0), lines, SIZE, INK, step=20, width=width)
    return np.asarray(page)


TEXTS = (
    "A RED CIRCLE ON A BLUE BACKGROUND", "W" * 100, "a fox", "", "long " + "w" * 60 + " end",
    "富士山と桜、朝の光の中で静かに佇む美しい風景、8K、高解像度。",
    "قطة تحت المطر في المدينة القديمة a cat (قطة) 12%",
    "🧑\u200d🚀" * 40, "Ελλάδα Привет мир " * 9, "हिन्दी में लिखा हुआ एक लंबा वाक्य " * 3,
)  # fmt: skip


def test_lines_fit_and_hold_all_letters():
    for text in TEXTS:
        lines = wrapped(clean(text), 200, SIZE)
        assert all(line.width(SIZE) <= 200 for line in lines), text
        assert "".join(line.text for line in lines).replace(" ", "") == text.replace(" ", "")


def test_a_text_that_is_cut_says_so_and_fits():
    for text in TEXTS:
        lines = lines_within(text, 90, 2, SIZE)
        assert len(lines) <= 2
        assert all(line.width(SIZE) <= 90 for line in lines)
        assert lines[-1].text.endswith("…") or len(wrapped(clean(text), 90, SIZE)) == len(lines)


@pytest.mark.parametrize("letter", ["\u200d", "\u200b", "\xad", "\U000e0061", "क्"])
def test_letters_without_a_width_are_cut_too(letter):
    lines = lines_within(4000 * letter + "a red house", 64, 3, 15)
    assert 1 <= len(lines) <= 3
    assert lines[-1].text.endswith("…")


def test_a_line_that_runs_to_the_left_ends_at_the_right():
    page = drawn(lines_within("قطة", 300, 1, SIZE), 300, 24).min(axis=(0, 2))
    assert page[:150].min() == 255 and page[280:].min() < 100


@pytest.mark.parametrize(
    "text",
    [
     "\x00\x1b[31mred\x07", "a\tb\r\nc\u2028d", "\ud800 x \udfff", "a" + "\u0301" * 500, "\u202eabc\u2066",
     "\u200d", "\ufe0f", "\U000e0041" * 9, "word " * 1000, "\u0600", "\uffff\U0010ffff", "نص " * 500],
)  # fmt: skip
def test_any_text_is_drawn(text):
    lines = lines_within(text, 120, 3, SIZE)
    assert len(lines) <= 3
    assert not any(set(line.text) & set("\x00\x1b\n\u202e\u2066\ud800") for line in lines)
    drawn(lines, 120, 70)


def test_marks_do_not_pile_up():
    page = drawn(lines_within("\n".join(["", "a" + "\u0301" * 500]), 100, 1, SIZE), 100, 200)
    assert page[60:].min() == 255


def test_without_shaping_letters_stand_in_the_right_order(monkeypatch):
    """As where Pillow has no raqm: Hebrew letters do not join, so they look the same."""
    text = "שלום (עולם) 12"
    shaped = drawn([paragraph(text)], 200, 24) if fonts.JOINS else None
    monkeypatch.setattr(fonts, "JOINS", False)
    fonts.width_of.cache_clear()
    plain = drawn([paragraph(text)], 200, 24)
    fonts.width_of.cache_clear()
    assert plain.min() < 100
    if shaped is not None:
        ink, other = ((255 - page[:, :, 0]).sum(axis=0, dtype=float) for page in (shaped, plain))
        assert np.corrcoef(ink, other)[0, 1] > 0.5 > np.corrcoef(ink, other[::-1])[0, 1]
    assert fonts._shown("אב(\ufe0f", 1) == ")בא"
