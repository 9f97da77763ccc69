"""The network and how it is trained: data in, checkpoints out."""
