"""Out of memory, stage by stage, down the ladder."""

import json

import pytest

from batch.report import table
from tests.engines.nights import JOB
from tests.fake_session import Fault

FORMS = ["oom-torch", "oom-cublas", "oom-cudnn", "oom-unbound"]


@pytest.mark.parametrize("form", FORMS)
def test_decoding_goes_down_the_ladder_and_stays_there(night, form):
    ended = night(Fault(form, "decode", unless="vae_cpu"))
    assert ended.result.rendered == 6
    # The first image only: the others begin where it ended.
    assert [item.data["rung"] for item in ended.seen.happenings] == [
        "model_cpu_offload", "vae_tiling(1024, 896)", "vae_tiling(512, 448)", "vae_cpu"
    ]  # fmt: skip
    used = "vae_tiling(512, 448) + model_cpu_offload + vae_cpu"
    assert {(item.degraded_from, item.memory_used) for item in ended.receipts()} == {("auto", used)}
    frame = table.read(ended.folder.root / "results.csv")
    assert set(frame.degraded_from) == {"auto"}
    assert set(frame.memory) == {used}


@pytest.mark.parametrize("form", FORMS)
def test_denoising_goes_down_its_own_ladder(night, form):
    ended = night(Fault(form, "denoise", unless="sequential_cpu_offload"))
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == [
        "split_guidance", "chunked_ff", "model_cpu_offload", "group_offload(block, 1)", "sequential_cpu_offload"
    ]  # fmt: skip
    assert all(item.measurement.denoise is not None for item in ended.receipts())


def test_only_the_stage_that_failed_is_repeated(night, once, tmp_path):
    """A decode that fails does not cost the denoising again: a denoising of its own would strike twice."""
    ended = night(
        Fault("oom-torch", "decode", unless="vae_tiling(stride_height=448"),
        once("error", "denoise", times=6),
        text=JOB.replace("{min_free_disk", "{max_consecutive_failures: 9, min_free_disk"),
    )
    assert ended.result.failed == 6
    assert len(list((tmp_path / "memo").iterdir())) == 6
    ended = night(Fault("oom-torch", "decode", unless="vae_tiling(stride_height=448"), retry_failed=True)
    assert ended.result.rendered == 6


def test_rungs_survive_the_process_and_are_redone_on_request(night):
    faults = (Fault("oom-torch", "decode", unless="model_cpu_offload"),)
    first = night(*faults, text=JOB.replace("0..2", "0"), engine="process")
    assert first.seen.kinds() == ["out-of-memory"]
    rungs = json.loads((first.folder.state / "rungs.json").read_text())["rungs"]
    assert list(rungs.values()) == [{"decode": ["model_cpu_offload"]}]
    second = night(*faults, engine="process")
    assert second.seen.kinds() == []
    assert all(item.degraded_from == "auto" for item in second.receipts())
    before = second.hashes()
    redone = night(engine="process", redo_degraded=True)
    assert redone.result.rendered == 6
    assert all(item.degraded_from == "" for item in redone.receipts())
    assert set(redone.hashes()) == set(before)
    assert night(engine="process", redo_degraded=True).result.rendered == 0


def test_an_image_to_be_redone_is_kept_when_that_fails(night):
    night(Fault("oom-torch", "decode", unless="model_cpu_offload"))
    ended = night(Fault("error", "decode"), redo_degraded=True)
    assert ended.result.failed == 5  # as many as are allowed one after the other
    assert len(ended.receipts()) == 6
    assert all((ended.folder.root / item.file.path).is_file() for item in ended.receipts())


def test_without_fallback_out_of_memory_is_a_failed_row(night):
    ended = night(Fault("oom-torch", "decode", seed=1), fallback=False)
    assert (ended.result.rendered, ended.result.failed) == (4, 2)
    assert ended.seen.kinds() == []
    rows = table.read(ended.folder.root / "results.csv")
    failed = rows[rows.status == "failed"]
    assert set(failed.failed_stage) == {"decode"}
    assert set(failed.requested_mib) == {2304.0}
    again = night(Fault("oom-torch", "decode", seed=1), out="other",
                  text=JOB.replace("{min_free_disk", "{on_oom: fail, min_free_disk"))  # fmt: skip
    assert (again.result.failed, again.seen.kinds()) == (2, [])


def test_a_ladder_that_ends_is_a_failure(night):
    ended = night(Fault("oom-host", "denoise", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    (failure,) = ended.failures().values()
    assert failure.error.kind == "OutOfMemoryError"
    # No smaller setting gives a host more memory, and none is taken for the images to come.
    assert failure.error.message.startswith("the host's memory ran out")
    assert "out-of-memory" not in ended.seen.kinds()
    assert {item.degraded_from for item in ended.receipts()} == {""}


def test_an_unsuited_card_ends_the_run_at_the_first_image(night):
    ended = night(Fault("unsuited"))
    assert (ended.result.rendered, ended.result.stopped.exit_code) == (0, 1)
    assert "no kernel image is available" in str(ended.result.stopped)
    assert "`doctor` says what is here" in str(ended.result.stopped)
    assert not ended.failures()  # of no image's making


def test_texts_that_do_not_fit_are_encoded_on_the_cpu(night):
    text = JOB.replace("[a, b]", "[texts that do not fit, another that does not]")
    ended = night(Fault("oom-torch", "encode", unless="text_encoder_cpu"), text=text)
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == ["text_encoder_offload", "text_encoder_cpu"]
    assert all("text_encoder_cpu" in item.memory_used for item in ended.receipts())
    again = night(Fault("error", "encode"), text=text, redo_degraded=False)
    assert again.result.rendered == 0


def test_encoding_layer_by_layer_changes_nothing(night):
    text = JOB.replace("[a, b]", "[a text that does not fit, one more that does not]")
    ended = night(Fault("oom-torch", "encode", unless="text_encoder"), text=text)
    assert ended.result.rendered == 6
    assert [item.data["rung"] for item in ended.seen.happenings] == ["text_encoder_offload"]
    assert all(item.memory_used == "full + text_encoder_offload" for item in ended.receipts())


def test_a_worker_taken_by_the_kernel_goes_a_rung_down(night, once, monkeypatch):
    """The kernel's own count of processes ended for want of memory tells it from a kill by hand."""
    from batch.engines import handle

    kills = iter(range(100))
    monkeypatch.setattr(handle, "_kernel_kills", lambda: next(kills))
    ended = night(once("sigkill", "decode", seed=1, prompt="a"), engine="process")
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["worker-died", "out-of-memory"]
    assert "ran out of memory" in ended.seen.happenings[0].text
    assert ended.seen.happenings[1].data["rung"] == "model_cpu_offload"
