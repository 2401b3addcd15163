"""``howfar.bench``: a benchmark in one call, on data of ours or of somebody else."""

import html
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from howfar import DATASETS, Data, HowfarError, Results, Splits, UsageError, bench
from howfar.commands import terminal
from howfar.data import balanced
from howfar.grid.overrides import make_suite
from howfar.report import verdict
from howfar.store import Store
from howfar.tables import collect
from howfar.tables.decisions import decide

OPTIONS: dict[str, Any] = {
    "protectors": ["lsp[eps=32/255]", "random"], "models": "linear", "defenses": ["none", "jpeg"], "seeds": "0-1",
    "train": {"epochs": 3, "batch_size": 16, "crop": 0, "flip": False, "lr": 0.05}, "probe_images": 20,
    "alignment_images": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def own(digits: Splits) -> Data:
    return balanced(digits.train, 200)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def results(own: Data, runs: Path) -> Results:
    return bench(own, runs=runs, held_out=0, **OPTIONS)


def test_the_rows_are_those_of_the_suite(results: Results) -> None:
    frame = results.to_pandas()
    assert sorted(set(frame["protector"])) == ["clean", "lsp[eps=32/255]", "random"]
    assert set(frame["defense"]) == {"none", "jpeg"}
    assert set(frame["seeds"]) == {2}
    assert set(frame["task"]) == {"classification"}
    assert set(frame["dataset"]) == {"your data (200 images, 10 classes)"}
    assert len(frame) == 6
    assert [row.protector for row in results.page.rows[::3]] == ["clean", "clean"], "the first row of every table"
    assert list(frame["drop"]) == pytest.approx([round(row.drop.value, 6) for row in results.page.rows])
    clean = frame[frame["protector"] == "clean"]
    assert (clean["drop"] == 0).all()
    assert clean["verdict"].isna().all()
    judged = {one.protector: one for one in results.page.verdicts}
    for row in frame[frame["protector"] != "clean"].to_dict("records"):
        one = judged[row["protector"]]
        assert (row["verdict"], row["retention_defense"]) == (one.decision.outcome, one.defense)
        assert row["retention"] == pytest.approx(one.decision.retention.value, abs=1e-6)
        assert row["chance"] == pytest.approx(0.1)
    assert results.failures == []


def test_results_are_shown_in_a_few_lines(results: Results) -> None:
    lines = repr(results).splitlines()
    assert lines[0] == f"Results(6 rows in {results.store})"
    assert max(map(len, lines[1:])) <= 100
    told = " ".join(line.strip() for line in lines[1:])
    for one in results.page.verdicts:
        assert f"{one.protector}: {one.decision.outcome}. " in told
    assert told.count("chance 10 %") == told.count("2 seeds, 40 test images, 1 defense tried") == 2


def test_results_are_shown_as_text_page_and_chart(results: Results, tmp_path: Path) -> None:
    board = results.leaderboard()
    assert "| lsp[eps=32/255] |" in board
    assert board.startswith("### Verdict")
    assert "chance 10 %" in board
    assert "drop in points (95 %)" in board
    shown = results._repr_html_()
    assert shown.count("<table>") == 2
    assert shown.count("<tr>") == 8
    assert shown.count("<li>") == 2
    assert "<td>lsp[eps=32/255]</td>" in shown
    results.save_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<h1" in page
    assert "howfar.bench(data, held_out=0, protectors=[&#39;lsp[eps=32/255]&#39;, &#39;random&#39;], " in page
    assert "# data: your data (200 images, 10 classes)" in page
    figure = results.plot()
    assert {trace.name for trace in figure.data if trace.name} == {"clean", "lsp[eps=32/255]", "random"}
    with pytest.raises(UsageError, match=r"no chart 'sall'\. Choose one of convergence"):
        results.plot(chart="sall")
    with pytest.raises(UsageError, match=r"no group 9\. There are 2"):
        results.plot(9)


def test_results_name_arguments_of_python_and_no_flags(results: Results, tmp_path: Path) -> None:
    (first, *_) = results.page.verdicts
    weak = replace(first, clean=0.12, decision=decide(None, learned=False, error=0.0))
    found = replace(results, page=replace(results.page, verdicts=[weak]))
    found.save_html(tmp_path / "page.html")
    for text in (" ".join(repr(found).split()), found._repr_html_(), (tmp_path / "page.html").read_text()):
        plain = html.unescape(text)
        assert "train it longer (epochs=)" in plain
        assert 'settings=["train.crop=0", "train.flip=false"]' in plain
        assert "--epochs" not in plain
        assert "--set" not in plain
    assert "epochs=" in found.leaderboard()
    assert "--epochs" in verdict.sentence(weak), "the command line has flags"


def test_images_and_classes_may_be_two_arguments(own: Data, runs: Path, results: Results) -> None:
    again = bench(own.pixels.numpy(), own.targets["label"].numpy(), runs=runs, held_out=0, **OPTIONS)
    assert again.to_pandas().equals(results.to_pandas())
    with pytest.raises(UsageError, match=r"the first is a str\. Name the others"):
        bench("digits", "em", runs=runs)


def test_workers_are_checked_before_anything_is_written(own: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"workers=-1 is negative"):
        bench(own, runs=tmp_path / "new", workers=-1, **OPTIONS)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_becomes_no_store(own: Data, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(
        UsageError, match=r"holds other files and is no store\. Choose a new or an empty folder with runs="
    ):
        bench(own, runs=tmp_path, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_errors_of_a_call_name_its_arguments(own: Data, runs: Path) -> None:
    with pytest.raises(UsageError, match=r'Use device="cpu"'):
        bench(own, runs=runs, device="mps", **OPTIONS)


def test_a_page_goes_into_a_new_folder(results: Results, tmp_path: Path) -> None:
    results.save_html(tmp_path / "new" / "deep" / "page.html")
    assert (tmp_path / "new" / "deep" / "page.html").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(HowfarError, match=r"could not write .*file/page.html \(.*\). .*is no folder: choose another"):
        results.save_html(tmp_path / "file" / "page.html")


def test_a_table_for_a_paper_is_that_of_the_command(
    results: Results, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert r"\begin{tabular}" in results.to_latex()
    for wide in (False, True):
        terminal.show_leaderboard(results.page, form="latex", wide=wide)
        assert capsys.readouterr().out.rstrip() == results.to_latex(wide=wide).rstrip()


def test_a_repeated_bench_takes_all_from_the_store(
    own: Data, runs: Path, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "howfar"):
        again = bench(own, runs=runs, held_out=0, **OPTIONS)
    told = [record.getMessage() for record in caplog.records if record.name == "howfar"]
    assert sum("linear on" in line for line in told) == 12
    assert all(line.startswith("cached: ") for line in told)
    assert again.to_pandas().equals(results.to_pandas())


def test_arrays_are_split_by_class_and_kept_with_the_store(own: Data, runs: Path, results: Results) -> None:
    """The same images as arrays are the same data set, so nothing is computed twice."""
    X, y = own.pixels.numpy() / 255, own.targets["label"].numpy()
    again = bench((X, y), runs=runs, held_out=0, **OPTIONS)
    assert again.to_pandas().equals(results.to_pandas())
    (kept,) = (runs / "own").iterdir()
    splits = DATASETS["npz"](root=kept)
    assert (len(splits.train), len(splits.test)) == (160, 40)
    assert np.bincount(splits.test.targets["label"]).tolist() == [4] * 10


def test_it_is_what_the_command_collects(own: Data, runs: Path, results: Results) -> None:
    from howfar import Store

    page = collect(Store(runs, reading=True))
    assert [row.as_dict() for row in page.rows] == [row.as_dict() for row in results.page.rows]


def test_names_of_data_sets_presets_and_settings(tmp_path: Path) -> None:
    found = bench("digits[size=8]", suite="digits", runs=tmp_path, limit_train=100, limit_test=50, protectors="ops",
                  models="linear", defenses="none", seeds=0, held_out=0, probe_images=0, alignment_images=0,
                  settings=["train.epochs=1"])  # fmt: skip
    assert {row.dataset for row in found.page.rows} == {"digits"}
    assert found.page.groups[0].recipe["epochs"] == 1
    assert found.page.groups[0].recipe["lr"] == make_suite("digits").train["lr"]


def test_own_data_have_the_name_that_is_given(tmp_path: Path) -> None:
    X, y = torch.randint(256, (60, 3, 16, 16), dtype=torch.uint8), torch.arange(60) % 2
    options: dict[str, Any] = {
        "runs": tmp_path, "protectors": "ops", "models": "linear", "defenses": "none", "seeds": "0", "epochs": 1,
        "held_out": 0, "probe_images": 0, "alignment_images": 0,
    }  # fmt: skip
    results = bench((X, y), name="scans, May 2026", **options)
    assert {row.dataset for row in results.page.rows} == {"scans, May 2026"}
    why = "UD was not measured (probe_images is 0). --set probe_images=32 measures it."
    assert results.page.groups[0].left_out == why
    assert "settings=[&quot;probe_images=32&quot;] measures it" in results._repr_html_()
    assert results.page.commands[0].endswith("alignment_images=0)  # data: scans, May 2026")
    with pytest.raises(UsageError, match=r"name = 'a\[b\]' cannot be used\. Take a text without quotes"):
        bench((X, y), name="a[b]", **options)
    with pytest.raises(UsageError, match=r"name is for your own data"):
        bench("digits", name="digits", **options)


def test_a_failed_cell_is_told_and_the_others_stay(own: Data, tmp_path: Path) -> None:
    options = {**OPTIONS, "train": {**OPTIONS["train"], "lr": 1e30}, "defenses": "none", "seeds": 0}
    with pytest.raises(HowfarError, match=r"no victim was trained\. .*failed: training diverged"):
        bench(own, runs=tmp_path, held_out=0, **options)


def test_refusals_say_what_to_do(own: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'protector'\. Did you mean 'protectors'"):
        bench(own, runs=tmp_path, protector="em")
    with pytest.raises(UsageError, match=r"cannot be split by class: there are no targets at all\. .* Or pass Splits"):
        bench((own.pixels, None), runs=tmp_path)


WRONG = """
import sys
import torch
import howfar
from torch import nn
net, X, y = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), torch.rand(20, 3, 8, 8), torch.arange(20) % 2
reading = {"1.weight": 1.0}
calls = [
    lambda: howfar.sharpness(net, (X, y), mode="exat"),
    lambda: howfar.sharpness(net, (X, y), granularity="layr"),
    lambda: howfar.unlearnable_distance(reading, reading),
    lambda: howfar.bench(X, runs=sys.argv[1]),
    lambda: howfar.bench({"x": X}, runs=sys.argv[1]),
    lambda: howfar.bench((X,), runs=sys.argv[1]),
    lambda: howfar.bench((y, X), runs=sys.argv[1]),
    lambda: howfar.bench("digits", models=net, runs=sys.argv[1]),
    lambda: howfar.bench("digits", protectors=[howfar.PROTECTORS["lsp"]], runs=sys.argv[1]),
    lambda: howfar.bench("digits", seeds=0.5, runs=sys.argv[1]),
    lambda: howfar.protect(X, "lsp", y),
    lambda: howfar.protect("lsp", X, y.float()),
    lambda: howfar.protect("lsp", X, torch.eye(2)[y]),
    lambda: howfar.protect("lsp", X[:0], y[:0]),
    lambda: howfar.protect("lsp", X, y * 0),
    lambda: howfar.sharpness(nn.Flatten(), (X, y)),
    lambda: howfar.sharpness((X, y), net),
    lambda: howfar.sharpness(net, nn.functional.cross_entropy, (X, y)),
    lambda: howfar.sharpness(net, X),
    lambda: howfar.sharpness(net, (X, y), "cross_entropy"),
    lambda: howfar.sharpness(net, (X, y), nn.CrossEntropyLoss),
    lambda: howfar.sharpness(net, (X[:0], y[:0])),
    lambda: howfar.sharpness(net, (X, y + 1), nn.functional.cross_entropy),
    lambda: howfar.evaluate(net, (X[..., :4], y)),
    lambda: list(howfar.train(net, howfar.Data.from_arrays(X, y), recipe="sgd")),
    lambda: howfar.unlearnable_distance([reading], [reading], beta="per_epoch"),
    lambda: howfar.unlearnable_distance([reading], [reading]),
    lambda: howfar.build("lenet5", (3, 16, 16), 2),
    lambda: howfar.Data.from_torch([(X[0], "cat"), (X[1], "dog")]),
    lambda: howfar.Data.from_torch([(X[0], torch.eye(2)[0])]),
]
for call in calls:
    try:
        call()
    except howfar.HowfarError as error:
        print(error)
"""


def test_wrong_calls_say_what_is_meant(tmp_path: Path) -> None:
    """In a process of its own, where nothing checks types before the functions are called."""
    done = subprocess.run([sys.executable, "-c", WRONG, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "unknown mode 'exat'. Did you mean 'exact'?",
        "unknown granularity 'layr'. Did you mean 'layer'?",
        "readings are a list with one mapping per epoch. For a single epoch, pass [readings].",
        "images alone have no classes. Pass images and classes: bench(X, y).",
        "a dict of 1 is no data set. Pass (images, classes).",
        "a tuple of 1 is no data set. Pass (images, classes).",
        "the classes come before the images. Pass the images first: (X, y).",
        "models are names with settings, such as 'resnet8', not objects (Sequential). One of your own gets a name as a "
        "plug-in: docs/how-to; without one, call train, evaluate and sharpness yourself.",
        "protectors are names with settings, such as 'em', not objects (LinearlySeparable). One of your own gets a "
        "name as a plug-in: docs/how-to; without one, call train, evaluate and sharpness yourself.",
        "seeds = 0.5 are not whole numbers. Write 0, [0, 1] or '0-4'.",
        "the protector is a Tensor, not a name or a protector. The order is protector, images, classes: "
        "protect('lsp', X, y).",
        "the images have no classes: 'label' holds floating-point numbers. Pass integers from 0: y.astype(int). Or "
        "pass a task of TASKS, or a loss.",
        "the images have no classes: 'label' holds 2 numbers per image, like one-hot labels. Pass y.argmax(1). Or "
        "pass a task of TASKS, or a loss.",
        "there are no images. Pass at least one.",
        "all images have the same class, so there is nothing to learn. Add images of another class.",
        "the network has no parameters (Flatten), so there is nothing to train or measure.",
        "the network is a tuple, not a torch.nn.Module. The order is network, data, task.",
        "the second argument is a function, not data. The order is network, data, task or loss.",
        "inputs alone have no targets. Pass both: (X, y).",
        "'cross_entropy' is neither a task nor a loss. Pass a loss such as torch.nn.functional.cross_entropy, a task "
        "such as TASKS['classification']()(data), or nothing to classify.",
        "CrossEntropyLoss is a class, not a loss or a task. Pass an instance: CrossEntropyLoss().",
        "there are no images, so nothing can be learned or measured. Pass at least one.",
        "the network has 2 outputs, but the classes go from 1 to 2. Number them from 0, and give the network one "
        "output per class.",
        "the network does not take inputs of shape (3, 8, 4) (mat1 and mat2 shapes cannot be multiplied (1x96 and "
        "192x2)). Pass them as it takes them: (X, y).",
        "'sgd' is not a recipe. Pass Recipe(epochs=15, lr=0.05), or one of RECIPES.",
        "unknown rule for beta 'per_epoch'. Did you mean 'per-epoch'?",
        "a reading is a float. Pass what sharpness returns, epoch by epoch.",
        "'lenet5' is not an architecture. Take one from the table: MODELS['resnet18']().",
        "the target of an item is 'cat', not a number. Return the class as an integer from 0.",
        "the target of an item has the shape (2,), so it is no class. Name it: targets=['NAME']; of a one-hot label, "
        "return the class: label.argmax().",
    ]


def test_a_torch_data_set_and_epochs_are_taken_as_they_are(tmp_path: Path) -> None:
    X, y = torch.randint(256, (60, 3, 16, 16), dtype=torch.uint8), torch.arange(60) % 2
    results = bench(
        TensorDataset(X, y), runs=tmp_path, protectors="ops", models="linear", defenses="none", seeds="0", epochs=2,
        held_out=0,
    )  # fmt: skip
    assert {row.protector for row in results.page.rows} == {"clean", "ops"}
    assert {len(record.result["epochs"]) for record in Store(tmp_path).records("victim")} == {2}
