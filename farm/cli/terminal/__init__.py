"""The screen of `farm top`."""
