"""How long a run folder takes to be read: every receipt parsed, every image's size looked up.

    python benchmarks/scan.py [RECEIPTS]

Images are empty files of the right name and size; the receipts are real ones, as `commit` writes them.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.plan.identity import identify
from batch.records import FileRef, Machine, Measurement, Receipt, StagePeak, Task, to_json
from batch.store.folder import RunFolder

TASK = Task(
    model="sana-1.6b-4k", revision="0" * 40, dtype="bfloat16", prompt="", seed=0, width=5376, height=3072,
    rendered_width=5376, rendered_height=3072, steps=20, guidance=5.0,
)  # fmt: skip
COST = Measurement(
    encode=StagePeak(seconds=0.1, rss=2**30),
    denoise=StagePeak(seconds=2.0, allocated=2**32, reserved=2**32, device=2**33, rss=2**30),
    decode=StagePeak(seconds=0.3, allocated=2**32, reserved=2**32, device=2**33, rss=2**30),
    save_s=1.3,
)


def fill(root: Path, receipts: int) -> None:
    """Written plainly: a hundred thousand syncs are not what is measured here."""
    (root / "images").mkdir(parents=True)
    (root / "images" / "x.png").write_bytes(b"")
    for index in range(receipts):
        task = identify(replace(TASK, prompt=f"a landscape of hills and water, number {index // 8}", seed=index))
        file = FileRef(path="images/x.png", bytes=0, sha256="0" * 64, width=5376, height=3072)
        receipt = Receipt(
            task=task, file=file, measurement=COST, machine=Machine(device="card"), attempts=1, started_at="now"
        )
        path = root / ".run" / "receipts" / task.id[:2] / f"{task.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_json(receipt), ensure_ascii=False, sort_keys=True, indent=1))


def main(receipts: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        fill(Path(root), receipts)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            found = len(RunFolder(Path(root)).scan().receipts)
            seconds.append(time.perf_counter() - start)
        assert found == receipts
    print(f"{receipts:,} receipts scanned in {statistics.median(seconds):.2f} s (median of 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
