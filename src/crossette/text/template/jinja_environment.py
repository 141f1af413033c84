"""The Jinja environment of chat templates: settings, filters and tags as in transformers, in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


def environment() -> ImmutableSandboxedEnvironment:
    """Create an environment for untrusted templates."""
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    jinja.filters["tojson"] = _to_json
    jinja.globals["raise_exception"] = _raise
    return jinja


def variables_of(source: str) -> frozenset[str]:
    """The variables that a template uses. Raises TemplateError for an invalid template."""
    jinja = environment()
    return frozenset(meta.find_undeclared_variables(jinja.parse(source)) - jinja.globals.keys())


def roles_of(source: str) -> frozenset[str]:
    """The texts with which a template compares the role of a message. Raises TemplateError for an invalid template."""
    compared = (
        node for node in environment().parse(source).find_all(nodes.Compare) if any(map(_is_role, _parts(node)))
    )
    texts = (part.value for node in compared for part in _parts(node) if isinstance(part, nodes.Const))
    return frozenset(text for text in texts if isinstance(text, str))


def _parts(compare: nodes.Compare) -> Iterator[nodes.Expr]:
    """Both sides of a comparison; the items of a list."""
    for side in (compare.expr, *(operand.expr for operand in compare.ops)):
        yield from side.items if isinstance(side, nodes.List | nodes.Tuple) else (side,)


def _is_role(node: nodes.Expr) -> bool:
    match node:
        case nodes.Getattr(attr="role") | nodes.Getitem(arg=nodes.Const(value="role")) | nodes.Name(name="role"):
            return True
        case nodes.Filter(node=nodes.Expr() as filtered):
            return _is_role(filtered)
        case _:
            return False


class _Generation(Extension):
    """The tag `{% generation %}`, which marks the assistant's text for training. In a prompt it renders its body."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it without ClassVar

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it: not escaped for HTML, unlike Jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)
