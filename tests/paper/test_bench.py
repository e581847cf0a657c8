"""The benchmark: that it measures what it says, and writes what the manifest can answer for."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from alcl.losses import ALCLoss
from alcl.paper import bench, manifest


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One quick benchmark, written to a folder of its own."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALCL_FIGURES", str(folder))
        assert bench.main(["--quick"]) == 0
    return folder


def test_what_is_written(quick):
    result = json.loads((quick / "records" / "bench.json").read_text())
    assert {row["what"] for row in result["rows"]} >= {"loss", "step", "epoch", "elements", "sweep"}
    assert all(row["value"] >= 0 for row in result["rows"])
    assert {row["loss"] for row in result["rows"] if row["what"] == "loss"} == set(bench.PEERS)
    assert {row["loss"] for row in result["rows"] if row["what"] == "step"} >= {bench.BASE, bench.OURS, bench.SHORT}
    assert "the same with the loss of one image alone" in set(bench.summary(result)["ratio"])
    assert result["quick"] is True
    assert result["machine"]["torch"] in torch.__version__
    manifest = json.loads((quick / "manifest.json").read_text())
    assert {entry["notebook"] for entry in manifest.values()} == {bench.SOURCE}
    assert set(manifest) == {"fig11a_elements", "fig11b_peers", "table11_speed"}


def test_figures_and_table_can_be_drawn_again_from_the_record(quick, monkeypatch):
    monkeypatch.setenv("ALCL_FIGURES", str(quick))
    files = {path.name: path.read_bytes() for path in quick.glob("*11*")}
    assert len(files) == 6
    for name in files:
        (quick / name).unlink()
    assert bench.main(["--draw"]) == 0
    assert {path.name for path in quick.glob("*11*")} == set(files)
    assert (quick / "table11_speed.csv").read_bytes() == files["table11_speed.csv"]


def test_the_figures_show_every_size_and_shape_measured(quick):
    result = json.loads((quick / "records" / "bench.json").read_text())
    sizes, beside = bench.draw(result)
    ours = [row for row in result["rows"] if row["what"] == "elements" and row["loss"] == bench.OURS]
    (line,) = [line for line in sizes.axes[0].lines if line.get_label() == bench.OURS]
    assert list(line.get_xdata()) == [row["shape"][0] for row in ours]
    assert list(line.get_ydata()) == pytest.approx([1e6 * row["value"] / row["shape"][0] for row in ours])  # ms to ns
    assert [text.get_text() for text in sizes.axes[0].texts][: len(ours)] == [f"×{row['ratio']:.1f}" for row in ours]
    drawn = sorted(float(line.get_xdata()[0]) for line in beside.axes[0].lines if len(line.get_xdata()) == 1)
    assert drawn == pytest.approx(sorted(row["ratio"] for row in result["rows"] if row["what"] == "loss"))


def test_without_a_record_nothing_is_drawn_and_nothing_breaks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path))
    assert bench.main(["--draw"]) == 0
    assert "make bench" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_summary_is_made_of_the_rows(quick):
    result = json.loads((quick / "records" / "bench.json").read_text())
    table = bench.summary(result).set_index("ratio").measured
    loss = {row["loss"]: row["value"] for row in result["rows"] if row["what"] == "loss"}
    assert table["loss over MSE, eager"] == pytest.approx(loss["ALCL"] / loss["MSE"])
    assert table["plain formula over loss, eager"] == pytest.approx(loss["ALCL, plain formula"] / loss["ALCL"])
    sweep = [row["value"] for row in result["rows"] if row["what"] == "sweep"]
    assert table["two processes over one"] == pytest.approx(sweep[1] / sweep[0])
    for row in result["rows"]:
        if row["what"] == "form" and row["loss"] == "ALCL":
            assert table[f"{row['form']}, over MSE"] == pytest.approx(row["ratio"])


def test_what_was_measured_on_two_threads_stands_beside_one(quick):
    result = json.loads((quick / "records" / "bench.json").read_text())
    assert bench.summary(result).two_threads.isna().all()  # --quick has one
    measured = [row for row in result["rows"] if row["what"] in ("loss", "step", "form")]
    twice = [row | {"threads": 2, "ratio": 7 * (row["ratio"] or 0)} for row in measured]
    table = bench.summary(result | {"rows": result["rows"] + twice}).set_index("ratio")
    assert len(table) == len(bench.summary(result))
    for ratio in ("loss over MSE, eager", "training step over MSE's", *(f"{form}, over MSE" for form in bench.FORMS)):
        assert table.two_threads[ratio] == pytest.approx(7 * table.measured[ratio])
    assert math.isnan(table.two_threads["two processes over one"])


class Timer:
    """torch's, by a clock that only the calls move."""

    now = 0.0

    def __init__(self, statement, globals, num_threads):
        self.call = globals["f"]

    def timeit(self, number):
        began = Timer.now
        for _ in range(number):
            self.call()
        return SimpleNamespace(median=(Timer.now - began) / number)


def test_the_sensors_losses_are_summed_up_beside_alcl_and_left_out_where_a_record_has_none(quick):
    result = json.loads((quick / "records" / "bench.json").read_text())
    loss = {row["loss"]: row["value"] for row in result["rows"] if row["what"] == "loss"}
    table = bench.summary(result).set_index("ratio").measured
    assert table["contaminated over loss, eager"] == pytest.approx(loss["ALCL, contaminated"] / loss["ALCL"])
    assert table["censored over loss, eager"] == pytest.approx(loss["ALCL, censored"] / loss["ALCL"])
    new = {"ALCL, contaminated", "ALCL, censored", "ALCL, censored, all learned", "Tobit"}
    older = result | {"rows": [row for row in result["rows"] if row["loss"] not in new]}
    assert list(bench.summary(older)["ratio"]) == [
        name for name in table.index if not name.startswith(("cont", "cens"))
    ]
    assert [text.get_text() for text in bench.draw(older)[1].axes[0].get_yticklabels()]


def test_calls_take_turns_so_that_a_machine_that_slows_down_does_not_favour_one(monkeypatch):
    monkeypatch.setattr(bench, "Timer", Timer)
    monkeypatch.setattr(Timer, "now", 0.0)

    def spends(seconds):
        def call():
            Timer.now += seconds * (1 if Timer.now < 0.23 else 3)

        return call

    times = bench.interleaved({"slow": spends(0.01), "fast": spends(0.001)}, rounds=9)
    # Milliseconds; five of the nine rounds end before 0.23 s. One after the other, only one of the two would be slow.
    assert times == pytest.approx({"slow": 10, "fast": 1})
    assert Timer.now > 0.5


def test_a_ratio_has_an_exact_interval_over_blocks_that_took_turns(monkeypatch):
    monkeypatch.setattr(bench, "Timer", Timer)
    monkeypatch.setattr(Timer, "now", 0.0)
    slower = iter([2.0, 3.0, 5.0, 2.5, 4.0, 3.5, 9.0])

    def base():
        Timer.now += 0.01

    def ours():
        Timer.now += 0.01 * next(slower)

    times, intervals = bench.interval_of_ratio({bench.BASE: base, bench.OURS: ours}, rounds=7)
    assert times == pytest.approx({bench.BASE: 10, bench.OURS: 35})
    assert intervals == {bench.OURS: pytest.approx({"low": 2.0, "high": 9.0})}  # 7: the extremes, 98.4 %


def test_torchs_gaussian_learns_its_variance():
    loss, e = bench.TorchGaussian(), torch.linspace(-3, 3, 40)
    assert loss(e, torch.zeros(40)).item() == pytest.approx(0.5 * e.square().mean().item())  # variance 1
    (slope,) = torch.autograd.grad(loss(e, torch.zeros(40)), loss.log_variance)
    assert slope.item() == pytest.approx(0.5 * (1 - e.square().mean().item()))


def test_the_plain_formula_is_the_same_loss():
    plain, ours = bench.PlainALCL(), ALCLoss()
    with torch.no_grad():
        for name in ("raw_alpha", "raw_beta"):
            getattr(plain, name).copy_(getattr(ours, name))
    e = torch.linspace(-3, 3, 40)
    torch.testing.assert_close(plain(e, torch.zeros(40)), ours(e, torch.zeros(40)))


def test_memory_of_known_buffers():
    """Two buffers of 4 MiB and their sum: small enough for the allocator to have kept them from the call before."""
    assert bench.peak_megabytes(lambda: torch.ones(2**20) + torch.ones(2**20)) == pytest.approx(12, rel=1e-3)


def test_memory_of_an_in_place_sum_and_of_what_is_freed_in_between():
    def call():
        kept = torch.ones(2**20).add_(torch.ones(2**20))
        for _ in range(3):
            kept.add_(torch.ones(2**20))

    assert bench.peak_megabytes(call) == pytest.approx(8, rel=1e-3)


def test_a_figure_may_come_from_a_module_but_not_from_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("ALCL_FIGURES", str(tmp_path))
    with pytest.raises(ValueError, match="notebook: must be"):
        manifest.save_table(bench.pd.DataFrame({"a": [1]}), "table08_x", notebook="os.path")
