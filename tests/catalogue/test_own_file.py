"""Models in a file of one's own: what an entry changes, and mistakes in it."""

import shutil

import pytest

from batch.base.errors import ManifestError
from batch.catalogue.models import known_models
from batch.hub.models import find_model
from tests.helpers import only_receipt, receipts_of
from tests.tiny_models import qwen_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own(work, monkeypatch):
    path = work / "own" / "models.yaml"
    path.parent.mkdir()
    monkeypatch.setenv("RUN_BATCH_MODELS", str(path))

    def write(text):
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_models_of_ones_own(cli, own, manifest, work, tiny):
    path = own(
        "my-sana: {like: sana-1.6b-4k, repo: me/sana-4k, steps: 18}\n"
        f"fox:\n  like: sdxl\n  folder: {tiny('sdxl')}\n  native: 64x64\n  steps: 1\n  dtype: float32\n"
    )
    listed = {model["name"]: model for model in cli("models", "--json").json()}
    assert listed["my-sana"]["own"]
    assert (listed["my-sana"]["from"], listed["my-sana"]["steps"], listed["my-sana"]["flow_shift"]) == (
        "me/sana-4k",
        18,
        6,
    )
    assert f"The last 2 models from {path}." in cli("models").out.replace("\n", " ")
    assert cli("run", manifest("grid: {model: fox, prompt: a fox}\n"), "--out", "run", "--quiet").code == 0
    receipt = only_receipt(work / "run")
    assert (receipt.task.size, receipt.task.steps, receipt.task.revision != "") == ("64x64", 1, True)


def test_what_an_entry_changes_is_part_of_the_id(cli, own, manifest, work, tiny):
    text = (
        f"fox:\n  like: sana-1.6b-1k\n  folder: {tiny('sana')}\n  sample_size: 16\n  native: 512x512\n  steps: 2\n"
    )
    text += "  dtype: float32\n"
    path, found = manifest("grid: {model: fox, prompt: a fox}\n"), {}
    for shift in ("", "  flow_shift: 6\n", "  flow_shift: 2\n"):
        own(text + shift)
        outcome = cli("run", path, "--out", "run", "--quiet")
        assert outcome.code == 0, outcome.err
        for item in receipts_of(work / "run"):
            found.setdefault(item.task.id, item.scheduler["flow_shift"])
    assert sorted(found.values()) == [2.0, 3.0, 6.0]
    assert cli("verify", "run", "--reproduce", "1").code == 0
    own(text + "  flow_shift: 5\n")
    changed = cli("verify", "run", "--reproduce", "1")
    assert changed.code == 2
    assert "not the one that run was rendered with" in changed.err
    assert not any(fact in cli("models", "fox").out for fact in ("licence", "facts from"))  # of another model
    own(text + "  flow_shift: 5\nvixen: {like: fox}\nkit: {like: vixen}\n")
    assert known_models()["kit"].overrides["scheduler"] == {"flow_shift": 5.0}
    assert known_models()["fox"].steps_range is None  # 2 steps, where the model it is like takes 10 to 50
    told = cli("manifest", "from", "run")
    assert "fox is an entry of a models.yaml" in told.err + told.out


def test_what_an_entry_says_of_a_distilled_model_is_held(cli, own, manifest):
    own(
        "mine: {like: z-image, repo: me/z, negative: false, fixed_steps: true, largest: '', source: my notes}\n"
        "yours: {like: mine, repo: you/z, needs: [no_such_package]}\n"
    )
    assert "my notes" in cli("models", "mine").out
    assert cli("models", "yours", "--json").json()["source"] is None
    assert known_models()["mine"].largest is None
    axes = "prompt: a fox, steps: 7, guidance: 0, negative_prompt: blue, size: 4096x4096"
    refused = cli("plan", manifest(f"grid: {{model: [mine, yours], {axes}}}\n")).err
    assert "the files of mine fix 50 steps" in refused
    assert "mine is distilled and ignores a negative prompt" in refused
    assert "yours needs the package no_such_package; install it with: pip install no_such_package" in refused


def test_a_distilled_qwen_is_of_one_family_however_it_is_named(own, work, monkeypatch):
    plain, distilled = work / "plain", work / "distilled"
    qwen_image(plain)
    qwen_image(distilled, guidance=True)
    cached = work / "hub" / "models--me--qwen" / "snapshots" / ("c" * 40)
    shutil.copytree(distilled, cached)
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own(
        "".join(f"{path.name}-folder: {{like: qwen-image, folder: {path}}}\n" for path in (plain, distilled))
        + "distilled-repo: {like: qwen-image, repo: me/qwen}\n"
    )
    folders = ("plain", "plain-folder", "random:plain", "random:plain-folder")
    repos = ("distilled-repo", "me/qwen", "me/qwen@" + "c" * 40, f"random:me/qwen@{'c' * 40}")
    families = {
        name: find_model(name, work, {}, online=False).family
        for name in (*folders, *(name.replace("plain", "distilled") for name in folders), *repos)
    }
    assert families == {name: "qwen_image" if "plain" in name else "generic" for name in families}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("demo: {like: sdxl}\n", 1, "ships with the program"),
        ("a b: {like: sdxl}\n", 1, "cannot name a model"),
        ("x: someone/model\n", 1, "write what it is"),
        ("x:\n  like: sdlx\n", 2, "did you mean sdxl?"),
        ("x: {like: [sdxl]}\n", 1, "like: input should be a valid string"),
        ("x:\n  like: sdxl\n  setps: 3\n", 3, "did you mean steps?"),
        ("x:\n  like: sdxl\n  steps: many\n", 3, "steps: input should be a valid integer"),
        ("x:\n  like: sdxl\n  native: big\n", 3, "write WIDTHxHEIGHT"),
        ("x:\n  like: sdxl\n  dtype: half\n", 3, "dtype: input should be"),
        ("x: {like: sdxl, repo: a/b, folder: c}\n", 1, "a model is in one place"),
        ("x: {pipeline: SanaPipeline, native: 512x512}\n", 1, "say where it is"),
        ("x: {repo: a/b}\n", 1, "say pipeline and native, or like"),
        ("x: {repo: a/b, pipeline: SanaPipeline, native: 512x512}\n", 1, "sample_size 0 is none"),
        (
            "x: {repo: a/b, pipeline: FoxPipeline, native: 512x512}\n",
            1,
            "the installed diffusers has no FoxPipeline",
        ),
        ("x: {like: sdxl, scheduler: FoxScheduler}\n", 1, "the installed diffusers has no FoxScheduler"),
        ("x: {like: sana-1.6b-4k, dtype: float16}\n", 1, "not among dtypes"),
        ("x: {like: sana-1.6b-1k, native: 512x512}\n", 1, "not a size that it renders"),
        ("- sdxl\n", 1, "maps names to models"),
        ("x: {like: sdxl\n", 1, "not valid YAML"),
    ],
)
def test_mistakes_in_it_have_their_line(cli, own, manifest, text, line, says):
    path = own(text)
    for command in (("models",), ("plan", manifest())):
        outcome = cli(*command)
        assert outcome.code == 2
        assert f"{path}:{line}: " in outcome.err
        assert says in outcome.err


def test_a_file_that_is_named_and_not_there(cli, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_MODELS", "nowhere.yaml")
    assert "RUN_BATCH_MODELS names this file" in cli("models").err
    with pytest.raises(ManifestError):
        known_models()


def test_a_folder_that_is_named_for_a_file(cli, work, monkeypatch):
    monkeypatch.setenv("RUN_BATCH_MODELS", str(work))
    outcome = cli("models")
    assert outcome.code == 2
    assert f"RUN_BATCH_MODELS names a folder; it wants a file, such as {work / 'models.yaml'}" in outcome.err
