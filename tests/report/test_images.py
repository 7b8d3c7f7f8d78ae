"""The images of a run as reports read them: what became of each, and what many cost together."""

import shutil
from dataclasses import replace

import pytest

from batch.records.kinds import ErrorKind
from batch.records.receipts import ErrorInfo, Failure, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.report.images import costs_of_done, reported
from batch.report.status import ImageStatus
from batch.report.timing import largest_peaks, median_seconds
from batch.store.folder import RunFolder
from batch.store.receipts import Scan

TASK = Task(
    id="a", model="demo", dtype="float32", prompt="a fox", seed=0, width=512, height=512, rendered_width=512,
    rendered_height=512, steps=1, guidance=1.0,
)  # fmt: skip
COMMON = {"task": TASK, "machine": Machine(), "attempts": 1, "started_at": ""}
FILE = FileRef(path="images/a.png", bytes=1, sha256="", width=512, height=512)


def failure(kind):
    error = ErrorInfo(kind=kind, message="no", stage="decode")
    return Scan(failures={"a": Failure(error=error, measurement=Measurement(), **COMMON)})


@pytest.mark.parametrize(
    ("scan", "status"),
    [
        (Scan(receipts={"a": Receipt(file=FILE, measurement=Measurement(), **COMMON)}), ImageStatus.DONE),
        (failure("ValueError"), ImageStatus.FAILED),
        (failure(ErrorKind.OUT_OF_MEMORY), ImageStatus.FAILED),
        (failure(ErrorKind.INVALID), ImageStatus.INVALID),
        (Scan(skipped={"a": "too large"}), ImageStatus.SKIPPED),
        (Scan(), ImageStatus.MISSING),
    ],
)
def test_what_became_of_an_image(scan, status):
    (image,) = reported([TASK], scan)
    assert image.status is status
    assert (image.costs is not None) == bool(scan.receipts or scan.failures)
    assert (image.skipped != "") == (status is ImageStatus.SKIPPED)


def test_medians_leave_out_what_warms_up_and_peaks_do_not():
    tasks = [replace(TASK, id=name, warmup=name == "w") for name in "abcwx"]
    seconds, peaks = {"a": 1.0, "b": 2.0, "c": 6.0, "w": 90.0, "x": 70.0}, {"w": 5 * 2**30}
    receipts = {
        task.id: Receipt(
            **COMMON | {"task": task},
            file=FILE,
            measurement=Measurement(
                decode=StagePeak(seconds=seconds[task.id], device=peaks.get(task.id, 2**30)), warmup=task.id == "x"
            ),
        )
        for task in tasks
    }
    done = costs_of_done(reported(tasks, Scan(receipts=receipts)))
    assert (median_seconds(done).decode, median_seconds(done).total, median_seconds(done).encode) == (
        2.0,
        2.0,
        None,
    )
    found = largest_peaks(item.peaks for item in done)
    assert (found.device, found.allocated) == (5 * 1024, None)


def test_a_thumbnail_that_cannot_be_written_costs_no_image(cli, manifest, work):
    path = manifest()
    (work / "out").mkdir()
    assert cli("run", path, "--out", "out", "--max-images", "1").code == 75
    folder = RunFolder(work / "out")
    shutil.rmtree(folder.thumbs)
    for task in folder.tasks():  # a folder where the file should be
        folder.thumb_path(task.id).mkdir(parents=True)
    done = cli("run", path, "--out", "out")
    assert done.code == 0, done.err
    assert len(folder.scan().receipts) == 4
    assert (work / "out" / "contact_sheet.jpg").is_file()
