"""Prefect flows and the `webtext` command: orchestration alone."""
