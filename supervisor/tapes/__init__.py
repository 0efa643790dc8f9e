"""Tapes: recorded traffic with destinations' servers, and what plays it back.

    tape       the file: requests and answers, readable in review
    scrub      secrets and personal data out of it, before it is written
    matching   which answer a request gets, strictly or leniently
    faults     what goes wrong on purpose: latency, errors, hangs, cuts
    player     answers from tapes
    upstream   answers from the real servers, and keeps them
    authority  certificates of a throwaway authority
    server     one port that speaks HTTP, HTTPS and proxy
    testing    a destination's real code against a tape, for tests

Must not import destinations: they are asked in jailed workers. `upstream` takes the kit's reader of
answers, so that what is kept is what a destination reads.
"""
