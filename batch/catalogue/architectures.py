"""Configurations that ship with the program, for models with random weights: what to build, without a download.

They are in ``architectures.yaml`` beside this file, each as the configuration files of a diffusers folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml

from batch.catalogue.configs import Config

WORDS = "demo"
"""The packaged model that lends its tokenizer: a Gemma tokenizer whose ids lie inside every Gemma's vocabulary.
It knows few words, so a text becomes three to four times the tokens."""


@cache
def known() -> Mapping[str, Mapping[str, Config]]:
    """Every architecture by name: its configuration files by their path."""
    text = resources.files("batch.catalogue").joinpath("architectures.yaml").read_text(encoding="utf-8")
    models: Mapping[str, Mapping[str, Config]] = yaml.safe_load(text)["models"]
    return models
