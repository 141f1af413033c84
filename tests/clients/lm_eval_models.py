"""EleutherAI's evaluation harness with both of its models for servers of the OpenAI API.

Usage: lm_eval_models.py RUNS, a JSON list of objects with the arguments of lm-eval: `model`, `model_args`, `tasks`
(configurations of tasks, each with its `docs`) and others. Prints for each run the results of each task and, for each
of its documents, the model's responses. No data set and no tokenizer is downloaded: any connection to another machine
is an error.
"""

# mypy: ignore-errors
# It runs in environments of its own.

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory


def refuse_network(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", None):
        raise RuntimeError(f"look-up of {arguments[0]}")
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] != "127.0.0.1":
        raise RuntimeError(f"connection to {arguments[1]}")


def main(folder, runs):
    # Imported once the environment is set.
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    for run in runs:
        for task in run["tasks"]:
            write_task(folder, **task)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return [evaluated(simple_evaluate, manager, **run) for run in runs]


def write_task(folder, task, docs, **config):
    """Write a task as lm-eval reads tasks: a YAML file, here in JSON, and its documents."""
    (folder / f"{task}.docs.json").write_text("\n".join(map(json.dumps, docs)))
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / f"{task}.docs.json")}}}
    (folder / f"{task}.yaml").write_text(json.dumps({"task": task, "test_split": "test", **data, **config}))


def evaluated(evaluate, manager, tasks, **arguments):
    names = [task["task"] for task in tasks]
    found = evaluate(tasks=names, task_manager=manager, bootstrap_iters=0, **arguments)
    return {
        name: {
            "results": {key: value for key, value in found["results"][name].items() if is_score(key, value)},
            "responses": [sample["resps"] for sample in found["samples"][name]],
        }
        for name in names
    }


def is_score(key, value):
    return isinstance(value, float | int) and "stderr" not in key and "," in key


with TemporaryDirectory() as temporary:
    os.environ |= {"HF_HOME": temporary, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    os.environ |= {"LMEVAL_LOG_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    sys.addaudithook(refuse_network)
    printed, sys.stdout = sys.stdout, sys.stderr  # lm-eval prints too
    result = main(Path(temporary), json.loads(sys.argv[1]))
print(json.dumps(result), file=printed)
