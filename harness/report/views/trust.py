"""Can a judge be believed? A word, the reasons for it in half a line, and the figures behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.judging.findings import CONSISTENCY_LIMIT
from harness.report.board.columns import NOT_BELIEVED, WITH_CARE
from harness.report.judge_kinds import KINDS
from harness.report.views.agreement import people_rows
from harness.stats.multiplicity import is_shown
from harness.stats.rates import EVEN

Json = Mapping[str, Any]
REFUSED, CAREFUL, STEADY, OTHER = "refused", "careful", "steady", "other"
"""How a word is meant: not to be believed, something speaks against it, nothing does, no matter of belief."""


def verdict_on(judge: Json, results: Json) -> dict[str, Any]:
    """`tone`, `word` and `line`: what a sceptic has to know of a judge first."""
    tone, word = _word(judge)
    facts = "; ".join(_facts(judge, results))
    return {"tone": tone, "word": word, "line": facts and facts[0].upper() + facts[1:] + "."}


def asked(judge: Json) -> int:
    """How many verdicts it was asked for. To one to which the order means nothing a pair is one question."""
    analysis = judge["analysis"]
    swaps = analysis["swaps"]
    return int(swaps["pairs"] + swaps["incomplete"] if judge["symmetric"] else analysis["judgments"])


def faults(judge: Json) -> list[tuple[str, int]]:
    """Why verdicts could not be read, in words, with how many; the most frequent first."""
    lines, n = judge["analysis"]["judgments"], asked(judge)
    found = {fault: round(count * n / lines) for fault, count in judge["receipt"]["faults"].items() if lines}
    return [(_in_words(fault, judge), found[fault]) for fault in sorted(found, key=lambda key: -found[key])]


def _in_words(fault: str, judge: Json) -> str:
    words = {
        "invalid": "not of a form that can be read",
        "empty": "empty",
        "cut": "cut off at the limit of tokens",
        "refused": "refused",
        "too_long": "too long for the judge’s context",
    }
    limit = judge["plugin"]["options"].get("max_length")
    size = f" of {fmt.count(limit)} tokens" if fault == "too_long" and isinstance(limit, int) else ""
    return words.get(fault, fault.replace("_", " ")) + size


def mostly(judge: Json) -> str:
    """What most of the verdicts that could not be read have in common; empty where it is not known."""
    for words, count in faults(judge)[:1]:
        return f"{fmt.count(count)} of {fmt.count(asked(judge))} {words}"
    return ""


def _word(judge: Json) -> tuple[str, str]:
    analysis = judge["analysis"]
    if analysis is None:
        return OTHER, "no verdict"
    if analysis["refused"]:
        return REFUSED, NOT_BELIEVED
    if judge["warnings"]:
        return CAREFUL, WITH_CARE
    if kind := KINDS.get(judge["verdicts_of"]):
        return OTHER, kind.word
    if analysis["swaps"]["consistency"] is None and not judge["symmetric"]:
        return CAREFUL, "not tested"
    if _leans(judge):
        return OTHER, "leaning" if judge["symmetric"] else "steady, leaning"
    return STEADY, "no warning" if judge["symmetric"] else "steady"


def _leans(judge: Json) -> bool:
    """Whether a place or a length is shown to move it, or a control went wrong: too little for a warning."""
    return any(
        (*_place(judge["analysis"]["swaps"]), *_length(judge), *_controls(judge["analysis"]["controls"]))
    )


def _facts(judge: Json, results: Json) -> Iterator[str]:
    analysis = judge["analysis"]
    if analysis is None:
        yield "nothing is known of it"
        return
    yield from _kind(judge)
    refused = bool(analysis["refused"])
    if refused:
        yield _unread(judge)
    yield from _order(judge)
    if analysis["unparsed"] and not refused:
        yield _unread(judge)
    yield from _length(judge)
    yield from _controls(analysis["controls"])
    for row in people_rows(judge["name"], results):
        yield f"says what people said on {fmt.share(row['same'])} of {fmt.counted(row['n'], 'pair')}"


def _unread(judge: Json) -> str:
    share, total = fmt.share(judge["analysis"]["unparsed"]), fmt.count(asked(judge))
    why = mostly(judge)
    return f"{share} of its {total} verdicts could not be read" + (f" ({why})" if why else "")


def _kind(judge: Json) -> Iterator[str]:
    if kind := KINDS.get(judge["verdicts_of"]):
        yield kind.fact
    if judge["analysis"]["ties"] == 1:
        yield "calls every pair a tie, and so says nothing"


def _order(judge: Json) -> Iterator[str]:
    swaps = judge["analysis"]["swaps"]
    if judge["symmetric"]:
        if judge["verdicts_of"] is None:
            yield "the order of the answers means nothing to it"
    elif swaps["consistency"] is None:
        yield "asked in one order only: what it likes cannot be told from where that stood"
    else:
        same, pairs = fmt.share(swaps["consistency"]), fmt.counted(swaps["pairs"], "pair")
        moved = swaps["consistency"] < CONSISTENCY_LIMIT
        yield (
            f"moved by the order: only {same} of {pairs} alike in both"
            if moved
            else f"{same} of {pairs} alike in both orders"
        )
        yield from _place(swaps)


def _place(swaps: Json) -> Iterator[str]:
    if is_shown(swaps["position_p_value"]):
        side = "first" if swaps["flips_to_first"] > swaps["flips_to_second"] else "second"
        yield f"leans to whatever stands {side}"


def _length(judge: Json) -> Iterator[str]:
    length = judge["analysis"]["length"]
    if length and judge["verdicts_of"] != "length" and is_shown(length["p_value"]):
        often = "more" if length["longer_wins"] > EVEN else "less"
        yield f"longer answers won {often} often: the longer one wins {fmt.share(length['longer_wins'])}"


def _controls(controls: Json) -> Iterator[str]:
    identical, repeats = controls["identical"], controls["repeats"]
    if wrong := identical["n"] - identical["ties"]:
        yield f"no tie on {fmt.count(wrong)} of {fmt.count(identical['n'])} identical pairs"
    if repeats["changed"]:
        told = repeats["same"] + repeats["changed"]
        yield f"changed its mind on {fmt.count(repeats['changed'])} of {fmt.count(told)} repeats"
