"""The methods paragraph on the judges: who they are, what they saw, what is made of their verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.strength import DRAWS
from harness.judging.table import UNPARSED_LIMIT
from harness.records import ALL
from harness.report.judge_kinds import KINDS
from harness.report.views.agreement import people_rows
from harness.report.views.methods.citing import cite, listed, value, word
from harness.report.views.methods.scores import several_seeds
from harness.report.views.trust import asked
from harness.stats.multiplicity import ALPHA

Json = Mapping[str, Any]


def passage(results: Json) -> Iterator[str]:
    """Sentences on each judge, on win rates and on agreement; none where there is no judge."""
    judges = results["judges"]
    for judge in judges:
        yield from _judge(judge)
    believed = [judge for judge in judges if judge["analysis"]]
    if believed:
        yield from _rules(believed)
        yield from _tests(believed, results)
        yield from _ratings(believed)
    yield from _agreement(results)


def _judge(judge: Json) -> Iterator[str]:
    analysis, receipt = judge["analysis"], judge["receipt"]
    against = (
        "every two players" if judge["against"] == ALL else f"each candidate with {word(judge['against'])}"
    )
    who = f"Judge {word(judge['name'])} ({_kind(judge)})"
    if analysis is None:
        yield f"{who} gave no verdict."
        return
    prompts, signature = fmt.counted(analysis["prompts"], "prompt"), word(judge["signature"])
    yield f"{who} compared {against} on {prompts}, {_orders(judge)} [{signature}]."
    told = []
    swaps = analysis["swaps"]
    if swaps["consistency"] is not None:
        told.append(
            f"{fmt.share(swaps['consistency'])} of {fmt.counted(swaps['pairs'], 'pair')} were judged alike "
            f"in both orders ({fmt.share(swaps['flips_to_first'])} flipped to the first answer, "
            f"{fmt.share(swaps['flips_to_second'])} to the second)"
        )
    if analysis["unparsed"]:
        told.append(
            f"{fmt.share(analysis['unparsed'])} of {fmt.counted(asked(judge), 'verdict')} could not "
            "be read and are left out"
        )
    if told:
        yield f"Of its verdicts, {'; '.join(told)}."
    if receipt["skipped"]:
        yield f"{fmt.counted(receipt['skipped'], 'pair')} lacked an answer and had no verdict."
    if analysis["refused"]:
        limit = fmt.share(UNPARSED_LIMIT)
        yield f"No conclusion is drawn from {word(judge['name'])}: more than {limit} could not be read."


def _kind(judge: Json) -> str:
    """What a judge is, by what it says of itself."""
    if judge["members"]:
        return f"a panel of {listed(judge['members'])}"
    if kind := KINDS.get(judge["verdicts_of"]):
        return kind.method
    options = judge["plugin"]["options"]
    told = (
        [f"the model {word(options['model'])}"]
        if options.get("model")
        else [f"plugin {word(judge['plugin']['name'])}"]
    )
    if options.get("temperature") is not None:
        told.append(f"temperature {value(options['temperature'])}")
    if (options.get("samples") or 1) > 1:
        told.append(f"{fmt.count(options['samples'])} samples each")
    return ", ".join(told)


def _orders(judge: Json) -> str:
    if judge["symmetric"]:
        return "each pair once, as the order means nothing to it"
    return "each pair in both orders" if judge["analysis"]["swapped"] else "each pair in one order"


def _rules(judges: Sequence[Json]) -> Iterator[str]:
    both = any(judge["analysis"]["swapped"] for judge in judges)
    orders = "its worth is the mean over the two orders" if both else "its worth is that of its verdict"
    yield (
        f"A win rate is the mean over prompts of the worth of a pair, 1 for a win, 1/2 for a tie or the "
        f"preference that the judge states; {orders}."
        + (
            " Beside it we give the win rate that counts disagreeing orders as a tie"
            f"{cite('zheng2023judge')} and that of the pairs whose orders agree on a winner."
            if both
            else ""
        )
    )
    if any(judge["analysis"]["identical"]["pairs"] for judge in judges):
        yield "Identical answers are a tie that no judge is asked about."


def _tests(judges: Sequence[Json], results: Json) -> Iterator[str]:
    told = (
        "Intervals of win rates are 95% and by Wilson's method"
        f"{cite('wilson1927')}, where prompts are not plain wins and losses with as many examples as would "
        f"vary as much{cite('kish1965')}"
    )
    if several_seeds(results):
        told += f"; with several seeds intervals and tests are over seeds and prompts{cite('obuchowski1995')}"
    yield f"{told}."
    families = []
    if any(judge["against"] != ALL for judge in judges):
        families.append(
            "over all comparisons with the opponent and all differences between candidates together where "
            "there is one opponent"
        )
    if any(judge["against"] == ALL for judge in judges):
        families.append(
            "over all pairs, and again over all win rates against the field, where every two are compared"
        )
    yield (
        "They are tested against an even contest by flipping the signs of the prompts' leads, exactly where "
        "these are multiples of a small unit as wins, losses and ties are and else at random, and corrected "
        f"by Holm's method{cite('holm1979')} judge by judge, {fmt.listed(families)}. A lead counts where the "
        f"corrected p-value is below {fmt.number(ALPHA, 1)}, unless more than {fmt.share(UNPARSED_LIMIT)} of "
        "the verdicts behind it could not be read or a judge that always chooses the same place would show "
        "as large a one."
    )


def _ratings(judges: Sequence[Json]) -> Iterator[str]:
    rated = [judge for judge in judges if judge["against"] == ALL and judge["analysis"]["abilities"]]
    if rated:
        position = any(judge["analysis"]["position"] for judge in rated)
        term = " with a term for the first place" if position else ""
        yield (
            f"Ratings by {listed([judge['name'] for judge in rated])} are of a Bradley-Terry model"
            f"{cite('bradley1952')}{term}, with intervals by bootstrap over prompts "
            f"({fmt.count(DRAWS)} resamples)."
        )


def _agreement(results: Json) -> Iterator[str]:
    agreement = results["agreement"]
    if agreement is None:
        return
    rows = [row for row in agreement["pairs"] if row["n"]]
    alpha, fleiss = agreement["krippendorff"], agreement["fleiss"]
    told = [f"Agreement of two judges is given as Cohen's kappa{cite('cohen1960kappa')}"] if rows else []
    for figure, name, key in (
        (alpha, "Krippendorff's alpha", "krippendorff2011"),
        (fleiss, "Fleiss' kappa", "fleiss1971"),
    ):
        if figure and figure["value"] is not None:
            told.append(
                f"all together agree by {name}{cite(key)} "
                f"{fmt.kappa(figure['value'], figure['low'], figure['high'])} over "
                f"{fmt.counted(figure['n'], 'pair')}"
            )
    if told:
        yield f"{'; '.join(told)}."
    for judge in results["judges"]:
        for row in people_rows(judge["name"], results):
            yield (
                f"{word(judge['name'])} agrees with people on {fmt.share(row['same'])} of "
                f"{fmt.counted(row['n'], 'pair')} (kappa {fmt.kappa(row['kappa'], row['low'], row['high'])})."
            )
