"""Container names: what they may be, and making one up when none was given, as ``eager_turing``."""

from __future__ import annotations

import os

from minicontainer.errors import InvalidArgument

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")

_MOODS = """agile amber ample apt avid bold brave breezy bright brisk calm candid civil clever cosy crisp curious
dapper daring deft eager early earnest easy elated fair fancy fearless festive fine fluent fond frank free fresh
gentle gifted glad golden good grand happy hardy hearty honest hopeful humble ideal jolly jovial just keen kind
laughing likely lively loyal lucid lucky mellow merry mighty modest neat nifty nimble noble open patient placid
polite proud quick quiet ready rosy sage serene sharp shiny silent smart snug sober spry steady sturdy sunny swift
tender tidy true upbeat vivid warm wise witty worthy zany zealous zesty""".split()

_PEOPLE = """abbate adleman aho allen babbage backus bartik berners bernstein boole bourne brooks catmull cerf
chomsky church clarke codd conway cook cray dahl denning diffie dijkstra eich engelbart erdos euler feinler floyd
goldberg goldwasser gosling gray hamilton hamming hashimoto hennessy hejlsberg hoare hopper iverson joy kahan kay
keller kernighan kleene knuth lamport leroy liskov lovelace mauchly mccarthy mcilroy meyer milner minsky moore
morris naur nygaard ousterhout papert patterson perlis perlman pike postel rabin reynolds ritchie rivest sammet
shamir shannon steele stroustrup sussman tanenbaum tarjan thompson torvalds turing valiant wall wilkes wing wirth
wilkinson yao zuse""".split()


def check(name: str) -> str:
    """Return ``name`` if a container may be called that; InvalidArgument if not."""
    if len(name) < 2 or not _ALLOWED.issuperset(name) or name[0] in "_.-":
        raise InvalidArgument(
            f"invalid container name {name!r}: it takes two or more of [a-zA-Z0-9_.-], the first a letter or digit"
        )
    return name


def random_name(attempt: int = 0) -> str:
    """A name of a mood and of someone who shaped computing; a digit is added after some attempts were taken."""
    number = int.from_bytes(os.urandom(4), "little")
    mood, person = _MOODS[number % len(_MOODS)], _PEOPLE[number // len(_MOODS) % len(_PEOPLE)]
    return f"{mood}_{person}" + (str(number % 10) if attempt > 3 else "")
