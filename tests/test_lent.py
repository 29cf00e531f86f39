"""Training on a GPU machine without a network: with a clock and a training of the test's own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training import pack
from training.lent import add, begin, bring, finish, prepare, watch
from training.lent.machine import SHAPE, Machine
from training.lent.watch import Ending, Judge

pytestmark = pytest.mark.posix

ROOT = Path(__file__).parents[1]
SLEEPING = """
import time
print("Compiling for a test", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("Stopped", flush=True)
    {at_the_end}
"""
DYING = "print('a fault of the test', flush=True); raise SystemExit(3)"


class Clock:
    """A clock on which only sleeping takes time, and plans for given seconds."""

    def __init__(self):
        self.now = 1000.0
        self.plans = {}

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds
        for due in [due for due in self.plans if due <= self.now - 1000]:
            self.plans.pop(due)()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "work")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def started(machine):
    """Start programs as trainings of the machine; end them after the test."""
    processes = []

    def start(program):
        machine.code.mkdir(parents=True, exist_ok=True)
        process = begin.start(machine, [sys.executable, "-c", program])
        processes.append(process)
        begin.wait_for_first_words(machine, lambda _: time.sleep(0.02), 100)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def write(path, data=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def checkpoint(machine, minute, data=b"weights"):
    return write(machine.run / SHAPE / f"average-{minute:.1f}.safetensors", data)


def finish_training(machine):
    """Python that does what a training does at its end."""
    kept = machine.home / f"{SHAPE}.safetensors"
    return f"import pathlib; p = pathlib.Path({str(kept)!r}); p.parent.mkdir(); p.write_text('w')"


def test_a_training_runs_until_it_ends_and_holds_its_lock_so_long(machine, started):
    assert not machine.is_running()
    process = started(SLEEPING.format(at_the_end="pass"))
    assert machine.is_running()
    assert int(machine.lock.read_text()) == process.pid
    process.kill()
    process.wait()
    assert not machine.is_running()


def test_a_training_that_was_killed_and_not_waited_for_does_not_run(machine, started):
    process = started(SLEEPING.format(at_the_end="pass"))
    process.kill()
    ended = time.monotonic() + 10
    while machine.is_running() and time.monotonic() < ended:
        time.sleep(0.01)
    assert not machine.is_running()


def test_a_training_outlives_the_command_that_began_it(machine, started):
    process = started(SLEEPING.format(at_the_end="pass"))
    code = "import os, sys; print(os.getsid(int(sys.argv[1])))"
    session = subprocess.run(
        [sys.executable, "-c", code, str(process.pid)], capture_output=True, text=True, check=True
    )
    assert int(session.stdout) == process.pid


def test_watching_says_at_once_that_a_training_died(machine, started, out, clock):
    started(DYING).wait()
    assert watch.watch(machine, out, 600, None, clock, clock.sleep) is Ending.DIED
    assert clock.now == 1000
    assert (out / "log.txt").read_text() == "a fault of the test\n"


def test_watching_ends_soon_after_a_training_dies_meanwhile(machine, started, out, clock):
    process = started(SLEEPING.format(at_the_end="pass"))

    def die():
        process.kill()
        process.wait()

    clock.plans[100] = die
    assert watch.watch(machine, out, 600, None, clock, clock.sleep) is Ending.DIED
    assert clock.now <= 1100 + watch.POLL


def test_a_report_of_a_death_shows_the_log_and_fails(machine, started, out, capsys):
    started(DYING).wait()
    bring.bring_home(machine, out)
    with pytest.raises(SystemExit, match="has died before its end"):
        watch.report(machine, out, Ending.DIED)
    assert "a fault of the test" in capsys.readouterr().out


def test_watching_goes_on_for_its_time_and_brings_new_weights_home(machine, started, out, clock):
    started(SLEEPING.format(at_the_end="pass"))
    clock.plans[60] = lambda: checkpoint(machine, 1.0)
    clock.plans[239] = lambda: checkpoint(machine, 2.0)
    assert watch.watch(machine, out, 240, None, clock, clock.sleep) is Ending.RUNNING
    assert clock.now == 1240
    names = sorted(path.name for path in out.iterdir())
    assert names == ["average-1.0.safetensors", "average-2.0.safetensors", "log.txt"]


def test_watching_prints_the_last_line_of_the_log_now_and_then(
    machine, started, out, clock, capsys
):
    started(SLEEPING.format(at_the_end="pass"))
    watch.watch(machine, out, 100, None, clock, clock.sleep)
    assert capsys.readouterr().out.splitlines() == ["Compiling for a test"] * 4


def test_a_training_that_is_finished_early_saves_its_weights_first(
    machine, started, out, monkeypatch, capsys
):
    monkeypatch.setattr(watch, "POLL", 0.01)
    started(SLEEPING.format(at_the_end=finish_training(machine)))
    arguments = ["finish", "--out", str(out), "--work", str(machine.work), "--seconds", "20"]
    monkeypatch.setattr(sys, "argv", arguments)
    finish.main()
    assert not machine.is_running()
    assert (out / f"{SHAPE}.safetensors").exists()
    assert Ending.FINISHED.value in capsys.readouterr().out


def test_only_so_many_files_come_home_as_the_machine_sends(machine, out):
    for minute in range(12):
        checkpoint(machine, minute)
    write(machine.log)
    write(machine.home / f"{SHAPE}.safetensors")
    write(machine.home / "compiled.bin.1")
    write(machine.home / "compiled.bin.2")
    bring.bring_home(machine, out)
    names = {path.name for path in out.iterdir()}
    latest = {f"average-{minute}.0.safetensors" for minute in (11, 10, 9, 8)}
    assert names == {"log.txt", f"{SHAPE}.safetensors", "compiled.bin.1", "compiled.bin.2"} | latest


def test_pieces_of_kernels_come_home_all_or_not_at_all(machine, out):
    for number in range(1, 5):
        write(machine.home / f"compiled.bin.{number}")
    assert bring.bring_home(machine, out) == []


def test_files_that_are_too_large_stay(machine, out, monkeypatch):
    monkeypatch.setattr(bring, "MOST_BYTES_OF_A_FILE", 10)
    monkeypatch.setattr(bring, "MOST_BYTES", 15)
    checkpoint(machine, 3, b"11 bytes...")
    checkpoint(machine, 2, b"10 bytes..")
    checkpoint(machine, 1, b"6 more")
    assert bring.bring_home(machine, out) == ["average-2.0.safetensors"]


def test_newer_weights_take_the_place_of_older_ones_at_home(machine, out, monkeypatch):
    monkeypatch.setattr(bring, "MOST_FILES", 1)
    checkpoint(machine, 9)
    bring.bring_home(machine, out)
    checkpoint(machine, 10)
    bring.bring_home(machine, out)
    assert [path.name for path in out.iterdir()] == ["average-10.0.safetensors"]


@pytest.fixture
def judge(machine, monkeypatch):
    """A judge whose program prints a table; weights that contain "bad" make it fail."""
    program = "import sys; bad = 'bad' in open(sys.argv[1]).read(); print('a table'); sys.exit(bad)"
    monkeypatch.setattr(
        Judge, "command", lambda self, weights: [sys.executable, "-c", program, str(weights)]
    )
    machine.code.mkdir(parents=True)
    return Judge(machine, [3, 6])


def wait_for(judge):
    judge.look()
    judge._running.wait()
    judge.look()


def test_the_first_weights_of_a_given_minute_are_judged_once(machine, judge, out, capsys):
    checkpoint(machine, 2)
    judge.look()
    assert judge._running is None
    for minute in (3.1, 4.1):
        checkpoint(machine, minute)
    wait_for(judge)
    assert capsys.readouterr().out == "average-3.1\na table\n"
    judge.look()
    assert judge._running is None
    checkpoint(machine, 6.2)
    wait_for(judge)
    bring.bring_home(machine, out)
    assert (out / "tables.txt").read_text() == "average-3.1\na table\n\naverage-6.2\na table\n"


def test_a_judge_that_fails_is_reported_and_not_tried_again(machine, judge, capsys):
    checkpoint(machine, 3.1, b"bad")
    wait_for(judge)
    assert "average-3.1 was not judged: exit code 1\na table" in capsys.readouterr().out
    judge.look()
    assert judge._running is None


def test_watching_goes_on_though_a_judge_fails(machine, started, judge, out, clock):
    started(SLEEPING.format(at_the_end="pass"))
    checkpoint(machine, 3.1, b"bad")
    assert watch.watch(machine, out, 60, judge, clock, clock.sleep) is Ending.RUNNING
    assert clock.now == 1060
    judge.stop()


def test_a_judge_without_time_left_leaves_its_weights_to_the_next_watch(machine, judge, capsys):
    checkpoint(machine, 3.1)
    judge.look()
    judge.stop()
    assert "average-3.1 was not judged: there was no time left" in capsys.readouterr().out
    wait_for(Judge(machine, [3]))
    assert (machine.tables / "average-3.1.txt").read_text() == "a table\n"


def parts_of(folder, count):
    parts = [folder / str(number) for number in range(1, count + 1)]
    for part in parts:
        write(part / "photos" / f"{part.name}.png")
    return parts


def test_the_training_reads_the_data_once_all_parts_have_arrived_in_any_order(machine, tmp_path):
    one, two, three = parts_of(tmp_path, 3)
    assert add.add(machine, three, 3) == [1, 2]
    assert add.add(machine, one, 3) == [2]
    assert add.add(machine, one, 3) == [2]
    assert not machine.sent.exists()
    assert add.add(machine, two, 3) == []
    assert machine.sent.exists()
    names = sorted(path.name for path in (machine.data / "photos").iterdir())
    assert names == ["1.png", "2.png", "3.png"]


def test_a_part_that_was_not_sent_is_named(machine, tmp_path, monkeypatch):
    missing = tmp_path / "2"
    arguments = ["add", str(missing), "--of", "3", "--work", str(machine.work)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="2 is not there: carry it along"):
        add.main()


def test_adding_a_part_tells_that_the_training_has_ended(machine, started, tmp_path, monkeypatch):
    started(DYING).wait()
    [part] = parts_of(tmp_path, 1)
    arguments = ["add", str(part), "--of", "1", "--work", str(machine.work)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="the training has ended"):
        add.main()
    assert machine.sent.exists()


def test_a_training_with_a_state_goes_on_from_there_and_from_no_other_weights(machine):
    def command():
        return begin.training_command(machine, Path("a"), 0.5, ["--recipe", "focus"])

    assert {"--start-from", "--begin"} <= set(command())
    assert command()[-1] == "--parts"  # which takes all names that follow it
    write(machine.state)
    assert not {"--start-from", "--begin"} & set(command())


def test_a_second_training_is_refused_while_one_runs(machine, started, monkeypatch):
    started(SLEEPING.format(at_the_end="pass"))
    monkeypatch.setattr(sys, "argv", ["begin", "--seconds", "9", "--work", str(machine.work)])
    with pytest.raises(SystemExit, match="A training is running"):
        begin.main()


def test_packages_that_a_machine_lacks_are_asked_for_or_installed(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "PACKAGES", ("torch", "of-this-test"))
    monkeypatch.setattr(begin, "WHEELS", tmp_path)
    assert begin.missing_packages(machine) == ["of-this-test"]
    with pytest.raises(SystemExit, match="lacks of-this-test: carry .* along"):
        begin.install(machine, ["of-this-test"])
    write(machine.site / "of_this_test-1.dist-info" / "METADATA", b"Name: of-this-test\n")
    assert begin.missing_packages(machine) == []


@pytest.mark.parametrize("name", ["begin", "add", "watch", "finish"])
def test_the_programs_for_the_machine_need_nothing_but_python(name):
    without_packages = [sys.executable, "-S", "-m", f"training.lent.{name}", "--help"]
    subprocess.run(without_packages, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def test_beginning_fails_with_the_log_when_the_training_dies_at_once(
    machine, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    write(tmp_path / "training" / "train.py", DYING.encode())
    monkeypatch.setattr(begin, "missing_packages", lambda machine: [])
    monkeypatch.setattr(sys, "argv", ["begin", "--seconds", "9", "--work", str(machine.work)])
    with pytest.raises(SystemExit, match="ended at once"):
        begin.main()
    assert "a fault of the test" in capsys.readouterr().out


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "WHEELS", tmp_path / "wheels")
    (tmp_path / "wheels").mkdir()
    parts = parts_of(tmp_path, 3)
    return prepare.commands("focus", 760, Path("weights/next/srn-focus.safetensors"), 0.5, parts)


def test_the_commands_begin_add_each_part_and_watch_for_the_whole_time(planned):
    programs = [command.text.split()[2].rpartition(".")[2] for command in planned]
    assert programs == ["begin", *["add"] * 3, *["watch"] * 4, "finish"]
    watched = [float(n) for c in planned for n in re.findall(r"watch --seconds (\d+)", c.text)]
    assert sum(watched) >= 760
    assert all(command.limit <= 600 for command in planned)


def test_what_a_command_reads_is_carried_along_with_it(planned):
    begun, *adds = planned[:4]
    assert begun.carried == (prepare.WHEELS,)
    for command in adds:
        assert str(command.carried[0]) in command.text.split()


class Ended:
    """A process that has ended."""

    def __init__(self, command):
        Ended.command = command

    def wait(self):
        return 1


def test_options_that_are_printed_are_understood(planned, monkeypatch, tmp_path):
    from training import train

    machine = Machine(tmp_path)
    seen = {}
    monkeypatch.setattr(begin, "copy_code", lambda machine, start: seen.update(start=start))
    monkeypatch.setattr(begin, "missing_packages", lambda machine: [])
    monkeypatch.setattr(begin, "start", lambda machine, command: Ended(command))
    monkeypatch.setattr(begin, "wait_for_first_words", lambda machine: None)
    words = planned[0].text.split()[3:]
    monkeypatch.setattr(sys, "argv", ["begin", *words, "--work", str(tmp_path)])
    with pytest.raises(SystemExit, match="ended at once"):  # since nothing was started
        begin.main()
    assert (ROOT / seen["start"]).is_file()
    monkeypatch.setattr(sys, "argv", ["train", *Ended.command[3:]])
    options = train.parse_options()
    assert (options.recipe, options.seconds, options.begin) == ("focus", 760, 0.5)
    assert (options.wait_for, options.keep) == (machine.sent, machine.home)
    assert (options.folder, options.data) == (machine.run, machine.data)
    assert options.parts == []
    assert options.device.type == "cuda"


def test_parts_that_are_too_large_to_send_are_refused(planned):
    prepare.check_sizes(int(prepare.MOST_SENT) - 100, planned)
    with pytest.raises(SystemExit, match="Choose smaller parts by --megabytes"):
        prepare.check_sizes(int(prepare.MOST_SENT) - 5, planned)


def test_preparing_writes_parts_and_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "FOLDER", tmp_path)
    monkeypatch.setattr(prepare, "fetch_wheels", lambda *arguments: None)
    monkeypatch.setattr(prepare, "bytes_of_repository", lambda: 0)
    data = tmp_path / "data"
    for name in ("photos/a.png", "photos/b.png", "pairs/blur/c.png", "pairs/sharp/c.png"):
        write(data / name, b"x" * 1000)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["prepare", "--data", str(data), "--megabytes", "0.002"])
    prepare.main()
    text = (tmp_path / "commands.txt").read_text()
    assert text in capsys.readouterr().out
    assert "training.lent.add" in text
    assert "--seconds 760" in text
    assert len(pack.divide(pack.files_to_send(data), 2000)) == text.count("lent.add ")
