"""All request fields, and how each is treated: honoured, recorded in the log, or rejected as unsupported.

Requests are validated against these tables, and docs/fields.md is generated from them. A wire type and its table have
the same fields (tests/api/test_fields.py).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from crossette.api.schema.table import REQUIRED, Description, Field, Table, elsewhere, recorded, refused
from crossette.types import BIAS_RANGE, RANGES, SamplingParams

MAX_RECORDED: Final = 512
"""Maximum characters of a text, or of the JSON of an object, that is logged."""
MAX_STOPS: Final = 128
MAX_STOP: Final = 4096
MAX_STOP_TOTAL: Final = 16384
"""Maximum characters of all stop strings together: every piece of output is compared with each of them."""
MAX_METADATA_KEY: Final = 64
MAX_METADATA_VALUE: Final = 512


def _sampling(**notes: str) -> dict[str, Field]:
    """Fields that have the same name and meaning in `SamplingParams`."""
    defaults = {field.name: field.default for field in dataclasses.fields(SamplingParams)}
    return {
        name: Field(note, default=defaults[name], limits=RANGES.get(name), engine=name) for name, note in notes.items()
    }


SAMPLING = _sampling(
    temperature="0 selects the most probable token. A model may have another default.",
    top_p="Keep the fewest tokens whose probabilities sum to this value. A model may have another default.",
    top_k="Keep the k most probable tokens; 0 and -1 keep all. A model may have another default.",
    min_p="Keep tokens with at least this fraction of the highest probability. A model may have another default.",
    typical_p="Keep the tokens whose surprise is nearest to the entropy, up to this total probability; 1 keeps all.",
    mirostat_target="Target surprise of mirostat, in bits. It replaces the four filters above.",
    mirostat_lr="Learning rate of mirostat.",
    repetition_penalty="Divides positive and multiplies negative logits of tokens in the prompt or the output.",
    frequency_penalty="Subtracted from a token's logit for each of its occurrences in the output.",
    presence_penalty="Subtracted once from the logit of a token that is in the output.",
    min_tokens="Minimum number of tokens before an end token or one of `stop_token_ids` can be sampled.",
    ignore_eos="Continue after the model's end tokens. `stop_token_ids` still end an answer.",
    seed="Choice j with seed s equals the answer to n=1 with seed s+j. Random by default.",
)

SAMPLING["top_k"] = dataclasses.replace(SAMPLING["top_k"], limits=(-1, math.inf))

_MAX_TOKENS = "Maximum tokens of an answer. At least 1, or 0 with `echo`."
_ALIAS = "The same as `max_tokens`: send one of them."

_CACHED = (
    f"Every prompt is cached as long as memory allows, with or without it. Up to {MAX_RECORDED} characters, as JSON."
)

BOTH = Table(
    {
        "model": Field("A name or an alias of GET /models. The answer repeats it.", default=REQUIRED),
        # how much
        "context_length_exceeded_behavior": Field(
            "If the prompt and `max_tokens` exceed the context window: lower `max_tokens`, or return an error.",
            default=lambda dialect: dialect.overflow,
        ),
        "n": Field("Number of choices for each prompt.", default=1, limits=(1, 128), engine="n"),
        "stop": Field(
            f"Strings that end an answer, of up to {MAX_STOP} characters each and {MAX_STOP_TOTAL} together. "
            "OpenAI's own API accepts up to 4.",
            limits=(0, MAX_STOPS),
        ),
        "stop_token_ids": Field(
            "Tokens that end an answer. Their text is included or not, as with stop strings.", engine="end_token_ids"
        ),
        "include_stop_str_in_output": Field(
            "Whether the text includes the stop string that ended it.", default=lambda dialect: dialect.include_stop
        ),
        # sampling
        **SAMPLING,
        "logit_bias": Field(
            f"Token ids, as decimal digits, to values from {BIAS_RANGE[0]} to {BIAS_RANGE[1]} added to their logits.",
            engine="logit_bias",
        ),
        "allowed_token_ids": refused(
            "The only tokens that may be sampled. Send `guided_choice` or `guided_regex` to restrict the text, or "
            "`logit_bias` to favour tokens."
        ),
        "bad_words": refused(
            "Strings that must not be generated: a filter of tokens cannot exclude every way to write them. Send "
            "`logit_bias` to exclude tokens, or `stop` to end an answer at a string.",
            [],
        ),
        "use_beam_search": refused("Beam search instead of sampling. Send `best_of` to rank several answers.", False),
        "length_penalty": refused("How beam search ranks answers of different lengths: there is no beam search.", 1),
        # speculative decoding
        "prediction": Field("The predicted output, as text. It affects only speed.", engine="prediction"),
        "speculation": Field("The same as `prediction`, as text or token ids: send one of them.", engine="prediction"),
        "rewrite_speculation": refused("How a prediction is realigned with the output: this cannot be set."),
        # probabilities and raw data
        "logprobs": Field(
            "An integer requests the legacy arrays with that many alternatives and the token itself, true the content "
            "list.",
            limits=(0, 5),
            engine="logprobs",
        ),
        "top_logprobs": Field(
            "Number of alternatives at each position. Needs `logprobs`.",
            default=Description("the value of `logprobs`"),
            limits=lambda dialect: (0, dialect.max_top_logprobs),
            engine="logprobs",
        ),
        "echo": Field(
            "Start each answer with its prompt; logprobs then include it, and the end token.",
            default=False,
            engine="prompt_logprobs",
        ),
        "echo_last": Field(
            "Start each answer with this many of the last tokens of its prompt.",
            limits=(0, math.inf),
            engine="prompt_logprobs",
        ),
        "raw_output": Field("Add the raw prompt and output of the model, as text and as token ids.", default=False),
        "continue_token_ids": Field(
            "Tokens that the answer begins with: it goes on after them. They count as tokens of the prompt, and "
            "penalties treat them as such. Not with tools or a response format.",
        ),
        "return_token_ids": Field("Add the token ids of prompts and answers.", default=False),
        "return_token_details": Field(
            "Add `token_details`: of each token its id, the seconds until it came, and whether it was an accepted "
            "draft. Logprobs of the content list then have token ids in both dialects.",
            default=False,
        ),
        "perf_metrics_in_response": Field("Add counts and times to the body, as `perf_metrics`.", default=False),
        "prompt_logprobs": refused("The logprobs of the prompt by token id: send `echo` with `logprobs` instead."),
        "skip_special_tokens": refused("Special tokens are never in the text of an answer.", True),
        "spaces_between_special_tokens": refused("Special tokens are never in the text of an answer.", True),
        "add_special_tokens": refused("A prompt starts with exactly one BOS token if the model uses one.", True),
        "detokenize": refused("Answers are always text.", True),
        "top_sampling_logprobs": refused("Alternatives after the filters. Send `top_logprobs` for those before them."),
        "top_sampling_format": refused("The format of `top_sampling_logprobs`."),
        "sampling_mask": refused("The tokens that the filters kept: answers do not have them."),
        "include_routing_matrix": refused("The experts that processed each token: engines do not report them.", False),
        "routing_matrix_format": refused("The format of the routing matrix, which answers do not have."),
        "acceptance_probs_override": refused(
            "For measurements of speculative decoding with a draft model: there is none."
        ),
        "forced_generation": refused(
            "An output to score instead of sampling one. Send it as a prompt with `echo` and `logprobs`."
        ),
        # structured output and reasoning
        "response_format": Field(
            "The format that the answer must match.", default={"type": "text"}, engine="constraint"
        ),
        "guided_json": Field("A JSON schema for the answer, or its JSON as text.", engine="constraint"),
        "guided_regex": Field(
            "A pattern for the whole answer, in the syntax of Rust's regex: no look-around, no back-references.",
            engine="constraint",
        ),
        "guided_choice": Field("Texts, of which the answer must be one.", engine="constraint"),
        "guided_grammar": Field(
            "A grammar for the answer: GBNF with the rule `root` if it has `::=`, else Lark with the rule `start`.",
            engine="constraint",
        ),
        "guided_decoding_backend": refused("The backend of structured output: always llguidance.", "auto", "guidance"),
        "structured_outputs": Field(
            "The newer notation of the `guided` fields. Send one output format.", engine="constraint"
        ),
        # streams
        "stream": Field("Stream the answer as server-sent events.", default=False),
        "stream_options": Field("Options of a stream. Needs `stream`."),
        # cache and service
        "prompt_cache_isolation_key": Field(
            "Prompts share cached prefixes only with prompts of the same key. The header "
            "`x-prompt-cache-isolation-key` is the same.",
            engine="isolation_key",
        ),
        "cache_prompt": Field(
            "False: this prompt uses no cached prefix, and no other prompt uses its own.",
            default=True,
            engine="isolation_key",
        ),
        "prompt_cache_max_len": refused(
            "Maximum number of prompt tokens to cache: all are. Send `cache_prompt: false` for none.", 0
        ),
        "prompt_cache_options": recorded(f"How a prompt is cached. {_CACHED}"),
        "prompt_cache_retention": recorded(f"How long a prompt is cached. {_CACHED}"),
        "prompt_cache_breakpoint": recorded(f"The end of a prefix to cache. {_CACHED}"),
        "cache_control": recorded(f"The end of a prefix to cache, and for how long. {_CACHED}"),
        "service_tier": Field(
            "`priority` and `fast` run before `default`, `flex` after it; `auto` and `scale` are `default`. The answer "
            "has the tier that was used: `priority`, `default` or `flex`.",
            default="default",
            engine="priority",
        ),
        "priority": Field(
            "Scheduling priority: lower is earlier. Send it or `service_tier`.", default=0, engine="priority"
        ),
        "store": refused("Store the answer: there is no API to retrieve it.", False),
        "moderation": refused("Moderate the answer: there is no moderation model."),
        "prompt_cache_key": recorded(
            f"Identifies a conversation, in up to {MAX_RECORDED} characters. Prompts are cached without it too."
        ),
        "user": recorded(f"Identifies the caller's user, in up to {MAX_RECORDED} characters."),
        "safety_identifier": recorded(f"Identifies the caller's user, in up to {MAX_RECORDED} characters."),
        "metadata": recorded(
            f"Keys to texts; keys of up to {MAX_METADATA_KEY} characters, values of up to {MAX_METADATA_VALUE}.",
            (0, 16),
        ),
        # other media and services
        "modalities": refused("The media of an answer: answers are text.", ["text"]),
        "audio": refused("The voice and format of spoken answers: answers are text."),
        "verbosity": refused("How verbose an answer is. Ask for it in the prompt.", "medium"),
        "web_search_options": refused("Web search before the answer: the server has none. Send a tool that searches."),
        "nvext": refused("Extensions of another server: they have no meaning here."),
    }
)

_COMPLETIONS = Table(
    {
        "prompt": Field(
            "A text, token ids, or a list of either for several prompts. Null or an empty text begins from the model's "
            "BOS token; a model without one rejects it.",
            default=REQUIRED,
        ),
        "suffix": Field("The text after the gap to fill. Needs a model that was trained to fill in the middle."),
        "max_tokens": Field(
            _MAX_TOKENS,
            default=lambda dialect: dialect.completion_max_tokens,
            limits=RANGES["max_tokens"],
            engine="max_tokens",
        ),
        "max_completion_tokens": Field(_ALIAS, limits=RANGES["max_tokens"], engine="max_tokens"),
        "best_of": Field(
            "Generate this many choices, and return the `n` with the highest mean logprob. Cannot be streamed.",
            default=Description("`n`"),
            limits=(1, 20),
            engine="n",
        ),
        "reasoning_effort": refused(
            "How long to reason: part of a plain prompt itself.", "none", False, 0, "auto", "adaptive"
        ),
        "reasoning_history": refused("Which earlier reasoning is in the prompt: all that it contains.", "disabled"),
        "thinking": refused(
            "Whether to reason, and for how many tokens: part of a plain prompt itself.", {"type": "disabled"}, False
        ),
        "include_reasoning": refused("Whether reasoning is in the answer: it is part of its text.", True),
        "enable_thinking": refused("Whether to reason: part of a plain prompt itself.", False),
        "reasoning": refused(
            "How long to reason: part of a plain prompt itself.",
            {},
            {"effort": "none"},
            {"max_tokens": 0},
            {"enabled": False},
        ),
        "images": refused("Images in the prompt: prompts are text.", []),
        "truncate_prompt_tokens": Field(
            "Maximum tokens of each prompt. The first tokens of a longer one are dropped, but not its BOS token. "
            "`usage.prompt_tokens` counts the rest. 0 drops nothing.",
            limits=(0, math.inf),
        ),
    }
)

_CHAT = Table(
    {
        "messages": Field("The conversation.", default=REQUIRED),
        "max_tokens": Field(
            _MAX_TOKENS,
            default=Description("the rest of the context window"),
            limits=RANGES["max_tokens"],
            engine="max_tokens",
        ),
        "max_completion_tokens": Field(_ALIAS, limits=RANGES["max_tokens"], engine="max_tokens"),
        "safe_tokenization": Field("Whether message text that looks like a special token stays text.", default=True),
        "tools": Field("Functions that the model may call. Their arguments match `parameters`.", engine="constraint"),
        "tool_choice": Field(
            "`none`: no call. `auto`: the model decides. `required` or `any`: at least one call. An object names a "
            "function, which is called once, or lists the allowed functions.",
            default="auto",
            engine="constraint",
        ),
        "parallel_tool_calls": Field(
            "Whether one answer may contain several calls.", default=True, engine="constraint"
        ),
        "functions": Field(
            "The older form of `tools`. The answer then has one `function_call`, in both dialects.",
            engine="constraint",
        ),
        "function_call": Field(
            "The older form of `tool_choice`: `auto`, `none`, or an object that names a function.",
            default="auto",
            engine="constraint",
        ),
        "reasoning_effort": Field(
            "`none`, `minimal`, `low`, `medium` (or true), `high`, `xhigh`, `max`, or a limit in tokens. `auto`, in "
            "the Fireworks dialect, is the default. A model without reasoning accepts `none` only.",
            default=Description("the template's"),
            engine="constraint",
        ),
        "thinking": Field(
            "The same as `reasoning_effort`, as an object: send one of them. Or the same as `enable_thinking`, as a "
            "boolean.",
            engine="constraint",
        ),
        "reasoning": Field("The same as `reasoning_effort`, as an object: send one of them.", engine="constraint"),
        "enable_thinking": Field(
            'False is `reasoning_effort: "none"`, true is the model\'s default effort. It may accompany an effort that '
            "does not contradict it.",
            default=Description("the default of the model's template"),
            engine="constraint",
        ),
        "reasoning_history": Field(
            "The earlier reasoning that the template gets: `disabled` none, `interleaved` all since the last user "
            "message, `preserved` all.",
            default=Description("`preserved`; the template may drop some"),
        ),
        "include_reasoning": Field("Whether reasoning is in the answer, as `reasoning_content`.", default=True),
        "prompt_truncate_len": Field(
            "Maximum tokens of the prompt. The oldest turns of a longer one are dropped, from one user message to the "
            "next, and system messages last. `usage.prompt_tokens` counts the rest. 0 drops nothing.",
            limits=(0, math.inf),
        ),
        "truncate_prompt_tokens": Field("The same as `prompt_truncate_len`: send one of them.", limits=(0, math.inf)),
        "prompt_token_ids": Field("The prompt as token ids. It replaces the template and `messages`."),
        "chat_template": refused(
            "A template that replaces the model's own. Templates are programs, and requests may not send any."
        ),
        "custom_chat_template": refused(
            "A template that replaces the model's own. Templates are programs, and requests may not send any."
        ),
        "chat_template_kwargs": Field(
            "Variables of the template; others are rejected by name. `enable_thinking`, `thinking`, "
            "`reasoning_effort`, `reasoning_budget` and `low_effort` work with every template, as the fields for "
            "reasoning do."
        ),
        "add_generation_prompt": Field("Whether the prompt ends with the start of an assistant message.", default=True),
        "continue_final_message": Field(
            "Whether the answer continues the last message, which must be an assistant message.", default=False
        ),
    }
)


def _completed(own: Table, other: Table, endpoint: str) -> Table:
    """The fields of an endpoint, with those of the other one."""
    return Table({**own, **{name: elsewhere(endpoint) for name in other if name not in own}})


COMPLETIONS = _completed(_COMPLETIONS, _CHAT, "/chat/completions")
CHAT = _completed(_CHAT, _COMPLETIONS, "/completions")
