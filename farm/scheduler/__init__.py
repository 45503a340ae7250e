"""Decides what runs where: pure functions over a state that only `apply` changes.

Nothing in this room knows a clock, a socket, a disk or a random number; time comes in with the events and as an
argument. The coordinator and the simulator run the same two functions.
"""
