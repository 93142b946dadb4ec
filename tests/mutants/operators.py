"""The mutants of a module: its source with one small, realistic mistake each.

The mistakes are mutmut's: a number, a comparison or an operator changed, an argument forgotten, a branch never or
always taken. Two are added: a condition negated, and a call whose result is not used left out.
mutmut's own runner is not used: it leaves out module constants, properties and everything else with a decorator, and
writes all mutants of a function into one file, which tests of the source would read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

# Left out: strings, which are messages and names that other tests compare, and None for a value, which ends in a
# TypeError that every test notices. They would raise the score without saying anything about the tests.
OPERATORS = [
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_arg_removal),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
]
# Nothing below these is executed to compute a result: types, imports, messages, and what only stops a wrong program.
SKIPPED = (cst.Annotation, cst.Import, cst.ImportFrom, cst.Raise, cst.Assert, cst.Decorator, cst.FormattedString)


GUARD = "strict=True"


@dataclass(frozen=True, eq=False)
class Mutant:
    """A module with one node changed; `name` says where it is, and is the same in every run on the same source."""

    path: Path
    name: str
    module: cst.Module
    node: cst.CSTNode
    changed: cst.CSTNode

    @cached_property
    def source(self) -> str:
        mutated = self.module.deep_replace(self.node, self.changed)
        assert isinstance(mutated, cst.Module)
        return mutated.code

    def is_valid(self) -> bool:
        """Return whether the source differs, is Python (not each `break` can be a `return`) and keeps its guards.

        `strict=True` of zip is one, as an assertion is: it acts only if something else is wrong.
        """
        try:
            compile(self.source, str(self.path), "exec")
        except SyntaxError:
            return False
        return self.source != self.module.code and self.source.count(GUARD) == self.module.code.count(GUARD)

    def changed_lines(self) -> list[str]:
        """Return the lines that differ, the old ones with `-` before them and the new ones with `+`."""
        before, after = self.module.code.splitlines(), self.source.splitlines()
        lines = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
        return [line for line in lines if not line.startswith("@@")]

    def describe(self) -> str:
        """Return the name and the changed lines."""
        return "\n    ".join([self.name, *self.changed_lines()])


class _Collector(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[int, cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED) or _is_all(node):
            return False
        if isinstance(node, cst.If) and _is_type_checking(node):
            return False
        line = self.get_metadata(PositionProvider, node, CodeRange((0, 0), (0, 0))).start.line
        for changed in _mutate(node):
            self.changes.append((line, node, changed))
        return True


def _is_all(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Assign) and any(
        isinstance(target.target, cst.Name) and target.target.value == "__all__" for target in node.targets
    )


def _is_type_checking(node: cst.If) -> bool:
    return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"


def _mutate(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            yield from (changed for changed in operator(node) if _is_realistic(node, changed))
    if isinstance(node, cst.If | cst.While | cst.CompIf):
        condition = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), condition))
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call):
        yield cst.Pass()


def _is_realistic(before: cst.CSTNode, after: cst.CSTNode) -> bool:
    """Return whether a changed call lacks a keyword or its last argument, or has another name.

    Without an earlier argument, or with None for one, nearly every call is a TypeError, which any test notices.
    """
    if not (isinstance(before, cst.Call) and isinstance(after, cst.Call) and before.func is after.func):
        return True
    if len(before.args) == len(after.args):
        return False
    kept = {id(argument) for argument in after.args}
    index, removed = next((i, argument) for i, argument in enumerate(before.args) if id(argument) not in kept)
    return removed.keyword is not None or index == len(before.args) - 1


def mutants_of(path: Path) -> list[Mutant]:
    """Return all mutants of a file, in the order of its lines."""
    module = cst.parse_module(path.read_text("utf-8"))
    collector = _Collector()
    MetadataWrapper(module, unsafe_skip_copy=True).visit(collector)
    return [
        Mutant(path, f"{path.as_posix()}:{line}#{index}", module, node, changed)
        for index, (line, node, changed) in enumerate(collector.changes)
    ]
