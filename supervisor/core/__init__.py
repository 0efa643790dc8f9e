"""The decisions, pure: events and the time go in, effects come out.

Nothing here does I/O, reads a clock, draws a random number or logs. The shell
(`supervisor/delivery`, `supervisor/workers`) feeds it facts and carries out what it answers.
README.md says which room decides what.
"""
