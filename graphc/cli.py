"""The command line.

    graphc dump examples/digits.py:step                    the stages, one a line
    graphc dump examples/digits.py:step --stage fuse       the text of one
    graphc stats examples/digits.py:step                   operations, kernels, memory, time of passes
    graphc dump model.py:model --input x=f32[32,64]        what is traced by signature needs example inputs

NAME is what `compile` or `train_step` returned, or tensors, a module or a function to compile; a function without arguments is
called and stands for what it returns.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import graphc
from graphc.cost import total_flops
from graphc.errors import GraphcError, InputError
from graphc.nesting import launches
from graphc.types import DTYPES

_SIZES = "{} is traced for the sizes of its arguments: give them, as in --input x=f32[32,64]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 where the request makes no sense."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `graphc dump ... | head` ends quietly
    arguments = _parser().parse_args(argv)
    try:
        executable = find_executable(arguments.target, arguments.input)
        print(arguments.show(executable, arguments))
    except (GraphcError, OSError) as error:
        print(f"graphc: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="graphc", description="Look inside compiled graphs.")
    parser.add_argument("--version", action="version", version=f"graphc {graphc.__version__}")
    commands = parser.add_subparsers(title="commands", required=True)
    for name, show, about in (("dump", _dump, "print a stage of compilation"), ("stats", _stats, "print sizes and counts")):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("target", metavar="FILE.py:NAME", help="a name in a Python file, which is run")
        command.add_argument(
            "--input", action="append", default=[], metavar="x=f32[32,64]", help="an example input, for traced functions"
        )
        command.set_defaults(show=show)
        if name == "dump":
            command.add_argument("--stage", help="which stage; without it the stages are listed")
    return parser


def _dump(executable: graphc.Executable, arguments: argparse.Namespace) -> str:
    if arguments.stage is None:
        return "\n".join(executable.stages)
    return executable.dump(arguments.stage).rstrip("\n")


def _stats(executable: graphc.Executable, arguments: argparse.Namespace) -> str:
    graph, program, memory = executable.graph, executable.program, executable.memory
    ops = Counter(node.op.name for node in graph.nodes)
    kernels = [launch.kernel for launch in launches(program.body)]
    forms = Counter(type(kernel).__name__.lower() for kernel in kernels)
    rows = [
        ("inputs", ", ".join(f"{buffer.name}: {buffer.type}" for buffer in program.inputs) or "none"),
        ("graph", f"{len(graph.nodes):,} nodes: " + ", ".join(f"{count} {name}" for name, count in ops.most_common(8))),
        ("operations", f"{total_flops(graph):,} before optimization"),
        ("kernels", f"{len(set(kernels))} distinct"),
        ("launches", f"{len(kernels)}: " + ", ".join(f"{count} {name}" for name, count in forms.most_common())),
        ("states", f"{len(program.states)}, {sum(buffer.type.nbytes for buffer in program.states):,} bytes"),
        ("parameters", f"{memory.parameter_bytes:,} bytes"),
        ("arena", f"{memory.arena_bytes:,} bytes; lower bound {memory.lower_bound_bytes:,}, ratio {memory.ratio:.3f}"),
        (
            "passes",
            ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in executable.seconds.items() if name != "input"),
        ),
    ]
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


def find_executable(target: str, inputs: Sequence[str]) -> graphc.Executable:
    """What FILE.py:NAME stands for, compiled; InputError where that makes no sense."""
    path, separator, name = target.rpartition(":")
    if not separator or not path or not name:
        raise InputError(f"expected FILE.py:NAME, got {target!r}")
    examples = dict(map(_example, inputs))
    module = _load(Path(path))
    value = module
    for part in name.split("."):
        if not hasattr(value, part):
            found = [key for key, item in vars(module).items() if isinstance(item, (graphc.Executable, graphc.nn.Module))]
            raise InputError(f"{path} defines no {name!r}" + (f"; it defines {', '.join(found)}" if found else ""))
        value = getattr(value, part)
    executable = _as_executable(value, target, bool(examples))
    if examples:
        executable.build(**examples)
        return executable
    try:
        executable.build()
    except InputError:
        raise InputError(_SIZES.format(target)) from None
    return executable


def _as_executable(value: Any, target: str, has_examples: bool) -> graphc.Executable:
    if inspect.isfunction(value) and not inspect.signature(value).parameters:
        value = value()
    if isinstance(value, graphc.Executable):
        return value
    if isinstance(value, (graphc.Tensor, list, tuple, dict)):
        return graphc.compile(value)
    if isinstance(value, graphc.nn.Module) or inspect.isfunction(value):
        if not has_examples:
            raise InputError(_SIZES.format(target))
        return graphc.compile(value)
    raise InputError(f"{target} is {type(value).__name__}; expected a compiled step, tensors, a module or a function")


def _example(text: str) -> tuple[str, np.ndarray]:
    found = re.fullmatch(r"(\w+)=(\w+)\[([\d, ]*)\]", text)
    if not found or found[2] not in DTYPES:
        raise InputError(f"--input {text!r}: expected NAME=TYPE[SIZES] with a type of {', '.join(DTYPES)}, as in x=f32[32,64]")
    sizes = [size.strip() for size in found[3].split(",") if size.strip()]
    if not all(size.isdigit() for size in sizes):
        raise InputError(f"--input {text!r}: sizes are integers")
    return found[1], np.zeros(tuple(map(int, sizes)), DTYPES[found[2]])


def _load(path: Path) -> ModuleType:
    """The file, run as a module: what stands below `if __name__ == "__main__"` is not."""
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as for a script
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
