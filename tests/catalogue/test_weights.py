"""Which files of a repository a session needs."""

from batch.catalogue import weights


def test_which_files_are_needed():
    index = {"_class_name": "P", "x": ["d", "X"], "y": ["d", "Y"], "z": ["t", "Z"], "w": [None, None], "n": 1}
    names = ["model_index.json", "x/config.json", "x/m.fp16.safetensors", "x/m.safetensors", "y/config.json",
             "y/m-00001-of-00002.safetensors", "y/m-00002-of-00002.safetensors", "y/m.safetensors.index.json",
             "y/m.bf16-00001-of-00002.safetensors", "y/m.bf16-00002-of-00002.safetensors",
             "y/m.safetensors.index.bf16.json", "z/vocab.txt", "z/README.md", "z/teaser.png",
             "other/m.safetensors",
             "x/pytorch_model.bin", "x/model.onnx", "x/modeling.py", "pipeline.py",
             "y/deep/m.safetensors"]  # fmt: skip
    shared = {"model_index.json", "x/config.json", "y/config.json", "z/vocab.txt"}
    plain = {name for name in names if name.startswith("y/m-")} | {"y/m.safetensors.index.json"}
    bf16 = {name for name in names if name.startswith("y/m") and "bf16" in name}
    assert weights.of(index, names, variant="").files == shared | {"x/m.safetensors"} | plain
    assert weights.of(index, names, dtype="bfloat16").files == shared | {"x/m.safetensors"} | bf16
    assert weights.of(index, names, dtype="bfloat16(x=float32)").variant == "bf16"
    assert weights.of(index, names, dtype="float16").files == shared | {"x/m.fp16.safetensors"} | plain
    assert weights.of(index, names, dtype="float32").variant == ""


def test_variants_of_shards_in_both_spellings():
    for stem in ("model.fp16-0000{}-of-00002", "model-0000{}-of-00002.fp16"):
        shards = [f"text_encoder/{stem.format(number)}.safetensors" for number in (1, 2)]
        names = ["text_encoder/config.json", "text_encoder/model.safetensors.index.fp16.json", *shards]
        index = {"text_encoder": ["transformers", "X"]}
        found = weights.of(index, [*names, "text_encoder/model.safetensors"], dtype="float16")
        assert found.files == {"model_index.json", *names}
        only = weights.of(index, names)  # nothing else is there
        assert (only.variant, only.files) == ("fp16", found.files)
        assert weights.lacking(index, names, only) == []
        assert weights.lacking(index, names[:-1], only) == [shards[1]]
        assert weights.lacking(index, [names[0], *shards], only) == ["text_encoder/the index of the weights"]
