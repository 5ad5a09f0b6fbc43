"""The corpus: from Reddit submissions to shards of tokens, each stage a plain function.

A stage takes paths of finished artifacts, a frozen config, a destination folder and a progress
callback, and returns its `Counts`. Stages neither know what runs them nor where else they run.
"""
