"""Every field of a request, and what becomes of it: honoured, recorded in the log, or refused by name.

The one list: the wire types take from it what is not built, requests are held to its limits, and docs/fields.md is
printed from it. A wire type and its table name the same fields (tests/api/test_fields.py).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from crossette.api.schema.table import REQUIRED, Field, Table, Words, recorded, refused
from crossette.types import BIAS_RANGE, RANGES, SamplingParams

MAX_RECORDED: Final = 512
"""Characters of a text that goes into the log."""
MAX_STOP: Final = 4096
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512


def _sampling(**notes: str) -> dict[str, Field]:
    """Fields that mean the same here and in `SamplingParams`, under the same name."""
    defaults = {field.name: field.default for field in dataclasses.fields(SamplingParams)}
    return {
        name: Field(note, default=defaults[name], limits=RANGES.get(name), engine=name) for name, note in notes.items()
    }


SAMPLING = _sampling(
    temperature="0 takes the likeliest token. A model may bring another default.",
    top_p="Keep the fewest tokens that have this share of the probability. A model may bring another default.",
    top_k="Keep the k likeliest tokens; 0 keeps all. A model may bring another default.",
    min_p="Keep tokens at least this share as likely as the likeliest. A model may bring another default.",
    typical_p="Keep the tokens whose surprise is nearest the expected one, up to this share; 1 keeps all.",
    mirostat_target="The surprise, in bits, that mirostat steers to, in place of the four filters above.",
    mirostat_lr="How fast mirostat steers.",
    repetition_penalty="Divides the logits of tokens in the prompt or the output.",
    frequency_penalty="Taken from a token's logit for each time it stands in the output.",
    presence_penalty="Taken once from the logit of a token that stands in the output.",
    min_tokens="No end token, nor one of `stop_token_ids`, is drawn before so many tokens.",
    ignore_eos="Go on behind the model's end tokens. `stop_token_ids` still end an answer.",
    seed="Choice j of seed s is the answer to n=1 with seed s+j. Drawn at random if left out.",
)

_MAX_TOKENS = "The most tokens of an answer. At least 1, or 0 with `echo`."
_ALIAS = "The same as `max_tokens`: send one of them."

BOTH = Table(
    {
        "model": Field("A name or an alias of GET /models. The answer repeats it.", default=REQUIRED),
        # how much
        "context_length_exceeded_behavior": Field(
            "Where the prompt and `max_tokens` exceed the window: lower `max_tokens`, or refuse.",
            default=lambda dialect: dialect.overflow,
        ),
        "n": Field("Answers to each prompt.", default=1, limits=(1, 128), engine="n"),
        "stop": Field(f"Strings that end an answer, of up to {MAX_STOP} characters each.", limits=(0, 4)),
        "stop_token_ids": Field(
            "Tokens that end an answer, as a stop string does: their text is in it, or not.", engine="end_token_ids"
        ),
        "include_stop_str_in_output": Field(
            "Whether the text ends behind the stop string, or before it.", default=lambda dialect: dialect.include_stop
        ),
        # sampling
        **SAMPLING,
        "logit_bias": Field(
            f"Token ids, in plain digits, to what is added to their logits, from {BIAS_RANGE[0]} to {BIAS_RANGE[1]}.",
            engine="logit_bias",
        ),
        "allowed_token_ids": refused("Tokens that may be drawn, and no others."),
        "bad_words": refused("Words that may not be said.", []),
        "use_beam_search": refused("Search for the likeliest answer instead of drawing one.", False),
        "length_penalty": refused("How beam search ranks answers of different lengths.", 1),
        # guesses at the answer
        "prediction": Field("Text that the answer probably repeats. It changes the speed only.", engine="prediction"),
        "speculation": Field("The same as `prediction`, as text or token ids: send one of them.", engine="prediction"),
        "rewrite_speculation": refused("How a prediction is fitted to the answer."),
        # probabilities and raw data
        "logprobs": Field(
            "An integer asks for the legacy arrays with so many alternatives, true for the list.",
            limits=(0, 5),
            engine="logprobs",
        ),
        "top_logprobs": Field(
            "Alternatives at each place. Needs `logprobs`.",
            default=Words("what `logprobs` says"),
            limits=lambda dialect: (0, dialect.max_top_logprobs),
            engine="logprobs",
        ),
        "echo": Field(
            "Begin each answer with its prompt; logprobs then cover it too.", default=False, engine="prompt_logprobs"
        ),
        "echo_last": Field(
            "Begin each answer with so many last tokens of its prompt.", limits=(0, math.inf), engine="prompt_logprobs"
        ),
        "raw_output": Field("Add what the model read and wrote, as text and as token ids.", default=False),
        "return_token_ids": Field("Add the token ids of prompts and answers.", default=False),
        "perf_metrics_in_response": Field("Add counts and times to the body, as `perf_metrics`.", default=False),
        "skip_special_tokens": refused("Control tokens are never text here.", True),
        "spaces_between_special_tokens": refused("Control tokens are never text here.", True),
        "add_special_tokens": refused("A prompt begins with exactly one BOS where the model wants one.", True),
        "detokenize": refused("Answers are text.", True),
        "top_sampling_logprobs": refused("Alternatives of the distribution that was sampled."),
        "top_sampling_format": refused("The form of `top_sampling_logprobs`."),
        "sampling_mask": refused("Which tokens the filters kept."),
        "include_routing_matrix": refused("Which experts a token went through.", False),
        "routing_matrix_format": refused("The form of the routing matrix."),
        "acceptance_probs_override": refused("For measurements of speculation."),
        "forced_generation": refused("An answer to score instead of drawing one."),
        # structured output and reasoning
        "response_format": Field("The form that the answer must have.", default={"type": "text"}, engine="constraint"),
        "guided_json": Field("A JSON schema for the answer, or its JSON as text.", engine="constraint"),
        "guided_regex": Field(
            "A pattern for the whole answer, as Rust's regex reads it: no look-around, no back-references.",
            engine="constraint",
        ),
        "guided_choice": Field("Texts, of which the answer is one.", engine="constraint"),
        "guided_grammar": Field(
            "A grammar for the answer: GBNF with the rule `root` where it has `::=`, else Lark with the rule `start`.",
            engine="constraint",
        ),
        "guided_decoding_backend": refused("Who follows the grammar: llguidance, always.", "auto", "guidance"),
        "structured_outputs": Field("A newer spelling of the `guided` fields. Send one form.", engine="constraint"),
        # streams
        "stream": Field("Answer in pieces, as server-sent events.", default=False),
        "stream_options": Field("What a stream has beside the text. Needs `stream`."),
        # cache and service
        "prompt_cache_isolation_key": Field(
            "Prompts share cached beginnings with the same key only.", engine="isolation_key"
        ),
        "prompt_cache_max_len": refused("A bound on what is cached of a prompt.", 0),
        "prompt_cache_options": refused(
            "How a prompt is cached.",
        ),
        "prompt_cache_retention": refused("How long a prompt is cached.", "in_memory"),
        "service_tier": Field(
            "`priority` goes before `default`, and `flex` after it; `auto` is `default`. The answer repeats it.",
            default="default",
            engine="priority",
        ),
        "priority": Field(
            "Who is let in first: the lower, the earlier. Send it or `service_tier`.", default=0, engine="priority"
        ),
        "store": refused("Keep the answer for later.", False),
        "moderation": refused("Check the answer's content."),
        "prompt_cache_key": recorded(
            f"Names a conversation, in up to {MAX_RECORDED} characters. Every cached prompt is found without it."
        ),
        "user": recorded(f"Names the caller's user, in up to {MAX_RECORDED} characters."),
        "safety_identifier": recorded(f"Names the caller's user, in up to {MAX_RECORDED} characters."),
        "metadata": recorded(
            f"Names to texts; keys of up to {MAX_METADATA_KEY} characters, values of up to {MAX_METADATA_VALUE}.",
            (0, 16),
        ),
        # other media and services
        "modalities": refused("What an answer is made of.", ["text"]),
        "audio": refused("How an answer sounds."),
        "verbosity": refused("How long an answer is.", "medium"),
        "web_search_options": refused("Search before answering."),
        "nvext": refused("Extensions of another server."),
    }
)

COMPLETIONS = Table(
    {
        "prompt": Field("A text, token ids, or a list of either: several prompts.", default=REQUIRED),
        "suffix": Field("The text behind the gap to fill. Needs a model that was trained to fill in the middle."),
        "max_tokens": Field(
            _MAX_TOKENS,
            default=lambda dialect: dialect.completion_max_tokens,
            limits=RANGES["max_tokens"],
            engine="max_tokens",
        ),
        "max_completion_tokens": Field(_ALIAS, limits=RANGES["max_tokens"], engine="max_tokens"),
        "best_of": Field(
            "Generate so many, and answer the n with the highest mean logprob. Not streamed.",
            default=Words("`n`"),
            limits=(1, 20),
            engine="n",
        ),
        "reasoning_effort": refused("How long to think: a plain prompt says that itself.", "none", False),
        "reasoning_history": refused("Which earlier thoughts stand in the prompt.", "disabled"),
        "thinking": refused("Whether to think, and for how many tokens.", {"type": "disabled"}),
        "include_reasoning": refused("Whether thoughts are in the answer: they are part of its text.", True),
        "images": refused("Images in the prompt.", []),
        "truncate_prompt_tokens": refused("Drop the first tokens of a longer prompt."),
    }
)

CHAT = Table(
    {
        "messages": Field("The conversation.", default=REQUIRED),
        "max_tokens": Field(
            _MAX_TOKENS,
            default=Words("the room in the window"),
            limits=RANGES["max_tokens"],
            engine="max_tokens",
        ),
        "max_completion_tokens": Field(_ALIAS, limits=RANGES["max_tokens"], engine="max_tokens"),
        "safe_tokenization": Field("Words of a message that spell a control token stay words.", default=True),
        "tools": Field("Functions that the model may call. Their arguments keep to `parameters`.", engine="constraint"),
        "tool_choice": Field(
            "`none`: no call. `auto`: the model decides. `required`, or `any`: at least one. An object names a "
            "function, which is called once, or lists the allowed ones.",
            default="auto",
            engine="constraint",
        ),
        "parallel_tool_calls": Field("Whether one answer may hold several calls.", default=True, engine="constraint"),
        "functions": Field(
            "The older spelling of `tools`. The answer has one `function_call` then, in both dialects.",
            engine="constraint",
        ),
        "function_call": Field(
            "The older spelling of `tool_choice`: `auto`, `none`, or an object that names a function.",
            default="auto",
            engine="constraint",
        ),
        "reasoning_effort": Field(
            "`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`; true is `medium` and false `none`; a number "
            "limits the tokens of reasoning. A model without reasoning takes `none` only.",
            default=Words("what the model's template says"),
            engine="constraint",
        ),
        "thinking": Field("The same, as an object: send one of them.", engine="constraint"),
        "reasoning_history": Field(
            "Which earlier thoughts the template is given: `disabled` none, `interleaved` those since the user's last "
            "message, `preserved` all.",
            default=Words("`preserved`, and the template chooses"),
        ),
        "include_reasoning": Field("Whether thoughts are in the answer, as `reasoning_content`.", default=True),
        "prompt_truncate_len": Field(
            "Drop the oldest turns of a longer prompt, from one user's message to the next, and system messages last. "
            "`usage.prompt_tokens` counts what was kept. 0 drops nothing.",
            limits=(0, math.inf),
        ),
        "truncate_prompt_tokens": Field("The same as `prompt_truncate_len`: send one of them.", limits=(0, math.inf)),
        "prompt_token_ids": Field("The prompt as token ids. The template and `messages` are then not used."),
        "chat_template": refused("A template in place of the model's own: a program, and requests bring none."),
        "custom_chat_template": refused("A template in place of the model's own: a program, and requests bring none."),
        "chat_template_kwargs": Field("Variables of the model's template, like `enable_thinking`."),
        "add_generation_prompt": Field("Whether the prompt ends where the answer begins.", default=True),
        "continue_final_message": Field(
            "Whether the answer continues the last message, an assistant's.", default=False
        ),
    }
)

MESSAGE = Table(
    {
        "role": Field("`developer` is `system`, and `function` is `tool`.", default=REQUIRED),
        "content": Field("A text, or parts, which line breaks join. Only an assistant's may be null."),
        "name": Field("Given to the chat template."),
        "tool_calls": Field(
            "What the assistant called. Given to the chat template, or in plain words if it knows none."
        ),
        "tool_call_id": Field("Which call a tool answers."),
        "function_call": Field("The older spelling of `tool_calls`."),
        "reasoning_content": Field("What the assistant thought. Given to the chat template."),
        "reasoning": Field("The same as `reasoning_content`."),
        "refusal": Field("The assistant's words where it has no content."),
        "annotations": refused("Sources of an answer.", []),
        "audio": refused("An answer that was spoken."),
        "id": Field("The name of an earlier answer. Nothing depends on it."),
        "parsed": Field("What a client read from the content, as it sends it back. Nothing depends on it."),
    }
)

TOOL_CALL = Table(
    {
        "id": Field("What the result's `tool_call_id` repeats."),
        "type": Field("`function`.", default="function"),
        "function": Field("The call, or the function's name alone.", default=REQUIRED),
        "index": Field("Its place in a stream, as clients send it back. Nothing depends on it."),
    }
)

FUNCTION_CALL = Table(
    {
        "name": Field("The function.", default=REQUIRED),
        "arguments": Field("An object, or its JSON as text."),
        "parsed_arguments": Field("What a client read from them, as it sends it back. Nothing depends on it."),
    }
)

TOOL = Table(
    {
        "type": Field("`function`.", default="function"),
        "function": Field("The function.", default=REQUIRED),
        "custom": refused("A tool that takes free text."),
    }
)

FUNCTION = Table(
    {
        "name": Field("Up to 64 letters, digits, `_`, `-` and `.`.", default=REQUIRED),
        "description": Field("What it is for. The model reads it."),
        "parameters": Field("A JSON schema of an object.", default=Words("an object without properties")),
        "strict": Field("Nothing depends on it: arguments keep to the schema, or the schema is refused.", default=True),
    }
)

NAMED = Table({"name": Field("The function.", default=REQUIRED)})

ALLOWED_TOOL = Table(
    {
        "type": Field("`function`.", default="function"),
        "function": Field("An object with its `name`."),
        "name": Field("The same, without the object."),
    }
)

ALLOWED_TOOLS = Table(
    {
        "mode": Field("`auto` or `required`.", default=REQUIRED),
        "tools": Field("The functions that may be called.", default=REQUIRED),
    }
)

TOOL_CHOICE = Table(
    {
        "type": Field(
            "`function`: call the one that is named. `allowed_tools`: one of a list. Or one of the words that "
            "`tool_choice` may be.",
            default="function",
        ),
        "function": Field("An object with its `name`."),
        "name": Field("The same, without the object."),
        "allowed_tools": Field("For `allowed_tools`: an object with `mode` and `tools`."),
        "mode": Field("The same, without the object."),
        "tools": Field("The same, without the object."),
    }
)

THINKING = Table(
    {
        "type": Field("`enabled` or `disabled`.", default=REQUIRED),
        "budget_tokens": Field("The most tokens of thoughts.", limits=(0, math.inf)),
    }
)

PART = Table(
    {
        "type": Field("`text`, or an assistant's `refusal`.", default=REQUIRED),
        "text": Field("The text."),
        "refusal": Field("Why the assistant did not answer."),
        "image_url": refused("An image."),
        "video_url": refused("A video."),
        "audio_url": refused("A sound."),
        "input_audio": refused("A sound."),
        "file": refused("A file."),
        "cache_control": refused("A mark for a prompt cache: every prompt is cached anyway.", {"type": "ephemeral"}),
    }
)

STREAM_OPTIONS = Table(
    {
        "include_usage": Field(
            "True: usage on a chunk of its own, at the end. False: none. "
            "Left out: none in the OpenAI dialect; in the Fireworks dialect, on the chunk that ends the last choice."
        ),
        "continuous_usage_stats": Field("Usage so far on every chunk, unless `include_usage` is false.", default=False),
        "include_obfuscation": refused("Padding that hides the lengths of chunks.", False),
        "buffer_tokens": refused("Send chunks of so many tokens."),
        "buffer_ms": refused("Send a chunk after so many milliseconds."),
        "buffer_mode": refused("How chunks are gathered."),
    }
)

RESPONSE_FORMAT = Table(
    {
        "type": Field("What the other fields are for. `json_object` alone is any JSON object.", default=REQUIRED),
        "json_schema": Field(
            "For `json_schema`: a schema, or an object with `name`, `schema`, `strict` and `description`, or the JSON "
            "text of either. It is enforced, `strict` or not, or refused by keyword."
        ),
        "schema": Field("For `json_object`: a schema, as older clients send it."),
        "grammar": Field("For `grammar`: GBNF with the rule `root`."),
    }
)

STRUCTURED_OUTPUTS = Table(
    {
        "json": Field("As `guided_json`."),
        "regex": Field("As `guided_regex`."),
        "choice": Field("As `guided_choice`."),
        "grammar": Field("As `guided_grammar`."),
        "json_object": Field("True: any JSON object.", default=False),
        "disable_any_whitespace": refused("JSON has one way of white space here.", True, False),
        "disable_additional_properties": refused("An object that lists `properties` has no others here.", True, False),
        "whitespace_pattern": refused("JSON has one way of white space here."),
        "structural_tag": refused("Forms that begin at a tag."),
    }
)

PREDICTION = Table(
    {
        "type": Field("`content`.", default=REQUIRED),
        "content": Field("A text, or parts.", default=REQUIRED),
    }
)

PREDICTION_PART = Table(
    {
        "type": Field("`text`.", default=REQUIRED),
        "text": Field("The text.", default=REQUIRED),
    }
)
