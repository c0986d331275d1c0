"""The lexical half of the parser: a position in a text, names, types, and the values of attributes.

    name  `odd name`  f32[2,3]  -1  1e-05  inf  true  none  "text"  (1, 2)  f32  f32[[1.0], [2.0]]  f32(1.0)  blob c0

Every failure is a ParseError at the place where reading stopped.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphcError, ParseError
from graphc.types import DTYPES, TensorType, TupleType, as_shape

# Possessive quantifiers keep every match linear, whatever the text.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*|`(?:[^`\\\n]|\\.)*+`")
_SPACE = re.compile(r"[ \t\r]*")
_STRING = re.compile(r'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"')
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?(?:inf|nan|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.])")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_FUNCTION = re.compile(r"<[^>\n]*>")
_BLOB = re.compile(r"^[ \t]*blob[ \t]", re.MULTILINE)
_WORDS = {"true": True, "false": False, "none": None}
MAX_RANK = 32
MAX_DEPTH = 32


class Scanner:
    def __init__(self, text: str):
        self.text = text
        self.pos = 0
        self.blobs: dict[str, np.ndarray] = {}

    def fail(self, message: str, pos: int | None = None) -> NoReturn:
        pos = min(self.pos if pos is None else pos, len(self.text))
        line_start = self.text.rfind("\n", 0, pos) + 1
        raise ParseError(message, self.text.count("\n", 0, pos) + 1, pos - line_start + 1)

    # --- moving ---

    def skip(self) -> None:
        """Over blanks within a line."""
        self.pos = _SPACE.match(self.text, self.pos).end()  # type: ignore[union-attr]

    def skip_lines(self) -> None:
        """Over blanks, line ends and comment lines."""
        text = self.text
        while True:
            start = self.pos
            self.skip()
            if text.startswith("\n", self.pos):
                self.pos += 1
            elif text.startswith("#", self.pos):
                self.pos = self.line_end()
            if self.pos == start:
                return

    def line_end(self) -> int:
        end = self.text.find("\n", self.pos)
        return len(self.text) if end < 0 else end

    def peek(self) -> str:
        """The next character of the line; a line end at the end of the text."""
        self.skip()
        return self.text[self.pos : self.pos + 1] or "\n"

    def at_line_end(self) -> bool:
        return self.peek() == "\n"

    def end_of_line(self, what: str) -> None:
        if not self.at_line_end():
            self.fail(f"expected a line end after {what}")

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.pos)
        if found is None:
            return None
        self.pos = found.end()
        return found[0]

    def accept(self, literal: str) -> bool:
        self.skip()
        if not self.text.startswith(literal, self.pos):
            return False
        self.pos += len(literal)
        return True

    def expect(self, literal: str, what: str = "") -> None:
        if not self.accept(literal):
            self.fail(f"expected {what or f'`{literal}`'}")

    def at_word(self, word: str) -> bool:
        self.skip()
        found = _WORD.match(self.text, self.pos)
        return found is not None and found[0] == word

    def accept_word(self, word: str) -> bool:
        if not self.at_word(word):
            return False
        self.pos += len(word)
        return True

    # --- names, types, values ---

    def at_name(self) -> bool:
        self.skip()
        return NAME.match(self.text, self.pos) is not None

    def name(self, what: str) -> str:
        self.skip()
        start = self.pos
        found = self.match(NAME)
        if found is None:
            self.fail(f"expected {what}")
        return self.unescape('"' + found[1:-1] + '"', start) if found[0] == "`" else found

    def string(self) -> str:
        self.skip()
        start = self.pos
        found = self.match(_STRING)
        if found is None:
            self.fail("this string does not end on its line")
        return self.unescape(found, start)

    def unescape(self, quoted: str, start: int) -> str:
        try:
            return json.loads(quoted)
        except ValueError:
            self.fail("a malformed escape or character in quotes (the rules are JSON's)", start)

    def read_type(self) -> TensorType:
        """`f32[2,3]`"""
        self.skip()
        start = self.pos
        word = self.match(_WORD)
        if word not in DTYPES:
            self.fail(f"expected a type, one of {', '.join(DTYPES)} and a shape as in f32[2,3]", start)
        self.expect("[")
        dims: list[int] = []
        while not self.accept("]"):
            if dims:
                self.expect(",", "`,` or `]`")
                self.skip()
            dims.append(self.integer())
        if len(dims) > MAX_RANK:
            self.fail(f"a tensor has at most {MAX_RANK} axes", start)
        try:
            return TensorType(DTYPES[word], as_shape(tuple(dims)))
        except GraphcError as error:
            self.fail(str(error), start)

    def read_types(self) -> TupleType:
        """`(f32[2,3], i32[])`, `(f32[2],)`"""
        found: list[TensorType] = []
        self.expect("(")
        while not self.accept(")"):
            if found:
                self.expect(",", "`,` or `)`")
                if self.accept(")"):
                    break
            found.append(self.read_type())
        return TupleType(tuple(found))

    def integer(self) -> int:
        start = self.pos
        digits = self.match(_INTEGER)
        if digits is None:
            self.fail("expected an integer")
        return self.convert_integer(digits, start)

    def convert_integer(self, digits: str, start: int) -> int:
        try:
            return int(digits)
        except ValueError:  # Python reads no more than 4300 digits
            self.fail("this integer is too long", start)

    def value(self, depth: int = 0) -> Any:
        self.skip()
        start = self.pos
        first = self.text[start : start + 1]
        if depth > MAX_DEPTH:
            self.fail("values are nested too deeply")
        if first == '"':
            return self.string()
        if first == "(":
            return self.read_tuple(depth)
        if first == "<" and (function := self.match(_FUNCTION)):
            self.fail(f"`{function}` is a Python function; a graph that holds one cannot be read from text", start)
        simple = self.number_or_word()
        if not isinstance(simple, str):
            return simple
        if simple in DTYPES:
            following = self.peek()
            return self.array(DTYPES[simple], start) if following in "[(" else DTYPES[simple]
        if simple == "blob":
            name = self.name("the blob's name")
            if name not in self.blobs:
                self.fail(f"there is no blob `{name}`", start)
            return self.blobs[name]
        if simple == "graph":
            return self.nested_graph()
        self.fail("expected a value: a number, true, false, none, a string, a tuple, an element type or an array", start)

    def nested_graph(self) -> Any:
        """What follows the word `graph` in a value."""
        self.fail("a graph cannot stand here")

    def number_or_word(self) -> Any:
        """A number, a boolean or none; any other word, or nothing, as a string."""
        start = self.pos
        number = self.match(_NUMBER)
        if number is not None:
            return self.convert_integer(number, start) if _INTEGER.fullmatch(number) else float(number)
        word = self.match(_WORD) or ""
        return _WORDS.get(word, word)

    def read_tuple(self, depth: int) -> tuple[Any, ...]:
        items: list[Any] = []
        self.expect("(")
        self.skip_lines()
        while not self.accept(")"):
            if items:
                self.expect(",", "`,` or `)`")
                self.skip_lines()
                if self.accept(")"):
                    break
            items.append(self.value(depth + 1))
            self.skip_lines()
        return tuple(items)

    # --- arrays ---

    def array(self, dtype: np.dtype, start: int) -> np.ndarray:
        """What follows the element type: `[[1.0], [2.0]]`, or `(1.0)` for an array without axes."""
        flat: list[Any] = []
        if self.accept("("):
            self.element(dtype, flat)
            self.expect(")")
            shape: tuple[int, ...] = ()
        else:
            shape = self.nested(dtype, flat, 1)
        try:
            with np.errstate(all="ignore"):
                result = np.array(flat, dtype).reshape(shape)
        except (OverflowError, ValueError):
            self.fail(f"a value is out of range for {dtype.name}", start)
        result.setflags(write=False)
        return result

    def nested(self, dtype: np.dtype, flat: list[Any], depth: int) -> tuple[int, ...]:
        """Reads one bracketed list; its elements go to `flat`, its shape is returned."""
        if depth > MAX_RANK:
            self.fail(f"an array has at most {MAX_RANK} axes")
        start = self.pos
        self.expect("[")
        count = 0
        inner: tuple[int, ...] | None = None
        self.skip_lines()
        while not self.accept("]"):
            if count:
                self.expect(",", "`,` or `]`")
                self.skip_lines()
            shape = self.nested(dtype, flat, depth + 1) if self.peek() == "[" else self.element(dtype, flat)
            if inner is not None and shape != inner:
                self.fail("the rows of this array differ in length", start)
            inner = shape
            count += 1
            self.skip_lines()
        return (count, *(inner or ()))

    def element(self, dtype: np.dtype, flat: list[Any]) -> tuple[()]:
        self.skip()
        start = self.pos
        value = self.number_or_word()
        accepted: tuple[type, ...] = {"b": (bool,), "i": (int,), "f": (int, float)}[dtype.kind]
        if not isinstance(value, accepted) or isinstance(value, bool) != (dtype.kind == "b"):
            self.fail(f"expected an element of type {dtype.name}", start)
        flat.append(value)
        return ()

    def find_blobs(self) -> dict[str, np.ndarray]:
        """All `blob c0 = f32[100] "base64"` lines, by name."""
        blobs: dict[str, np.ndarray] = {}
        for found in _BLOB.finditer(self.text):
            self.pos = found.end()
            start = self.pos
            name = self.name("the blob's name")
            if name in blobs:
                self.fail(f"blob `{name}` is defined twice", start)
            self.expect("=")
            type_ = self.read_type()
            self.skip()
            blobs[name] = self.decode(type_, self.string(), start)
            self.end_of_line("the blob")
        self.pos = 0
        return blobs

    def decode(self, type_: TensorType, encoded: str, start: int) -> np.ndarray:
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            self.fail("this is not base64", start)
        if len(data) != type_.nbytes:
            self.fail(f"{type_} has {type_.nbytes} bytes, {len(data)} are given", start)
        if type_.dtype.kind == "b" and data.strip(b"\x00\x01"):
            self.fail("a bool is a byte 0 or 1", start)
        array = np.frombuffer(data, type_.dtype.newbyteorder("<")).astype(type_.dtype).reshape(type_.shape)
        array.setflags(write=False)
        return array
