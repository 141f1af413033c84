"""Tool choice as a grammar: generated texts contain only allowed calls, and can be parsed."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest, Unsupported
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.text.json_reader import JsonScanner
from crossette.text.output import OutputParser
from crossette.text.pieces import Content, Piece, ToolCallArguments, ToolCallStart
from crossette.text.reasoning import HARMONY, THINK, Thinking
from crossette.text.template.chat_template import ChatTemplate, TemplateOptions
from crossette.text.template.messages import Arguments
from crossette.text.tool_calls.families import FORMATS, HERMES, tool_use
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.grammar import tool_grammar
from crossette.text.tool_calls.prompt import with_tools
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import Constraint
from support.schema_walks import accepts
from support.template_corpus import published

END = 257
ENDING = {END, 258, *b'"})]'}
"""Tokens that close a string, an array or an object, or end the text."""
WEATHER = Tool(
    "get_weather",
    "The weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 6},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "hourly": {"type": "boolean"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "maxItems": 2},
        },
        "required": ["city"],
        "$defs": {"Part": {"enum": ["wind", "rain"]}},
    },
)
OPTIONAL = Tool("get", "", {"properties": {"a": {"enum": [1, 2]}, "b": {"type": "null"}, "c": {"type": "boolean"}}})
NOW = Tool("now")
TOOLS = [WEATHER, OPTIONAL, NOW]

every_format = pytest.mark.parametrize("tool_format", FORMATS.values(), ids=FORMATS)
as_tokens_or_text = pytest.mark.parametrize("are_tokens", [False, True], ids=["text", "tokens"])


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {END})


class Vocabulary:
    """Two control tokens of the fake tokenizer, as the first and the last marker of a format."""

    def __init__(self, tool_format: ToolFormat, are_tokens: bool) -> None:
        markers = tool_format.markers if are_tokens else ()
        self.ids = dict(zip([*markers[:1], *markers[1:][-1:]], (256, 258), strict=False))

    def marker(self, text: str) -> int | None:
        return self.ids.get(text)

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = []
        while text:
            found = next((tag for tag in self.ids if text.startswith(tag)), None)
            tokens += [self.ids[found]] if found else text[0].encode()
            text = text[len(found) if found else 1 :]
        return tokens

    def decode(self, tokens: list[int]) -> str:
        names = {token: tag.encode() for tag, token in self.ids.items()}
        return b"".join(names.get(token) or bytes((token,)) for token in tokens).decode("utf-8", "replace")


def walk(
    compiler: GrammarCompiler,
    grammar: str,
    vocabulary: Vocabulary,
    rng: random.Random,
    *,
    script: str = "",
    **more: str,
) -> str:
    """A text of the grammar: the script as far as it is allowed, then random tokens that end soon."""
    matcher = compiler.matcher(Constraint("lark", grammar, **more))
    output: list[int] = []
    script_tokens = iter(vocabulary.encode(script))
    while not matcher.is_over:
        allowed = [int(token) for token in matcher.allowed().nonzero()[0]]
        token = next(script_tokens, None)
        if token not in allowed:
            script_tokens = iter(())
            ending = [token for token in allowed if token in ENDING] if rng.random() < 0.3 else []
            token = rng.choice(ending or [token for token in allowed if 32 <= token < 127] or allowed)
        if token == END:
            break
        output.append(token)
        matcher.accept_token(token)
    return vocabulary.decode(output)


def parsed(tool_format: ToolFormat, text: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The content and the calls, whose arguments must be JSON of their schemas."""
    parser = OutputParser(HARMONY if tool_format.name == "harmony" else None, tool_format)
    pieces: list[Piece] = [*parser.push(text), *parser.flush()]
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    names = [piece.name for piece in pieces if isinstance(piece, ToolCallStart)]
    calls = []
    for index, name in enumerate(names):
        arguments = "".join(p.text for p in pieces if isinstance(p, ToolCallArguments) and p.index == index)
        (tool,) = (tool for tool in TOOLS if tool.name == name)
        validator = tool.argument_format().validator
        assert validator is not None
        assert validator.fault(arguments) is None
        calls.append((name, json.loads(arguments)))
    return content, calls


def opening(tool_format: ToolFormat) -> str:
    """The unambiguous beginning of a call."""
    return tool_format.begin + tool_format.before_name + "now" + tool_format.before_arguments


@every_format
@as_tokens_or_text
@pytest.mark.parametrize("parallel", [True, False])
def test_required_generates_only_calls(
    compiler: GrammarCompiler, tool_format: ToolFormat, are_tokens: bool, parallel: bool
) -> None:
    vocabulary = Vocabulary(tool_format, are_tokens)
    grammar = tool_grammar(tool_format, TOOLS, ToolChoice("required", parallel=parallel), vocabulary.marker)

    nums = set()
    for seed in range(12):
        content, calls = parsed(tool_format, walk(compiler, grammar, vocabulary, random.Random(seed)))
        assert content == ""
        assert calls
        nums.add(len(calls))
    if tool_format.one_call or not parallel:
        assert nums == {1}


@every_format
def test_only_the_named_tool_is_called(compiler: GrammarCompiler, tool_format: ToolFormat) -> None:
    vocabulary = Vocabulary(tool_format, False)
    grammar = tool_grammar(tool_format, TOOLS, ToolChoice("required", names=("get",)), vocabulary.marker)

    for seed in range(8):
        _, calls = parsed(tool_format, walk(compiler, grammar, vocabulary, random.Random(seed)))
        assert {name for name, _ in calls} == {"get"}


@every_format
@as_tokens_or_text
def test_auto_is_unconstrained_until_a_call_begins(
    compiler: GrammarCompiler, tool_format: ToolFormat, are_tokens: bool
) -> None:
    vocabulary = Vocabulary(tool_format, are_tokens)
    grammar = tool_grammar(tool_format, TOOLS, ToolChoice("auto"), vocabulary.marker)
    text_before = "" if tool_format.bare or tool_format.before_text else "Let me see.\n"

    for seed in range(8):
        text = walk(compiler, grammar, vocabulary, random.Random(seed), script=text_before + opening(tool_format))
        content, calls = parsed(tool_format, text)
        assert content == text_before.strip()
        assert calls

    script = f"{tool_format.before_text}Just <words>, [1] and {{2}}."
    text = walk(compiler, grammar, vocabulary, random.Random(1), script=script)
    assert text.startswith(script)


@every_format
@as_tokens_or_text
def test_none_never_allows_a_call(compiler: GrammarCompiler, tool_format: ToolFormat, are_tokens: bool) -> None:
    vocabulary = Vocabulary(tool_format, are_tokens)
    grammar = tool_grammar(tool_format, TOOLS, ToolChoice("none"), vocabulary.marker)
    call = tool_format.render([("now", "{}")])

    for script in (call, f"{tool_format.before_text}{call}"):
        text = walk(compiler, grammar, vocabulary, random.Random(2), script=script)
        assert not text.startswith(script)
        assert parsed(tool_format, text)[1] == []


@every_format
def test_rendered_calls_are_parsed_and_allowed_by_the_grammar(
    compiler: GrammarCompiler, tool_format: ToolFormat
) -> None:
    expected = [("get_weather", {"city": "Bern", "days": 2}), ("now", {})][: 1 if tool_format.one_call else 2]
    text = tool_format.render([(name, json.dumps(arguments)) for name, arguments in expected])

    assert parsed(tool_format, text) == ("", expected)
    rendered = replace_quotes(text) if tool_format.before_arguments == "(" else text
    vocabulary = Vocabulary(tool_format, False)
    grammar = tool_grammar(tool_format, TOOLS, ToolChoice("auto"), vocabulary.marker)
    assert walk(compiler, grammar, vocabulary, random.Random(0), script=rendered).startswith(rendered)


def replace_quotes(text: str) -> str:
    """Python strings in JSON notation, which the grammar requires."""
    return text.replace("'", '"')


def test_a_call_within_reasoning_is_ignored_and_reasoning_precedes_required_calls(compiler: GrammarCompiler) -> None:
    vocabulary = Vocabulary(HERMES, False)
    preamble = THINK.preamble(vocabulary.marker, Thinking(), is_open=False, to_content=False)
    call = HERMES.render([("now", "{}")])

    for mode in ("auto", "required"):
        choice = ToolChoice(mode, parallel=False)
        grammar = tool_grammar(HERMES, TOOLS, choice, vocabulary.marker, (THINK.begin,))
        script = f"<think>\nI could say {call} here.</think>\n\n{call}"
        text = walk(compiler, grammar, vocabulary, random.Random(0), script=script, preamble=preamble)
        assert text == script
        parser = OutputParser(THINK, HERMES)
        assert [piece for piece in parser.push(text) if isinstance(piece, ToolCallStart)] == [ToolCallStart(0, "now")]


def test_a_schema_that_cannot_be_enforced_is_rejected_by_pointer() -> None:
    unique = {"type": "array", "uniqueItems": True}
    tool = Tool("f", "", {"properties": {"a": unique}}, param="tools[3].function.parameters", strict=True)

    with pytest.raises(InvalidRequest, match="/properties/a") as raised:
        tool_grammar(HERMES, [tool], ToolChoice(), lambda text: None)
    assert raised.value.param == "tools[3].function.parameters"


UNIQUE: dict[str, Any] = {"properties": {"a": {"type": "array", "uniqueItems": True}, "b": {"format": "regex"}}}


def test_the_keywords_that_are_only_checked_have_their_tool() -> None:
    tools = [Tool(name, parameters=UNIQUE, param=name) for name in ("f", "g")]

    assert ToolSet.of(HERMES, tools, ToolChoice(names=("g",))).checked == (
        "g/properties/a/uniqueItems",
        "g/properties/b/format",
    )
    assert ToolSet.of(HERMES, tools, ToolChoice("none")).checked == ()


def test_the_faults_of_all_tools_are_one_error() -> None:
    tools = [Tool(f"f{n}", parameters=UNIQUE, param=f"tools[{n}].function.parameters", strict=n > 0) for n in range(3)]

    with pytest.raises(InvalidRequest) as raised:
        ToolSet.of(HERMES, tools, ToolChoice())

    assert raised.value.param == "tools[1].function.parameters"
    for fault in (
        "'f1', tools[1].function.parameters: 'uniqueItems' at",
        "'f2', tools[2].function.parameters: 'format'",
    ):
        assert fault in raised.value.message
    assert "f0" not in raised.value.message


def test_faults_of_all_kinds_are_one_error() -> None:
    never = {
        "type": "object",
        "properties": {"a": {"allOf": [{"type": "null"}, {"type": "string"}]}},
        "required": ["a"],
    }
    names: dict[str, Any] = {"allOf": [{"patternProperties": {name: {}}} for name in ("a", "b")]}
    schemas: list[dict[str, Any]] = [{"properties": []}, {"type": "array"}, never, names, UNIQUE]
    tools = [Tool(f"f{n}", parameters=one, param=f"tools[{n}]", strict=True) for n, one in enumerate(schemas)]

    with pytest.raises(InvalidRequest) as raised:
        ToolSet.of(HERMES, tools, ToolChoice())

    assert raised.value.param == "tools[0]"
    for fault in (
        "'f0', tools[0]: it is not a valid JSON schema: at '/properties'",
        "'f1', tools[1]: the parameters of a function are an object",
        "'f2', tools[2]: the schema at '/properties/a': no value matches it.",
        "'f3', tools[3]: the schema at '/allOf/1': a name may match two of its patterns",
        "'f4', tools[4]: 'uniqueItems' at",
    ):
        assert fault in raised.value.message


def test_an_error_has_the_first_twenty_faults_of_tools() -> None:
    tools = [Tool(f"f{n}", parameters=UNIQUE, param=f"p{n}", strict=True) for n in range(15)]

    with pytest.raises(InvalidRequest, match=r"There are 10 more\.") as raised:
        ToolSet.of(HERMES, tools, ToolChoice())

    assert raised.value.message.count(" at '/properties") == 20


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "allOf": [{"patternProperties": {"^a": {"type": "string"}}}]},
        {"type": "object", "properties": {"a b": {}}},
    ],
)
def test_parameters_that_keyword_arguments_cannot_express_are_rejected(parameters: Any) -> None:
    tool = Tool("f", "", parameters)

    with pytest.raises(Unsupported, match="'f' are more than named properties"):
        tool_grammar(FORMATS["llama-pythonic"], [tool], ToolChoice(), lambda text: None)


WHERE = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"]}
SHAPED: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"allOf": [WHERE, {"properties": {"days": {"type": "integer"}, "city": {"minLength": 2}}}]},
        ['[f(city="Rome")]', '[f(city="Rome", days=3)]'],
        ['[f(city="R")]', "[f(days=3)]", '[f(city="Rome", town="Rome")]'],
    ),
    (
        {"anyOf": [WHERE, {"properties": {"zip": {"type": "integer"}}, "required": ["zip"]}]},
        ['[f(city="Rome")]', "[f(zip=80331)]"],
        ["[f()]", '[f(city="Rome", zip=80331)]'],
    ),
    (
        {
            "properties": {"a": {"type": "boolean"}, "b": {"type": "integer"}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        ["[f(a=True)]", "[f(b=1)]", "[f(a=False, b=1)]"],
        ["[f()]"],
    ),
    (
        {"$ref": "#/$defs/where", "properties": {"own": {"type": "null"}}, "$defs": {"where": WHERE}},
        ['[f(city="Rome")]', '[f(city="Rome", own=null)]'],
        ["[f(own=null)]"],
    ),
    (
        {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "dependentRequired": {"a": ["b"]}},
        ["[f()]", "[f(b=1)]", "[f(a=1, b=1)]"],
        ["[f(a=1)]"],
    ),
]


@pytest.mark.parametrize(("parameters", "allowed", "forbidden"), SHAPED)
def test_keyword_arguments_may_have_several_shapes(
    compiler: GrammarCompiler, parameters: dict[str, Any], allowed: list[str], forbidden: list[str]
) -> None:
    tool = Tool("f", "", {"type": "object", **parameters}, strict=True)
    source = tool_grammar(FORMATS["llama-pythonic"], [tool], ToolChoice("required"), lambda text: None)

    def accepts_call(text: str) -> bool:
        return accepts(compiler.matcher(Constraint("lark", source)), text)

    assert [text for text in allowed if not accepts_call(text)] == []
    assert [text for text in forbidden if accepts_call(text)] == []


# --- detection of the format ---


@pytest.mark.parametrize(
    ("template", "name", "is_listed"),
    [
        ("Qwen-Qwen3-0.6B", "hermes", True),
        ("Qwen-Qwen2.5-7B-Instruct", "hermes", True),
        ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes", True),
        ("meta-llama-Llama-3.1-8B-Instruct", "llama3-json", True),
        ("meta-llama-Llama-3.2-3B-Instruct", "llama3-json", True),
        ("mistralai-Mistral-Nemo-Instruct-2407", "mistral", True),
        ("Mistral-Small-3.2-24B-Instruct-2506", "mistral-named", True),
        ("unsloth-mistral-Devstral-Small-2507", "mistral-named", True),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-v3", False),
        ("llama-cpp-deepseek-r1", "deepseek-v3", True),
        ("ibm-granite-granite-3.3-2B-Instruct", "granite", True),
        ("openai-gpt-oss-120b", "harmony", True),
        ("moonshotai-Kimi-K2", "kimi", True),
        ("meetkai-functionary-medium-v3.1", "functionary-v3.1", True),
        ("fireworks-ai-llama-3-firefunction-v2", "firefunction", False),
        ("google-gemma-2-2b-it", "hermes", False),
        ("phi-4", "hermes", False),
        ("CohereForAI-c4ai-command-r-plus-tool_use", "hermes", False),  # it lists tools, for an unknown format
    ],
)
def test_a_published_template_identifies_its_family(template: str, name: str, is_listed: bool) -> None:
    use = tool_use(published()[template].source)

    assert (use.format.name, use.is_listed) == (name, is_listed)


MINJA_ONLY = ("llama-cpp-deepseek-r1",)
"""It serializes a generator to JSON, which Jinja in Python cannot."""
WRITING_CALLS = [
    name
    for name, known in published().items()
    if "tool_calls" in known.source and tool_use(known.source).is_listed and name not in MINJA_ONLY
]


@pytest.mark.parametrize("template", WRITING_CALLS)
def test_the_format_parses_calls_as_the_template_renders_them(template: str) -> None:
    """A model generates calls in the notation of its prompt."""
    use = tool_use(published()[template].source)
    call = {"id": "call00000", "type": "function", "function": {"name": "now", "arguments": Arguments({"zone": "UTC"})}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    rendered = ChatTemplate(published()[template].source).render(
        messages, TemplateOptions(False, variables={"tools": [NOW.described()]})
    )

    rendered = rendered[rendered.rindex("Hi") + 2 :]
    parser = OutputParser(HARMONY if use.format.name == "harmony" else None, use.format)
    index = min((at for tag in use.format.openings if (at := rendered.find(tag)) >= 0), default=rendered.find("{"))
    pieces = parser.push(rendered[index:])
    assert ToolCallStart(0, "now") in pieces
    arguments = "".join(piece.text for piece in pieces if isinstance(piece, ToolCallArguments))
    assert JsonScanner().feed(arguments) == len(arguments)
    assert json.loads(arguments) == {"zone": "UTC"}


def test_a_format_can_be_chosen_by_name() -> None:
    assert tool_use("no markup", "gemma").format is FORMATS["gemma"]


# --- for templates without tools ---


@pytest.mark.parametrize("before", [[], [{"role": "system", "content": "Be brief."}]], ids=["alone", "with another"])
@every_format
def test_the_default_description_lists_the_tools_and_an_example_call(
    before: list[dict[str, Any]], tool_format: ToolFormat
) -> None:
    user = {"role": "user", "content": "Weather?"}

    system, *rest = with_tools([*before, user], TOOLS, tool_format)

    assert rest == [user]
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief.\n\nYou can" if before else "You can")
    assert all(json.dumps(tool.described()["function"]) in system["content"] for tool in TOOLS)
    assert tool_format.render([("function-name", '{"parameter": "value"}')]) in system["content"]


def test_a_template_without_system_messages_has_the_tools_in_the_user_message() -> None:
    source = published()["google-gemma-2-2b-it"].source

    prompt = ChatTemplate(source).render(with_tools([{"role": "user", "content": "Weather?"}], [NOW], HERMES))

    assert "<start_of_turn>user\nYou can" in prompt
    assert '{"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}' in prompt
    assert prompt.index("<tool_call>") < prompt.index("Weather?")


@pytest.mark.parametrize("kind", ["array", ["string", "null"]])
def test_parameters_that_are_not_an_object_are_rejected(kind: Any) -> None:
    with pytest.raises(InvalidRequest, match="are an object") as raised:
        Tool("f", parameters={"type": kind}, param="tools[0].function.parameters").argument_format()

    assert raised.value.param == "tools[0].function.parameters"


def test_text_never_begins_like_a_call(compiler: GrammarCompiler) -> None:
    """In a format without opening tags the parser would read it as a call."""
    pythonic = FORMATS["llama-pythonic"]
    grammar = tool_grammar(pythonic, TOOLS, ToolChoice("auto"), lambda text: None)

    output = walk(compiler, grammar, Vocabulary(pythonic, False), random.Random(1), script="[other(a=1)]")

    assert not output.startswith("[other(")


@pytest.mark.parametrize("name", ["llama-pythonic", "gemma"])
def test_parameters_whose_schema_is_false_are_left_out(compiler: GrammarCompiler, name: str) -> None:
    never = {"properties": {"a": False, "b": {"enum": [1]}}, "required": ["b"]}
    tools = [Tool("f", parameters=never)]
    grammar = tool_grammar(FORMATS[name], tools, ToolChoice("required", parallel=False), lambda text: None)

    outputs = {
        walk(compiler, grammar, Vocabulary(FORMATS[name], False), random.Random(seed)).strip() for seed in range(20)
    }

    assert {re.sub(r"[^\w(=)]|tool_code", "", text) for text in outputs} == {"f(b=1)"}
    with pytest.raises(InvalidRequest, match="no value matches its required property"):
        FORMATS[name].arguments_of(Tool("f", parameters={**never, "required": ["a"]}))
