"""A farm in virtual time: the coordinator's own `apply` and `decide` over Macs that only take the time they would take.

Nothing here sleeps, and chance comes from one seeded generator, so a day of ten thousand Macs takes minutes and comes
out the same each time.
"""
