"""The JSON Schema of manifests says what their reader takes, as far as it can."""

import json

import jsonschema
import pytest
import yaml

from batch.base.errors import ManifestError
from batch.manifest.axes import AXES
from batch.manifest.json_schema import json_schema
from batch.manifest.read import read_manifest
from tests.conftest import ROOT

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_up_to_date_and_checks_the_examples(cli):
    shipped = (ROOT / "batch" / "manifest" / "manifest.schema.json").read_text(encoding="utf-8")
    assert json.loads(shipped) == json_schema() == cli("manifest", "schema").json()
    for path in (ROOT / "jobs").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=../batch/manifest/manifest.schema.json\n")
        assert not list(VALIDATOR.iter_errors(yaml.safe_load(text)))
    for wrong in ({}, {"grid": {"sizes": "1x1"}}, {"grid": {"seed": "x"}}, {"gird": {}}, {"grid": {}, "zip": {}}):
        assert list(VALIDATOR.iter_errors(wrong)), wrong


ALIKE = {
    "variants: false": True,
    "variants: off": True,
    "variants: {random: 10000}": True,
    "variants: {random: 10001}": False,
    "variants: {random: 0}": False,
    "variants: true": False,
    "wildcards: {c: [1, 2, no, ~]}": True,
    "wildcards: {c: null}": True,
    "wildcards: {c: red}": True,
    "wildcards: {c: []}": False,
    "wildcards: {c: [[a]]}": False,
    'wildcards: {c: [{content: x, weight: "2"}, {text: 1984, weight: 0.5}]}': True,
    "wildcards: {c: [{content: x, weight: -1}]}": False,
    "wildcards: {c: [{content: x, weight: much}]}": False,
    "wildcards: {c: [{weight: 2}]}": False,
    "wildcards: {c: [{text: x, heavy: 2}]}": False,
    "wildcards: {c: {d: [red], e: {file: [blue]}}}": True,
    "wildcards: {c: {d: []}}": False,
    "wildcards: {c: {file: t.csv, column: 1}}": True,
    "wildcards: {c: {file: t.csv, sheet: x}}": False,
    "styles: {x: 35}": True,
    "styles: {x: }": True,
    "styles: {x: {prompt: a, negative_prompt: }}": True,
    "styles: {x: {}}": False,
    "styles: {x: [a]}": False,
    "styles: {file: {prompt: 35}}": True,
    "prompt_prefix: 35": True,
    "prompt_prefix:": True,
    "prompt_suffix: [a]": False,
    "name: 1984": True,
    "name:": False,
    "output: {name: 1984}": True,
    "negative_prompt:": True,
    "negative_prompt: [no, 3, ]": True,
    "negative_prompt: {a: b}": False,
    "style: 35\nstyles: {35: a}": True,
    "seed: {random: 1000000}": True,
    "seed: {random: 1000001}": False,
    "seed: {random: 1, per: prompt}": True,
    "seed: {random: 1, per: seed}": False,
    "prompt: {text: 1984, seed: 1}": True,
    "prompt: [1984, no, 1.5]": True,
    "prompt: {file: t.csv, column: 1}": True,
}


@pytest.mark.parametrize("text", ALIKE)
def test_the_schema_takes_what_the_reader_takes(manifest, work, text):
    (work / "t.csv").write_text("1\na\n")
    axis = text.partition(":")[0] in AXES
    first, _, rest = text.partition("\n")
    grid = f"grid:\n  model: demo\n  {first}\n" if axis else f"{first}\ngrid:\n  model: demo\n"
    path = manifest(grid + ("" if text.startswith("prompt:") else "  prompt: a\n") + rest)
    wrong = list(VALIDATOR.iter_errors(yaml.safe_load(path.read_text())))
    try:
        read_manifest(path)
        taken = True
    except ManifestError:
        taken = False
    assert (taken, not wrong) == (ALIKE[text], ALIKE[text]), wrong
