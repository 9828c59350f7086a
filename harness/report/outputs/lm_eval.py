"""lm-eval/<candidate>/: results and samples in the form of lm-evaluation-harness, for its readers.

Followed: EleutherAI/lm-evaluation-harness at 4e7e0d47, lm_eval/result_schema.py (EvalResults, SampleResult),
lm_eval/loggers/evaluation_tracker.py (what --log_samples writes, and its names), lm_eval/evaluator.py (the
hashes), lm_eval/utils.py (the readers that find files by their names) and lm_eval/loggers/wandb_logger.py (a
sample's bits_per_byte is a pair: log-likelihood, bytes). The run is one task, of the suite's name.

Files are named results_<id>.json and samples_<task>_<id>.jsonl. Theirs have the date in the place of <id>,
and their readers look for both underscores; a report has no date, so here it is a digest of results.json.

What differs is left out or said: there is no `date` and no `lm_eval_version`, `model_source` is sft-harness,
and a prompt is the JSON of its messages, as lm-eval logs one for chat servers. A metric keeps our name and
meaning (`perplexity` is per token of the references, over all of them). A missing figure has no key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from harness.report.outputs.names import task_name
from harness.report.outputs.standard_errors import StandardError
from harness.report.text import name_of
from harness.text import well_formed
from harness.validity import is_finite

Json = Mapping[str, Any]

FILTER = "none"
"""lm-eval's name of answers that were not filtered."""
_DIGITS = 12
_NO_PAIR = [None, None]
"""The bits per byte of a sample that could not be measured."""


def run_id(results: Json) -> str:
    """What stands in file names in the place of a date."""
    return _sha256(json.dumps(results, sort_keys=True, ensure_ascii=True))[:_DIGITS]


class LmEvalSamples:
    """Takes the lines of examples.jsonl one by one and writes each candidate's samples, then its results.

    `folders`: candidate -> the folder of its files, which is there. An example that a candidate has no answer
    to is no sample.
    """

    def __init__(self, folders: Mapping[str, Path], results: Json) -> None:
        self._results = results
        self._id, self._task = run_id(results), task_name(results)
        known = {c["name"]: c for c in results["candidates"] if c["name"] in folders}
        self._writers = {
            name: _Candidate(folders[name] / f"samples_{self._task}_{self._id}.jsonl", known[name], results)
            for name in folders
        }
        self._folders = folders
        self._number = 0

    def add(self, entry: Json) -> None:
        """A sample for each candidate that answered the example."""
        shared = _Shared(self._number, entry)
        self._number += 1
        for name, writer in self._writers.items():
            answer = entry["answers"].get(name)
            if answer is not None:
                writer.add(shared, answer)

    def close(self) -> None:
        """Write each candidate's results beside its samples."""
        for name, writer in self._writers.items():
            writer.file.close()
            text = json.dumps(writer.results(self._task, self._number), indent=2, ensure_ascii=False)
            path = self._folders[name] / f"results_{self._id}.json"
            path.write_text(well_formed(text) + "\n", encoding="utf-8", newline="\n")

    def abandon(self) -> None:
        """Let go of files that will not be finished."""
        for writer in self._writers.values():
            writer.file.close()


class _Shared:
    """What the samples of one example have in common, as JSON."""

    def __init__(self, number: int, entry: Json) -> None:
        messages = [{"role": m["role"], "content": m["content"]} for m in entry["prompt"]]
        doc = {"id": entry["id"], "prompt": messages, "reference": entry["reference"]}
        prompt, target = _dumps(messages), well_formed(entry["reference"] or "")
        hashes = _sha256(json.dumps(doc, indent=2, ensure_ascii=False)), _sha256(prompt), _sha256(target)
        self.hashes = "".join(hashes).encode()
        self.head = f'"doc_id": {number}, "doc": {_dumps(doc)}, "target": {_dumps(target)}'
        self.prompt = _dumps(prompt)
        names = ("doc_hash", "prompt_hash", "target_hash")
        self.tail = ", ".join(f'"{name}": "{value}"' for name, value in zip(names, hashes, strict=True))


class _Candidate:
    """One candidate's samples, and what its results need of them."""

    def __init__(self, path: Path, candidate: Json, results: Json) -> None:
        self.file: BinaryIO = path.open("wb")
        self._candidate, self._results = candidate, results
        self._metrics = [m for m in results["metrics"] if _value(candidate, m["name"]) is not None]
        named = {m["name"]: _key(m["name"]) for m in self._metrics}
        self._keys = [(name, key, _dumps(key)) for name, key in named.items()]
        self._errors = {
            m["name"]: StandardError(
                candidate["scores"][m["name"]], several_seeds=len(candidate["seeds"]) > 1
            )
            for m in self._metrics
        }
        generation = (candidate.get("recipe") or {}).get("generation") or {}
        self._arguments = {"until": [], **generation}
        self._settings = _dumps(self._arguments)
        self._hashes = hashlib.sha256()
        self._answered = 0

    def add(self, shared: _Shared, answer: Json) -> None:
        scores, statistics = answer.get("scores") or {}, answer.get("statistics") or {}
        for name, error in self._errors.items():
            error.add(scores.get(name), statistics.get(name))
        if answer["text"] is None:
            return
        self._answered += 1
        self._hashes.update(shared.hashes)
        text = json.dumps(answer["text"], ensure_ascii=False)
        present, figures = [], []
        for name, key, quoted in self._keys:
            value = _measured(key, scores.get(name), statistics.get(name))
            figures.append(f", {quoted}: {json.dumps(value)}")
            if value not in (None, _NO_PAIR):
                present.append(quoted)
        line = (
            f'{{{shared.head}, "arguments": {{"gen_args_0": {{"arg_0": {shared.prompt}, '
            f'"arg_1": {self._settings}}}}}, "resps": [[{text}]], "filtered_resps": [{text}], '
            f'"filter": "{FILTER}", "metrics": [{", ".join(present)}], {shared.tail}{"".join(figures)}}}\n'
        )
        self.file.write(_encoded(line))

    def results(self, task: str, asked: int) -> dict[str, Any]:
        """The results file, keys in lm-eval's order; `asked`: how many examples there were."""
        candidate, environment = self._candidate, self._results["environment"]
        return {
            "results": {task: self._figures(task)},
            "group_subtasks": {task: []},
            "configs": {task: self._config(task)},
            "versions": {task: self._version()},
            "n-shot": {task: 0},
            "higher_is_better": {task: {_key(m["name"]): m["higher_is_better"] for m in self._metrics}},
            "n-samples": {task: {"original": self._eval_rows(asked), "effective": self._answered}},
            "config": {
                "model": candidate["backend"],
                "model_args": {"pretrained": name_of(candidate["model"] or "")},
                "batch_size": None,
                "batch_sizes": [],
                "device": (candidate.get("costs") or {}).get("device"),
                "use_cache": None,
                "limit": None,
                "gen_kwargs": self._arguments,
                "random_seed": candidate["seeds"][0] if candidate["seeds"] else None,
            },
            "transformers_version": (environment.get("packages") or {}).get("transformers"),
            "sft_harness_version": environment.get("harness"),
            "model_source": "sft-harness",
            "model_name": candidate["name"],
            "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", candidate["name"]),
            "system_instruction": None,
            "system_instruction_sha": None,
            "fewshot_as_multiturn": None,
            "chat_template": None,
            "chat_template_sha": None,
            "task_hashes": {task: self._hashes.hexdigest()},
            "total_evaluation_time_seconds": _seconds(candidate),
        }

    def _figures(self, task: str) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "name": task,
            "alias": self._results["suite"]["name"],
            "sample_len": self._answered,
            "sample_count": {f"{_key(m['name'])},{FILTER}": self._score(m)["n"] for m in self._metrics},
        }
        for metric in self._metrics:
            key, error = _key(metric["name"]), self._errors[metric["name"]].value()
            figures[f"{key},{FILTER}"] = self._score(metric)["value"]
            figures[f"{key}_stderr,{FILTER}"] = "N/A" if error is None else error
        return figures

    def _config(self, task: str) -> dict[str, Any]:
        return {
            "task": task,
            "task_alias": self._results["suite"]["name"],
            "output_type": "generate_until",
            "description": "",
            "num_fewshot": 0,
            "repeats": 1,
            "generation_kwargs": self._arguments,
            "metric_list": list(self._metric_list()),
            "metadata": {
                "version": self._version(),
                "eval_sha256": self._results["data"].get("eval_sha256"),
                "signatures": {_key(m["name"]): m["signature"] for m in self._metrics},
                "intervals_95": {_key(m["name"]): _interval(self._score(m)) for m in self._metrics},
                "unscored": {_key(m["name"]): self._score(m).get("unscored", 0) for m in self._metrics},
            },
        }

    def _metric_list(self) -> Iterator[dict[str, Any]]:
        for metric in self._metrics:
            yield {
                "metric": _key(metric["name"]),
                "aggregation": self._errors[metric["name"]].aggregation(),
                "higher_is_better": metric["higher_is_better"],
            }

    def _eval_rows(self, asked: int) -> int:
        return int((self._results["data"].get("rows") or {}).get("eval", asked))

    def _version(self) -> str:
        """The eval set stands for the task: other examples are another version of it."""
        return str(self._results["data"].get("eval_sha256") or "")[:_DIGITS] or "unknown"

    def _score(self, metric: Json) -> Json:
        score: Json = self._candidate["scores"][metric["name"]]
        return score


def _value(candidate: Json, metric: str) -> float | None:
    found = (candidate["scores"].get(metric) or {}).get("value")
    return found if is_finite(found) else None


def _key(metric: str) -> str:
    """A metric's name as lm-eval can tell it from the filter that follows after a comma."""
    return well_formed(metric).replace(",", "_")


def _interval(score: Json) -> Sequence[float | None]:
    return [score.get("low"), score.get("high")]


def _seconds(candidate: Json) -> str | None:
    seconds = (candidate.get("costs") or {}).get("predict_seconds")
    return None if seconds is None else str(seconds)


def _measured(key: str, value: Any, statistics: Any) -> Any:
    """A sample's figure; of bits per byte what lm-eval's readers take apart, (log-likelihood, bytes)."""
    known = is_finite(value)
    if key != "bits_per_byte":
        return value if known else None
    first = statistics[0] if statistics else None
    if first is None or len(first) != 2:
        return value if known else _NO_PAIR
    return [-first[0], first[1]]


def _dumps(value: Any) -> str:
    return well_formed(json.dumps(value, ensure_ascii=False))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: rare, so looked for last
        return well_formed(text).encode()


def _sha256(text: str) -> str:
    return hashlib.sha256(well_formed(text).encode()).hexdigest()
