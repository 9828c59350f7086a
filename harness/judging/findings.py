"""What an analysis of one judge's verdicts says, in plain sentences, each made from the figures it cites.

Whoever speaks of an analysis takes its sentences from here: `findings` is all there is to say of one alone,
`remarks` and `cautions` what stands beside others on a board.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.judging.leading import is_read, neighbours, opponent_of, rated, reservations, standing
from harness.judging.table import UNPARSED_LIMIT
from harness.stats.multiplicity import is_shown
from harness.stats.pairwise import RULES
from harness.stats.rates import EVEN

Json = Mapping[str, Any]
CONSISTENCY_LIMIT = 0.70
"""Below this share of pairs judged alike in both orders, position weighs too much in the verdicts."""
CONTROL_LIMIT = 0.10
"""Above this share of control pairs that went wrong, small differences are noise."""
_MOSTLY = 0.5
"""Above this share of flips a judge's verdicts follow the place more than the answers."""


def findings(judge: str, analysis: Json) -> list[str]:
    """Who leads, who cannot be told apart and what it would take, and how far the judge is to be trusted."""
    return [
        *refusal(judge, analysis),
        *_settled(analysis),
        *empty(judge, analysis),
        *standing(judge, analysis),
        *reservations(judge, analysis),
        *neighbours(analysis),
        *_unbounded(analysis),
        *_rules(judge, analysis),
        *_left_out(analysis),
        *_contradictions(judge, analysis),
        *_consistency(analysis),
        *_position(judge, analysis),
        *_first_logit(judge, analysis),
        *_unparsed(analysis),
        *_length(judge, analysis),
        *_identical(judge, analysis),
        *_repeats(judge, analysis),
    ]


def remarks(judge: str, analysis: Json, *, length: bool = True) -> Iterator[str]:
    """What is shown to move a judge beside the answers' worth; `length` says whether to speak of that."""
    controls = analysis["controls"]
    yield from reservations(judge, analysis)
    yield from _rules(judge, analysis)
    yield from _left_out(analysis)
    yield from _contradictions(judge, analysis)
    if is_shown(analysis["swaps"]["position_p_value"]):
        yield from _position(judge, analysis)
    if length and analysis["length"] and is_shown(analysis["length"]["p_value"]):
        yield from _length(judge, analysis)
    if controls["identical"]["to_first"] + controls["identical"]["to_second"]:
        yield from _identical(judge, analysis)
    if controls["repeats"]["changed"]:
        yield from _repeats(judge, analysis)


def cautions(judge: str, analysis: Json) -> Iterator[str]:
    """What is so far from what it should be that the judge's figures are to be read with care."""
    identical, repeats = analysis["controls"]["identical"], analysis["controls"]["repeats"]
    yield from refusal(judge, analysis)
    yield from _unread(judge, analysis)
    yield from _inconsistent(judge, analysis)
    if identical["n"] - identical["ties"] > CONTROL_LIMIT * identical["n"]:
        yield from (f"{told} So much of the rest is noise too." for told in _identical(judge, analysis))
    if repeats["changed"] > CONTROL_LIMIT * (repeats["same"] + repeats["changed"]):
        yield from _repeats(judge, analysis)


def refusal(judge: str, analysis: Json) -> Iterator[str]:
    """Why nothing is concluded from the verdicts."""
    if analysis["refused"]:
        yield f"Judge {judge} is not believed: {analysis['refused']}."


def empty(judge: str, analysis: Json) -> Iterator[str]:
    """That there is nothing to learn from the judge, where that is so."""
    if analysis["ties"] == 1:
        yield f"{judge} calls every pair that it was asked about a tie: it says nothing."
    elif not analysis["judgments"] and analysis["identical"]["pairs"]:
        yield f"{judge} was asked about no pair: in all of them the answers are identical."


def _settled(analysis: Json) -> Iterator[str]:
    pairs, total = (fmt.count(analysis["identical"][key]) for key in ("pairs", "of"))
    if analysis["identical"]["pairs"]:
        yield f"{pairs} of {total} pairs were identical answers: a tie, nobody asked."


def _rules(judge: str, analysis: Json) -> Iterator[str]:
    """Players that win by one rule of aggregation and lose by another."""
    opponent = opponent_of(analysis["against"])
    for name, rate in analysis["rates"].items():
        values = {rule: rate["rules"][rule]["value"] for rule in RULES}
        known = {rule: value for rule, value in values.items() if value is not None}
        if known and min(known.values()) < EVEN < max(known.values()):
            told = (f"{fmt.share(value)} by {rule.replace('_', ' ')}" for rule, value in known.items())
            yield (
                f"By {judge} the rules disagree on {name}: {', '.join(told)}. Whether it beats {opponent} "
                "depends on how disagreeing orders are counted."
            )


def _unbounded(analysis: Json) -> Iterator[str]:
    """Ratings to which the verdicts put no end, above or below."""
    rows = [row for row in analysis["abilities"] or () if row["low"] is None or row["high"] is None]
    if rows:
        yield (
            f"How far {fmt.listed([row['player'] for row in rows])} lie apart in rating is not known: some "
            "of them always won, always lost or never met the others."
        )


def _contradictions(judge: str, analysis: Json) -> Iterator[str]:
    if count := analysis["contradictions"]:
        yield (
            f"In {fmt.count(count)} of {fmt.count(analysis['judgments'])} verdicts {judge} states a "
            "preference that contradicts its choice; the average goes by the preference, the other rules by "
            "the choice."
        )


def _left_out(analysis: Json) -> Iterator[str]:
    """Pairs of answers that the other order is missing of, beside such that have both."""
    count, pairs = analysis["swaps"]["one_order"], analysis["swaps"]["pairs"]
    if count:
        yield (
            f"{fmt.count(count)} pairs of answers were judged in one order only; they are left out, as "
            f"{fmt.count(pairs)} of the same players were judged in both."
        )


def _consistency(analysis: Json) -> Iterator[str]:
    swaps = analysis["swaps"]
    if not analysis["judgments"]:
        return
    if swaps["consistency"] is None:
        yield _once(analysis)
    else:
        share, pairs = fmt.share(swaps["consistency"]), fmt.count(swaps["pairs"])
        yield f"In both orders {share} of {pairs} pairs are judged alike."


def _once(analysis: Json) -> str:
    if analysis["symmetric"]:
        return "Consistency is not known: the order of the answers is not recorded, or means nothing."
    if analysis["position"]:
        return "Consistency is not known: each pair was judged in one order only."
    return (
        "Consistency is not known: each pair was judged in one order only, and a liking for a position "
        "cannot be told from one for a player."
    )


def _position(judge: str, analysis: Json) -> Iterator[str]:
    swaps = analysis["swaps"]
    if swaps["consistency"] is not None:
        moved = is_shown(swaps["position_p_value"])
        yield (
            (f"The place of an answer moves {judge}: " if moved else f"No place is shown to move {judge}: ")
            + f"of {fmt.count(swaps['pairs'])} pairs {fmt.share(swaps['flips_to_first'])} flip to whatever "
            f"stood first and {fmt.share(swaps['flips_to_second'])} to whatever stood second "
            f"({fmt.p_value(swaps['position_p_value'])} over prompts, {_directions(swaps)})."
            + (_consequence(swaps) if moved else "")
        )


def _first_logit(judge: str, analysis: Json) -> Iterator[str]:
    if analysis["position"]:
        logits = fmt.with_interval(analysis["position"], "")
        yield f"To {judge} standing first is worth {logits} logits (Bradley-Terry)."


def _directions(swaps: Json) -> str:
    """The prompts that the sign test counts, by the side to which more of their pairs flipped."""
    first, second = (fmt.count(swaps[f"flipped_to_{side}"]) for side in ("first", "second"))
    return f"{first} to the first and {second} to the second"


def _consequence(swaps: Json) -> str:
    if swaps["flips_to_first"] + swaps["flips_to_second"] > _MOSTLY:
        return " Most verdicts follow the place, so that they tell little of the answers."
    return " Both orders are asked, so that this favours nobody."


def _unparsed(analysis: Json) -> Iterator[str]:
    if analysis["unparsed"] and not analysis["refused"]:
        kinds = ", ".join(f"{fault} {fmt.count(n)}" for fault, n in analysis["faults"].items())
        yield (
            f"{fmt.share(analysis['unparsed'])} of {fmt.count(analysis['judgments'])} verdicts could not be "
            f"read{f' ({kinds})' if kinds else ''}; they count as nothing."
        )


def _unread(judge: str, analysis: Json) -> Iterator[str]:
    shares = {name: rate["unparsed"] or 0.0 for name, rate in analysis["rates"].items() if rate["n"]}
    above = [f"{name} {fmt.share(share)}" for name, share in shares.items() if share > UNPARSED_LIMIT]
    if above:
        yield (
            f"More than {UNPARSED_LIMIT:.0%} of {judge}'s verdicts could not be read: {', '.join(above)}. "
            "What is left out is rarely a fair sample, so no conclusion is drawn from the rest."
        )


def _inconsistent(judge: str, analysis: Json) -> Iterator[str]:
    shares = {name: rate["consistency"] for name, rate in analysis["rates"].items() if rate["n"]}
    below = [
        f"{name} {fmt.share(share)}"
        for name, share in shares.items()
        if share is not None and share < CONSISTENCY_LIMIT
    ]
    if below:
        yield (
            f"Fewer than {CONSISTENCY_LIMIT:.0%} of the pairs got the same verdict of {judge} in both "
            f"orders: {', '.join(below)}. The order of the answers, and not the answers, decided the others."
        )


def _length(judge: str, analysis: Json) -> Iterator[str]:
    length = analysis["length"]
    if not length:
        return
    shown = is_shown(length["p_value"])
    way = "longer" if length["longer_wins"] > EVEN else "shorter"
    span = fmt.with_interval({**length, "value": length["longer_wins"]}, "%")
    likes = f"{judge} prefers the {way} answer" if shown else f"{judge} is not shown to heed length"
    n = f"{fmt.count(length['prompts'])} prompts ({fmt.count(length['pairs'])} pairs)"
    told = f"{likes}: the longer one wins {span}, n = {n}, {fmt.p_value(length['p_value'])}"
    if shown:
        told += f"; it may be the better one, or no more than that.{_equally_long(analysis)}"
    yield told if shown else f"{told}."


def _equally_long(analysis: Json) -> str:
    """What the leader would win at equal length, or that the verdicts do not tell."""
    believed = {name: value for name, value in rated(analysis).items() if is_read(analysis["rates"][name])}
    leader = max(believed, key=lambda name: believed[name], default="")
    adjusted = (analysis["length_controlled"] or {}).get(leader)
    if not adjusted:
        return ""
    if adjusted["value"] is None:
        return f" What {leader} would win at equal length cannot be told from its verdicts."
    return f" At equal length {leader} would win {fmt.with_interval(adjusted, '%')}."


def _identical(judge: str, analysis: Json) -> Iterator[str]:
    identical = analysis["controls"]["identical"]
    if identical["n"]:
        n, ties, first, second, unread = (
            fmt.count(identical[key]) for key in ("n", "ties", "to_first", "to_second", "unparsed")
        )
        yield (
            f"Of {n} pairs of identical answers {judge} called {ties} a tie; of {first} it preferred "
            f"the first, of {second} the second, and {unread} are unparsed."
        )


def _repeats(judge: str, analysis: Json) -> Iterator[str]:
    repeats = analysis["controls"]["repeats"]
    if told := repeats["same"] + repeats["changed"]:
        yield (
            f"Asked again about {fmt.count(told)} pairs, {judge} said the same of "
            f"{fmt.count(repeats['same'])} and changed its verdict on {fmt.count(repeats['changed'])}."
        )
