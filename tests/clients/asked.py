"""What the Python programs of this folder share: what they ask, and how they tell what came of it.

It runs with any client and none. The last argument of a program is JSON: what the tests want it to ask.
"""

# mypy: ignore-errors
# Its readers are not checked either: they run where mypy does not look.

import json
import sys

ASKED = json.loads(sys.argv[1])
LIMITS = {"stop": ASKED["stop"], "max_tokens": 50}


def messages(text):
    return [{"role": "user", "content": text}]


def answer(text, reason, usage):
    """An answer as all programs tell it. `usage` is an object, a dict, or nothing."""
    if usage is not None:
        counts = usage if isinstance(usage, dict) else vars(usage)
        usage = [counts["prompt_tokens"], counts["completion_tokens"]]
    return {"text": text, "finish_reason": reason, "usage": usage}


def tell(bases, scenarios):
    """Print what came of the scenarios: `scenarios(base URL)` has them by name. `bases` are paths under the root."""
    told = {}
    for base in bases:
        told[base] = {name: scenario() for name, scenario in scenarios(ASKED["root"] + base).items()}
    print(json.dumps(told))
