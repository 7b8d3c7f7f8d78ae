"""The out-of-memory ladder and the bad-picture guard: as a table, and on the real demo pipeline."""

import itertools

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, SanaTransformer2DModel
from diffusers.models.autoencoders.autoencoder_dc import Decoder
from PIL import Image

from batch.base.errors import DeviceLost
from batch.manifest.values import Size
from batch.memory import ladder, profiles
from batch.render import error_texts, failures
from batch.render.failures import BadPicture
from batch.render.guards import check_pixels
from batch.store.folder import RunFolder
from tests import tiny_models
from tests.helpers import only_receipt, receipts_of

_ASYNCHRONOUS = (
    "{} kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing {}\nCompile with `TORCH_USE_{}_DSA` to enable device-side "
    "assertions.\n"
)
_SEARCH = (
    "Search for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html "
    "for more information.\n"
)
ADVICE = [
    _ASYNCHRONOUS.format("CUDA", "CUDA_LAUNCH_BLOCKING=1.", "CUDA"),
    _SEARCH + _ASYNCHRONOUS.format("CUDA", "CUDA_LAUNCH_BLOCKING=1", "CUDA"),  # of late
    _ASYNCHRONOUS.format("HIP", "AMD_SERIALIZE_KERNEL=3", "HIP"),
]
"""What torch writes below every error of CUDA."""

LARGE, SMALL = Size(5376, 3072), Size(512, 512)


def down(stage, setting, size, device, **more):
    """Every rung from a setting to the end, and the settings on the way."""
    steps, rungs, taken = profiles.resolve(setting, size), [], []
    while rung := ladder.next_rung(stage, ladder.lowered(steps, {stage: tuple(rungs)}), size, device, **more):
        rungs.append(rung)
        taken.append(profiles.shown_steps(ladder.lowered(steps, {stage: tuple(rungs)})))
    return rungs, taken


LARGER, SMALLER = ladder._TILES
OFFLOAD, BLOCKS, SEQUENTIAL = ladder._OFFLOADS
HALVES, BANDS = ladder._CUTS


@pytest.mark.parametrize(
    ("stage", "setting", "size", "device", "rungs"),
    [
        ("decode", "full", LARGE, "cuda:0", [OFFLOAD, LARGER, SMALLER, "vae_cpu"]),
        ("decode", "auto", LARGE, "cuda:0", [OFFLOAD, SMALLER, "vae_cpu"]),
        ("decode", "model-offload", LARGE, "cuda:0", [SMALLER, "vae_cpu"]),
        ("decode", "vae_tiling(512, 448)", LARGE, "cuda:0", [OFFLOAD, "vae_cpu"]),
        ("decode", "vae_tiling(256, 192) + vae_cpu", LARGE, "cuda:0", [OFFLOAD]),
        ("decode", "full", SMALL, "cuda:0", [OFFLOAD, "vae_cpu"]),  # one tile covers it
        ("decode", "full", LARGE, "cpu", [LARGER, SMALLER]),
        ("denoise", "full", LARGE, "cuda:0", [HALVES, BANDS, OFFLOAD, BLOCKS, SEQUENTIAL]),
        ("denoise", "model-offload", LARGE, "cuda:0", [HALVES, BANDS, BLOCKS, SEQUENTIAL]),
        ("denoise", "6gb", LARGE, "cuda:0", [BANDS, BLOCKS, SEQUENTIAL]),
        ("denoise", "group_offload(leaf)", LARGE, "cuda:0", [HALVES, BANDS, SEQUENTIAL]),
        ("denoise", "sequential_cpu_offload", LARGE, "cuda:0", [HALVES, BANDS]),
        ("denoise", "full", LARGE, "cpu", [HALVES, BANDS]),
        ("decode", "group-offload", LARGE, "cuda:0", [SMALLER, "vae_cpu"]),
        ("render", "full", LARGE, "cuda:0", [LARGER, SMALLER, OFFLOAD, BLOCKS, SEQUENTIAL]),
    ],
)
def test_the_ladder(stage, setting, size, device, rungs):
    assert down(stage, setting, size, device)[0] == rungs


def test_where_the_ladder_leads():
    _, settings = down("decode", "full", LARGE, "cuda:0")
    assert settings == [
        "model_cpu_offload",
        "vae_tiling(1024, 896) + model_cpu_offload",
        "vae_tiling(512, 448) + model_cpu_offload",
        "vae_tiling(512, 448) + model_cpu_offload + vae_cpu",
    ]
    assert down("decode", "full", LARGE, "cuda:0", impossible={LARGER, SMALLER})[0] == [OFFLOAD, "vae_cpu"]
    both = {"decode": (OFFLOAD, SMALLER), "denoise": (OFFLOAD, SEQUENTIAL), "encode": ("text_encoder_cpu",)}
    assert profiles.shown_steps(ladder.lowered((), both)) == "vae_tiling(512, 448) + sequential_cpu_offload"


def test_every_rung_is_a_step_that_a_manifest_can_name():
    for stage, rungs in ladder.LADDERS.items():
        for rung in rungs:
            assert stage == "encode" or profiles.resolve(rung, LARGE)


@pytest.mark.parametrize(
    ("error", "memory_ran_out", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 26.25 GiB. GPU 0"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), True, False),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB)"), True, False),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            True,
            False,
        ),
        (MemoryError(), True, False),
        (UnboundLocalError("cannot access local variable 'image' where it is not associated"), True, False),
        (UnboundLocalError("cannot access local variable 'sigmas'"), False, False),
        (ValueError("custom sigmas"), False, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), False, True),
        (RuntimeError("CUDA error: the launch timed out and was terminated"), False, True),
        (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), False, True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True, False),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True, False),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
            True,
            False,
        ),
        (
            RuntimeError(
                'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":830, '
                "please report a bug to PyTorch."
            ),
            True,
            False,
        ),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True, False),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
            True,
            False,
        ),
        (OSError(22, "The paging file is too small for this operation to complete"), True, False),
        (np._core._exceptions._ArrayMemoryError((3, 3), np.dtype("float32")), True, False),
        (RuntimeError("out of resource: shared memory, Required: 294912, Hardware limit: 232448"), False, False),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), False, False),
        (OSError("El archivo de paginación es demasiado pequeño (os error 1455)"), True, False),
        (RuntimeError("CUDA unknown error - this may be due to an incorrectly set up environment"), False, True),
        (
            RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
            True,
            False,
        ),
        (RuntimeError("The program was built for 1 devices (PI_ERROR_OUT_OF_RESOURCES)"), True, False),
        (
            RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch"),
            False,
            False,
        ),
        (RuntimeError("CUDA error: invalid argument"), False, False),
        (RuntimeError("CUDA error: operation not supported"), False, False),
    ],
)
@pytest.mark.parametrize("advice", ["", *ADVICE])
def test_what_an_error_means(error, memory_ran_out, lost, advice):
    if advice and type(error) is RuntimeError:
        error = RuntimeError(f"{error}\n{advice}")
    assert failures.is_out_of_memory(error) is memory_ran_out
    assert isinstance(failures.lost(error), DeviceLost) is lost
    wrapped = RuntimeError("while rendering")
    wrapped.__cause__ = error
    assert failures.is_out_of_memory(wrapped) is memory_ran_out
    assert failures.error_info(error, "decode").message


def test_the_host_runs_out_where_memory_is_page_locked():
    """cudaHostAlloc says the same as cudaMalloc; what asked for it tells them apart."""

    class Pinned:
        def pin_memory(self):
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")

        def cuda(self):
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")

    def host_is_full(ask):
        try:
            ask()
        except RuntimeError as error:
            called = error.__traceback__.tb_next
            called.tb_next = (
                None  # torch's is a C function, which has no frame: the line that called it is the last
            )
            return failures.failed(error.with_traceback(called), "denoise")

    of_the_host = host_is_full(lambda: Pinned().pin_memory())
    assert of_the_host.in_host and of_the_host.out_of_memory
    assert of_the_host.info.message == "the host's memory ran out: CUDA error: out of memory"
    of_the_card = host_is_full(lambda: Pinned().cuda())
    assert of_the_card.out_of_memory and not of_the_card.in_host


def test_what_helps_where_the_host_is_full():
    """Beside a card only what is computed in the host: nothing else needs less of it under a smaller setting."""
    assert down("denoise", "full", LARGE, "cuda:0", in_host=True)[0] == []
    assert down("decode", "full", LARGE, "cuda:0", in_host=True)[0] == []
    assert down("decode", "vae_cpu", LARGE, "cuda:0", in_host=True)[0] == [LARGER, SMALLER]
    assert down("denoise", "full", LARGE, "cpu", in_host=True) == down("denoise", "full", LARGE, "cpu")


def test_a_card_that_torch_was_not_built_for_ends_the_run():
    for said, advice in itertools.product(error_texts.TABLE, ADVICE):
        error = RuntimeError(f"CUDA error: {said.text}\n{advice}")
        ended = failures.unsuited(error)
        assert (ended is not None) == (said.meaning is error_texts.Meaning.UNSUITED), said
        assert ended is None or said.remedy in str(ended)
        assert (failures.lost(error) is not None) == (said.meaning is error_texts.Meaning.LOST), said


def test_what_is_not_obvious_is_said():
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    assert "for want of memory" in failures.error_info(error, "decode").message


def test_the_bytes_that_did_not_fit():
    text = "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 7.75 GiB"
    assert failures.error_info(torch.OutOfMemoryError(text), "decode").requested == 3 * 2**29
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12"
    assert failures.error_info(RuntimeError(text), "decode").requested == 4096
    text = "MPS backend out of memory (max allowed: 9.07 GB). Tried to allocate 1.50 GB on private pool."
    assert failures.error_info(RuntimeError(text), "decode").requested == 3 * 2**29


def test_what_is_no_picture():
    rng = np.random.default_rng(0)
    check_pixels(rng.integers(0, 255, (64, 48, 3)).astype(np.uint8), 48, 64)
    dark = np.zeros((3072, 5376, 3), np.uint8)
    dark[1501, 17, 2] = 9  # one star in a black night
    check_pixels(dark, 5376, 3072)
    for flat in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), (255, 0, 127), np.uint8)):
        with pytest.raises(BadPicture, match="one colour"):
            check_pixels(flat, 64, 64)
    with pytest.raises(BadPicture, match="64x63 pixels instead of 64x64"):
        check_pixels(rng.integers(0, 255, (63, 64, 3)).astype(np.uint8), 64, 64)


# The real demo pipeline


JOB = "grid: {model: demo-1k, prompt: a, seed: 0..1, steps: 1, size: 1344x768, memory: full}\n"


def pixels(folder):
    found = {}
    for receipt in receipts_of(folder):
        with Image.open(folder / receipt.file.path) as image:
            found[receipt.task.seed] = np.asarray(image)
    return found


@pytest.fixture
def small_card(monkeypatch):
    """A decoder that has room for tiles of 512 pixels only."""
    forward = Decoder.forward

    def limit(self, latents):
        if max(latents.shape[2:]) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 26.25 GiB.")
        return forward(self, latents)

    monkeypatch.setattr(Decoder, "forward", limit)


def test_the_real_decoder_goes_down_to_that_settings_pixels(cli, manifest, work, small_card):
    outcome = cli("run", manifest(JOB), "--out", "run", "--json")
    assert outcome.code == 0, outcome.err
    said = [event for event in outcome.events() if event["event"] == "out-of-memory"]
    assert [event["rung"] for event in said] == ["vae_tiling(1024, 896)", "vae_tiling(512, 448)"]
    status = cli("status", "run", "--json").json()
    assert (status["done"], status["degraded"]) == (2, 2)
    (receipt, _) = receipts_of(work / "run")
    with Image.open(work / "run" / receipt.file.path) as image:
        assert "vae_tiling(512, 448)" in image.text["run_batch"]
        assert "Memory used" in image.text["parameters"]
    assert cli("run", "job.yaml", "--out", "asked", "--set", "memory=vae_tiling(512, 448)").code == 0
    assert cli("status", "asked", "--json").json()["degraded"] == 0
    fallen, asked = pixels(work / "run"), pixels(work / "asked")
    assert all(np.array_equal(fallen[seed], asked[seed]) for seed in (0, 1))
    assert "DEGRADED" not in cli("verify", "run", "--reproduce", "2").err  # left out: nothing to compare with


def test_the_real_denoiser_fails_where_there_is_nothing_smaller(cli, manifest, work, monkeypatch):
    def forward(self, *args, **kwargs):
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    monkeypatch.setattr(SanaTransformer2DModel, "forward", forward)
    assert cli("run", manifest(JOB), "--out", "run").code == 1
    assert {item.error.kind for item in RunFolder(work / "run").failures().values()} == {"OutOfMemoryError"}


def test_the_real_decoder_that_overflows_is_repeated_in_float32(cli, manifest, work, monkeypatch):
    decode = AutoencoderDC._decode

    def overflow(self, latents):
        decoded = decode(self, latents)
        return decoded if latents.dtype == torch.float32 else decoded * float("inf")

    path = manifest(JOB.replace("memory: full", "dtype: bfloat16"))
    sound = cli("run", path, "--out", "sound", "--quiet")
    assert sound.code == 0, sound.err
    monkeypatch.setattr(AutoencoderDC, "_decode", overflow)
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("decoded in float32") == 2
    receipts = receipts_of(work / "run")
    assert all("decoded in float32" in item.repaired for item in receipts)
    repaired, plain = pixels(work / "run"), pixels(work / "sound")
    for seed in (0, 1):
        difference = np.abs(repaired[seed].astype(int) - plain[seed])
        assert 0 < difference.mean() < 3  # the same picture, a little more exact


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_the_real_decoder_that_stays_bad_is_invalid(cli, manifest, work, monkeypatch, value):
    decode = AutoencoderDC._decode
    monkeypatch.setattr(
        AutoencoderDC, "_decode", lambda self, latents: torch.full_like(decode(self, latents), value)
    )
    outcome = cli("run", manifest(JOB), "--out", "run")
    assert outcome.code == 1
    assert {item.error.kind for item in RunFolder(work / "run").failures().values()} == {"InvalidPicture"}
    assert not list((work / "run").glob("images/*"))


def test_a_real_pipeline_that_is_called_whole_goes_down_too(cli, manifest, work, monkeypatch):
    tiny_models.build("sd1", work / "model")
    decode = AutoencoderKL._decode

    def limit(self, latents, return_dict=True):
        if not self.use_tiling:
            raise UnboundLocalError("cannot access local variable 'image' where it is not associated with a value")
        return decode(self, latents, return_dict)

    monkeypatch.setattr(AutoencoderKL, "_decode", limit)
    path = manifest("grid: {model: model, prompt: a, steps: 1, size: 640x640, memory: full}\n")
    outcome = cli("run", path, "--out", "run", "--json")
    assert outcome.code == 0, outcome.out
    (said,) = [event for event in outcome.events() if event["event"] == "out-of-memory"]
    assert (said["stage"], said["rung"]) == ("render", "vae_tiling(512, 448)")
    receipt = only_receipt(work / "run")
    assert receipt.memory_used == "vae_tiling(512, 448)"


@pytest.mark.parametrize("setting", ["vae_cpu", "sequential_cpu_offload", "vae_tiling(512, 448) + vae_cpu"])
def test_the_lowest_settings_can_be_asked_for(cli, manifest, work, setting):
    path = manifest(JOB.replace("memory: full", f"memory: '{setting}'"))
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    tiles = setting.split(" + ")[0] if "tiling" in setting else "full"
    assert cli("run", path, "--out", "same", "--quiet", "--set", f"memory={tiles}").code == 0
    run, same = pixels(work / "run"), pixels(work / "same")
    assert all(np.array_equal(run[seed], same[seed]) for seed in (0, 1))


def test_the_two_offloads_exclude_each_other(cli, manifest):
    path = manifest(JOB.replace("memory: full", "memory: sequential_cpu_offload + model_cpu_offload"))
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert "cannot be used together" in outcome.err


def test_weights_come_back_from_offloading_layer_by_layer(work):
    """Accelerate moves weights to the meta device; leaving that setting must bring every one of them back."""
    from accelerate import cpu_offload

    from batch.hub.models import find_model, source
    from batch.render import memory as carried_out
    from batch.render import pipelines

    pipe = pipelines.load_without_texts(source(find_model("demo", work, {}, online=False)), "float32")
    before = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    cpu_offload(pipe.transformer, torch.device("cpu"))
    cpu_offload(pipe.vae, torch.device("cpu"))
    assert any(tensor.is_meta for tensor in pipe.transformer.parameters())
    carried_out.unhook(pipe.vae)
    assert not any(tensor.is_meta for tensor in pipe.vae.parameters())
    carried_out.apply(pipe, (), "cpu")
    after = pipe.transformer.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
