"""GPT-2: the network, its sequences, the DeepSpeed trainer, export and generation."""
