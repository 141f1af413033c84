"""A client that openapi-python-client generates from the document of a running server, and what it is answered.

Usage: generated_client.py ROOT. Prints a JSON object: the output of the generator, and the answers by dialect.
"""

# mypy: ignore-errors
# It runs in an environment of its own, and imports what it generates.

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = sys.argv[1]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def generate(folder):
    """Generate the package `generated` in `folder`. Returns what the generator prints."""
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))
    options = ["--meta", "none", "--output-path", "generated", "--config", "config.json"]
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{ROOT}/openapi.json", *options]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return (ran.stdout + ran.stderr).strip()


class Dialect:
    """The generated operations of one dialect, called with as few fields as they need."""

    def __init__(self, name):
        self._name = name
        self._client = import_module("generated").Client(ROOT)
        self._models = import_module("generated.models")

    def answers(self):
        return {
            "completion": self._completion(stop="two"),
            "logprobs": self._logprobs(),
            "chat": self._chat("say: one, two, three").choices[0].message.content,
            "tool call": self._tool_call(),
            "format": self._format(),
            "bad value": self._refusal(temperature=9),
            "unsupported": self._refusal(best_of=2, stream=True),
            "models": [model.id for model in self._call("list_models").data],
            "model": self._call("retrieve_model", name="gpt-3.5-turbo").id,
        }

    def _call(self, operation, **sent):
        module = import_module(f"generated.api.{self._name}.{self._name}_{operation}")
        answer = module.sync_detailed(client=self._client, **sent)
        assert answer.parsed is not None, answer.content
        return answer.parsed

    def _complete(self, **fields):
        body = self._models.CompletionRequest(prompt="say: one, two, three", model="fake", **fields)
        assert body.to_dict().keys() == {"prompt", "model", *fields}, "it sends more than was set"
        return self._call("create_completion", body=body)

    def _chat(self, text, **fields):
        user = self._models.MessageRoleType0.USER
        message = self._models.Message(role=user, content=text)
        body = self._models.ChatRequest(messages=[message], model="fake", **fields)
        return self._call("create_chat_completion", body=body)

    def _completion(self, **fields):
        answer = self._complete(max_tokens=50, **fields)
        return [answer.choices[0].text, answer.choices[0].finish_reason, answer.usage.completion_tokens]

    def _logprobs(self):
        legacy = self._complete(max_tokens=2, logprobs=1).choices[0].logprobs
        content = self._chat("say: Hi", max_tokens=2, logprobs=True).choices[0].logprobs
        return [legacy.tokens, legacy.token_logprobs, [token.token for token in content.content]]

    def _tool_call(self):
        parameters = self._models.FunctionParametersType0.from_dict(CITY)
        tool = self._models.ToolSent(function=self._models.Function(name="weather", parameters=parameters))
        call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
        answer = self._chat(f"say: {call}", tools=[tool], tool_choice="required")
        function = answer.choices[0].message.tool_calls[0].function
        return [function.name, json.loads(function.arguments), answer.choices[0].finish_reason]

    def _format(self):
        wrapped = self._models.ResponseFormatJsonSchemaType0.from_dict({"name": "n", "schema": CITY})
        response_format = self._models.ResponseFormat(
            type_=self._models.ResponseFormatType.JSON_SCHEMA, json_schema=wrapped
        )
        answer = self._chat('say: {"city": "Bern"}', response_format=response_format)
        return json.loads(answer.choices[0].message.content)

    def _refusal(self, **fields):
        error = self._complete(**fields).error
        return [error.type_, error.param, error.code]


with TemporaryDirectory() as temporary:
    printed = generate(Path(temporary))
    sys.path.insert(0, temporary)
    answers = {name: Dialect(name).answers() for name in ("openai", "fireworks")}
print(json.dumps({"generator": printed, "answers": answers}))
