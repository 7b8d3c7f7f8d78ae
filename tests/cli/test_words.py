"""Rates, names and columns as they stand on a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from batch.base.tables import Paragraph, TextTable, facts, plain, shortened
from batch.cli.words import rate

NAME = "lighthouse-at-dusk-in-the-fog-s42-5376x3072"


@pytest.mark.parametrize(
    ("seconds", "unit", "said"),
    [
        (4.24, "image", "4.2 s/image"),
        (75, "image", "48 images/h"),
        (1500, "image", "2.4 images/h"),
        (1.31, "step", "1.3 s/step"),
        (0.8, "image", "0.8 s/image"),
        (0.08, "step", "12 steps/s"),
        (0.0003, "step", ""),
        (0.0, "image", ""),
    ],
)
def test_a_rate_is_one_that_means_something(seconds, unit, said):
    assert rate(seconds, unit) == said


def test_a_name_is_cut_in_the_middle():
    assert shortened(NAME, 31).startswith("lighthouse-at-") and shortened(NAME, 31).endswith("-s42-5376x3072")
    assert cell_len(shortened(NAME, 31)) <= 31
    assert shortened(NAME, 100) == NAME
    assert "…" not in shortened(NAME, 31, "...")


@given(st.text(min_size=1), st.integers(4, 60))
def test_no_cut_name_is_wider_than_asked(name, cells):
    assert cell_len(shortened(name, cells)) <= cells


HOSTILE = "[red]x[/red] [link=file:///etc]y[/] :skull: \x1b[31m \u202e"
WIDE = "狐狸 🦊 in the snow"


def hostile_grid(**more):
    rows = [("a", HOSTILE, "1"), ("b", WIDE, "2"), ("c", "plain", "3")]
    return TextTable(head=("name", "prompt", "seed"), rows=rows, right=(2,), **more)


def test_what_others_wrote_is_no_markup():
    text = plain(hostile_grid())
    assert "[red]x[/red] [link=file:///etc]y[/] :skull: \\u001b[31m \\u202e" in text
    assert "\\u001b[31m" in plain(Paragraph(HOSTILE))


def test_wide_characters_keep_columns_straight():
    ends = {cell_len(line) for line in plain(hostile_grid()).splitlines()}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [40, 60, 80])
def test_columns_fold_between_words(width):
    sentence = "every word of this sentence stands whole in one of the lines of its column"
    lines = plain(TextTable(rows=[("name", sentence, "and a second text beside it")]), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert set(sentence.split()) <= {word for line in lines for word in line.split()}


def test_columns_that_can_be_spared_are_left_out_and_named():
    grid = TextTable(head=("name", "kind", "size"), rows=[("n" * 20, "k" * 20, "s" * 20)], spare=(2, 1))
    assert "s" * 20 in plain(grid, 80)
    narrow = plain(grid, 50)
    assert "s" * 20 not in narrow and "k" * 20 in narrow
    assert "(a wider terminal also shows: size)" in narrow


def test_a_row_stays_a_line_where_no_terminal_is():
    assert len(plain(TextTable(rows=[("name", "text " * 400)])).splitlines()) == 1


def test_a_row_that_ends_in_a_text_is_measured_like_the_others():
    """Its number alone has a mark, its name is the longest."""
    rows = [("1*", "a long name", "the reference"), ("2", "short", "5", "0.1")]
    grid = TextTable(head=("#", "memory", "max diff", "PSNR"), rows=rows)
    assert [line.split("  ") for line in plain(grid).splitlines()][1] == ["", "1*", "a long name", "the reference"]
    assert len(plain(grid).splitlines()) == 3
    assert len(plain(TextTable(rows=[("1", "a long name"), ("2", "", "5"), ("a title",)]), 30).splitlines()) == 3


def test_a_path_is_not_broken():
    path = "/a" * 30
    assert path in plain(Paragraph(f"  the report is {path} and here"), 70).splitlines()[1]


@pytest.mark.parametrize("width", [20, 60])
def test_a_name_wider_than_a_line_is_cut_in_its_middle(width):
    name = f"{'a-yellow-star-on-a-hill-' * 4}1-512x512-aac530ec"
    lines = plain(Paragraph(f"stopping: {name}, is finished first"), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert any("…" in line and line.endswith("-aac530ec,"[-width // 3 :]) for line in lines)
    assert name in plain(Paragraph(f"stopping: {name}, is finished first"))  # in a log whole


def test_facts_leave_out_what_is_empty():
    assert plain(facts({"about": "a model", "licence": ""})) == "  about  a model"


def test_a_count_stays_with_its_word():
    line = Paragraph("  happened in this run: worker-died 1, stopping 2, stopped 10")
    begun = [part.split()[0] for width in range(20, 60) for part in plain(line, width).splitlines()]
    assert not [word for word in begun if word.rstrip(",").isdigit()]
