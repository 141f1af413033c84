"""Random schemas, tools and conversations: most are valid, some are invalid, some are adversarial."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]  # Any: JSON

ODD = ("<|im_end|>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "```tool_code\n", "functools[")
FRAGMENTS = (
    "a",
    "b",
    "city",
    "é",
    "a b",
    '"',
    "\\",
    "{",
    "}\n",
    "\u2028",
    "\x00",
    "\x7f",
    "😀",
    "e\u0301",
    "</s>",
    *ODD,
)
KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")
NAMES = ("a", "b", "c d", "é", '"q"', "$ref", "", "class")
PATTERNS = ("^[a-z]{1,4}$", "x", "^(a|b)*c$", r"^\d{2}-\w+$", "^.{0,5}$", "(?=a)", "[", r"^\p{Lu}$", "^a$|^b", "")
FORMATS = ("date", "time", "date-time", "email", "ipv4", "ipv6", "uri", "uuid", "duration", "hostname", "int32", "x")
REFERENCES = ("#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/$defs/none", "#x", "other.json")

texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=4).map("".join)
values: Strategy = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
counts = st.integers(0, 4)
numbers = st.integers(-20, 20) | st.sampled_from([0.5, -1.25, 1e-7, 10**17, 1e300])


def _keywords(inner: Strategy) -> dict[str, Strategy]:
    several = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True),
        "enum": st.lists(values, min_size=1, max_size=3),
        "const": values,
        "minLength": counts,
        "maxLength": counts.map(lambda count: count + 4),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(FORMATS),
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "multipleOf": st.sampled_from([1, 2, 5, 0.1, 0.25]),
        "items": inner,
        "prefixItems": several,
        "minItems": counts,
        "maxItems": counts,
        "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        "required": st.lists(st.sampled_from(NAMES[:3]), max_size=2, unique=True),
        "additionalProperties": inner,
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS[:3]), inner, max_size=1),
        "minProperties": counts,
        "anyOf": several,
        "oneOf": several,
        "allOf": several,
        "$ref": st.sampled_from(REFERENCES),
        "description": texts,
        "default": values,
        "uniqueItems": st.booleans(),
        "not": inner,
        "if": inner,
        "unevaluatedProperties": st.just(False),
        "nullable": st.booleans(),
        "x-note": values,
        "maxProperties": counts,
        "contains": inner,
        "propertyNames": inner,
        "dependentRequired": st.dictionaries(
            st.sampled_from(NAMES[:3]), st.lists(st.sampled_from(NAMES[:3]), max_size=2, unique=True), max_size=2
        ),
        "dependentSchemas": st.dictionaries(st.sampled_from(NAMES[:3]), inner, max_size=2),
        "then": inner,
        "else": inner,
    }


def _schemas_of(inner: Strategy) -> Strategy:
    """Schemas of random keywords, of which some belong together."""
    known = _keywords(inner)
    usual = list(known)[:25]
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": known["properties"]},
        optional={name: known[name] for name in ("required", "additionalProperties", "description")},
    )
    arrays = st.fixed_dictionaries(
        {"type": st.just("array"), "items": inner}, optional={name: known[name] for name in ("minItems", "maxItems")}
    )
    one = st.sampled_from(usual).flatmap(lambda name: st.fixed_dictionaries({name: known[name]}))
    mixed = st.lists(st.sampled_from(list(known)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: known[name] for name in names})
    )
    return objects | arrays | one | mixed


leaves: Strategy = st.booleans() | st.sampled_from(KINDS).map(lambda kind: {"type": kind}) | _schemas_of(st.just(True))
parts: Strategy = st.recursive(leaves, _schemas_of, max_leaves=5)


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """A schema, or invalid JSON in its place."""
    schema = draw(parts)
    if isinstance(schema, dict) and draw(st.booleans()):
        schema = {**schema, "$defs": {"a": draw(parts), "b": draw(parts)}}
    return schema


# --- requests ---

good_names = st.sampled_from(["get", "get.it", "a-b_c", "b", "x" * 64])
tool_names = st.integers(0, 19).flatmap(
    lambda chance: good_names if chance else st.sampled_from(["x" * 65, "", "two words", "é", "a\n"])
)
parameters: Strategy = (
    st.none()
    | st.just({})
    | schemas().filter(lambda schema: isinstance(schema, dict))
    | schemas().map(lambda schema: {"type": "object", "properties": {"a": schema, "b": {"type": "boolean"}}})
)


def functions(*, strict: bool) -> Strategy:
    """Functions. If they are not strict, an answer may violate a keyword that is only checked, which is an error."""
    return st.fixed_dictionaries(
        {"name": tool_names, "strict": st.just(strict)}, optional={"description": texts, "parameters": parameters}
    )


def choices(names: list[str]) -> Strategy:
    """A tool choice, in every notation, sometimes of a tool that does not exist."""
    name = st.sampled_from([*names * 5, "other"])
    modes = st.sampled_from(["auto", "none", "required", "any"])
    allowed = st.lists(
        name.map(lambda one: {"type": "function", "function": {"name": one}})
        | name.map(lambda one: {"type": "function", "name": one}),
        max_size=3,
    )
    return (
        modes
        | name.map(lambda one: {"type": "function", "function": {"name": one}})
        | name.map(lambda one: {"type": "function", "name": one})
        | modes.map(lambda mode: {"type": mode})
        | st.builds(
            lambda mode, tools: {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}},
            modes,
            allowed,
        )
        | st.builds(lambda mode, tools: {"type": "allowed_tools", "mode": mode, "tools": tools}, modes, allowed)
    )


@st.composite
def tools_sent(draw: st.DrawFn, *, strict: bool = True) -> dict[str, Any]:
    """The fields of a request with tools and a tool choice: the current ones, or the deprecated ones."""
    has_duplicates = draw(st.integers(0, 19)) == 0
    functions_sent = draw(
        st.lists(
            functions(strict=strict),
            min_size=1,
            max_size=3,
            unique_by=None if has_duplicates else lambda function: function["name"],
        )
    )
    names = [function["name"] for function in functions_sent]
    if draw(st.integers(0, 3)) == 0:
        choice = draw(st.none() | st.sampled_from(["auto", "none"]) | st.sampled_from(names).map(lambda n: {"name": n}))
        return {"functions": functions_sent} | ({} if choice is None else {"function_call": choice})
    fields: dict[str, Any] = {"tools": [{"type": "function", "function": function} for function in functions_sent]}
    if draw(st.booleans()):
        fields["parallel_tool_calls"] = draw(st.booleans())
    choice = draw(st.none() | choices(names))
    return fields if choice is None else fields | {"tool_choice": choice}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages that end with a user message, sometimes with a call and its result before it."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    if draw(st.integers(0, 3)) == 0:
        call = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
        messages += [
            {"role": "user", "content": draw(texts)},
            {"role": "assistant", "content": draw(st.none() | texts), "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": draw(texts)},
        ]
    return [*messages, {"role": "user", "content": draw(texts)}]
