"""The benchmark of kernels at reduced size and without peers; its cases, counted and compared with NumPy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernel_report, machine, peak
from benchmarks.kernel_cases import CASES, Case, nearest_round, odd_sizes, round_sizes
from benchmarks.kernel_clock import measure
from graphc.codegen.target import host_target

ROOT = Path(__file__).resolve().parents[1]
SMALL = [case for case in CASES if case.size <= 3e5]


def test_a_small_run(tmp_path: Path) -> None:
    options = "--families contraction softmax --largest 1e5 --threads 1 --turns 1 --seconds 0.001 --peers".split()
    command = [sys.executable, "-m", "benchmarks", "kernels", *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "kernels.json").read_text())
    rows = {row["case"]: row for row in report["rows"]}
    assert {"contraction nt 33x33x33", "softmax 32x64"} <= set(rows)
    assert all(0 < row["kernel"] <= row["graphc"] for row in rows.values())
    assert rows["contraction nt 33x33x33"]["limit"] == "FMA f32" and rows["softmax 32x64"]["limit"] == "L1 copy"
    assert report["limits"][0]["gbytes"]["memory streaming triad"] > 0
    assert "best peer" not in done.stdout


@pytest.mark.parametrize("framework", ["graphc", "numpy"])
def test_small_cases_of_every_family_agree_with_numpy(framework: str) -> None:
    found = measure(framework, SMALL, 1, 0.0)
    assert {case.family for case in SMALL} == {case.family for case in CASES} - {"conv2d"}
    if framework == "graphc":
        assert set(found) == {case.name for case in SMALL}


def test_names_are_unique_and_odd_sizes_have_neighbours() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert nearest_round(Case("contraction", (33, 40, 47), "nt")).shape == (32, 48, 48)
    assert {nearest_round(case) for case in odd_sizes(full=True)} == set(round_sizes())
    assert len(odd_sizes(full=True)) == 15**3


def test_a_limit_is_that_of_the_level_where_the_data_lies() -> None:
    sizes = {"L1": 1 << 15, "L2": 1 << 20, "L3": 1 << 25}
    rates = {
        (level, kind): rate for level, rate in zip(machine.LEVELS, (400, 200, 100, 20), strict=True) for kind in peak.STREAMS
    }
    limits = machine.Limits(1, {"float32": 100.0, "float64": 50.0}, rates, sizes)
    assert limits.placed(1 << 15) == {"L1": 1} and limits.placed(3 << 15) == {"L2": 1} and limits.placed(1 << 30) == {"memory": 1}
    assert limits.placed(3 << 14) == {"L1": 0.5, "L2": 0.5}
    assert machine.Limits(2, limits.fma, rates, sizes).placed(1 << 16) == {"L1": 1}  # two cores, two L1 caches
    chain = kernel_report.limit_of(Case("chain", (1 << 20,)), 8 << 20, 4 << 20, limits)
    assert chain == ("L3 triad", pytest.approx((12 << 20) / 100e9))
    between = kernel_report.limit_of(Case("chain", (1 << 17,)), 1 << 20, 1 << 19, limits)
    assert between == ("L2/L3 triad", pytest.approx((3 << 18) / 200e9 + (3 << 18) / 100e9))
    product = kernel_report.limit_of(Case("contraction", (64, 64, 64), "nt"), 32768, 16384, limits)
    assert product == ("FMA f32", pytest.approx(2 * 64**3 / 100e9))
    assert kernel_report.limit_of(Case("contraction", (2048, 2048), "matvec"), 16 << 20, 8192, limits)[0] == "L3 read"
    assert kernel_report.limit_of(Case("adam", (1 << 20,)), 16 << 20, 12 << 20, limits)[0] == "L3 update"


@pytest.mark.parametrize("kind", peak.STREAMS)
def test_streams_do_what_they_say(kind: str) -> None:
    size, lanes = 4096, host_target().lanes(4)
    blocks = [machine.aligned(size) for _ in range(3)]
    arrays = [block.view(np.float32) for block in blocks]
    for position, array in enumerate(arrays):
        array[:] = np.arange(size // 4) % 7 + position
    before = [array.copy() for array in arrays]
    peak.stream(kind)(*(block.ctypes.data for block in blocks), size, 2)
    if kind == "read":
        assert arrays[2][: peak.UNROLL * lanes].sum() == 2 * before[0].sum() and np.array_equal(arrays[0], before[0])
    else:
        a, b, c = before
        expected = {"fill": 0 * a + 0.5, "update": 0.25 * a, "copy": b, "triad": b + 0.5 * c}[kind.split()[-1]]
        assert np.array_equal(arrays[0], expected)
