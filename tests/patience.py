"""How long tests wait for what must come: far longer than it takes, since the machine may be busy with other tests."""

PATIENCE = 90.0
"""Seconds. Only a test that fails waits so long."""
