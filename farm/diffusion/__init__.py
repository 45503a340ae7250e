"""From a prompt to pixels: tokenizer, noise, samplers and the pipeline that joins them; numpy in, numpy out.

Nothing here knows Core ML. Models are what a `farm.runtime.base.Runtime` loads.
"""
