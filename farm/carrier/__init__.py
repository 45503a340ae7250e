"""What a worker and its coordinator share of Ray, which carries between them.

A worker is reached through three things that may die and be made again: Ray's node on its machine, the bridge (an actor
there), and Ray's driver beside the coordinator. What holds models and images, the worker's daemon, needs none of them.
"""
