"""The figures behind the word on a judge, each with its name, a note and, where it says more, a drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.report.views import bars
from harness.report.views.agreement import with_people
from harness.report.views.trust import asked, faults

Json = Mapping[str, Any]
ORDERS = (
    ("consistency", "alike"),
    ("win_tie", "half"),
    ("flips_to_first", "to-first"),
    ("flips_to_second", "to-second"),
)
"""What can become of a pair when the order is swapped, all of them a whole, and the class of its part."""


def glance(judge: Json, results: Json) -> dict[str, Any]:
    """The figures by which judges are set side by side, as text; a dash where one is not known."""
    analysis = judge["analysis"] or {"swaps": {}, "unparsed": None, "length": None}
    consistency, longer = analysis["swaps"].get("consistency"), analysis["length"] or {}
    return {
        "consistency": fmt.known(fmt.share, consistency),
        "consistency_bar": bars.share(consistency),
        "unparsed": fmt.known(fmt.share, analysis["unparsed"]),
        "unparsed_bar": bars.share(analysis["unparsed"]),
        "longer": fmt.known(fmt.share, longer.get("longer_wins")),
        "longer_bar": _interval(longer),
        "people": with_people(judge["name"], results),
    }


def figures(judge: Json, results: Json) -> list[dict[str, Any]]:
    """{"name", "value", "notes", "bar"} of all there is to know of a judge, what decides first."""
    analysis = judge["analysis"]
    found = [*_of_verdicts(judge, analysis)] if analysis else []
    found += [
        _figure("agrees with people", row["same"], row["note"], bar=row["bar"])
        for row in with_people(judge["name"], results)
    ]
    return [*found, *_receipt(judge["receipt"])]


def _of_verdicts(judge: Json, analysis: Json) -> Iterator[dict[str, Any]]:
    swaps = analysis["swaps"]
    if swaps["consistency"] is not None:
        yield _figure(
            "consistency",
            fmt.share(swaps["consistency"]),
            f"of {fmt.counted(swaps['pairs'], 'pair')} read in both orders",
            f"kappa of the orders {fmt.known(fmt.two, swaps['kappa'])}",
            bar=bars.parts([(swaps[key] or 0.0, class_) for key, class_ in ORDERS]),
        )
        yield _figure(
            "flips",
            f"{fmt.share(swaps['flips_to_first'])} to first, {fmt.share(swaps['flips_to_second'])} to second",
            fmt.p_value(swaps["position_p_value"]).replace("p ", "p of the place ", 1),
            f"win and tie {fmt.share(swaps['win_tie'])}",
        )
    kinds = ", ".join(f"{fmt.count(n)} {words}" for words, n in faults(judge))
    total = f"of {fmt.counted(asked(judge), 'verdict')} on {fmt.counted(analysis['prompts'], 'prompt')}"
    bar = bars.share(analysis["unparsed"])
    yield _figure("unparsed", fmt.known(fmt.share, analysis["unparsed"]), total, kinds, bar=bar)
    if length := analysis["length"]:
        span = fmt.interval(length["longer_wins"], length["low"], length["high"], "%")
        notes = (f"95% interval {span}" if span else "", fmt.p_value(length["p_value"]))
        yield _figure("longer wins", fmt.share(length["longer_wins"]), *notes, bar=_interval(length))
    yield from _controls(analysis["controls"])
    if analysis["identical"]["pairs"]:
        pairs, total = (fmt.count(analysis["identical"][key]) for key in ("pairs", "of"))
        yield _figure("identical answers", f"{pairs} of {total} pairs", "a tie, nobody asked")


def _controls(controls: Json) -> Iterator[dict[str, Any]]:
    """One figure of the control pairs and the share that went right; it says so where there are none."""
    identical, repeats = controls["identical"], controls["repeats"]
    told = repeats["same"] + repeats["changed"]
    values, notes = [], []
    if identical["n"]:
        values.append(f"{fmt.count(identical['ties'])} of {fmt.count(identical['n'])} identical tied")
        first, second = (fmt.count(identical[side]) for side in ("to_first", "to_second"))
        wrong = identical["to_first"] or identical["to_second"]
        notes.append(f"preferred the first of {first}, the second of {second}" if wrong else "")
        notes.append(f"{fmt.count(identical['unparsed'])} unparsed" if identical["unparsed"] else "")
    if repeats["n"]:
        values.append(f"{fmt.count(repeats['same'])} of {fmt.count(told)} repeats alike")
    asked_for = identical["n"] + told
    bar = bars.share((identical["ties"] + repeats["same"]) / asked_for) if asked_for else ""
    yield _figure("controls", ", ".join(values) or "none asked for", *notes, bar=bar)


def _receipt(receipt: Json) -> Iterator[dict[str, Any]]:
    """What the verdicts took; a judge that is no language model has no tokens."""
    sent, received = receipt["prompt_tokens"], receipt["completion_tokens"]
    yield _figure(
        "cost",
        "unknown" if receipt["cost_usd"] is None else fmt.dollars(receipt["cost_usd"]),
        f"tokens {fmt.count(sent)} + {fmt.count(received)}" if sent or received else "",
        f"asked {fmt.count(receipt['asked'])}, cached {fmt.count(receipt['from_cache'])}",
    )


def _figure(name: str, value: str, *notes: str, bar: Any = "") -> dict[str, Any]:
    return {"name": name, "value": value, "notes": [note for note in notes if note], "bar": bar}


def _interval(length: Json) -> Any:
    return bars.interval(length.get("longer_wins"), length.get("low"), length.get("high"))
