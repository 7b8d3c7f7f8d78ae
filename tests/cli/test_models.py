"""models: which there are, where they lie, and what the memory settings mean."""


def test_models(cli, manifest, cache, monkeypatch):
    from batch.catalogue.models import packaged

    hub = cache / "hub-of-models"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    name = "sana-1.6b-4k"
    assert cli("models").out.count("not on this machine") == sum(bool(model.repo) for model in packaged().values())
    data = {model["name"]: model for model in cli("models", "--json").json()}
    assert (data["demo"]["here"], data[name]["here"]) == (True, False)
    assert len(data[name]["sizes"]) > 30
    folder = hub / "models--Efficient-Large-Model--Sana_1600M_4Kpx_BF16_diffusers" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    one = cli("models", name, "--json").json()
    assert (one["native"], one["here"], one["cached_bytes"]) == ("5376x3072", True, 2)
    text = cli("models", name).out
    assert "3072x5376" in text
    assert "flow-euler" in text
    assert "facts from" in text
    assert "https://github.com/NVlabs/Sana" in text
    assert max(map(len, text.splitlines())) <= 100
    (folder / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderDC"]}')
    assert not cli("models", name, "--json").json()["here"]
    assert "a part of it" in cli("models", name).out
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text("a" * 40)
    folder.rename(folder.parent / ("a" * 40))
    planned = cli("plan", manifest(f"grid: {{model: {name}, prompt: a fox}}\n"))
    assert f"only a part of it is in {hub}; `fetch` downloads the rest" in planned.err
    assert "is not known" in cli("models", "nonsense").err


def test_what_a_model_is_made_for_is_told(cli):
    for name, says in {
        "qwen-image-2.1-turbo": "8 steps and no other number, no negative prompt",
        "hidream-i1-full": "any whose sides are multiples of 16",
        "kolors": "pip install sentencepiece",
    }.items():
        assert says in " ".join(cli("models", name).out.split())


def test_memory_settings_are_explained(cli):
    from batch.memory import profiles, steps

    text = cli("models", "--memory").out
    assert all(f"  {name}" in text for name in [*profiles.PROFILES, *steps.STEPS])
    assert cli("models", "--memory", "--json").json()["steps"]["vae_tiling"]["changes_pixels"]
    assert cli("models", "demo", "--memory").code == 2
