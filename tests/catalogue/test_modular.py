"""The index of a model in blocks, as the index of a pipeline."""

from hypothesis import given
from hypothesis import strategies as st

from batch.catalogue import modular, weights

ENTRY = {
    "pretrained_model_name_or_path": "/home/somebody/anima", "subfolder": "vae", "variant": None, "revision": None,
    "type_hint": ["diffusers", "AutoencoderKLQwenImage"],
}  # fmt: skip


def test_an_index_of_blocks_says_what_a_pipelines_says():
    blocks = {
        "_class_name": "AnimaModularPipeline",
        "_blocks_class_name": "AnimaAutoBlocks",
        "vae": ["diffusers", "AutoencoderKLQwenImage", ENTRY],
        "transformer": [None, None, ENTRY | {"type_hint": ["diffusers", "CosmosTransformer3DModel"]}],
        "prompt_upsampler": [
            None,
            None,
            ENTRY | {"type_hint": ["transformers", "Qwen3_5ForConditionalGeneration"]},
        ],
        "guider": ["diffusers", "ClassifierFreeGuidance", ENTRY],
        "safety_checker": [None, None, ENTRY | {"type_hint": None}],
    }
    index = modular.classic(blocks)
    assert index["_class_name"] == "AnimaModularPipeline"
    assert weights.components(index) == {
        "vae": ("diffusers", "AutoencoderKLQwenImage"),
        "transformer": ("diffusers", "CosmosTransformer3DModel"),
    }
    assert weights.left_out(index) == ["prompt_upsampler", "safety_checker"]
    needs = weights.of(index, ["transformer/config.json", "modular_model_index.json"])
    assert needs.files == {"transformer/config.json", "modular_model_index.json"}
    assert needs.elsewhere == {"vae": "/home/somebody/anima/vae"}


def test_the_index_of_a_pipeline_comes_first():
    files = {
        "model_index.json": {"_class_name": "A", "_places": 5},
        "modular_model_index.json": {"_class_name": "B"},
    }
    assert modular.translated(files.get)("model_index.json") == {"_class_name": "A"}
    del files["model_index.json"]
    assert modular.translated(files.get)("model_index.json")["_class_name"] == "B"
    assert modular.translated({}.get)("model_index.json") is None


_PLAIN = st.sampled_from([None, True, 5, "", "diffusers", "../x", ["a"], ["a", "b"], ["a", 5], {"a": "b"}])
_SAID = st.dictionaries(st.sampled_from([*ENTRY, "repo"]), _PLAIN, max_size=3)
_ENTRY = st.tuples(_PLAIN, _PLAIN, _SAID).map(list) | _PLAIN


@given(st.dictionaries(st.sampled_from(["vae", "guider", "_places", "_class_name", "t5_tokenizer"]), _ENTRY))
def test_whatever_an_index_holds_it_is_read(blocks):
    needs = weights.of(modular.classic(blocks), ["vae/a.safetensors"])
    assert "modular_model_index.json" in needs.files
