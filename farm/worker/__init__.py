"""What runs on a machine that renders: the daemon, the pipeline process and its host, the device's lock, the probe.

Nothing here imports the coordinator, nor the other way round: the command line hands a `farm.renderer.Renderer` to the
daemon, or to the coordinator's engine where one machine does all.
"""
