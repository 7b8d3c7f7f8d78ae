"""completion: the scripts of the shells, and what they offer."""

import os
import shutil
import subprocess

import pytest

from tests.helpers import RUN_BATCH


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one(cli, work, shell):
    script = cli("completion", shell).out
    assert "_RUN_BATCH_COMPLETE" in script
    assert "run-batch" in script
    program = shutil.which(shell)
    if program is not None and shell == "bash":
        (work / "script").write_text(script)
        subprocess.run([program, "-n", "script"], check=True)
    assert cli("completion", "powershell").code == 2


def completed(words):
    environment = os.environ | {
        "_RUN_BATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(RUN_BATCH, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_completion_gives_commands_options_files_and_folders():
    assert {"plain,run", "plain,plan", "plain,verify", "plain,doctor"} <= completed("run-batch ")
    assert completed("run-batch re") == {"plain,report", "plain,redecode", "plain,resume"}
    assert any(item.startswith("file,") for item in completed("run-batch jobs/qu"))
    assert any(item.startswith("file,") for item in completed("run-batch plan jo"))
    assert any(item.startswith("dir,") for item in completed("run-batch verify out"))
    assert "plain,--reproduce" in completed("run-batch verify --re")
