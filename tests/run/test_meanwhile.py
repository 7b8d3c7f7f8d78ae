"""Finished pictures that are deleted or damaged while the run goes on: what it says at its end."""

import os
from pathlib import Path

import pytest

from batch.cli.ending import finish
from batch.records.receipts import Outcome
from batch.report import table
from tests.helpers import Seen, fake_run


class Vandal(Seen):
    """Does something to the first two pictures when the third is saved; the fourth may be at work then."""

    def __init__(self, harm):
        super().__init__()
        self.harm, self.saved = harm, []

    def on(self, event):
        super().on(event)
        if not isinstance(event, Outcome) or event.receipt is None:
            return
        self.saved.append(Path("outputs/job", event.receipt.file.path))
        if len(self.saved) == 3:
            for path in self.saved[:2]:
                self.harm(path)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: os.truncate(path, 100)])
def test_what_went_meanwhile_is_counted_as_the_report_does(cli, manifest, capsys, harm):
    result = fake_run(manifest(), seen=Vandal(harm))
    assert (result.done, result.total, result.rendered, result.lost) == (2, 4, 4, 2)
    statuses = table.read(Path("outputs/job/results.csv")).status
    assert (statuses == "done").sum() == result.done
    assert finish(result, as_json=False, retry="the same command") == 75
    said = capsys.readouterr()
    assert "2 of 4 done" in said.out
    assert "2 finished pictures were deleted or damaged meanwhile: run the same command again" in said.err
    assert "check every file" not in said.out
    again = fake_run(Path("job.yaml"), seen=Seen())
    assert (again.done, again.rendered, again.lost) == (4, 2, 0)
    assert finish(again, as_json=False, retry="the same command") == 0
    assert "check every file: run-batch verify outputs/job" in capsys.readouterr().out


def test_a_picture_that_is_edited_meanwhile_is_done(manifest, work):
    from tests.edits import rate

    result = fake_run(manifest(), seen=Vandal(rate))
    assert (result.done, result.lost) == (4, 0)
