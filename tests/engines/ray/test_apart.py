"""Nodes that see other folders than the machine of the run, and hosts that do not."""

import json
import shlex
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from batch.base import atomic
from batch.base.errors import FolderLost, ModelError
from batch.records.events import Beat, Crew
from batch.records.kinds import Stage
from batch.records.receipts import Outcome
from batch.run.limits import Limits
from batch.store.folder import RunFolder
from batch.store.lock import HOLDER
from tests.engines.contract.ledger import Ledger, LedgerBackend
from tests.engines.contract.test_memory import RUNG, large
from tests.engines.ray.conftest import MANY, SMALL, Everything, can_mount
from tests.fake_session import FakeBackend, Fault
from tests.helpers import receipts_of

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="file systems cannot be mounted here"),
]


@pytest.mark.usefixtures("leaves_nothing")
def test_a_node_that_sees_other_folders_sends_its_files(ray_night, night, other_node, first_taken, hidden):
    other_node(gpus=2, before=hidden)
    seen = Everything()
    done = ray_night(text=MANY, seen=seen, keep_latents=True)
    assert done.result.exit_code == 0
    assert done.hashes() == night(text=MANY, out="undisturbed").hashes()
    assert all(seat.host for crew in seen.of(Crew) for seat in crew.seats)
    folder = RunFolder(done.result.folder)
    for receipt in receipts_of(folder.root):
        assert folder.thumb_path(receipt.task.id).is_file()
        assert folder.latents_path(receipt.task.id).is_file()
        assert (folder.root / receipt.file.path).stat().st_size == receipt.file.bytes


def test_texts_and_rungs_reach_nodes_that_share_nothing(
    ray_night, other_node, first_taken, hidden, tmp_path_factory
):
    for _ in range(2):
        other_node(before=hidden)
    ledger = Ledger(tmp_path_factory.mktemp("seen-by-all") / "ledger")
    fault = Fault("oom-torch", "decode", unless=RUNG)
    backend = LedgerBackend(FakeBackend((fault,)), str(ledger.folder))
    text = large(MANY).replace("[a, b]", "[a, b, c, d, e, f]").replace("0..9", "0..1")

    def struck():
        tried = [item.steps for item in ledger.entries("decode")]
        return sum(not any(step.startswith(RUNG) for step in steps) for steps in tried)

    first = ray_night(text=text, backend=backend, limits=Limits(max_images=1))
    assert (first.result.rendered, first.result.exit_code) == (1, 75)
    learned = struck()
    assert learned > 0
    assert ray_night(text=text, backend=backend).result.exit_code == 0
    assert struck() == learned  # also by the worker that had not been there
    assert len(ledger.times("denoise")) == 12
    assert len({item.pid for item in ledger.entries("denoise")}) >= 3
    encoded = ledger.times("encode")
    assert len(encoded) >= 6
    assert set(encoded.values()) == {1}


class Fills(Everything):
    """Fills a disk as soon as the first image is there."""

    def __init__(self, place):
        super().__init__()
        self.place, self.filler = place, place / "filler"

    def on(self, event):
        super().on(event)
        if isinstance(event, Outcome) and event.receipt is not None and not self.filler.exists():
            self.filler.write_bytes(bytes(shutil.disk_usage(self.place).free - 100_000))


def test_a_disk_that_is_full_where_the_files_arrive(
    ray_night, night, other_node, first_taken, hidden, small_disk, work
):
    place, resize = small_disk
    other_node(before=hidden)
    text = large(MANY).replace("webp", "tiff")
    seen = Fills(place)
    done = ray_night(Fault("slow", "denoise", seconds=0.5), text=text, out="small/run", seen=seen)
    assert done.result.exit_code == 75
    assert "full" in str(done.result.stopped)
    kept = done.hashes()
    assert len(kept) == done.result.rendered >= 1
    assert not done.failures()
    assert not done.parts()
    seen.filler.unlink()
    assert resize("size=200m")
    again = ray_night(text=text, out="small/run")
    assert again.result.exit_code == 0
    assert again.result.rendered == 20 - len(kept)
    assert again.hashes() == night(text=text, out="undisturbed").hashes()


class TakesTheFolder(Everything):
    """Another runner takes it while an image is denoised."""

    def __init__(self, state):
        super().__init__()
        self.state, self.before = state, None

    def on(self, event):
        super().on(event)
        if isinstance(event, Beat) and event.stage == Stage.DENOISE and self.before is None and self.done():
            holder = json.loads((self.state / HOLDER).read_bytes())
            holder |= {"host": "another", "boot": "another", "pid": 1, "token": "another"}
            atomic.write(self.state / HOLDER, json.dumps(holder).encode())
            self.before = self.there()

    def done(self):
        return list(self.state.glob("receipts/*/*.json"))

    def there(self):
        """All that says that an image is done, or has failed, and the images."""
        places = (self.state / "receipts", self.state / "failures", self.state.parent / "images")
        return {path for place in places for path in place.rglob("*.*")}


def test_a_worker_on_another_host_writes_nothing_into_a_folder_that_was_taken(
    ray_night, other_node, first_taken, tmp_path, work
):
    (tmp_path / "boot").write_text("0000")
    elsewhere = f"mount --bind {shlex.quote(str(tmp_path / 'boot'))} /proc/sys/kernel/random/boot_id"
    other_node(before=f"hostname elsewhere && {elsewhere}")
    seen = TakesTheFolder(work / "run" / ".run")
    done = ray_night(Fault("slow", "denoise", seconds=0.5), text=MANY, seen=seen)
    assert {seat.host for crew in seen.of(Crew) for seat in crew.seats} == {"elsewhere"}
    assert isinstance(done.result.stopped, FolderLost)
    assert "another runner" in str(done.result.stopped)
    assert seen.before
    # What was being committed just then may be there; what was denoised then is not.
    assert len(seen.there() - seen.before) <= 0


@pytest.fixture
def lora(work):
    """A LoRA in a folder of its own, beside the manifest."""
    file = work / "loras" / "style.safetensors"
    file.parent.mkdir()
    save_file({"transformer.transformer_blocks.0.attn1.to_q.lora_A.weight": np.ones((2, 2), np.float32)}, file)
    return file


WITH_LORA = SMALL.replace("steps: 2", "steps: 2, lora: loras/style.safetensors")


@pytest.mark.parametrize(("other", "said"), [(False, "there is no file"), (True, "is another file than")])
def test_a_lora_that_a_node_does_not_have_ends_the_run_before_it_renders(
    ray_night, other_node, lora, tmp_path, other, said
):
    mount = f"mount -t tmpfs tmpfs {shlex.quote(str(lora.parent))}"
    if other:
        save_file({"x.lora_A.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other")
        mount = f"mount --bind {shlex.quote(str(tmp_path / 'other'))} {shlex.quote(str(lora))}"
    other_node(before=f"hostname elsewhere && {mount}")
    with pytest.raises(ModelError, match=said) as refused:
        ray_night(text=WITH_LORA)
    assert str(refused.value).startswith("elsewhere: the LoRA style: ")
    assert str(lora) in str(refused.value)
    assert not receipts_of("run")


def test_a_lora_that_every_node_has(ray_night, other_node, lora):
    other_node()
    done = ray_night(text=WITH_LORA)
    assert done.result.exit_code == 0
    assert {receipt.task.loras[0].path for receipt in done.receipts()} == {str(lora)}
