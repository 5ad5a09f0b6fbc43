"""What the flows stand on: the artifact store, lineage, child processes and profiles."""
