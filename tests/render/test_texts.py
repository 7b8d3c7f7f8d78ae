"""How much of a text is read, texts in pieces, and weights."""

import pytest
import torch

from batch.plan.texts import encode_tasks
from batch.records.tasks import EncodeTask, Task
from batch.render import pieces, tokens
from batch.render.families.table import FAMILIES
from tests.render.direct import loaded

LONG = "abcde fghij klmno pqrst uvwxy"
"""Of the tiny CLIP tokenizer each letter is a token, and 14 fit between its beginning and its end."""


def task(family, text, **settings):
    return EncodeTask(key="k", model="m", dtype="float32", text=text, negative=False, **settings)


def encoded(folder, family, text, **settings):
    pipe, _ = loaded(folder)
    asked = task(family, text, **settings)
    return FAMILIES[family].encode(pipe, asked, "cpu")


def read(folder, family, text, **settings):
    pipe, _ = loaded(folder)
    asked = task(family, text, **settings)
    from batch.render.families import common

    most = common.text_arguments(pipe, asked, family).get("max_sequence_length")
    with tokens.watched(pipe, text, most) as seen:
        FAMILIES[family].encode(pipe, asked, "cpu")
    return seen.tokens
