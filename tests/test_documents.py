"""What README.md and docs/ say is so: files and passes that they name exist, tables are complete, examples run."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.op import Op
from graphc.passes.pipeline import GRAPH_PASSES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def blocks(name: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[name], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name: str) -> None:
    for path in re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:py|md))`|\]\(([\w/-]+\.md)\)", DOCUMENTS[name]):
        found = path[0] or path[1]
        places = (ROOT, ROOT / "graphc", ROOT / "docs")
        assert any(list(place.glob(found)) for place in places), f"{name} names {found}"


def test_the_table_of_passes_is_that_of_the_pipeline() -> None:
    section = DOCUMENTS["design.md"].split("## 7. Graph passes")[1].split("## 8.")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [name for name, _ in GRAPH_PASSES]


def test_the_table_of_an_op_has_all_parts() -> None:
    section = DOCUMENTS["adding-an-op.md"].split("| part |")[1].split("\nRules:")[0]
    parts = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    assert parts == {field.name for field in dataclasses.fields(Op)} - {"name", "kind"}


def test_the_table_of_environment_variables_is_complete() -> None:
    used = set()
    for folder in ("graphc", "passes", "runtime"):
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"[\"'](GRAPHC_[A-Z]+(?:_[A-Z]+)*)[\"']", path.read_text()))
    assert used == set(re.findall(r"^\| `(GRAPHC_\w+)", DOCUMENTS["README.md"], re.MULTILINE))


def test_the_first_example_runs() -> None:
    rng = np.random.default_rng(0)
    names = {"X_train": rng.standard_normal((96, 64), np.float32), "y_train": rng.integers(0, 10, 96)}
    names |= {"X_test": names["X_train"], "y_test": names["y_train"]}
    exec(blocks("README.md")[0], names)
    assert names["accuracy"] > 0.5


def test_the_lines_of_what_else_one_can_do_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 2))
    x, p = graphc.input("x", (4, 3)), model[0].weight
    y = graphc.input("y", (4,), "int32")
    names = {
        "np": np, "graphc": graphc, "optim": optim, "model": model, "p": p, "v": graphc.input("v", p.shape),
        "loss": F.cross_entropy(model(x), y), "opt": optim.SGD(model.parameters(), lr=0.1),
    }  # fmt: skip
    lines = blocks("README.md")[1].replace("run.safetensors", str(tmp_path / "run.safetensors"))
    exec(lines, names)
    assert names["w"].flags.writeable and (tmp_path / "run.safetensors").exists()
    product = graphc.compile(names["hessian_vector"])
    values = {"x": rng.standard_normal((4, 3), np.float32), "y": np.zeros(4, np.int32), "v": np.ones(p.shape, np.float32)}
    assert product(**values).shape == p.shape


# The example declares an op for good, so it has a process of its own.
OP = """
import numpy as np, graphc, graphc.ops.math as family, graphc.functions.elementwise as functions
exec({declaration!r}, vars(family))
functions.mathematics = family
exec({function!r}, vars(functions))
x = graphc.input("x", (5,))
value = np.linspace(-2, 2, 5, dtype=np.float32)
got, slope = graphc.compile([functions.softsign(x), graphc.grad(functions.softsign(x).sum(), x)])(x=value)
np.testing.assert_allclose(got, value / (1 + abs(value)), rtol=1e-6)
np.testing.assert_allclose(slope, 1 / (1 + abs(value)) ** 2, rtol=1e-6)
"""


def test_the_example_of_an_op_runs() -> None:
    declaration, function = blocks("adding-an-op.md")
    code = OP.format(declaration=declaration, function=function)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_example_of_a_module_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import graphc.nn.activations as modules
    import graphc.nn.functional.activations as functions

    function, module = blocks("adding-a-module.md")
    family, made = dict(vars(functions)), dict(vars(modules))
    exec(function, family)
    monkeypatch.setattr(F, "swish", family["swish"], raising=False)
    exec(module, made)
    swish = made["Swish"](1.5)
    value = np.linspace(-2, 2, 5, dtype=np.float32)
    np.testing.assert_allclose(graphc.compile(swish)(value), value / (1 + np.exp(-1.5 * value)), rtol=1e-6)
    assert [name for name, _ in swish.named_parameters()] == ["beta"] and "beta=1.5" in repr(swish)
