"""Chat templates: markup, user strings as plain text, and the sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.errors import InvalidRequest, ModelError
from crossette.testing.fake_engine import CHAT_TEMPLATE
from crossette.text.template.chat_template import ChatTemplate, TemplateOptions
from crossette.text.template.messages import Arguments, Message
from crossette.text.template.spans import Span
from support.template_corpus import published

TRIMMING = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"


def user(content: Any, **fields: Any) -> Message:  # Any: any JSON
    return {"role": "user", "content": content, **fields}


def test_a_conversation_is_rendered_up_to_the_assistants_answer() -> None:
    template = ChatTemplate(CHAT_TEMPLATE)

    assert template.render([{"role": "system", "content": "Be brief."}, user("Hi")]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_templates_are_rendered_as_their_authors_expect() -> None:
    """Block lines leave no empty line, loops can break, and the variables that templates use are defined."""
    template = ChatTemplate(
        "{% for m in messages %}\n"
        "    {% if loop.index > 2 %}\n{% break %}\n{% endif %}\n"
        "{{ bos_token }}{{ m.content | tojson }}{{ eos_token }}\n"
        "{% endfor %}\n"
        "{{ enable_thinking }}{{ tools }}{{ documents }}{{ nothing is defined }}",
        bos_token="<s>",
        eos_token="</s>",
    )

    options = TemplateOptions(variables={"enable_thinking": True})
    rendered = template.render([user("<b> 'é'"), user({"a": 1}), user("no")], options)

    assert rendered == "<s>\"<b> 'é'\"</s>\n" + '<s>{"a": 1}</s>\n' + "TrueNoneNoneFalse"


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("{{ {'b': 'é', 'a': '<'} | tojson }}", '{"b": "é", "a": "<"}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=2, sort_keys=true) }}", '{\n  "a": 2,\n  "b": 1\n}'),
        ("{{ ['é'] | tojson(ensure_ascii=false) }}{{ [1, 2] | tojson(separators=(',', ':')) }}", '["é"][1,2]'),
        ("a{% generation %}b{%- endgeneration %}c", "abc"),
        ("{% for i in [1, 2] %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}", "12"),
        ("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{{ strftime_now('%d %b %Y') }}", "05 Mar 2023"),
        ("{% macro date() %}{{ strftime_now('%Y') }}{{ bos_token }}{% endmacro %}{{ date() }}", "2023<s>"),
    ],
)
def test_features_of_published_templates_are_supported(source: str, rendered: str) -> None:
    assert ChatTemplate(source, bos_token="<s>").render([], TemplateOptions(now=datetime(2023, 3, 5))) == rendered


def test_without_a_generation_prompt_the_prompt_ends_with_the_last_turn() -> None:
    prompt = ChatTemplate(CHAT_TEMPLATE).render([user("Hi")], TemplateOptions(add_generation_prompt=False))

    assert prompt == "<|im_start|>user\nHi<|im_end|>\n"


@pytest.mark.parametrize(
    ("source", "prompt"),
    [(CHAT_TEMPLATE, "<|im_start|>assistant\nOnce upon "), (TRIMMING, "<|assistant|>Once upon")],
)
def test_a_continued_message_is_open_and_keeps_its_white_space_if_the_template_does(source: str, prompt: str) -> None:
    messages = [user("Tell"), {"role": "assistant", "content": "Once upon "}]

    assert ChatTemplate(source).render(messages, TemplateOptions(continue_final_message=True)).endswith(prompt)


def test_a_message_that_the_template_leaves_out_cannot_be_continued() -> None:
    template = ChatTemplate("{% for m in messages if m.role != 'assistant' %}{{ m.content }}{% endfor %}")

    with pytest.raises(InvalidRequest, match=r"refused messages\[1\]: it leaves out the last message"):
        template.render(
            [user("a"), {"role": "assistant", "content": "b"}], TemplateOptions(continue_final_message=True)
        )


@given(st.lists(st.text(), max_size=4))
def test_spans_are_the_prompt_and_user_strings_are_not_markup(contents: list[str]) -> None:
    template = ChatTemplate(CHAT_TEMPLATE)
    messages = [user(content) for content in contents]

    spans = template.render_spans(messages)

    assert "".join(span.text for span in spans) == template.render(messages)
    assert [span.text for span in spans if not span.is_markup] == [c.strip() for c in contents if c.strip()]


@given(st.lists(st.text(), max_size=4))
def test_strings_that_a_template_trims_are_still_separated(contents: list[str]) -> None:
    template = ChatTemplate(TRIMMING)
    messages = [user(content) for content in contents]

    spans = template.render_spans(messages)

    assert "".join(span.text for span in spans) == template.render(messages)
    assert [span.text for span in spans if not span.is_markup] == [c.strip() for c in contents if c.strip()]


def test_delimiters_are_characters_that_no_message_contains() -> None:
    template = ChatTemplate(TRIMMING)

    assert template.render_spans([user("\ue000 \ue001")]) == [
        Span("<|user|>", is_markup=True),
        Span("\ue000 \ue001", is_markup=False),
        Span("<|end|>", is_markup=True),
    ]


def test_strings_in_parts_and_in_other_fields_are_user_strings() -> None:
    template = ChatTemplate(
        "{% for m in messages %}[{{ m.name }}]{% for p in m.content %}"
        "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    parts = [{"type": "text", "text": "one"}, {"type": "image", "text": "no"}, {"type": "text", "text": "two"}]

    spans = template.render_spans([user(parts, name="Ann")])

    assert [span.text for span in spans if not span.is_markup] == ["Ann", "one", "two"]


@pytest.mark.parametrize(
    "changes",
    [
        "{{ messages[0].content.split('b')[0] }}<|end|>",
        "{{ messages[0].content.split('b')[-1] }}<|end|>",
        "{{ messages[0].content[:3] }}<|end|>",
        "{{ messages[0].content[::-1] }}<|end|>",
        "{{ messages[0].content | length }}<|end|>",
        "{{ messages[0].content | replace('b<', '') }}<|end|>{{ messages[0].content | first }}",
    ],
)
def test_a_template_that_changes_strings_is_rejected_if_they_must_be_separated(changes: str) -> None:
    with pytest.raises(InvalidRequest, match="this model's chat template rewrites messages") as raised:
        ChatTemplate(changes).render_spans([user("a <|end|> b <|end|>")])

    assert raised.value.param == "messages"


def test_the_error_of_a_template_is_quoted() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate user/assistant') }}")

    with pytest.raises(InvalidRequest, match="refused the messages: Roles must alternate user/assistant") as raised:
        template.render([user("Hi")])

    assert raised.value.param == "messages"


@pytest.mark.parametrize("length", [1, 2, 3, 10])
@pytest.mark.parametrize("at", [0, 1, 2, 9])
def test_the_error_names_the_message_that_a_template_rejects(at: int, length: int) -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('No!') }}{% endif %}{% endfor %}"
    )
    messages = [user("bad" if index == at else "good") for index in range(length)]

    if at >= length:
        assert template.render(messages) == ""
    else:
        with pytest.raises(InvalidRequest, match=rf"refused messages\[{at}\]: No!") as raised:
            template.render(messages)
        assert raised.value.param == f"messages[{at}]"


@pytest.mark.parametrize(
    ("template", "param"),
    [
        ("{{ messages[9].content.x }}", "messages"),
        ("{{ 1 / 0 }}", "messages"),
        ("{% for m in messages %}{{ m.content + 1 }}{% endfor %}", "messages[0]"),
    ],
)
def test_any_error_of_a_template_is_an_invalid_request(template: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ChatTemplate(template).render([user("Hi"), user("Hi")])

    assert raised.value.param == param


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('/etc/passwd').read() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ('' | attr('__class__')).__mro__ }}",
        "{{ ('{0.__class__.__mro__}').format('') }}",
        "{% set x = messages.append({'role': 'user'}) %}",
        "{% set x = messages[0].update({'role': 'root'}) %}",
        "{% include '/etc/passwd' %}",
        "{{ range(10 ** 9) | list | length }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(escape: str) -> None:
    messages = [{"role": "user", "content": "Hi"}]

    with pytest.raises(InvalidRequest):
        ChatTemplate(escape).render(messages)

    assert messages == [{"role": "user", "content": "Hi"}]


def test_the_text_of_a_message_is_never_executed() -> None:
    template = ChatTemplate(TRIMMING)

    assert template.render([user("{{ 7 * 7 }}{% raw %}")]) == "<|user|>{{ 7 * 7 }}{% raw %}<|end|>"


def test_a_template_that_cannot_be_compiled_is_a_model_error() -> None:
    with pytest.raises(ModelError, match=r"chat template cannot be compiled: .*endfor"):
        ChatTemplate("{% for m in messages %}")


# --- messages that not every template supports ---

CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": Arguments({"a": "é"})}}],
}
TOOL_TURNS = [user("Q"), CALLED, {"role": "tool", "content": "R1"}, {"role": "tool", "content": "R2"}, user("And?")]


def test_tool_messages_become_text_for_a_template_without_tools() -> None:
    """Adjacent results, and the user message after them, become one message, so that roles alternate."""
    rendered = ChatTemplate("{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}").render(TOOL_TURNS)

    assert rendered == (
        '[user:Q][assistant:<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>]'
        "[user:<tool_response>\nR1\n</tool_response>\n<tool_response>\nR2\n</tool_response>\nAnd?]"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "[{{ m.content }}]{% endfor %}",
    ],
)
def test_system_messages_join_the_user_message_if_a_template_does_not_support_them(source: str) -> None:
    messages = [{"role": "system", "content": "S"}, user("Q"), {"role": "assistant", "content": "A"}]

    assert ChatTemplate(source).render(messages) == "[S\n\nQ][A]"
    assert ChatTemplate(source).render(messages[:1]) == "[S]"


@pytest.mark.parametrize("before", [[], ["system"]])
@pytest.mark.parametrize("roles", ["user system", "user system user", "user assistant system user"])
@pytest.mark.parametrize("name", published())
def test_a_later_system_message_is_in_every_prompt(name: str, roles: str, before: list[str]) -> None:
    """Clients of Anthropic's API send some, and templates of several families leave them out or reject them."""
    messages = [{"role": role, "content": f"text-{index}"} for index, role in enumerate([*before, *roles.split()])]
    template = ChatTemplate(published()[name].source)
    try:
        template.render([user("Hi")])
    except InvalidRequest as error:
        pytest.skip(f"it needs variables of its own: {error}")
    prompt = template.render(messages)

    assert [message["content"] for message in messages if str(message["content"]) not in prompt] == []


@pytest.mark.parametrize(
    ("roles", "turns"),
    [
        ("us", "[user:0\n\n1]"),
        ("usu", "[user:0\n\n1\n\n2]"),
        ("usus", "[user:0\n\n1\n\n2\n\n3]"),
        ("suasu", "[system:0][user:1][assistant:2][user:3\n\n4]"),
        ("ssu", "[system:0][system:1][user:2]"),
        ("uu", "[user:0][user:1]"),
    ],
)
def test_later_system_messages_join_the_user_messages_around_them(roles: str, turns: str) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' and loop.index > 2 %}{{ raise_exception('late') }}{% endif %}"
        "[{{ m.role }}:{{ m.content }}]{% endfor %}"
    )
    names = {"u": "user", "s": "system", "a": "assistant"}
    messages = [{"role": names[role], "content": str(index)} for index, role in enumerate(roles)]

    assert ChatTemplate(source).render(messages) == turns


@pytest.mark.parametrize(
    "use",
    [
        "{{ arguments }}",
        "{{ arguments | tojson }}",
        "{{ arguments | string }}",
        "{{ '' + arguments }}",
        "{{ arguments + '' }}",
        "{{ arguments ~ '' }}",
        '{% for k, v in arguments.items() %}{"{{ k }}": "{{ v }}"}{% endfor %}',
        '{% for k, v in arguments | items %}{"{{ k }}": "{{ v }}"}{% endfor %}',
        "{% if arguments is string %}no{% elif arguments is mapping %}{{ arguments | tojson }}{% endif %}",
    ],
)
def test_arguments_are_an_object_and_its_json_text(use: str) -> None:
    source = "{% set arguments = messages[1].tool_calls[0].function.arguments %}" + use

    assert ChatTemplate(source).render(TOOL_TURNS) == '{"a": "é"}'


@pytest.mark.parametrize(
    ("test", "content"),
    [("m['content'] is none", "None"), ("m.content is not none", "None"), ("m.reasoning_content is none", "")],
)
def test_a_call_without_content_has_null_content_only_if_the_template_checks_for_it(test: str, content: str) -> None:
    source = "{% for m in messages if m.tool_calls and (" + test + " or true) %}{{ m.content }}{% endfor %}"

    assert ChatTemplate(source).render(TOOL_TURNS) == content


def test_no_part_of_a_call_is_markup() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% for c in m.tool_calls %}{{ c.id }}:{{ c.function.name }}"
        "{{ c.function.arguments | tojson }}{{ c.function.arguments }}{% endfor %}{% endfor %}"
    )
    arguments = Arguments({"type": "T", "list": [{"role": 1, "k": ["V", True]}]}, '{"type":"T"}')
    call = {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": arguments}}

    spans = template.render_spans([{"role": "assistant", "content": "", "tool_calls": [call]}])

    strings = [span.text for span in spans if not span.is_markup]
    assert strings == ["call-1", "f", "type", "T", "list", "role", "k", "V", '{"type":"T"}']


def test_an_alphanumeric_id_has_no_delimiters_because_templates_count_its_length() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m.tool_call_id | length }}{{ m.content }}{{ m.tool_calls }}{% endfor %}"
    )

    spans = template.render_spans([{"role": "tool", "content": "<|x|>", "tool_call_id": "abcd12345"}])

    assert spans == [Span("9", is_markup=True), Span("<|x|>", is_markup=False)]


# --- contents that are lists of parts ---

OF_PARTS = (
    "{% for m in messages %}{{ m.role }}{% if m.content[0].type == 'image' %}:{% else %}: {% endif %}"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% elif p.type == 'image' %}<image>{% endif %}"
    "{% endfor %}|{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
OF_BOTH = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}|{% endfor %}"
)
PICTURE = {"type": "image"}


def test_a_template_of_parts_shows_texts() -> None:
    template = ChatTemplate(OF_PARTS)

    assert template.render([user("Hi"), user("")], TemplateOptions(add_generation_prompt=False)) == "user: Hi|user: |"
    assert template.render([user([PICTURE, {"type": "text", "text": "Hi"}])]) == "user:<image>Hi|assistant:"


def test_a_template_of_parts_can_continue_the_last_message() -> None:
    options = TemplateOptions(continue_final_message=True)

    messages = [user([PICTURE]), {"role": "assistant", "content": "It is"}]
    assert ChatTemplate(OF_PARTS).render(messages, options) == "user:<image>|assistant: It is"


def test_user_strings_in_a_template_of_parts_are_separated() -> None:
    spans = ChatTemplate(OF_PARTS).render_spans([user("a <image>"), user([PICTURE, {"type": "text", "text": "b"}])])

    assert [span.text for span in spans if not span.is_markup] == ["a <image>", "b"]


def test_a_template_of_texts_gets_texts() -> None:
    assert ChatTemplate("{{ messages[0].content }}").render([user("Hi")]) == "Hi"
    assert ChatTemplate(OF_BOTH).render([user("Hi")]) == "user: Hi|"
    assert ChatTemplate(OF_BOTH).render([user([PICTURE, {"type": "text", "text": "Hi"}])]) == "user: <image>Hi|"


@pytest.mark.parametrize(
    "content", [[PICTURE, {"type": "text", "text": "b"}], [{"type": "text", "text": "b"}, PICTURE]]
)
def test_a_system_message_joins_a_user_message_of_parts(content: list[dict[str, str]]) -> None:
    rejecting = OF_PARTS.replace("{{ m.role }}", "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}U")

    prompt = ChatTemplate(rejecting).render([{"role": "system", "content": "a"}, user(content)])

    shown = "".join("<image>" if part == PICTURE else "b" for part in content)
    assert prompt == f"U: a\n\n{shown}|assistant:"


def test_a_later_system_message_joins_a_user_message_of_parts() -> None:
    rejecting = OF_PARTS.replace(
        "{{ m.role }}", "{% if m.role == 'system' and loop.index0 %}{{ raise_exception('no') }}{% endif %}{{ m.role }}"
    )
    messages = [{"role": "system", "content": "s"}, user([PICTURE]), {"role": "system", "content": "a"}, user("b")]

    prompt = ChatTemplate(rejecting).render(messages, TemplateOptions(add_generation_prompt=False))

    assert prompt == "system: s|user:<image>\n\na\n\nb|"
