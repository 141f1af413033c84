"""A program for the layers of a decoder: instructions of crossette's kernels that compute what nodes of a graph do.

Instructions are in the order in which their results are needed. Each result has a register, with a row of floats for
each token; registers whose results are not read any more are used again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Node = Any  # ov.Node: the package has no stubs for it
Output = Any  # ov.Output


class Code(IntEnum):
    """The kinds of instructions, as native/program.hpp reads them."""

    MULTIPLY = 0
    NORMALISE = 1
    ADD = 2
    ADD_BIAS = 3
    SCALE = 4
    SLICE = 5
    ROTATE = 6
    GATE = 7
    ATTEND = 8
    ADAPT = 9
    SCALE_ROWS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An input or a result: so many numbers for each token."""

    width: int


@dataclass(frozen=True, slots=True)
class Constants:
    """Constants of the graph, of which the first one is an operand."""

    outputs: tuple[Output, ...]


Operand = Value | Constants | int


@dataclass(slots=True)
class Program:
    inputs: dict[Value, Output] = field(default_factory=dict)
    """What it reads of the graph; the first one is the residual stream."""
    instructions: list[tuple[Code, tuple[Operand, ...]]] = field(default_factory=list)

    def add_input(self, output: Output, width: int) -> Value:
        value = Value(width)
        self.inputs[value] = output
        return value

    def add(self, code: Code, *operands: Operand) -> None:
        self.instructions.append((code, operands))

    def encode(self, result: Value, tables: int, first_constant: int) -> tuple[list[int], list[Output]]:
        """The program as numbers, and its constants, which are inputs of the node from `first_constant` on.

        `result` is the value that leaves it, and `tables` is the number of kinds of block tables.
        """
        registers = _Registers(self, result)
        constants: list[Output] = []
        numbers: list[int] = []
        for index, (code, operands) in enumerate(self.instructions):
            numbers.append(code)
            for operand in operands:
                if isinstance(operand, Constants):
                    numbers.append(first_constant + len(constants))
                    constants += operand.outputs
                else:
                    numbers.append(registers.of(operand) if isinstance(operand, Value) else operand)
            registers.end(index)
        last = len(registers.widths)
        numbers = [last if number == _RESULT else number for number in numbers]
        return [len(self.inputs), tables, last + 1, *registers.widths, result.width, *numbers], constants


_RESULT = -1
"""Stands for the last register until their number is known."""


class _Registers:
    """Gives each value a register from its first use to its last one."""

    def __init__(self, program: Program, result: Value) -> None:
        self.widths = [value.width for value in program.inputs]
        self._places = {value: number for number, value in enumerate(program.inputs)}
        self._places[result] = _RESULT
        self._free: dict[int, list[int]] = {}
        self._ends: dict[int, list[Value]] = {}
        last = {
            operand: index
            for index, (_, operands) in enumerate(program.instructions)
            for operand in operands
            if isinstance(operand, Value)
        }
        for value, index in last.items():
            if value not in self._places:
                self._ends.setdefault(index, []).append(value)

    def of(self, value: Value) -> int:
        if value not in self._places:
            free = self._free.get(value.width)
            self._places[value] = free.pop() if free else self._new(value.width)
        return self._places[value]

    def end(self, index: int) -> None:
        """Free the registers of values that no later instruction reads."""
        for value in self._ends.get(index, ()):
            self._free.setdefault(value.width, []).append(self._places[value])

    def _new(self, width: int) -> int:
        self.widths.append(width)
        return len(self.widths) - 1
