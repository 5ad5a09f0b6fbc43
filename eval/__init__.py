"""Zero-shot evaluation: benchmarks, protocols and scores of anything that gives likelihoods."""
