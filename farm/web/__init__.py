"""The farm's web server: its page, and what other tools ask for over HTTP.

It runs in the coordinator's process and on its event loop, reads what the API reads, and lets in whom the API lets in.
"""
