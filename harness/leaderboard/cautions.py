"""What speaks against the figures of a board: of one candidate, and of the comparison as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.measurements import INSTEAD

Json = Mapping[str, Any]
FEW_EXAMPLES = 30
"""Below this many, a percentile interval is too narrow more often than it says."""
OF_FEW = f"below {FEW_EXAMPLES} intervals tend to be too narrow, and only large differences can be seen."
"""What that means for whoever reads figures over fewer."""
CUT_OFF_LIMIT = 0.10
TRUNCATED_LIMIT = 0.10
MISSING_LIMIT = 0.10
TOKENS_TOLERANCE = 0.01


def candidate_warnings(candidate: Json, base: Json, metrics: Sequence[Json]) -> list[str]:
    """What to know before believing a row, judges apart."""
    if candidate["status"] == "failed":
        return []
    return [
        *_unscored(candidate, metrics),
        *_truncated(candidate),
        *_unanswered(candidate),
        *_other_tokenizer(candidate, base, metrics),
    ]


def board_warnings(results: Json) -> list[str]:
    """What to know before comparing rows at all."""
    candidates = results["candidates"]
    return [
        *_few_examples(candidates),
        *_too_long(results["data"]),
        *_same_answers(candidates),
        *_missing(candidates),
        *_cut_off(candidates),
        *_repeats(results["data"]),
        *_unequal(candidates, "effective_batch_size", "effective batch sizes", 0.0),
        *_unequal(candidates, "tokens_seen", "numbers of training tokens", TOKENS_TOLERANCE),
        *_unequal_precision(candidates),
        *_unequal_tries(candidates),
        *_processor(candidates),
        *_not_believed(results["judges"]),
        *_sampled(results["judges"]),
    ]


def _unscored(candidate: Json, metrics: Sequence[Json]) -> Iterator[str]:
    for metric in metrics:
        score = candidate["scores"][metric["name"]]
        if "missing" in score:
            yield f"{metric['label']} is missing: {score['missing']}"
        elif score["unscored"]:
            examples = f"{score['unscored']:,} of {score['n'] + score['unscored']:,} examples"
            because = score.get("unscored_because", "")
            yield f"{metric['label']} leaves out {examples}, which could not be scored{because}"


def _truncated(candidate: Json) -> Iterator[str]:
    training = candidate["training"]
    if training and training["rows_truncated"] > TRUNCATED_LIMIT * training["rows_used"]:
        cut, used = training["rows_truncated"], training["rows_used"]
        yield f"{fmt.share(cut / used)} of the training rows ({cut:,} of {used:,}) were truncated to fit"


def _unanswered(candidate: Json) -> Iterator[str]:
    answers = candidate["answers"]
    if answers and answers["missing"]:
        yield f"{answers['missing']:,} of {answers['n']:,} prompts got no answer"


def judge_warnings(candidate: Json) -> Iterator[str]:
    """What to know before believing a row's win rates; what is true of several judges is listed once."""
    if candidate["status"] == "failed":
        return
    rates = candidate["win_rates"]
    for reason, judges in _alike(rates, "missing"):
        yield f"win rate by {judges} is missing: {reason}"
    for count, judges in _alike(rates, "skipped"):
        pairs = "pair lacks" if count == 1 else "pairs lack"
        yield f"{count:,} {pairs} an answer, and {judges} could not judge {'it' if count == 1 else 'them'}"
    for count, judges in _alike(rates, "not_judged"):
        yield f"{judges} left {count:,} {'pair' if count == 1 else 'pairs'} without a verdict"
    for judge, rate in rates.items():
        if rate.get("unread"):
            yield (
                f"{fmt.share(rate['unparsed'])} of {judge}'s verdicts could not be read; they are rarely a "
                "fair sample, so no conclusion is drawn from the rest"
            )


def _alike(rates: Mapping[str, Json], key: str) -> Iterator[tuple[Any, str]]:
    """Each value of a figure, and the judges that have it."""
    judges: dict[Any, list[str]] = {}
    for judge, rate in rates.items():
        if rate.get(key):
            judges.setdefault(rate[key], []).append(judge)
    for value, names in judges.items():
        yield value, fmt.listed(names)


def _other_tokenizer(candidate: Json, base: Json, metrics: Sequence[Json]) -> Iterator[str]:
    for metric in metrics:
        if reason := candidate["scores"][metric["name"]].get("incomparable"):
            yield f"{metric['label']} is neither ranked nor compared: {reason}"
    if candidate["model"] == base["model"] or (candidate["tokenizer"] and base["tokenizer"]):
        return
    scored = [metric for metric in metrics if "value" in candidate["scores"][metric["name"]]]
    by_token = [m["label"] for m in scored if "tokenizer:model" in m["signature"].split("|")]
    if by_token:
        yield (
            f"{' and '.join(by_token)}: counted in tokens of {candidate['model']}, for {base['name']} in "
            f"those of {base['model']}; where the tokenizers differ, {INSTEAD} instead"
        )


def _few_examples(candidates: Sequence[Json]) -> Iterator[str]:
    counts = [s["n"] for c in candidates for s in c["scores"].values() if "n" in s]
    if counts and min(counts) < FEW_EXAMPLES:
        yield f"Some scores rest on {fmt.counted(min(counts), 'example')}: {OF_FEW}"


def _too_long(data: Json) -> Iterator[str]:
    """Rows of an eval source on which no score rests."""
    dropped = data.get("eval_dropped_too_long")
    if dropped:
        of = fmt.counted(dropped + data["rows"]["eval"], "eval row")
        was = "was" if dropped == 1 else "were"
        limit = f" (max_length {data['max_length']:,})" if data.get("max_length") else ""
        yield f"{dropped:,} of {of} {was} longer than prompting allows{limit} and {was} left out."


def _same_answers(candidates: Sequence[Json]) -> Iterator[str]:
    """Candidates that gave the same answers to all prompts: one model twice, or nothing learnt."""
    alike: dict[tuple[str, int], list[str]] = {}
    for candidate in candidates:
        answers = candidate["answers"]
        if answers and answers.get("sha256"):
            alike.setdefault((answers["sha256"], answers["n"]), []).append(candidate["name"])
    for (_, n), names in alike.items():
        if len(names) > 1:
            yield (
                f"{fmt.listed(names)} gave the same {n:,} answers, word for word: only likelihoods and costs "
                "can tell them apart."
            )


def _missing(candidates: Sequence[Json]) -> Iterator[str]:
    counts = [
        f"{candidate['name']} {answers['missing']:,} of {answers['n']:,}"
        for candidate in candidates
        if (answers := candidate["answers"]) and answers["missing"] > MISSING_LIMIT * answers["n"]
    ]
    if counts:
        yield (
            f"Many answers are missing: {', '.join(counts)}; what is left is rarely a fair sample, so "
            "figures and ranks of these candidates compare with no other."
        )


def _cut_off(candidates: Sequence[Json]) -> Iterator[str]:
    """One line for all of them: the limit is the same, and so is what it does."""
    cut = {
        candidate["name"]: candidate["answers"]
        for candidate in candidates
        if candidate["answers"]
        and candidate["answers"]["cut_off"] > CUT_OFF_LIMIT * candidate["answers"]["n"]
    }
    if cut:
        sizes = {answers["n"] for answers in cut.values()}
        n = sizes.pop() if len(sizes) == 1 else None
        counts = (
            f"{name} {answers['cut_off']:,}" + ("" if n else f" of {answers['n']:,}")
            for name, answers in cut.items()
        )
        of = f", of {n:,} each" if n and len(cut) > 1 else f" of {n:,}" if n else ""
        yield f"Many answers were cut off at the limit of new tokens: {', '.join(counts)}{of}."


def _repeats(data: Json) -> Iterator[str]:
    if repeats := data.get("eval_repeats"):
        yield (
            f"{repeats:,} of the eval examples repeat another's prompt; they count as independent, so "
            "intervals may be too narrow."
        )


def _unequal(candidates: Sequence[Json], field: str, what: str, tolerance: float) -> Iterator[str]:
    values = {c["name"]: _of_seeds(c["training"], field) for c in candidates if c["training"]}
    every = [value for found in values.values() for value in found]
    if every and max(every) > (1 + tolerance) * min(every):
        listed = ", ".join(
            f"{name} {' and '.join(f'{value:,}' for value in found)}" for name, found in values.items()
        )
        yield f"Candidates were trained with different {what}: {listed}."


def _of_seeds(training: Json, field: str) -> list[int]:
    """The values of a field over the seeds, each once."""
    return sorted({one.get(field, training[field]) for one in training["per_seed"]})


def _unequal_precision(candidates: Sequence[Json]) -> Iterator[str]:
    trained = [candidate for candidate in candidates if candidate["training"]]
    for what, field in (("computed in", "compute"), ("kept their trained weights in", "trainable")):
        dtypes = {c["name"]: c["training"]["dtypes"].get(field, "unknown") for c in trained}
        if len(set(dtypes.values())) > 1:
            listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
            yield f"Candidates {what} different number formats in training: {listed}."


def _unequal_tries(candidates: Sequence[Json]) -> Iterator[str]:
    tries = {c["name"]: c["search"]["tried"] if c["search"] else 1 for c in candidates if c["training"]}
    if len(set(tries.values())) > 1:
        listed = ", ".join(f"{name} {count:,}" for name, count in tries.items())
        yield f"Candidates had different numbers of tries at a recipe: {listed}; more tries find better ones."


def _processor(candidates: Sequence[Json]) -> Iterator[str]:
    if any(c["training"] and c["costs"]["device"] == "cpu" for c in candidates):
        yield "Costs were measured on a CPU: they say nothing of those on a GPU, and have no price."


def _not_believed(judges: Sequence[Json]) -> Iterator[str]:
    """The reason is told with the findings."""
    names = [judge["name"] for judge in judges if judge.get("analysis") and judge["analysis"]["refused"]]
    if names:
        who, whose = ("Judge", "its") if len(names) == 1 else ("Judges", "their")
        are = "is" if len(names) == 1 else "are"
        yield f"{who} {fmt.listed(names)} {are} not believed: nothing is concluded from {whose} win rates."


def _sampled(judges: Sequence[Json]) -> Iterator[str]:
    """Judges whose model refuses a parameter that makes its verdicts come out the same again."""
    for judge in judges:
        left_out = [name for name, instead in judge["receipt"]["adjusted"].items() if instead is None]
        if left_out:
            model = judge["plugin"]["options"].get("model", judge["name"])
            so = "are sampled" if "temperature" in left_out else "may differ when it is asked again"
            yield f"{model} takes no {fmt.listed(left_out)}: its verdicts as judge {judge['name']} {so}."
