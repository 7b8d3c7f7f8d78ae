"""What was meant by a value that is no number: a list without brackets, or what a spreadsheet made of one."""

from __future__ import annotations

import re

EXPONENT = re.compile(r"[-+]?\d+(?:[.,]\d+)?[eE]\+\d{1,4}")
"""As spreadsheets write a number of more than eleven digits: with a sign, and with digits lost."""

ROUNDED = (
    "a spreadsheet or another program has rounded a long number, and its last digits are lost; "
    "format the column as text and enter the number anew"
)
DATE = "a spreadsheet has made a date of it; format the column as text and enter the value anew"

_DECIMAL_COMMA = re.compile(r"[-+]?(\d{1,9}),(\d{1,9})")
_MONTH = (
    "(?:jan|fe[bv]|fév|m[aä][ariey]|a[pbv]r|ma[jg]|ju[nli]|gi?u|lug|a[ugv][gov]|aoû|se[pt]|o[ckut]t|nov|d[eéi][cz]|des|ene"
    "|gen|янв|фев|мар|апр|май|мая|июн|июл|авг|сен|окт|ноя|дек)[^\\W\\d_]{0,7}"
)
_DATE = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-](?:\d{2,4})?|\d{4}[./-]\d{1,2}[./-]\d{1,2}(?:[ T].*)?|\d{1,2}:\d\d(?::\d\d)?"
    rf"|\d{{1,2}}[./-]? ?{_MONTH}\.?(?:[ ./-]{{1,2}}\d{{2,4}})?|{_MONTH}\.?[ ./-]{{1,2}}\d{{2,4}}",
    re.IGNORECASE,
)
"""``05. Jan``, ``5-Jan``, ``Jan 05``, ``01.05.``, ``2026-01-05`` are made of ``1-5``; ``01:05:00`` of ``1:5``."""
_PERCENT = re.compile(r"([-+]?\d+(?:[.,]\d+)?)\s*%")
_GROUPED = re.compile(r"\d{1,3}(?:(?P<by>[.,' \u00a0\u202f\u2019])\d{3})(?:(?P=by)\d{3})*")
_MANY = re.compile(r"\s*[\d.]+(?:\s*[,|]\s*[\d.]+)+\s*")
_CURLY = re.compile(r"[\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb]")

_LONGEST = 100
"""Letters of a text that is looked at: none of these is longer."""


def meant(value: object) -> str:
    """What to write instead, to be put behind what is wrong; nothing where that is not known."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    written = value.strip()
    if EXPONENT.fullmatch(written):
        return f"; {ROUNDED}"
    if percent := _PERCENT.fullmatch(written):
        number = float(percent[1].replace(",", "."))
        return f"; write a number without a percent sign, {number:g} or {number / 100:g}"
    if _GROUPED.fullmatch(written) and (several := re.sub(r"\D", "", written)):
        two = _as_list(written)
        return f"; as one number that is {several}, without a mark between the thousands" + two.replace(
            ";", ", but"
        )
    if comma := _DECIMAL_COMMA.fullmatch(written):
        return f"; as one number that is {comma[1]}.{comma[2]}, with a point, but{_as_list(written).lstrip(';')}"
    if _MANY.fullmatch(written):
        return _as_list(written)
    if _DATE.fullmatch(written):
        return f"; {DATE}"
    if re.fullmatch(r"'[-+]?\d[\d.]*", written):
        return "; remove the apostrophe"
    return "; write straight quotes, or none" if _CURLY.search(written) else ""


def _as_list(written: str) -> str:
    """A hint for several values that were written without brackets."""
    if not _MANY.fullmatch(written):
        return ""
    parts = re.split(r"[,| ]+", written)
    return f"; several values are a list: [{', '.join(parts)}], in a cell {'|'.join(parts)}"


def decimal_comma(written: str) -> str:
    """``4,5`` as ``4.5``, for files where it cannot be anything else; nothing for what has no decimal comma."""
    return written.replace(",", ".") if _DECIMAL_COMMA.fullmatch(written) else ""


def unguarded(cell: str) -> str:
    """A cell without the apostrophe by which a spreadsheet does not take it for a formula, as in results.csv."""
    return cell[1:] if re.match(r"'[=+\-@\t\n](?!')", cell) else cell


_TRUTH = frozenset({
    "WAHR", "FALSCH", "VRAI", "FAUX", "VERDADERO", "FALSO", "VERO", "WAAR", "ONWAAR", "VERDADEIRO", "PRAWDA",
    "FAŁSZ", "ИСТИНА", "ЛОЖЬ", "SANT", "FALSKT", "SAND", "FALSK", "TOSI", "EPÄTOSI",
})  # fmt: skip
_CELL_ERROR = re.compile(r"#(?:N/A|NV|N/D|[¡¿]?(?:[^\W\d_][^\s,;#]{0,14}|DIV/0)[!?]|#+)")


def spoilt(cell: str) -> str:
    """Why a cell of a table cannot be what was written into it, whatever its column; nothing where it may be."""
    if cell == cell.upper() and _CELL_ERROR.fullmatch(cell.strip()):
        return (
            f"{cell.strip()} is what a spreadsheet shows for a formula without a result, or a column that is too "
            "narrow; put an apostrophe before a text that begins with = + - or @"
        )
    return ""


def truth(cell: str) -> str:
    """What is wrong with a word for true or false that a spreadsheet has put into its own language."""
    return f"{cell!r} is a spreadsheet's own word; write true or false" if cell in _TRUTH else ""


_KEPT = 15


def looks_rounded(cell: str) -> bool:
    """Whether a whole number ends in zeros from the sixteenth digit on, as a spreadsheet leaves it.

    Of numbers that were drawn one in a hundred does at 17 digits, one in ten thousand at 19.
    """
    return len(cell) >= _KEPT + 2 and cell.isascii() and cell.isdigit() and not cell[_KEPT:].strip("0")


_BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2007": " ", "\u200b": "", "\u2060": "", "\ufeff": ""})


def plain_blanks(cell: str) -> str:
    """A cell without the blanks that do not break, or show: spreadsheets and web pages bring them along."""
    return cell if cell.isascii() else cell.translate(_BLANKS)
