"""Quasi-affine index expressions: how a kernel finds an element.

    const + sum of coefficient * atom,   atom = axis | floor(e / d) | e mod d

Built only through `Index` arithmetic, which keeps them in a normal form: divisible parts leave quotients and remainders, bounds
decide what they can, and c*d*floor(e/d) + c*(e mod d) folds back to c*e. So a reshape of a contiguous buffer costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Axis:
    """Loop variable `number`, running over 0 <= a < extent."""

    number: int
    extent: int

    def __str__(self) -> str:
        return f"a{self.number}"


@dataclass(frozen=True, slots=True)
class Quotient:
    of: Index
    by: int

    def __str__(self) -> str:
        return f"({self.of})//{self.by}"


@dataclass(frozen=True, slots=True)
class Remainder:
    of: Index
    by: int

    def __str__(self) -> str:
        return f"({self.of})%{self.by}"


Atom = Axis | Quotient | Remainder


@dataclass(frozen=True, slots=True)
class Index:
    terms: tuple[tuple[Atom, int], ...] = ()
    const: int = 0

    @staticmethod
    def axis(number: int, extent: int) -> Index:
        # An axis of one element is always at 0.
        return Index() if extent == 1 else Index(((Axis(number, extent), 1),))

    def __str__(self) -> str:
        parts = [str(atom) if coef == 1 else f"{coef}*{atom}" for atom, coef in self.terms]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.const + other) if other else self
        if not other.terms:
            return self + other.const
        coefs = dict(self.terms)
        for atom, coef in other.terms:
            coefs[atom] = coefs.get(atom, 0) + coef
        return _normal(coefs, self.const + other.const)

    def __mul__(self, factor: int) -> Index:
        if factor == 1:
            return self
        if factor == 0:
            return Index()
        return Index(tuple((atom, coef * factor) for atom, coef in self.terms), self.const * factor)

    __rmul__ = __mul__

    def __sub__(self, other: Index | int) -> Index:
        return self + (-other if isinstance(other, int) else other * -1)

    def __floordiv__(self, by: int) -> Index:
        if by == 1:
            return self
        whole, rest = self._split(by)
        low, high = rest.bounds()
        if low // by == high // by:
            return whole + low // by
        return whole + Index(((Quotient(rest, by), 1),))

    def __mod__(self, by: int) -> Index:
        if by == 1:
            return Index()
        _, rest = self._split(by)
        low, high = rest.bounds()
        if low // by == high // by:
            return rest - low // by * by
        return Index(((Remainder(rest, by), 1),))

    def _split(self, by: int) -> tuple[Index, Index]:
        """(whole, rest) with self == by * whole + rest, where rest keeps only coefficients that `by` does not divide."""
        whole = Index(tuple((atom, coef // by) for atom, coef in self.terms if coef % by == 0), self.const // by)
        rest = Index(tuple((atom, coef) for atom, coef in self.terms if coef % by), self.const % by)
        return whole, rest

    def bounds(self) -> tuple[int, int]:
        """Least and greatest value, inclusive; of an empty axis, the value at 0."""
        return _bounds(self)

    @property
    def is_constant(self) -> bool:
        return not self.terms

    @property
    def is_affine(self) -> bool:
        """Whether no quotient or remainder is left."""
        return all(isinstance(atom, Axis) for atom, _ in self.terms)

    def coefficient(self, axis: int) -> int:
        """The stride along an axis, of the affine part."""
        return next((coef for atom, coef in self.terms if isinstance(atom, Axis) and atom.number == axis), 0)

    def axes(self) -> set[int]:
        """Numbers of all axes that the value depends on."""
        found: set[int] = set()
        for atom, _ in self.terms:
            found |= {atom.number} if isinstance(atom, Axis) else atom.of.axes()
        return found

    def stride(self, axis: int) -> int | None:
        """How far one step along `axis` moves the value; None where that is not one constant."""
        if any(not isinstance(atom, Axis) and axis in atom.of.axes() for atom, _ in self.terms):
            return None
        return self.coefficient(axis)

    def substitute(self, values: Mapping[int, Index]) -> Index:
        """This expression with axes replaced by expressions."""
        total = Index((), self.const)
        for atom, coef in self.terms:
            if isinstance(atom, Axis):
                value = values.get(atom.number)
                total += (Index(((atom, 1),)) if value is None else value) * coef
            elif isinstance(atom, Quotient):
                total += atom.of.substitute(values) // atom.by * coef
            else:
                total += atom.of.substitute(values) % atom.by * coef
        return total


def _number(term: tuple[Any, int]) -> int:
    return term[0].number


@lru_cache(maxsize=65536)
def _key(atom: Atom) -> tuple[int, str]:
    return (0, f"{atom.number:08d}") if isinstance(atom, Axis) else (1, str(atom))


@lru_cache(maxsize=65536)
def _bounds(index: Index) -> tuple[int, int]:
    low = high = index.const
    for atom, coef in index.terms:
        if isinstance(atom, Axis):
            span = (0, max(atom.extent - 1, 0))
        elif isinstance(atom, Quotient):
            inner = atom.of.bounds()
            span = (inner[0] // atom.by, inner[1] // atom.by)
        else:
            span = (0, atom.by - 1)
        low += min(span[0] * coef, span[1] * coef)
        high += max(span[0] * coef, span[1] * coef)
    return low, high


def _normal(coefs: dict[Atom, int], const: int) -> Index:
    """Drop zero terms, fold quotient-remainder pairs back together, and sort."""
    if all(type(atom) is Axis for atom in coefs):
        affine = [term for term in coefs.items() if term[1]]
        if len(affine) > 1:
            affine.sort(key=_number)
        return Index(tuple(affine), const)
    for atom, coef in list(coefs.items()):
        if isinstance(atom, Remainder) and coef:
            partner = Quotient(atom.of, atom.by)
            if coefs.get(partner) == coef * atom.by:
                del coefs[partner]
                del coefs[atom]
                return _normal(coefs, const) + atom.of * coef
    terms = [(atom, coef) for atom, coef in coefs.items() if coef]
    terms.sort(key=lambda term: _key(term[0]))
    return Index(tuple(terms), const)


@dataclass(frozen=True, slots=True)
class Range:
    """The condition low <= index < high."""

    index: Index
    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} <= {self.index} < {self.high}"

    def known(self) -> bool | None:
        """True or False where bounds decide it, else None."""
        low, high = self.index.bounds()
        if self.low <= low and high < self.high:
            return True
        if high < self.low or self.high <= low:
            return False
        return None


Where = tuple[Range, ...]  # a conjunction


def known_under(index: Index, where: Where) -> Index:
    """The index where a conjunction holds: a quotient or remainder that it fixes to one value is that value."""
    fixed: dict[Atom, int] = {}
    for condition in where:
        atoms = condition.index.terms
        if condition.high == condition.low + 1 and len(atoms) == 1 and atoms[0][1] == 1 and not isinstance(atoms[0][0], Axis):
            fixed[atoms[0][0]] = condition.low - condition.index.const
    rest = tuple((atom, coef) for atom, coef in index.terms if atom not in fixed)
    known = sum(coef * fixed[atom] for atom, coef in index.terms if atom in fixed)
    return Index(rest, index.const + known) if fixed else index


@dataclass(frozen=True, slots=True)
class Piece:
    """One source of a view's elements: where `where` holds, the element at `index` of operand `operand`. Pieces of one view
    exclude each other; where none holds, the element is the view's attribute `value`."""

    operand: int
    index: tuple[Index, ...]
    where: Where = ()


def axes_of(shape: Sequence[int], first: int = 0) -> tuple[Index, ...]:
    """One axis for each size, numbered from `first`."""
    return _axes(tuple(shape), first)


@lru_cache(maxsize=4096)
def _axes(shape: tuple[int, ...], first: int) -> tuple[Index, ...]:
    return tuple(Index.axis(first + i, extent) for i, extent in enumerate(shape))


def flatten(index: Sequence[Index], strides: Sequence[int]) -> Index:
    """The flat offset of an element."""
    total = None
    for one, stride in zip(index, strides, strict=True):
        total = one * stride if total is None else total + one * stride
    return Index() if total is None else total


def unflatten(flat: Index, shape: Sequence[int]) -> tuple[Index, ...]:
    """The row-major coordinates of a flat position in `shape`."""
    result: list[Index] = []
    for size in reversed(shape[1:]):
        result.append(flat % size if size else Index())
        flat = flat // size if size else Index()
    return (flat, *reversed(result)) if shape else ()
