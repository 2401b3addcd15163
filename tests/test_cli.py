"""The command line as a person uses it, in processes of its own."""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

from howfar.cli import main
from howfar.commands.common import to_seconds
from howfar.commands.parser import COMMANDS
from howfar.store import Store

SUITE = [
    "bench", "--dataset", "digits",
    "--protectors", "random,lsp[eps=32/255],em[rounds=2,steps=2]", "--models", "linear,lenet5", "--defenses",
    "none,cutout", "--seeds", "0-1", "--epochs", "2", "--limit-train", "120", "--limit-test", "60",
    "--set", "probe_images=20",
]  # fmt: skip
TINY = [
    "bench", "--dataset", "digits",
    "--protectors", "lsp", "--models", "linear", "--defenses", "none", "--seeds", "0", "--epochs", "1",
    "--limit-train", "60", "--limit-test", "30", "--set", "probe_images=10", "--workers", "0",
]  # fmt: skip
FILES = ["leaderboard.json", "leaderboard.csv", "leaderboard.md", "worst_case.json"]


def howfar(*arguments: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "howfar", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **variables}, check=False
    )


def inside(*arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; returns exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["howfar", *arguments])  # records keep the command
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
    return int(stop.value.code or 0), output.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    done = howfar(*SUITE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_bench_writes_all_it_promises(finished: Path) -> None:
    runs = finished / "runs"
    rows = json.loads((runs / "leaderboard.json").read_text())
    assert len(rows) == 4 * 2 * 2
    assert {row["seeds"] for row in rows} == {2}
    clean = [row for row in rows if row["protector"] == "clean"]
    assert all(row["drop"] == 0 and row["ud"] == 1 and row["linf"] == 0 for row in clean)
    assert (runs / "leaderboard.csv").read_text().count("\n") == len(rows) + 1
    assert "lsp[eps=32/255]" in (runs / "leaderboard.md").read_text()
    assert "seconds_per_image" in (runs / "cost.json").read_text()
    assert "<title>" in (runs / "report.html").read_text()
    profiles = json.loads((runs / "worst_case.json").read_text())
    assert [profile["model"] for profile in profiles] == ["lenet5", "linear"]
    for profile in profiles:
        assert profile["defenses"] == ["none", "cutout"]
        assert set(profile["quality"]) == {row["protector"] for row in rows}
    worst = profiles[1]["worst"]  # LeNet-5 learns nothing in two epochs
    assert worst["clean"]["kept"] == 0
    assert all(case["poisoned"]["tried"] == 2 for case in worst.values())


def test_a_broken_protector_is_spared_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, printed = inside(
        "bench", "--dataset", "digits",
        "--protectors", "random,lsp[eps=128/255]", "--models", "linear", "--defenses", "none,gray,median",
        "--seeds", "0", "--epochs", "6", "--limit-train", "600", "--stop-when-broken", "--set", "probe_images=10",
        "--workers", "0",
    )  # fmt: skip
    assert code == 0, printed
    assert "broken: random[eps=16/255] against linear" in printed
    (profile,) = json.loads((tmp_path / "runs" / "worst_case.json").read_text())
    assert set(profile["quality"]["random[eps=16/255]"]) == {"none"}
    assert set(profile["quality"]["lsp[eps=128/255]"]) > {"none"}
    assert "≤" in (tmp_path / "runs" / "leaderboard.md").read_text()


def test_a_second_run_takes_everything_from_the_store(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "runs").glob("*/*/record.json")}
    files = {name: (finished / "runs" / name).read_bytes() for name in FILES}
    again = howfar(*SUITE, cwd=finished)
    assert again.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in (finished / "runs").glob("*/*/record.json")} == before
    assert {name: (finished / "runs" / name).read_bytes() for name in FILES} == files
    dry = howfar(*SUITE, "--dry-run", "--json", cwd=finished)
    assert json.loads(dry.stdout)["todo"] == []


def test_json_goes_to_stdout_alone(finished: Path) -> None:
    rows = json.loads(howfar(*SUITE, "--json", cwd=finished).stdout)
    assert rows == json.loads((finished / "runs" / "leaderboard.json").read_text())
    assert json.loads(howfar("leaderboard", "runs", "--json", cwd=finished).stdout) == rows


def test_report_is_made_again_from_the_records(finished: Path) -> None:
    done = howfar("report", "runs", "-o", "again.html", cwd=finished)
    assert done.returncode == 0
    assert (finished / "again.html").read_bytes() == (finished / "runs" / "report.html").read_bytes()


def test_records_alone_are_enough_for_tables_and_page(finished: Path, tmp_path: Path) -> None:
    for file in (finished / "runs").glob("*/*/record.json"):
        copy = tmp_path / file.relative_to(finished)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(file.read_bytes())
    rows = json.loads((finished / "runs" / "leaderboard.json").read_text())
    assert json.loads(howfar("leaderboard", "runs", "--json", cwd=tmp_path).stdout) == rows
    assert howfar("report", "runs", "-o", "page.html", cwd=tmp_path).returncode == 0
    assert "Visibility of the protection" not in (tmp_path / "page.html").read_text()
    assert "Visibility of the protection" in (finished / "runs" / "report.html").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_ends_with_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "howfar", *SUITE]
    for wait in sorted(random.uniform(1.0, 9.0) for _ in range(2)):
        run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert howfar(*SUITE, cwd=tmp_path).returncode == 0
    for name in FILES:
        assert (tmp_path / "runs" / name).read_bytes() == (finished / "runs" / name).read_bytes()
    assert not list((tmp_path / "runs").glob("*/.*.tmp"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_says_that_nothing_is_lost(presses: int, tmp_path: Path) -> None:
    many = ["0-9" if part == "0-1" else part for part in SUITE]  # not over before a signal comes
    command = [sys.executable, "-m", "howfar", *many]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("runs/victim/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    if presses > 1:
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
    try:
        _, errors = run.communicate(timeout=30)
    except subprocess.TimeoutExpired:  # a signal that meets Python in a destructor is lost: whoever waits presses again
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=30)
    assert run.returncode in ((130,) if presses == 1 else (130, -signal.SIGINT)), "Python hears no signal in its end"
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.glob("runs/victim/*/record.json"))


@pytest.mark.parametrize("arguments", [["landscape", "--help"], ["show", "em"], ["list", "models"]])
def test_a_reader_that_has_seen_enough_ends_a_command_in_peace(arguments: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "howfar", *arguments], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert (run.returncode, run.stderr) == (0, "")


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], int, str]]:
    """Return name -> (arguments, exit code, what the message must say)."""
    np.savez(folder / "one.npz", x_train=np.zeros((9, 8, 8), np.uint8), y_train=np.zeros(9, int),
             x_test=np.zeros((3, 8, 8), np.uint8), y_test=np.zeros(3, int))  # fmt: skip
    (folder / "cut.npz").write_bytes((folder / "one.npz").read_bytes()[:200])
    (folder / "bad.toml").write_text('protectrs = ["em"]')
    (folder / "broken.toml").write_text("= =")
    (folder / "file").write_text("")
    (folder / "empty" / "a").mkdir(parents=True)
    (folder / "empty" / "b").mkdir()
    return {
        "unknown data set": (["--dataset", "cifar11"], 2, "cifar10"),
        "unknown protector": (["--protectors", "emm"], 2, "Did you mean"),
        "unknown defense": (["--defenses", "jpg"], 2, "jpeg"),
        "unknown model": (["--models", "resnet19"], 2, "resnet18"),
        "unknown suite": (["--suite", "quik"], 2, "quick"),
        "unknown key": (["--set", "train.lrr=1"], 2, "train.lr"),
        "unknown key in a file": (["--config", "bad.toml"], 2, "protectors"),
        "broken file": (["--config", "broken.toml"], 2, "not valid TOML"),
        "missing file": (["--config", "no.toml"], 2, "does not exist"),
        "eps 0": (["--eps", "0"], 2, "above 0"),
        "eps above 1": (["--protectors", "em[eps=8]"], 2, "eps = '8' is wrong: it must be above 0 and at most 1"),
        "missing folder": (["--dataset", "folder:nowhere"], 2, "is not a folder"),
        "empty class": (["--dataset", "folder:empty"], 1, "holds no image"),
        "one class": (["--dataset", "npz:one.npz"], 1, "the same class"),
        "cut archive": (["--dataset", "npz:cut.npz"], 1, "not a readable"),
        "fewer images than classes": (["--limit-train", "5"], 2, "cannot hold 10 classes"),
        "a GPU where none is": (["--device", "cuda"], 2, "finds no 'cuda' GPU"),
        "unknown device": (["--device", "tpu"], 2, "auto, cpu, cuda or mps"),
        "no permission": (["--runs", "file/runs"], 1, "--runs"),
        "bad seeds": (["--seeds", "x"], 2, "seeds"),
        "no time": (["--time-limit", "soon"], 2, "90s, 30m or 2h"),
        "no workers": (["--workers", "-1"], 2, "1 or more"),
    }


def test_bad_input_is_one_line_with_the_cure(tmp_path: Path) -> None:
    cases = bad_inputs(tmp_path)
    if torch.cuda.is_available():
        del cases["a GPU where none is"]
    for name, (arguments, code, message) in cases.items():
        errors = io.StringIO()
        with chdir(tmp_path), redirect_stderr(errors), pytest.raises(SystemExit) as stop:
            main([*TINY, *arguments])
        text = errors.getvalue()
        assert stop.value.code == code, (name, text)
        assert message in text, (name, text)
        assert "Traceback" not in text
        assert text.count("\n") <= 2, (name, text)
    assert not list(tmp_path.glob("runs/*/*")), "something was left in the store"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = howfar(*TINY, "--models", "nonsense", "--debug", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    done = howfar(*TINY, "--models", "linear,lenet5", "--set", "train.lr=1e30", cwd=tmp_path)
    assert done.returncode == 3
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/victim/*/record.json")]
    assert {record["status"] for record in records} == {"failed"}
    assert len(records) == 4
    assert "Lower the learning rate" in records[0]["result"]["error"]
    mended = howfar(*TINY, "--models", "linear", cwd=tmp_path)
    assert mended.returncode == 0, mended.stderr


def test_dry_run_does_nothing_but_estimate(tmp_path: Path) -> None:
    done = howfar(*TINY, "--dry-run", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert len(plan["todo"]) == 4
    assert plan["seconds"] > 0
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_dry_run_recognizes_finished_steps_without_loading_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert inside(*TINY)[0] == 0

    def refuse(*_: object) -> None:
        raise AssertionError("the data set was loaded")

    monkeypatch.setattr("howfar.data.loaded._load", refuse)
    monkeypatch.setattr("howfar.data.loaded._digests", refuse)
    plan = json.loads(inside(*TINY, "--seeds", "0-1", "--dry-run", "--json")[1])
    assert {step["step"].rpartition(" ")[2] for step in plan["todo"]} == {"1"}
    assert (plan["ready"], plan["notes"]) == (4, []), "the victims and the protected sets that they learned from"
    other = json.loads(inside(*TINY, "--limit-train", "70", "--dry-run", "--json")[1])
    assert (len(other["todo"]), other["ready"]) == (4, 0), "other images are other data"
    assert "were not loaded" in other["notes"][0]


def test_flags_that_make_no_sense_are_refused_before_the_data_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[object] = []
    monkeypatch.setattr("howfar.data.loaded._load", lambda *choice: calls.append(choice))
    for flags in (["--time-limit", "soon"], ["--workers", "-1"], ["--device", "tpu"]):
        assert inside(*TINY, *flags)[0] == 2
    grid = ["--dataset", "digits", "--models", "lenet5"]
    for command in (
        ["landscape", *grid, "--images", "0"],
        ["curvature", *grid, "--every", "-1"],
        ["trajectory", *grid, "--rate", "5"],
    ):
        assert inside(*command)[0] == 2
    assert calls == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("landscape --plane hessian --layer nosuch", "unknown layer 'nosuch'"),
        ("landscape --plane weights --weights fc1.weight:0,fc1.weight:99999999", "no number 99999999"),
        ("landscape --plane weights --weights fc1.weight,fc2.weight", "is not a weight"),
        ("ablate-ud --models linear", "one layer"),
        ("ablate-ud --protectors clean", "nothing is protected"),
    ],
)
def test_what_a_network_lacks_is_said_before_it_is_trained(
    flags: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("howfar.commands.grid.Grid.complete", refuse)
    code, _, printed = inside(*flags.split())
    assert (code, says in printed) == (2, True), printed


def test_config_file_and_flags(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(
        'suite = "digits"\nprotectors = ["ops"]\nmodels = ["linear"]\ndefenses = ["none"]\nseeds = [4]\n'
        "limit_train = 60\nlimit_test = 30\nprobe_images = 10\n[train]\nepochs = 3\n"
    )
    done = howfar("bench", "--config", "suite.toml", "--seeds", "5", "--epochs", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = [
        record for path in tmp_path.glob("runs/victim/*/record.json")
        if (record := json.loads(path.read_text()))["spec"]["protector"]["name"] == "ops"
    ]  # fmt: skip
    assert record["spec"]["seed"] == 5
    assert record["spec"]["recipe"]["epochs"] == 1
    assert record["spec"]["recipe"]["crop"] == 0, "the preset's recipe stays where nobody sets it"


@pytest.mark.parametrize("kind", ["protectors", "defenses", "datasets", "models", "tasks", "suites"])
def test_list_and_show_know_everything(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", kind, "--json"])
    entries = json.loads(capsys.readouterr().out)
    assert entries
    for entry in entries:
        if (kind, entry["name"]) == ("suites", "digits"):
            continue  # the data set has the same name
        with pytest.raises(SystemExit):
            main(["show", entry["name"], "--json"])
        assert json.loads(capsys.readouterr().out) == entry
        with pytest.raises(SystemExit):
            main(["show", entry["name"]])
        assert entry["what"].replace("``", "'") in capsys.readouterr().out


def test_show_em_says_formula_settings_and_labels(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["show", "em"])
    text = capsys.readouterr().out
    for part in ("min over θ", "8/255", "arXiv:2101.04898", "needs labels: yes", "stop_error"):
        assert part in text


def test_a_warning_is_one_line_without_its_place_in_the_source(tmp_path: Path) -> None:
    code, _, printed = inside(
        "bench", "--dataset", "digits", "--protectors", "lsp", "--models", "linear", "--defenses",
        "gaussian[sigma=0.1]", "--dry-run", "--runs", str(tmp_path),
    )  # fmt: skip
    assert code == 0, printed
    (line,) = [line for line in printed.splitlines() if "not a defense" in line]
    assert line.startswith("warning: gaussian[sigma=0.1] keeps 100 % of")
    assert "UserWarning" not in printed


def test_show_takes_settings_and_names_the_wrong_one() -> None:
    assert inside("show", "em[eps=4/255]")[0] == inside("show", "em:class")[0] == 0
    code, _, printed = inside("show", "em[eps=nan]")
    assert code == 2
    assert "eps = 'nan' is wrong" in printed
    assert "Did you mean 'em'?" in inside("show", "emm[eps=nan]")[2]


def test_every_command_has_help_and_stands_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    docs = (Path(__file__).parents[1] / "docs" / "cli.md").read_text()
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([*name.split(), "--help"])
        assert stop.value.code == 0
        assert f"## howfar {name}" in docs
        options = [word for word in capsys.readouterr().out.split() if word.startswith("--")]
        for option in options:
            assert option.rstrip(",.") in docs, f"howfar {name} {option} is not in docs/cli.md"


def test_doctor_explains_a_broken_torchvision(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    found = json.loads(howfar("doctor", "--json", cwd=tmp_path, PYTHONPATH=str(tmp_path)).stdout)
    assert "broken (RuntimeError: operator torchvision::nms" in found["torchvision"]
    assert found["python"].startswith("3.")


def test_photographs_in_a_folder(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, name in enumerate(("tree", "cloud", "<script>alert(1)</script>".replace("/", "_"))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for n in range(12):
            shade = rng.integers(80 * k, 80 * k + 90, (14, 10, 3), dtype=np.uint8)
            Image.fromarray(shade).save(tmp_path / "photos" / name / f"{n}.png")
    done = howfar(*TINY, "--dataset", "folder:photos", "--protectors", "em:class[rounds=2],ops,random", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "photos" / "runs").exists()


def test_no_command_leaves_anything_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    done = howfar(*TINY, "--runs", "out", cwd=work, HOME=str(tmp_path / "home"))
    assert done.returncode == 0
    assert [p.name for p in work.iterdir()] == ["out"]
    shutil.rmtree(work / "out")
    assert list((tmp_path / "home").iterdir()) == []


def test_another_terminal_sees_what_runs_and_what_is_left(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "runs", "runs")
    record = Store("runs").records("victim")[0]
    status = json.loads(inside(*SUITE, "--watch", "--json")[1])
    assert (status["left"], status["running"], status["failed"]) == ([], [], {})
    shutil.rmtree(Path("runs", "victim", record.key))
    monkeypatch.setattr("howfar.grid.estimate.estimate", lambda *_: {record.key: 12.0})
    with Store("runs").claim("victim", record.key, "a victim") as lease:  # type: ignore[union-attr]
        status = json.loads(inside(*SUITE, "--watch", "--json")[1])
        _, shown, _ = inside(*SUITE, "--watch")
    assert [(one["step"], one["pid"]) for one in status["running"]] == [("a victim", lease.claim.pid)]
    assert len(status["left"]) == 1
    assert status["seconds"] == 12
    assert "a victim" in shown
    assert "1 failed" not in shown


def test_a_store_is_checked_exported_taken_in_and_compared(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "runs", "runs")
    assert inside("store", "check", "runs")[0] == 0
    assert inside("store", "export", "all.csv", "--victims")[0] == 0
    lines = Path("all.csv").read_text().splitlines()
    assert lines[0].startswith("key,dataset,protector")
    assert len(lines) == 1 + len(list(Store("runs").records("victim")))
    parquet = pytest.importorskip("pyarrow.parquet", reason="howfar[parquet] is not installed")
    assert inside("store", "export", "all.parquet", "--victims")[0] == 0
    table = parquet.read_table("all.parquet")
    assert table.column_names == lines[0].split(",")
    assert table.num_rows == len(lines) - 1
    code, _, errors = inside("store", "export", "all.xlsx")
    assert (code, ".parquet" in errors) == (2, True)
    assert inside("store", "import", "runs", "--runs", "other")[0] == 0
    assert inside("compare", "runs", "other")[0] == 0
    victim = next(Path("other", "victim").glob("*/record.json"))
    victim.write_text(victim.read_text().replace('"quality":0', '"quality":1'))
    code, shown, _ = inside("store", "check", "other", "--json")
    assert (code, victim.parent.name in shown) == (1, True)
    assert inside("leaderboard", "other")[0] == 1, "a wrong number is never shown"
    assert inside("store", "gc", "other", "--damaged")[0] == 0
    assert inside("store", "check", "other")[0] == 0
    assert len(json.loads(inside("compare", "runs", "other", "--json")[1])) == 1
    code, _, errors = inside("store", "check", "nowhere")
    assert (code, "there is no store" in errors) == (2, True)


def test_a_damaged_record_is_watched_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert inside(*TINY)[0] == 0
    victim = sorted(Path("runs", "victim").glob("*/record.json"))[0]
    whole = json.loads(victim.read_text())["result"]
    victim.write_text(victim.read_text() + "x")
    code, out, errors = inside(*TINY, "--watch", "--json")
    assert code == 0, errors
    assert len(json.loads(out)["left"]) == 1
    assert inside("leaderboard", "runs")[0] == 1, "tables refuse it"
    code, _, errors = inside(*TINY)
    assert code == 0, errors
    assert json.loads(victim.read_text())["result"]["quality"] == whole["quality"]


def test_a_time_limit_is_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in ("soon", "10ms", "-3s", "0"):
        code, _, errors = inside(*TINY, "--time-limit", wrong)
        assert (code, "90s, 30m or 2h" in errors) == (2, True)
    assert [to_seconds(text) for text in ("90s", "30m", "2h", "1.5")] == [90, 1800, 7200, 1.5]


def test_seeds_are_added_until_rows_are_decided(tmp_path: Path) -> None:
    command = [
        "bench", "--dataset", "digits", "--protectors", "random,ops", "--models", "linear", "--defenses", "none",
        "--epochs", "4", "--limit-train", "300", "--limit-test", "100", "--set", "probe_images=0", "--workers", "0",
        "--seeds", "5,0,3,1", "--json",
    ]  # fmt: skip

    def seeds(width: str, runs: str) -> dict[str, int]:
        with chdir(tmp_path):
            code, output, errors = inside(*command, "--until", width, "--runs", runs)
        assert code == 0, errors
        return {row["protector"]: row["seeds"] for row in json.loads(output)}

    wide = seeds("±90", "wide")
    assert set(wide.values()) == {2}
    assert {record.spec["seed"] for record in Store(tmp_path / "wide").records("victim")} == {5, 0}, "in their order"
    narrow = seeds("0.01", "narrow")
    assert narrow["clean"] == max(count for name, count in narrow.items() if name != "clean") > 2, (
        "clean runs go as far as those they are held against"
    )
    assert seeds("off", "all") == dict.fromkeys(narrow, 4)
    once = {record.key: record.result for record in Store(tmp_path / "narrow").records("victim")}
    every = {record.key: record.result for record in Store(tmp_path / "all").records("victim")}
    assert once.keys() <= every.keys()
    assert all(result["quality"] == every[key]["quality"] for key, result in once.items())
    lost = Store(tmp_path / "narrow").root / "victim" / sorted(once)[0]
    shutil.rmtree(lost)
    assert seeds("0.01", "narrow") == narrow, "a run that was interrupted adds the same seeds"


def test_quick_is_a_suite_of_its_own(tmp_path: Path) -> None:
    with chdir(tmp_path):
        code, _, errors = inside("bench", "--quick", "--suite", "digits", "--dry-run")
        assert code == 2
        assert "--quick is itself a suite" in errors
        code, output, errors = inside("bench", "--quick", "--dry-run")
    assert code == 0, errors
    assert "stripes" in output
