"""results.csv of a run, as people group and open it."""

from batch.cli.progress import Silent
from batch.report import table
from tests.helpers import fake_run


def test_rows_can_be_grouped_by_style(manifest, work):
    path = manifest(
        "styles: {Öl + Leinwand: {prompt: 'oil of {prompt}', negative_prompt: photo}, ink: ink}\n"
        "grid: {model: demo, prompt: [a fox, a whale], seed: 1..2,\n"
        "  style: [none, Öl + Leinwand, ink + Öl + Leinwand]}\n"
    )
    fake_run(path, seen=Silent(), out=work / "run", engine="local")
    rows = table.read(work / "run" / "results.csv")
    assert rows.groupby(["style", "negative_prompt"]).size().to_dict() == {
        ("", ""): 4, ("Öl + Leinwand", "photo"): 4, ("ink + Öl + Leinwand", "photo"): 4,
    }  # fmt: skip
    assert (work / "run" / "results.csv").read_bytes().startswith(b"\xef\xbb\xbf")
