"""The scheduler axis: overrides that fit, and what receipts, page and comparison say of what was at work."""

import json
import math

import diffusers
import numpy as np
import pytest
import torch

from batch.base.errors import TaskError
from batch.hub.models import find_model
from batch.plan import checks
from batch.records.reading import from_json, to_json
from batch.records.receipts import Receipt
from batch.records.values import Call
from batch.render import schedulers
from tests.helpers import grid, picture, receipts_of

pytestmark = pytest.mark.usefixtures("one_thread")


def job(model, size="512x512", **settings):
    return grid(
        **{"model": str(model), "prompt": "a fox 7", "steps": 2, "dtype": "float32", "size": size} | settings
    )


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("sana", "dpm++(use_karras_sigmas=yes)", "use_karras_sigmas of dpm++ is true or false (by default false)"),
        ("sana", "dpm++(use_karras_sigmas=1)", "is true or false (by default false), not 1"),
        (
            "sana",
            "dpm++(flow_shift=six)",
            "flow_shift of dpm++ is a number above 0 and up to 1000 (by default 1.0), not 'six'",
        ),
        (
            "sana",
            "dpm++(solver_order=true)",
            "solver_order of dpm++ is a whole number from 1 to 3 (by default 2), not True",
        ),
        ("sana", "dpm++(solver_order=0)", "a whole number from 1 to 3 (by default 2), not 0"),
        ("sana", "dpm++(solver_order=2.5)", "a whole number from 1 to 3 (by default 2), not 2.5"),
        ("sana", "dpm++(num_train_timesteps=0)", "a whole number from 1 to 1,000,000 (by default 1000), not 0"),
        ("sana", "dpm++(trained_betas=3)", "trained_betas of dpm++ is a list of numbers, as in [0, 1], not 3"),
        (
            "sana",
            "dpm++(flow_shift=0)",
            "flow_shift of dpm++ is a number above 0 and up to 1000 (by default 1.0), not 0",
        ),
        ("sana", "dpm++(flow_shift=.nan)", "nan is not a finite number"),
        (
            "sd3",
            "default(shift=-1)",
            "shift of default is a number above 0 and up to 1000 (by default 1.0), not -1",
        ),
        ("sdxl", "dpm++(use_karras_sigmas=true, use_beta_sigmas=true)", "cannot both be true"),
        ("sdxl", "dpm++(algorithm_type=dpmsolver)", "goes with final_sigmas_type=sigma_min only"),
        (
            "sana",
            "flow-euler(use_dynamic_shifting=true)",
            "passes no shift for a size; leave use_dynamic_shifting",
        ),
        ("sana", "dpm++(flow_shift=1e9)", "a number above 0 and up to 1000 (by default 1.0), not 1000000000.0"),
        ("sana", "unipc(disable_corrector=banana)", "is a list of numbers, as in [0, 1], not 'banana'"),
        ("sana", "dpm++(lambda_min_clipped=banana)", "lambda_min_clipped of dpm++ is a number, not 'banana'"),
        ("sana", "dpm++(dynamic_thresholding_ratio=5)", "a number between 0 and 1 (by default 0.995), not 5"),
        ("sdxl", "euler(beta_end=2)", "beta_end of euler is a number between 0 and 1 (by default 0.02), not 2"),
        ("sana", "dpm++(solver_type=2)", "solver_type of dpm++ is one of bh1, bh2, heun, logrho, midpoint, not 2"),
        ("sana", "dpm++(algorithm_type=ddim)", "one of deis, dpmsolver, dpmsolver++, sde-dpmsolver"),
        ("sana", "unipc(timestep_spacing=log)", "is one of leading, linspace, trailing, not 'log'"),
        ("sdxl", "euler(final_sigmas_type=one)", "is one of sigma_min, zero, not 'one'"),
        (
            "sdxl",
            "dpm++(prediction_type=v_prediction)",
            "predicts epsilon, and a scheduler that takes it for v_pred",
        ),
        (
            "sana",
            "default(prediction_type=epsilon)",
            "predicts flow_prediction, and a scheduler that takes it for eps",
        ),
        ("sana", "default(use_flow_sigmas=false)", "is a flow model; leave use_flow_sigmas out"),
        ("sdxl", "dpm++(use_flow_sigmas=true)", "is no flow model; leave use_flow_sigmas out"),
        ("sana", "default(flow_shift=six)", "flow_shift of default is a number"),
        ("sana", "default(flow_shfit=6)", "default has no setting flow_shfit; did you mean flow_shift?"),
        ("sana", "default(6)", "named arguments only"),
        ("sdxl", "default(flow_shift=6)", "default has no setting flow_shift"),
        ("sd3", "default(shift=true)", "shift of default is a number"),
    ],
)
def test_an_override_that_does_not_fit_is_said_before_the_night(cli, manifest, tiny, name, written, says):
    path = manifest(job(tiny(name), "512x512", scheduler=written))
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert f"{path}:7: scheduler: " in outcome.err
    assert says in outcome.err


def test_what_fits_anything_and_what_is_not_known(tiny, work):
    model = find_model(str(tiny("sana")), work, {}, online=False)
    good = {
        "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 6, "euler_at_final": True,
        "solver_type": "heun", "variance_type": "learned", "lambda_min_clipped": -5.1,
    }  # fmt: skip
    for name, value in good.items():
        for scheduler in ("dpm++", "default"):
            assert not dict(
                checks.objections(model, {"scheduler": Call(name=scheduler, arguments=((name, value),))})
            )


def test_a_list_among_the_overrides(cli, manifest, work, tiny):
    path = manifest(job(tiny("sana"), scheduler=["unipc(disable_corrector=[0, 1], solver_order=2)"]))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    (receipt,) = receipts_of(work / "run")
    assert receipt.scheduler["disable_corrector"] == [0, 1]
    assert "unipc(disable_corrector=[0, 1], solver_order=2)" in (work / "run" / "results.csv").read_text()
    (work / "again.yaml").write_text(cli("manifest", "from", "run").out)
    assert cli("run", work / "again.yaml", "--out", "again", "--quiet").code == 0
    assert [item.task.id for item in receipts_of(work / "again")] == [receipt.task.id]


def test_the_models_own_with_overrides(cli, manifest, work, tiny):
    pipe = diffusers.DiffusionPipeline.from_pretrained(tiny("sana"))
    pipe.set_progress_bar_config(disable=True)
    own = pipe.scheduler
    path = manifest(job(tiny("sana"), scheduler=["default(flow_shift=6)", "default", "flow-euler(shift=5)"]))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    found = {str(item.task.scheduler): item for item in receipts_of(work / "run")}
    assert found.keys() == {"default(flow_shift=6)", "None", "flow-euler(shift=5)"}
    made = {
        "default(flow_shift=6)": diffusers.DPMSolverMultistepScheduler.from_config(own.config, flow_shift=6),
        "None": own,
        "flow-euler(shift=5)": diffusers.FlowMatchEulerDiscreteScheduler.from_config(own.config, shift=5),
    }
    for asked, receipt in found.items():
        pipe.scheduler = made[asked]
        seed = torch.Generator("cpu").manual_seed(0)
        image = pipe("a fox 7", num_inference_steps=2, height=512, width=512, generator=seed).images[0]
        assert np.array_equal(picture(work / "run", receipt), np.asarray(image)), asked
    assert found["default(flow_shift=6)"].scheduler["flow_shift"] == 6
    assert found["None"].scheduler["flow_shift"] == 3.0
    assert found["flow-euler(shift=5)"].scheduler["shift"] == 5
    assert {item.scheduler["class"] for item in found.values()} == {
        "DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
    }  # fmt: skip
    assert "default(flow_shift=6)" in (work / "run" / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["sana", "sd1"])
def test_a_receipt_holds_the_configuration_in_effect(cli, manifest, work, tiny, name):
    size = {"sana": "512x512", "sd1": "64x64"}[name]
    path = manifest(job(tiny(name), size, scheduler=["default", "dpm++(solver_type=heun)", "unipc"]))
    assert cli("run", path, "--out", "run", "--quiet").code == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for file in (work / "run" / ".run" / "receipts").rglob("*.json"):
        data = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
        config, kind = dict(data["scheduler"]), data["scheduler"]["class"]
        assert not [key for key in config if key.startswith("_")]
        settings = getattr(diffusers, kind).load_config(tiny(name), subfolder="scheduler")
        for key, value in config.items():
            if key in settings and key != "solver_type" and value != "-inf":
                assert value == settings[key], key
        assert config.get("lambda_min_clipped", "-inf") == "-inf"
        again = from_json(Receipt, json.dumps(data))
        assert json.loads(json.dumps(to_json(again))) == data
        del data["scheduler"]
        assert from_json(Receipt, json.dumps(data)).scheduler == {}
    wanted = {"heun", "midpoint", "bh2"} if name == "sana" else {"heun", None, "bh2"}
    assert {item.scheduler.get("solver_type") for item in receipts_of(work / "run")} == wanted


def test_what_json_cannot_hold_is_made_plain():
    betas = np.linspace(0.1, 0.2, 3, dtype=np.float32)
    made = diffusers.DDIMScheduler(trained_betas=betas)
    made.register_to_config(clip_sample_range=math.inf, rescale_betas_zero_snr=np.bool_(True))
    found = json.loads(json.dumps(schedulers.recorded(made), allow_nan=False))
    assert found["trained_betas"] == [float(item) for item in betas]
    assert (found["clip_sample_range"], found["rescale_betas_zero_snr"]) == ("inf", True)
    assert (found["class"], "_class_name" in found) == ("DDIMScheduler", False)
    made.register_to_config(of_another_class=1)  # as a model's file may name it; not in effect
    assert "of_another_class" not in schedulers.recorded(made)


def test_page_and_comparison_say_it(cli, manifest, work):
    path = manifest(job("demo", seed=[0, 1], scheduler=["default", "flow-euler(shift=5)"]))
    assert cli("run", path, "--out", "one", "--quiet").code == 0
    assert cli("run", path, "--out", "two", "--quiet").code == 0
    page = (work / "one" / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    shown = {row["scheduler"]: row for row in data["schedulers"]}
    assert shown.keys() == {"default", "flow-euler(shift=5)"}
    assert "flow_shift=3.0" in shown["default"]["settings"]
    assert (shown["flow-euler(shift=5)"]["class"], shown["default"]["images"]) == (
        "FlowMatchEulerDiscreteScheduler", "2",
    )  # fmt: skip
    assert "schedulers with other settings" not in cli("compare", "one", "two").out
    for file in (work / "two" / ".run" / "receipts").rglob("*.json"):
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["task"]["scheduler"] is None:
            data["scheduler"]["flow_shift"] = 6.0
            file.write_text(json.dumps(data), encoding="utf-8")
    outcome = cli("compare", "one", "two")
    assert "2 of 4 pictures of one and two were made by schedulers with other settings" in outcome.out
    assert "flow_shift 3.0 and 6.0" in outcome.out


@pytest.mark.parametrize(
    ("name", "scheduler"), [("flux", "flow-lcm"), ("sd3", "flow-lcm"), ("qwen_image", "flow-lcm"), ("sd1", "lcm")]
)
def test_noise_of_the_steps_is_the_images_own(cli, manifest, work, tiny, name, scheduler):
    path = manifest(job(tiny(name), "64x64", steps=3, seed=[7, 8], scheduler=scheduler))
    pictures = []
    for run, batch in (("one", 1), ("again", 1), ("together", 2)):
        torch.manual_seed(len(pictures))  # whatever the process drew before
        arguments = ("--set", f"run.batch={batch}") if name != "sd1" else ()
        assert cli("run", path, "--out", run, "--quiet", *arguments).code == 0
        by_seed = {item.task.seed: picture(work / run, item) for item in receipts_of(work / run)}
        pictures.append(by_seed)
    one, again, together = pictures
    for seed in (7, 8):
        assert np.array_equal(one[seed], again[seed])
        assert np.abs(one[seed].astype(int) - together[seed]).max() <= 2
    assert not np.array_equal(one[7], one[8])


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "AutoModel", "DiffusionPipeline", "utils", "nothing"])
def test_only_a_scheduler_is_made(name):
    own = diffusers.DPMSolverMultistepScheduler()
    with pytest.raises(TaskError, match=f"there is no scheduler {name}"):
        schedulers.make(own, Call(name=name))


@pytest.mark.parametrize("setting", ["self", "kwargs", "args", "pretrained_model_name_or_path"])
def test_a_scheduler_takes_what_its_signature_has(setting):
    own = diffusers.DPMSolverMultistepScheduler()
    for kind in ("default", "euler", "DDIMScheduler"):
        with pytest.raises(TaskError, match=f"has no setting {setting}"):
            schedulers.make(own, Call(name=kind, arguments=((setting, 1),)))
