"""Tells others that a job has ended: a signed POST to the URL that its submitter gave.

As https://www.standardwebhooks.com says, so that receivers check it with a library that there is for their language.
"""
