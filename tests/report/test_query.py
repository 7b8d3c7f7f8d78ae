"""The filter of report.html in a real browser: what its terms find, beside a plain predicate; what it says."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.records.values import Call
from tests.report.many import task, written

LARGE = 2**63 + 1
PROMPTS = ["a red fox, night", "a Red house", "Die Straße in İzmir", 'he said "fox"', "ΟΔΟΣ", "16:9 format", ""]


def tasks():
    """Of every axis two values at least."""
    found = []
    for number in range(84):
        width, height = ((512, 512), (5376, 3072))[number % 2]
        found.append(
            task(
                number,
                prompt=PROMPTS[number % 7],
                negative_prompt="fog" if number % 5 == 0 else "",
                seed=(1, 2, 3, LARGE, LARGE + 1)[number % 5],
                steps=(8, 20, 30)[number % 3],
                guidance=(1.5, 4.0)[number // 2 % 2],
                width=width, height=height, rendered_width=width, rendered_height=height,
                scheduler=Call(name="euler") if number % 4 == 0 else None,
                extra=(("pag_scale", 0.5 * (number % 3)),) if number % 3 else (),
            )
        )  # fmt: skip
    return found


class Asked:
    """A page and its images."""

    def __init__(self, page, images):
        self.page, self.images = page, images


@pytest.fixture(scope="module")
def asked(browser, tmp_path_factory):
    """A page with the images of :func:`tasks`, and the images as the page has them."""
    path = written(tmp_path_factory.mktemp("asked"), tasks(), failed=6, missing=(1, 15))
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    yield Asked(page, page.evaluate("data.images"))
    page.close()


def found(page, *texts):
    """What each text finds: numbers of images in the plan."""
    return page.evaluate(
        "texts => texts.map(text => data.images.filter(matches(text)).map(one => one.index))", texts
    )


def said(page, text):
    return " ".join(page.evaluate("text => understood(text).problems", text))


@dataclass
class Term:
    """A term, and whether an image has what it asks for."""

    text: str
    holds: object


def plain(text):
    text = unicodedata.normalize("NFC", text or "").upper().lower().replace("ς", "σ").replace("i\u0307", "i")
    return unicodedata.normalize("NFC", text)


def quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


WORDS = [
    "fox",
    "RED",
    "strasse",
    "izmir",
    "STRASSE",
    "night",
    "οδοσ",
    "euler",
    "16:9",
    "absent",
    'said "fox"',
    "a Red",
]
ORDERS = {">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b}


def number_of(key):
    return lambda image: float(image[key]) if image.get(key) not in (None, "") else None


def pag_scale(image):
    return float(image["extra"].removeprefix("pag_scale=")) if image["extra"] != "none" else None


def compared(key, of, order, value, written):
    return Term(f"{key}{order}{written}", lambda image: of(image) is not None and ORDERS[order](of(image), value))


def terms():
    word = st.sampled_from(WORDS).map(lambda text: Term(quoted(text), lambda image: plain(text) in image["words"]))
    prompt = st.sampled_from(WORDS).map(
        lambda text: Term(f"prompt:{quoted(text)}", lambda image: plain(text) in plain(image["prompt"]))
    )
    seed = st.lists(st.sampled_from([1, 2, 3, 4, LARGE, LARGE + 1]), min_size=1, max_size=3).map(
        lambda some: Term("seed:" + "|".join(map(str, some)), lambda image: int(image["seed"]) in some)
    )
    ends = st.tuples(st.sampled_from(["", 0, 2, LARGE]), st.sampled_from([2, 3, LARGE, LARGE + 1]))
    span = ends.filter(lambda ends: (ends[0] or 0) <= ends[1]).map(
        lambda ends: Term(
            f"seed:{ends[0]}..{ends[1]}", lambda image: (ends[0] or 0) <= int(image["seed"]) <= ends[1]
        )
    )
    orders = st.sampled_from(list(ORDERS))
    steps = st.tuples(orders, st.integers(7, 31)).map(
        lambda one: compared("steps", number_of("steps"), one[0], one[1], one[1])
    )
    guidance = st.tuples(orders, st.sampled_from([1.5, 2, 4.0, 3.75])).map(
        lambda one: compared("guidance", number_of("guidance"), one[0], one[1], one[1])
    )
    time = st.tuples(orders, st.integers(30, 50)).map(
        lambda one: compared("time", number_of("total_s"), one[0], one[1] / 10, f"{one[1] * 100}ms")
    )
    peak = st.tuples(orders, st.integers(1024, 1032)).map(
        lambda one: compared("peak", number_of("memory_mib"), one[0], one[1], f"{one[1]}MiB")
    )
    width = st.tuples(orders, st.sampled_from([512, 1000, 5376])).map(
        lambda one: compared("width", number_of("width"), one[0], one[1], one[1])
    )
    pag = st.tuples(orders, st.sampled_from([0.5, 0.7, 1])).map(
        lambda one: compared("extra.pag_scale", pag_scale, one[0], one[1], one[1])
    )
    status = st.sampled_from(["done", "failed", "missing"]).flatmap(
        lambda value: st.sampled_from(["status:", "status=", "is:"]).map(
            lambda key: Term(key + value, lambda image: image["status"] == value)
        )
    )
    size = st.sampled_from(["512x512", "5376×3072"]).map(
        lambda value: Term(f"size:{value}", lambda image: image["size"] == value.replace("×", "x"))
    )
    return st.one_of(word, prompt, seed, span, steps, guidance, time, peak, width, pag, status, size)


def negated(term):
    return Term("-" + term.text, lambda image: not term.holds(image))


queries = st.lists(st.one_of(terms(), terms().map(negated)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(some=st.lists(queries, min_size=8, max_size=8))
def test_terms_find_what_a_plain_predicate_finds(asked, some):
    page, images = asked.page, asked.images
    expected = [[one["index"] for one in images if all(term.holds(one) for term in query)] for query in some]
    texts = [" ".join(term.text for term in query) for query in some]
    for text, real, right in zip(texts, found(page, *texts), expected, strict=True):
        assert real == right, text
        assert said(page, text) == "", text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("steps > 20", "steps>20"),
        ("  seed: 3   fox ", "seed:3 fox"),
        ("SEED:1..2", "seed:1|2"),
        ("STATUS:Done", "is:done"),
        ('"red fox', "\"red fox\""),
        ("time:1m", "time:60s"),
        ("peak>=1gib", "vram>=1024MB"),
        ("negative:fog", "negative_prompt:FOG"),
        ("steps!=20", "-steps:20"),
        ("size:5376*3072", "width>2000"),
        ("-has:error has:picture", "is:done"),
        ("seed:..2", "seed<=2"),
        ("steps:20..", "steps>=20"),
        ("model:demo fox", "fox"),
        ("time:2.3", "time>=2.25 time<2.35"),
        ("", "-absent"),
        ("-", ""),
    ],
)  # fmt: skip
def test_ways_to_say_the_same(asked, text, same):
    page = asked.page
    one, other = found(page, text, same)
    assert one == other


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stps>3", 'There is no "stps"'),
        ("http://x", "in quotes"),
        ("steps>many", '"many" is no number'),
        ("time>1e999", 'time>1e999: "1e999" is no number of seconds'),
        ("seed:9..3", "seed:9..3 holds nothing"),
        ("seed:1..2..3", "is no number"),
        ("steps:", "lacks a value"),
        ("memory>7", "peak>7"),
        ("prompt>a", "prompt:a"),
        ("size>512", "width>512"),
        ("size:big", "5376x3072"),
        ("is:lovely", "is:failed"),
        ("is:", "is: lacks a value. Known are is:allowed"),
    ],
)
def test_what_nobody_knows_is_said_and_left_out(asked, text, says):
    page = asked.page
    assert says in said(page, text)
    assert found(page, "fox " + text) == found(page, "fox")


def test_a_term_of_a_select_finds_its_value_again(asked):
    page = asked.page
    for value in ['a "b" c', "back\\slash", "a|b", "plain", "two words"]:
        (term,) = page.evaluate("value => terms(termFor('style', value))", value)
        assert (term["key"], term["sign"], term["value"]) == ("style", "=", value)


LOOKED_UP = ("show", "say", "sort", "size", "rows", "columns2", "how", "by")
"""What the address says, beside the filter."""


@pytest.mark.parametrize("word", ["constructor", "__proto__", "toString", "extra.constructor"])
def test_a_word_that_every_object_knows_is_none_of_the_page(asked, page, word):
    report = asked.page.url.partition("#")[0]
    page.goto(f"{report}#{'&'.join(f'{name}={word}' for name in LOOKED_UP)}&find={word}:x+{word}>1")
    assert page.locator(".card").count(), page.said
    assert page.evaluate("problems.length") == 2
    page.goto("about:blank")
    page.goto(f"{report}#show=grid&say={word}&tabs={word}%3Dx")
    assert page.locator(".grid-says").first.text_content() == ""
    assert page.said == []
