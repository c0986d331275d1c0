"""`Module`: parameters, buffers and submodules by attribute, and a `forward` that is traced by calling.

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            return x + F.relu(self.fc(x))

Calling a module runs its `forward` on tensors and so builds nodes; their scope is the module's path in the tree it was
registered in (`encoder.0.fc`). Nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from graphc.errors import GraphcError, InputError
from graphc.graph import building
from graphc.nn import statedict
from graphc.nn.describe import describe
from graphc.nn.mode import trace_is_training
from graphc.nn.parameter import UNNAMED, Parameter, numpy_value
from graphc.tensor import State

M = TypeVar("M", bound="Module")


def dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


class Module:
    _training: bool  # the module's own flag
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, State | None]
    _transient: set[str]  # buffers that are not saved
    _modules: dict[str, Module | None]
    _path: str  # where it was registered first; "" for a root

    def __new__(cls, *args: Any, **kwargs: Any) -> Module:
        # here rather than in __init__, so that a subclass that forgets super().__init__() works
        self = super().__new__(cls)
        for name, value in (
            ("_training", True),
            ("_parameters", {}),
            ("_buffers", {}),
            ("_transient", set()),
            ("_modules", {}),
            ("_path", ""),
        ):
            object.__setattr__(self, name, value)
        return self

    def __init__(self) -> None:
        pass

    # --- tracing ---

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define it."""
        raise GraphcError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._path:  # a root adds nothing to the path of its caller
            return self.forward(*args, **kwargs)
        with building(scope=self._path):
            return self.forward(*args, **kwargs)

    @property
    def training(self) -> bool:
        """Whether the module is in training mode: where its own flag, which `train()` and `eval()` set, and the trace's are both
        true. So a `forward` that asks for it is right in `compile`, and inside `evaluating()`."""
        return self._training and trace_is_training()

    @training.setter
    def training(self, mode: bool) -> None:
        object.__setattr__(self, "_training", bool(mode))

    # --- registration ---

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._release(name, self._parameters)
            self._parameters[name] = value
            self._place_state(name, value)
        elif isinstance(value, Module):
            self._release(name, self._modules)
            self._modules[name] = value
            value._place(dotted(self._path, name))
        elif isinstance(value, State):
            persistent = name not in self._transient
            self._release(name, self._buffers)
            self.register_buffer(name, value, persistent)
        elif name in self._parameters or name in self._buffers or name in self._modules:
            kind, registry = next(
                (kind, found)
                for kind, found in (("parameter", self._parameters), ("buffer", self._buffers), ("module", self._modules))
                if name in found
            )
            if value is not None:
                raise InputError(
                    f"{type(self).__name__}.{name} is a {kind}: cannot assign {type(value).__name__}"
                    + ("; use .assign() to change its value" if kind != "module" else "")
                )
            registry[name] = None  # type: ignore[index]
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:  # only where ordinary lookup fails
        if not name.startswith("__"):
            for registry in ("_parameters", "_buffers", "_modules"):
                found = self.__dict__.get(registry, {})
                if name in found:
                    return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if not self._release(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _release(self, name: str, keep: Any = None) -> bool:
        """Forget what a name stands for, except in the registry `keep`, where it has its place in the order."""
        registries: list[dict[str, Any]] = [self._parameters, self._buffers, self._modules]  # type: ignore[list-item]
        known = any(name in registry for registry in registries)
        for registry in (*registries, *([] if known else [self.__dict__])):
            if registry is not keep:
                registry.pop(name, None)
        self._transient.discard(name)
        return known

    def _new_name(self, name: str, what: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise InputError(f"{what}: a name is a non-empty string without '.', not {name!r}")
        if hasattr(self, name) and name not in self._parameters and name not in self._buffers and name not in self._modules:
            raise InputError(f"{what}: {type(self).__name__} already has an attribute {name!r}")

    def _place_state(self, name: str, state: State) -> None:
        if state.name in UNNAMED:
            state.name = dotted(self._path, name)

    def _place(self, path: str) -> None:
        """Name this tree by where it was registered first; names given otherwise stay."""
        if self._path:
            return
        for module, prefix, old in [(m, dotted(path, p), p) for p, m in self.named_modules() if m._path == p]:
            object.__setattr__(module, "_path", prefix)
            for name, state in (*module._parameters.items(), *module._buffers.items()):
                if state is not None and state.name == dotted(old, name):
                    state.name = dotted(prefix, name)

    def detach_path(self) -> None:
        """Make a copy of a registered module the root of its own tree, to be registered anew."""
        old = self._path
        for path, module in self.named_modules():
            object.__setattr__(module, "_path", path)
            for name, state in (*module._parameters.items(), *module._buffers.items()):
                if state is not None and old and state.name == dotted(dotted(old, path), name):
                    state.name = dotted(path, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None reserves the name for an absent one."""
        self._new_name(name, "register_parameter")
        if param is not None and not isinstance(param, Parameter):
            raise InputError(f"register_parameter: {name!r} must be a Parameter or None, not {type(param).__name__}")
        self._release(name, self._parameters)
        self._parameters[name] = param
        if param is not None:
            self._place_state(name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a state that is not trained: an array (copied), a State, or None. Persistent ones are part of the state dict."""
        self._new_name(name, "register_buffer")
        if isinstance(tensor, Parameter):
            raise InputError(f"register_buffer: {name!r} is a Parameter; use register_parameter")
        if tensor is not None and not isinstance(tensor, State):
            tensor = State(numpy_value(tensor, f"register_buffer {name!r}"))
        self._release(name, self._buffers)
        self._buffers[name] = tensor
        if tensor is not None:
            self._place_state(name, tensor)
        if not persistent:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name."""
        self._new_name(name, "add_module")
        if module is not None and not isinstance(module, Module):
            raise InputError(f"add_module: {name!r} must be a Module or None, not {type(module).__name__}")
        self._release(name, self._modules)
        self._modules[name] = module
        if module is not None:
            module._place(dotted(self._path, name))

    register_module = add_module

    # --- walking the tree ---

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths, depth first; a shared one under its first path only."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, dotted(prefix, name), remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def _named_states(self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[State] = set()
        for path, module in self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]:
            for name, state in getattr(module, registry).items():
                if state is not None and not (remove_duplicate and state in seen):
                    seen.add(state)
                    yield dotted(path, name), state

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths; a shared one once."""
        return self._named_states("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, State]]:
        return self._named_states("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[State]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path; this one at ""."""
        found: Module = self
        for name in target.split(".") if target else ():
            module = found._modules.get(name)
            if module is None:
                raise InputError(f"get_submodule: {type(self).__name__} has no module {target!r}")
            found = module
        return found

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- modes ---

    def train(self: M, mode: bool = True) -> M:
        """Set the training flag of this module and all below it."""
        if not isinstance(mode, (bool, np.bool_)):
            raise InputError(f"train: mode must be a bool, not {mode!r}")
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Clear the training flag of this module and all below it."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether steps built from now on train these parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    # --- values ---

    def state_dict(self, *, destination: None = None, prefix: str = "", keep_vars: bool = False) -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers, by path."""
        return statedict.saved(self, destination, prefix, keep_vars)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> statedict.IncompatibleKeys:
        """Overwrite parameters and buffers by path with arrays, torch tensors or DLPack values. All or nothing: where a
        shape or type does not fit, or (if `strict`) a key is missing or unexpected, an error lists every problem and
        nothing has changed."""
        return statedict.load(self, state_dict, strict, assign)

    # --- printing ---

    def extra_repr(self) -> str:
        """The module's own options, for its repr."""
        return ""

    def __repr__(self) -> str:
        return "\n".join(describe(self))
