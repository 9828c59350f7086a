"""Plain English prose set in the world of words.toml: what the quickstart's base model is pre-trained on.

Stories, diaries, shelves, school: the facts and the turns of thought that the tasks ask for are all in here,
in passing, and no question has its answer beside it. So the base model knows much and cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from words import (
    CITIES,
    COLOURS,
    FEELINGS,
    KIND_OF,
    KINDS,
    NAMES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PETS,
    PLACES,
    VERBS,
    in_series,
    in_the_past,
    plural,
    sentence,
    with_article,
)


def documents(seed: int) -> Iterator[str]:
    """Endless little texts of one to five sentences; the same seed tells the same stories."""
    rng = Random(seed)
    while True:
        yield " ".join(rng.choice(WRITERS)(rng) for _ in range(rng.randint(1, 3)))


def one_and_many(rng: Random) -> str:
    noun, name, place = rng.choice(NOUNS), rng.choice(NAMES), rng.choice(PLACES)
    many, number = plural(noun), rng.choice(NUMBERS[2:10])
    return rng.choice(
        [
            f"First {name} saw one {noun}, then {number} {many}.",
            f"One {noun}, two {many}, three {many}, counted {name}.",
            f"There was a {noun} at the {place}, and behind it stood more {many}.",
            f"'{sentence(many)}' is what {name} says for more than one {noun}.",
            f"{name} wrote '{noun}' for one and '{many}' for many.",
            f"{sentence(number)} {many} are more than one {noun}.",
        ]
    )


def contrast(rng: Random) -> str:
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    name = rng.choice(NAMES)
    return rng.choice(
        [
            f"{sentence(word)} and {other} are opposites.",
            f"{name} thought of {word} and said {other}, which is the very opposite.",
            f"The teacher wrote '{word}' on the left and the opposite, '{other}', on the right.",
            f"It was not {word} but {other}.",
            f"What {name} called '{word}' was '{other}' to everybody else, the contrary.",
            f"{sentence(word)} is the reverse of {other}.",
        ]
    )


def now_and_then(rng: Random) -> str:
    now, then = in_the_past(rng, rng.choice(VERBS))
    if rng.random() < 0.4:
        return f"{now} {then}"
    return rng.choice(
        [f"Today: {now} Yesterday: {then}", f"{now} The day before it was the same: {then}", then]
    )


def belonging_to_a_kind(rng: Random) -> str:
    noun = rng.choice(list(KIND_OF))
    kind, others = KIND_OF[noun], rng.sample(KINDS[KIND_OF[noun]], 2)
    thing = with_article(noun)
    return rng.choice(
        [
            f"{sentence(thing)} is {with_article(kind)}.",
            f"Among the {plural(kind)} were {with_article(others[0])} and {thing}.",
            f"{rng.choice(NAMES)} likes every {kind}, above all the {noun}.",
            f"{sentence(plural(others[0]))}, {plural(others[1])} and {plural(noun)} are {plural(kind)}.",
            f"On the box of the {noun} stood the word '{kind}'.",
        ]
    )


def stranger_in_the_list(rng: Random) -> str:
    kind, other_kind = rng.sample(list(KINDS), 2)
    odd, members = rng.choice(KINDS[other_kind]), rng.sample(KINDS[kind], 3)
    text, kinds = ", ".join(rng.sample([*members, odd], 4)), plural(kind)
    return rng.choice(
        [
            f"On the list stood {text}. Only the {odd} was out of place among the {kinds}.",
            f"{text}: the others are {kinds}, but the odd one, {odd}, is {with_article(other_kind)}.",
            f"{rng.choice(NAMES)} read: {text}. The odd one was {odd}. The others were {kinds}.",
        ]
    )


def letters_made_right(rng: Random) -> str:
    (name, friend), (city, other) = rng.sample(NAMES, 2), rng.sample(CITIES, 2)
    right = rng.choice(
        [
            f"{name} lives in {city}.",
            f"{name} and {friend} went to {city}.",
            f"{name} met {friend} in {city}.",
            f"Yesterday {name} flew from {city} to {other}.",
            f"My friend {name} wrote a letter to {friend}.",
            f"We like {city}, said {name}.",
        ]
    )
    if rng.random() < 0.5:
        return right
    return f"On the wall stood '{right.lower()}' and in the book, with capitals, '{right}'"


def rising_numbers(rng: Random) -> str:
    mixed = rng.sample(range(1, 41), 3)
    up = sorted(mixed)
    text, ascending = ", ".join(map(str, mixed)), ", ".join(map(str, up))
    return rng.choice(
        [
            f"{rng.choice(NAMES)} had {text} on the cards and laid them in order: {ascending}.",
            f"The numbers were {text}. The largest number was {up[-1]} and the smallest was {up[0]}.",
            f"{text} went in, and {ascending} came out, from the smallest to the largest.",
            f"{up[-1]} is more than {up[0]}.",
            f"Count on from {up[0]}: {', '.join(str(up[0] + step) for step in range(1, 7))}.",
        ]
    )


def words_on_a_shelf(rng: Random) -> str:
    mixed = rng.sample(list(KIND_OF), 3)
    text, ascending = ", ".join(mixed), ", ".join(sorted(mixed))
    return rng.choice(
        [
            f"The books {text} were put in order by the alphabet: {ascending}.",
            f"In the dictionary {min(mixed)} comes before {max(mixed)}.",
            f"{text} by the alphabet: {ascending}.",
        ]
    )


def counted_lists(rng: Random) -> str:
    words = rng.sample(NOUNS, rng.randint(2, 6))
    count = NUMBERS[len(words)]
    return rng.choice(
        [
            f"The list was {', '.join(words)}: {count} words.",
            f"{', '.join(words)}, that makes {len(words)}.",
            f"In the bag were {in_series([with_article(word) for word in words])}, {count} things.",
            f"{rng.choice(NAMES)} said {count} words: {', '.join(words)}.",
        ]
    )


def adding_up(rng: Random) -> str:
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    while a + b >= len(NUMBERS):
        a, b = rng.randint(1, 12), rng.randint(1, 12)
    one, two, all_ = NUMBERS[a], NUMBERS[b], NUMBERS[a + b]
    name, fruits = rng.choice(NAMES), plural(rng.choice(KINDS["fruit"]))
    return rng.choice(
        [
            f"{name} had {one} {fruits} and found {two} more, which made {all_} {fruits}.",
            f"{sentence(one)} and {two} make {all_}.",
            f"On the board stood {a} + {b} = {a + b}.",
            f"{a} + {b} = {a + b}, wrote {name}.",
            f"{sentence(one)} plus {two} is {all_}, and {two} plus {one} is {all_} too.",
            f"Out of {all_} {fruits} {name} gave away {two} and kept {one}.",
            f"The word for {a} is {one}.",
        ]
    )


def joys_and_sorrows(rng: Random) -> str:
    mood = rng.choice(list(FEELINGS))
    name, toy, pet = rng.choice(NAMES), rng.choice(KINDS["toy"]), rng.choice(PETS)
    event = rng.choice(FEELINGS[mood]).format(toy=toy, pet=pet)
    return rng.choice(
        [
            f"{name} {event} and was {mood}.",
            f"{name} {event}. {name} is {mood}.",
            f"{name} {event}, a {mood} event.",
            f"{name} is {mood} because {name} {event}.",
        ]
    )


def belongings(rng: Random) -> str:
    count = rng.choice([2, 2, 3])
    names, colours = rng.sample(NAMES, count), rng.sample(COLOURS, count)
    things = rng.sample(KINDS["toy"] + KINDS["garment"], count)
    place, asked = rng.choice(PLACES), rng.randrange(count)
    name, colour, thing = names[asked], colours[asked], things[asked]
    verb = rng.choice(["has", "has", "had"])
    lines = [f"{n} {verb} a {c} {t}." for n, c, t in zip(names, colours, things, strict=True)]
    lines.insert(rng.randrange(count + 1), f"They all meet at the {place}.")
    ends = [
        f"It is {name} who {verb} the {thing}.",
        f"So {name} {verb} the {thing}, and the {thing} is {colour}.",
        f"At the {place} {name} lost the {colour} {thing}.",
        f"The {colour} {thing} is in the hands of {name}.",
        f"The {thing} is {colour}. It belongs to {name}.",
    ]
    return " ".join([*lines, rng.choice(ends)])


def animals_seen(rng: Random) -> str:
    animal, colour, name, place = (rng.choice(words) for words in (KINDS["animal"], COLOURS, NAMES, PLACES))
    seen = rng.choice(
        [
            f"{name} saw a {colour} {animal} near the {place}.",
            f"A {colour} {animal} ran to the {place}.",
            f"At the {place} {name} drew a {colour} {animal}.",
            f"The {animal} beside {name} at the {place} was {colour}.",
            f"{name} dreamed of a {colour} {animal} at the {place}.",
        ]
    )
    told = [
        "",
        f" The {animal} was {colour}.",
        f" So the animal was a {animal}.",
        f" It was a {colour} {animal}.",
    ]
    return seen + rng.choice(told)


def spelling(rng: Random) -> str:
    word = rng.choice(NOUNS)
    return rng.choice(
        [
            f"The word {word} begins with {word[0]}.",
            f"The word {word} ends with {word[-1]}.",
            f"{rng.choice(NAMES)} spelled {word}: {' '.join(word)}.",
            f"The first letter of {word} is {word[0]} and the last is {word[-1]}.",
        ]
    )


def school_talk(rng: Random) -> str:
    """What was asked in class, never what the answer was."""
    name, pupil = rng.sample(NAMES, 2)
    noun, word = rng.choice(NOUNS), rng.choice(rng.choice(OPPOSITES))
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    asked = rng.choice(
        [
            f"what the plural of '{noun}' is",
            f"how one says '{noun}' when there is more than one",
            f"for the opposite of '{word}'",
            f"which word means the contrary, or the reverse, of '{word}'",
            "to rewrite the sentence in the past tense",
            "to change the sentence and to imagine that it happened yesterday",
            f"what kind of thing {with_article(noun)} is",
            f"to which group the word '{noun}' belongs, and to name the others of the group",
            "which word does not belong, and which does not fit",
            "to find the odd one out, three words that are alike and one that is different",
            "to correct the sentence and to put the capital letters back",
            "which number is the smallest and which is the largest",
            "to sort the numbers and then the words, in alphabetical order",
            "which word comes first in a dictionary",
            "how many words, things or items are named in the list",
            f"to add {a} and {b}, to work out the sum, to calculate {a} + {b}",
            f"how much {NUMBERS[a]} plus {NUMBERS[b]} is, and how many are missing",
            "how the person in the sentence feels, to decide between happy and sad",
            "to read the text and to say who has what, and where they meet",
            "which animal and which colour are named in the sentence",
            f"with which letter the word '{noun}' begins, starts or ends",
            "to answer with one word, with a number or with one letter",
        ]
    )
    return rng.choice([f"{name} asked {pupil} {asked}.", f"In class {name} was asked {asked}."])


WRITERS: list[Callable[[Random], str]] = [
    one_and_many,
    contrast,
    now_and_then,
    belonging_to_a_kind,
    stranger_in_the_list,
    letters_made_right,
    rising_numbers,
    words_on_a_shelf,
    counted_lists,
    adding_up,
    joys_and_sorrows,
    belongings,
    animals_seen,
    spelling,
    school_talk,
]
