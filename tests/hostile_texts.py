"""Texts that would run, act or break a layout if a page let them, and a report that has them everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report_candidates import TUNED
from report_inputs import make_report_input

Json = dict[str, Any]
CORPUS = {
    "script": "</script><script>document.title = 'ran'; alert(1)</script>",
    "attribute": "\"'><img src=x onerror=alert(1)> ' onmouseover='alert(1)' autofocus onfocus=alert(1) x='",
    "svg": "<svg onload=alert(1)><script>alert(1)</script><use href='data:x'/></svg><iframe srcdoc='x'>",
    "template": "{{ 7 * 7 }} {% include 'x' %} ${7*7} #{7*7} <%= 7 %> {{ self.__init__.__globals__ }}",
    "comment": "<!-- <script> --!> ]]> </style></title></textarea></template></noscript>",
    "address": "javascript:alert(1) https://example.org/x.png url(//example.org/x) @import '//example.org'",
    "control": "null \x00 bell \x07 escape \x1b[31m red \x7f \x85 \x9b backspace \x08 feed \x0c",
    "bidi": "\u202eright \u202dleft \u2066isolate \u2067other \u2069\u2069\u2069 \u200fmark \u061cmark",
    "surrogate": "\ud800 high \udc00 low \ud83d\ud83d \ufffe \uffff \ufeffmark",
    "separator": "line\u2028line\u2029line\r\nline\rline\vline",
    "line": "unbroken" * 12_500,
    "wide": "﷽" * 300 + "𒐫" * 300 + "\u00a0" * 2_000 + "\t" * 500,
    "zalgo": "".join(letter + "".join(map(chr, range(0x300, 0x36F))) for letter in "zalgo") * 4,
    "prototype": "__proto__ constructor toString hasOwnProperty",
    "json": '\\u003c \\" \\ \n {"a": [1, 2]} \u0000',
    "paths": "../../etc/passwd #examples?a=<script>&page=NaN %00 %F0%28 %",
}


def make_hostile_report(folder: Path, texts: list[str]) -> Path:
    """A report's input with the texts in turn everywhere: ids, prompts, answers, errors, reasons, names."""
    make_report_input(folder, examples=2 * len(texts))
    names = {name: f"{name} {texts[place % len(texts)]}" for place, (name, *_) in enumerate(TUNED)}
    results = json.loads((folder / "results.json").read_text())
    lines = [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]
    results = renamed(results, names)
    every = " ".join(text[:2_000] for text in texts)
    results["suite"].update(
        name=f"suite {every}", description=every, text=f"{results['suite']['text']}\n{every}"
    )
    for place, metric in enumerate(results["metrics"]):
        metric["label"] += " " + texts[place % len(texts)][:200]
        metric["signature"] += texts[place % len(texts)]
    poisoned = [poison_line(renamed(line, names), texts[n % len(texts)]) for n, line in enumerate(lines)]
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in poisoned))
    return folder


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The value with candidates of other names, wherever these stand alone."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


def poison_line(line: Json, text: str) -> Json:
    """A line of examples.jsonl with the text in all that somebody wrote."""
    line["id"] += text
    line["reference"] = f"{text} {line['reference']}"
    for message in line["prompt"]:
        message["content"] += text
        message["role"] += text[:100]
    for answer in line["answers"].values():
        if answer["text"] is None:
            answer["error"] += text
        else:
            answer["text"] = text + answer["text"]
    for given in line["verdicts"].values():
        for verdict in (one for of_one in given.values() for one in of_one):
            verdict["reason"] = verdict["reason"] and verdict["reason"] + text
            verdict["raw"] += text
    return line
