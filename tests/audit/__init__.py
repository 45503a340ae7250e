"""An independent checker of what a farm made of a batch; shares no code with the farm.

It reads the journal through sqlite3, the file that was submitted, the folder that the images were pulled to and, if
asked to, the folder in which the coordinator keeps them. By hand, for a job that has ended::

    python -m tests.audit state/journal.sqlite3 JOB prompts.csv out/batch
"""
