"""What runs on the Mac that renders: the pipeline process, its host, the device's lock and the probe.

Nothing here imports the coordinator, nor the other way round; the command line hands a renderer to the engine. A
renderer is anything with the methods of `PipelineHost`: `facts`, `start`, `render`, `cancel`, `stop`.
"""
