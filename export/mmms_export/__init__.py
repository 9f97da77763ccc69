"""From a checkpoint to files that Triton serves."""
